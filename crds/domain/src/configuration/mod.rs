//! Pure: the configuration block of templates and device instances, how overrides are laid over a template, and what
//! a configuration must have before a device can be activated with it.

mod badge;
mod badge_bits;
mod io;
mod panel;
mod refusal;
mod software;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use badge::{BadgeField, BadgeFieldKind, BadgeFormat, BadgeParity, ParityKind};
pub use badge_bits::{BadgeBits, BadgeNotRead, BadgeNotWritten, MAX_BADGE_BITS, UnusableFormat};
pub use io::{ActiveLevel, Input, InputFunction, Io, Output, Relay, Rest, Trigger};
pub use panel::{BaudRate, ControlPanel, Osdp, OsdpVersion, Wiegand};
pub use refusal::RefusalReason;
pub use software::{MAX_RELEASE_BYTES, Software, UpdateState};

use crate::hex;
use crate::schema::rule;

/// What a device is. Fixed for the life of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeviceType {
    /// A palm-recognition reader at a door or an enrollment desk.
    Reader,
    /// A gateway that carries sensors.
    Gateway,
    /// A vibration and temperature sensor. It speaks through a gateway and has no activation code of its own.
    Sensor,
}

/// What a reader does. It can change only while the reader is not active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OperationMode {
    /// At a desk, with a badge scanner attached: people enroll here.
    Enrollment,
    /// At a door, wired to a door controller: people enter here.
    Entry,
}

impl fmt::Display for OperationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enrollment => "Enrollment",
            Self::Entry => "Entry",
        })
    }
}

/// How a device is configured. In a template: what its devices share. In a device instance: all of it, or what differs
/// from its template. Every member is replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("!has(self.operationMode) || self.operationMode != 'Enrollment' || !(has(self.controlPanel) || has(self.badgeFormat))",
         "controlPanel and badgeFormat are for operationMode Entry only: remove them, or set operationMode to Entry"),
    rule("!has(self.operationMode) || self.operationMode != 'Enrollment' || !has(self.io)",
         "io is for operationMode Entry only: remove it, or set operationMode to Entry"),
    rule("!has(self.operationMode) || self.operationMode != 'Enrollment' || !has(self.offlineRecognition)",
         "offlineRecognition is for operationMode Entry only: remove it, or set operationMode to Entry"),
    rule("!has(self.operationMode) || self.operationMode != 'Entry' || !has(self.consentVersion)",
         "consentVersion is for operationMode Enrollment only: remove it, or set operationMode to Enrollment"),
    rule("!has(self.consentVersion) || self.consentVersion.matches('^[A-Za-z0-9._-]+$')",
         "consentVersion may hold letters, digits, dots, underscores and hyphens only"),
]))]
pub struct Configuration {
    /// `Enrollment` or `Entry`. Required of a reader before it can be activated. To change it, deactivate the device
    /// first (raise spec.activation.epoch), then edit it, then activate the device again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_mode: Option<OperationMode>,
    /// The wireless network to join. Left out, the device uses Ethernet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wifi: Option<Wifi>,
    /// How the reader talks to the door controller. Required of Entry readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_panel: Option<ControlPanel>,
    /// The bit layout of the organisation's badges. Required of Entry readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub badge_format: Option<BadgeFormat>,
    /// The relay and the general-purpose inputs and outputs, beside the line to the door controller. For Entry readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<Io>,
    /// How long the device may be without its gateway before it locks itself, as it may have been moved, in minutes: 60 to
    /// 43,200 (30 days). Left out, 10,080 (seven days).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 43_200))]
    pub maximum_offline_minutes: Option<u32>,
    /// The software that the device is to run. Left out, it keeps what it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<Software>,
    /// Whether an Entry reader keeps a list of the enrolled users, sealed in its own storage, and recognises people by it while its
    /// gateway is out of reach (within `maximumOfflineMinutes`). Left out, it recognises nobody then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_recognition: Option<bool>,
    /// Which text of the terms and the consent an Enrollment reader shows: recorded with each enrollment. 1 to 64 letters, digits,
    /// `.`, `_` or `-`. Left out, `1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub consent_version: Option<String>,
}

/// The text of terms and consent that is shown unless a configuration says otherwise.
pub const DEFAULT_CONSENT_VERSION: &str = "1";

