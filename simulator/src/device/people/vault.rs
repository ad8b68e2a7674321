//! Pure but for the nonce: the seal on a device's list of enrolled users. Its key is made of the device's own, so that the list is of
//! no use without it, and gone with it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

/// What a list is sealed with.
fn key(device_key: &[u8], association: &str) -> Result<RandomizedNonceKey, Unspecified> {
    let secret = Salt::new(HKDF_SHA256, association.as_bytes()).extract(device_key);
    let mut key = [0; 32];
    secret.expand(&[b"enrolled users"], HKDF_SHA256)?.fill(&mut key)?;
    RandomizedNonceKey::new(&AES_256_GCM, &key)
}

/// Seals a list: a nonce, and what only this device can read, in this association.
pub(super) fn seal(device_key: &[u8], association: &str, list: &[u8]) -> Option<Vec<u8>> {
    let mut sealed = list.to_vec();
    let nonce = key(device_key, association).ok()?.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
    Some([&nonce.as_ref()[..], &sealed].concat())
}

/// Opens a list; none when it is not what this device sealed in this association.
pub(super) fn open(device_key: &[u8], association: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, list) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut list = list.to_vec();
    let length = key(device_key, association).ok()?.open_in_place(nonce, Aad::empty(), &mut list).ok()?.len();
    list.truncate(length);
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_device_opens_what_it_sealed_and_only_in_its_association() {
        let sealed = seal(b"the key", "a", b"the list").unwrap();
        assert_eq!(open(b"the key", "a", &sealed).as_deref(), Some(&b"the list"[..]));
        assert_eq!(open(b"another key", "a", &sealed), None);
        assert_eq!(open(b"the key", "b", &sealed), None);
        for at in 0..sealed.len() {
            let mut turned = sealed.clone();
            turned[at] ^= 1;
            assert_eq!(open(b"the key", "a", &turned), None, "byte {at}");
            assert_eq!(open(b"the key", "a", &sealed[..at]), None, "cut at {at}");
        }
        assert_ne!(seal(b"the key", "a", b"the list"), Some(sealed.clone()));
        assert!(!sealed.windows(4).any(|window| window == b"list"));
    }
}
