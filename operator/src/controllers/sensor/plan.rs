//! Pure: what to do about a sensor.

use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status, has_reason, whole_second};
use fleetform_crds::device_instance::{DeviceStatus, SensorConfiguration, SensorStatus};
use fleetform_crds::{Asset, DeviceInstance, DeviceInstanceStatus, Project, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::configuration::DeviceType;
use fleetform_domain::id::{Installation, ResourceId};
use fleetform_domain::machines::MAX_SENSORS_PER_GATEWAY;
use fleetform_domain::transition::{Connectivity, Health};
use fleetform_domain::wire::SensorReport;
use jiff::Timestamp;

use crate::cache::Found;
use crate::controllers::device::presence::{self, HeldBack};
use crate::controllers::{Obstacle, Unmet, grace_left, stands};
use crate::events::History;
use crate::gateway::sensors::Heard;
use crate::reconcile::plan::{Action, News, Plan};
use crate::reconcile::status;

/// What a sensor's plan depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Where ARNs come from.
    pub installation: &'a Installation,
    /// The namespace's project.
    pub project: Found<Project>,
    /// The site that the spec refers to.
    pub site: Found<Site>,
    /// What stands in its way when there are more sites or projects than there may be.
    pub over_quota: Option<Obstacle>,
    /// Where it is to be, if the spec says so.
    pub place: Option<Place<'a>>,
    /// Another device instance whose hardware claims the same asset tag.
    pub same_tag: Option<String>,
    /// What may go of what it records.
    pub history: History,
    /// Now.
    pub now: Timestamp,
}

/// Where a sensor is to be, and what its gateway says of it.
#[derive(Debug)]
pub struct Place<'a> {
    /// What the spec says.
    pub configuration: &'a SensorConfiguration,
    /// The asset.
    pub asset: Found<Asset>,
    /// The gateway.
    pub gateway: Found<DeviceInstance>,
    /// The older sensor that is at the position, if there is one.
    pub holder: Option<String>,
    /// Whether older sensors are as many as the gateway carries.
    pub crowded_out: bool,
    /// What the gateway says of it.
    pub heard: Heard,
}

/// The plan for a sensor.
#[derive(Debug, Default, serde::Serialize)]
pub struct SensorPlan {
    /// What is written.
    #[serde(flatten)]
    pub plan: Plan,
    /// What counts of that which it has measured so far.
    pub past: Past,
}

/// What counts of that which a sensor has measured so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum Past {
    /// What was measured where it is now.
    #[default]
    Counts,
    /// Nothing, and the sensor counts from 1 again: it is no longer paired.
    IsGone,
}

/// What is wanted of a sensor.
enum Want<'a> {
    /// To be paired with this gateway and no other; unless it is paired already, only where no quota stands in the way.
    Here(&'a Place<'a>, &'a DeviceInstance, Option<Obstacle>),
    /// What it has: what it depends on cannot be read just now.
    Held(Obstacle),
    /// Nothing before this is out of the way.
    Nothing(Obstacle),
}