/// A wireless network (2.4 or 5 GHz).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wifi {
    /// Name of the network, 1 to 32 characters. Left out, the key `ssid` of the Secret names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub ssid: Option<String>,
    /// The Secret of type `fleetform.dev/wifi`, in the same namespace, whose key `passphrase` opens the network. Who may change
    /// that Secret changes the network of all devices that refer to it, and nothing else of them.
    pub credentials_secret_ref: SecretReference,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl Configuration {
    /// Which text people agree to at a device with this configuration, if people enroll there.
    pub fn consent_text(&self) -> Option<&str> {
        let enrolls = self.operation_mode == Some(OperationMode::Enrollment);
        enrolls.then(|| self.consent_version.as_deref().unwrap_or(DEFAULT_CONSENT_VERSION))
    }

    /// This configuration with `overrides` laid over it: every member that `overrides` has replaces the whole member
    /// here. A member for one operation mode that a template brings falls away when the overrides say the other.
    #[must_use]
    pub fn overridden_by(&self, overrides: &Self) -> Self {
        let mut merged = Self {
            operation_mode: overrides.operation_mode.or(self.operation_mode),
            wifi: overrides.wifi.clone().or_else(|| self.wifi.clone()),
            control_panel: overrides.control_panel.clone().or_else(|| self.control_panel.clone()),
            badge_format: overrides.badge_format.clone().or_else(|| self.badge_format.clone()),
            io: overrides.io.clone().or_else(|| self.io.clone()),
            maximum_offline_minutes: overrides.maximum_offline_minutes.or(self.maximum_offline_minutes),
            software: overrides.software.clone().or_else(|| self.software.clone()),
            offline_recognition: overrides.offline_recognition.or(self.offline_recognition),
            consent_version: overrides.consent_version.clone().or_else(|| self.consent_version.clone()),
        };
        match merged.operation_mode {
            Some(OperationMode::Enrollment) => {
                merged.control_panel = None;
                merged.badge_format = None;
                merged.io = None;
                merged.offline_recognition = None;
            }
            Some(OperationMode::Entry) => merged.consent_version = None,
            None => {}
        }
        merged
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// SHA-256 of the canonical JSON, 64 hexadecimal digits: equal configurations have equal digests.
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).expect("a configuration is plain data");
        hex(&Sha256::digest(json))
    }

    /// What is missing before a device of this type can be activated: the paths of the fields, empty when nothing is.
    pub fn missing_for(&self, device_type: DeviceType) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if device_type == DeviceType::Reader {
            match self.operation_mode {
                None => missing.push("operationMode"),
                Some(OperationMode::Enrollment) => {}
                Some(OperationMode::Entry) => {
                    if self.control_panel.is_none() {
                        missing.push("controlPanel");
                    }
                    if self.badge_format.is_none() {
                        missing.push("badgeFormat");
                    }
                }
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Configuration {
        Configuration {
            operation_mode: Some(OperationMode::Entry),
            wifi: None,
            control_panel: Some(ControlPanel { osdp: Some(Osdp::default()), wiegand: None }),
            badge_format: Some(BadgeFormat::standard_26_bit()),
            io: None,
            maximum_offline_minutes: None,
            software: None,
            offline_recognition: None,
            consent_version: None,
        }
    }

    #[test]
    fn an_override_replaces_whole_members_and_leaves_the_others() {
        let wiegand = ControlPanel { osdp: None, wiegand: Some(Wiegand::default()) };
        let merged =
            entry().overridden_by(&Configuration { control_panel: Some(wiegand.clone()), ..Configuration::default() });
        assert_eq!(merged, Configuration { control_panel: Some(wiegand), ..entry() });
        assert_eq!(entry().overridden_by(&Configuration::default()), entry());
    }

    #[test]
    fn an_enrollment_override_drops_what_only_doors_have() {
        let relay = Relay { on: Trigger::Granted, pulse_milliseconds: 3_000, rest: Rest::Open };
        let door = Configuration { io: Some(Io { relay: Some(relay), ..Io::default() }), ..entry() };
        let desk = Configuration { operation_mode: Some(OperationMode::Enrollment), ..Configuration::default() };
        assert_eq!(door.overridden_by(&desk), desk);
        let mode = Configuration { operation_mode: Some(OperationMode::Enrollment), ..Configuration::default() };
        assert_eq!(entry().overridden_by(&mode), mode);
    }

    #[test]
    fn what_a_reader_still_needs_is_named() {
        assert_eq!(Configuration::default().missing_for(DeviceType::Reader), ["operationMode"]);
        let bare = Configuration { operation_mode: Some(OperationMode::Entry), ..Configuration::default() };
        assert_eq!(bare.missing_for(DeviceType::Reader), ["controlPanel", "badgeFormat"]);
        assert!(entry().missing_for(DeviceType::Reader).is_empty());
        assert!(Configuration::default().missing_for(DeviceType::Gateway).is_empty());
    }

    #[test]
    fn digests_follow_content() {
        assert_eq!(entry().digest(), entry().digest());
        assert_ne!(entry().digest(), Configuration::default().digest());
        assert_eq!(entry().digest().len(), 64);
    }
}
