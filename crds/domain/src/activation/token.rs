//! Pure: the token inside an activation code, and its authenticity.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::hex;

type HmacSha256 = Hmac<Sha256>;

const VERSION: u8 = 1;
const NONCE: usize = 16;
const MAC: usize = 16;
const BODY: usize = 1 + 16 + 16 + 8 + 8 + NONCE;

/// The key under which the codes of one project are made. Derived from the installation's key, never stored.
#[derive(Clone)]
pub struct ActivationKey([u8; 32]);

impl fmt::Debug for ActivationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivationKey(…)")
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl ActivationKey {
    /// The key of the project with this UID, under the installation's key.
    pub fn derive(installation: &[u8; 32], project: Uuid) -> Self {
        Self(mac(installation, &[b"fleetform/activation/v1", project.as_bytes()]))
    }
}

/// What a token says. Made by [`Token::seal`], believed only after [`TokenText::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// UID of the project; it chooses the key.
    pub project: Uuid,
    /// UID of the device instance.
    pub instance: Uuid,
    /// The instance's activation sequence: rises each time the instance becomes ready for activation.
    pub sequence: i64,
    /// When the token stops to work, in whole seconds.
    pub expires: Timestamp,
    /// 16 random bytes: tells one rotation from the next.
    pub nonce: [u8; NONCE],
}

impl Token {
    /// The token as text, with its MAC.
    pub fn seal(&self, key: &ActivationKey) -> TokenText {
        let mut bytes = Vec::with_capacity(BODY + MAC);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.project.as_bytes());
        bytes.extend_from_slice(self.instance.as_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.expires.as_second().to_be_bytes());
        bytes.extend_from_slice(&self.nonce);
        let tag = mac(&key.0, &[b"token", &bytes]);
        bytes.extend_from_slice(&tag[..MAC]);
        TokenText(URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// A token as it travels. Nothing in it is believed before its MAC is checked. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TokenText(String);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

impl From<String> for TokenText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl TokenText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the token says, when it was made with the installation's key; `None` when it was not, or is no token.
    /// Expiry is not looked at.
    pub fn open(&self, installation: &[u8; 32]) -> Option<Token> {
        if self.0.len() > 2 * (BODY + MAC) {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).ok()?;
        if bytes.len() != BODY + MAC || bytes[0] != VERSION {
            return None;
        }
        let (body, tag) = bytes.split_at(BODY);
        let project = Uuid::from_slice(&body[1..17]).ok()?;
        let key = ActivationKey::derive(installation, project);
        let expected = mac(&key.0, &[b"token", body]);
        if !bool::from(expected[..MAC].ct_eq(tag)) {
            return None;
        }
        Some(Token {
            project,
            instance: Uuid::from_slice(&body[17..33]).ok()?,
            sequence: i64::from_be_bytes(body[33..41].try_into().ok()?),
            expires: Timestamp::from_second(i64::from_be_bytes(body[41..49].try_into().ok()?)).ok()?,
            nonce: body[49..].try_into().ok()?,
        })
    }

    /// SHA-256 of the text: names the token where the token itself must not stand.
    pub fn hash(&self) -> TokenHash {
        TokenHash(hex(&Sha256::digest(self.0.as_bytes())))
    }
}

/// SHA-256 of a token, 64 hexadecimal digits. Not secret: 128 random bits went into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl TokenHash {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for TokenHash {
    fn from(digits: String) -> Self {
        Self(digits)
    }
}

/// Proof that the installer was shown this site for this token: binds token, site UID, site generation and address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Confirmation(String);

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confirmation(…)")
    }
}

impl From<String> for Confirmation {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Confirmation {
    /// The proof for this token and this site as it is now. `address` is the digest of its address.
    pub fn new(key: &ActivationKey, token: &TokenText, site_uid: &str, site_generation: i64, address: &str) -> Self {
        let generation = site_generation.to_be_bytes();
        let parts: [&[u8]; 5] =
            [b"confirmation", token.0.as_bytes(), site_uid.as_bytes(), &generation, address.as_bytes()];
        Self(URL_SAFE_NO_PAD.encode(mac(&key.0, &parts)))
    }

    /// Whether both are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INSTALLATION: [u8; 32] = [7; 32];

    fn token(project: u128, instance: u128, sequence: i64, second: i64, nonce: [u8; 16]) -> Token {
        Token {
            project: Uuid::from_u128(project),
            instance: Uuid::from_u128(instance),
            sequence,
            expires: Timestamp::from_second(second).unwrap(),
            nonce,
        }
    }

    proptest! {
        #[test]
        fn a_token_opens_as_what_was_sealed(
            project: u128, instance: u128, sequence: i64, second in 0..4_000_000_000_i64, nonce: [u8; 16]
        ) {
            let token = token(project, instance, sequence, second, nonce);
            let text = token.seal(&ActivationKey::derive(&INSTALLATION, token.project));
            prop_assert_eq!(text.open(&INSTALLATION), Some(token));
            prop_assert_eq!(text.open(&[8; 32]), None, "another installation's key");
        }

        #[test]
        fn one_changed_bit_makes_it_garbage(position in 0..BODY + MAC, bit in 0..8_u8) {
            let token = token(1, 2, 3, 4, [5; 16]);
            let text = token.seal(&ActivationKey::derive(&INSTALLATION, token.project));
            let mut bytes = URL_SAFE_NO_PAD.decode(text.as_str()).unwrap();
            bytes[position] ^= 1 << bit;
            prop_assert_eq!(TokenText(URL_SAFE_NO_PAD.encode(bytes)).open(&INSTALLATION), None);
        }

        #[test]
        fn garbage_is_refused_without_a_panic(text in ".{0,300}") {
            prop_assert_eq!(TokenText(text).open(&INSTALLATION), None);
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let token = token(1, 2, 3, 4, [5; 16]);
        let key = ActivationKey::derive(&INSTALLATION, token.project);
        let text = token.seal(&key);
        let confirmation = Confirmation::new(&key, &text, "site", 1, "address");
        assert_eq!(format!("{key:?} {text:?} {confirmation:?}"), "ActivationKey(…) TokenText(…) Confirmation(…)");
    }
}
