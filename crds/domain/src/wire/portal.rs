//! Pure: what the portal answers to people, and to who plays them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeviceText;
use crate::activation::Phase;
use crate::configuration::{Configuration, DeviceType, OperationMode};
use crate::event::UserStatus;
use crate::id::{Arn, ResourceId};
use crate::machines::{MachineClass, MachineState};
use crate::people::{BadgeNumber, Consent};

/// Portal: `GET` → [`DeviceList`]; see [`DeviceListQuery`].
pub const DEVICE_LIST_PATH: &str = "/v1/device-instances";

/// Portal: `POST` → the code as `image/png`, or as `text/plain` where the request accepts that.
pub fn activation_code_path(project: &str, name: &str) -> String {
    format!("/v1/projects/{project}/device-instances/{name}/activation-qr-code")
}

/// Portal: the devices of one project.
pub fn project_device_list_path(project: &str) -> String {
    format!("/v1/projects/{project}/device-instances")
}

/// Portal: `GET` → [`PostalAddress`](crate::address::PostalAddress) of one site, which the installer checks and whose ZIP
/// code they type.
pub fn site_address_path(project: &str, site: &str) -> String {
    format!("/v1/projects/{project}/sites/{site}/address")
}

/// Portal: `GET` → [`ActivationCodeList`]: what there is to activate at a site.
pub fn activation_code_list_path(project: &str, site: &str) -> String {
    format!("/v1/projects/{project}/sites/{site}/activation-qr-codes")
}

/// What there is to activate at a site, as an installer needs it. It holds no code: each one is handed out by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationCodeList {
    /// Namespace.
    pub project: String,
    /// Name of the site.
    pub site: String,
    /// Display name of the site, as the device shows it to be confirmed.
    pub site_name: String,
    /// Device instances that wait for a device and whose code the caller may have, by name.
    pub items: Vec<ActivationCodeSummary>,
}

/// A device instance that waits for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationCodeSummary {
    /// Name.
    pub name: String,
    /// Display name.
    pub display_name: String,
    /// What it is.
    pub device_type: DeviceType,
    /// What the reader will do; none for gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_mode: Option<OperationMode>,
    /// When the code that is there now stops to work (RFC 3339). One that has little time left is refreshed when it is
    /// fetched. None while the code is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// Path at the portal to `POST` to for the code.
    pub path: String,
}

/// Portal: `GET` → [`StoredConfiguration`]: one version of a device instance's configuration, which never changes.
pub fn configuration_version_path(project: &str, name: &str, version: &str) -> String {
    format!("/v1/projects/{project}/device-instances/{name}/configuration/{version}")
}

/// One version of a device instance's configuration, for people: whole, and with references where the device gets secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredConfiguration {
    /// Its ARN, which ends in the version.
    pub arn: Arn,
    /// From 1.
    pub version: u32,
    /// SHA-256 of the whole configuration, 64 hexadecimal digits.
    pub digest: String,
    /// When the version was made (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created_at: Timestamp,
    /// The template revision that it starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<ConfigurationOrigin>,
    /// Whether the device should run this version.
    pub desired: bool,
    /// Whether the device says that it runs this version.
    pub applied: bool,
    /// What the template revision and the instance's overrides make together.
    pub configuration: Configuration,
}

/// A revision of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationOrigin {
    /// Name of the `ConfigTemplate`.
    pub name: String,
    /// UID of the `ConfigTemplate`: one that was deleted and made again starts over.
    pub uid: String,
    /// From 1.
    pub revision: u32,
}

/// Portal: `GET` → [`MeasurementSeries`]: the measurements of one position of an asset; see [`MeasurementSeriesQuery`].
pub fn asset_measurements_path(project: &str, asset: &str) -> String {
    format!("/v1/projects/{project}/assets/{asset}/measurements")
}

/// What measurements may be asked for, in the query string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeasurementSeriesQuery {
    /// Name of the position.
    pub position: String,
    /// Only measurements that came after an earlier answer, whenever they were taken: its [`MeasurementSeries::next`]. One from before the
    /// operator started, or of a sensor that is no longer there, is answered with all that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DeviceText>,
    /// At most so many, 1 to 512: the last ones, or with `after` those that came first. Left out, all that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub limit: Option<u32>,
}

