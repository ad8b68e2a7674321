//! Pure: what to do about a device instance.

use std::time::Duration;

use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status};
use fleetform_crds::device_instance::{
    ActivationStatus, ConfigurationStatus, ENROLLED_USERS_FINALIZER, RefusedVersion,
};
use fleetform_crds::{DeviceInstance, DeviceInstanceStatus};
use fleetform_domain::activation::Phase;
use fleetform_domain::configuration::UpdateState;
use fleetform_domain::id::ResourceId;
use fleetform_domain::operation::{CommandKind, DEFAULT_MAXIMUM_OFFLINE_MINUTES};
use jiff::{SignedDuration, Timestamp};

use super::code::{Code, earlier_code, keep_code};
use super::configuration;
use super::facts::{Facts, is_associated};
use super::lock::{self, Circumstances};
use super::want::{Want, want};
use super::{commands, departure, presence};
use crate::cache::Found;
use crate::controllers::{Obstacle, grace_left};
use crate::gateway::table::Liveness;
use crate::people::{former, holders};
use crate::reconcile::plan::{Action, News, Plan};
use crate::reconcile::{names, status};

/// How long the Secret of an earlier instance of the same name may stand in the way before that is said: the garbage collector
/// is about to remove it.
const COLLECTED_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// Time between two tries to store a code's Secret that was refused.
const TROUBLE_RETRY: Duration = Duration::from_secs(30);

/// The plan for a device instance.
pub fn plan(device: &DeviceInstance, facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    let (Some(uid), Some(name)) = (&device.metadata.uid, &device.metadata.name) else { return plan };
    if device.metadata.deletion_timestamp.is_some() {
        return departure::plan(device, facts);
    }
    let (code, trouble) = match &facts.code {
        Some(secret) if secret.owner_uid.as_ref() == Some(uid) => (Some(secret), None),
        Some(_) if created_since(device, facts.now) < COLLECTED_WITHIN => {
            plan.look_again_in(Duration::from_secs(1));
            return plan;
        }
        Some(_) => (None, Some(earlier_code(device))),
        None => (None, facts.refused.as_ref().map(|refused| refused.obstacle(device))),
    };
    let want = want(device, facts);
    if let Want::Nothing(obstacle) = &want {
        let unseen = device.status.as_ref().is_none_or(|status| status.observed_generation.is_none());
        if obstacle.waits
            && unseen
            && let Some(left) = grace_left(device, facts.now)
        {
            plan.look_again_in(left);
            return plan;
        }
    }

    let mut desired = device.status.clone().unwrap_or_default();
    if matches!(want, Want::Held(None)) {
        if !is_configured(&desired) {
            return plan;
        }
    } else {
        // What is held for a moment has not been looked at.
        desired.observed_generation = device.metadata.generation;
    }
    let leaves = Some(device).filter(|device| !is_associated(device));
    let last = leaves.and_then(|device| former::of_association(device, facts.last_heard, facts.now));
    desired.former_devices = former::unresolved(
        desired.former_devices.into_iter().chain(last).collect(),
        |id| facts.has_left(id),
        facts.now,
    );
    let id = ResourceId::of(uid);
    desired.arn = Some(facts.installation.device_instance_arn(&id));
    desired.device_instance_id = Some(id);
    let statements = if is_associated(device) {
        active(&mut plan, &mut desired, want, device, facts)
    } else {
        inactive(&mut plan, &mut desired, want, &Code { device, stored: code, trouble }, facts)
    };
    if desired.phase != Some(Phase::ReadyForActivation)
        && let Some(code) = code
    {
        plan.actions.push(Action::DeleteSecret { name: names::code_secret(name), uid: code.uid.clone() });
    }
    let before = device.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    desired.conditions = condition::merge(before, &statements, desired.observed_generation, facts.now);
    plan.actions.extend(Action::keep(facts.history.shorten(&mut desired.transitions)));
    plan.actions.extend(status::patch(device.status.as_ref(), &desired).map(Action::PatchStatus));
    plan.actions.extend(condition::new_stall(before, &statements).map(News::stall).map(Action::Publish));
    plan.actions.extend(let_go(device, &desired).map(Action::Publish));
    if holders::wants_list(device.spec.device_type, &desired) && !holders::is_held(device) {
        plan.actions.push(Action::Hold { finalizer: ENROLLED_USERS_FINALIZER });
    }
    plan
}

