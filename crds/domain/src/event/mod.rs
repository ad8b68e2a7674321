//! Pure: events in the shape of Amazon `EventBridge`.

mod device;
mod machine;
mod person;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{Arn, Installation};

pub use device::{DeviceChange, DeviceData, DeviceDetail, Subject, transition_event, transition_event_id};
pub use machine::{
    AlertFact, AlertSubject, ClosureCodes, MONITRON, MachineChange, MachineData, MachineDetail, alert_event,
};
pub use person::{
    Occasion, Person, PersonData, PersonDetail, Source, UserStatus, person_event, person_event_id,
    un_enrollment_event_id,
};

/// An event as `EventBridge` delivers it. Field names and values are those of the guides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Version of the envelope: `0`.
    pub version: String,
    /// The same for the same fact, however often it is delivered.
    pub id: Uuid,
    /// What happened.
    pub detail_type: String,
    /// Who says so.
    pub source: String,
    /// 12 digits.
    pub account: String,
    /// RFC 3339 in whole seconds, UTC.
    pub time: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// ARNs of what it is about.
    pub resources: Vec<Arn>,
    /// The rest.
    pub detail: Detail,
}

/// The rest of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Detail {
    /// Of an event about a device.
    Device(DeviceDetail),
    /// Of an event about a machine.
    Machine(MachineDetail),
    /// Of an event about a person.
    Person(PersonDetail),
}

/// Where a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteMetadata {
    /// Display name of the site.
    pub site_name: String,
    /// ARN of the site.
    pub site_arn: Arn,
}

/// Source of events about readers and people, as in the guides.
pub const ONE: &str = "aws.one";

/// What ids of facts are derived in.
pub(crate) const NAMESPACE: Uuid = Uuid::from_u128(0x6f1f_7d0a_94c5_4b7e_8d35_5d1c_8e0a_2f61);

impl Event {
    /// The detail of an event about a device.
    pub fn device(&self) -> Option<&DeviceDetail> {
        if let Detail::Device(detail) = &self.detail { Some(detail) } else { None }
    }

    /// The detail of an event about a machine.
    pub fn machine(&self) -> Option<&MachineDetail> {
        if let Detail::Machine(detail) = &self.detail { Some(detail) } else { None }
    }

    /// The detail of an event about a person.
    pub fn person(&self) -> Option<&PersonDetail> {
        if let Detail::Person(detail) = &self.detail { Some(detail) } else { None }
    }
}

/// An event of this kind, id and time.
fn envelope(
    here: &Installation,
    id: Uuid,
    source: &str,
    detail_type: &str,
    time: Timestamp,
    resource: Arn,
    detail: Detail,
) -> Event {
    Event {
        version: "0".into(),
        id,
        detail_type: detail_type.into(),
        source: source.into(),
        account: here.account().into(),
        time: whole_seconds(time),
        region: here.region().into(),
        resources: vec![resource],
        detail,
    }
}

/// The id of the event that tells of a fact of an object: `UUIDv5` over its UID, the fact's sequence and time.
fn fact_id(uid: &str, sequence: i64, time: Timestamp) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{uid}/{sequence}/{time}").as_bytes())
}

/// RFC 3339 in whole seconds, UTC.
pub(crate) fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).expect("whole seconds of a timestamp are a timestamp").to_string()
}
