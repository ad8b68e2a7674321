//! Pure: which authorities a device trusts, as gateway and device name them to each other.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Names a list of certificates of authorities: SHA-256 of the SHA-256s of the certificates (DER), in the order in which they
/// were delivered; 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuthoritiesDigest([u8; 32]);

impl AuthoritiesDigest {
    /// The digest of these certificates (DER).
    pub fn of<C: AsRef<[u8]>>(certificates: impl IntoIterator<Item = C>) -> Self {
        let mut all = Sha256::new();
        for certificate in certificates {
            all.update(Sha256::digest(certificate.as_ref()));
        }
        Self(all.finalize().into())
    }
}

/// A text that is no such digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest of authorities is 64 hexadecimal digits in lower case")]
pub struct InvalidAuthoritiesDigest;

impl FromStr for AuthoritiesDigest {
    type Err = InvalidAuthoritiesDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        let bytes = bytes.filter(|_| rest.is_empty()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(InvalidAuthoritiesDigest)
    }
}

impl TryFrom<String> for AuthoritiesDigest {
    type Error = InvalidAuthoritiesDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AuthoritiesDigest> for String {
    fn from(digest: AuthoritiesDigest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for AuthoritiesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuthoritiesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthoritiesDigest({self})")
    }
}

impl JsonSchema for AuthoritiesDigest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AuthoritiesDigest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "SHA-256 of the SHA-256s of the authorities' certificates (DER), in the order in which they were \
                            delivered.",
            "pattern": "^[0-9a-f]{64}$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_and_knows_the_order() {
        let digest = AuthoritiesDigest::of(["old", "new"]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_ne!(digest, AuthoritiesDigest::of(["new", "old"]));
        assert_ne!(digest, AuthoritiesDigest::of(["oldnew"]));
        // printf old | sha256sum | xxd -r -p | sha256sum
        assert_eq!(
            AuthoritiesDigest::of(["old"]).to_string(),
            "b5fa717fc4f7b26b60d0399621cfe776638d31a054fda40246b7872a1b12f897"
        );
    }

    #[test]
    fn other_texts_are_no_digests() {
        let good = "0123456789abcdef".repeat(4);
        assert!(good.parse::<AuthoritiesDigest>().is_ok());
        for bad in
            ["", &good[1..], &format!("{good}0"), &format!("{good}00"), &good.to_uppercase(), &good.replace('0', "g")]
        {
            assert_eq!(bad.parse::<AuthoritiesDigest>(), Err(InvalidAuthoritiesDigest), "{bad}");
        }
    }
}