/// A device that nobody may have inspected is let go: that is on record also when its lock goes with it.
fn let_go(device: &DeviceInstance, desired: &DeviceInstanceStatus) -> Option<News> {
    let before = device.status.as_ref()?;
    let lock = before.lock.as_ref().filter(|lock| lock.reason.takes_inspection() && desired.lock.is_none())?;
    let hardware = before.device.as_ref().filter(|_| desired.device.is_none())?;
    let (reason, asset_tag) = (lock.reason, &hardware.asset_tag_id);
    Some(News {
        warning: true,
        reason: Reason::LockedDeviceDeactivated,
        action: format!("Lock{}", lock.id),
        note: format!(
            "the device with asset tag {asset_tag} was locked ({reason}, {}) and has been deactivated: inspect it before it is \
             activated again",
            lock.id
        ),
    })
}

/// Whether the instance is on its way: it has a configuration, and was ready for activation or active with it.
fn is_configured(status: &DeviceInstanceStatus) -> bool {
    status.configuration.is_some() && matches!(status.phase, Some(Phase::ReadyForActivation | Phase::Active))
}

fn created_since(device: &DeviceInstance, now: Timestamp) -> SignedDuration {
    device.metadata.creation_timestamp.as_ref().map_or(SignedDuration::ZERO, |created| now.duration_since(created.0))
}

/// How long the device may be without its gateway, by the configuration that it runs, whatever is wanted of it.
fn maximum_offline(configuration: Option<&ConfigurationStatus>) -> SignedDuration {
    let in_force =
        configuration.and_then(|configuration| configuration.version(configuration.applied?)?.maximum_offline_minutes);
    SignedDuration::from_mins(in_force.unwrap_or(DEFAULT_MAXIMUM_OFFLINE_MINUTES).into())
}

/// An instance with a device: its configuration changes in place, its operation mode does not change.
fn active(
    plan: &mut Plan,
    desired: &mut DeviceInstanceStatus,
    want: Want,
    device: &DeviceInstance,
    facts: &Facts<'_>,
) -> Vec<Statement> {
    let mode = desired.configuration.as_ref().and_then(|configuration| configuration.operation_mode);
    let obstacle = match want {
        Want::This(wanted) => match (mode, wanted.whole.operation_mode) {
            (Some(now), Some(then)) if now != then => Some(Obstacle::stalls(
                Reason::OperationModeFixed,
                format!(
                    "the configuration asks for operation mode {then}, but the device is active as {now}: deactivate it \
                     first (raise spec.activation.epoch), or change the mode back"
                ),
            )),
            _ => {
                desired.configuration = Some(configuration::desire(desired.configuration.as_ref(), &wanted, facts.now));
                None
            }
        },
        Want::Held(obstacle) => obstacle,
        Want::Nothing(obstacle) => Some(obstacle),
    };
    // Who is over quota is served on. What it waits for, it has.
    let obstacle = obstacle.or_else(|| facts.over_quota.clone().filter(|over| !over.waits));
    if let Some(activation) = &mut desired.activation {
        activation.secret_name = None;
    }
    let liveness = facts.liveness.as_ref().unwrap_or(&Liveness::Unknown);
    let circumstances = Circumstances {
        maximum_offline: maximum_offline(desired.configuration.as_ref()),
        serving_since: facts.serving_since,
        nonce: &facts.nonce,
        now: facts.now,
    };
    let site = match &facts.site {
        Found::Here(site) => site.metadata.annotations.as_ref(),
        Found::Unreadable(_) | Found::Absent => None,
    };
    let annotations = device.metadata.annotations.as_ref();
    lock::observe(desired, liveness, annotations, site, &circumstances);
    if let Some(id) = commands::reboot_asked(annotations) {
        commands::request(desired, CommandKind::Reboot, id.as_str(), &condition::whole_second(facts.now));
    }
    if let Liveness::Reporting(report) = liveness {
        commands::observe(desired, report, &condition::whole_second(facts.now));
    }
    let held_back = presence::observe(desired, liveness, &facts.history, facts.now);
    presence::look_again(plan, held_back, facts.now);
    let mut statements = match obstacle {
        Some(obstacle) => obstacle.statements(),
        None => readiness(desired),
    };
    statements.extend(presence::statements(desired, held_back));
    statements.extend(presence::clock(desired, liveness));
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    statements.extend(lock::statement(desired, &name(&device.metadata.name), &name(&device.metadata.namespace)));
    if let Some(other) = &facts.same_tag {
        let message = format!(
            "the asset tag of the device is also that of {other}: one of them is mislabelled or a copy; find out which, and \
             deactivate it (raise spec.activation.epoch)"
        );
        let duplicate = ConditionType::DuplicateAssetTag;
        statements.push(Statement::new(duplicate, Status::True, Reason::AssetTagNotUnique, message));
    }
    if device.spec.out_of_service {
        let message =
            "the device is withdrawn from service: it says so, and serves nobody until spec.outOfService is false";
        statements.push(Statement::new(ConditionType::OutOfService, Status::True, Reason::Withdrawn, message));
    }
    statements
}

