//! Pure: the bodies of the objects that the operator makes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetform_crds::reference::LocalReference;
use fleetform_crds::{AdminUser, Alert, AlertSpec, Asset, DeviceInstance, Project};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::names;
use super::plan::{AlertDraft, BindingDraft, CodeSecret, LetterDraft, RevisionSecret, RoleDraft};
use crate::activation::picture;
use crate::crypto::KeyId;
use crate::directory::{NewPerson, native};

/// The Secret with an activation code: `code` is the text, `qr.png` the picture.
pub fn code_secret(owner: &DeviceInstance, code: &CodeSecret) -> Secret {
    let tokens: Vec<&str> = code.tokens.iter().map(fleetform_domain::activation::TokenHash::as_str).collect();
    sendable(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": code.name,
            "namespace": owner.metadata.namespace,
            "resourceVersion": code.replaces,
            "labels": { names::SECRET_LABEL: names::CODE, "app.kubernetes.io/managed-by": "fleetform" },
            "annotations": {
                names::SEQUENCE_ANNOTATION: code.sequence.to_string(),
                names::EXPIRES_ANNOTATION: code.expires.to_string(),
                names::NONCE_ANNOTATION: code.nonce.to_string(),
                names::TOKENS_ANNOTATION: tokens.join(","),
            },
            "ownerReferences": owned_by(owner),
        },
        "type": names::CODE_TYPE,
        "data": {
            "code": STANDARD.encode(&code.text.0),
            "qr.png": STANDARD.encode(picture::draw(&code.text.0)),
        },
    }))
}

/// The Secret with one revision of a template, sealed, owned by the project.
pub fn revision_secret(project: &Project, revision: &RevisionSecret, key: KeyId, sealed: &str) -> Secret {
    sendable(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": revision.name,
            "namespace": project.metadata.namespace,
            "labels": {
                names::SECRET_LABEL: names::REVISION,
                names::TEMPLATE_LABEL: revision.template_uid,
                names::REVISION_LABEL: revision.revision.to_string(),
                names::SEALING_KEY_LABEL: key.to_string(),
                "app.kubernetes.io/managed-by": "fleetform",
            },
            "ownerReferences": owned_by(project),
        },
        "type": names::REVISION_TYPE,
        "data": { names::SEALED_CONFIGURATION: STANDARD.encode(sealed) },
    }))
}

/// An alert about an asset, which owns it.
pub fn alert(asset: &Asset, draft: &AlertDraft) -> Alert {
    let name = asset.metadata.name.clone().unwrap_or_default();
    let mut labels = json!({
        names::POSITION_LABEL: draft.position,
        "app.kubernetes.io/managed-by": "fleetform",
    });
    if name.len() <= names::LONGEST_LABEL {
        labels[names::ASSET_LABEL] = name.as_str().into();
    }
    let mut alert = Alert::new(
        &draft.name,
        AlertSpec {
            asset_ref: LocalReference { name },
            site_ref: Some(asset.spec.site_ref.clone()),
            position: draft.position.clone(),
            sensor: draft.sensor.clone(),
            level: draft.level,
            raised_at: draft.raised_at.clone(),
            cause: draft.cause.clone(),
            acknowledged: false,
            resolution: None,
        },
    );
    alert.metadata = sendable(json!({
        "name": draft.name,
        "namespace": asset.metadata.namespace,
        "labels": labels,
        "ownerReferences": owned_by(asset),
    }));
    alert
}

/// The RoleBinding that gives an admin user a role, owned by it.
pub fn role_binding(user: &AdminUser, draft: &BindingDraft) -> RoleBinding {
    sendable(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": of_admin(user, &draft.name),
        "roleRef": draft.role_ref,
        "subjects": draft.subjects,
    }))
}

/// The Role that an admin user has of their own, owned by it.
pub fn role(user: &AdminUser, draft: &RoleDraft) -> Role {
    sendable(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": of_admin(user, &draft.name),
        "rules": draft.rules,
    }))
}

fn of_admin(user: &AdminUser, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": user.metadata.namespace,
        "labels": { names::ADMIN_LABEL: "true", "app.kubernetes.io/managed-by": "fleetform" },
        "ownerReferences": owned_by(user),
    })
}

/// The Secret with a letter to an admin user, owned by it.
pub fn letter(user: &AdminUser, draft: &LetterDraft) -> Secret {
    sendable(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": draft.name,
            "namespace": user.metadata.namespace,
            "labels": { names::SECRET_LABEL: names::INVITATION, "app.kubernetes.io/managed-by": "fleetform" },
            "annotations": {
                names::SENT_BY_ANNOTATION: draft.by.as_str(),
                names::EDITION_ANNOTATION: draft.edition.as_str(),
            },
            "ownerReferences": owned_by(user),
        },
        "type": names::INVITATION_TYPE,
        "data": {
            names::RECIPIENT: STANDARD.encode(&draft.letter.recipient),
            names::LETTER: STANDARD.encode(&draft.letter.message),
        },
    }))
}

/// The `ConfigMap` that says how far event sinks have come.
pub fn event_marks(marks: &BTreeMap<String, String>) -> ConfigMap {
    sendable(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": names::EVENT_MARKS, "labels": { "app.kubernetes.io/managed-by": "fleetform" } },
        "data": marks,
    }))
}

/// A `ConfigMap` with events that a required sink has yet to get.
pub fn event_backlog(name: &str, last: Timestamp, lines: &str) -> ConfigMap {
    sendable(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "labels": { "app.kubernetes.io/managed-by": "fleetform", names::EVENTS_LABEL: names::UNDELIVERED },
            "annotations": { names::RECORDED_ANNOTATION: last.to_string() },
        },
        "immutable": true,
        "data": { names::EVENTS: lines },
    }))
}

/// The ServiceAccount that is a person of the built-in directory.
pub fn person(namespace: &str, person: &NewPerson) -> ServiceAccount {
    let [labels, annotations] = native::marks(person);
    sendable(json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": person.user_name, "namespace": namespace, "labels": labels, "annotations": annotations },
    }))
}

/// Operations as a JSON Patch (RFC 6902).
///
/// # Panics
/// When they are none.
pub fn json_patch(operations: Value) -> json_patch::Patch {
    serde_json::from_value(operations).expect("the operations are a JSON Patch")
}

fn owned_by<K: Resource<DynamicType = ()>>(owner: &K) -> Value {
    json!([{
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "name": owner.meta().name,
        "uid": owner.meta().uid,
        "controller": true,
    }])
}

fn sendable<K: DeserializeOwned>(body: Value) -> K {
    serde_json::from_value(body).expect("what is made here is what it is to be")
}
