//! Pure: how far a template's revision has gone out, read from the devices' statuses, and what is to be done next.

use std::collections::{BTreeMap, HashMap};

use fleetform_crds::condition::{ConditionType, Reason, Statement, Status, has_reason, whole_second};
use fleetform_crds::config_template::{RolloutPhase, RolloutStatus};
use fleetform_crds::{ConfigTemplate, DeviceInstance, DeviceInstanceStatus};
use fleetform_domain::activation::Phase;
use fleetform_domain::configuration::Configuration;
use fleetform_domain::rollout::{self, Member, Pause, Progress, RolloutStrategy, Stage, State};
use fleetform_domain::transition::{self, Connectivity};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::controllers::Obstacle;
use crate::reconcile::plan::News;

/// Annotation on a template that names the pause after which its rollout goes on: `<revision>-<pauses>`.
pub const RESUME_ANNOTATION: &str = "fleetform.dev/resume-rollout";

/// Most names that a sentence lists.
const LISTED: usize = 5;

/// What a rollout depends on beside the template.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// Of what the template makes of its devices.
    pub digests: &'a Digests<'a>,
    /// The device instances that refer to the template.
    pub devices: &'a [&'a DeviceInstance],
    /// Time zones of sites, by name.
    pub zones: &'a BTreeMap<String, String>,
    /// The devices that may take the revision already, and since when.
    pub admitted: &'a HashMap<String, Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// Where a rollout stands, and what is to be done about it.
#[derive(Debug)]
pub struct Step {
    /// To be stored.
    pub status: RolloutStatus,
    /// Devices that may take the revision now.
    pub admit: Vec<String>,
    /// When to look again.
    pub look_again: Option<Timestamp>,
    /// `Ready`, and what goes with it.
    pub statements: Vec<Statement>,
    /// What people are told.
    pub news: Option<News>,
}

/// How far a device is with what the template says now.
pub fn stage(template: &ConfigTemplate, device: &DeviceInstance, digest: &Digests<'_>) -> Option<Stage> {
    let configuration = device.status.as_ref()?.configuration.as_ref()?;
    let version = device.desired_version()?;
    let from_template = version.template.as_ref().map(|from| from.uid.as_str()) == template.metadata.uid.as_deref();
    if !from_template || version.digest != digest.of(device) {
        return Some(Stage::Waiting);
    }
    if configuration.applied == Some(configuration.desired) {
        return Some(Stage::Done);
    }
    // What the device tries again may yet come about.
    let refused = configuration.refused.as_ref().filter(|refused| !refused.reason.is_retried());
    Some(refused.map_or(Stage::Changing(version.created_at.0), |refused| Stage::Refused(refused.since.0)))
}

/// Whether something that a person has to see to keeps a device from its configuration.
fn is_kept_from(status: &DeviceInstanceStatus) -> bool {
    let reasons = [Reason::SecretUnusable, Reason::ConfigurationIncomplete];
    reasons.into_iter().any(|reason| has_reason(&status.conditions, ConditionType::Ready, reason))
}

/// Digests of what a template makes of its devices. Most devices override nothing, and share one.
#[derive(Debug)]
pub struct Digests<'a> {
    base: &'a Configuration,
    plain: String,
}

impl<'a> Digests<'a> {
    /// Of this configuration.
    pub fn new(base: &'a Configuration) -> Self {
        let plain = base.overridden_by(&Configuration::default()).digest();
        Self { base, plain }
    }

    fn of(&self, device: &DeviceInstance) -> String {
        let overrides = device.overrides();
        if overrides.is_empty() { self.plain.clone() } else { self.base.overridden_by(&overrides).digest() }
    }
}

fn members<'a>(template: &ConfigTemplate, circumstances: &Circumstances<'a>) -> Vec<Member<'a>> {
    let active = circumstances.devices.iter().filter(|device| device.phase() == Phase::Active);
    active.filter_map(|device| member(template, device, circumstances)).collect()
}

