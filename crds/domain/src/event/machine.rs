//! Pure: events about machines: an alert from its first sign to what it was.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Detail, Event, SiteMetadata, envelope, fact_id};
use crate::id::{Arn, Installation, ResourceId};
use crate::machines::{
    AlertChange, AlertPhase, AlertTransition, FailureCause, FailureMode, MachineState, MaintenanceAction,
};

/// Source of events about machines: sensors are the other product's.
pub const MONITRON: &str = "aws.monitron";

/// Detail of an event about a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineDetail {
    /// Version of the detail: `1.0.0`.
    pub version: String,
    /// Where the machine is.
    pub metadata: SiteMetadata,
    /// What happened.
    pub data: MachineData,
}

/// What happened to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineData {
    /// Display name of the asset.
    pub asset_name: String,
    /// Name of the position at the asset.
    pub position: String,
    /// Id of the device instance of the sensor that measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<ResourceId>,
    /// Name of the alert.
    pub alert: String,
    /// The change itself.
    #[serde(flatten)]
    pub change: MachineChange,
}

/// The change itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum MachineChange {
    /// The state of the position.
    State {
        /// Now.
        current_state: MachineState,
        /// Before; not told of an alert that is raised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous_state: Option<MachineState>,
        /// What was measured, and what is normal, in words: of an alert that is raised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// Where the alert stands.
    Phase {
        /// Now.
        current_phase: AlertPhase,
        /// Before.
        previous_phase: AlertPhase,
        /// What it was and what was done: of an alert that is resolved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resolution: Option<ClosureCodes>,
    },
}

/// What it was and what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosureCodes {
    /// How the machine failed.
    pub failure_mode: FailureMode,
    /// Why.
    pub failure_cause: FailureCause,
    /// What was done.
    pub action: MaintenanceAction,
    /// Whether the alert was right.
    pub alert_was_right: bool,
}

/// The alert that an event is about.
#[derive(Clone, Debug)]
pub struct AlertSubject<'a> {
    /// UID of the alert.
    pub uid: &'a str,
    /// Name of the alert.
    pub name: &'a str,
    /// ARN of the asset.
    pub asset_arn: &'a Arn,
    /// Display name of the asset.
    pub asset_name: &'a str,
    /// Name of the position.
    pub position: &'a str,
    /// Id of the device instance of the sensor.
    pub sensor: Option<&'a ResourceId>,
    /// Display name of the site.
    pub site_name: &'a str,
    /// ARN of the site.
    pub site_arn: &'a Arn,
}

/// Something that an event tells of an alert.
#[derive(Clone, Copy, Debug)]
pub enum AlertFact<'a> {
    /// It was raised.
    Raised {
        /// When.
        at: Timestamp,
        /// `Warning` or `Alarm`.
        level: MachineState,
        /// What was measured, and what is normal, in words.
        cause: &'a str,
    },
    /// Something happened to it afterwards.
    Changed {
        /// What.
        transition: &'a AlertTransition,
        /// What it was and what was done, if that is known.
        resolution: Option<ClosureCodes>,
    },
}

impl AlertFact<'_> {
    /// Tells it from others of the same alert: its sequence, 0 for the raise, and its time.
    pub fn key(&self) -> (i64, Timestamp) {
        match self {
            Self::Raised { at, .. } => (0, *at),
            Self::Changed { transition, .. } => (transition.sequence, transition.time),
        }
    }

    /// The id of the event that tells of it: `UUIDv5` over object UID, sequence and time.
    pub fn event_id(&self, uid: &str) -> Uuid {
        let (sequence, time) = self.key();
        fact_id(uid, sequence, time)
    }
}

