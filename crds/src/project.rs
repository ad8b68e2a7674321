//! Project: the namespace's fleet.

use fleetform_domain::id::{Arn, ResourceId};
use fleetform_domain::quota::Quota;
use fleetform_domain::tag::Tag;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{DISPLAY_NAME_MESSAGE, DISPLAY_NAME_RULE};

/// The only name a Project may have.
pub const NAME: &str = "project";

/// A project owns the sites, templates and device instances of its namespace. There is one per namespace, named
/// `project`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleetform.dev",
    version = "v1alpha1",
    kind = "Project",
    plural = "projects",
    shortname = "proj",
    category = "fleetform",
    namespaced,
    status = "ProjectStatus",
    derive = "PartialEq",
    doc = "The fleet of one namespace: it owns the Sites, ConfigTemplates and DeviceInstances beside it.",
    printcolumn(name = "Display name", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Sites", type_ = "integer", json_path = ".status.siteCount"),
    printcolumn(name = "Devices", type_ = "integer", json_path = ".status.deviceInstanceCount"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.activatedCount"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == 'project'")
        .message("a namespace has one Project, named project: set metadata.name to project"),
    validation = Rule::new("has(self.spec.encryption) || !has(oldSelf.spec.encryption) || oldSelf.spec.encryption.dataKeyGeneration == 0")
        .message("spec.encryption may be left out only while its dataKeyGeneration is 0: the number only rises")
        .field_path(".spec")
)]
#[serde(rename_all = "camelCase")]
pub struct ProjectSpec {
    /// Name that people read, 1 to 60 characters: letters, digits, punctuation and spaces.
    #[schemars(length(min = 1, max = 60))]
    #[x_kube(validation = Rule::new(DISPLAY_NAME_RULE).message(DISPLAY_NAME_MESSAGE))]
    pub display_name: String,
    /// Tags for cost, search and access, at most 50, with unique keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
    /// Set it to `Delete` before deleting the project: deleting it takes every code and configuration along.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self == 'Delete'")
        .message("deletionConfirmation must be the word Delete, or be left out"))]
    pub deletion_confirmation: Option<String>,
    /// What is sealed of the project, and with whose key. Left out, with the key of the installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Where the people and groups are looked up that get roles by an `AdminUser`. Left out, in the built-in directory. It may be changed later:
    /// everybody is looked up anew then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PeopleDirectory>,
    /// How many there may be of what. What is over quota waits, and says so; what is active is served on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<ProjectQuotas>,
}

/// Whose key it takes to read what is sensitive of a project: the profiles of enrolled users, and revisions of configurations. It may be
/// changed later: all of it is sealed again then, while devices go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.provider == 'AwsKms') == has(self.keyArn)")
        .message("encryption: provider AwsKms takes the ARN of a key in keyArn, and Local takes none"),
    validation = Rule::new("self.dataKeyGeneration >= oldSelf.dataKeyGeneration")
        .message("encryption.dataKeyGeneration only rises: set it to the number that it has, or a higher one")
)]
pub struct Encryption {
    /// `Local`: a key of this installation. `AwsKms`: that, and over it a symmetric key of AWS KMS that is yours, so that nothing can
    /// be read when you disable it.
    #[serde(default)]
    pub provider: KeyProvider,
    /// ARN of a symmetric encryption key of AWS KMS, in the account and region of this installation:
    /// `arn:aws:kms:us-east-1:123456789012:key/…`. No alias: an alias may come to mean another key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws(-cn|-us-gov)?:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$')")
        .message("encryption.keyArn is no ARN of a KMS key: write it like arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"))]
    pub key_arn: Option<String>,
    /// Raise it to have all of it sealed again with a new data key. From 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub data_key_generation: u32,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyProvider {
    /// The installation's.
    #[default]
    Local,
    /// The customer's, in AWS KMS, over the installation's.
    AwsKms,
}

/// Where people and groups are looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.provider == 'IamIdentityCenter') == has(self.identityStoreId)")
        .message("directory: provider IamIdentityCenter takes the id of an identity store in identityStoreId, and Native takes none")
)]
pub struct PeopleDirectory {
    /// `Native`: the built-in one, of `ServiceAccounts` in the namespace. `IamIdentityCenter`: an identity store of AWS IAM Identity Center.
    #[serde(default)]
    pub provider: DirectoryProvider,
    /// Id of an identity store, such as `d-906703eea2`; `aws sso-admin list-instances` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    #[x_kube(validation = Rule::new("self.matches('^(d-[0-9a-f]{10}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$')")
        .message("directory.identityStoreId is no id of an identity store: write it like d-906703eea2"))]
    pub identity_store_id: Option<String>,
}

