//! Each way in which something is asked of the API server.

use serde_json::{Value, json};

use super::UID;
use crate::audit::CONFLICTS;

/// An event as kube-apiserver writes it, with `more` laid over it.
pub(super) fn event(verb: &str, resource: &str, more: &Value) -> Value {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s)));
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
        "auditID": "e15fbea4-1aa0-4708-a44c-519437cb803e", "stage": "ResponseComplete", "verb": verb,
        "requestURI": format!("/apis/fleetform.dev/v1alpha1/namespaces/library/{resource}/x?fieldManager=kubectl-edit"),
        "user": {
            "username": "mary@example.com", "uid": "u-1", "groups": ["system:authenticated"],
            "extra": { "authentication.kubernetes.io/credential-id": ["JTI=7d3c1a52"], "more": ["told"] },
        },
        "sourceIPs": ["198.51.100.1", "192.0.2.7"], "userAgent": "kubectl/v1.35.0",
        "objectRef": {
            "resource": resource, "namespace": "library", "name": "x", "apiGroup": "fleetform.dev",
            "apiVersion": "v1alpha1",
        },
        "responseStatus": { "metadata": {}, "code": 200 },
        "requestReceivedTimestamp": "2026-11-21T13:02:40.452701Z", "stageTimestamp": "2026-11-21T13:02:40.458043Z",
        "annotations": { "authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC: allowed" },
    });
    if let Some(subresource) = subresource {
        event["objectRef"]["subresource"] = subresource.into();
    }
    json_patch(&mut event, more);
    event
}

/// RFC 7386, as far as it is needed here.
fn json_patch(onto: &mut Value, more: &Value) {
    if let (Value::Object(onto), Value::Object(more)) = (&mut *onto, more) {
        for (key, value) in more {
            json_patch(onto.entry(key).or_insert(Value::Null), value);
        }
    } else {
        *onto = more.clone();
    }
}

pub(super) fn stored(spec: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": "fleetform.dev/v1alpha1", "kind": "Any",
        "metadata": {
            "name": "x", "namespace": "library", "uid": UID, "creationTimestamp": "2026-11-21T13:02:40Z",
            "annotations": { "fleetform.dev/reboot": "after-the-storm" },
            "managedFields": [{ "manager": "kubectl" }],
        },
        "spec": spec, "status": status,
    })
}

pub(super) fn created(resource: &str, spec: &Value) -> Value {
    let answer = stored(spec, &Value::Null);
    let code = json!({ "code": 201 });
    event("create", resource, &json!({ "requestObject": answer, "responseObject": answer, "responseStatus": code }))
}

fn patched(resource: &str, patch: &Value, spec: &Value) -> Value {
    event("patch", resource, &json!({ "requestObject": patch, "responseObject": stored(spec, &Value::Null) }))
}

fn deleted(resource: &str) -> Value {
    let answer = json!({ "kind": "Status", "status": "Success", "details": { "name": "x", "uid": UID } });
    event("delete", resource, &json!({ "requestObject": { "kind": "DeleteOptions" }, "responseObject": answer }))
}

fn annotated(resource: &str, annotation: &str) -> Value {
    patched(resource, &json!({ "metadata": { "annotations": { annotation: "private words" } } }), &json!({}))
}

pub(super) fn site() -> Value {
    json!({
        "displayName": "Central Library", "description": "The big one",
        "address": {
            "addressLine1": "1000 Fourth Avenue", "addressLine2": "Level 5", "city": "Seattle", "stateOrRegion": "WA",
            "postalCode": "98104", "countryCode": "US",
        },
        "tags": [{ "key": "cost", "value": "4711" }],
    })
}

fn reader() -> Value {
    json!({
        "siteRef": { "name": "central-library" }, "displayName": "Front desk", "deviceType": "Reader",
        "configuration": {
            "operationMode": "Entry", "templateRef": { "name": "entry" },
            "wifi": { "ssid": "staff", "credentialsSecretRef": { "name": "wifi" } },
        },
    })
}

