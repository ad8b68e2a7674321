//! Pure: device protocol v1, and the portal's answers. JSON over HTTP; field names in camel case.
//!
//! Devices speak to the gateway: lookup and activation over TLS 1.3 with the server's key pinned by the code, all
//! else over mutual TLS 1.3. People, and who plays them, speak to the portal with a Kubernetes token.

mod authorities;
mod machines;
mod people;
mod portal;
#[cfg(test)]
mod tests;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::activation::{Confirmation, TokenText};
use crate::configuration::{BadgeFormat, ControlPanel, Io, OperationMode, RefusalReason, Software, UpdateState};
use crate::operation::{CommandKind, LockReason};

pub use authorities::{AuthoritiesDigest, InvalidAuthoritiesDigest};
pub use machines::{
    MAX_MEASUREMENTS, MAX_SENSOR_HEALTH_CHECKS, MEASUREMENTS_PATH, Measurement, MeasurementRefusal,
    MeasurementsRequest, MeasurementsResponse, RefusedMeasurement, SensorReport, SensorsReport, WantedSensor,
    WantedSensors,
};
pub use people::{
    ENROLLMENT_PATH, EnrollmentOutcome, EnrollmentRequest, EnrollmentResponse, ListedUser, MAX_PALMS,
    MAX_USERS_PER_PAGE, PalmPresented, RECOGNITION_PATH, RecognitionRequest, RecognitionResponse, RecognizedUser,
    USER_LIST_PATH, UserList, UserListQuery,
};
pub use portal::{
    ActivationCodeList, ActivationCodeSummary, ConfigurationOrigin, DEVICE_LIST_PATH, DeviceList, DeviceListQuery,
    DeviceName, DeviceSummary, EnrolledUserProfile, MeasurementSeries, MeasurementSeriesQuery, SiteObjectKind,
    SiteObjects, SiteObjectsQuery, StoredConfiguration, activation_code_list_path, activation_code_path,
    admin_user_invitation_path, asset_measurements_path, configuration_version_path, enrolled_user_profile_path,
    project_device_list_path, site_address_path, site_objects_path,
};

/// `POST` [`LookupRequest`] → [`LookupResponse`].
pub const LOOKUP_PATH: &str = "/v1/activations/lookup";
/// `POST` [`ActivationRequest`] → [`ActivationResponse`].
pub const ACTIVATION_PATH: &str = "/v1/activations";
/// `POST` [`CheckInRequest`] → [`CheckInResponse`].
pub const CHECK_IN_PATH: &str = "/v1/check-in";
/// `GET` + `/{version}` → [`DeviceConfiguration`].
pub const CONFIGURATION_PATH: &str = "/v1/configuration";
/// `POST`, with an empty body → [`CertificateResponse`]. The one path that takes a certificate that has expired
/// or comes from an authority that was retired.
pub const CERTIFICATE_PATH: &str = "/v1/certificate";
/// Largest body that gateway and portal read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Longest that a check-in or a list may wait for a change, in seconds.
pub const MAX_WAIT_SECONDS: u32 = 60;

/// A text that a device chose: 1 to 64 letters, digits, `.`, `_` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceText(String);

impl DeviceText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for DeviceText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeviceText".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A text that a device chose.",
            "pattern": "^[A-Za-z0-9._-]{1,64}$",
        })
    }
}

impl fmt::Display for DeviceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that devices may not choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("texts of devices are 1 to 64 letters, digits, `.`, `_` or `-`")]
pub struct InvalidDeviceText;

impl TryFrom<String> for DeviceText {
    type Error = InvalidDeviceText;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let ok = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if ok { Ok(Self(text)) } else { Err(InvalidDeviceText) }
    }
}

impl TryFrom<&str> for DeviceText {
    type Error = InvalidDeviceText;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::try_from(text.to_owned())
    }
}

impl From<DeviceText> for String {
    fn from(text: DeviceText) -> Self {
        text.0
    }
}

/// First step of an activation: which site is this code for?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LookupRequest {
    /// From the scanned code.
    pub token: TokenText,
    /// The ZIP code that the installer typed.
    pub postal_code: String,
}

/// The site to show to the installer, who confirms it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LookupResponse {
    /// Display name of the site.
    pub site_name: String,
    /// City of the site.
    pub city: String,
    /// State or region of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_or_region: Option<String>,
    /// Display name of the device instance.
    pub device_instance_name: String,
    /// Goes into the commit.
    pub confirmation: Confirmation,
}

/// Second step of an activation: the installer confirmed the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivationRequest {
    /// The same token.
    pub token: TokenText,
    /// From the lookup.
    pub confirmation: Confirmation,
    /// What is printed on the hardware, such as `0000195169`.
    pub asset_tag_id: DeviceText,
    /// PKCS #10 certificate request in PEM, signed with the key that the device keeps. Of it only the key is used.
    pub certificate_request: String,
}

/// The device is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivationResponse {
    /// Id of the association.
    pub association_id: String,
    /// The device's certificate, PEM.
    pub certificate: String,
    /// Certificates of the authorities to trust from now on, PEM.
    pub ca_certificates: Vec<String>,
    /// The configuration to fetch and apply before the first check-in.
    pub desired_configuration_version: u32,
    /// Time until the first check-in is due, in seconds.
    pub next_check_in_seconds: u32,
}

/// A new certificate for the key and the association that the old one proves, and the authorities that count now. Both are on
/// the device's disk before they are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateResponse {
    /// The device's certificate, PEM.
    pub certificate: String,
    /// Certificates of the authorities to trust from now on, PEM.
    pub ca_certificates: Vec<String>,
}

