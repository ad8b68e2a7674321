//! The examples, as a person applies them.

use anyhow::{Result, ensure};
use fleetform_crds::{ConfigTemplate, DeviceInstance, Site};
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::Cluster;
use crate::render::repository;

pub(crate) async fn each_applies_and_applying_it_again_changes_nothing(cluster: &Cluster) -> Result<()> {
    for example in ["examples/quickstart.yaml", "examples/machines.yaml", "examples/people.yaml"] {
        apply(cluster, "--filename", example).await?;
    }
    apply(cluster, "--kustomize", "examples/library/base").await?;
    ensure!(!fleet(cluster).await?.iter().any(|(_, simulated)| *simulated), "the production fleet is simulated");
    apply(cluster, "--kustomize", "examples/library/overlays/demo").await?;
    let sites = fleet(cluster).await?;
    let simulated = sites.iter().filter(|(_, simulated)| *simulated).count();
    ensure!((sites.len(), simulated) == (4, 3), "sites, and whether they are simulated: {sites:?}");
    let devices: Vec<DeviceInstance> = list(cluster).await?;
    let (by_hand, played): (Vec<_>, Vec<_>) = devices
        .iter()
        .partition(|device| sites.iter().any(|(site, simulated)| *site == device.spec.site_ref.name && !simulated));
    ensure!((by_hand.len(), played.len()) == (1, 40), "{} devices by hand, {} played", by_hand.len(), played.len());
    let templates: Vec<ConfigTemplate> = list(cluster).await?;
    for name in devices.iter().filter_map(DeviceInstance::template_name) {
        let known = templates.iter().any(|template| template.metadata.name.as_deref() == Some(name));
        ensure!(known, "there is no template {name}");
    }
    Ok(())
}

async fn apply(cluster: &Cluster, how: &str, what: &str) -> Result<()> {
    let path = repository().join(what).into_os_string();
    let apply = || cluster.kubectl([std::ffi::OsString::from("apply"), how.into(), path.clone()]);
    apply().await?;
    let again = apply().await?;
    let changed: Vec<&str> = again.lines().filter(|line| !line.ends_with(" unchanged")).collect();
    ensure!(changed.is_empty(), "{what}: applying it again changes {changed:?}");
    Ok(())
}

/// The library's sites, and whether each is simulated.
async fn fleet(cluster: &Cluster) -> Result<Vec<(String, bool)>> {
    let sites: Vec<Site> = list(cluster).await?;
    Ok(sites.iter().map(|site| (site.metadata.name.clone().unwrap_or_default(), site.is_simulated())).collect())
}

async fn list<K>(cluster: &Cluster) -> Result<Vec<K>>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    Ok(Api::<K>::namespaced(cluster.client.clone(), "library").list(&ListParams::default()).await?.items)
}
