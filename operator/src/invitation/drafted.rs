//! Pure: the Secret with a letter, by its metadata.

use fleetform_crds::AdminUser;
use fleetform_domain::admin::Role;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::cache::{Name, SecretMeta, World};
use crate::crypto::sha256_hex;
use crate::reconcile::names;

/// Who sends a letter. One that was drafted before there was a mail server stays with people: they may have sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum By {
    /// A person, from their own mail program.
    Hand,
    /// The operator, by the mail server.
    Server,
}

impl By {
    /// As it stands on the Secret.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Server => "server",
        }
    }
}

/// What tells whether a letter is about what is so now: the role, the address and the directory. It gives none of them away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edition(String);

impl Edition {
    /// Of a letter about this role, to this address, to people of this outside directory or of the built-in one.
    pub fn of(role: Role, address: &str, directory: Option<&str>) -> Self {
        let text = [role.as_str(), &address.to_ascii_lowercase(), directory.unwrap_or_default()].join("\n");
        Self(sha256_hex(text.as_bytes()).chars().take(16).collect())
    }

    /// As it stands on the Secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A Secret with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drafted {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Who sends it.
    pub by: By,
    /// What it is about.
    pub edition: Edition,
}

impl Drafted {
    /// The letter to somebody, if it is drafted.
    pub fn to(user: &AdminUser, world: &World) -> Option<Self> {
        let name = Name::of(user);
        let secret = world.secrets.get(&Name::new(&name.namespace, names::invitation(&name.name)))?;
        Self::read(&secret, user)
    }

    fn read(secret: &SecretMeta, user: &AdminUser) -> Option<Self> {
        let is_letter = secret.labels().get(names::SECRET_LABEL).is_some_and(|kind| kind == names::INVITATION);
        let mut owners = secret.metadata.owner_references.iter().flatten();
        if !is_letter || !owners.any(|owner| Some(&owner.uid) == user.metadata.uid.as_ref()) {
            return None;
        }
        let mark = |key: &str| secret.annotations().get(key).map(String::as_str);
        let by = if mark(names::SENT_BY_ANNOTATION) == Some(By::Server.as_str()) { By::Server } else { By::Hand };
        let edition = Edition(mark(names::EDITION_ANNOTATION).unwrap_or_default().to_owned());
        Some(Self { name: secret.name_any(), uid: secret.uid()?, by, edition })
    }
}
