//! What the user declares: the same for both halves.

use std::fmt::Debug;

use anyhow::{Context, Result};
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project, Site};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Where all of it is.
pub(super) const NAMESPACE: &str = "bench";

const PREFIX: &str = "reader-";
/// The template of all devices.
pub(super) const TEMPLATE: &str = "entry-door";

/// Name of the device instance with this number.
pub(super) fn device_name(number: usize) -> String {
    format!("{PREFIX}{number:06}")
}

/// The number in the name of a device instance.
pub(super) fn device_number(name: &str) -> Option<usize> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

pub(super) fn site_name(number: usize) -> String {
    format!("branch-{number}")
}

fn namespace() -> Value {
    json!({ "metadata": {
        "name": NAMESPACE,
        "labels": { "fleetform.dev/project": "true", "fleetform.dev/simulation": "allowed" },
    } })
}

fn project() -> Value {
    // 100,000 devices take 100 sites.
    let quotas = json!({ "sites": 10_000 });
    json!({ "metadata": { "name": "project" }, "spec": { "displayName": "Benchmark", "quotas": quotas } })
}

fn site(number: usize) -> Value {
    json!({ "metadata": { "name": site_name(number) }, "spec": {
        "displayName": format!("Branch {number}"),
        "address": {
            "addressLine1": "1000 Fourth Avenue", "city": "Seattle", "stateOrRegion": "WA", "postalCode": "98104",
            "countryCode": "US",
        },
        "simulation": { "enabled": true },
    } })
}

fn template() -> Value {
    json!({ "metadata": { "name": TEMPLATE }, "spec": { "displayName": "Entry door", "configuration": {
        "operationMode": "Entry",
        "controlPanel": { "osdp": { "version": "V2", "address": 0, "baudRate": 9600 } },
        "badgeFormat": {
            "name": "H10301",
            "lengthBits": 26,
            "fields": [
                { "kind": "FacilityCode", "startBit": 1, "lengthBits": 8, "value": 114 },
                { "kind": "CardNumber", "startBit": 9, "lengthBits": 16 },
            ],
            "parity": [
                { "bit": 0, "kind": "Even", "startBit": 1, "lengthBits": 12 },
                { "bit": 25, "kind": "Odd", "startBit": 13, "lengthBits": 12 },
            ],
        },
    } } })
}

/// The device instance with this number, of `sites`.
pub(super) fn device(number: usize, sites: usize) -> DeviceInstance {
    let device = json!({ "metadata": { "name": device_name(number) }, "spec": {
        "siteRef": { "name": site_name(number % sites) },
        "displayName": format!("Door {number}"),
        "deviceType": "Reader",
        "configuration": { "templateRef": { "name": TEMPLATE } },
    } });
    read(device)
}

/// Makes everything but the device instances.
pub(super) async fn make_surroundings(client: &Client, sites: usize) -> Result<()> {
    make_namespace(client).await?;
    make::<Project>(client, project()).await?;
    make::<ConfigTemplate>(client, template()).await?;
    make_sites(client, sites).await
}

/// Makes sites in a namespace without a project: there is nothing to be done for devices at them.
pub(super) async fn make_sites_alone(client: &Client, sites: usize) -> Result<()> {
    make_namespace(client).await?;
    make_sites(client, sites).await
}

async fn make_namespace(client: &Client) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &read(namespace())).await.context("make the namespace").map(drop)
}

async fn make_sites(client: &Client, sites: usize) -> Result<()> {
    for number in 0..sites {
        make::<Site>(client, site(number)).await?;
    }
    Ok(())
}

async fn make<K>(client: &Client, object: Value) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    api.create(&PostParams::default(), &read(object)).await.with_context(|| format!("make a {}", K::kind(&())))?;
    Ok(())
}

fn read<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("what is declared here is of its kind")
}

#[cfg(test)]
mod tests {
    use super::{device, device_name, device_number};

    #[test]
    fn names_and_numbers_go_together() {
        assert_eq!(device_name(42), "reader-000042");
        assert_eq!(device_number("reader-000042"), Some(42));
        assert_eq!(device_number("other"), None);
    }

    #[test]
    fn devices_are_spread_over_sites() {
        let sites: Vec<_> = (0..4).map(|number| device(number, 3).spec.site_ref.name).collect();
        assert_eq!(sites, ["branch-0", "branch-1", "branch-2", "branch-0"]);
    }
}
