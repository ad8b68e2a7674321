//! What holds of every event.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::cases::event;
use super::{UID, records};
use crate::audit::Event;

const CANARY: &str = "canary";

/// Members that a spec of some kind has, and some that none has, each with a value that is not for the trail.
fn confidential() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(CANARY)),
        Just(json!([CANARY])),
        Just(json!([{ "key": CANARY, "value": CANARY, CANARY: 1 }])),
        Just(json!({ CANARY: CANARY })),
        Just(json!({ "name": "Canary bird canary", "addressLine1": CANARY, "addressLine2": CANARY, "ssid": CANARY })),
        Just(Value::Null),
    ];
    let member = prop_oneof![
        Just("displayName"),
        Just("description"),
        Just("address"),
        Just("addressFrom"),
        Just("tags"),
        Just("siteRef"),
        Just("deviceType"),
        Just("configuration"),
        Just("activation"),
        Just("outOfService"),
        Just("role"),
        Just("person"),
        Just("group"),
        Just("machineClass"),
        Just("resolution"),
        Just("acknowledged"),
        Just("canary"),
    ];
    proptest::collection::btree_map(member, leaf, 0..8).prop_map(|members| json!(members))
}

/// The same in the form of a JSON Patch.
fn operations(spec: &Value) -> Value {
    let members = spec.as_object().into_iter().flatten();
    members.map(|(key, value)| json!({ "op": "add", "path": format!("/spec/{key}"), "value": value })).collect()
}

fn resource() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("sites"),
        Just("deviceinstances"),
        Just("configtemplates"),
        Just("projects"),
        Just("assets"),
        Just("alerts"),
        Just("adminusers"),
        Just("enrolledusers"),
    ]
}

proptest! {
    #[test]
    fn nothing_that_is_not_listed_stands_in_a_record(
        resource in resource(),
        verb in prop_oneof![Just("create"), Just("update"), Just("patch"), Just("delete"), Just("get")],
        sent in confidential(),
        kept in confidential(),
        form in 0..3_u8,
        code in prop_oneof![Just(200), Just(201), Just(403), Just(409), Just(422), Just(500)],
    ) {
        let answer = json!({
            "metadata": { "name": "x", "uid": UID, "annotations": { "a": CANARY, CANARY: "b" }, "labels": { "a": CANARY } },
            "spec": kept, "status": kept, "data": { "passphrase": CANARY },
        });
        let body = match form {
            0 => json!({ "spec": sent, "metadata": { "annotations": { "fleetform.dev/reboot": CANARY } } }),
            1 => json!({ "apiVersion": "v1", "kind": CANARY, "spec": sent, "data": { "passphrase": CANARY } }),
            _ => operations(&sent),
        };
        let more = json!({
            "requestURI": "/apis/fleetform.dev/canary?canary=canary",
            "requestObject": body, "responseObject": answer,
            "user": { "groups": [CANARY], "extra": { CANARY: [CANARY], "more": [CANARY] } },
            "annotations": { "authorization.k8s.io/reason": CANARY, CANARY: CANARY },
            "responseStatus": { "code": code, "reason": CANARY, "message": CANARY, "details": { "causes": [CANARY] } },
        });
        let records = records(&event(verb, resource, &more));
        prop_assert!(!records.is_empty());
        for record in records {
            let mut value = serde_json::to_value(&record).unwrap();
            // Names of other objects are listed.
            for listed in ["site", "addressSecret", "deviceConfigurationTemplate", "asset", "gateway"] {
                if let Some(Value::Object(parameters)) = value.get_mut("requestParameters") {
                    parameters.remove(listed);
                }
            }
            let text = value.to_string();
            prop_assert!(!text.to_lowercase().contains(CANARY), "{}", text);
        }
    }

    #[test]
    fn what_comes_from_outside_is_bounded(length in 0..4000_usize, letter in "[a-z\u{0}\n\"é]") {
        let long = letter.repeat(length);
        let more = json!({
            "auditID": long, "userAgent": long, "sourceIPs": [long],
            "user": { "username": long, "uid": long, "extra": { "authentication.kubernetes.io/credential-id": [long] } },
            "objectRef": { "name": long, "namespace": long },
            "requestObject": { "spec": { "address": { "city": long }, "addressFrom": { "name": long } } },
        });
        for record in records(&event("patch", "sites", &more)) {
            prop_assert!(serde_json::to_string(&record).unwrap().len() < 6000);
        }
    }

    #[test]
    fn no_event_whatsoever_is_a_surprise(resource in resource(), verb in "[a-z]{0,8}", body in any_json(), json in ".{0,80}") {
        let more = json!({ "requestObject": body, "responseObject": body });
        records(&event(&verb, resource, &more));
        for verb in ["create", "update", "patch", "delete"] {
            records(&event(verb, resource, &more));
        }
        prop_assert!(Event::read(&json).is_err());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z/~0-9]{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("spec".to_owned()),
        Just("status".to_owned()),
        Just("metadata".to_owned()),
        Just("op".to_owned()),
        Just("path".to_owned()),
        Just("value".to_owned()),
        Just("annotations".to_owned()),
        "[a-z]{1,4}",
    ];
    leaf.prop_recursive(5, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..5).prop_map(|members| json!(members)),
        ]
    })
}
