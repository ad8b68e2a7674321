//! `ConfigTemplate`: a configuration that many device instances share.

use fleetform_domain::configuration::Configuration;
use fleetform_domain::id::{Arn, ResourceId};
use fleetform_domain::rollout::RolloutStrategy;
use fleetform_domain::tag::Tag;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::reference::{DISPLAY_NAME_MESSAGE, DISPLAY_NAME_RULE};

/// A configuration that many device instances share. Every change makes a new, immutable revision.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleetform.dev",
    version = "v1alpha1",
    kind = "ConfigTemplate",
    plural = "configtemplates",
    shortname = "tmpl",
    category = "fleetform",
    namespaced,
    status = "ConfigTemplateStatus",
    derive = "PartialEq",
    doc = "A configuration that many DeviceInstances share. Every change makes a new, immutable revision.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.configuration.operationMode"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision"),
    printcolumn(name = "Devices", type_ = "integer", json_path = ".status.devices.total"),
    printcolumn(name = "Updated", type_ = "integer", json_path = ".status.devices.updated"),
    printcolumn(name = "Rollout", type_ = "string", json_path = ".status.rollout.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigTemplateSpec {
    /// Name that people read, 1 to 60 characters: letters, digits, punctuation and spaces.
    #[schemars(length(min = 1, max = 60))]
    #[x_kube(validation = Rule::new(DISPLAY_NAME_RULE).message(DISPLAY_NAME_MESSAGE))]
    pub display_name: String,
    /// What the devices share. A device instance can override each member as a whole.
    pub configuration: Configuration,
    /// How a change of the configuration goes out to devices that are active. Left out, all of them get it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStrategy>,
    /// Tags for cost, search and access, at most 50, with unique keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
}

/// What the operator sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigTemplateStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// 14 letters and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<ResourceId>,
    /// Amazon Resource Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<Arn>,
    /// Number of the current revision, from 1. Rises when the configuration changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// SHA-256 of the current revision's configuration, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
    /// The device instances that use the template.
    #[serde(default)]
    pub devices: TemplateDevices,
    /// How far the current revision has gone out, where the spec says how it is to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// How far a revision has gone out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The revision that goes out.
    pub revision: u32,
    /// `Progressing`, `Soaking`, `AwaitingWindow`, `Paused` or `Complete`.
    pub phase: RolloutPhase,
    /// Batches so far.
    pub batch: u32,
    /// How often it was held. `<revision>-<pauses>` names the present pause: annotate the template with
    /// `fleetform.dev/resume-rollout` and that name to go on.
    #[serde(default)]
    pub pauses: u32,
    /// When it began (RFC 3339).
    pub started_at: Time,
    /// When the last device of the batch had applied the change (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Time>,
    /// When somebody had it go on after a pause (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Time>,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum RolloutPhase {
    /// A batch is under way.
    Progressing,
    /// The last batch is watched.
    Soaking,
    /// No maintenance window is open.
    AwaitingWindow,
    /// Held, by hand or because something went wrong.
    Paused,
    /// Every device has it.
    Complete,
}

/// The device instances that use a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateDevices {
    /// All that refer to it.
    #[serde(default)]
    pub total: i64,
    /// Those whose desired configuration comes from the current revision.
    #[serde(default)]
    pub updated: i64,
    /// Active ones that confirmed it.
    #[serde(default)]
    pub applied: i64,
}
