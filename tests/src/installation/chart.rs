//! What the chart renders, in the cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleetform_crds::{Site, definition};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::process::Command;

use super::NAMESPACE;
use crate::cluster::Cluster;
use crate::tools;
use crate::wait::{self, Look};

/// How long definitions and policies may take to be in force; it is a second or two.
const LIMIT: Duration = Duration::from_mins(2);

/// The release's name: objects are called `fleetform-operator` and so on.
const RELEASE: &str = "fleetform";

/// The chart in this repository.
fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/fleetform")
}

/// Installs what the chart renders with these values (`--set=name=value`), and waits until it is in force.
pub(super) async fn install(cluster: &Cluster, values: &[String]) -> Result<()> {
    make_namespace(cluster.client()).await?;
    let manifest = without_workloads(&render(values).await?);
    let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=fleetform-install", "--filename=-"];
    cluster.kubectl(&args, Some(&manifest)).await.context("apply what the chart renders")?;
    definitions_are_served(cluster.client()).await?;
    policies_bite(cluster.client()).await
}

async fn make_namespace(client: Client) -> Result<()> {
    let api: Api<Namespace> = Api::all(client);
    if api.get_opt(NAMESPACE).await.context("look for the operator's namespace")?.is_none() {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(NAMESPACE.to_owned());
        api.create(&PostParams::default(), &namespace).await.context("make the operator's namespace")?;
    }
    Ok(())
}

async fn render(values: &[String]) -> Result<String> {
    let helm = tokio::task::spawn_blocking(tools::helm).await.context("look for helm")??;
    let mut command = Command::new(helm);
    command.args(["template", RELEASE]).arg(chart()).arg(format!("--namespace={NAMESPACE}"));
    command.args(values);
    let output = command.kill_on_drop(true).output().await.context("run helm")?;
    if !output.status.success() {
        bail!("helm template: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("helm printed no text")
}

/// The manifest without its Deployments: the programs run on this machine instead, and two operators would fight.
fn without_workloads(manifest: &str) -> String {
    let documents = manifest.split("\n---").filter(|document| !document.lines().any(|line| line == "kind: Deployment"));
    documents.collect::<Vec<_>>().join("\n---")
}

async fn definitions_are_served(client: Client) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    for definition in definition::all() {
        let name = definition.name_any();
        wait::until(&format!("{name} to be served"), LIMIT, async || {
            let found = api.get_opt(&name).await?.and_then(|found| found.status);
            let conditions = found.and_then(|status| status.conditions).unwrap_or_default();
            let is_served = conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
            Ok(if is_served { Look::Done(()) } else { Look::NotYet(format!("{conditions:?}")) })
        })
        .await?;
    }
    Ok(())
}

/// Tries, and only tries, what two of the policies refuse. They take effect together.
async fn policies_bite(client: Client) -> Result<()> {
    let site = json!({
        "apiVersion": "fleetform.dev/v1alpha1",
        "kind": "Site",
        "metadata": { "name": "probe" },
        "spec": {
            "displayName": "Probe",
            "address": { "addressLine1": "1 Street", "city": "Seattle", "stateOrRegion": "WA", "postalCode": "98104", "countryCode": "US" },
            "simulation": { "enabled": true },
        },
    });
    is_refused::<Site>(client.clone(), site, "fleetform.dev/simulation").await?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "probe" },
        "type": "fleetform.dev/activation-qr",
    });
    is_refused::<Secret>(client, secret, "written by the Fleetform operator alone").await
}

async fn is_refused<K>(client: Client, object: serde_json::Value, because: &str) -> Result<()>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    K::DynamicType: Default,
{
    let object: K = serde_json::from_value(object).context("read what is tried")?;
    let api: Api<K> = Api::namespaced(client, NAMESPACE);
    let attempt = PostParams { dry_run: true, ..PostParams::default() };
    wait::until(&format!("the policy to refuse with `{because}`"), LIMIT, async || {
        Ok(match api.create(&attempt, &object).await {
            Err(kube::Error::Api(status)) if status.message.contains(because) => Look::Done(()),
            Ok(_) => Look::NotYet("it was let through".to_owned()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::without_workloads;

    #[test]
    fn deployments_are_left_out_and_nothing_else() {
        let manifest = "---\nkind: Service\n---\napiVersion: apps/v1\nkind: Deployment\nspec: {}\n---\nkind: Role\n";
        assert_eq!(without_workloads(manifest), "---\nkind: Service\n---\nkind: Role\n");
    }
}
