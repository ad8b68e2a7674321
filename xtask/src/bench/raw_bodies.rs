//! Pure: what the bare client writes: the bodies that the operator would write, in the same size, with made-up values where
//! a secret or a digest would stand. Each run compares what is stored in the end with what the operator stored.

use serde_json::{Value, json};

/// Length of the text of an activation code: address, pin and token.
const CODE_BYTES: usize = 179;

/// Size of its picture.
const PICTURE_BYTES: usize = 1730;

const TIME: &str = "2026-01-01T12:00:00Z";
const UUID: &str = "00000000-0000-4000-8000-000000000000";
const DIGEST: &str = "c8309949c9ae2eed916f7c320bd8498f234d91e4d051ad57308699f522c7ae73";
const CODE_TYPE: &str = "fleetform.dev/activation-qr";

/// Name of the Secret with the activation code.
pub(super) fn secret_name(device: &str) -> String {
    format!("{device}-activation-qr")
}

/// The Secret with the activation code.
pub(super) fn secret(device: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(device),
            "labels": { "fleetform.dev/secret": "activation-qr", "app.kubernetes.io/managed-by": "fleetform" },
            "annotations": {
                "fleetform.dev/activation-sequence": "1",
                "fleetform.dev/expires-at": TIME,
                "fleetform.dev/token-nonce": UUID,
                "fleetform.dev/token-sha256": DIGEST,
            },
            "ownerReferences": [{
                "apiVersion": "fleetform.dev/v1alpha1",
                "kind": "DeviceInstance",
                "name": device,
                "uid": uid,
                "controller": true,
            }],
        },
        "type": CODE_TYPE,
        "data": { "code": base64_of(CODE_BYTES), "qr.png": base64_of(PICTURE_BYTES) },
    })
}

/// Base64 of so many bytes.
fn base64_of(bytes: usize) -> String {
    let mut text = "Zmxl".repeat(bytes.div_ceil(3));
    match bytes % 3 {
        1 => text.replace_range(text.len() - 4.., "Zg=="),
        2 => text.replace_range(text.len() - 4.., "Zmw="),
        _ => {}
    }
    text
}

/// The instance is ready for activation: merged into the status.
pub(super) fn ready(device: &str, uid: &str, version: &str) -> Value {
    json!({
        "metadata": { "resourceVersion": version, "uid": uid },
        "status": {
            "observedGeneration": 1,
            "phase": "ReadyForActivation",
            "deviceInstanceId": "pzhVrxhGIzW9Q8",
            "arn": "arn:aws:one:us-east-1:123456789012:device-instance/pzhVrxhGIzW9Q8",
            "activation": { "epoch": 0, "secretName": secret_name(device), "sequence": 1 },
            "configuration": {
                "desired": 1,
                "operationMode": "Entry",
                "history": [{
                    "version": 1,
                    "createdAt": TIME,
                    "digest": DIGEST,
                    "template": { "name": "entry-door", "revision": 1, "uid": UUID },
                }],
            },
            "conditions": [
                condition("Ready", "True", "ActivationCodeAvailable", "the activation code can be scanned"),
                condition("Active", "False", "NotActivated", "no device is associated: scan the activation code with one"),
            ],
        },
    })
}

/// The code is redeemed: a JSON Patch that tests first.
pub(super) fn redeem(uid: &str) -> Value {
    const PENDING: &str = "the device has yet to confirm the desired configuration";
    const UNSEEN: &str = "the device has yet to check in for the first time";
    json!([
        { "op": "test", "path": "/metadata/uid", "value": uid },
        { "op": "test", "path": "/spec/activation/epoch", "value": 0 },
        { "op": "test", "path": "/status/phase", "value": "ReadyForActivation" },
        { "op": "test", "path": "/status/activation/sequence", "value": 1 },
        { "op": "replace", "path": "/status/phase", "value": "Active" },
        { "op": "replace", "path": "/status/activation", "value": {
            "epoch": 0,
            "sequence": 1,
            "association": {
                "id": UUID,
                "deviceKeySha256": DIGEST,
                "tokenSha256": DIGEST,
                "epoch": 0,
                "sequence": 1,
                "siteUid": UUID,
            },
        } },
        { "op": "add", "path": "/status/device", "value": { "activatedAt": TIME, "assetTagId": "SIM-0123456789abcdef" } },
        { "op": "add", "path": "/status/connectivity", "value": "DISCONNECTED" },
        { "op": "replace", "path": "/status/conditions", "value": [
            condition("Ready", "False", "ConfigurationPending", PENDING),
            condition("Reconciling", "True", "ConfigurationPending", PENDING),
            condition("Active", "True", "Activated", "a device is associated"),
            condition("Connected", "False", "NotReported", UNSEEN),
            condition("Healthy", "Unknown", "NotReported", UNSEEN),
        ] },
    ])
}

/// The device has checked in and runs its configuration: merged into the status.
pub(super) fn checked_in(uid: &str, version: &str) -> Value {
    json!({
        "metadata": { "resourceVersion": version, "uid": uid },
        "status": {
            "configuration": { "applied": 1 },
            "connectivity": "CONNECTED",
            "device": { "softwareVersion": "1.0.0" },
            "health": "HEALTHY",
            "transitions": [{
                "kind": "Connectivity",
                "previous": "DISCONNECTED",
                "current": "CONNECTED",
                "sequence": 1,
                "time": TIME,
            }],
            "conditions": at_work(),
        },
    })
}

/// The device is to run version 2: merged into the status.
pub(super) fn told(uid: &str, version: &str) -> Value {
    const PENDING: &str = "the device has yet to confirm the desired configuration";
    let revision = |number: u32| {
        json!({
            "version": number,
            "createdAt": TIME,
            "digest": DIGEST,
            "template": { "name": "entry-door", "revision": number, "uid": UUID },
        })
    };
    json!({
        "metadata": { "resourceVersion": version, "uid": uid },
        "status": {
            "configuration": { "desired": 2, "history": [revision(1), revision(2)] },
            "conditions": [
                condition("Ready", "False", "ConfigurationPending", PENDING),
                condition("Reconciling", "True", "ConfigurationPending", PENDING),
                condition("Active", "True", "Activated", "a device is associated"),
                condition("Connected", "True", "CheckedIn", "the device checks in when it is due"),
                condition(
                    "Healthy",
                    "True",
                    "ChecksPassed",
                    "all health checks passed when the device checked in last",
                ),
            ],
        },
    })
}

/// The device runs version 2: merged into the status.
pub(super) fn applied(uid: &str, version: &str) -> Value {
    json!({
        "metadata": { "resourceVersion": version, "uid": uid },
        "status": { "configuration": { "applied": 2 }, "conditions": at_work() },
    })
}

fn at_work() -> Value {
    json!([
        condition("Ready", "True", "ConfigurationApplied", "the device runs the desired configuration"),
        condition("Active", "True", "Activated", "a device is associated"),
        condition("Connected", "True", "CheckedIn", "the device checks in when it is due"),
        condition("Healthy", "True", "ChecksPassed", "all health checks passed when the device checked in last"),
    ])
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": TIME,
    })
}

#[cfg(test)]
mod tests {
    use super::base64_of;

    #[test]
    fn bytes_are_as_many_as_asked_for() {
        for (bytes, text) in [(1, "Zg=="), (2, "Zmw="), (3, "Zmxl"), (4, "ZmxlZg==")] {
            assert_eq!(base64_of(bytes), text);
        }
    }
}
