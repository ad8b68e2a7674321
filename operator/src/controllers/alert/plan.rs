//! Pure: what to do about an alert. An alert that was just raised needs no write: its definition's defaults say what is so.

use fleetform_crds::alert::{AlertStatus, RAISED};
use fleetform_crds::asset::PositionStatus;
use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status, whole_second};
use fleetform_crds::{Alert, alert::Resolution};
use fleetform_domain::machines::{AlertChange, AlertPhase, MachineState, record_alert_changes};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::events::History;
use crate::reconcile::plan::{Action, Plan};
use crate::reconcile::status;

/// What an alert's plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the asset says of the position, if it does.
    pub position: Option<&'a PositionStatus>,
    /// What may go of what it records.
    pub history: History,
    /// Now.
    pub now: Timestamp,
}

/// The plan for an alert.
pub fn plan(alert: &Alert, facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    if alert.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let current = alert.status.clone().unwrap_or_default();
    let mut desired = current.clone();
    let mut changes = Vec::new();
    if current.phase != AlertPhase::Resolved {
        changes.extend(follow(alert, &mut desired, facts));
    }
    changes.extend(advance(alert, &mut desired, facts.now));
    record_alert_changes(&mut desired.transitions, changes, facts.now);
    let statements = statements(alert, &desired);
    if desired == current && says(&current.conditions, &statements) {
        return plan;
    }
    desired.observed_generation = alert.metadata.generation;
    let before = since_raised(alert, &current.conditions);
    desired.conditions = condition::merge(&before, &statements, alert.metadata.generation, facts.now);
    plan.actions.extend(Action::keep(facts.history.shorten(&mut desired.transitions)));
    plan.actions.extend(status::patch(alert.status.as_ref(), &desired).map(Action::PatchStatus));
    plan
}

/// Follows the state of the position, as far as it is known and this is its alert. A state that is unknown for a while changes nothing:
/// what is known of the machine stays what was known last.
fn follow(alert: &Alert, desired: &mut AlertStatus, facts: &Facts<'_>) -> Option<AlertChange> {
    let position = facts.position.filter(|position| position.alert == alert.metadata.name)?;
    let (previous, current) = (alert.state(), position.state);
    if current == MachineState::Unknown || current == previous {
        return None;
    }
    desired.state = Some(current);
    if current > alert.worst() {
        desired.worst = Some(current);
    }
    Some(AlertChange::State { previous, current })
}

/// Takes the alert where people say that it is. It never goes back.
fn advance(alert: &Alert, desired: &mut AlertStatus, now: Timestamp) -> Vec<AlertChange> {
    let mut changes = Vec::new();
    let mut step = |desired: &mut AlertStatus, to: AlertPhase| {
        let previous = std::mem::replace(&mut desired.phase, to);
        changes.push(AlertChange::Phase { previous, current: to });
    };
    if alert.spec.acknowledged && desired.phase == AlertPhase::Raised {
        step(desired, AlertPhase::Acknowledged);
        desired.acknowledged_at = Some(whole_second(now));
    }
    if alert.is_resolved() && desired.phase != AlertPhase::Resolved {
        step(desired, AlertPhase::Resolved);
        desired.resolved_at = Some(whole_second(now));
    }
    changes
}

fn statements(alert: &Alert, status: &AlertStatus) -> Vec<Statement> {
    let raised =
        RAISED.iter().map(|(type_, status, reason, message)| Statement::new(*type_, *status, *reason, *message));
    let state = status.state.unwrap_or(alert.spec.level);
    raised
        .map(|raised| match (raised.condition, &alert.spec.resolution) {
            (ConditionType::Active, Some(_)) => {
                Statement::new(ConditionType::Active, Status::False, Reason::Closed, "the alert is resolved")
            }
            (ConditionType::Active, None) if state < MachineState::Warning => {
                let message = "the state of the position is normal again: say what it was in spec.resolution";
                Statement::new(ConditionType::Active, Status::False, Reason::WithinLimits, message)
            }
            (ConditionType::Acknowledged, resolution) if status.acknowledged_at.is_some() || resolution.is_some() => {
                Statement::new(ConditionType::Acknowledged, Status::True, Reason::TakenOn, "somebody has taken it on")
            }
            (ConditionType::Resolved, Some(resolution)) => {
                Statement::new(ConditionType::Resolved, Status::True, Reason::Closed, in_words(resolution))
            }
            _ => raised,
        })
        .collect()
}

fn in_words(resolution: &Resolution) -> String {
    let right = if resolution.alert_was_right { "was right" } else { "was not right" };
    format!("{:?}, {:?}, {:?}; the alert {right}", resolution.failure_mode, resolution.failure_cause, resolution.action)
}

/// Whether conditions say this already.
fn says(conditions: &[Condition], statements: &[Statement]) -> bool {
    let same = |(condition, statement): (&Condition, &Statement)| {
        condition.type_ == statement.condition.as_str()
            && condition.status == statement.status.as_str()
            && condition.reason == statement.reason.as_str()
            && condition.message == statement.message
    };
    conditions.len() == statements.len() && conditions.iter().zip(statements).all(same)
}

/// The conditions, with what the definition's defaults say since the alert was raised.
fn since_raised(alert: &Alert, conditions: &[Condition]) -> Vec<Condition> {
    let mut conditions = conditions.to_vec();
    for condition in &mut conditions {
        if condition.last_transition_time.0 == Timestamp::UNIX_EPOCH {
            condition.last_transition_time = alert.spec.raised_at.clone();
        }
    }
    conditions
}

#[cfg(test)]
mod tests;
