//! Pure: how a change of a template goes out to the devices that are active: in batches, with canaries, within maintenance
//! windows, and held when something goes wrong.

mod window;

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule;
pub use window::{Day, MaintenanceWindow};

/// How a change goes out. Left out, all devices get it at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("!has(self.maxUnavailable) || self.maxUnavailable.matches('^([1-9][0-9]{0,5}|(100|[1-9][0-9]?)%)$')",
         "rollout.maxUnavailable must be a number of devices such as '5', or a share such as '10%'"),
    rule("!has(self.canary) || self.canary.all(step, step.matches('^([1-9][0-9]{0,5}|(100|[1-9][0-9]?)%)$'))",
         "rollout.canary: every step must be a number of devices such as '1', or a share such as '10%'"),
]))]
pub struct RolloutStrategy {
    /// How many devices may be changing at the same time: a number in quotes, or a share of all such as `10%`. Left out, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub max_unavailable: Option<Amount>,
    /// The first batches: after each, so many devices in all have the change. At most 8 steps, numbers or shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub canary: Vec<Amount>,
    /// `Site`: a batch never holds devices of two sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<GroupBy>,
    /// How long a batch is watched after its last device has applied the change, before the next one begins, in seconds, up to
    /// a week.
    #[serde(default)]
    #[schemars(range(min = 0, max = 604_800))]
    pub soak_seconds: u32,
    /// When batches may begin, in the time zone of each device's site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<MaintenanceWindow>,
    /// Whether the rollout is held when a device turns Critical after it got the change.
    #[serde(default)]
    pub pause_on_critical: bool,
    /// The rollout is held when a device that is connected has not applied the change after so many seconds, 30 to 86,400. Left
    /// out, it is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 30, max = 86_400))]
    pub apply_deadline_seconds: Option<u32>,
    /// Holds the rollout by hand.
    #[serde(default)]
    pub paused: bool,
}

/// By what devices are kept together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GroupBy {
    /// By site.
    Site,
}

/// A number of devices, or a share of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Amount {
    /// So many, from 1.
    Count(u32),
    /// Of a hundred, 1 to 100, and at least one device.
    Percent(u8),
}

impl Amount {
    /// How many devices of `total` that is.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => (total * usize::from(percent)).div_ceil(100).max(1),
        }
    }
}

impl TryFrom<String> for Amount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let invalid = || format!("`{text}` is neither a number of devices such as `5` nor a share such as `10%`");
        match text.strip_suffix('%') {
            Some(share) => {
                let share = share.parse().ok().filter(|share| (1..=100).contains(share));
                share.map(Self::Percent).ok_or_else(invalid)
            }
            None => text.parse().ok().filter(|count| *count > 0).map(Self::Count).ok_or_else(invalid),
        }
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": 8 })
    }
}

/// An active device that uses the template.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a str,
    /// Name of its site.
    pub site: &'a str,
    /// How far it is.
    pub stage: Stage,
    /// When it was told of the change, unless it has yet to be.
    pub told_at: Option<Timestamp>,
    /// Whether it is there to apply anything.
    pub connected: bool,
    /// When it fell silent, while it is.
    pub silent_since: Option<Timestamp>,
    /// When it turned Critical, while it is.
    pub critical_since: Option<Timestamp>,
}

impl Member<'_> {
    /// Whether it fell silent after it was told of the change, and nobody has looked into that: it is not one that was offline
    /// anyway, and may be silent because of the change.
    fn went_silent(&self, progress: &Progress) -> bool {
        let Stage::Changing(begun) = self.stage else { return false };
        self.silent_since.is_some_and(|since| since >= begun && progress.is_news(since))
    }
}

/// How far a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has yet to be told of the change.
    Waiting,
    /// It is to apply it since then.
    Changing(Timestamp),
    /// It has said since then that it does not apply it.
    Refused(Timestamp),
    /// It has applied it.
    Done,
}

