//! `ConfigTemplate`: a configuration that many device instances share.

use fleetform_domain::configuration::Configuration;
use fleetform_domain::id::{Arn, ResourceId};
use fleetform_domain::tag::Tag;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
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
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
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
