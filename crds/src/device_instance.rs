//! `DeviceInstance`: a logical device. The hardware behind it can be swapped.

use fleetform_domain::activation::{Association, Phase};
use fleetform_domain::configuration::{Configuration, DeviceType, OperationMode, RefusalReason, UpdateState};
use fleetform_domain::id::{Arn, ResourceId};
use fleetform_domain::operation::{CommandKind, LockReason};
use fleetform_domain::tag::Tag;
use fleetform_domain::transition::{Connectivity, Health, Transition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::reference::{DISPLAY_NAME_MESSAGE, DISPLAY_NAME_RULE, LocalReference};

/// Finalizer that keeps an instance that was deleted until its devices have forgotten the list of enrolled users.
pub const ENROLLED_USERS_FINALIZER: &str = "fleetform.dev/enrolled-users";

/// Most devices of before that an instance remembers.
pub const KEPT_FORMER_DEVICES: usize = 8;

/// Most configuration versions that an instance remembers.
pub const KEPT_VERSIONS: usize = 10;

/// A logical device: a name, a site, a configuration. The hardware is associated by activation.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleetform.dev",
    version = "v1alpha1",
    kind = "DeviceInstance",
    plural = "deviceinstances",
    shortname = "dev",
    category = "fleetform",
    namespaced,
    status = "DeviceInstanceStatus",
    derive = "PartialEq",
    doc = "A logical device: a name, a site and a configuration. Hardware is associated with it by activation and can be swapped.",
    selectable = ".spec.siteRef.name",
    selectable = ".status.phase",
    printcolumn(name = "Site", type_ = "string", json_path = ".spec.siteRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.configuration.operationMode"),
    printcolumn(name = "Connectivity", type_ = "string", json_path = ".status.connectivity"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health"),
    printcolumn(name = "Lock", type_ = "string", json_path = ".status.lock.reason"),
    printcolumn(name = "Software", type_ = "string", json_path = ".status.device.softwareVersion", priority = 1),
    printcolumn(name = "Asset tag", type_ = "string", json_path = ".status.device.assetTagId", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.activation) || !has(oldSelf.status.activation.association) || \
         self.spec.siteRef.name == oldSelf.spec.siteRef.name"
    )
    .message("spec.siteRef is fixed while a device is associated: deactivate it first (raise spec.activation.epoch), \
              then move the instance")
    .field_path(".spec.siteRef"),
    validation = Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.sensor) || self.spec.siteRef.name == oldSelf.spec.siteRef.name"
    )
    .message("spec.siteRef of a Sensor is fixed while it is paired with its gateway: take spec.configuration.sensor out first, \
              then move the instance, then set it anew")
    .field_path(".spec.siteRef"),
    validation = Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase != 'Active' || \
         !has(oldSelf.status.configuration) || !has(oldSelf.status.configuration.operationMode) || \
         !has(self.spec.configuration) || !has(self.spec.configuration.operationMode) || \
         (has(oldSelf.spec.configuration) && has(oldSelf.spec.configuration.operationMode) && \
          self.spec.configuration.operationMode == oldSelf.spec.configuration.operationMode) || \
         self.spec.configuration.operationMode == oldSelf.status.configuration.operationMode"
    )
    .message("spec.configuration.operationMode is fixed while the device is active: deactivate it first (raise \
              spec.activation.epoch), then change the mode, then activate it again")
    .field_path(".spec.configuration.operationMode")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.deviceType == 'Reader' || !has(self.configuration) || \
     !(has(self.configuration.operationMode) || has(self.configuration.controlPanel) || \
       has(self.configuration.badgeFormat) || has(self.configuration.io))"
).message("spec.configuration: operationMode, controlPanel, badgeFormat and io are for deviceType Reader only: remove them"))]
#[x_kube(validation = Rule::new(
    "self.deviceType == 'Reader' || !has(self.configuration) || \
     !(has(self.configuration.offlineRecognition) || has(self.configuration.consentVersion))"
).message("spec.configuration: offlineRecognition and consentVersion are for deviceType Reader only: remove them"))]
#[x_kube(validation = Rule::new(
    "(self.deviceType == 'Sensor') || !has(self.configuration) || !has(self.configuration.sensor)"
).message("spec.configuration.sensor is for deviceType Sensor only: remove it"))]
#[x_kube(validation = Rule::new(
    "self.deviceType != 'Sensor' || !has(self.configuration) || \
     !(has(self.configuration.templateRef) || has(self.configuration.wifi) || has(self.configuration.software) || \
       has(self.configuration.maximumOfflineMinutes))"
).message("spec.configuration of a Sensor holds sensor and nothing else: templateRef, wifi, software and maximumOfflineMinutes \
           are for readers and gateways"))]