/// The plan for a sensor.
pub fn plan(sensor: &DeviceInstance, facts: &Facts<'_>) -> SensorPlan {
    let (Some(uid), None) = (&sensor.metadata.uid, &sensor.metadata.deletion_timestamp) else {
        return SensorPlan::default();
    };
    let mut plan = Plan::default();
    let want = want(sensor, facts);
    if let Want::Nothing(obstacle) = &want
        && obstacle.waits
        && sensor.status.as_ref().is_none_or(|status| status.observed_generation.is_none())
        && let Some(left) = grace_left(sensor, facts.now)
    {
        plan.look_again_in(left);
        return SensorPlan { plan, past: Past::Counts };
    }
    let current = sensor.status.as_ref();
    let mut desired = current.cloned().unwrap_or_default();
    desired.observed_generation = sensor.metadata.generation;
    let id = ResourceId::of(uid);
    desired.arn = Some(facts.installation.device_instance_arn(&id));
    desired.device_instance_id = Some(id);
    let mut statements = match want {
        Want::Here(place, gateway, over) => placed(&mut plan, &mut desired, sensor, (place, gateway), over, facts),
        Want::Held(obstacle) => {
            let mut statements = obstacle.statements();
            statements.extend(held(&desired));
            statements
        }
        Want::Nothing(obstacle) => stopped(&mut desired, &obstacle, facts.now),
    };
    if desired.phase == Some(Phase::Active) {
        statements.extend(claims(sensor, facts));
    }
    let before = current.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let past = match (current.and_then(|status| status.sensor.as_ref()), &desired.sensor) {
        (Some(_), None) => Past::IsGone,
        (Some(_), Some(_)) | (None, _) => Past::Counts,
    };
    desired.conditions = condition::merge(before, &statements, desired.observed_generation, facts.now);
    plan.actions.extend(Action::keep(facts.history.shorten(&mut desired.transitions)));
    let patch = status::patch(current, &desired).map(Action::PatchStatus);
    plan.actions.extend(patch);
    plan.actions.extend(condition::new_stall(before, &statements).map(News::stall).map(Action::Publish));
    SensorPlan { plan, past }
}

fn want<'a>(sensor: &DeviceInstance, facts: &'a Facts<'a>) -> Want<'a> {
    let namespace = sensor.metadata.namespace.as_deref();
    let site = &sensor.spec.site_ref.name;
    match stands(namespace, &facts.project, site, &facts.site, "refer to another one") {
        Ok(()) => {}
        Err(Unmet::Unreadable(obstacle)) => return Want::Held(obstacle),
        Err(Unmet::Absent(obstacle)) => return Want::Nothing(obstacle),
    }
    let incomplete = |message| Want::Nothing(Obstacle::stalls(Reason::ConfigurationIncomplete, message));
    let Some(place) = &facts.place else {
        return incomplete(
            "set spec.configuration.sensor: the asset and position where it is mounted, and the gateway that it reports \
             through",
        );
    };
    if sensor.spec.activation.expected_asset_tag_id.is_none() {
        return incomplete(
            "set spec.activation.expectedAssetTagId to what is printed on the sensor: its gateway finds it by that",
        );
    }
    if let Err(want) = asset(site, place) {
        return want;
    }
    let gateway = match gateway(site, place) {
        Ok(gateway) => gateway,
        Err(want) => return want,
    };
    Want::Here(place, gateway, facts.over_quota.clone().or_else(|| asset_over_quota(place)))
}

/// What is wrong with the asset, if anything is.
fn asset<'a>(site: &str, place: &Place<'_>) -> Result<(), Want<'a>> {
    const ASSET: &str = "spec.configuration.sensor.assetRef";
    const POSITION: &str = "spec.configuration.sensor.position";
    let (name, position) = (&place.configuration.asset_ref.name, &place.configuration.position);
    let asset = match &place.asset {
        Found::Here(asset) => asset,
        Found::Unreadable(why) => {
            let message = format!("{ASSET}: Asset {name} cannot be read: {why}");
            return Err(Want::Held(Obstacle::waits(Reason::AssetUnreadable, message)));
        }
        Found::Absent => {
            let message =
                format!("{ASSET}: there is no Asset {name} in this namespace; create it, or refer to another one");
            return Err(Want::Nothing(Obstacle::waits(Reason::AssetNotFound, message)));
        }
    };
    if asset.spec.site_ref.name != site {
        let there = &asset.spec.site_ref.name;
        let message =
            format!("{ASSET}: Asset {name} is at site {there} and the sensor at {site}: refer to an asset at {site}");
        return Err(Want::Nothing(Obstacle::stalls(Reason::AtAnotherSite, message)));
    }
    if !asset.spec.positions.iter().any(|known| known.name == *position) {
        let known: Vec<&str> = asset.spec.positions.iter().map(|position| position.name.as_str()).collect();
        let message = format!(
            "{POSITION}: Asset {name} has no position {position}: add it to its spec.positions, or choose one of {}",
            known.join(", ")
        );
        return Err(Want::Nothing(Obstacle::waits(Reason::PositionNotFound, message)));
    }
    if let Some(holder) = &place.holder {
        let message = format!(
            "{POSITION}: the older sensor {holder} is at position {position} of Asset {name}: choose another position, or move \
             or delete {holder}"
        );
        return Err(Want::Nothing(Obstacle::waits(Reason::PositionTaken, message)));
    }
    Ok(())
}

