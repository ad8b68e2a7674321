//! Pure: what to do about a device instance.

use std::time::Duration;

use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status};
use fleetform_crds::device_instance::{ActivationStatus, ConfigurationStatus, TemplateRevision};
use fleetform_crds::{ConfigTemplate, DeviceInstance, DeviceInstanceStatus, Project, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::id::{Installation, ResourceId};
use fleetform_domain::operation::{CommandKind, DEFAULT_MAXIMUM_OFFLINE_MINUTES};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use uuid::Uuid;

use super::configuration::{self, Held, Missing, Wanted};
use super::lock::{self, Circumstances};
use super::{commands, presence};
use crate::activation::code::{CodeSecretMeta, CodeSubject, Mint};
use crate::cache::Found;
use crate::controllers::{Obstacle, grace_left, no_project};
use crate::error::Error;
use crate::gateway::table::Liveness;
use crate::reconcile::plan::{Action, News, Plan};
use crate::reconcile::{names, status};

/// How long the Secret of an earlier instance of the same name may stand in the way before that is said: the garbage collector
/// is about to remove it.
const COLLECTED_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// Time between two tries to store a code's Secret that was refused.
const TROUBLE_RETRY: Duration = Duration::from_secs(30);

/// What a device instance's plan depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Where ARNs come from.
    pub installation: &'a Installation,
    /// Makes codes.
    pub mint: &'a Mint,
    /// The namespace's project.
    pub project: Found<Project>,
    /// The site that the spec refers to.
    pub site: Found<Site>,
    /// The template that the spec refers to, if it does.
    pub template: Option<Found<ConfigTemplate>>,
    /// The revision that the device keeps, as the template's rollout has not come to it; an error when it does not read.
    pub held: Option<Result<Held, Error>>,
    /// The Secret with Wi-Fi credentials that the configuration refers to, if there is no such Secret.
    pub missing_wifi: Option<String>,
    /// The Secret of the code's name, if Fleetform made one.
    pub code: Option<CodeSecretMeta>,
    /// Why the code's Secret was not stored, when that was just tried.
    pub refused: Option<Refused>,
    /// Whether the associated device is there.
    pub liveness: Option<Liveness>,
    /// Another device instance whose hardware claims the same asset tag.
    pub same_tag: Option<String>,
    /// Since when the gateway serves.
    pub serving_since: Option<Timestamp>,
    /// 16 random bytes, for a new code or a new lock.
    pub nonce: [u8; 16],
    /// Now.
    pub now: Timestamp,
}

/// What is wanted of an instance.
#[derive(Debug)]
enum Want {
    /// This configuration.
    This(Box<Wanted>),
    /// What it has: what it depends on cannot be told just now. Why, if that has to be said.
    Held(Option<Obstacle>),
    /// Nothing can be wanted before this is out of the way.
    Nothing(Obstacle),
}

