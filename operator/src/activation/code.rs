//! Pure: activation codes as their Secrets' metadata tells of them, and new ones.

use std::collections::BTreeMap;

use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::{ActivationCode, ActivationKey, LiveCode, Token, TokenHash, TokenText};
use jiff::Timestamp;
use uuid::Uuid;

use crate::cache::SecretMeta;
use crate::reconcile::names;
use crate::reconcile::plan::{CodeSecret, CodeText};
use crate::settings::CodeSettings;

/// A Secret of the name that an instance's code needs, as its metadata tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeSecretMeta {
    /// UID of the Secret.
    pub uid: String,
    /// Version of the Secret.
    pub version: String,
    /// UID of the device instance that owns it.
    pub owner_uid: Option<String>,
    /// The code; `None` when it is not that of a code, or somebody changed it.
    pub code: Option<StoredCode>,
}

/// A code as it is stored. All but the installation's key that it takes to make its text again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCode {
    /// When the code stops to work.
    pub expires: Timestamp,
    /// Sequence and tokens.
    pub live: LiveCode,
    /// What tells its token from others of the same sequence and expiry.
    pub nonce: [u8; 16],
}

impl CodeSecretMeta {
    /// Reads the metadata of a stored Secret.
    pub fn read(secret: &SecretMeta) -> Option<Self> {
        let metadata = &secret.metadata;
        let owners = metadata.owner_references.iter().flatten();
        let owner = owners.into_iter().find(|owner| owner.kind == "DeviceInstance");
        Some(Self {
            uid: metadata.uid.clone()?,
            version: metadata.resource_version.clone()?,
            owner_uid: owner.map(|owner| owner.uid.clone()),
            code: metadata.annotations.as_ref().and_then(StoredCode::read),
        })
    }

    /// The code, if it belongs to the instance with this UID.
    pub fn code_of(&self, uid: Option<&str>) -> Option<&StoredCode> {
        self.code.as_ref().filter(|_| uid.is_some() && self.owner_uid.as_deref() == uid)
    }
}

impl StoredCode {
    fn read(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let tokens = annotations.get(names::TOKENS_ANNOTATION)?.split(',');
        Some(Self {
            expires: annotations.get(names::EXPIRES_ANNOTATION)?.parse().ok()?,
            live: LiveCode {
                sequence: annotations.get(names::SEQUENCE_ANNOTATION)?.parse().ok()?,
                tokens: tokens.map(|digits| TokenHash::from(digits.to_owned())).collect(),
            },
            nonce: Uuid::parse_str(annotations.get(names::NONCE_ANNOTATION)?).ok()?.into_bytes(),
        })
    }
}

/// What makes codes. Its `Debug` hides the key.
#[derive(Clone)]
pub struct Mint {
    /// The installation's key.
    pub installation: [u8; 32],
    /// Address of the gateway, `https://host:port`.
    pub gateway: String,
    /// SHA-256 of the authority's public key, base64url.
    pub pin: String,
    /// How long codes are good.
    pub settings: CodeSettings,
}

impl std::fmt::Debug for Mint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mint").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

/// Whose code it is.
#[derive(Clone, Copy, Debug)]
pub struct CodeSubject<'a> {
    /// UID of the project; it chooses the key.
    pub project: Uuid,
    /// The instance that a device can be activated as.
    pub device: &'a DeviceInstance,
    /// The activation sequence of the instance.
    pub sequence: i64,
}

impl Mint {
    /// A new code, good until `now` + validity. `replaces` is the Secret that holds the one before it; `previous` is the token
    /// that stays good beside it until its own expiry.
    pub fn code(
        &self,
        subject: CodeSubject<'_>,
        replaces: Option<&CodeSecretMeta>,
        previous: Option<TokenHash>,
        nonce: [u8; 16],
        now: Timestamp,
    ) -> Option<CodeSecret> {
        let expires = Timestamp::from_second((now + self.settings.validity).as_second()).ok()?;
        let token = self.token(subject, expires, nonce)?;
        Some(CodeSecret {
            name: names::code_secret(subject.device.metadata.name.as_deref()?),
            replaces: replaces.map(|secret| secret.version.clone()),
            sequence: subject.sequence,
            expires,
            nonce: Uuid::from_bytes(nonce),
            tokens: std::iter::once(token.hash()).chain(previous).collect(),
            text: self.text(token),
        })
    }

    /// The text of a stored code, made again: nothing has to be read for it. `None` when what is stored is not a code of this
    /// mint for `subject`.
    pub fn text_of(&self, subject: CodeSubject<'_>, stored: &StoredCode) -> Option<CodeText> {
        let token = self.token(subject, stored.expires, stored.nonce)?;
        (stored.live.tokens.first() == Some(&token.hash())).then(|| self.text(token))
    }

    fn token(&self, subject: CodeSubject<'_>, expires: Timestamp, nonce: [u8; 16]) -> Option<TokenText> {
        let CodeSubject { project, device, sequence } = subject;
        let instance = Uuid::parse_str(device.metadata.uid.as_deref()?).ok()?;
        let token = Token { project, instance, sequence, expires, nonce };
        Some(token.seal(&ActivationKey::derive(&self.installation, project)))
    }

    fn text(&self, token: TokenText) -> CodeText {
        CodeText(ActivationCode { gateway: self.gateway.clone(), pin: self.pin.clone(), token }.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use crate::reconcile::body;
    use crate::reconcile::execute::metadata_of;

    #[test]
    fn the_text_of_a_code_is_made_again_from_the_metadata_of_its_secret() {
        let (mint, device) = (fixtures::mint(), fixtures::device(&serde_json::json!({})));
        let subject = CodeSubject { project: Uuid::from_u128(1), device: &device, sequence: 3 };
        let code = mint.code(subject, None, None, [9; 16], fixtures::noon()).unwrap();
        let mut secret = body::code_secret(&device, &code);
        secret.metadata.uid = Some("uid".into());
        secret.metadata.resource_version = Some("1".into());
        let read = CodeSecretMeta::read(&metadata_of(secret)).unwrap();
        let stored = read.code_of(device.metadata.uid.as_deref()).unwrap();
        assert_eq!(mint.text_of(subject, stored), Some(code.text));
        assert_eq!(read.code_of(Some("another instance")), None);

        assert_eq!(mint.text_of(CodeSubject { sequence: 4, ..subject }, stored), None);
        let other = Mint { installation: [8; 32], ..mint.clone() };
        assert_eq!(other.text_of(subject, stored), None, "a mint with another key made it");
        let bent = StoredCode { nonce: [1; 16], ..stored.clone() };
        assert_eq!(mint.text_of(subject, &bent), None, "somebody changed the metadata");
    }
}
