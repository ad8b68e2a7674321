//! Pure: what to do about an asset.

use std::sync::Arc;
use std::time::Duration;

use fleetform_crds::asset::PositionStatus;
use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status};
use fleetform_crds::{Alert, Asset, AssetStatus, Project, Site};
use fleetform_domain::id::{Installation, ResourceId};
use fleetform_domain::machines::MachineState;
use jiff::Timestamp;

use super::position::{Mounted, Outcome, Position, Sight};
use crate::cache::Found;
use crate::controllers::{Obstacle, Unmet, grace_left, stands};
use crate::reconcile::plan::{Action, News, Plan};
use crate::reconcile::{names, status};

/// Most alerts of one asset that are kept after they were resolved; the oldest go first.
pub const KEPT_ALERTS: usize = 100;

/// What an asset's plan depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Where ARNs come from.
    pub installation: &'a Installation,
    /// The namespace's project.
    pub project: Found<Project>,
    /// The site that the spec refers to.
    pub site: Found<Site>,
    /// What stands in its way when there are more assets, sites or projects than there may be.
    pub over_quota: Option<Obstacle>,
    /// How many sensors refer to it.
    pub sensors: usize,
    /// The sensors that are paired at its positions, in the order of the spec.
    pub mounted: Vec<Option<Mounted>>,
    /// Its alerts, the oldest first.
    pub alerts: Vec<Arc<Alert>>,
    /// Whether one of its alerts does not read.
    pub alerts_unreadable: bool,
    /// Now.
    pub now: Timestamp,
}

/// The plan for an asset.
#[derive(Debug, Default, serde::Serialize)]
pub struct AssetPlan {
    /// What is written.
    #[serde(flatten)]
    pub plan: Plan,
    /// Names of positions whose state got better, which is only so often noted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub better: Vec<String>,
    /// Positions about which an alert was right that is resolved now, and their sensors: what was measured so far is not judged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub judged_anew: Vec<(String, ResourceId)>,
}

/// The plan for an asset.
pub fn plan(asset: &Asset, facts: &Facts<'_>) -> AssetPlan {
    let Some(uid) = asset.metadata.uid.as_deref().filter(|_| asset.metadata.deletion_timestamp.is_none()) else {
        return AssetPlan::default();
    };
    let mut plan = Plan::default();
    let obstacle = obstacle(asset, facts);
    let current = asset.status.as_ref();
    if obstacle.as_ref().is_some_and(|obstacle| obstacle.waits)
        && current.is_none_or(|status| status.observed_generation.is_none())
        && let Some(left) = grace_left(asset, facts.now)
    {
        plan.look_again_in(left);
        return AssetPlan { plan, ..AssetPlan::default() };
    }
    let removed_alerts = removed_alerts(asset, &facts.alerts);
    let outcomes = positions(asset, facts, removed_alerts);
    for (outcome, mounted) in outcomes.iter().zip(&facts.mounted) {
        if let Some(seconds) = outcome.held_back_for {
            plan.look_again_in(Duration::from_secs(seconds.into()));
        }
        if let Some(Mounted { sight: Sight::Clear { until: Some(until) }, .. }) = mounted {
            plan.look_again_at(*until, facts.now);
        }
    }
    let better = outcomes.iter().filter(|outcome| outcome.got_better).map(|o| o.status.name.clone()).collect();
    let repaired = |outcome: &Outcome| {
        let position = outcome.status.name.clone();
        outcome.judged_anew.clone().into_iter().map(move |sensor| (position.clone(), sensor))
    };
    let judged_anew = outcomes.iter().flat_map(repaired).collect();
    let raised = outcomes.iter().filter(|outcome| outcome.raise.is_some()).count();
    let open = facts.alerts.iter().filter(|alert| !alert.is_resolved()).count() + raised;
    let (mut alerts, mut positions) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        alerts.extend(outcome.raise.map(Box::new).map(Action::RaiseAlert));
        positions.push(outcome.status);
    }
    let statements = match &obstacle {
        Some(obstacle) => obstacle.statements(),
        None => vec![Statement::new(ConditionType::Ready, Status::True, Reason::Reconciled, "the machine is watched")],
    };
    let statements: Vec<Statement> = statements.into_iter().chain([healthy(&positions)]).collect();
    let before = current.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let id = ResourceId::of(uid);
    let desired = AssetStatus {
        observed_generation: asset.metadata.generation,
        arn: Some(facts.installation.asset_arn(&id)),
        asset_id: Some(id),
        state: positions.iter().map(|position| position.state).max().unwrap_or_default(),
        sensor_count: i64::try_from(facts.sensors).unwrap_or(i64::MAX),
        open_alert_count: i64::try_from(open).unwrap_or(i64::MAX),
        removed_alerts,
        positions,
        conditions: condition::merge(before, &statements, asset.metadata.generation, facts.now),
    };
    // An alert is there before the status names it: who dies between the two finds it by its name.
    plan.actions.extend(alerts);
    plan.actions.extend(surplus(&facts.alerts));
    plan.actions.extend(status::patch(current, &desired).map(Action::PatchStatus));
    plan.actions.extend(condition::new_stall(before, &statements).map(News::stall).map(Action::Publish));
    AssetPlan { plan, better, judged_anew }
}

