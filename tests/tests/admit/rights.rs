//! Who may do what, as the API server's own authorizer sees it once the chart is installed.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use futures::StreamExt as _;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::Cluster;
use crate::render::NAMESPACE;

const VERBS: [&str; 9] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate"];

/// API group and resource, with a subresource where there is one.
const RESOURCES: [(&str, &str); 33] = [
    ("fleetform.dev", "projects"),
    ("fleetform.dev", "sites"),
    ("fleetform.dev", "configtemplates"),
    ("fleetform.dev", "deviceinstances"),
    ("fleetform.dev", "projects/status"),
    ("fleetform.dev", "sites/status"),
    ("fleetform.dev", "configtemplates/status"),
    ("fleetform.dev", "deviceinstances/status"),
    ("fleetform.dev", "sites/address"),
    ("fleetform.dev", "sites/devices"),
    ("fleetform.dev", "sites/activationqrcode"),
    ("fleetform.dev", "deviceinstances/activationqrcode"),
    ("fleetform.dev", "deviceinstances/reboot"),
    ("", "secrets"),
    ("", "configmaps"),
    ("", "events"),
    ("", "namespaces"),
    ("", "nodes"),
    ("", "pods"),
    ("", "pods/exec"),
    ("", "serviceaccounts"),
    ("", "serviceaccounts/token"),
    ("", "users"),
    ("apps", "deployments"),
    ("events.k8s.io", "events"),
    ("coordination.k8s.io", "leases"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
];

/// What each account of the chart, and each person with one of its roles in a project, may do there and in the operator's own
/// namespace. What is not in it was asked about and denied.
pub(crate) async fn table(cluster: &Cluster) -> Result<String> {
    let project = cluster.namespace("rights", json!({})).await?;
    let elsewhere = cluster.namespace("elsewhere", json!({})).await?;
    for role in ["full-access", "read-only", "installer"] {
        let binding = serde_json::from_value(json!({
            "metadata": { "name": role },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("fleetform-{role}") },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role }],
        }))?;
        Api::<RoleBinding>::namespaced(cluster.client.clone(), &project).create(&PostParams::default(), &binding).await?;
    }
    let account = |name: &str| format!("system:serviceaccount:{NAMESPACE}:fleetform-{name}");
    let mut said = String::new();
    for (who, user) in [
        ("the operator", account("operator")),
        ("the simulator", account("simulator")),
        ("a person with fleetform-full-access", "full-access".to_owned()),
        ("a person with fleetform-read-only", "read-only".to_owned()),
        ("a person with fleetform-installer", "installer".to_owned()),
    ] {
        let mut before = None;
        for (place, namespace, name) in [
            ("in a project", project.as_str(), None),
            ("in another namespace", elsewhere.as_str(), None),
            ("in its own namespace", NAMESPACE, None),
            ("on fleetform-authority in its own namespace", NAMESPACE, Some("fleetform-authority")),
            ("on fleetform-activation-key in its own namespace", NAMESPACE, Some("fleetform-activation-key")),
            ("on fleetform-operator in its own namespace", NAMESPACE, Some("fleetform-operator")),
            ("on fleetform-ca in its own namespace", NAMESPACE, Some("fleetform-ca")),
        ] {
            let rights = rights_of(cluster, &user, namespace, name).await?;
            if before.as_ref() == Some(&rights) {
                writeln!(said, "{who} {place}: the same\n")?;
            } else {
                writeln!(said, "{who} {place}:\n{}", if rights.is_empty() { "    nothing\n" } else { &rights })?;
                before = Some(rights);
            }
        }
    }
    Ok(said)
}

async fn rights_of(cluster: &Cluster, user: &str, namespace: &str, name: Option<&str>) -> Result<String> {
    let reviews: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    let asked = RESOURCES.iter().flat_map(|resource| VERBS.iter().map(move |verb| (*resource, *verb)));
    let answers: Vec<_> = futures::stream::iter(asked)
        .map(async |((group, resource), verb)| {
            let (resource_name, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s)));
            let attributes = ResourceAttributes {
                group: Some(group.to_owned()),
                name: name.map(str::to_owned),
                namespace: Some(namespace.to_owned()),
                resource: Some(resource_name.to_owned()),
                subresource: subresource.map(str::to_owned),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            };
            let spec = SubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                user: Some(user.to_owned()),
                groups: Some(groups(user)),
                ..SubjectAccessReviewSpec::default()
            };
            let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
            let answer = reviews.create(&PostParams::default(), &review).await?;
            let allowed = answer.status.context("the API server answered without a status")?.allowed;
            anyhow::Ok((group, resource, verb, allowed))
        })
        .buffered(32)
        .collect()
        .await;
    let mut allowed: Vec<(String, Vec<&str>)> = Vec::new();
    for answer in answers {
        let (group, resource, verb, is_allowed) = answer?;
        if is_allowed {
            let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource} ({group})") };
            match allowed.last_mut().filter(|(last, _)| *last == resource) {
                Some((_, verbs)) => verbs.push(verb),
                None => allowed.push((resource, vec![verb])),
            }
        }
    }
    Ok(allowed.iter().fold(String::new(), |mut said, (resource, verbs)| {
        writeln!(said, "    {resource}: {}", verbs.join(" ")).expect("writing to a String cannot fail");
        said
    }))
}

/// The groups that the API server puts a user into by itself.
fn groups(user: &str) -> Vec<String> {
    let mut groups = vec!["system:authenticated".to_owned()];
    if let Some(rest) = user.strip_prefix("system:serviceaccount:") {
        let namespace = rest.split(':').next().unwrap_or_default();
        groups.extend(["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]);
    }
    groups
}
