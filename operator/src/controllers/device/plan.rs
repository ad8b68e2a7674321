//! Pure: what to do about a device instance.

use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status};
use fleetform_crds::device_instance::{ActivationStatus, ConfigurationStatus};
use fleetform_crds::{ConfigTemplate, DeviceInstance, DeviceInstanceStatus, Project, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::id::{Installation, ResourceId};
use jiff::Timestamp;
use uuid::Uuid;

use super::configuration::{self, Missing, Wanted};
use super::presence;
use crate::activation::code::{Mint, StoredCode};
use crate::cache::Found;
use crate::controllers::{Obstacle, grace_left, no_project};
use crate::gateway::table::Liveness;
use crate::reconcile::plan::{Action, Plan};
use crate::reconcile::{names, status};

/// What a device instance's plan depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Where ARNs come from.
    pub installation: &'a Installation,
    /// Makes codes.
    pub mint: &'a Mint,
    /// The namespace's project.
    pub project: Option<&'a Project>,
    /// The site that the spec refers to.
    pub site: Found<Site>,
    /// The template that the spec refers to, if it does.
    pub template: Option<Found<ConfigTemplate>>,
    /// The stored activation code, if there is one.
    pub code: Option<StoredCode>,
    /// Whether the associated device is there.
    pub liveness: Option<Liveness>,
    /// 16 random bytes, for a new code.
    pub nonce: [u8; 16],
    /// Now.
    pub now: Timestamp,
}

/// The plan for a device instance.
pub fn plan(device: &DeviceInstance, facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    let (Some(uid), Some(name), None) =
        (&device.metadata.uid, &device.metadata.name, &device.metadata.deletion_timestamp)
    else {
        return plan;
    };
    if facts.code.as_ref().is_some_and(|code| code.owner_uid.as_ref() != Some(uid)) {
        // Left by an instance of the same name that was deleted: the garbage collector is about to remove it.
        plan.look_again_in(std::time::Duration::from_secs(1));
        return plan;
    }
    let wanted = match wanted(device, facts) {
        Ok(wanted) => Ok(wanted),
        Err(Missing::Moment) => return plan,
        Err(Missing::Obstacle(obstacle)) => {
            let unseen = device.status.as_ref().is_none_or(|status| status.observed_generation.is_none());
            if obstacle.waits
                && unseen
                && let Some(left) = grace_left(device, facts.now)
            {
                plan.look_again_in(left);
                return plan;
            }
            Err(obstacle)
        }
    };

    let mut desired = device.status.clone().unwrap_or_default();
    let id = ResourceId::of(uid);
    desired.observed_generation = device.metadata.generation;
    desired.arn = Some(facts.installation.device_instance_arn(&id));
    desired.device_instance_id = Some(id);
    let epoch = device.spec.activation.epoch;
    let associated = desired.phase == Some(Phase::Active)
        && desired.activation.as_ref().and_then(|a| a.association.as_ref()).is_some_and(|a| a.epoch == epoch);
    let statements = if associated {
        active(&mut plan, &mut desired, wanted, facts)
    } else {
        inactive(&mut plan, &mut desired, wanted, device, facts)
    };
    if desired.phase != Some(Phase::ReadyForActivation)
        && let Some(code) = &facts.code
    {
        plan.actions.push(Action::DeleteSecret { name: names::code_secret(name), uid: code.uid.clone() });
    }
    desired.conditions = condition::merge(&desired.conditions, &statements, device.metadata.generation, facts.now);
    plan.actions.extend(status::patch(device.status.as_ref(), &desired).map(Action::PatchStatus));
    plan
}

fn wanted(device: &DeviceInstance, facts: &Facts<'_>) -> Result<Wanted, Missing> {
    let obstacle = |obstacle| Err(Missing::Obstacle(obstacle));
    if facts.project.is_none() {
        return obstacle(no_project(device.metadata.namespace.as_deref().unwrap_or_default()));
    }
    let site = &device.spec.site_ref.name;
    match &facts.site {
        Found::Here(_) => configuration::wanted(device, facts.template.as_ref()),
        Found::Unreadable(why) => {
            obstacle(Obstacle::waits(Reason::SiteNotFound, format!("spec.siteRef: Site {site} cannot be read: {why}")))
        }
        Found::Absent => obstacle(Obstacle::waits(
            Reason::SiteNotFound,
            format!("spec.siteRef: there is no Site {site} in this namespace; create it, or refer to another one"),
        )),
    }
}

