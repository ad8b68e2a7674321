//! People as the process knows them: unsealed in memory, by namespace, for recognising them and for the lists of devices.
//!
//! # Guarantees
//! Nobody is recognised who was deleted, as far as the cache knows. What does not open is left out, counted and said; nothing of a
//! profile is shown by a `Debug`, a log line or an error.

mod follow;
pub mod former;
pub mod holders;
mod list;
mod profile;
mod roll;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use fleetform_crds::EnrolledUser;
use fleetform_domain::people::matching::{identify, is_near};
use fleetform_domain::people::{BadgeNumber, Palm, RecognitionFailure};
use fleetform_domain::wire::{DeviceText, MAX_USERS_PER_PAGE, UserList, UserListQuery};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::cache::{Found, Name, World};
use crate::vault::Vault;
use crate::vault::data_keys::DataKeys;
pub use follow::{begin, follow};
pub use list::PageLost;
pub use profile::{Profile, Unreadable, user_name};
use roll::{Roll, Standing};

/// People, by namespace. Its `Debug` shows nothing of them.
pub struct Directory {
    vault: Arc<Vault>,
    rolls: RwLock<Rolls>,
    waiting: Mutex<HashMap<String, Arc<Notify>>>,
    news: Mutex<News>,
    stirred: Notify,
    /// When how far an un-enrollment is was written last.
    written: Mutex<HashMap<Name, Timestamp>>,
}

#[derive(Default)]
struct Rolls {
    of: HashMap<String, Roll>,
    /// The step that new rolls begin at: beyond all of those that were let go, so that what a device said before them proves nothing.
    first_step: u64,
}

/// What somebody has to be told of.
#[derive(Debug, Default)]
struct News {
    /// Namespaces with another list.
    lists: BTreeSet<String>,
    /// Namespaces in which devices may have forgotten somebody.
    confirmations: BTreeSet<String>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

/// Takes how somebody stands; none is gone.
fn take(roll: &mut Roll, keys: &Result<Arc<DataKeys>, Unreadable>, name: &str, user: Option<&EnrolledUser>) {
    let standing = user.map(|user| {
        if user.metadata.deletion_timestamp.is_some() {
            return Standing::Leaving;
        }
        known_or_opened(Some(&*roll), keys, user).map_or(Standing::Unreadable, Standing::Enrolled)
    });
    let uid = user.and_then(|user| user.metadata.uid.as_deref()).unwrap_or_default();
    roll.take(name, standing.map(|standing| (uid, standing)));
}

/// The profile as it is known, unless it was opened for another Project than the one that is here now, or the key was withdrawn. Without
/// a Project people stay who they were.
fn known_or_opened(
    roll: Option<&Roll>,
    keys: &Result<Arc<DataKeys>, Unreadable>,
    user: &EnrolledUser,
) -> Result<Arc<Profile>, Unreadable> {
    let known = |roll: &Roll| {
        roll.profile(&Name::of(user).name, user.metadata.uid.as_deref().unwrap_or_default()).map(Arc::clone)
    };
    match keys {
        Ok(keys) => match roll.filter(|roll| roll.is_of(keys.project())).and_then(known) {
            Some(known) => Ok(known),
            None => Profile::open(keys, user).map(Arc::new),
        },
        Err(Unreadable::NoProject) => roll.and_then(known).ok_or(Unreadable::NoProject),
        Err(why) => Err(*why),
    }
}

impl Directory {
    /// Nobody, until [`Directory::take`].
    pub fn new(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            rolls: RwLock::default(),
            waiting: Mutex::default(),
            news: Mutex::default(),
            stirred: Notify::new(),
            written: Mutex::default(),
        }
    }

    /// The keys of the Project of a namespace, which profiles are sealed with.
    fn keys(&self, world: &World, namespace: &str) -> Result<Arc<DataKeys>, Unreadable> {
        match world.project(namespace) {
            Found::Here(project) => self.vault.keys(&project).map_err(Unreadable::Closed),
            Found::Unreadable(_) | Found::Absent => Err(Unreadable::NoProject),
        }
    }

    /// Takes everybody of a namespace anew: its Project is another one, or its keys opened or closed. Nobody sees a part of it.
    pub fn retake(&self, world: &World, namespace: &str) {
        let changed = self.with_roll(world, namespace, |roll, keys| {
            for user in world.users.in_namespace(namespace) {
                take(roll, keys, &Name::of(&*user).name, Some(&user));
            }
            match keys {
                Ok(_) => roll.is_whole = true,
                // A key that may not be used leaves nothing in memory.
                Err(Unreadable::Closed(_)) => {
                    roll.is_whole = false;
                    roll.forget_the_gone();
                }
                Err(_) => {}
            }
        });
        if changed {
            self.tell_of(namespace);
        }
        self.let_go(world, namespace);
    }

    /// Takes how the user of this name stands in `world`.
    pub fn take(&self, world: &World, name: &Name) {
        let mut is_gone = false;
        let changed = self.with_roll(world, &name.namespace, |roll, keys| {
            // Looked up while nobody else takes: what is older never comes after what is newer.
            let user = world.users.get(name);
            is_gone = user.is_none();
            take(roll, keys, &name.name, user.as_deref());
        });
        if changed {
            self.tell_of(&name.namespace);
        }
        if is_gone {
            self.let_go(world, &name.namespace);
        }
    }

    /// Changes a roll while nobody else does; whether the list is another one then.
    fn with_roll(
        &self,
        world: &World,
        namespace: &str,
        change: impl FnOnce(&mut Roll, &Result<Arc<DataKeys>, Unreadable>),
    ) -> bool {
        let mut rolls = self.rolls.write();
        let keys = self.keys(world, namespace);
        let first_step = rolls.first_step;
        let roll = rolls.of.entry(namespace.to_owned()).or_insert_with(|| Roll::beginning_at(first_step));
        let before = roll.step;
        if let Ok(keys) = &keys {
            roll.belongs_to(keys.project());
        }
        change(roll, &keys);
        roll.step != before
    }

