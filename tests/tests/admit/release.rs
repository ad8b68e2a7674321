//! Installing and uninstalling with helm itself.

use std::ffi::OsString;

use anyhow::{Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use serde_json::json;

use super::cases::example;
use super::{Cluster, Kind};
use crate::render::{NAMESPACE, RELEASE, chart, helm};

/// Uninstalling keeps the definitions and what is declared; installing again takes them over.
pub(crate) async fn definitions_and_objects_outlive_the_release(cluster: &Cluster) -> Result<()> {
    install(cluster)?;
    cluster.definitions_serve().await?;
    let ns = cluster.namespace("kept", json!({})).await?;
    cluster.store(Kind::Project, &ns, &example(Kind::Project)?).await?;
    uninstall(cluster)?;
    let definitions = Api::<CustomResourceDefinition>::all(cluster.client.clone()).list(&ListParams::default()).await?;
    ensure!(
        definitions.items.len() == fleetform_crds::definition::all().len(),
        "{} definitions are left",
        definitions.items.len()
    );
    cluster.api(Kind::Project, &ns).get("project").await?;
    let policies = Api::<ValidatingAdmissionPolicy>::all(cluster.client.clone()).list(&ListParams::default()).await?;
    ensure!(policies.items.is_empty(), "policies of nobody are left: they refuse what nothing remedies");
    install(cluster)?;
    uninstall(cluster)
}

fn install(cluster: &Cluster) -> Result<()> {
    run(cluster, ["install", RELEASE], [chart().into_os_string(), "--create-namespace".into()])
}

fn uninstall(cluster: &Cluster) -> Result<()> {
    run(cluster, ["uninstall", RELEASE], [])
}

fn run<const N: usize>(cluster: &Cluster, command: [&str; 2], more: [OsString; N]) -> Result<()> {
    let mut arguments: Vec<OsString> = command.map(Into::into).into();
    arguments.extend(more);
    arguments.extend(["--namespace".into(), NAMESPACE.into(), "--kubeconfig".into()]);
    arguments.push(cluster.plane.kubeconfig().into_os_string());
    let output = helm(arguments)?;
    ensure!(output.status.success(), "helm {command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
