//! Pure: one position of an asset: its state, and the alert that is open for it.
//!
//! What has to outlast the operator stands in the asset's status: which alert is open, the number of the last one that is over, and what
//! is muted. So each fault is one alert, whatever dies between two writes. What was measured before an alert was resolved does not
//! outlast the operator, so neither need it be known that it counts no longer.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleetform_crds::Alert;
use fleetform_crds::alert::AlertSensor;
use fleetform_crds::asset::PositionStatus;
use fleetform_crds::condition::whole_second;
use fleetform_domain::id::ResourceId;
use fleetform_domain::machines::{MachineClass, MachineState, Verdict};
use jiff::Timestamp;

use crate::reconcile::names;
use crate::reconcile::plan::AlertDraft;

/// The sensor that is paired at a position.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// Name of its device instance.
    pub name: String,
    /// Id of its device instance.
    pub id: ResourceId,
    /// Whether what it said last is how it is.
    pub sight: Sight,
    /// What its measurements say, as far as they count.
    pub verdict: Option<Verdict>,
    /// Whether the state may get better now; if not, in how many seconds.
    pub may_get_better: Result<(), u32>,
}

/// Whether what a sensor said last is how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It is, until it would be silent for too long, if that can be told.
    Clear {
        /// When that is, if nothing is heard of it before.
        until: Option<Timestamp>,
    },
    /// It is not: the sensor or its gateway is silent, or the sensor is withdrawn.
    None,
}

/// What becomes of a position.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: PositionStatus,
    /// An alert to be raised before the status is written.
    pub(super) raise: Option<AlertDraft>,
    /// Whether its state got better, which is only so often noted.
    pub(super) got_better: bool,
    /// The sensors whose measurements so far are not to be judged any more: the one that is there, and the one that the alert was about,
    /// wherever it is now.
    pub(super) judged_anew: BTreeSet<ResourceId>,
    /// When to look again, in seconds.
    pub(super) held_back_for: Option<u32>,
}

/// A position of an asset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position<'a> {
    pub(super) asset: &'a str,
    pub(super) class: MachineClass,
    pub(super) name: &'a str,
    pub(super) before: Option<&'a PositionStatus>,
    /// The greatest number of an alert about a position that was removed: it may have been this one.
    pub(super) removed_alerts: i64,
    pub(super) mounted: Option<&'a Mounted>,
    /// The alerts of the asset.
    pub(super) alerts: &'a [Arc<Alert>],
    /// Whether an alert does not read: then it cannot be told which one is open.
    pub(super) alerts_unreadable: bool,
}