/// An instance with a device: its configuration changes in place, its operation mode does not change.
fn active(
    plan: &mut Plan,
    desired: &mut DeviceInstanceStatus,
    wanted: Result<Wanted, Obstacle>,
    facts: &Facts<'_>,
) -> Vec<Statement> {
    let mode = desired.configuration.as_ref().and_then(|configuration| configuration.operation_mode);
    let wanted = wanted.and_then(|wanted| match (mode, wanted.whole.operation_mode) {
        (Some(now), Some(then)) if now != then => Err(Obstacle::stalls(
            Reason::OperationModeFixed,
            format!(
                "the configuration asks for operation mode {then}, but the device is active as {now}: deactivate it \
                 first (raise spec.activation.epoch), or change the mode back"
            ),
        )),
        _ => Ok(wanted),
    });
    if let Ok(wanted) = &wanted {
        desired.configuration = Some(configuration::desire(desired.configuration.as_ref(), wanted, facts.now));
    }
    if let Some(activation) = &mut desired.activation {
        activation.secret_name = None;
    }
    let liveness = facts.liveness.as_ref().unwrap_or(&Liveness::Unknown);
    let flaps_until = presence::observe(desired, liveness, facts.now);
    if let Some(until) = flaps_until {
        plan.look_again_at(until, facts.now);
    }
    let mut statements = match wanted {
        Err(obstacle) => obstacle.statements(),
        Ok(_) => readiness(desired.configuration.as_ref()),
    };
    statements.extend(presence::statements(desired, flaps_until.is_some()));
    statements
}

/// `Ready` of an active instance: whether the device runs what it should.
pub(super) fn readiness(configuration: Option<&ConfigurationStatus>) -> Vec<Statement> {
    if configuration.is_some_and(|configuration| configuration.applied == Some(configuration.desired)) {
        let message = "the device runs the desired configuration";
        vec![Statement::new(ConditionType::Ready, Status::True, Reason::ConfigurationApplied, message)]
    } else {
        let message = "the device has yet to confirm the desired configuration";
        Obstacle::waits(Reason::ConfigurationPending, message).statements()
    }
}

/// An instance without a device: configured, it gets a code.
fn inactive(
    plan: &mut Plan,
    desired: &mut DeviceInstanceStatus,
    wanted: Result<Wanted, Obstacle>,
    device: &DeviceInstance,
    facts: &Facts<'_>,
) -> Vec<Statement> {
    let was_ready = desired.phase == Some(Phase::ReadyForActivation);
    desired.device = None;
    desired.connectivity = None;
    desired.health = None;
    if let Some(configuration) = &mut desired.configuration {
        configuration.applied = None;
    }
    let before = desired.activation.clone().unwrap_or_default();
    let mut activation = ActivationStatus {
        secret_name: None,
        sequence: before.sequence,
        epoch: device.spec.activation.epoch,
        association: None,
    };
    let statements = match wanted {
        Ok(wanted) => {
            desired.configuration = Some(configuration::desire(desired.configuration.as_ref(), &wanted, facts.now));
            desired.phase = Some(Phase::ReadyForActivation);
            if !was_ready {
                activation.sequence += 1;
            }
            activation.secret_name = device.metadata.name.as_deref().map(names::code_secret);
            keep_code(plan, device, activation.sequence, facts);
            vec![Statement::new(
                ConditionType::Ready,
                Status::True,
                Reason::ActivationCodeAvailable,
                "the activation code can be scanned",
            )]
        }
        Err(obstacle) => {
            desired.phase = Some(Phase::NeedsConfiguration);
            obstacle.statements()
        }
    };
    desired.activation = Some(activation);
    let inactive = Statement::new(
        ConditionType::Active,
        Status::False,
        Reason::NotActivated,
        "no device is associated: scan the activation code with one",
    );
    statements.into_iter().chain([inactive]).collect()
}

/// Makes a code when there is none for this sequence, and a new one when it has little time left.
fn keep_code(plan: &mut Plan, device: &DeviceInstance, sequence: i64, facts: &Facts<'_>) {
    let rotate_at = facts.mint.settings.rotate_at();
    let stored = facts.code.as_ref().filter(|code| code.live.sequence == sequence);
    if let Some(code) = stored
        && code.expires.duration_since(facts.now) > rotate_at
    {
        plan.look_again_at(code.expires - rotate_at, facts.now);
        return;
    }
    let previous = stored.filter(|code| code.expires > facts.now).and_then(|code| code.live.tokens.first().cloned());
    let project = facts.project.and_then(|project| Uuid::parse_str(project.metadata.uid.as_deref()?).ok());
    let code = project.and_then(|p| facts.mint.code(p, device, sequence, previous, facts.nonce, facts.now));
    if let Some(code) = code {
        plan.look_again_at(code.expires - rotate_at, facts.now);
        plan.actions.push(Action::ApplyCode(code));
    }
}