    fn tell_of(&self, namespace: &str) {
        self.news.lock().lists.insert(namespace.to_owned());
        self.stirred.notify_one();
    }

    /// Whether everybody of a namespace was taken since its keys opened: before that its list is not what it will be.
    pub fn is_whole(&self, namespace: &str) -> bool {
        self.rolls.read().of.get(namespace).is_some_and(|roll| roll.is_whole)
    }

    /// Forgets a namespace that has neither a Project nor people any more.
    fn let_go(&self, world: &World, namespace: &str) {
        let mut rolls = self.rolls.write();
        if matches!(world.project(namespace), Found::Absent) && !world.users.has_any_in(namespace) {
            let last = rolls.of.remove(namespace).map_or(0, |roll| roll.step + 1);
            rolls.first_step = rolls.first_step.max(last);
            if let Some(waiting) = self.waiting.lock().remove(namespace) {
                waiting.notify_waiters();
            }
        }
    }

    /// The profile of a user, also of one who was deleted.
    pub fn profile(&self, world: &World, user: &EnrolledUser) -> Result<Arc<Profile>, Unreadable> {
        let namespace = Name::of(user).namespace;
        known_or_opened(self.rolls.read().of.get(&namespace), &self.keys(world, &namespace), user)
    }

    /// Whose palm it is: name and badge.
    pub fn identify(&self, namespace: &str, palm: &Palm) -> Result<(String, BadgeNumber), RecognitionFailure> {
        let rolls = self.rolls.read();
        let people = rolls.of.get(namespace).into_iter().flat_map(Roll::people);
        let (name, profile) = identify(palm, people.map(|(name, p)| ((name, p), p.palms.as_slice())))?;
        Ok((name.clone(), profile.badge_number.clone()))
    }

    /// Whether somebody is enrolled with one of these palms.
    pub fn is_enrolled(&self, namespace: &str, palms: &[Palm]) -> bool {
        let rolls = self.rolls.read();
        let mut people = rolls.of.get(namespace).into_iter().flat_map(Roll::people);
        people.any(|(_, profile)| palms.iter().any(|palm| is_near(palm, &profile.palms)))
    }

    /// The revision of the list of a namespace.
    pub fn revision(&self, namespace: &str) -> DeviceText {
        self.rolls.read().of.get(namespace).map_or_else(|| Roll::default().revision(), Roll::revision)
    }

    /// A page of the list of a namespace.
    pub fn page(&self, namespace: &str, query: &UserListQuery) -> Result<UserList, PageLost> {
        let rolls = self.rolls.read();
        match rolls.of.get(namespace) {
            Some(roll) => list::page(roll, query, MAX_USERS_PER_PAGE),
            None => list::page(&Roll::default(), query, MAX_USERS_PER_PAGE),
        }
    }

    /// The step that the list of a namespace is at: it rises with each change.
    pub fn step(&self, namespace: &str) -> u64 {
        self.rolls.read().of.get(namespace).map_or(0, |roll| roll.step)
    }

    /// Whether a device that said at step `heard` that it holds the list `held` has forgotten the user, who was deleted. `None` when
    /// the deletion was not taken yet.
    pub fn has_forgotten(&self, name: &Name, uid: &str, held: Option<&DeviceText>, heard: u64) -> Option<bool> {
        self.rolls.read().of.get(&name.namespace)?.has_forgotten(&name.name, uid, held, heard)
    }

    /// Whether the desk of the user, who was deleted, has nothing of their enrollment any more, as it said at step `heard` that it keeps
    /// none. `None` when the deletion was not taken yet.
    pub fn is_settled(&self, name: &Name, uid: &str, heard: u64) -> Option<bool> {
        self.rolls.read().of.get(&name.namespace)?.is_settled(&name.name, uid, heard)
    }

    /// Names of the users of a namespace whom devices may still know.
    fn leaving(&self, namespace: &str) -> Vec<String> {
        let rolls = self.rolls.read();
        rolls.of.get(namespace).into_iter().flat_map(Roll::leaving).cloned().collect()
    }

    /// A device said something else than before of what it holds, or is no longer what it was: those who leave are looked at soon.
    pub fn may_be_forgotten(&self, namespace: &str) {
        let waits = self.rolls.read().of.get(namespace).is_some_and(|roll| roll.leaving().next().is_some());
        if waits {
            self.news.lock().confirmations.insert(namespace.to_owned());
            self.stirred.notify_one();
        }
    }

    /// Wakes when the list of a namespace has changed. Take it before looking at the revision.
    pub fn changes(&self, namespace: &str) -> Arc<Notify> {
        Arc::clone(self.waiting.lock().entry(namespace.to_owned()).or_default())
    }

    /// How many people can be recognised, and how many profiles cannot be read.
    pub fn counts(&self) -> (usize, usize) {
        let rolls = self.rolls.read();
        rolls.of.values().fold((0, 0), |(people, bad), roll| (people + roll.len(), bad + roll.unreadable()))
    }

    /// When the status of a user who leaves was written last.
    pub fn written(&self, name: &Name) -> Option<Timestamp> {
        self.written.lock().get(name).copied()
    }

    /// The status of a user who leaves is written now.
    pub fn note_written(&self, name: &Name, now: Timestamp) {
        self.written.lock().insert(name.clone(), now);
    }

    /// The user is gone.
    pub fn forget_written(&self, name: &Name) {
        self.written.lock().remove(name);
    }
}
