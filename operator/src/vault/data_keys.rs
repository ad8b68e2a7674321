//! Pure: the data keys of one project, open, and how each is sealed itself.

use fleetform_crds::project::DataKey;
use zeroize::Zeroizing;

use crate::crypto::{KeyId, Purpose, SealError, SealingKey};

/// The data keys of a project: seals with the one in force, opens with any of them. Its `Debug` hides them, and their memory is wiped
/// when they are dropped.
pub struct DataKeys {
    project: String,
    keys: Vec<SealingKey>,
}

/// Where something sealed is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Kind of the object that holds it.
    pub kind: &'static str,
    /// Name of that object.
    pub name: &'a str,
    /// What of the object it is.
    pub member: &'static str,
}

impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKeys(…)")
    }
}

impl DataKeys {
    /// These keys of the project with this UID, the one in force first.
    ///
    /// # Panics
    /// When there is none: a project without data keys is closed.
    pub fn new(project: impl Into<String>, keys: Vec<SealingKey>) -> Self {
        assert!(!keys.is_empty(), "a project that is open has a data key");
        Self { project: project.into(), keys }
    }

    /// UID of the project.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The id of the key in force.
    pub fn current(&self) -> KeyId {
        self.keys[0].id()
    }

    /// Seals with the key in force; see [`SealingKey::seal`].
    pub fn seal(&self, place: Place<'_>, random: [u8; 16], plain: &[u8]) -> String {
        self.keys[0].seal(self.purpose(place), random, plain)
    }

    fn purpose<'a>(&'a self, Place { kind, name, member }: Place<'a>) -> Purpose<'a> {
        Purpose { project: &self.project, kind, name, member }
    }

    /// Opens what was sealed for this place with one of the keys.
    pub fn open(&self, place: Place<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let with = SealingKey::id_on(sealed).ok_or(SealError::Format)?;
        let key = self.keys.iter().find(|key| key.id() == with).ok_or(SealError::OtherKey)?;
        key.open(self.purpose(place), sealed)
    }
}

/// A data key is sealed for its project.
const fn purpose(project: &str) -> Purpose<'_> {
    Purpose { project, kind: "Project", name: fleetform_crds::project::NAME, member: "dataKey" }
}

/// A new data key of the project with this UID: the key, and what is stored of it, sealed with the installation's key.
pub fn make(installation: &SealingKey, project: &str, key: &[u8; 32], random: [u8; 16]) -> (KeyId, String) {
    (SealingKey::of_data_key(key).id(), installation.seal(purpose(project), random, key.as_slice()))
}

/// Opens what [`make`] sealed.
pub fn open(installation: &SealingKey, project: &str, stored: &DataKey, sealed: &str) -> Result<SealingKey, SealError> {
    let plain = installation.open(purpose(project), sealed)?;
    let key = SealingKey::of_data_key(plain.as_slice().try_into().map_err(|_| SealError::Format)?);
    // A key that goes by another's id would be looked for in vain.
    if key.id().to_string() == stored.id { Ok(key) } else { Err(SealError::NotAuthentic) }
}
