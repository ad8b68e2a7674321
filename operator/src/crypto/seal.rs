//! Sealing: what nobody but this installation may read is stored as bytes that say nothing, and that open only where they were put.
//!
//! # Guarantees
//! What was sealed for one object and purpose opens for no other, with no other key and not when a bit was changed. Nothing falls
//! back: what does not open is an error that says why, and nothing of what is inside.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, Okm, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The one format so far: version, key id, nonce, commitment to the key, AES-256-GCM.
const VERSION: u8 = 1;
const KEY_ID: usize = 8;
const NONCE: usize = 12;
const COMMITMENT: usize = 32;
const HEADER: usize = 1 + KEY_ID + NONCE + COMMITMENT;

/// A key to seal with. Each object and purpose has one of its own, derived from it. Its `Debug` hides it; its memory is wiped when it is
/// dropped.
pub struct SealingKey {
    root: Prk,
    id: KeyId,
}

/// What stands on everything that was sealed with a key, and tells nothing of the key. It is shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId([u8; KEY_ID]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&fleetform_domain::hex(&self.0))
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

/// What something is sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// UID of the project.
    pub project: &'a str,
    /// Kind of the object that holds it.
    pub kind: &'a str,
    /// Name of that object.
    pub name: &'a str,
    /// What of the object it is.
    pub member: &'a str,
}

/// Why something does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was made by a newer version, or is none.
    #[error("it is nothing that this version of Fleetform sealed")]
    Format,
    /// Another key's id stands on it.
    #[error("it was sealed with another key than those of its project")]
    OtherKey,
    /// It belongs to another object, or somebody changed it.
    #[error("it was sealed for another object or project, or was changed since")]
    NotAuthentic,
}

impl SealingKey {
    /// The key that goes with the installation's key.
    pub fn of_installation(installation: &[u8; 32]) -> Self {
        Self::new(Salt::new(HKDF_SHA256, b"fleetform/sealing/v1").extract(installation))
    }

    /// A data key: what is sensitive of one project is sealed with it.
    pub fn of_data_key(key: &[u8; 32]) -> Self {
        Self::new(Salt::new(HKDF_SHA256, b"fleetform/data-key/v1").extract(key))
    }

    fn new(root: Prk) -> Self {
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&expand(&root, &[b"id"])[..KEY_ID]);
        Self { root, id: KeyId(id) }
    }

    /// The id that stands on what it seals.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The id of the key that something was sealed with; none when it is nothing that was sealed.
    pub fn id_on(sealed: &str) -> Option<KeyId> {
        // 16 characters of Base64 hold 12 bytes.
        let head = STANDARD.decode(sealed.get(..16)?).ok()?;
        (head[0] == VERSION).then(|| KeyId(head[1..=KEY_ID].try_into().expect("there are so many")))
    }

    /// Seals `plain` for this purpose; Base64. Of `random` the first 12 bytes are the nonce: never the same twice.
    ///
    /// # Panics
    /// When `plain` is larger than AES-GCM takes, 64 GiB.
    pub fn seal(&self, purpose: Purpose<'_>, random: [u8; 16], plain: &[u8]) -> String {
        let info = self.info(purpose);
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&random[..NONCE]);
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&self.id.0);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&expand(&self.root, &[b"commitment", &info]));
        let mut body = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key(&info).seal_in_place_append_tag(nonce, Aad::from(&info), &mut body).expect("it is small");
        sealed.append(&mut body);
        STANDARD.encode(sealed)
    }

    /// Opens what was sealed for this purpose.
    ///
    /// The memory of what comes out is wiped when it is dropped.
    pub fn open(&self, purpose: Purpose<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut sealed = STANDARD.decode(sealed).map_err(|_| SealError::Format)?;
        if sealed.len() < HEADER + AES_256_GCM.tag_len() || sealed[0] != VERSION {
            return Err(SealError::Format);
        }
        let mut body = Zeroizing::new(sealed.split_off(HEADER));
        let (id, rest) = sealed[1..].split_at(KEY_ID);
        let (nonce, commitment) = rest.split_at(NONCE);
        if id != self.id.0 {
            return Err(SealError::OtherKey);
        }
        let info = self.info(purpose);
        // A text of AES-GCM can be made to open with two keys; with the commitment it cannot.
        verify_slices_are_equal(commitment, &expand(&self.root, &[b"commitment", &info]))
            .map_err(|_| SealError::NotAuthentic)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Format)?;
        let plain = self.key(&info).open_in_place(nonce, Aad::from(&info), body.as_mut_slice());
        let length = plain.map_err(|_| SealError::NotAuthentic)?.len();
        body.truncate(length);
        Ok(body)
    }

    fn key(&self, info: &[u8]) -> LessSafeKey {
        let parts = [b"key".as_slice(), info];
        let okm = self.root.expand(&parts, &AES_256_GCM).expect("HKDF gives 32 bytes");
        LessSafeKey::new(UnboundKey::from(okm))
    }

    /// All that it is bound to, unambiguously: derives the key, and is authenticated along.
    fn info(&self, purpose: Purpose<'_>) -> Vec<u8> {
        let parts = ["fleetform/sealed", purpose.project, purpose.kind, purpose.name, purpose.member];
        let mut info = Vec::new();
        for part in parts {
            info.extend_from_slice(&(part.len() as u64).to_be_bytes());
            info.extend_from_slice(part.as_bytes());
        }
        info.push(VERSION);
        info.extend_from_slice(&self.id.0);
        info
    }
}

