mod cases;
mod property;

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CONTROLLERS, Event, OPERATOR_USER, Translator};
use crate::audit::{Action, Record};
use crate::id::Installation;
use cases::{cases, created, event, refusals, site};

const UID: &str = "7d3c1a52-0000-4000-8000-000000000001";

fn translator() -> Translator {
    let here = Installation::new("aws", "us-east-1", "123456789012").unwrap();
    Translator::new(here, vec![OPERATOR_USER.to_owned()])
}

fn records(event: &Value) -> Vec<Record> {
    let json = event.to_string();
    translator().records(&Event::read(&json).unwrap())
}

#[test]
fn every_request_is_told_by_its_actions() {
    let mut told = String::new();
    for (case, event) in cases() {
        let records = records(&event);
        assert!(!records.is_empty(), "{case}");
        for record in records {
            let parts = [("asked", json!(record.request_parameters)), ("answered", json!(record.response_elements))];
            writeln!(told, "{case}\n    {} {}", record.event_source, record.event_name).unwrap();
            for (part, members) in parts.iter().filter(|(_, members)| !members.is_null()) {
                writeln!(told, "    {part}: {members}").unwrap();
            }
            if let (Some(code), Some(message)) = (&record.error_code, &record.error_message) {
                writeln!(told, "    {code}: {message}").unwrap();
            }
            let text = serde_json::to_string(&record).unwrap().to_lowercase();
            assert!(!text.contains("private"), "{case}: {text}");
        }
    }
    insta::assert_snapshot!("actions", told);
}

#[test]
fn every_action_comes_about() {
    let told: HashSet<String> =
        cases().iter().flat_map(|(_, event)| records(event)).map(|record| record.event_name).collect();
    // What devices and people ask of gateway and portal alone: the API server never hears of it.
    let own = [Action::ListSiteObjects, Action::LookUpActivation, Action::ActivateDevice, Action::PutAuditEvents];
    let missing: Vec<_> =
        Action::ALL.iter().filter(|action| !own.contains(action) && !told.contains(action.name())).collect();
    assert_eq!(missing, Vec::<&Action>::new());
}

#[test]
fn a_record_has_the_shape_of_the_guides() {
    insta::assert_json_snapshot!("create_site", records(&created("sites", &site())));
    let (_, denied) = refusals().remove(0);
    insta::assert_json_snapshot!("denied", records(&denied));
}

#[test]
fn who_acts_as_somebody_else_is_told_too() {
    let acting = json!({
        "user": { "username": OPERATOR_USER, "uid": "o-1" },
        "impersonatedUser": { "username": "mary", "uid": "m-1", "groups": ["admins"] },
    });
    let record = records(&event("get", "sites", &acting)).remove(0);
    insta::assert_json_snapshot!("impersonation", record.user_identity);
}

#[test]
fn what_is_not_for_the_trail_is_left_out() {
    let user = |name: &str| json!({ "user": { "username": name } });
    let mut left_out = vec![
        ("it has not ended", event("get", "sites", &json!({ "stage": "ResponseStarted" }))),
        ("it is of another group", event("get", "sites", &json!({ "objectRef": { "apiGroup": "" } }))),
        ("it is of no kind of ours", event("get", "flowers", &json!({}))),
        ("it is about nothing", event("get", "sites", &json!({ "objectRef": null }))),
        ("nobody knows the verb", event("proxy", "sites", &json!({}))),
        ("nobody knows the subresource", event("get", "sites/scale", &json!({}))),
        ("the operator did it", event("patch", "sites/status", &user(OPERATOR_USER))),
        ("a kubelet did it", event("get", "sites", &user("system:node:one"))),
    ];
    left_out.extend(CONTROLLERS.map(|name| ("Kubernetes did it", event("delete", "sites", &user(name)))));
    for (why, event) in left_out {
        assert_eq!(records(&event), Vec::new(), "{why}");
    }
    for kept in ["system:anonymous", "system:admin", "system:serviceaccount:kube-system:somebody"] {
        assert_eq!(records(&event("get", "sites", &user(kept))).len(), 1, "{kept}");
    }
}

#[test]
fn the_same_request_has_the_same_id_and_no_other_has() {
    let id = |more: &Value| records(&event("get", "sites", more)).remove(0).event_id;
    let once = id(&json!({}));
    assert_eq!(once, id(&json!({ "stageTimestamp": "2026-11-21T13:02:41Z" })));
    assert_ne!(once, id(&json!({ "auditID": "another" })));
    // The id of a request is the client's to choose.
    assert_ne!(once, id(&json!({ "requestReceivedTimestamp": "2026-11-21T13:02:40.452702Z" })));
    assert_ne!(once, records(&event("list", "sites", &json!({}))).remove(0).event_id);
}