fn device(device_type: &str) -> Value {
    json!({ "siteRef": { "name": "boiler-house" }, "displayName": "Somewhere", "deviceType": device_type })
}

fn admin(site: bool) -> Value {
    let mut spec = json!({ "role": "Technician", "person": { "email": "mary.major@example.com" } });
    if site {
        spec["siteRef"] = json!({ "name": "central-library" });
    }
    spec
}

/// Each way in which something is asked of the API server.
#[allow(clippy::too_many_lines, reason = "one entry for each way")]
pub(super) fn cases() -> Vec<(&'static str, Value)> {
    let spec = |member: &str, value: Value| json!({ "spec": { member: value } });
    let none = json!({});
    let mut cases = vec![
        ("a site is made", created("sites", &site())),
        ("a site is made by an apply", {
            let apply = json!({ "apiVersion": "fleetform.dev/v1alpha1", "kind": "Site", "spec": site() });
            let answer = json!({ "code": 201 });
            let more =
                json!({ "requestObject": apply, "responseObject": stored(&site(), &none), "responseStatus": answer });
            event("patch", "sites", &more)
        }),
        ("a site is applied again", {
            let apply = json!({ "apiVersion": "fleetform.dev/v1alpha1", "kind": "Site", "spec": site() });
            patched("sites", &apply, &site())
        }),
        ("a site is renamed", patched("sites", &spec("displayName", json!("Main Library")), &site())),
        ("the address of a site is changed", {
            patched("sites", &spec("address", json!({ "city": "Tacoma", "addressLine1": "1 Street" })), &site())
        }),
        ("the address of a site is moved to a Secret", {
            patched("sites", &json!({ "spec": { "address": null, "addressFrom": { "name": "address" } } }), &site())
        }),
        ("a site is renamed, moved and tagged at once", {
            let patch = json!([
                { "op": "replace", "path": "/spec/displayName", "value": "Main Library" },
                { "op": "replace", "path": "/spec/address/city", "value": "Tacoma" },
                { "op": "add", "path": "/spec/tags/-", "value": { "key": "cost", "value": "4711" } },
            ]);
            patched("sites", &patch, &site())
        }),
        ("the tags of a site are taken off", patched("sites", &spec("tags", Value::Null), &site())),
        ("the locks of a site are answered", annotated("sites", "fleetform.dev/remediate")),
        ("a reader is made and configured", created("deviceinstances", &reader())),
        ("a gateway is made", created("deviceinstances", &device("Gateway"))),
        ("a sensor is made", created("deviceinstances", &device("Sensor"))),
        ("a sensor is moved", {
            let patch = spec("configuration", json!({ "sensor": { "assetRef": { "name": "pump" } } }));
            patched("deviceinstances", &patch, &device("Sensor"))
        }),
        ("a reader is renamed", patched("deviceinstances", &spec("displayName", json!("Desk")), &reader())),
        ("a reader is deactivated", {
            patched("deviceinstances", &spec("activation", json!({ "epoch": 2 })), &reader())
        }),
        ("a reader is configured", {
            let patch = spec("configuration", json!({ "operationMode": "Enrollment", "wifi": { "ssid": "guests" } }));
            patched("deviceinstances", &patch, &reader())
        }),
        ("a reader is replaced while it is deactivated and to reboot", {
            let mut whole = reader();
            whole["activation"] = json!({ "epoch": 3 });
            let answer = stored(&whole, &json!({ "activation": { "association": { "epoch": 2 } } }));
            event("update", "deviceinstances", &json!({ "requestObject": answer, "responseObject": answer }))
        }),
        ("a reader is replaced that has rebooted", {
            let status = json!({ "commands": [{ "kind": "Reboot", "id": "after-the-storm" }] });
            let answer = stored(&reader(), &status);
            event("update", "deviceinstances", &json!({ "requestObject": answer, "responseObject": answer }))
        }),
        ("a reader is edited, and no more is known", event("update", "deviceinstances", &none)),
        ("a reader is to reboot", annotated("deviceinstances", "fleetform.dev/reboot")),
        ("a lock of a reader is answered", annotated("deviceinstances", "fleetform.dev/remediate")),
        ("a reader is said to be elsewhere", {
            let answer =
                json!({ "metadata": { "annotations": { "fleetform.dev/remediate": "DifferentSite@private" } } });
            patched("deviceinstances", &answer, &json!({}))
        }),
        ("a locked reader is replaced and said to be elsewhere", {
            let mut answer = stored(&reader(), &json!({ "lock": { "id": "lock-1" } }));
            answer["metadata"]["annotations"] = json!({ "fleetform.dev/remediate": "DifferentSite@lock-1" });
            event("update", "deviceinstances", &json!({ "requestObject": answer, "responseObject": answer }))
        }),
        ("a lock of a reader is taken off", annotated("deviceinstances", "fleetform.dev/unlock")),
        ("a reader is labelled", {
            patched("deviceinstances", &json!({ "metadata": { "labels": { "private": "words" } } }), &reader())
        }),
        (
            "a template is made",
            created(
                "configtemplates",
                &json!({
            "displayName": "Entry", "configuration": { "operationMode": "Entry" } }),
            ),
        ),
        ("a template is changed", {
            patched("configtemplates", &spec("configuration", json!({ "operationMode": "private" })), &json!({}))
        }),
        ("a project is made", created("projects", &json!({ "displayName": "Library" }))),
        ("a project is renamed", patched("projects", &spec("displayName", json!("Libraries")), &none)),
        ("a project is tagged", patched("projects", &spec("tags", json!([{ "key": "a" }])), &none)),
        ("the tags of a project are taken off", patched("projects", &spec("tags", json!([])), &none)),
        ("somebody is given a role", created("adminusers", &admin(false))),
        ("somebody is given a role at a site", created("adminusers", &admin(true))),
        ("somebody is given another role", patched("adminusers", &spec("role", json!("Admin")), &admin(false))),
        ("somebody's role at a site is taken", {
            event("delete", "adminusers", &json!({ "responseObject": stored(&admin(true), &none) }))
        }),
        ("a machine is made", created("assets", &json!({ "displayName": "Pump", "machineClass": "ClassII" }))),
        ("a machine is renamed", patched("assets", &spec("displayName", json!("Pump 2")), &none)),
        ("an alert is acknowledged", patched("alerts", &spec("acknowledged", json!(true)), &none)),
        ("an alert is resolved", {
            let resolution = json!({
                "failureMode": "Imbalance", "failureCause": "Maintenance", "action": "Adjust", "alertWasRight": true,
                "notes": "private words",
            });
            patched("alerts", &spec("resolution", resolution), &none)
        }),
        ("an alert is labelled", patched("alerts", &json!({ "metadata": { "labels": { "a": "b" } } }), &none)),
        ("an enrolled user is given up on", annotated("enrolledusers", "fleetform.dev/abandon")),
        ("an enrolled user is labelled", {
            patched("enrolledusers", &json!({ "metadata": { "labels": { "a": "b" } } }), &none)
        }),
        ("a gateway is deleted and waits", {
            event("delete", "deviceinstances", &json!({ "responseObject": stored(&device("Gateway"), &none) }))
        }),
        ("a sensor is deleted and waits", {
            event("delete", "deviceinstances", &json!({ "responseObject": stored(&device("Sensor"), &none) }))
        }),
        ("all sites are deleted", { event("deletecollection", "sites", &json!({ "objectRef": { "name": null } })) }),
        ("a status is written by somebody", event("patch", "deviceinstances/status", &none)),
    ];
    for (what, resource) in [
        ("sites", "sites"),
        ("readers", "deviceinstances"),
        ("templates", "configtemplates"),
        ("projects", "projects"),
        ("roles", "adminusers"),
        ("machines", "assets"),
        ("alerts", "alerts"),
        ("enrolled users", "enrolledusers"),
    ] {
        cases.push((what, event("get", resource, &none)));
        cases.push((what, event("list", resource, &json!({ "objectRef": { "name": null } }))));
        cases.push((what, deleted(resource)));
    }
    cases.extend(refusals());
    cases
}

