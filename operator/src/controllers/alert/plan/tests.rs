//! Plans of alerts, whole.

use serde_json::json;

use super::*;
use crate::controllers::fixtures;
use jiff::SignedDuration;

fn position(alert: &Alert, state: MachineState) -> PositionStatus {
    let value = json!({ "name": "drive-end", "state": state, "alert": alert.metadata.name });
    serde_json::from_value(value).unwrap()
}

fn executed(mut alert: Alert, plan: &Plan) -> Alert {
    for action in &plan.actions {
        let Action::PatchStatus(patch) = action else { panic!("an alert's plan only patches its status") };
        let mut status = serde_json::to_value(alert.status.clone().unwrap_or_default()).unwrap();
        json_patch::merge(&mut status, patch);
        alert.status = Some(serde_json::from_value(status).unwrap());
    }
    alert
}

/// The alert after a look an hour later; looking again must give nothing.
fn looked(alert: &Alert, state: MachineState) -> Alert {
    let position = position(alert, state);
    let facts = Facts {
        position: Some(&position),
        history: fixtures::told(),
        now: fixtures::noon() + SignedDuration::from_hours(1),
    };
    let alert = executed(alert.clone(), &plan(alert, &facts));
    assert!(plan(&alert, &facts).actions.is_empty());
    alert
}

fn resolve(alert: &mut Alert, was_right: bool) {
    alert.metadata.generation = Some(2);
    alert.spec.resolution = Some(
        serde_json::from_value(json!({
            "failureMode": "BearingDamage", "failureCause": "Wear", "action": "Replace", "alertWasRight": was_right,
        }))
        .unwrap(),
    );
}

#[test]
fn an_alert_that_was_just_raised_takes_no_write() {
    let alert = fixtures::alert(1);
    let position = position(&alert, MachineState::Warning);
    for position in [None, Some(&position)] {
        assert!(plan(&alert, &Facts { position, history: fixtures::told(), now: fixtures::noon() }).actions.is_empty());
    }
}

#[test]
fn an_alert_follows_its_position_and_remembers_the_worst() {
    let alert = looked(&fixtures::alert(1), MachineState::Alarm);
    assert_eq!((alert.state(), alert.worst()), (MachineState::Alarm, MachineState::Alarm));
    let alert = looked(&alert, MachineState::Unknown);
    assert_eq!(alert.state(), MachineState::Alarm, "what was known last");
    let alert = looked(&alert, MachineState::Healthy);
    assert_eq!((alert.state(), alert.worst()), (MachineState::Healthy, MachineState::Alarm));
    insta::assert_json_snapshot!("normal_again", alert.status);
    let alert = looked(&alert, MachineState::Warning);
    assert!(condition::is_true(&alert.status.as_ref().unwrap().conditions, ConditionType::Active));
    assert_eq!(alert.status.unwrap().transitions.len(), 3);
}

#[test]
fn what_another_alert_is_open_for_says_nothing_of_this_one() {
    let (alert, other) = (fixtures::alert(1), fixtures::alert(2));
    let position = position(&other, MachineState::Alarm);
    assert!(
        plan(&alert, &Facts { position: Some(&position), history: fixtures::told(), now: fixtures::noon() })
            .actions
            .is_empty()
    );
}

#[test]
fn an_alert_is_acknowledged_and_resolved_and_then_stays_as_it_is() {
    let mut alert = fixtures::alert(1);
    alert.spec.acknowledged = true;
    let mut alert = looked(&alert, MachineState::Warning);
    let status = alert.status.clone().unwrap();
    assert_eq!((status.phase, status.acknowledged_at.is_some()), (AlertPhase::Acknowledged, true));
    resolve(&mut alert, true);
    let alert = looked(&alert, MachineState::Warning);
    insta::assert_json_snapshot!("resolved", alert.status);
    let status = alert.status.clone();
    assert_eq!(looked(&alert, MachineState::Alarm).status, status);
}

#[test]
fn who_resolves_need_not_acknowledge_before() {
    let mut alert = fixtures::alert(1);
    resolve(&mut alert, false);
    let status = looked(&alert, MachineState::Warning).status.unwrap();
    assert_eq!((status.phase, status.acknowledged_at, status.transitions.len()), (AlertPhase::Resolved, None, 1));
    assert!(condition::is_true(&status.conditions, ConditionType::Acknowledged));
}