fn obstacle(asset: &Asset, facts: &Facts<'_>) -> Option<Obstacle> {
    let namespace = asset.metadata.namespace.as_deref();
    let site = &asset.spec.site_ref.name;
    match stands(namespace, &facts.project, site, &facts.site, "make the asset anew at another one") {
        Ok(()) => facts.over_quota.clone(),
        Err(Unmet::Unreadable(obstacle) | Unmet::Absent(obstacle)) => Some(obstacle),
    }
}

fn positions(asset: &Asset, facts: &Facts<'_>, removed_alerts: i64) -> Vec<Outcome> {
    let name = asset.metadata.name.as_deref().unwrap_or_default();
    let each = asset.spec.positions.iter().zip(&facts.mounted);
    let looks = each.map(|(position, mounted)| {
        let position = Position {
            asset: name,
            class: asset.spec.machine_class,
            name: &position.name,
            before: asset.position(&position.name),
            removed_alerts,
            mounted: mounted.as_ref(),
            alerts: &facts.alerts,
            alerts_unreadable: facts.alerts_unreadable,
        };
        position.look(facts.now)
    });
    looks.collect()
}

/// The greatest number of an alert about a position that is no more. One number for all of them, as there may have been any number
/// of positions: none is used twice when one comes back.
fn removed_alerts(asset: &Asset, alerts: &[Arc<Alert>]) -> i64 {
    let is_gone = |name: &str| !asset.spec.positions.iter().any(|position| position.name == name);
    let status = asset.status.as_ref();
    let noted = status.into_iter().flat_map(|status| &status.positions).filter(|position| is_gone(&position.name));
    let noted = noted.map(|position| {
        let open = position.alert.as_deref().and_then(names::alert_number);
        position.closed_alerts.max(open.unwrap_or(0))
    });
    let there = alerts.iter().filter(|alert| is_gone(&alert.spec.position));
    let there = there.filter_map(|alert| names::alert_number(alert.metadata.name.as_deref()?));
    noted.chain(there).max().unwrap_or(0).max(status.map_or(0, |status| status.removed_alerts))
}

fn healthy(positions: &[PositionStatus]) -> Statement {
    let at = |state: MachineState| {
        let there = positions.iter().filter(|position| position.state == state).map(|position| position.name.as_str());
        there.collect::<Vec<_>>()
    };
    let (alarm, warning, unknown) = (at(MachineState::Alarm), at(MachineState::Warning), at(MachineState::Unknown));
    if !(alarm.is_empty() && warning.is_empty()) {
        let said = [("Alarm", alarm), ("Warning", warning)].into_iter().filter(|(_, there)| !there.is_empty());
        let said: Vec<String> = said.map(|(state, there)| format!("{state} at {}", there.join(", "))).collect();
        return Statement::new(ConditionType::Healthy, Status::False, Reason::AboveLimits, said.join("; "));
    }
    if unknown.len() == positions.len() {
        let message = "nothing is known of the machine now: no sensor is paired, or the sensors or their gateways are silent, or \
                       have yet to measure three times";
        return Statement::new(ConditionType::Healthy, Status::Unknown, Reason::NotMeasured, message);
    }
    let message = if unknown.is_empty() {
        "what is measured is normal at every position".to_owned()
    } else {
        format!("what is measured is normal; nothing is known of {} now", unknown.join(", "))
    };
    Statement::new(ConditionType::Healthy, Status::True, Reason::WithinLimits, message)
}

/// Alerts that were resolved and are too many, the oldest first.
fn surplus(alerts: &[Arc<Alert>]) -> Vec<Action> {
    let mut resolved: Vec<&Alert> = alerts.iter().map(|alert| &**alert).filter(|alert| alert.is_resolved()).collect();
    resolved.sort_by_key(|alert| alert.spec.raised_at.0);
    let surplus = resolved.len().saturating_sub(KEPT_ALERTS);
    let gone = resolved.into_iter().take(surplus);
    gone.filter_map(|alert| {
        let (name, uid) = (alert.metadata.name.clone()?, alert.metadata.uid.clone()?);
        Some(Action::DeleteAlert { name, uid })
    })
    .collect()
}