/// What the API server does not do.
pub(super) fn refusals() -> Vec<(&'static str, Value)> {
    let refused = |code: u16, reason: &str, message: &str| json!({ "responseStatus": { "code": code, "reason": reason, "message": message, "status": "Failure" } });
    let forbidden = |verb: &str, resource: &str| {
        let mut more =
            refused(403, "Forbidden", r#"x is forbidden: User "mary@example.com" cannot do "private words""#);
        more["annotations"] = json!({ "authorization.k8s.io/decision": "forbid" });
        event(verb, resource, &more)
    };
    let by_policy = |resource: &str, action: &str| {
        let message = format!(
            "x is forbidden: ValidatingAdmissionPolicy 'fleetform-commands' denied request: User: mary@example.com is not \
             authorized to perform: {action} on resource: private words"
        );
        let patch = json!({ "spec": { "displayName": "Private words" } });
        let mut more = refused(403, "Forbidden", &message);
        more["requestObject"] = patch;
        event("patch", resource, &more)
    };
    let mut cases = vec![
        ("may not read a site", forbidden("get", "sites")),
        ("may not make a device", forbidden("create", "deviceinstances")),
        ("may not get a code at the wrong place", forbidden("create", "deviceinstances/activationqrcode")),
        ("may not read an address at the wrong place", forbidden("get", "sites/address")),
        ("may not read a configuration at the wrong place", forbidden("get", "deviceinstances/configuration")),
        ("may not read measurements at the wrong place", forbidden("get", "assets/measurements")),
        ("may not read a profile at the wrong place", forbidden("get", "enrolledusers/profile")),
        ("may not read a letter at the wrong place", forbidden("get", "adminusers/invitation")),
        ("may not make an enrolled user up", forbidden("create", "enrolledusers")),
        ("may not raise an alert", forbidden("create", "alerts")),
        ("may not reboot, says a policy", by_policy("deviceinstances", "RebootDevice")),
        ("may not give a role, says a policy", by_policy("adminusers", "AssociateProjectAdminUser")),
        ("may not do what nobody knows, says a policy", by_policy("sites", "PrivateWords")),
        ("a name that pretends to be a denial", {
            let message = r#"sites "is not authorized to perform: DeleteProject on" is forbidden"#;
            let mut more = refused(403, "Forbidden", message);
            more["annotations"] = json!({ "authorization.k8s.io/decision": "forbid" });
            more["objectRef"] = json!({ "name": "is not authorized to perform: DeleteProject on" });
            event("get", "sites", &more)
        }),
        ("is there already", event("create", "sites", &refused(409, "AlreadyExists", "x already exists"))),
        ("was changed meanwhile", event("update", "sites", &refused(409, "Conflict", "the object has been modified"))),
        ("is not there", event("get", "sites", &refused(404, "NotFound", "private words not found"))),
        ("is not valid", event("create", "sites", &refused(422, "Invalid", "Invalid value: \"private words\""))),
        (
            "is nobody",
            event("get", "sites", &{
                let mut more = refused(401, "Unauthorized", "Unauthorized");
                more["user"] = json!({});
                more
            }),
        ),
        ("is too much", event("list", "sites", &refused(429, "TooManyRequests", "slow down"))),
        ("went wrong", event("list", "sites", &refused(500, "InternalError", "private words"))),
        ("was only tried", {
            let answer = stored(&site(), &Value::Null);
            let uri = "/apis/fleetform.dev/v1alpha1/namespaces/library/sites?dryRun=All&x=private";
            event("create", "sites", &json!({ "requestURI": uri, "requestObject": answer, "responseObject": answer }))
        }),
    ];
    for conflict in CONFLICTS {
        let message = format!("x is forbidden: denied request: private words {} 3 things", conflict.refusal);
        cases.push(("is refused as things stand", event("delete", "sites", &refused(422, "Invalid", &message))));
    }
    cases
}