fn asset_over_quota(place: &Place<'_>) -> Option<Obstacle> {
    let asset = place.asset.here()?;
    let conditions = &asset.status.as_ref()?.conditions;
    has_reason(conditions, ConditionType::Ready, Reason::QuotaExceeded).then(|| {
        let name = &place.configuration.asset_ref.name;
        let message =
            format!("spec.configuration.sensor.assetRef: Asset {name} is over a quota: its condition Ready says which");
        Obstacle::waits(Reason::QuotaExceeded, message)
    })
}

/// The gateway, or what is wrong with it.
fn gateway<'a>(site: &str, place: &'a Place<'_>) -> Result<&'a DeviceInstance, Want<'a>> {
    const GATEWAY: &str = "spec.configuration.sensor.gatewayRef";
    let name = &place.configuration.gateway_ref.name;
    let gateway = match &place.gateway {
        Found::Here(gateway) => gateway,
        Found::Unreadable(why) => {
            let message = format!("{GATEWAY}: DeviceInstance {name} cannot be read: {why}");
            return Err(Want::Held(Obstacle::waits(Reason::GatewayUnreadable, message)));
        }
        Found::Absent => {
            let message = format!(
                "{GATEWAY}: there is no DeviceInstance {name} in this namespace; create it, or refer to another one"
            );
            return Err(Want::Nothing(Obstacle::waits(Reason::GatewayNotFound, message)));
        }
    };
    let stalls = |reason, message| Err(Want::Nothing(Obstacle::stalls(reason, message)));
    if gateway.spec.device_type != DeviceType::Gateway {
        let message =
            format!("{GATEWAY}: DeviceInstance {name} is of another deviceType: refer to one of deviceType Gateway");
        return stalls(Reason::NotAGateway, message);
    }
    if gateway.spec.site_ref.name != site {
        let there = &gateway.spec.site_ref.name;
        let message = format!(
            "{GATEWAY}: gateway {name} is at site {there} and the sensor at {site}: refer to a gateway at {site}"
        );
        return stalls(Reason::AtAnotherSite, message);
    }
    if place.crowded_out {
        let message = format!(
            "{GATEWAY}: gateway {name} carries {MAX_SENSORS_PER_GATEWAY} older sensors, which is as many as it can: refer to \
             another one"
        );
        return stalls(Reason::GatewayFull, message);
    }
    Ok(gateway)
}

