//! What enrollments and recognitions have in common: who tells of them, when, and the event that is made of them.

use std::time::Duration;

use fleetform_crds::DeviceInstance;
use fleetform_domain::configuration::{DeviceType, OperationMode};
use fleetform_domain::event::{Occasion, Person, person_event, person_event_id};
use fleetform_domain::id::ResourceId;
use fleetform_domain::people::BadgeNumber;
use jiff::Timestamp;
use uuid::Uuid;

use super::Gateway;
use crate::crypto::DeviceIdentity;
use crate::people::holders::is_locked;
use crate::server::Refusal;

/// How long an answer waits for the event sink. A person stands at the device: when the sink is late, the device tells again.
const DELIVERY: Duration = Duration::from_secs(1);

/// A device that tells of a person.
pub(super) struct Teller<'a> {
    /// Its instance.
    pub(super) device: &'a DeviceInstance,
    /// Id of the event that it tells of.
    pub(super) event: Uuid,
    /// When it happened; now, if that lies ahead.
    pub(super) time: Timestamp,
    /// When it happened by the device's clock. The event says this, so that it is the same however often it is told.
    said: Timestamp,
    id: ResourceId,
}

impl<'a> Teller<'a> {
    /// The device tells of `sequence`, which happened at `time` by its clock.
    pub(super) fn new(
        device: &'a DeviceInstance,
        identity: &DeviceIdentity,
        sequence: u64,
        time: Timestamp,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if sequence == 0 {
            return Err(Refusal::malformed("sequence: from 1"));
        }
        let event = person_event_id(&identity.bond.association, sequence);
        let id = ResourceId::of(device.metadata.uid.as_deref().unwrap_or_default());
        Ok(Self { device, event, time: time.min(now), said: time, id })
    }

    /// The device tells of what happened at `time`.
    #[cfg(test)]
    pub(super) fn at(device: &'a DeviceInstance, time: Timestamp) -> Self {
        let id = ResourceId::of(device.metadata.uid.as_deref().unwrap_or_default());
        Self { device, event: person_event_id("a", 1), time, said: time, id }
    }

    /// Id of its instance.
    pub(super) fn id(&self) -> &ResourceId {
        &self.id
    }
}

/// Whether the device is a reader of this mode.
pub(super) fn is_reader(device: &DeviceInstance, mode: OperationMode) -> bool {
    let configuration = device.status.as_ref().and_then(|status| status.configuration.as_ref());
    device.spec.device_type == DeviceType::Reader
        && configuration.and_then(|configuration| configuration.operation_mode) == Some(mode)
}

/// Whether the device serves people in this mode: it is a reader of that mode, neither locked nor withdrawn.
pub(super) fn serves(device: &DeviceInstance, mode: OperationMode) -> bool {
    is_reader(device, mode) && !device.spec.out_of_service && !is_locked(device)
}

impl Gateway {
    /// Delivers the event of what the device tells of; whether the sink has it.
    pub(super) async fn event(&self, teller: &Teller<'_>, badge: Option<&BadgeNumber>, occasion: Occasion) -> bool {
        let person = Person { id: teller.event, time: teller.said, source: &teller.id, badge };
        let event = person_event(&self.context.settings.installation, &person, occasion);
        self.context.tell(&event, DELIVERY).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use serde_json::{Value, json};

    fn reader(mode: &str, change: &Value) -> DeviceInstance {
        let mut device = serde_json::to_value(fixtures::device(&json!({}))).unwrap();
        device["status"] = json!({ "configuration": { "desired": 1, "history": [], "operationMode": mode } });
        json_patch::merge(&mut device, change);
        serde_json::from_value(device).unwrap()
    }

    #[test]
    fn only_readers_of_the_mode_that_are_in_service_and_not_locked_serve_people() {
        assert!(serves(&reader("Entry", &json!({})), OperationMode::Entry));
        assert!(!serves(&reader("Entry", &json!({})), OperationMode::Enrollment));
        let lock = json!({ "id": "l", "reason": "Tamper", "since": "2026-01-01T00:00:00Z" });
        for change in [
            json!({ "spec": { "outOfService": true } }),
            json!({ "spec": { "deviceType": "Gateway" } }),
            json!({ "status": { "lock": lock } }),
            json!({ "status": { "configuration": null } }),
        ] {
            assert!(!serves(&reader("Entry", &change), OperationMode::Entry), "{change}");
        }
    }
}