fn member<'a>(
    template: &ConfigTemplate,
    device: &'a DeviceInstance,
    circumstances: &Circumstances<'a>,
) -> Option<Member<'a>> {
    let status = device.status.as_ref()?;
    let mode = status.configuration.as_ref().and_then(|configuration| configuration.operation_mode);
    let wanted = device.overrides().operation_mode.or(template.spec.configuration.operation_mode);
    if mode != wanted {
        // It says so itself: the mode takes a deactivation first.
        return None;
    }
    let name = device.metadata.name.as_deref()?;
    let stage = match (stage(template, device, circumstances.digests)?, circumstances.admitted.get(name)) {
        // What stands in the way of the new configuration is said by the device's conditions.
        (Stage::Waiting, Some(since)) if is_kept_from(status) => Stage::Refused(*since),
        (Stage::Waiting, Some(since)) => Stage::Changing(*since),
        (stage, _) => stage,
    };
    let told_at = match stage {
        Stage::Waiting => None,
        Stage::Changing(told) => Some(told),
        Stage::Refused(_) | Stage::Done => device.desired_version().map(|version| version.created_at.0),
    };
    Some(Member {
        name,
        site: &device.spec.site_ref.name,
        stage,
        told_at,
        silent_since: transition::disconnected_since(&status.transitions),
        // A device that is locked takes no configuration.
        connected: status.connectivity == Some(Connectivity::Connected) && status.lock.is_none(),
        critical_since: transition::critical_since(&status.transitions),
    })
}

/// The next step of the rollout of `revision` by `strategy`.
pub fn step(
    template: &ConfigTemplate,
    strategy: &RolloutStrategy,
    revision: u32,
    circumstances: &Circumstances<'_>,
) -> Step {
    let now = circumstances.now;
    let before = template.status.as_ref().and_then(|status| status.rollout.as_ref());
    let before = before.filter(|rollout| rollout.revision == revision);
    let mut progress = before.map_or_else(|| Progress::begun(now), progress_of);
    let pauses = before.map_or(0, |rollout| rollout.pauses);
    let was_paused = before.is_some_and(|rollout| rollout.phase == RolloutPhase::Paused);
    let answer = template.metadata.annotations.as_ref().and_then(|annotations| annotations.get(RESUME_ANNOTATION));
    let resumed = was_paused && answer.is_some_and(|answer| *answer == pause_name(revision, pauses));
    if resumed {
        // Times are stored in whole seconds: what is known now must not count as news then.
        progress.resumed_at = Some(now + SignedDuration::from_secs(1));
    }
    let zones: BTreeMap<&str, Option<TimeZone>> =
        circumstances.zones.iter().map(|(site, zone)| (site.as_str(), TimeZone::get(zone).ok())).collect();
    let members = members(template, circumstances);
    let decision = rollout::decide(strategy, &members, &zones, &progress, now);
    let held = matches!(decision.state, State::Paused(_));
    let by_hand = decision.state == State::Paused(Pause::ByHand);
    // What is held by hand is let go by hand; each pause for another reason has a name of its own.
    let pauses = pauses + u32::from(held && !by_hand && (!was_paused || resumed));
    let status = RolloutStatus {
        revision,
        phase: phase_of(&decision.state),
        batch: decision.progress.batch,
        pauses,
        started_at: whole_second(decision.progress.started_at),
        settled_at: decision.progress.settled_at.map(whole_second),
        resumed_at: decision.progress.resumed_at.map(whole_second),
    };
    let was_complete = before.is_some_and(|rollout| rollout.phase == RolloutPhase::Complete);
    let tell = |reason, action: String, note: String| News { warning: false, reason, action, note };
    let batch = status.batch;
    let news = match &decision.state {
        State::Progressing if !decision.admit.is_empty() => {
            let note = format!("batch {batch} of revision {revision}: {}", listed(&decision.admit));
            Some(tell(Reason::RolloutBatch, format!("Revision{revision}Batch{batch}"), note))
        }
        State::Complete { offline, refused } if !was_complete && batch > 0 => {
            let outcome = completion(revision, &members, *offline, *refused);
            let note = format!("{outcome}; it took {batch} batches");
            Some(tell(Reason::RolloutComplete, format!("Revision{revision}"), note))
        }
        _ => None,
    };
    let statements = statements(template, &decision.state, &status, &members);
    Step { status, admit: decision.admit, look_again: decision.look_again, statements, news }
}