/// A sensor that nothing stands in the way of: it is paired, or to be paired.
fn placed(
    plan: &mut Plan,
    desired: &mut DeviceInstanceStatus,
    sensor: &DeviceInstance,
    (place, gateway): (&Place<'_>, &DeviceInstance),
    over_quota: Option<Obstacle>,
    facts: &Facts<'_>,
) -> Vec<Statement> {
    let now = facts.now;
    let (epoch, tag) = (sensor.spec.activation.epoch, sensor.spec.activation.expected_asset_tag_id.as_deref());
    let name = &place.configuration.gateway_ref.name;
    let still_paired = is_paired(desired, name, tag, epoch);
    let report = match &place.heard {
        Heard::Paired(report) => {
            Some(report).filter(|said| Some(said.asset_tag_id.as_str()) == tag && said.epoch == epoch)
        }
        Heard::NotPaired | Heard::Unknown => None,
    };
    let is_paired = report.is_some() || (place.heard == Heard::Unknown && still_paired);
    // Who is paired is served on.
    if let Some(over) = over_quota.filter(|_| !(is_paired && still_paired)) {
        return stopped(desired, &over, now);
    }
    if !is_paired {
        unpair(desired, Phase::ReadyForActivation, now);
        let message = match gateway.phase() {
            Phase::Active => format!("gateway {name} is to be paired with it"),
            Phase::NeedsConfiguration | Phase::ReadyForActivation => {
                format!("gateway {name} is to be paired with it, as soon as it is active itself")
            }
        };
        let ready = Statement::new(ConditionType::Ready, Status::True, Reason::CommissionedByGateway, message);
        return vec![ready, not_paired()];
    }
    if !still_paired {
        // Other hardware, another gateway or another epoch: what was known of the one before goes.
        presence::leave(desired, now);
        desired.sensor = None;
    }
    desired.phase = Some(Phase::Active);
    let paired_at = desired.sensor.as_ref().map_or_else(|| whole_second(now), |paired| paired.paired_at.clone());
    desired.sensor = Some(SensorStatus {
        gateway: name.clone(),
        asset: place.configuration.asset_ref.name.clone(),
        position: place.configuration.position.clone(),
        paired_at: paired_at.clone(),
        epoch,
    });
    let hardware = desired.device.get_or_insert_with(|| DeviceStatus {
        asset_tag_id: tag.unwrap_or_default().to_owned(),
        software_version: None,
        software_update: None,
        activated_at: Some(paired_at),
    });
    if let Some(report) = report {
        hardware.software_version = report.software_version.as_ref().map(ToString::to_string);
    }
    let hidden = gateway.status.as_ref().and_then(|status| status.connectivity) == Some(Connectivity::Disconnected);
    // While the gateway is not heard, nothing changes by what it said last.
    let held_back = note(desired, report.filter(|_| !hidden).map(|report| &**report), &facts.history, now);
    presence::look_again(plan, held_back, now);
    let ready = format!("gateway {name} is paired with it");
    let mut statements = vec![
        Statement::new(ConditionType::Ready, Status::True, Reason::Paired, ready),
        Statement::new(
            ConditionType::Active,
            Status::True,
            Reason::Paired,
            format!("gateway {name} is paired with it"),
        ),
        connected(desired, name, hidden),
    ];
    statements.push(healthy(desired));
    statements.extend(held_back.map(presence::held_back));
    statements
}

/// Whether the status says that this gateway is paired with this hardware for this epoch.
fn is_paired(status: &DeviceInstanceStatus, gateway: &str, tag: Option<&str>, epoch: i64) -> bool {
    let hardware = status.device.as_ref().map(|device| device.asset_tag_id.as_str());
    let paired = status.sensor.as_ref().is_some_and(|paired| paired.gateway == gateway && paired.epoch == epoch);
    status.phase == Some(Phase::Active) && paired && hardware.is_some() && hardware == tag
}

/// Whether the status of a sensor says that it is paired as its spec says.
pub fn is_paired_as_declared(sensor: &DeviceInstance) -> bool {
    let place = sensor.spec.configuration.as_ref().and_then(|configuration| configuration.sensor.as_ref());
    let (tag, epoch) = (sensor.spec.activation.expected_asset_tag_id.as_deref(), sensor.spec.activation.epoch);
    sensor
        .status
        .as_ref()
        .zip(place)
        .is_some_and(|(status, place)| is_paired(status, &place.gateway_ref.name, tag, epoch))
}

/// A sensor that something stands in the way of.
fn stopped(desired: &mut DeviceInstanceStatus, obstacle: &Obstacle, now: Timestamp) -> Vec<Statement> {
    unpair(desired, Phase::NeedsConfiguration, now);
    let mut statements = obstacle.statements();
    statements.push(not_paired());
    statements
}

fn unpair(desired: &mut DeviceInstanceStatus, phase: Phase, now: Timestamp) {
    presence::leave(desired, now);
    desired.sensor = None;
    desired.phase = Some(phase);
}

fn not_paired() -> Statement {
    Statement::new(ConditionType::Active, Status::False, Reason::NotActivated, "no gateway is paired with it")
}

/// What was said of the hardware stays.
fn held(status: &DeviceInstanceStatus) -> Vec<Statement> {
    let Some(paired) = &status.sensor else { return vec![not_paired()] };
    let message = format!("gateway {} is paired with it", paired.gateway);
    let active = Statement::new(ConditionType::Active, Status::True, Reason::Paired, message);
    vec![active, connected(status, &paired.gateway, false), healthy(status)]
}

fn note(
    status: &mut DeviceInstanceStatus,
    report: Option<&SensorReport>,
    history: &History,
    now: Timestamp,
) -> Option<HeldBack> {
    let (connectivity, health, failed) = match report {
        Some(report) => {
            let connectivity = if report.connected { Connectivity::Connected } else { Connectivity::Disconnected };
            let failed = presence::names_of(&report.failed_health_checks);
            let health = if failed.is_empty() { Health::Healthy } else { Health::Critical };
            (Some(connectivity), Some(health), Some(failed))
        }
        None => (status.connectivity, status.health, None),
    };
    presence::note_changes(status, connectivity, health, failed, history, now)
}

fn connected(status: &DeviceInstanceStatus, gateway: &str, hidden: bool) -> Statement {
    let (value, reason, message) = match status.connectivity {
        _ if hidden => (
            Status::Unknown,
            Reason::GatewayDisconnected,
            format!("gateway {gateway} is silent, so nothing is known of the sensors that it carries"),
        ),
        Some(Connectivity::Connected) => {
            (Status::True, Reason::CheckedIn, format!("gateway {gateway} hears it when it is due"))
        }
        Some(Connectivity::Disconnected) => (
            Status::False,
            Reason::Silent,
            format!("gateway {gateway} does not hear it: check its battery, and how far it is from the gateway"),
        ),
        None => (Status::Unknown, Reason::NotReported, format!("gateway {gateway} has yet to say whether it hears it")),
    };
    Statement::new(ConditionType::Connected, value, reason, message)
}

fn healthy(status: &DeviceInstanceStatus) -> Statement {
    let (value, reason, message) = match status.health {
        Some(Health::Healthy) => {
            (Status::True, Reason::ChecksPassed, "all health checks of the sensor passed".to_owned())
        }
        Some(Health::Critical) => (
            Status::False,
            Reason::ChecksFailed,
            format!("health checks of the sensor failed: {}", status.failed_health_checks.join(", ")),
        ),
        None => (Status::Unknown, Reason::NotReported, "the gateway has yet to say how it is".to_owned()),
    };
    Statement::new(ConditionType::Healthy, value, reason, message)
}

/// What else there is to say of a sensor that is paired.
fn claims(sensor: &DeviceInstance, facts: &Facts<'_>) -> Vec<Statement> {
    let duplicate = facts.same_tag.as_ref().map(|other| {
        let message = format!(
            "the asset tag of the sensor is also that of {other}: one of them is mislabelled or a copy; find out which, and \
             correct its spec.activation.expectedAssetTagId"
        );
        Statement::new(ConditionType::DuplicateAssetTag, Status::True, Reason::AssetTagNotUnique, message)
    });
    let withdrawn = sensor.spec.out_of_service.then(|| {
        let message = "the sensor is withdrawn from service: what it measures is kept, and not judged until spec.outOfService \
                       is false";
        Statement::new(ConditionType::OutOfService, Status::True, Reason::Withdrawn, message)
    });
    duplicate.into_iter().chain(withdrawn).collect()
}

#[cfg(test)]
mod tests;
