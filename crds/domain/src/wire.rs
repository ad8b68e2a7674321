//! Pure: device protocol v1, and the portal's answers. JSON over HTTP; field names in camel case.
//!
//! Devices speak to the gateway: lookup and activation over TLS 1.3 with the server's key pinned by the code, all
//! else over mutual TLS 1.3. People, and who plays them, speak to the portal with a Kubernetes token.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::activation::{Confirmation, Phase, TokenText};
use crate::configuration::{BadgeFormat, ControlPanel, DeviceType, OperationMode};

/// `POST` [`LookupRequest`] → [`LookupResponse`].
pub const LOOKUP_PATH: &str = "/v1/activations/lookup";
/// `POST` [`ActivationRequest`] → [`ActivationResponse`].
pub const ACTIVATION_PATH: &str = "/v1/activations";
/// `POST` [`CheckInRequest`] → [`CheckInResponse`].
pub const CHECK_IN_PATH: &str = "/v1/check-in";
/// `GET` + `/{version}` → [`DeviceConfiguration`].
pub const CONFIGURATION_PATH: &str = "/v1/configuration";
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
    /// How long the answer may wait for a change, in seconds, 0 to 60.
    #[serde(default)]
    pub wait_seconds: u32,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_devices_are_bounded() {
        assert!(DeviceText::try_from("0000195169").is_ok());
        for bad in ["", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert_eq!(DeviceText::try_from(bad), Err(InvalidDeviceText), "{bad:?}");
        }
    }

    #[test]
    fn the_messages_of_version_1() {
        let token = TokenText::from("dG9rZW4".to_owned());
        let confirmation = Confirmation::from("Y29uZmlybQ".to_owned());
        insta::assert_json_snapshot!(
            "lookup_request",
            LookupRequest { token: token.clone(), postal_code: "98104".into() }
        );
        insta::assert_json_snapshot!(
            "lookup_response",
            LookupResponse {
                site_name: "Central Library".into(),
                city: "Seattle".into(),
                state_or_region: Some("WA".into()),
                device_instance_name: "Main entrance".into(),
                confirmation: confirmation.clone(),
            }
        );
        insta::assert_json_snapshot!(
            "activation_request",
            ActivationRequest {
                token,
                confirmation,
                asset_tag_id: "0000195169".try_into().unwrap(),
                certificate_request: "-----BEGIN CERTIFICATE REQUEST-----\n…".into(),
            }
        );
        insta::assert_json_snapshot!(
            "activation_response",
            ActivationResponse {
                association_id: "5e2e8ad4-6a1c-4f0e-9f43-0f8d2f0f4d11".into(),
                certificate: "-----BEGIN CERTIFICATE-----\n…".into(),
                ca_certificates: vec!["-----BEGIN CERTIFICATE-----\n…".into()],
                desired_configuration_version: 1,
                next_check_in_seconds: 60,
            }
        );
        insta::assert_json_snapshot!(
            "check_in_request",
            CheckInRequest {
                boot_id: "b1".try_into().unwrap(),
                counter: 1,
                software_version: "1.0.0".try_into().unwrap(),
                applied_configuration_version: Some(1),
                failed_health_checks: vec!["storage".try_into().unwrap()],
                wait_seconds: 0,
            }
        );
        insta::assert_json_snapshot!(
            "check_in_response",
            CheckInResponse { desired_configuration_version: 2, next_check_in_seconds: 60 }
        );
        insta::assert_json_snapshot!(
            "device_list",
            DeviceList {
                version: "3c9f.17".into(),
                complete: false,
                items: vec![DeviceSummary {
                    id: DeviceName { project: "library".into(), name: "central-main-entrance".into() },
                    uid: "0f5e6c1e-0000-4000-8000-000000000001".into(),
                    display_name: "Main entrance".into(),
                    site: "central".into(),
                    device_type: DeviceType::Reader,
                    phase: Phase::ReadyForActivation,
                    activation_sequence: 1,
                    simulated: true,
                }],
                removed: vec![DeviceName { project: "library".into(), name: "ballard-desk".into() }],
            }
        );
        insta::assert_json_snapshot!(
            "device_configuration",
            DeviceConfiguration {
                version: 1,
                arn: "arn:aws:one:us-east-1:123456789012:device-instance/12345678901234/configuration/1".into(),
                device_instance_name: "Main entrance".into(),
                operation_mode: Some(OperationMode::Entry),
                wifi: Some(WifiCredentials { ssid: "library-doors".into(), passphrase: "correct horse".into() }),
                control_panel: Some(ControlPanel { osdp: Some(crate::configuration::Osdp::default()), wiegand: None }),
                badge_format: Some(BadgeFormat::standard_26_bit()),
            }
        );
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let wifi = WifiCredentials { ssid: "doors".into(), passphrase: "correct horse".into() };
        assert!(!format!("{wifi:?}").contains("horse"));
    }
}