/// The plan for a device instance.
pub fn plan(device: &DeviceInstance, facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    let (Some(uid), Some(name), None) =
        (&device.metadata.uid, &device.metadata.name, &device.metadata.deletion_timestamp)
    else {
        return plan;
    };
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
    let id = ResourceId::of(uid);
    desired.arn = Some(facts.installation.device_instance_arn(&id));
    desired.device_instance_id = Some(id);
    let epoch = device.spec.activation.epoch;
    let associated = desired.phase == Some(Phase::Active)
        && desired.activation.as_ref().and_then(|a| a.association.as_ref()).is_some_and(|a| a.epoch == epoch)
        && !lock::is_elsewhere(device);
    let statements = if associated {
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
    plan.actions.extend(status::patch(device.status.as_ref(), &desired).map(Action::PatchStatus));
    plan.actions.extend(condition::new_stall(before, &statements).map(News::stall).map(Action::Publish));
    plan
}

/// Whether the instance is on its way: it has a configuration, and was ready for activation or active with it.
fn is_configured(status: &DeviceInstanceStatus) -> bool {
    status.configuration.is_some() && matches!(status.phase, Some(Phase::ReadyForActivation | Phase::Active))
}

/// The revision of a template that the desired version comes from.
pub fn template_in_force(device: &DeviceInstance) -> Option<&TemplateRevision> {
    let configuration = device.status.as_ref()?.configuration.as_ref()?;
    let version = configuration.history.iter().find(|version| version.version == configuration.desired)?;
    version.template.as_ref()
}

fn created_since(device: &DeviceInstance, now: Timestamp) -> SignedDuration {
    device.metadata.creation_timestamp.as_ref().map_or(SignedDuration::ZERO, |created| now.duration_since(created.0))
}

fn want(device: &DeviceInstance, facts: &Facts<'_>) -> Want {
    match &facts.project {
        Found::Here(_) => {}
        Found::Unreadable(why) => {
            let message = format!("the Project of this namespace cannot be read: {why}");
            return Want::Held(Some(Obstacle::waits(Reason::ProjectUnreadable, message)));
        }
        Found::Absent => {
            return Want::Nothing(no_project(device.metadata.namespace.as_deref().unwrap_or_default()));
        }
    }
    let site = &device.spec.site_ref.name;
    match &facts.site {
        Found::Here(_) => {}
        Found::Unreadable(why) => {
            let message = format!("spec.siteRef: Site {site} cannot be read: {why}");
            return Want::Held(Some(Obstacle::waits(Reason::SiteUnreadable, message)));
        }
        Found::Absent => {
            let message =
                format!("spec.siteRef: there is no Site {site} in this namespace; create it, or refer to another one");
            return Want::Nothing(Obstacle::waits(Reason::SiteNotFound, message));
        }
    }
    let held = match &facts.held {
        None => None,
        Some(Ok(held)) => Some(held),
        Some(Err(error)) => {
            let message = format!("the revision that the device keeps cannot be read: {error}");
            return Want::Held(Some(Obstacle::waits(Reason::TemplateUnreadable, message)));
        }
    };
    match configuration::wanted(device, facts.template.as_ref(), held) {
        Ok(_) if let Some(secret) = &facts.missing_wifi => {
            let message = format!(
                "spec.configuration.wifi.credentialsSecretRef: there is no Secret {secret} of type {} in this namespace; \
                 create it, or refer to another one",
                names::WIFI_TYPE
            );
            Want::Nothing(Obstacle::waits(Reason::SecretUnusable, message))
        }
        Ok(wanted) => Want::This(Box::new(wanted)),
        Err(Missing::Moment) => Want::Held(None),
        Err(Missing::Unreadable(obstacle)) => Want::Held(Some(obstacle)),
        Err(Missing::Obstacle(obstacle)) => Want::Nothing(obstacle),
    }
}

/// An instance with a device: its configuration changes in place, its operation mode does not change.
fn active(
    plan: &mut Plan,
    desired: &mut DeviceInstanceStatus,
    want: Want,
    device: &DeviceInstance,
    facts: &Facts<'_>,
) -> Vec<Statement> {
    let maximum_offline = match &want {
        Want::This(wanted) => wanted.whole.maximum_offline_minutes,
        Want::Held(_) | Want::Nothing(_) => None,
    };
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
    if let Some(activation) = &mut desired.activation {
        activation.secret_name = None;
    }
    let liveness = facts.liveness.as_ref().unwrap_or(&Liveness::Unknown);
    let minutes = maximum_offline.unwrap_or(DEFAULT_MAXIMUM_OFFLINE_MINUTES);
    let circumstances = Circumstances {
        maximum_offline: SignedDuration::from_mins(minutes.into()),
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
        commands::request(desired, CommandKind::Reboot, id.as_str(), &second(facts.now));
    }
    if let Liveness::Reporting(report) = liveness {
        commands::observe(desired, report, &second(facts.now));
    }
    let flaps_until = presence::observe(desired, liveness, facts.now);
    if let Some(until) = flaps_until {
        plan.look_again_at(until, facts.now);
    }
    let mut statements = match obstacle {
        Some(obstacle) => obstacle.statements(),
        None => readiness(desired.configuration.as_ref()),
    };
    statements.extend(presence::statements(desired, flaps_until.is_some()));
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

fn second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
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

/// The code of an instance, as it is stored.
struct Code<'a> {
    device: &'a DeviceInstance,
    stored: Option<&'a CodeSecretMeta>,
    /// Why it cannot be stored.
    trouble: Option<Obstacle>,
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
    let now = second(facts.now);
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

fn secret_of(device: &DeviceInstance) -> String {
    names::code_secret(device.metadata.name.as_deref().unwrap_or_default())
}

/// The garbage collector has not removed the code of an earlier instance of the same name.
fn earlier_code(device: &DeviceInstance) -> Obstacle {
    let message = format!(
        "the Secret {} still belongs to an earlier object: the garbage collector of Kubernetes removes it, or you delete it",
        secret_of(device)
    );
    Obstacle::waits(Reason::NameTaken, message)
}

/// Why the Secret with a code was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A Secret of its name is there that Fleetform did not make.
    NameTaken,
    /// The API server refused it, with these words.
    ByApiServer(String),
}

impl Refused {
    fn obstacle(&self, device: &DeviceInstance) -> Obstacle {
        let secret = secret_of(device);
        match self {
            Self::NameTaken => Obstacle::waits(
                Reason::NameTaken,
                format!(
                    "the activation code needs the name {secret}, but a Secret of this name is there that Fleetform did \
                     not make: delete it"
                ),
            ),
            Self::ByApiServer(why) => Obstacle::waits(
                Reason::WriteRefused,
                format!("the Secret {secret} with the activation code is refused by the API server: {why}"),
            ),
        }
    }
}

/// Makes a code when there is none for this sequence, and a new one when it has little time left. Answers whether there is
/// one then: without the project there is no key to make one with.
fn keep_code(plan: &mut Plan, code: &Code<'_>, sequence: i64, facts: &Facts<'_>) -> bool {
    let project = match &facts.project {
        Found::Here(project) => project.metadata.uid.as_deref().and_then(|uid| Uuid::parse_str(uid).ok()),
        Found::Unreadable(_) | Found::Absent => None,
    };
    let Some(project) = project else { return code.stored.is_some() };
    let subject = CodeSubject { project, device: code.device, sequence };
    let rotate_at = facts.mint.settings.rotate_at();
    // A code of an earlier sequence or Project, or one that somebody changed, is none.
    let stored = code.stored.and_then(|secret| secret.code.as_ref());
    let stored = stored.filter(|code| code.live.sequence == sequence && facts.mint.text_of(subject, code).is_some());
    if let Some(stored) = stored
        && stored.expires.duration_since(facts.now) > rotate_at
    {
        plan.look_again_at(stored.expires - rotate_at, facts.now);
        return true;
    }
    let previous = stored.filter(|code| code.expires > facts.now).and_then(|code| code.live.tokens.first().cloned());
    let Some(fresh) = facts.mint.code(subject, code.stored, previous, facts.nonce, facts.now) else { return false };
    plan.look_again_at(fresh.expires - rotate_at, facts.now);
    plan.actions.push(Action::StoreCode(fresh));
    true
}