pub struct DeviceInstanceSpec {
    /// The Site where the device is. Fixed while a device is associated.
    pub site_ref: LocalReference,
    /// Name that people read and that the access-control software shares: 1 to 60 characters, letters, digits,
    /// punctuation and spaces.
    #[schemars(length(min = 1, max = 60))]
    #[x_kube(validation = Rule::new(DISPLAY_NAME_RULE).message(DISPLAY_NAME_MESSAGE))]
    pub display_name: String,
    /// `Reader`, `Gateway` or `Sensor`. Fixed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.deviceType is fixed: delete the DeviceInstance and make another one"))]
    pub device_type: DeviceType,
    /// How the device is configured: from a template, by hand, or from a template with members overridden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<InstanceConfiguration>,
    /// Who may activate the instance, and when it has to be activated again.
    #[serde(default)]
    pub activation: ActivationSpec,
    /// Withdraws the device from service: it shows "Temporarily out of service" and serves nobody until this is false again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_service: bool,
    /// Tags for cost, search and access, at most 50, with unique keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
}

/// A configuration: from a template, by hand, or from a template with members overridden.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceConfiguration {
    /// The `ConfigTemplate` to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<LocalReference>,
    /// Where a sensor is and how it reports. Required of sensors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor: Option<SensorConfiguration>,
    /// All of the configuration, or what differs from the template.
    #[serde(flatten)]
    pub inline: Configuration,
}

/// Where a sensor is and how it reports. All of it can change while the sensor is active: then it is moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SensorConfiguration {
    /// The `Asset` that it is mounted on, at the same site.
    pub asset_ref: LocalReference,
    /// Name of the position at the asset: one of its `spec.positions`. One sensor for each.
    #[schemars(length(min = 1, max = 63))]
    pub position: String,
    /// The `DeviceInstance` of deviceType Gateway, at the same site, that it reports through. At most 100 sensors for each.
    pub gateway_ref: LocalReference,
    /// Time from one measurement to the next, in seconds, 1 to 86,400. Left out, 3,600.
    #[serde(default = "SensorConfiguration::default_interval")]
    #[schemars(range(min = 1, max = 86_400))]
    pub measurement_interval_seconds: u32,
}

impl SensorConfiguration {
    fn default_interval() -> u32 {
        3_600
    }
}

/// Who may activate an instance, and when it has to be activated again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationSpec {
    /// An association is good only for its epoch: raise it to deactivate the device. It never falls.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    #[x_kube(validation = Rule::new("self >= oldSelf")
        .message("spec.activation.epoch only rises: when you revert a commit that raised it, raise it once more instead"))]
    pub epoch: i64,
    /// Asset tag of the only hardware that may be activated as this instance, 1 to 64 letters, digits, `.`, `_`, `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9._-]+$')")
        .message("spec.activation.expectedAssetTagId may hold letters, digits, dots, underscores and hyphens only"))]
    pub expected_asset_tag_id: Option<String>,
}

