//! Pure: activation codes as their Secrets' metadata tells of them, and new ones.

use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::{ActivationCode, ActivationKey, LiveCode, Token, TokenHash};
use jiff::Timestamp;
use uuid::Uuid;

use crate::cache::SecretMeta;
use crate::reconcile::names;
use crate::reconcile::plan::{CodeSecret, CodeText};
use crate::settings::CodeSettings;

/// What the metadata of a code's Secret says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCode {
    /// UID of the Secret.
    pub uid: String,
    /// UID of the instance that owns it.
    pub owner_uid: Option<String>,
    /// When the code stops to work.
    pub expires: Timestamp,
    /// Sequence and tokens.
    pub live: LiveCode,
}

impl StoredCode {
    /// Reads the metadata; `None` when it is not that of a code, or somebody changed it.
    pub fn read(secret: &SecretMeta) -> Option<Self> {
        let annotations = secret.metadata.annotations.as_ref()?;
        let owners = secret.metadata.owner_references.iter().flatten();
        let owner = owners.into_iter().find(|owner| owner.kind == "DeviceInstance");
        let tokens = annotations.get(names::TOKENS_ANNOTATION)?.split(',');
        Some(Self {
            uid: secret.metadata.uid.clone()?,
            owner_uid: owner.map(|owner| owner.uid.clone()),
            expires: annotations.get(names::EXPIRES_ANNOTATION)?.parse().ok()?,
            live: LiveCode {
                sequence: annotations.get(names::SEQUENCE_ANNOTATION)?.parse().ok()?,
                tokens: tokens.map(|digits| TokenHash::from(digits.to_owned())).collect(),
            },
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

impl Mint {
    /// A new code for `device`, of this sequence, good until `now` + validity. `previous` is the token that stays good
    /// beside it until its own expiry.
    pub fn code(
        &self,
        project: Uuid,
        device: &DeviceInstance,
        sequence: i64,
        previous: Option<TokenHash>,
        nonce: [u8; 16],
        now: Timestamp,
    ) -> Option<CodeSecret> {
        let instance = Uuid::parse_str(device.metadata.uid.as_deref()?).ok()?;
        let expires = Timestamp::from_second((now + self.settings.validity).as_second()).ok()?;
        let token = Token { project, instance, sequence, expires, nonce };
        let token = token.seal(&ActivationKey::derive(&self.installation, project));
        let tokens = std::iter::once(token.hash()).chain(previous).collect();
        let code = ActivationCode { gateway: self.gateway.clone(), pin: self.pin.clone(), token };
        Some(CodeSecret {
            name: names::code_secret(device.metadata.name.as_deref()?),
            sequence,
            expires,
            text: CodeText(code.to_text()),
            tokens,
        })
    }
}