/// What is remembered of a rollout from one look to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// When it began.
    pub started_at: Timestamp,
    /// Batches so far.
    pub batch: u32,
    /// When the last device of the batch had applied the change.
    pub settled_at: Option<Timestamp>,
    /// Trouble before this was looked into by a person.
    pub resumed_at: Option<Timestamp>,
}

impl Progress {
    /// Whether what is so since then was not looked into by a person.
    fn is_news(&self, since: Timestamp) -> bool {
        self.resumed_at.is_none_or(|resumed| since >= resumed)
    }

    /// A rollout that begins now.
    pub fn begun(now: Timestamp) -> Self {
        Self { started_at: now, batch: 0, settled_at: None, resumed_at: None }
    }
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Names of the devices that make the next batch.
    pub admit: Vec<String>,
    /// To be remembered.
    pub progress: Progress,
    /// Where the rollout stands.
    pub state: State,
    /// When to look again although nothing changed.
    pub look_again: Option<Timestamp>,
}

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A batch is under way.
    Progressing,
    /// The last batch is watched.
    Soaking {
        /// Until then.
        until: Timestamp,
    },
    /// No maintenance window is open.
    AwaitingWindow {
        /// Until then.
        until: Timestamp,
    },
    /// Held.
    Paused(Pause),
    /// Every device has the change, but for those that are offline and get it when they return.
    Complete {
        /// So many of these.
        offline: usize,
        /// So many have refused it, which a person let pass.
        refused: usize,
    },
}

/// Why a rollout is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The strategy says so.
    ByHand,
    /// This device turned Critical after it got the change.
    Critical(String),
    /// This device has refused the change.
    Refused(String),
    /// This device has fallen silent since it got the change.
    WentSilent(String),
    /// This device has not applied the change in time.
    NotApplied(String),
    /// The time zone of this site is not known, so nobody can tell when its maintenance window opens.
    UnknownTimeZone(String),
}

/// What is to be done now about a change that goes out by `strategy`. `zones` are those of the sites: UTC where there is none, and
/// `None` where what is written there is no time zone.
///
/// # Guarantees
/// Devices that are there come before those that are not: one that is offline proves nothing, and gets the change when it returns.
pub fn decide(
    strategy: &RolloutStrategy,
    members: &[Member<'_>],
    zones: &BTreeMap<&str, Option<TimeZone>>,
    progress: &Progress,
    now: Timestamp,
) -> Decision {
    let mut decision =
        Decision { admit: Vec::new(), progress: progress.clone(), state: State::Progressing, look_again: None };
    let changing: Vec<&Member<'_>> =
        members.iter().filter(|member| matches!(member.stage, Stage::Changing(_))).collect();
    let is_under_way = |member: &Member<'_>| member.connected || member.went_silent(progress);
    let under_way = changing.iter().filter(|member| is_under_way(member)).count();
    let offline = changing.len() - under_way;
    let mut waiting: Vec<&Member<'_>> = members.iter().filter(|member| member.stage == Stage::Waiting).collect();
    let trouble = trouble(strategy, members, progress, now);
    let is_held = matches!(trouble, Some(Pause::Refused(_) | Pause::WentSilent(_)));
    if waiting.is_empty() && under_way == 0 && !is_held {
        let refused = members.iter().filter(|member| matches!(member.stage, Stage::Refused(_))).count();
        decision.state = State::Complete { offline, refused };
        return decision;
    }
    if let Some(pause) = trouble {
        decision.state = State::Paused(pause);
        return decision;
    }
    if under_way > 0 {
        decision.progress.settled_at = None;
        decision.look_again = deadline(strategy, &changing);
        return decision;
    }
    if progress.batch > 0 && strategy.soak_seconds > 0 {
        let settled = progress.settled_at.unwrap_or(now);
        let until = settled + SignedDuration::from_secs(strategy.soak_seconds.into());
        decision.progress.settled_at = Some(settled);
        if now < until {
            decision.state = State::Soaking { until };
            decision.look_again = Some(until);
            return decision;
        }
    }
    waiting.sort_by_key(|member| (!member.connected, strategy.group_by.map(|_| member.site), member.name));
    let opens = |member: &Member<'_>| match (&strategy.maintenance_window, zones.get(member.site)) {
        (None, _) => Some(now),
        (Some(window), None) => Some(window.opens(&TimeZone::UTC, now)),
        (Some(window), Some(zone)) => zone.as_ref().map(|zone| window.opens(zone, now)),
    };
    let open: Vec<&&Member<'_>> =
        waiting.iter().filter(|member| opens(member).is_some_and(|opens| opens <= now)).collect();
    let Some(first) = open.first() else {
        if let Some(until) = waiting.iter().filter_map(|member| opens(member)).min() {
            decision.state = State::AwaitingWindow { until };
            decision.look_again = Some(until);
        } else if let Some(member) = waiting.first() {
            decision.state = State::Paused(Pause::UnknownTimeZone(member.site.to_owned()));
        }
        return decision;
    };
    let together = open.iter().filter(|member| strategy.group_by.is_none() || member.site == first.site);
    let size = batch_size(strategy, members.len(), members.len() - waiting.len() - offline);
    decision.admit = together.take(size).map(|member| member.name.to_owned()).collect();
    decision.progress.batch += 1;
    decision.progress.settled_at = None;
    decision
}

