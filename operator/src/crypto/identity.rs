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
/// `urn:fleetform:association:<project uid>:<instance name>:<instance uid>:<association id>:<epoch>:<sequence>:<revision>`.
///
/// What stands in it proves the end of an association: an epoch or sequence that is above it was begun later, and an instance that is
/// not where project and name say is gone, if who says so is not older than the association.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bond {
    /// UID of its project: where the instance is, and in which cluster.
    pub project: String,
    /// Name of the device instance.
    pub name: String,
    /// UID of the device instance.
    pub instance: String,
    /// Id of the association.
    pub association: String,
    /// The epoch for which the association is good.
    pub epoch: i64,
    /// The activation sequence of the code that was redeemed.
    pub sequence: i64,
    /// The revision of the API server's store that had the association.
    pub revision: u64,
}

impl fmt::Display for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, name, instance, association, epoch, sequence, revision } = self;
        write!(f, "{PREFIX}{project}:{name}:{instance}:{association}:{epoch}:{sequence}:{revision}")
    }
}

/// A text that is no bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not urn:fleetform:association:<project uid>:<instance name>:<instance uid>:<association id>:<epoch>:<sequence>:<revision>"
)]
pub struct InvalidBond;

impl FromStr for Bond {
    type Err = InvalidBond;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.strip_prefix(PREFIX).ok_or(InvalidBond)?.split(':');
        let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or(InvalidBond);
        let bond = Self {
            project: next()?.to_owned(),
            name: next()?.to_owned(),
            instance: next()?.to_owned(),
            association: next()?.to_owned(),
            epoch: next()?.parse().map_err(|_| InvalidBond)?,
            sequence: next()?.parse().map_err(|_| InvalidBond)?,
            revision: next()?.parse().map_err(|_| InvalidBond)?,
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
impl Bond {
    /// Of some device, for tests.
    pub(crate) fn example(association: &str) -> Self {
        Self {
            project: "project".into(),
            name: "door".into(),
            instance: "uid".into(),
            association: association.into(),
            epoch: 2,
            sequence: 5,
            revision: 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bond_reads_back(
            project in "[a-f0-9-]{1,36}",
            name in "[a-z0-9.-]{1,253}",
            instance in "[a-f0-9-]{1,36}",
            association in "[a-f0-9-]{1,36}",
            (epoch, sequence, revision) in any::<(i64, i64, u64)>(),
        ) {
            let bond = Bond { project, name, instance, association, epoch, sequence, revision };
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
            "urn:fleetform:association:a:b:1:2",
            "urn:fleetform:association:p:n:a:b:1:2",
            "urn:fleetform:association:p:n:a:b:1:2:3:4",
            "urn:fleetform:association:p::a:b:1:2:3",
            "urn:fleetform:association:p:n:a:b:x:2:3",
            "urn:fleetform:association:p:n:a:b:1:2:-3",
            "urn:other:p:n:a:b:1:2:3",
        ] {
            assert_eq!(text.parse::<Bond>(), Err(InvalidBond), "{text}");
        }
    }
}
