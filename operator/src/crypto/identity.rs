//! Pure: who a device's certificate says it is.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::parse_x509_certificate;

use super::authority::timestamp;
use super::sha256_hex;

const PREFIX: &str = "urn:fleetform:association:";

/// What a device's certificate is bound to, as a URN:
/// `urn:fleetform:association:<instance uid>:<association id>:<epoch>:<sequence>`.
///
/// Epoch and sequence stand in it because they prove the end of an association: one that is above them was begun later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bond {
    /// UID of the device instance.
    pub instance: String,
    /// Id of the association.
    pub association: String,
    /// The epoch for which the association is good.
    pub epoch: i64,
    /// The activation sequence of the code that was redeemed.
    pub sequence: i64,
}

impl fmt::Display for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}:{}:{}", self.instance, self.association, self.epoch, self.sequence)
    }
}

/// A text that is no bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not urn:fleetform:association:<instance uid>:<association id>:<epoch>:<sequence>")]
pub struct InvalidBond;

impl FromStr for Bond {
    type Err = InvalidBond;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.strip_prefix(PREFIX).ok_or(InvalidBond)?.split(':');
        let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or(InvalidBond);
        let bond = Self {
            instance: next()?.to_owned(),
            association: next()?.to_owned(),
            epoch: next()?.parse().map_err(|_| InvalidBond)?,
            sequence: next()?.parse().map_err(|_| InvalidBond)?,
        };
        if parts.next().is_some() { Err(InvalidBond) } else { Ok(bond) }
    }
}

/// Who a device is, as its certificate says. The handshake has verified that the certificate comes from our authority
/// and that the device has its key; whether it is still good is asked at every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// What the certificate is bound to.
    pub bond: Bond,
    /// The device's public key (DER `SubjectPublicKeyInfo`).
    pub key: Vec<u8>,
    /// Its SHA-256, 64 hexadecimal digits.
    pub key_sha256: String,
    /// Names the key of the authority that signed the certificate, if the certificate says so.
    pub issuer: Option<Vec<u8>>,
    /// When the certificate ends.
    pub not_after: Timestamp,
}

impl DeviceIdentity {
    /// Reads a certificate; `None` when it is not that of a device.
    pub fn read(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        let [GeneralName::URI(urn)] = names.value.general_names.as_slice() else { return None };
        let issuer = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(issuer) => issuer.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        });
        Some(Self {
            issuer,
            bond: urn.parse().ok()?,
            key: parsed.public_key().raw.to_vec(),
            key_sha256: sha256_hex(parsed.public_key().raw),
            not_after: timestamp(parsed.validity().not_after.timestamp())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bond_reads_back(instance in "[a-f0-9-]{1,36}", association in "[a-f0-9-]{1,36}", epoch: i64, sequence: i64) {
            let bond = Bond { instance, association, epoch, sequence };
            prop_assert_eq!(bond.to_string().parse::<Bond>(), Ok(bond));
        }

        #[test]
        fn other_bytes_are_no_certificate(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(DeviceIdentity::read(&bytes), None);
        }
    }

    #[test]
    fn other_texts_are_no_bonds() {
        for text in [
            "",
            "urn:fleetform:association:a:b:1",
            "urn:fleetform:association:a:b:1:2:3",
            "urn:fleetform:association::b:1:2",
            "urn:fleetform:association:a:b:x:2",
            "urn:other:a:b:1:2",
        ] {
            assert_eq!(text.parse::<Bond>(), Err(InvalidBond), "{text}");
        }
    }
}
