//! What is stored for the sake of events in `ConfigMap`s of the operator's own namespace.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client};

use crate::error::Result;
use crate::gateway::live::bounded;
use crate::reconcile::names;

/// How far event sinks have come, if it was ever written down.
pub(super) async fn marks(client: &Client, namespace: &str) -> Result<Option<BTreeMap<String, String>>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let what = format!("read how far events are delivered from the ConfigMap {namespace}/{}", names::EVENT_MARKS);
    let stored = bounded(what, api.get_opt(names::EVENT_MARKS)).await?;
    Ok(stored.map(|stored| stored.data.unwrap_or_default()))
}

/// Which `ConfigMap`s with undelivered events there are, and when the last of their facts was recorded.
pub(super) async fn backlog(client: &Client, namespace: &str) -> Result<Vec<(String, Timestamp)>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(&format!("{}={}", names::EVENTS_LABEL, names::UNDELIVERED));
    let what = format!("look for undelivered events in namespace {namespace}");
    let stored = bounded(what, api.list_metadata(&ours)).await?;
    let read = |map: PartialObjectMeta<ConfigMap>| {
        let recorded = map.metadata.annotations.unwrap_or_default().remove(names::RECORDED_ANNOTATION);
        // One that says no time is told last.
        let last = recorded.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::MAX);
        map.metadata.name.map(|name| (name, last))
    };
    Ok(stored.items.into_iter().filter_map(read).collect())
}

/// The undelivered events of the `ConfigMap` of this name, one a line, if it is there.
pub(super) async fn undelivered(client: &Client, namespace: &str, name: &str) -> Result<Option<String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let stored = bounded(format!("read the ConfigMap {namespace}/{name}"), api.get_opt(name)).await?;
    Ok(stored.map(|stored| stored.data.unwrap_or_default().remove(names::EVENTS).unwrap_or_default()))
}