/// How many devices the next batch has, when so many of all have the change. One that is offline is no canary.
fn batch_size(strategy: &RolloutStrategy, total: usize, have: usize) -> usize {
    let canary = strategy.canary.iter().map(|step| step.of(total)).find(|step| *step > have);
    let up_to_canary = canary.map_or(usize::MAX, |step| step - have);
    let at_once = strategy.max_unavailable.map_or(usize::MAX, |amount| amount.of(total));
    up_to_canary.min(at_once)
}

fn trouble(strategy: &RolloutStrategy, members: &[Member<'_>], progress: &Progress, now: Timestamp) -> Option<Pause> {
    if strategy.paused {
        return Some(Pause::ByHand);
    }
    let told = || members.iter().filter(|member| member.stage != Stage::Waiting);
    let turned = |member: &&Member<'_>| match (member.critical_since, member.told_at) {
        (Some(critical), Some(told)) => critical >= told.max(progress.started_at) && progress.is_news(critical),
        _ => false,
    };
    let critical = told().find(turned);
    if let Some(member) = critical.filter(|_| strategy.pause_on_critical) {
        return Some(Pause::Critical(member.name.to_owned()));
    }
    // What one device refuses, the others most likely refuse too.
    let refused = members.iter().find(|member| matches!(member.stage, Stage::Refused(at) if progress.is_news(at)));
    if let Some(member) = refused {
        return Some(Pause::Refused(member.name.to_owned()));
    }
    if let Some(member) = members.iter().find(|member| member.went_silent(progress)) {
        return Some(Pause::WentSilent(member.name.to_owned()));
    }
    let since = progress.resumed_at.unwrap_or(progress.started_at);
    let limit = SignedDuration::from_secs(strategy.apply_deadline_seconds?.into());
    let late = told().find(|member| match member.stage {
        Stage::Changing(begun) => member.connected && begun.max(since) + limit <= now,
        Stage::Waiting | Stage::Refused(_) | Stage::Done => false,
    });
    late.map(|member| Pause::NotApplied(member.name.to_owned()))
}

fn deadline(strategy: &RolloutStrategy, changing: &[&Member<'_>]) -> Option<Timestamp> {
    let limit = SignedDuration::from_secs(strategy.apply_deadline_seconds?.into());
    let begun = changing.iter().filter(|member| member.connected).filter_map(|member| match member.stage {
        Stage::Changing(begun) => Some(begun),
        Stage::Waiting | Stage::Refused(_) | Stage::Done => None,
    });
    begun.min().map(|begun| begun + limit)
}

#[cfg(test)]
mod tests;
