//! Pure: the record on a device's disk.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetform_domain::activation::{Confirmation, TokenText};
use fleetform_domain::configuration::RefusalReason;
use fleetform_domain::wire::{DeviceConfiguration, DeviceLock, DeviceText, RefusedConfiguration};
use serde::{Deserialize, Serialize};

/// Binary data, base64 in JSON. Its `Debug` hides it: some of it is keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Der(pub Vec<u8>);

impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Der({} bytes)", self.0.len())
    }
}

impl TryFrom<String> for Der {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).map(Self)
    }
}

impl From<Der> for String {
    fn from(der: Der) -> Self {
        STANDARD.encode(der.0)
    }
}

/// All that a device keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its private key, PKCS #8. It never leaves the device.
    pub private_key: Der,
    /// How far it is.
    pub stage: Stage,
}

/// How far a device is with its activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is")]
pub enum Stage {
    /// The installer has confirmed, and the gateway's answer is not here yet. It may have decided already: only a
    /// repeat with the same key tells.
    Pending(Pending),
    /// Activated.
    Active(Box<Committed>),
}

/// What a device needs to repeat its commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Address of the gateway, `https://host:port`.
    pub gateway: String,
    /// Pin of the gateway's authority, from the code.
    pub pin: String,
    /// From the code.
    pub token: TokenText,
    /// From the lookup.
    pub confirmation: Confirmation,
}

/// What an active device needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// Address of the gateway, `https://host:port`.
    pub gateway: String,
    /// Id of the association.
    pub association_id: String,
    /// Its certificate, with those between it and the authority, if any.
    pub certificates: Vec<Der>,
    /// The authorities that it trusts.
    pub authorities: Vec<Der>,
    /// The configuration that was wanted at activation.
    pub wanted: u32,
    /// The configuration in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<DeviceConfiguration>,
    /// The configuration before the one in force, while that has yet to prove that the gateway can be reached with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// What it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedConfiguration>,
    /// The software that it runs, if another than from the factory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<DeviceText>,
    /// The lock that it is under: no power cut takes it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<DeviceLock>,
    /// The command that it has carried out last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<DeviceText>,
}

/// A configuration that has yet to prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// What was in force before.
    pub before: Option<DeviceConfiguration>,
}

impl Committed {
    /// Goes back to the configuration before the one on trial, if there is one on trial, and notes why.
    pub fn undo_trial(&mut self) {
        let Some(Trial { before }) = self.trial.take() else { return };
        let tried = std::mem::replace(&mut self.configuration, before);
        let refused = |tried: DeviceConfiguration| RefusedConfiguration {
            version: tried.version,
            reason: RefusalReason::GatewayUnreachable,
        };
        self.refused = tried.map(refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            private_key: Der(b"the key".to_vec()),
            stage: Stage::Pending(Pending {
                gateway: "https://gateway.example:8443".into(),
                pin: "the pin".into(),
                token: TokenText::from("the token".to_owned()),
                confirmation: Confirmation::from("the confirmation".to_owned()),
            }),
        }
    }

    #[test]
    fn a_record_reads_back() {
        let json = serde_json::to_string(&record()).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record());
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let text = format!("{:?}", record());
        for secret in ["the key", "dGhlIGtleQ", "the token", "the confirmation"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
