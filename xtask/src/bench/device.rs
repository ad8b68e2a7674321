//! Device instances, watched.

use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::Phase;
use futures::Stream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::{Deserialize, Serialize};

use super::objects;
use super::stages::Stage;

/// A `DeviceInstance`, as far as it matters here: reading more of each would take time from what is measured.
#[derive(Clone, Debug, Resource, Serialize, Deserialize)]
#[resource(inherit = DeviceInstance)]
pub(super) struct Device {
    metadata: ObjectMeta,
    status: Option<Status>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Status {
    phase: Option<Phase>,
    #[serde(default)]
    conditions: Vec<Condition>,
    configuration: Option<Configuration>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Configuration {
    applied: Option<u32>,
}

impl Device {
    pub(super) fn number(&self) -> Option<usize> {
        objects::device_number(self.metadata.name.as_deref()?)
    }

    /// Whether it says that it runs this version.
    pub(super) fn runs(&self, version: u32) -> bool {
        let configuration = self.status.as_ref().and_then(|status| status.configuration.as_ref());
        configuration.and_then(|configuration| configuration.applied) == Some(version)
    }

    /// How far it has got.
    pub(super) fn stage(&self) -> Option<Stage> {
        let status = self.status.as_ref()?;
        let is_ready =
            status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        match status.phase? {
            Phase::NeedsConfiguration => None,
            Phase::ReadyForActivation => Some(Stage::Ready),
            Phase::Active if is_ready => Some(Stage::Confirmed),
            Phase::Active => Some(Stage::Active),
        }
    }
}

/// The device instances as they change. It recovers from interruptions by itself.
pub(super) fn watch(admin: &Client) -> impl Stream<Item = watcher::Result<watcher::Event<Device>>> + Send + use<> {
    let api: Api<Device> = Api::namespaced(admin.clone(), objects::NAMESPACE);
    watcher(api, watcher::Config::default()).default_backoff()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Device, Stage};

    fn device(status: &serde_json::Value) -> Device {
        serde_json::from_value(json!({ "metadata": { "name": "reader-000007" }, "status": status })).unwrap()
    }

    #[test]
    fn stages_are_read_from_phase_and_condition() {
        let ready = |status: &str| {
            json!({
                "type": "Ready", "status": status, "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let new = device(&json!({ "conditions": [ready("Unknown")] }));
        assert_eq!((new.number(), new.stage()), (Some(7), None));
        let waits = device(&json!({ "phase": "ReadyForActivation", "conditions": [ready("True")] }));
        assert_eq!(waits.stage(), Some(Stage::Ready));
        let active = device(&json!({ "phase": "Active", "conditions": [ready("False")] }));
        assert_eq!(active.stage(), Some(Stage::Active));
        let confirmed = device(&json!({ "phase": "Active", "conditions": [ready("True")] }));
        assert_eq!(confirmed.stage(), Some(Stage::Confirmed));
    }
}
