//! Who may do what, as the API server's own authorizer lists it once the chart is installed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::{Cluster, LIMIT};
use crate::render::NAMESPACE;

/// All that each account of the chart, and each person with one of its roles in a project, may do beyond what every account or
/// person may.
pub(crate) async fn table(cluster: &Cluster) -> Result<String> {
    let project = cluster.namespace("rights", json!({})).await?;
    let elsewhere = cluster.namespace("elsewhere", json!({})).await?;
    let mut said = String::new();
    for name in ["operator", "simulator"] {
        let user = format!("system:serviceaccount:{NAMESPACE}:fleetform-{name}");
        for (place, namespace) in [("everywhere", elsewhere.as_str()), ("in its own namespace", NAMESPACE)] {
            let rights = beyond(cluster, &user, "system:serviceaccount:default:default", namespace).await?;
            writeln!(said, "the {name} {place}:\n{}", rights.join("\n"))?;
        }
    }
    for role in
        ["full-access", "technician", "read-only", "installer", "site-admin", "site-technician", "audit-webhook"]
    {
        let binding = serde_json::from_value(json!({
            "metadata": { "name": role },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("fleetform-{role}") },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role }],
        }))?;
        Api::<RoleBinding>::namespaced(cluster.client.clone(), &project)
            .create(&PostParams::default(), &binding)
            .await?;
        let granted = wait::until(&format!("the binding of {role} to be in force"), LIMIT, async || {
            let rights = beyond(cluster, role, "nobody", &project).await?;
            Ok(if rights.is_empty() { Look::NotYet("it grants nothing".to_owned()) } else { Look::Done(rights) })
        })
        .await?;
        writeln!(said, "who has fleetform-{role} in a project, there:\n{}", granted.join("\n"))?;
        let outside = beyond(cluster, role, "nobody", &elsewhere).await?;
        ensure!(outside.is_empty(), "{role} in one namespace may do this in another: {outside:?}");
    }
    Ok(said)
}

/// What `user` may do that `other` may not: resource, names and verbs.
async fn beyond(cluster: &Cluster, user: &str, other: &str, namespace: &str) -> Result<Vec<String>> {
    let common: BTreeSet<String> = rights(cluster, other, namespace).await?.into_iter().collect();
    Ok(rights(cluster, user, namespace).await?.into_iter().filter(|right| !common.contains(right)).collect())
}

async fn rights(cluster: &Cluster, user: &str, namespace: &str) -> Result<Vec<String>> {
    let list =
        cluster.kubectl(["auth", "can-i", "--list", "--no-headers", "--namespace", namespace, "--as", user]).await?;
    let words =
        |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ").replace(" []", "").replace("[] ", "");
    let mut rights: Vec<String> = list.lines().map(|line| format!("    {}", words(line))).collect();
    rights.sort();
    Ok(rights)
}