/// Recent measurements of one position, for a chart: lists of equal length, the oldest first. They are kept in memory, at most
/// 512 of each sensor, and start over with the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasurementSeries {
    /// Namespace.
    pub project: String,
    /// Name of the asset.
    pub asset: String,
    /// Name of the position.
    pub position: String,
    /// Name of the device instance of the sensor that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
    /// State of the position, as it stands in the asset's status.
    pub state: MachineState,
    /// Class of the machine.
    pub machine_class: MachineClass,
    /// The boundaries between the zones A and B, B and C, C and D, in mm/s RMS.
    pub zone_boundaries_mm_per_s: [f64; 3],
    /// Temperatures in °C above which the state is `Warning` and `Alarm`, if temperature is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_limits_celsius: Option<[i32; 2]>,
    /// What to ask for `after` to hear of what comes later; left out when nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<DeviceText>,
    /// When each was measured (RFC 3339).
    #[schemars(with = "Vec<String>")]
    pub times: Vec<Timestamp>,
    /// Vibration velocity, RMS, in mm/s.
    pub velocity_rms_mm_per_s: Vec<f32>,
    /// Temperature of the housing in °C.
    pub temperature_celsius: Vec<f32>,
}

/// Portal: `GET` → [`SiteObjects`]: what is declared at a site, for those who have a role there; see [`SiteObjectsQuery`].
pub fn site_objects_path(project: &str, site: &str) -> String {
    format!("/v1/projects/{project}/sites/{site}/objects")
}

/// Which objects of a site are asked for, in the query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteObjectsQuery {
    /// Only objects of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SiteObjectKind>,
    /// Only objects of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A kind of which there are objects at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SiteObjectKind {
    /// The site itself.
    Site,
    /// Its device instances.
    DeviceInstance,
    /// Its assets.
    Asset,
    /// The alerts about its assets.
    Alert,
    /// Those who have a role there alone.
    AdminUser,
}

/// Objects as Kubernetes has them: what `kubectl get --output json` shows of a list, so that `kubectl replace` takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteObjects {
    /// `v1`.
    pub api_version: String,
    /// `List`.
    pub kind: String,
    /// By kind, the site first, and then by name.
    pub items: Vec<serde_json::Value>,
}

/// Portal: `GET` → the letter to somebody who got a role, as `message/rfc822`.
pub fn admin_user_invitation_path(project: &str, name: &str) -> String {
    format!("/v1/projects/{project}/admin-users/{name}/invitation")
}

/// Portal: `GET` → [`EnrolledUserProfile`] of one person.
pub fn enrolled_user_profile_path(project: &str, name: &str) -> String {
    format!("/v1/projects/{project}/enrolled-users/{name}/profile")
}

/// Who an enrolled user is, for those who may know the badge. Nothing of a palm is ever shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolledUserProfile {
    /// Name of the `EnrolledUser`.
    pub name: String,
    /// All digits of the badge's number.
    pub badge_number: BadgeNumber,
    /// Whether the person is enrolled, or is being removed from devices.
    pub user_status: UserStatus,
    /// Name that the device had where the person enrolled.
    pub enrollment_source: String,
    /// Id of that device instance.
    pub enrollment_source_id: ResourceId,
    /// When (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub enrolled_at: Timestamp,
    /// What the person agreed to, and when.
    pub consent: Consent,
    /// How many palms are enrolled, 1 or 2.
    pub palms: usize,
}

/// What a list of devices may be asked for, in the query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceListQuery {
    /// Only devices of this site (its name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Only devices of sites that are simulated, or only of those that are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<bool>,
    /// Only what changed since the list of this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How long to wait for a change when there is none since, in seconds, 0 to 60.
    #[serde(default)]
    pub wait_seconds: u32,
}

/// Devices, as those may see them who may not read their configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceList {
    /// To be given as `since` next time.
    pub version: String,
    /// Whether this is the whole list; otherwise what changed since the version asked for.
    pub complete: bool,
    /// Devices, or those that changed.
    pub items: Vec<DeviceSummary>,
    /// Devices that are gone, or no longer of those asked for. Empty in a complete list.
    pub removed: Vec<DeviceName>,
}

/// Which device instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceName {
    /// Namespace.
    pub project: String,
    /// Name.
    pub name: String,
}

/// One device instance, projected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceSummary {
    /// Which one.
    #[serde(flatten)]
    pub id: DeviceName,
    /// UID: another one means another instance of the same name.
    pub uid: String,
    /// Display name.
    pub display_name: String,
    /// Name of its site.
    pub site: String,
    /// What it is.
    pub device_type: DeviceType,
    /// Where it stands.
    pub phase: Phase,
    /// Rises each time the instance becomes ready for activation.
    pub activation_sequence: i64,
    /// Whether the simulator plays the devices of its site.
    pub simulated: bool,
}
