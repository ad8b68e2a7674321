//! The pods that the Deployments make, without anybody to run them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Cluster, let_through, refused};
use crate::render::{NAMESPACE, text};

/// Pods of the chart are admitted where the restricted Pod Security Standard is enforced.
pub(crate) async fn pods_meet_the_restricted_standard(cluster: &Cluster, chart: &[Value]) -> Result<()> {
    let enforce =
        Patch::Merge(json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } }));
    Api::<Namespace>::all(cluster.client.clone()).patch(NAMESPACE, &PatchParams::default(), &enforce).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let privileged = json!({
        "metadata": { "name": "privileged" },
        "spec": { "containers": [{ "name": "c", "image": "c", "securityContext": { "privileged": true } }] },
    });
    let privileged: Pod = serde_json::from_value(privileged)?;
    refused("a privileged pod", async |_| pods.create(&dry_run, &privileged).await).await?;
    let deployments: Vec<&Value> = chart.iter().filter(|object| text(object, "/kind") == "Deployment").collect();
    ensure!(deployments.len() == 2, "{} Deployments", deployments.len());
    for deployment in deployments {
        let name = text(deployment, "/metadata/name");
        let mut pod = deployment.pointer("/spec/template").cloned().context("a Deployment has a template")?;
        pod["metadata"]["name"] = name.into();
        let pod: Pod = serde_json::from_value(pod)?;
        let_through(&format!("the pod of {name}"), async |_| pods.create(&dry_run, &pod).await).await?;
    }
    Ok(())
}