/// The event that tells of `fact`. A pure function of what is stored: computed again, it is the same event.
pub fn alert_event(here: &Installation, subject: &AlertSubject<'_>, fact: &AlertFact<'_>) -> Event {
    let state = |state| match state {
        MachineState::Unknown => "Asset State Changed To Unknown",
        MachineState::Healthy => "Asset State Changed To Healthy",
        MachineState::Warning => "Asset State Changed To Warning",
        MachineState::Alarm => "Asset State Changed To Alarm",
    };
    let (detail_type, change) = match *fact {
        AlertFact::Raised { level, cause, .. } => (
            state(level),
            MachineChange::State { current_state: level, previous_state: None, cause: Some(cause.to_owned()) },
        ),
        AlertFact::Changed { transition, resolution } => match transition.change {
            AlertChange::State { previous, current } => (
                state(current),
                MachineChange::State { current_state: current, previous_state: Some(previous), cause: None },
            ),
            AlertChange::Phase { previous, current } => {
                let is_resolved = current == AlertPhase::Resolved;
                let detail_type = match current {
                    AlertPhase::Raised => "Alert Raised",
                    AlertPhase::Acknowledged => "Alert Acknowledged",
                    AlertPhase::Resolved => "Alert Resolved",
                };
                let resolution = resolution.filter(|_| is_resolved);
                (detail_type, MachineChange::Phase { current_phase: current, previous_phase: previous, resolution })
            }
        },
    };
    let detail = MachineDetail {
        version: "1.0.0".into(),
        metadata: SiteMetadata { site_name: subject.site_name.into(), site_arn: subject.site_arn.clone() },
        data: MachineData {
            asset_name: subject.asset_name.into(),
            position: subject.position.into(),
            sensor: subject.sensor.cloned(),
            alert: subject.name.into(),
            change,
        },
    };
    let (id, (_, time)) = (fact.event_id(subject.uid), fact.key());
    envelope(here, id, MONITRON, detail_type, time, subject.asset_arn.clone(), Detail::Machine(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fact: &AlertFact<'_>) -> Event {
        let here = Installation::new("aws", "us-east-1", "123456789012").unwrap();
        let id: ResourceId = "12345678901234".parse().unwrap();
        let (asset, site) = (here.asset_arn(&id), here.site_arn(&id));
        let subject = AlertSubject {
            uid: "0f5e6c1e-0000-4000-8000-000000000001",
            name: "pump-1.drive-end.2",
            asset_arn: &asset,
            asset_name: "Pump 1",
            position: "drive-end",
            sensor: Some(&id),
            site_name: "Site name",
            site_arn: &site,
        };
        let event = alert_event(&here, &subject, fact);
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event, "an event reads back as itself");
        event
    }

    fn changed(change: AlertChange, resolution: Option<ClosureCodes>) -> Event {
        let transition = AlertTransition { sequence: 3, time: "2026-01-01T12:00:00.250Z".parse().unwrap(), change };
        check(&AlertFact::Changed { transition: &transition, resolution })
    }

    #[test]
    fn every_event_about_a_machine_has_the_exact_envelope() {
        let at = "2026-01-01T11:00:00Z".parse().unwrap();
        let cause = "vibration velocity (RMS) was above 2.8 mm/s three times in a row";
        insta::assert_json_snapshot!("raised", check(&AlertFact::Raised { at, level: MachineState::Warning, cause }));
        let (previous, current) = (MachineState::Warning, MachineState::Alarm);
        insta::assert_json_snapshot!("worse", changed(AlertChange::State { previous, current }, None));
        let better = AlertChange::State { previous: MachineState::Alarm, current: MachineState::Healthy };
        insta::assert_json_snapshot!("normal_again", changed(better, None));
        let again = AlertChange::State { previous: MachineState::Healthy, current: MachineState::Warning };
        insta::assert_json_snapshot!("active_again", changed(again, None));
        let (previous, current) = (AlertPhase::Raised, AlertPhase::Acknowledged);
        insta::assert_json_snapshot!("acknowledged", changed(AlertChange::Phase { previous, current }, None));
        let (previous, current) = (AlertPhase::Acknowledged, AlertPhase::Resolved);
        let codes = ClosureCodes {
            failure_mode: FailureMode::BearingDamage,
            failure_cause: FailureCause::Wear,
            action: MaintenanceAction::Replace,
            alert_was_right: true,
        };
        insta::assert_json_snapshot!("resolved", changed(AlertChange::Phase { previous, current }, Some(codes)));
    }

    #[test]
    fn each_fact_has_an_id_of_its_own() {
        let at = "2026-01-01T12:00:00.250Z".parse().unwrap();
        let raised = check(&AlertFact::Raised { at, level: MachineState::Warning, cause: "" });
        let (previous, current) = (MachineState::Warning, MachineState::Healthy);
        let better = changed(AlertChange::State { previous, current }, None);
        assert_ne!(raised.id, better.id);
        assert_eq!(better.id, changed(AlertChange::State { previous, current }, None).id);
    }
}
