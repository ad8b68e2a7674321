//! Pure but for the nonce: the seal on what a device keeps of people. Its key is made of the device's own, so that what is sealed is of no
//! use without it, and gone with it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is sealed. One does not pass for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The list of enrolled users.
    Users,
    /// An enrollment that the gateway has not acknowledged.
    Enrollment,
}

/// Seals and opens for one device, in one association.
#[derive(Clone)]
pub(super) struct Vault {
    device_key: Box<[u8]>,
    association: Box<str>,
}

impl Vault {
    /// Of the device with this private key, in this association.
    pub(super) fn new(device_key: &[u8], association: &str) -> Self {
        Self { device_key: device_key.into(), association: association.into() }
    }

    fn key(&self, content: Content) -> Result<RandomizedNonceKey, Unspecified> {
        let label = match content {
            Content::Users => b"enrolled users".as_slice(),
            Content::Enrollment => b"enrollment",
        };
        let secret = Salt::new(HKDF_SHA256, self.association.as_bytes()).extract(&self.device_key);
        let mut key = [0; 32];
        secret.expand(&[label], HKDF_SHA256)?.fill(&mut key)?;
        RandomizedNonceKey::new(&AES_256_GCM, &key)
    }

    /// Seals something: a nonce, and what only this device can read, in this association.
    pub(super) fn seal(&self, content: Content, plain: &impl Serialize) -> Option<Vec<u8>> {
        let mut sealed = serde_json::to_vec(plain).ok()?;
        let nonce = self.key(content).ok()?.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        Some([&nonce.as_ref()[..], &sealed].concat())
    }

    /// Opens it; none when it is not what this device sealed in this association.
    pub(super) fn open<T: DeserializeOwned>(&self, content: Content, sealed: &[u8]) -> Option<T> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let plain = self.key(content).ok()?.open_in_place(nonce, Aad::empty(), &mut plain).ok()?;
        serde_json::from_slice(plain).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_device_opens_what_it_sealed_and_only_in_its_association() {
        let own = Vault::new(b"the key", "a");
        let list = "the list".to_owned();
        let sealed = own.seal(Content::Users, &list).unwrap();
        let open = |vault: &Vault, content, sealed: &[u8]| vault.open::<String>(content, sealed);
        assert_eq!(open(&own, Content::Users, &sealed), Some(list.clone()));
        assert_eq!(open(&own, Content::Enrollment, &sealed), None);
        assert_eq!(open(&Vault::new(b"another key", "a"), Content::Users, &sealed), None);
        assert_eq!(open(&Vault::new(b"the key", "b"), Content::Users, &sealed), None);
        for at in 0..sealed.len() {
            let mut turned = sealed.clone();
            turned[at] ^= 1;
            assert_eq!(open(&own, Content::Users, &turned), None, "byte {at}");
            assert_eq!(open(&own, Content::Users, &sealed[..at]), None, "cut at {at}");
        }
        assert_ne!(own.seal(Content::Users, &list), Some(sealed.clone()));
        assert!(!sealed.windows(4).any(|window| window == b"list"));
    }
}
