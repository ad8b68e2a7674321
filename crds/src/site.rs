//! Site: a physical place.

use fleetform_domain::address::PostalAddress;
use fleetform_domain::configuration::SecretReference;
use fleetform_domain::id::{Arn, ResourceId};
use fleetform_domain::tag::Tag;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::reference::{DISPLAY_NAME_MESSAGE, DISPLAY_NAME_RULE, is_zero};

/// A physical place with a postal address, where devices are.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleetform.dev",
    version = "v1alpha1",
    kind = "Site",
    plural = "sites",
    shortname = "site",
    category = "fleetform",
    namespaced,
    status = "SiteStatus",
    derive = "PartialEq",
    doc = "A physical place with a postal address, where device instances are.",
    printcolumn(name = "Display name", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Devices", type_ = "integer", json_path = ".status.deviceInstanceCount"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.activatedCount"),
    printcolumn(name = "Simulated", type_ = "boolean", json_path = ".spec.simulation.enabled", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.activatedCount) || oldSelf.status.activatedCount == 0 || \
         (has(self.spec.address) == has(oldSelf.spec.address) && \
          (!has(self.spec.address) || self.spec.address == oldSelf.spec.address) && \
          has(self.spec.addressFrom) == has(oldSelf.spec.addressFrom) && \
          (!has(self.spec.addressFrom) || self.spec.addressFrom == oldSelf.spec.addressFrom))"
    )
    .message("the address of a site is fixed while device instances are activated there: deactivate them first \
              (raise their spec.activation.epoch)")
    .field_path(".spec")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.address) != has(self.addressFrom)")
    .message("set exactly one of spec.address and spec.addressFrom"))]
pub struct SiteSpec {
    /// Name that people read, and that installers see when they activate a device: 1 to 60 characters, letters, digits,
    /// punctuation and spaces.
    #[schemars(length(min = 1, max = 60))]
    #[x_kube(validation = Rule::new(DISPLAY_NAME_RULE).message(DISPLAY_NAME_MESSAGE))]
    pub display_name: String,
    /// What the place is. At most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub description: Option<String>,
    /// Where it is, readable by all who may read the site. Fixed while device instances are activated there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<PostalAddress>,
    /// The Secret of type `fleetform.dev/address`, in the same namespace, that says where it is, with the keys of
    /// `address`: for places whose address only some may read. Fixed while device instances are activated there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_from: Option<SecretReference>,
    /// Time zone of the place, by its IANA name such as `America/Los_Angeles`: maintenance windows go by it. Left out, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')")
        .message("spec.timeZone must be the IANA name of a time zone, such as America/Los_Angeles"))]
    pub time_zone: Option<String>,
    /// Whether the simulator plays the devices of this site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulation: Option<Simulation>,
    /// Tags for cost, search and access, at most 50, with unique keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
}

/// Whether the simulator plays the devices of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// `true` lets the simulator activate the site's device instances and play their devices. Takes a namespace that
    /// carries the label `fleetform.dev/simulation: allowed`.
    #[serde(default)]
    pub enabled: bool,
}

/// What the operator sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// 14 letters and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_id: Option<ResourceId>,
    /// Amazon Resource Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<Arn>,
    /// Device instances of the site.
    #[serde(default)]
    pub device_instance_count: i64,
    /// Device instances of the site that are active. While it is above 0 the address is fixed.
    #[serde(default)]
    pub activated_count: i64,
    /// Assets of the site.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asset_count: i64,
    /// Whether an Enrollment device is configured for the site.
    #[serde(default)]
    pub enrollment_device_present: bool,
    /// Whether an Entry device is configured for the site.
    #[serde(default)]
    pub entry_device_present: bool,
    /// `Ready`, `Reconciling`, `Stalled`, `FullyEquipped`, `WithinQuota`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

impl Site {
    /// Whether the simulator plays the devices of this site.
    pub fn is_simulated(&self) -> bool {
        self.spec.simulation.as_ref().is_some_and(|simulation| simulation.enabled)
    }
}