fn progress_of(rollout: &RolloutStatus) -> Progress {
    Progress {
        started_at: rollout.started_at.0,
        batch: rollout.batch,
        settled_at: rollout.settled_at.as_ref().map(|time| time.0),
        resumed_at: rollout.resumed_at.as_ref().map(|time| time.0),
    }
}

fn phase_of(state: &State) -> RolloutPhase {
    match state {
        State::Progressing => RolloutPhase::Progressing,
        State::Soaking { .. } => RolloutPhase::Soaking,
        State::AwaitingWindow { .. } => RolloutPhase::AwaitingWindow,
        State::Paused(_) => RolloutPhase::Paused,
        State::Complete { .. } => RolloutPhase::Complete,
    }
}

/// The name of a pause: what goes on after it names it, so that an answer that was left answers no other.
fn pause_name(revision: u32, pauses: u32) -> String {
    format!("{revision}-{pauses}")
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn have(revision: u32, members: &[Member<'_>]) -> String {
    let done = members.iter().filter(|member| member.stage == Stage::Done).count();
    format!("{done} of {} active devices have revision {revision}", members.len())
}

/// How a rollout has ended, in words.
fn completion(revision: u32, members: &[Member<'_>], offline: usize, refused: usize) -> String {
    if offline + refused == 0 {
        return format!("every active device has revision {revision}");
    }
    let mut words = have(revision, members);
    for (count, what) in [
        (offline, "offline or locked: the change reaches them when they return"),
        (refused, "that do not take it, and say why in their conditions"),
    ] {
        if count > 0 {
            words = format!("{words}; {count} {what}");
        }
    }
    words
}

fn statements(
    template: &ConfigTemplate,
    state: &State,
    status: &RolloutStatus,
    members: &[Member<'_>],
) -> Vec<Statement> {
    let revision = status.revision;
    let so_far = have(revision, members);
    let obstacle = match state {
        State::Complete { offline, refused } => {
            let message = completion(revision, members, *offline, *refused);
            return vec![Statement::new(ConditionType::Ready, Status::True, Reason::RolloutComplete, message)];
        }
        State::Progressing => {
            Obstacle::waits(Reason::RolloutProgressing, format!("{so_far}; batch {} is under way", status.batch))
        }
        State::Soaking { until } => Obstacle::waits(
            Reason::RolloutSoaking,
            format!("{so_far}; batch {} is watched until {until}", status.batch),
        ),
        State::AwaitingWindow { until } => Obstacle::waits(
            Reason::RolloutAwaitingWindow,
            format!("{so_far}; the next maintenance window opens at {until}"),
        ),
        State::Paused(Pause::ByHand) => {
            Obstacle::stalls(Reason::RolloutPaused, format!("{so_far}; held by spec.rollout.paused"))
        }
        State::Paused(pause) => {
            let why = match pause {
                Pause::Critical(device) => format!("device instance {device} turned Critical after it got the change"),
                Pause::Refused(device) => {
                    format!("device instance {device} does not take the change, and says why in its conditions")
                }
                Pause::WentSilent(device) => {
                    format!("device instance {device} has fallen silent since it got the change")
                }
                Pause::UnknownTimeZone(site) => format!(
                    "spec.timeZone of Site {site} is no time zone, so nobody can tell when its maintenance window opens"
                ),
                Pause::NotApplied(device) => format!("device instance {device} has not applied the change in time"),
                Pause::ByHand => unreachable!("said above"),
            };
            let name = |name: &Option<String>| name.clone().unwrap_or_default();
            let remedy = format!(
                "look into it; then go on with: kubectl annotate --overwrite --namespace {} configtemplate {} \
                 {RESUME_ANNOTATION}={}; or edit the template back",
                name(&template.metadata.namespace),
                name(&template.metadata.name),
                pause_name(revision, status.pauses),
            );
            Obstacle::stalls(Reason::RolloutPaused, format!("{so_far}; held, as {why}: {remedy}"))
        }
    };
    obstacle.statements()
}