impl Position<'_> {
    /// What becomes of it at `now`.
    pub(super) fn look(&self, now: Timestamp) -> Outcome {
        let mut status = self.before.cloned().unwrap_or_else(|| PositionStatus {
            name: self.name.to_owned(),
            sensor: None,
            state: MachineState::Unknown,
            since: None,
            alert: None,
            closed_alerts: self.removed_alerts,
            muted: None,
        });
        let before = status.state;
        let sensor = self.mounted.map(|mounted| mounted.name.clone());
        // What another sensor said, or this one elsewhere, is not said of this position.
        let mut known = if status.sensor == sensor { before } else { MachineState::Unknown };
        if status.sensor != sensor {
            // Nor is what was wrong about it said of the next one.
            status.muted = None;
        }
        status.sensor = sensor;
        let named = status.alert.clone();
        let repaired = self.close(&mut status);
        if repaired.is_some() {
            known = MachineState::Unknown;
        } else if status.alert != named
            && let Some((_, alert)) = self.alerts().find(|(_, alert)| alert.metadata.name == status.alert)
        {
            // It was raised, and whoever raised it died before the state was stored.
            known = known.max(alert.worst());
        }
        // The verdict was reached by what counted before this look.
        let verdict = self.mounted.and_then(|mounted| mounted.verdict.as_ref()).filter(|_| repaired.is_none());
        let (mut got_better, mut held_back_for) = (false, None);
        status.state = match self.mounted {
            Some(mounted) if mounted.sight != Sight::None => match verdict {
                Some(verdict) if verdict.state < known && known != MachineState::Unknown => {
                    match mounted.may_get_better {
                        Ok(()) => {
                            got_better = true;
                            verdict.state
                        }
                        Err(seconds) => {
                            held_back_for = Some(seconds);
                            known
                        }
                    }
                }
                Some(verdict) => verdict.state,
                None => known,
            },
            Some(_) | None => MachineState::Unknown,
        };
        if status.state != before || status.since.is_none() {
            status.since = Some(whole_second(now));
        }
        if status.state == MachineState::Healthy {
            status.muted = None;
        }
        let raise = verdict.and_then(|verdict| self.raise(&mut status, verdict, now));
        let about = |alert: &Alert| alert.spec.sensor.as_ref().map(|sensor| sensor.device_instance_id.clone());
        let here = || self.mounted.map(|mounted| mounted.id.clone());
        let judged_anew = repaired.into_iter().flat_map(|alert| about(alert).into_iter().chain(here())).collect();
        Outcome { status, raise, got_better, judged_anew, held_back_for }
    }

    /// The alerts of this position, with their numbers.
    fn alerts(&self) -> impl Iterator<Item = (i64, &Alert)> {
        let ours = self.alerts.iter().filter(|alert| alert.spec.position == self.name);
        ours.filter_map(|alert| Some((names::alert_number(alert.metadata.name.as_deref()?)?, &**alert)))
    }

    /// Notes which alert is open, and the end of one that is over. Answers with one that was right and is over: what was measured until
    /// now says nothing any more.
    fn close(&self, status: &mut PositionStatus) -> Option<&Alert> {
        if self.alerts_unreadable {
            return None;
        }
        // One that is open is so whatever its number: the position may have been removed meanwhile, and come back.
        let counts = |(number, alert): &(i64, &Alert)| {
            *number > status.closed_alerts || !alert.is_resolved() || status.alert == alert.metadata.name
        };
        let last = self.alerts().filter(counts).max_by_key(|(number, _)| *number);
        let Some((number, alert)) = last else {
            // Somebody deleted it.
            let deleted = status.alert.take().and_then(|name| names::alert_number(&name));
            status.closed_alerts = status.closed_alerts.max(deleted.unwrap_or(0));
            return None;
        };
        let Some(resolution) = &alert.spec.resolution else {
            status.alert.clone_from(&alert.metadata.name);
            status.closed_alerts = status.closed_alerts.max(number - 1);
            return None;
        };
        status.alert = None;
        status.closed_alerts = status.closed_alerts.max(number);
        if resolution.alert_was_right {
            status.muted = None;
        } else {
            status.muted = Some(alert.worst().max(status.state));
        }
        resolution.alert_was_right.then_some(alert)
    }

    /// The alert for an abnormal state for which none is open.
    fn raise(&self, status: &mut PositionStatus, verdict: &Verdict, now: Timestamp) -> Option<AlertDraft> {
        // A state that is held back, or hidden, is none that was just measured.
        let abnormal = verdict.state >= MachineState::Warning && status.state == verdict.state;
        let muted = status.muted.is_some_and(|muted| verdict.state <= muted);
        if !abnormal || muted || status.alert.is_some() || self.alerts_unreadable {
            return None;
        }
        let name = names::alert(self.asset, self.name, status.closed_alerts + 1);
        status.alert = Some(name.clone());
        status.muted = None;
        Some(AlertDraft {
            name,
            position: self.name.to_owned(),
            sensor: self
                .mounted
                .map(|mounted| AlertSensor { name: mounted.name.clone(), device_instance_id: mounted.id.clone() }),
            level: verdict.state,
            raised_at: whole_second(now),
            cause: verdict.in_words(self.class),
        })
    }
}