/// What the operator sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInstanceStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `NeedsConfiguration`, `ReadyForActivation` or `Active`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// 14 letters and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_instance_id: Option<ResourceId>,
    /// Amazon Resource Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<Arn>,
    /// Which configuration is desired, and which one the device runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationStatus>,
    /// The activation code, or who redeemed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationStatus>,
    /// The hardware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceStatus>,
    /// Devices of before that may still hold a list of the enrolled users, at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub former_devices: Vec<FormerDevice>,
    /// Of a sensor: which gateway is paired with it, and where it is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor: Option<SensorStatus>,
    /// Whether the device reports: `CONNECTED` or `DISCONNECTED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connectivity: Option<Connectivity>,
    /// Whether all its health checks passed: `HEALTHY` or `CRITICAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Names of the health checks that fail, at most 16, while it is `CRITICAL`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64)))]
    pub failed_health_checks: Vec<String>,
    /// The lock that the device is under. While it is, it obeys nothing but the answer to its lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockStatus>,
    /// What was asked of the device last, one of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into()]))]
    pub commands: Vec<CommandStatus>,
    /// The last changes of health and connectivity, oldest first, at most 32. Events are made of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub transitions: Vec<Transition>,
    /// `Ready`, `Reconciling`, `Stalled`, `Active`, `Connected`, `Healthy`, `Flapping`, `Locked`, `OutOfService`,
    /// `DuplicateAssetTag`, `ClockSkewed`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// Which configuration is desired, and which one the device runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStatus {
    /// Version that the device should run, from 1.
    pub desired: u32,
    /// Version that the device says it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<u32>,
    /// The desired version, if the device does not run it and said why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedVersion>,
    /// Operation mode of the desired version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_mode: Option<OperationMode>,
    /// The last versions, oldest first, at most 10. A version never changes.
    #[schemars(length(max = 10))]
    pub history: Vec<ConfigurationVersion>,
}

/// A version that the device does not run, and goes on with what it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedVersion {
    /// Which version.
    pub version: u32,
    /// Why, as the device says.
    pub reason: RefusalReason,
    /// When the operator heard of it (RFC 3339).
    pub since: Time,
}

/// One version of an instance's configuration: a revision of a template, overrides, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationVersion {
    /// From 1.
    pub version: u32,
    /// SHA-256 of the whole configuration, 64 hexadecimal digits.
    #[schemars(length(max = 64))]
    pub digest: String,
    /// The template revision it starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateRevision>,
    /// What lies over it, in the form of `spec.configuration`.
    // Checked when it stood in the spec; the rules cost too much to be checked again in each of ten versions.
    #[serde(default, skip_serializing_if = "Configuration::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub overrides: Configuration,
    /// The Wi-Fi credentials that it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsVersion>,
    /// How long a device that runs it may be without its gateway, in minutes, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_offline_minutes: Option<u32>,
    /// Whether a device that runs it holds a list of the enrolled users.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline_recognition: bool,
    /// Which text people agree to at a device that runs it; left out where nobody enrolls.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub consent_version: Option<String>,
    /// When the version was made (RFC 3339).
    pub created_at: Time,
}

/// A Secret with Wi-Fi credentials, as it was when a version was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsVersion {
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    pub secret_name: String,
    /// Tells one content from another, and nothing of it without the installation's key: 32 hexadecimal digits.
    #[schemars(length(max = 32))]
    pub digest: String,
}

/// A revision of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRevision {
    /// UID of the template: one that was deleted and made again starts over.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Name of the template.
    #[schemars(length(max = 253))]
    pub name: String,
    /// From 1.
    pub revision: u32,
}

/// The activation code, or who redeemed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationStatus {
    /// The Secret of type `fleetform.dev/activation-qr` that holds the code. Gone once the code is redeemed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// Rises each time the instance becomes ready for activation, from 1.
    #[serde(default)]
    pub sequence: i64,
    /// The epoch that the current code or association belongs to.
    #[serde(default)]
    pub epoch: i64,
    /// The device that redeemed the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub association: Option<Association>,
}

