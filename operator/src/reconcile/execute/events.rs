//! What is written for the sake of events: how far sinks have come, what they lack, and Kubernetes Events.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::super::body;
use super::super::names::EVENT_MARKS;
use super::{Executor, POST, or_gone, or_there};
use crate::cache::Name;
use crate::error::{Class, Result};

impl Executor {
    /// Writes down how far event sinks have come, in a `ConfigMap` of the operator's own namespace, which is made if it is not there. Gives
    /// whether it is there as it is to be: if not, it is the other way round, and tried again.
    pub async fn store_marks(&self, namespace: &str, marks: &BTreeMap<String, String>, is_there: bool) -> Result<bool> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("write down how far events are delivered in the ConfigMap {namespace}/{EVENT_MARKS}");
        let stored = if is_there {
            let (patch, params) = (Patch::Merge(json!({ "data": marks })), PatchParams::default());
            self.write("patch", "configmaps", what, api.patch(EVENT_MARKS, &params, &patch)).await
        } else {
            self.write("create", "configmaps", what, api.create(&POST, &body::event_marks(marks))).await
        };
        match stored {
            Ok(_) => Ok(true),
            Err(error) if is_there && error.class() == Class::Gone => Ok(false),
            Err(error) if !is_there && error.class() == Class::Conflict => {
                Box::pin(self.store_marks(namespace, marks, true)).await
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps events in a `ConfigMap` of the operator's own namespace. One of the name that is there holds the same.
    pub async fn keep_events(&self, namespace: &str, name: &str, last: Timestamp, lines: &str) -> Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("keep events in the ConfigMap {namespace}/{name}");
        let map = body::event_backlog(name, last, lines);
        or_there(self.write("create", "configmaps", what, api.create(&POST, &map)).await)
    }

    /// Deletes a `ConfigMap` with events that are delivered. One that is gone is no error.
    pub async fn drop_events(&self, namespace: &str, name: &str) -> Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("delete the ConfigMap {namespace}/{name}");
        or_gone(self.write("delete", "configmaps", what, api.delete(name, &DeleteParams::default())).await)
    }

    /// Tells people by a Kubernetes Event of our own making. One of its name that is there says the same.
    pub async fn announce(&self, event: &Event) -> Result<()> {
        let name = Name::of(event);
        let api: Api<Event> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = format!("publish the Event {name}");
        or_there(self.write("create", "events", what, api.create(&POST, event)).await)
    }
}