/// Whose directory it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DirectoryProvider {
    /// The built-in one.
    #[default]
    Native,
    /// That of AWS IAM Identity Center.
    IamIdentityCenter,
}

/// How many there may be of what in a project. When there are more, the older ones keep their places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectQuotas {
    /// Sites of the project, 0 to 10,000. Left out, 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub sites: Option<u32>,
    /// Device instances of type Gateway at each site, 0 to 10,000. Left out, 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub gateways_per_site: Option<u32>,
    /// Assets at each site, 0 to 10,000. Left out, 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub assets_per_site: Option<u32>,
    /// People and groups with a role at each site, 0 to 10,000. Left out, 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub users_per_site: Option<u32>,
}

/// What the operator sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// 14 letters and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ResourceId>,
    /// Amazon Resource Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<Arn>,
    /// Sites in the project.
    #[serde(default)]
    pub site_count: i64,
    /// Device instances in the project.
    #[serde(default)]
    pub device_instance_count: i64,
    /// Device instances that are active.
    #[serde(default)]
    pub activated_count: i64,
    /// Admin users who are Admin, and stay it.
    #[serde(default)]
    pub admin_count: i64,
    /// Enrolled users of the project, also those who are being removed. The first and the last count within a few seconds, all others
    /// within a minute.
    #[serde(default)]
    pub enrolled_user_count: i64,
    /// The data keys that something is sealed with, the one in force first. More than one while things are sealed again. Each is sealed
    /// itself, and says nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub data_keys: Vec<DataKey>,
    /// `Ready`, `Reconciling`, `Stalled`, `ConnectivityKnown`, `KeyAvailable`, `WithinQuota`, `DirectoryReady`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// A key that things of the project are sealed with, itself sealed with the keys of its provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataKey {
    /// It stands on what is sealed with it: 16 hexadecimal digits.
    #[schemars(length(max = 16))]
    pub id: String,
    /// Whose keys it takes to open it.
    pub provider: KeyProvider,
    /// The key of AWS KMS, if it takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub key_arn: Option<String>,
    /// The `spec.encryption.dataKeyGeneration` that it was made for.
    pub generation: u32,
    /// The key, sealed; Base64.
    #[schemars(length(max = 8192))]
    pub sealed: String,
    /// When it was made.
    pub created_at: Time,
}

impl Project {
    /// Whose key is wanted.
    pub fn encryption(&self) -> Encryption {
        self.spec.encryption.clone().unwrap_or_default()
    }

    /// Where people are looked up.
    pub fn directory_provider(&self) -> DirectoryProvider {
        self.spec.directory.as_ref().map(|directory| directory.provider).unwrap_or_default()
    }

    /// Id of the identity store where people are looked up; none when that is the built-in directory.
    pub fn identity_store(&self) -> Option<&str> {
        let store = self.spec.directory.as_ref().and_then(|directory| directory.identity_store_id.as_deref());
        store.filter(|_| self.directory_provider() == DirectoryProvider::IamIdentityCenter)
    }

    /// The data keys that something is sealed with, the one in force first.
    pub fn data_keys(&self) -> &[DataKey] {
        self.status.as_ref().map(|status| status.data_keys.as_slice()).unwrap_or_default()
    }

    /// How many sites there may be.
    pub fn site_quota(&self) -> u32 {
        self.spec.quotas.as_ref().and_then(|quotas| quotas.sites).unwrap_or(Quota::Sites.default_limit())
    }

    /// How many gateways there may be at each site.
    pub fn gateway_quota(&self) -> u32 {
        self.spec.quotas.as_ref().and_then(|quotas| quotas.gateways_per_site).unwrap_or(Quota::Gateways.default_limit())
    }

    /// How many assets there may be at each site.
    pub fn asset_quota(&self) -> u32 {
        self.spec.quotas.as_ref().and_then(|quotas| quotas.assets_per_site).unwrap_or(Quota::Assets.default_limit())
    }

    /// How many people and groups may have a role at each site.
    pub fn user_quota(&self) -> u32 {
        self.spec.quotas.as_ref().and_then(|quotas| quotas.users_per_site).unwrap_or(Quota::Users.default_limit())
    }
}