/// The whole state of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckInRequest {
    /// Random, new at every start of the device.
    pub boot_id: DeviceText,
    /// Counts the check-ins of this boot, from 1.
    pub counter: u64,
    /// Version of the device's software.
    pub software_version: DeviceText,
    /// The configuration in force; none right after activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_configuration_version: Option<u32>,
    /// Names of the health checks that fail now, at most 16. Empty when all passed.
    #[serde(default)]
    pub failed_health_checks: Vec<DeviceText>,
    /// The lock that the device is under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<DeviceLock>,
    /// The command that the device has carried out last, until it gets another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_command: Option<DeviceText>,
    /// The configuration that was wanted and that the device does not run, until another one is wanted or it runs it after all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_configuration: Option<RefusedConfiguration>,
    /// How far the device is with the software that is wanted, while it fetches or installs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_update: Option<SoftwareUpdate>,
    /// The authorities that the device trusts, as they stand on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_authorities: Option<AuthoritiesDigest>,
    /// The revision of the list of enrolled users that the device holds on its disk; none when it holds no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_users_revision: Option<DeviceText>,
    /// Whether the device keeps an enrollment with palms, which it tells of again, as it has not heard how the gateway decided.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_enrollments: bool,
    /// What a gateway says of its sensors; none of other devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensors: Option<SensorsReport>,
    /// How long the answer may wait for a change, in seconds, 0 to 60.
    #[serde(default)]
    pub wait_seconds: u32,
}

impl CheckInRequest {
    /// Of a device that has nothing more to say than that it is there.
    pub fn new(boot_id: DeviceText, counter: u64, software_version: DeviceText) -> Self {
        Self {
            boot_id,
            counter,
            software_version,
            applied_configuration_version: None,
            failed_health_checks: Vec::new(),
            lock: None,
            completed_command: None,
            refused_configuration: None,
            software_update: None,
            trusted_authorities: None,
            enrolled_users_revision: None,
            keeps_enrollments: false,
            sensors: None,
            wait_seconds: 0,
        }
    }
}

/// A configuration that a device does not run, although it was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedConfiguration {
    /// Which version.
    pub version: u32,
    /// Why.
    pub reason: RefusalReason,
}

/// How far a device is with a release of its software.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareUpdate {
    /// The version that it is to run.
    pub version: DeviceText,
    /// What it is at.
    pub state: UpdateState,
    /// How much of the release is there, in percent, 0 to 100.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,
}

/// A lock, as a device reports it and as it is told to lock itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceLock {
    /// Made when the device was locked: what takes a lock off names it.
    pub id: DeviceText,
    /// Why.
    pub reason: LockReason,
}

/// Something that the device is to do once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// What.
    pub kind: CommandKind,
    /// Names the command, or the lock that is to be taken off. One that the device has carried out already is not carried out
    /// again.
    pub id: DeviceText,
}

/// Most failed health checks that one check-in may name.
pub const MAX_FAILED_HEALTH_CHECKS: usize = 16;

/// What is wanted of the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckInResponse {
    /// The configuration that should be in force. When it is another one than applied: fetch, apply, check in.
    pub desired_configuration_version: u32,
    /// Time until the next check-in is due, in seconds.
    pub next_check_in_seconds: u32,
    /// What to do, in this order, at most one of each kind. A device that is locked obeys only those that take its lock off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    /// The lock to be under, when the gateway found a reason for it that the device cannot see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<DeviceLock>,
    /// The device is withdrawn from service: it says so and serves nobody until this is no longer said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_service: bool,
    /// The authorities to trust from now on. When the device trusts others: ask for a certificate, whose answer brings them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<AuthoritiesDigest>,
    /// The device's certificate comes from an authority that no longer signs: ask for another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renew_certificate: bool,
    /// The revision of the list of enrolled users to hold, for devices that recognise people while they are offline. When the
    /// device holds another one: ask for what changed. When there is none, and it holds a list: forget it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_users_revision: Option<DeviceText>,
    /// The sensors that a gateway is to be paired with, when it goes by another list than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensors: Option<WantedSensors>,
}

/// A configuration, whole, as a device applies it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceConfiguration {
    /// Its version.
    pub version: u32,
    /// Its ARN.
    pub arn: String,
    /// Display name of the device instance.
    pub device_instance_name: String,
    /// What the reader does; none for gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_mode: Option<OperationMode>,
    /// The network to join; Ethernet when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wifi: Option<WifiCredentials>,
    /// The line to the door controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_panel: Option<ControlPanel>,
    /// The layout of badges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub badge_format: Option<BadgeFormat>,
    /// The relay and the general-purpose inputs and outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<Io>,
    /// How long the device may be without its gateway before it locks itself, in minutes.
    pub maximum_offline_minutes: u32,
    /// The software to run; what it runs when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<Software>,
    /// Whether an Entry device holds a list of the enrolled users and goes by it while its gateway is out of reach.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline_recognition: bool,
    /// Which text of the terms and the consent an Enrollment device shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_version: Option<String>,
}

impl fmt::Debug for DeviceConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceConfiguration").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A network with the secret that opens it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WifiCredentials {
    /// Name of the network.
    pub ssid: String,
    /// WPA passphrase.
    pub passphrase: String,
}

impl fmt::Debug for WifiCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WifiCredentials").field("ssid", &self.ssid).finish_non_exhaustive()
    }
}