fn expand(root: &Prk, info: &[&[u8]]) -> [u8; COMMITMENT] {
    let mut bytes = [0; COMMITMENT];
    let okm: Result<Okm<'_, _>, _> = root.expand(info, HKDF_SHA256);
    okm.and_then(|okm| okm.fill(&mut bytes)).expect("HKDF gives 32 bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PURPOSE: Purpose<'_> = Purpose { project: "p", kind: "EnrolledUser", name: "eu-1", member: "profile" };

    fn key(byte: u8) -> SealingKey {
        SealingKey::of_installation(&[byte; 32])
    }

    #[test]
    fn what_was_sealed_opens_for_its_object_and_purpose_only() {
        let sealed = key(7).seal(PURPOSE, [1; 16], b"badge 1111358294500");
        assert_eq!(key(7).open(PURPOSE, &sealed).unwrap().as_slice(), b"badge 1111358294500");
        for other in [
            Purpose { project: "q", ..PURPOSE },
            Purpose { kind: "Asset", ..PURPOSE },
            Purpose { name: "eu-2", ..PURPOSE },
            Purpose { member: "other", ..PURPOSE },
            // Parts that say the same when they are put together.
            Purpose { project: "pE", kind: "nrolledUser", ..PURPOSE },
        ] {
            assert_eq!(key(7).open(other, &sealed), Err(SealError::NotAuthentic), "{other:?}");
        }
        assert_eq!(key(8).open(PURPOSE, &sealed), Err(SealError::OtherKey));
        assert_eq!(key(7).open(PURPOSE, "badge"), Err(SealError::Format));
        assert_eq!(key(7).open(PURPOSE, ""), Err(SealError::Format));
    }

    #[test]
    fn the_format_is_as_it_was() {
        // What is stored must open for as long as there is this version.
        insta::assert_snapshot!(key(7).seal(PURPOSE, [1; 16], b"{}"));
    }

    #[test]
    fn two_seals_of_one_thing_differ() {
        assert_ne!(key(7).seal(PURPOSE, [1; 16], b"x"), key(7).seal(PURPOSE, [2; 16], b"x"));
        assert_eq!(format!("{:?}", key(7)), "SealingKey(…)");
        assert_eq!(SealingKey::id_on(&key(7).seal(PURPOSE, [1; 16], b"x")), Some(key(7).id()));
        assert_eq!(SealingKey::id_on("badge"), None);
    }

    proptest! {
        #[test]
        fn one_changed_bit_opens_nothing(plain in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let sealed = key(7).seal(PURPOSE, [3; 16], &plain);
            let mut bytes = STANDARD.decode(&sealed).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(key(7).open(PURPOSE, &STANDARD.encode(bytes)).is_err());
            prop_assert_eq!(&*key(7).open(PURPOSE, &sealed).unwrap(), &plain);
        }
    }
}
