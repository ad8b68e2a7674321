//! Pure: what is sealed of a person, and under which name the person is stored.

use fleetform_crds::EnrolledUser;
use fleetform_domain::people::{BadgeNumber, Palm};
use hmac::{Hmac, Mac as _};
use kube::Resource as _;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::crypto::SealError;
use crate::vault::KeyTrouble;
use crate::vault::data_keys::{DataKeys, Place};

/// All profiles are filled up to a multiple of this many bytes, so that their length tells nothing of badge and palms.
const PADDED_TO: usize = 1024;

/// Who a person is: what nobody but the installation may read. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The badge.
    pub badge_number: BadgeNumber,
    /// One or two palms, of different hands.
    pub palms: Vec<Palm>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Profile(…)")
    }
}

/// Why a profile cannot be read. It says nothing of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It does not open.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// It opens, and what is in it is no profile.
    #[error("what is sealed is no profile")]
    Content,
    /// The namespace has no Project, whose key it takes to open it.
    #[error("its namespace has no Project")]
    NoProject,
    /// The key of the Project cannot be used.
    #[error("{0}")]
    Closed(KeyTrouble),
}

/// The name of the `EnrolledUser` with this badge, in the project with this UID: the same for the same number, however many zeros
/// lead it, and of no use to who guesses numbers without the installation's key.
pub fn user_name(installation: &[u8; 32], project: &str, badge: &BadgeNumber) -> String {
    let mac = |key: &[u8], parts: &[&str]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes()
    };
    let key = mac(installation, &["fleetform/enrolled-user-name/v1"]);
    format!("eu-{}", fleetform_domain::hex(&mac(&key, &[project, &badge.value().to_string()])[..16]))
}

const fn place(name: &str) -> Place<'_> {
    Place { kind: "EnrolledUser", name, member: "profile" }
}

impl Profile {
    /// The profile as it is stored, for the `EnrolledUser` of this name.
    ///
    /// # Panics
    /// Never: a profile is plain data.
    pub fn seal(&self, keys: &DataKeys, name: &str, random: [u8; 16]) -> String {
        let mut plain = serde_json::to_vec(self).expect("a profile is plain data");
        // JSON may end in spaces.
        plain.resize(plain.len().next_multiple_of(PADDED_TO), b' ');
        keys.seal(place(name), random, &plain)
    }

    /// The profile of a stored `EnrolledUser`.
    pub fn open(keys: &DataKeys, user: &EnrolledUser) -> Result<Self, Unreadable> {
        let name = user.meta().name.as_deref().unwrap_or_default();
        let plain = keys.open(place(name), &user.spec.sealed_profile)?;
        serde_json::from_slice(&plain).map_err(|_| Unreadable::Content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::fixtures::{data_keys, palm, user};
    use base64::Engine as _;
    use fleetform_domain::people::Hand;

    fn badge(number: &str) -> BadgeNumber {
        number.try_into().unwrap()
    }

    #[test]
    fn a_name_is_the_same_for_the_same_badge_and_tells_nothing() {
        let name = |key, project, number| user_name(&[key; 32], project, &badge(number));
        insta::assert_snapshot!("user_name", name(7, "p", "1111358294500"));
        assert_eq!(name(7, "p", "4500"), name(7, "p", "0004500"), "leading zeros are no other number");
        for other in [name(8, "p", "4500"), name(7, "q", "4500"), name(7, "p", "4501")] {
            assert_ne!(name(7, "p", "4500"), other);
        }
    }

    #[test]
    fn a_profile_is_sealed_for_its_person_and_all_are_of_one_length() {
        let keys = data_keys("p");
        let profile = Profile { badge_number: badge("7"), palms: vec![palm(1, Hand::Left)] };
        let large = Profile {
            badge_number: badge("18446744073709551615"),
            palms: vec![palm(1, Hand::Left), palm(1, Hand::Right)],
        };
        let sealed = |profile: &Profile, name: &str| profile.seal(&keys, name, [1; 16]);
        assert_eq!(sealed(&profile, "eu-1").len(), sealed(&large, "eu-1").len());
        let stored = |sealed: String| {
            let mut user = user("eu-1", 1);
            user.spec.sealed_profile = sealed;
            Profile::open(&keys, &user)
        };
        assert_eq!(stored(sealed(&large, "eu-1")), Ok(large.clone()));
        assert_eq!(stored(sealed(&large, "eu-2")), Err(Unreadable::Sealed(SealError::NotAuthentic)));
        let garbage = keys.seal(place("eu-1"), [1; 16], b"[]");
        assert_eq!(stored(garbage), Err(Unreadable::Content));
        let shown = format!("{large:?}");
        let code = base64::engine::general_purpose::STANDARD.encode(large.palms[0].code.bytes());
        assert!(!shown.contains("1615") && !shown.contains(&code[..20]), "{shown}");
    }
}
