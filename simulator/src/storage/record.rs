//! Pure: the record on a device's disk.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetform_domain::activation::{Confirmation, TokenText};
use fleetform_domain::configuration::{RefusalReason, Software};
use fleetform_domain::wire::{DeviceConfiguration, DeviceLock, DeviceText, RefusedConfiguration};
use serde::{Deserialize, Serialize};

use super::{PeopleRecord, SensorList};

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

impl Record {
    /// Whether it holds badges or palms, if only sealed.
    pub fn holds_people(&self) -> bool {
        matches!(&self.stage, Stage::Active(committed) if committed.people.holds_people())
    }
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
    pub software: Option<Installed>,
    /// The lock that it is under: no power cut takes it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<DeviceLock>,
    /// The command that it has carried out last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<DeviceText>,
    /// What it keeps of people.
    #[serde(default, skip_serializing_if = "PeopleRecord::is_empty")]
    pub people: PeopleRecord,
    /// Of a gateway that was told which sensors are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensors: Option<SensorList>,
}

/// Software that a device runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    /// Its version.
    pub version: DeviceText,
    /// SHA-256 of the release that it came from, in hexadecimal digits. What came from the factory has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Installed {
    /// Whether it is this release. A version may be signed twice for different contents, so the digest decides where it is known.
    pub fn is(&self, release: &Software) -> bool {
        self.version.as_str() == release.version && self.sha256.as_ref().is_none_or(|digest| *digest == release.sha256)
    }
}

/// How often a device on trial calls its gateway in vain before it goes back.
const TRIES: u32 = 3;

/// A configuration that has yet to prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// What was in force before.
    pub before: Option<DeviceConfiguration>,
    /// Calls in vain so far. They stand here so that a device that starts anew over and over goes back too.
    #[serde(default)]
    pub tries: u32,
}

impl Committed {
    /// The gateway was called in vain. Answers whether that was once too often: then the configuration before is in force again.
    pub fn fail_trial(&mut self) -> bool {
        let Some(trial) = &mut self.trial else { return false };
        trial.tries = trial.tries.saturating_add(1);
        let is_over = trial.tries >= TRIES;
        if is_over {
            self.undo_trial();
        }
        is_over
    }

    /// Goes back to the configuration before the one on trial, if there is one on trial, and notes why.
    fn undo_trial(&mut self) {
        let Some(Trial { before, .. }) = self.trial.take() else { return };
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

    fn configuration(version: u32) -> DeviceConfiguration {
        serde_json::from_value(serde_json::json!({
            "version": version,
            "arn": "",
            "deviceInstanceName": "Main entrance",
            "maximumOfflineMinutes": 60,
        }))
        .unwrap()
    }

    fn on_trial() -> Committed {
        Committed {
            gateway: "https://gateway.example:8443".into(),
            association_id: "a".into(),
            certificates: Vec::new(),
            authorities: Vec::new(),
            wanted: 1,
            configuration: Some(configuration(2)),
            trial: Some(Trial { before: Some(configuration(1)), tries: 0 }),
            refused: None,
            software: None,
            lock: None,
            completed: None,
            people: PeopleRecord::default(),
            sensors: None,
        }
    }

    #[test]
    fn the_third_call_in_vain_is_one_too_many_also_with_restarts_between() {
        let mut committed = on_trial();
        for tries in 1..=2 {
            assert!(!committed.fail_trial());
            let json = serde_json::to_string(&committed).unwrap();
            committed = serde_json::from_str(&json).unwrap();
            assert_eq!(committed.trial.as_ref().map(|trial| trial.tries), Some(tries));
        }
        assert!(committed.fail_trial());
        assert_eq!((committed.trial.clone(), committed.configuration.clone()), (None, Some(configuration(1))));
        let refused = RefusedConfiguration { version: 2, reason: RefusalReason::GatewayUnreachable };
        assert_eq!(committed.refused, Some(refused));
        assert!(!committed.fail_trial(), "nothing is on trial");
        assert_eq!(committed.configuration, Some(configuration(1)));
    }

    #[test]
    fn a_trial_of_before_the_count_begins_at_none() {
        let trial: Trial = serde_json::from_str(r#"{"before":null}"#).unwrap();
        assert_eq!(trial, Trial { before: None, tries: 0 });
    }

    #[test]
    fn software_is_known_by_its_digest_where_there_is_one() {
        let release = Software {
            version: "1.4.0".into(),
            url: "https://releases.example/reader.bin".into(),
            sha256: "ab".into(),
            signature: String::new(),
            allow_downgrade: false,
        };
        for (version, sha256, expected) in [
            ("1.4.0", None, true),
            ("1.4.0", Some("ab"), true),
            ("1.4.0", Some("cd"), false),
            ("1.4.1", Some("ab"), false),
            ("1.4.1", None, false),
        ] {
            let installed = Installed { version: version.try_into().unwrap(), sha256: sha256.map(str::to_owned) };
            assert_eq!(installed.is(&release), expected, "{installed:?}");
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let text = format!("{:?}", record());
        for secret in ["the key", "dGhlIGtleQ", "the token", "the confirmation"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
