//! Software releases: the key that signs them, and what a device checks before it takes one.

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetform_domain::configuration::{RefusalReason, Software};
use fleetform_domain::hex;
use sha2::{Digest as _, Sha256};

/// The seed of the key that simulated devices trust unless they are told another one. It is no secret: it signs for nobody else.
const SIMULATION_SEED: [u8; 32] = *b"fleetform simulation, no secret!";

/// The public half of the key that signs releases: a device has it from the factory. Ed25519, 32 bytes, base64.
#[derive(Clone, PartialEq, Eq)]
pub struct FactoryKey([u8; 32]);

/// The private half. Its `Debug` hides it.
pub struct ReleaseKey(Ed25519KeyPair);

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 32 bytes in base64, 44 characters")]
pub struct InvalidKey;

impl fmt::Debug for FactoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FactoryKey({self})")
    }
}

impl fmt::Display for FactoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReleaseKey(…)")
    }
}

fn bytes(text: &str) -> Result<[u8; 32], InvalidKey> {
    STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(InvalidKey)
}

impl std::str::FromStr for FactoryKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        bytes(text).map(Self)
    }
}

impl ReleaseKey {
    /// The key with this seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are the seed of a key"))
    }

    /// The key with this seed in base64.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        bytes(text).map(|seed| Self::from_seed(&seed))
    }

    /// The key of the simulation, which is no secret.
    pub fn of_simulation() -> Self {
        Self::from_seed(&SIMULATION_SEED)
    }

    /// What devices need to know of it.
    pub fn factory_key(&self) -> FactoryKey {
        FactoryKey(self.0.public_key().as_ref().try_into().expect("public keys of Ed25519 have 32 bytes"))
    }

    /// The release of this content, signed, as it stands in a configuration.
    pub fn sign(&self, version: &str, url: &str, content: &[u8]) -> Software {
        let sha256 = digest(content);
        let signature = self.0.sign(Software::signed_statement(version, &sha256).as_bytes());
        Software {
            version: version.to_owned(),
            url: url.to_owned(),
            signature: STANDARD.encode(signature.as_ref()),
            sha256,
            allow_downgrade: false,
        }
    }
}

impl FactoryKey {
    /// The key that simulated devices trust unless they are told another one.
    pub fn of_simulation() -> Self {
        ReleaseKey::of_simulation().factory_key()
    }

    /// Whether a device that runs `running` may fetch the release at all. The signature is over the digest that is declared, so it
    /// is checked before anything is downloaded.
    pub fn permits(&self, software: &Software, running: &str) -> Result<(), RefusalReason> {
        let statement = Software::signed_statement(&software.version, &software.sha256);
        let signature = STANDARD.decode(&software.signature).map_err(|_| RefusalReason::SignatureInvalid)?;
        let verified = UnparsedPublicKey::new(&ED25519, self.0).verify(statement.as_bytes(), &signature);
        verified.map_err(|Unspecified| RefusalReason::SignatureInvalid)?;
        if software.is_downgrade_of(running) && !software.allow_downgrade {
            return Err(RefusalReason::DowngradeNotAllowed);
        }
        Ok(())
    }
}

fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://releases.example/reader.bin";

    #[test]
    fn a_device_takes_what_its_factory_signed_and_nothing_else() {
        let key = ReleaseKey::of_simulation();
        let factory = key.factory_key();
        let release = key.sign("1.4.0", URL, b"the software");
        assert_eq!(factory.permits(&release, "1.3.0"), Ok(()));
        assert_eq!(release.sha256, digest(b"the software"));

        let other = ReleaseKey::from_seed(&[7; 32]).sign("1.4.0", URL, b"the software");
        assert_eq!(factory.permits(&other, "1.3.0"), Err(RefusalReason::SignatureInvalid));
        for forged in [
            Software { version: "1.5.0".into(), ..release.clone() },
            Software { sha256: digest(b"other software"), ..release.clone() },
            Software { signature: "not base64!".into(), ..release.clone() },
        ] {
            assert_eq!(factory.permits(&forged, "1.3.0"), Err(RefusalReason::SignatureInvalid), "{forged:?}");
        }
        // Where it lies is not signed: what lies there is checked.
        assert_eq!(factory.permits(&Software { url: "https://mirror.example/x".into(), ..release }, "1.3.0"), Ok(()));
    }

    #[test]
    fn going_back_takes_a_word() {
        let key = ReleaseKey::of_simulation();
        let release = key.sign("1.4.0", URL, b"the software");
        let factory = key.factory_key();
        assert_eq!(factory.permits(&release, "1.4.1"), Err(RefusalReason::DowngradeNotAllowed));
        assert_eq!(factory.permits(&Software { allow_downgrade: true, ..release }, "1.4.1"), Ok(()));
    }

    #[test]
    fn keys_read_back() {
        let factory = FactoryKey::of_simulation();
        assert_eq!(factory.to_string().parse(), Ok(factory.clone()));
        assert_eq!("short".parse::<FactoryKey>(), Err(InvalidKey));
        assert_eq!(format!("{:?}", ReleaseKey::of_simulation()), "ReleaseKey(…)");
    }
}
