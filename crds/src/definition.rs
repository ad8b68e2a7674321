//! Pure: the `CustomResourceDefinition` documents, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::alert;
use crate::{AdminUser, Alert, Asset, ConfigTemplate, DeviceInstance, EnrolledUser, Project, Site};

/// All definitions, in the order in which they are installed.
pub fn all() -> Vec<CustomResourceDefinition> {
    let unseen =
        [Project::crd(), Site::crd(), ConfigTemplate::crd(), DeviceInstance::crd(), Asset::crd(), AdminUser::crd()];
    let unseen = unseen.into_iter().map(|crd| complete(crd, &unseen_status()));
    let made =
        [(EnrolledUser::crd(), made_status("Enrolled", "the person is enrolled")), (Alert::crd(), raised_status())];
    unseen.chain(made.into_iter().map(|(crd, status)| complete(crd, &status))).collect()
}

/// File name and YAML of every definition.
pub fn documents() -> Vec<(String, String)> {
    all()
        .into_iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.spec.names.plural);
            let json = serde_json::to_value(&crd).expect("a definition is plain data");
            let yaml = serde_saphyr::to_string(&json).expect("a definition is plain data");
            (name, yaml)
        })
        .collect()
}

/// What the derive cannot say: the status of an object that nobody has written one for.
fn complete(crd: CustomResourceDefinition, status: &Value) -> CustomResourceDefinition {
    let mut json = serde_json::to_value(crd).expect("a definition is plain data");
    for version in json["spec"]["versions"].as_array_mut().expect("a definition has versions") {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        schema["properties"]["status"]["default"] = status.clone();
        use_known_formats(schema);
    }
    serde_json::from_value(json).expect("a definition with defaults is a definition")
}

/// The API server knows signed formats only, and warns about others.
fn use_known_formats(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let known = match members.get("format").and_then(Value::as_str) {
                Some("uint8" | "uint16") => Some("int32"),
                Some("uint32" | "uint64") => Some("int64"),
                _ => None,
            };
            if let Some(known) = known {
                members.insert("format".to_owned(), known.into());
            }
            members.values_mut().for_each(use_known_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(use_known_formats),
        _ => {}
    }
}

/// An object that people made and nobody has looked at yet must not pass for a current one, or `kubectl wait` and GitOps tools go
/// on too early.
fn unseen_status() -> Value {
    let condition = |type_, status| condition(type_, status, "Pending", "waiting for the operator");
    json!({ "conditions": [condition("Ready", "Unknown"), condition("Reconciling", "True")] })
}

/// An object that the operator made is what it should be when it is there: so to make it takes one write, not two.
fn made_status(reason: &str, message: &str) -> Value {
    json!({ "conditions": [condition("Ready", "True", reason, message)] })
}

/// The same of an alert: what `kubectl get` shows of it is there at once.
fn raised_status() -> Value {
    let conditions: Vec<Value> = alert::RAISED
        .iter()
        .map(|(type_, status, reason, message)| condition(type_.as_str(), status.as_str(), reason.as_str(), message))
        .collect();
    json!({ "phase": "Raised", "conditions": conditions })
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_checked_in_definitions_are_current() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        for directory in ["generated", "../charts/fleetform/files/crds"] {
            for (name, yaml) in documents() {
                let path = here.join(directory).join(&name);
                let stored = std::fs::read_to_string(&path).unwrap_or_default();
                assert!(stored == yaml, "{directory}/{name} is not current: run `cargo xtask generate`");
            }
        }
    }
}
