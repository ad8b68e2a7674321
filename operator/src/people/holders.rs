//! Pure: which devices hold a list of the enrolled users, or may.

use fleetform_crds::condition::whole_second;
use fleetform_crds::device_instance::{ConfigurationStatus, ENROLLED_USERS_FINALIZER};
use fleetform_crds::{DeviceInstance, DeviceInstanceStatus};
use fleetform_domain::activation::Phase;
use fleetform_domain::configuration::{DeviceType, OperationMode};
use jiff::Timestamp;

fn entry(device_type: DeviceType, status: &DeviceInstanceStatus) -> Option<&ConfigurationStatus> {
    let is_reader = device_type == DeviceType::Reader && status.phase == Some(Phase::Active);
    let configuration = status.configuration.as_ref().filter(|_| is_reader)?;
    (configuration.operation_mode == Some(OperationMode::Entry)).then_some(configuration)
}

/// Whether somebody has opened the device, copied it or carried it away, as far as is known.
pub fn is_locked(device: &DeviceInstance) -> bool {
    device.status.as_ref().is_some_and(|status| status.lock.is_some())
}

/// Whether the instance, once deleted, stays until its devices have forgotten their lists. Before it does, none is given out.
pub fn is_held(device: &DeviceInstance) -> bool {
    device.metadata.finalizers.iter().flatten().any(|found| found == ENROLLED_USERS_FINALIZER)
}

/// Whether the device is to hold a list: by the configuration that it runs, or by the one that it should run. A locked one is to hold
/// none, as it may be in wrong hands.
pub fn keeps_list(device: &DeviceInstance) -> bool {
    let wants = |status| wants_list(device.spec.device_type, status);
    is_held(device) && device.status.as_ref().is_some_and(wants)
}

/// Whether a device of this type and status is to hold a list as soon as its instance is held.
pub fn wants_list(device_type: DeviceType, status: &DeviceInstanceStatus) -> bool {
    let Some(configuration) = entry(device_type, status) else { return false };
    let versions = [Some(configuration.desired), configuration.applied];
    let mut versions = versions.into_iter().flatten().filter_map(|number| configuration.version(number));
    status.lock.is_none() && versions.any(|version| version.offline_recognition)
}

/// Whether the device may hold a list, unless it says otherwise: any of its configurations let it, as far as they are remembered.
pub fn may_hold_list(device: &DeviceInstance) -> bool {
    let status = device.status.as_ref();
    let Some(configuration) = status.and_then(|status| entry(device.spec.device_type, status)) else { return false };
    let forgotten = configuration.history.first().is_none_or(|first| first.version > 1);
    is_held(device) && (forgotten || configuration.history.iter().any(|version| version.offline_recognition))
}

/// Whether the device may hold a list with somebody who was deleted at `deleted`, unless it says otherwise.
pub fn may_know(device: &DeviceInstance, deleted: Timestamp) -> bool {
    let activated = device.status.as_ref().and_then(|status| status.device.as_ref()?.activated_at.clone());
    // Otherwise it was empty when the person was on no list any more.
    may_hold_list(device) && activated.is_none_or(|activated| activated.0 <= whole_second(deleted).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use serde_json::{Value, json};

    fn door(change: &Value) -> DeviceInstance {
        let mut device = fixtures::device(&json!({}));
        let version = |number: u32, offline: bool| json!({ "version": number, "digest": "", "createdAt": "2026-01-01T00:00:00Z", "offlineRecognition": offline });
        let mut status = json!({
            "phase": "Active",
            "configuration": {
                "desired": 2, "applied": 1, "operationMode": "Entry", "history": [version(1, false), version(2, true)],
            },
            "device": { "assetTagId": "1", "activatedAt": "2026-01-01T12:00:00Z" },
        });
        json_patch::merge(&mut status, change);
        device.status = serde_json::from_value(status).unwrap();
        device.metadata.finalizers = Some(vec![ENROLLED_USERS_FINALIZER.to_owned()]);
        device
    }

    fn history(offline: &[bool]) -> Value {
        let version = |(number, offline): (usize, &bool)| json!({ "version": number + 1, "digest": "", "createdAt": "2026-01-01T00:00:00Z", "offlineRecognition": offline });
        json!(offline.iter().enumerate().map(version).collect::<Vec<_>>())
    }

    #[test]
    fn lists_are_for_doors_whose_configuration_says_so() {
        assert!(keeps_list(&door(&json!({}))), "the desired configuration says so");
        let lock = json!({ "id": "l", "reason": "Tamper", "since": "2026-01-01T00:00:00Z" });
        for change in [
            json!({ "phase": "ReadyForActivation" }),
            json!({ "configuration": { "operationMode": "Enrollment" } }),
            json!({ "configuration": { "history": history(&[false, false]) } }),
            json!({ "lock": lock }),
        ] {
            assert!(!keeps_list(&door(&change)), "{change}");
        }
        let free = DeviceInstance { metadata: fixtures::device(&json!({})).metadata, ..door(&json!({})) };
        let status = free.status.as_ref().unwrap();
        let wants = wants_list(free.spec.device_type, status);
        assert!(wants && !keeps_list(&free), "it could be deleted and forgotten");
        assert!(
            keeps_list(&door(&json!({ "configuration": { "history": history(&[true, false]) } }))),
            "it still runs it"
        );
    }

    #[test]
    fn who_ever_kept_a_list_may_still_hold_it() {
        let (before, after) = (fixtures::noon(), fixtures::noon() - jiff::SignedDuration::from_secs(1));
        let kept = json!({ "configuration": { "desired": 3, "history": history(&[true, false, false]) } });
        assert!(may_know(&door(&kept), before));
        assert!(!may_know(&door(&kept), after), "it was activated after the deletion");
        let never = json!({ "configuration": { "history": history(&[false, false]) } });
        assert!(!may_know(&door(&never), before));
        let mut trimmed = door(&json!({ "configuration": { "history": history(&[false, false, false]) } }));
        if let Some(configuration) = trimmed.status.as_mut().and_then(|status| status.configuration.as_mut()) {
            configuration.history.remove(0);
        }
        assert!(may_know(&trimmed, before), "what is no longer remembered may have let it");
        let lock = json!({ "id": "l", "reason": "Tamper", "since": "2026-01-01T00:00:00Z" });
        assert!(may_know(&door(&json!({ "lock": lock })), before), "a locked one did not forget by that");
    }
}
