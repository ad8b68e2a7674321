//! Pure: events about devices.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Detail, Event, ONE, SiteMetadata, envelope, fact_id};
use crate::id::{Arn, Installation};
use crate::transition::{Change, Connectivity, Health, Transition};

/// Detail of an event about a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceDetail {
    /// Version of the detail: `1.0.0`.
    pub version: String,
    /// Where the device is.
    pub metadata: SiteMetadata,
    /// What changed.
    pub data: DeviceData,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceData {
    /// The change itself.
    #[serde(flatten)]
    pub change: DeviceChange,
    /// Asset tag of the hardware.
    pub asset_tag_id: String,
    /// Display name of the device instance.
    pub device_instance_name: String,
}

/// The change itself, under the names that the guides give it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum DeviceChange {
    /// Health.
    Health {
        /// Now.
        current_health_status: Health,
        /// Before.
        previous_health_status: Health,
    },
    /// Connectivity.
    Connectivity {
        /// Now.
        current_connectivity: Connectivity,
        /// Before.
        previous_connectivity: Connectivity,
    },
}

/// What an event needs to know beside the transition.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// UID of the device instance.
    pub uid: &'a str,
    /// ARN of the device instance.
    pub arn: &'a Arn,
    /// Display name of the device instance.
    pub device_instance_name: &'a str,
    /// Display name of the site.
    pub site_name: &'a str,
    /// ARN of the site.
    pub site_arn: &'a Arn,
}

/// The id of the event that tells of `transition`: `UUIDv5` over object UID, sequence and time.
pub fn transition_event_id(uid: &str, transition: &Transition) -> Uuid {
    fact_id(uid, transition.sequence, transition.time)
}

/// The event that tells of `transition`. A pure function of what is stored: computed again, it is the same event.
pub fn transition_event(here: &Installation, subject: &Subject<'_>, transition: &Transition) -> Event {
    let (detail_type, change) = match transition.change {
        Change::Health { previous, current } => (
            match current {
                Health::Healthy => "Device Health Status Changed To Healthy",
                Health::Critical => "Device Health Status Changed To Critical",
            },
            DeviceChange::Health { current_health_status: current, previous_health_status: previous },
        ),
        Change::Connectivity { previous, current } => (
            match current {
                Connectivity::Connected => "Device Connectivity Changed To Online",
                Connectivity::Disconnected => "Device Connectivity Changed To Offline",
            },
            DeviceChange::Connectivity { current_connectivity: current, previous_connectivity: previous },
        ),
    };
    let detail = DeviceDetail {
        version: "1.0.0".into(),
        metadata: SiteMetadata { site_name: subject.site_name.into(), site_arn: subject.site_arn.clone() },
        data: DeviceData {
            change,
            asset_tag_id: transition.asset_tag_id.clone(),
            device_instance_name: subject.device_instance_name.into(),
        },
    };
    let id = transition_event_id(subject.uid, transition);
    envelope(here, id, ONE, detail_type, transition.time, subject.arn.clone(), Detail::Device(detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ResourceId;

    fn check(change: Change) -> Event {
        let here = Installation::new("aws", "us-east-1", "123456789012").unwrap();
        let id: ResourceId = "12345678901234".parse().unwrap();
        let (device, site) = (here.device_instance_arn(&id), here.site_arn(&id));
        let subject = Subject {
            uid: "0f5e6c1e-0000-4000-8000-000000000001",
            arn: &device,
            device_instance_name: "Device name",
            site_name: "Site name",
            site_arn: &site,
        };
        let time = "2022-10-22T18:43:48.250Z".parse().unwrap();
        transition_event(&here, &subject, &Transition { sequence: 7, time, asset_tag_id: "0000195169".into(), change })
    }

    #[test]
    fn health_events_have_the_exact_envelope() {
        let (good, bad) = (Health::Healthy, Health::Critical);
        insta::assert_json_snapshot!("to_healthy", check(Change::Health { previous: bad, current: good }));
        insta::assert_json_snapshot!("to_critical", check(Change::Health { previous: good, current: bad }));
    }

    #[test]
    fn connectivity_events_have_the_exact_envelope() {
        let (on, off) = (Connectivity::Connected, Connectivity::Disconnected);
        insta::assert_json_snapshot!("to_online", check(Change::Connectivity { previous: off, current: on }));
        insta::assert_json_snapshot!("to_offline", check(Change::Connectivity { previous: on, current: off }));
    }

    #[test]
    fn an_event_reads_back_as_itself() {
        let event = check(Change::Health { previous: Health::Critical, current: Health::Healthy });
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