/// The hardware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// What is printed on it, as it claims.
    #[schemars(length(max = 64))]
    pub asset_tag_id: String,
    /// Version of its software, as it reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub software_version: Option<String>,
    /// The release of its software that it fetches or installs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_update: Option<SoftwareUpdateStatus>,
    /// When it redeemed the code (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Time>,
}

/// A device whose association has ended, and that may go by its list of the enrolled users until it hears so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerDevice {
    /// Id of its association. None where it stands for several, which are waited for to the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub association_id: Option<String>,
    /// When the association ended (RFC 3339). Who was enrolled later is not on the list.
    pub ended_at: Time,
    /// Until when at the latest it goes by the list: then it is without its gateway for too long (RFC 3339).
    pub until: Time,
}

/// Which gateway is paired with a sensor, and where the sensor is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SensorStatus {
    /// Name of the gateway's `DeviceInstance`.
    #[schemars(length(max = 253))]
    pub gateway: String,
    /// Name of the `Asset`.
    #[schemars(length(max = 253))]
    pub asset: String,
    /// Name of the position at the asset.
    #[schemars(length(max = 63))]
    pub position: String,
    /// When the operator heard that they are paired (RFC 3339).
    pub paired_at: Time,
    /// The epoch for which they are paired.
    pub epoch: i64,
}

/// How far a device is with a release of its software.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareUpdateStatus {
    /// The version that it is to run.
    #[schemars(length(max = 64))]
    pub version: String,
    /// `Downloading` or `Installing`.
    pub state: UpdateState,
    /// How much of the release is there, in percent: 0, 25, 50, 75 or 100.
    pub percent: u8,
}

/// The lock that a device is under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockStatus {
    /// Names this one lock: what takes it off names it too.
    #[schemars(length(max = 64))]
    pub id: String,
    /// `Tamper`, `MaximumOfflineTime` or `Cloned`.
    pub reason: LockReason,
    /// When the operator heard of it (RFC 3339).
    pub since: Time,
}

/// Something that was asked of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandStatus {
    /// `Reboot`, `Remediate` or `Unlock`.
    pub kind: CommandKind,
    /// What the annotation said: a name for the reboot, or the lock that is answered.
    #[schemars(length(max = 64))]
    pub id: String,
    /// When the operator saw it (RFC 3339).
    pub requested_at: Time,
    /// When the device was told (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Time>,
    /// When the device said that it is done, or it was given up (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Time>,
    /// Given up: there was no device, or its association ended before it was done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abandoned: bool,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

impl ConfigurationStatus {
    /// The version of this number, if it is remembered.
    pub fn version(&self, number: u32) -> Option<&ConfigurationVersion> {
        self.history.iter().find(|version| version.version == number)
    }
}

impl DeviceInstance {
    /// The version of its configuration that the device should run.
    pub fn desired_version(&self) -> Option<&ConfigurationVersion> {
        let configuration = self.status.as_ref()?.configuration.as_ref()?;
        configuration.version(configuration.desired)
    }

    /// Where the instance stands; `NeedsConfiguration` before the operator has seen it.
    pub fn phase(&self) -> Phase {
        self.status.as_ref().and_then(|status| status.phase).unwrap_or_default()
    }

    /// Whether a device is active as the instance, which stays.
    pub fn is_active(&self) -> bool {
        self.phase() == Phase::Active && self.metadata.deletion_timestamp.is_none()
    }

    /// The association, if there is one.
    pub fn association(&self) -> Option<&Association> {
        self.status.as_ref()?.activation.as_ref()?.association.as_ref()
    }

    /// Name of the template that the spec refers to.
    pub fn template_name(&self) -> Option<&str> {
        Some(self.spec.configuration.as_ref()?.template_ref.as_ref()?.name.as_str())
    }

    /// What the spec sets beside the template.
    pub fn overrides(&self) -> Configuration {
        self.spec.configuration.as_ref().map(|configuration| configuration.inline.clone()).unwrap_or_default()
    }
}