/// `Ready` of an active instance: whether the device runs what it should.
pub(super) fn readiness(status: &DeviceInstanceStatus) -> Vec<Statement> {
    let configuration = status.configuration.as_ref();
    if configuration.is_some_and(|configuration| configuration.applied == Some(configuration.desired)) {
        let message = "the device runs the desired configuration";
        return vec![Statement::new(ConditionType::Ready, Status::True, Reason::ConfigurationApplied, message)];
    }
    if let Some(configuration) = configuration
        && let Some(refused) = &configuration.refused
    {
        return refusal(configuration, refused).statements();
    }
    let update = status.device.as_ref().and_then(|device| device.software_update.as_ref());
    let message = match update {
        None => "the device has yet to confirm the desired configuration".to_owned(),
        Some(update) => match update.state {
            UpdateState::Downloading => {
                format!("the device downloads software {}: {} % or more is there", update.version, update.percent)
            }
            UpdateState::Installing => format!("the device installs software {}", update.version),
        },
    };
    Obstacle::waits(Reason::ConfigurationPending, message).statements()
}

fn refusal(configuration: &ConfigurationStatus, refused: &RefusedVersion) -> Obstacle {
    let runs = match configuration.applied {
        Some(version) => format!("it runs version {version}"),
        None => "it runs no configuration yet".to_owned(),
    };
    let message = format!(
        "the device refused configuration version {} ({}), and {runs}: {}",
        refused.version,
        refused.reason,
        refused.reason.message()
    );
    let reason = Reason::ConfigurationRefused;
    if refused.reason.is_retried() { Obstacle::waits(reason, message) } else { Obstacle::stalls(reason, message) }
}

/// An instance without a device: configured, it gets a code.
fn inactive(
    plan: &mut Plan,
    desired: &mut DeviceInstanceStatus,
    want: Want,
    code: &Code<'_>,
    facts: &Facts<'_>,
) -> Vec<Statement> {
    let was_ready = desired.phase == Some(Phase::ReadyForActivation);
    presence::leave(desired, facts.now);
    let now = condition::whole_second(facts.now);
    // A reboot is not kept for whoever comes.
    if let Some(id) = commands::reboot_asked(code.device.metadata.annotations.as_ref()) {
        commands::request(desired, CommandKind::Reboot, id.as_str(), &now);
    }
    commands::abandon(desired, &now);
    let (ready, obstacle) = match want {
        Want::This(wanted) => {
            desired.configuration = Some(configuration::desire(desired.configuration.as_ref(), &wanted, facts.now));
            (true, None)
        }
        // One that was deactivated meanwhile has its configuration, and is ready for the next device.
        Want::Held(obstacle) => (is_configured(desired), obstacle),
        Want::Nothing(obstacle) => (false, Some(obstacle)),
    };
    let before = desired.activation.clone().unwrap_or_default();
    let mut activation = ActivationStatus {
        secret_name: None,
        sequence: before.sequence + i64::from(ready && !was_ready),
        epoch: code.device.spec.activation.epoch,
        association: None,
    };
    let mut obstacle = obstacle;
    if ready {
        desired.phase = Some(Phase::ReadyForActivation);
        if let Some(trouble) = &code.trouble {
            plan.look_again_in(TROUBLE_RETRY);
            obstacle = obstacle.or_else(|| Some(trouble.clone()));
        } else if keep_code(plan, code, activation.sequence, facts) {
            activation.secret_name = code.device.metadata.name.as_deref().map(names::code_secret);
        }
    } else {
        desired.phase = Some(Phase::NeedsConfiguration);
    }
    desired.activation = Some(activation);
    let mut statements = match obstacle {
        Some(obstacle) => obstacle.statements(),
        None => vec![Statement::new(
            ConditionType::Ready,
            Status::True,
            Reason::ActivationCodeAvailable,
            "the activation code can be scanned",
        )],
    };
    statements.push(Statement::new(
        ConditionType::Active,
        Status::False,
        Reason::NotActivated,
        "no device is associated: scan the activation code with one",
    ));
    statements
}
