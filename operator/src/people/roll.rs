//! Pure: who is enrolled in one namespace, and which lists devices may hold.
//!
//! # Guarantees
//! A revision names a set of people: it is a digest of who they are. So it is the same before and after a restart, a backup that is
//! restored makes no other set pass for it, and a device that says it holds a revision says exactly whom it knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fleetform_domain::wire::DeviceText;
use sha2::{Digest as _, Sha256};

use super::profile::Profile;

/// Most revisions that are remembered. A device that holds an earlier one gets the whole list.
pub(super) const KEPT_REVISIONS: usize = 1024;

/// A sum of digests, of 96 bits: so many that no two sets meet by chance, and that it fits into the name of a page.
const DIGEST_BITS: u32 = 96;

/// Longest name of a person that fits into the name of a page beside a revision. The operator's own have 35 characters.
const LONGEST_NAME: usize = 38;

/// How an object stands as it is seen now.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// The person is enrolled.
    Enrolled(Arc<Profile>),
    /// The person was deleted, and devices may still know them.
    Leaving,
    /// What is sealed does not open, so nobody is recognised by it.
    Unreadable,
}

/// Somebody who is enrolled.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) uid: String,
    /// The step with which they came.
    pub(super) since: u64,
    /// The step with which whoever had the name before went, as far as is remembered.
    pub(super) before: u64,
    pub(super) profile: Arc<Profile>,
}

/// Somebody who was removed.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    uid: String,
    /// The step with which they came; where that was before this process began, the one with which they were seen.
    since: u64,
    /// The step from which on no list has them.
    pub(super) step: u64,
    /// The object is still there, until devices have forgotten them.
    there: bool,
    /// Who they were, while the object is there and if that was known.
    pub(super) profile: Option<Arc<Profile>>,
}

/// Who is enrolled in one namespace. Each change is a step.
#[derive(Debug)]
pub(super) struct Roll {
    /// UID of the Project that all profiles were opened for, once one was.
    project: Option<String>,
    /// Whether everybody was taken since the keys of the Project opened.
    pub(super) is_whole: bool,
    pub(super) people: BTreeMap<String, Person>,
    pub(super) gone: BTreeMap<String, Gone>,
    unreadable: BTreeSet<String>,
    pub(super) step: u64,
    digest: u128,
    revisions: VecDeque<(u128, u64)>,
}

impl Default for Roll {
    fn default() -> Self {
        Self {
            project: None,
            is_whole: false,
            people: BTreeMap::new(),
            gone: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            step: 0,
            digest: 0,
            revisions: VecDeque::from([(0, 0)]),
        }
    }
}

fn mark(name: &str, uid: &str) -> u128 {
    let digest = Sha256::new().chain_update((name.len() as u64).to_be_bytes()).chain_update(name).chain_update(uid);
    u128::from_be_bytes(digest.finalize()[..16].try_into().expect("a SHA-256 has 32 bytes"))
}

fn text(digest: u128) -> DeviceText {
    format!("{digest:024x}").try_into().expect("hexadecimal digits are texts of devices")
}

impl Roll {
    /// Nobody, at this step.
    pub(super) fn beginning_at(step: u64) -> Self {
        Self { step, revisions: VecDeque::from([(0, step)]), ..Self::default() }
    }

    /// Takes how the object of this name stands; `None` when it is gone. Whether the list is another one now.
    pub(super) fn take(&mut self, name: &str, seen_as: Option<(&str, Standing)>) -> bool {
        let before = self.step;
        let seen_as = seen_as.map(|(uid, standing)| match standing {
            Standing::Enrolled(_) if name.len() > LONGEST_NAME => (uid, Standing::Unreadable),
            standing => (uid, standing),
        });
        match seen_as {
            Some((uid, Standing::Enrolled(profile))) => {
                self.unreadable.remove(name);
                if self.people.get(name).is_none_or(|known| known.uid != uid) {
                    self.remove(name);
                    let before = self.gone.remove(name).map_or(0, |gone| gone.step);
                    self.go_on(mark(name, uid), true);
                    self.people
                        .insert(name.to_owned(), Person { uid: uid.to_owned(), since: self.step, before, profile });
                }
            }
            Some((uid, Standing::Leaving)) => {
                self.unreadable.remove(name);
                let is_known = self.people.get(name).is_some_and(|known| known.uid == uid);
                let since = self.people.get(name).filter(|_| is_known).map_or(self.step, |known| known.since);
                let profile = self.remove(name).filter(|_| is_known);
                if let Some(known) = self.gone.get_mut(name).filter(|known| known.uid == uid && profile.is_none()) {
                    // Seen leaving before; or off the list already, as the profile did not open.
                    known.there = true;
                } else {
                    // One that is not known was deleted before this process began, and is on no list that it gave out.
                    let gone = Gone { uid: uid.to_owned(), since, step: self.step, there: true, profile };
                    self.gone.insert(name.to_owned(), gone);
                }
            }
            Some((_, Standing::Unreadable)) => {
                self.remove(name);
                self.unreadable.insert(name.to_owned());
            }
            None => {
                self.unreadable.remove(name);
                self.remove(name);
                if let Some(gone) = self.gone.get_mut(name) {
                    // Nothing of them is kept but that they were here.
                    (gone.there, gone.profile) = (false, None);
                }
            }
        }
        self.forget_the_oldest();
        self.step != before
    }

    /// The Project of the namespace has this UID. If it had another one, nobody is known any more: what was sealed for one Project
    /// does not open for another.
    pub(super) fn belongs_to(&mut self, project: &str) {
        if self.is_of(project) {
            self.project.get_or_insert_with(|| project.to_owned());
            return;
        }
        self.project = Some(project.to_owned());
        for name in self.people.keys().cloned().collect::<Vec<_>>() {
            self.remove(&name);
        }
        self.forget_the_gone();
    }

    /// Who they were that leave is known no more.
    pub(super) fn forget_the_gone(&mut self) {
        self.gone.values_mut().for_each(|gone| gone.profile = None);
    }

    /// Whether profiles were opened for the Project with this UID, as far as is known.
    pub(super) fn is_of(&self, project: &str) -> bool {
        self.project.as_deref().is_none_or(|known| known == project)
    }

    /// Takes a person off the list, if they are on it; who they were.
    fn remove(&mut self, name: &str) -> Option<Arc<Profile>> {
        let Person { uid, since, profile, .. } = self.people.remove(name)?;
        self.go_on(mark(name, &uid), false);
        self.gone.insert(name.to_owned(), Gone { uid, since, step: self.step, there: false, profile: None });
        Some(profile)
    }

    fn go_on(&mut self, mark: u128, comes: bool) {
        let sum = if comes { self.digest.wrapping_add(mark) } else { self.digest.wrapping_sub(mark) };
        self.digest = sum & ((1 << DIGEST_BITS) - 1);
        self.step += 1;
        self.revisions.push_back((self.digest, self.step));
    }

    fn forget_the_oldest(&mut self) {
        while self.revisions.len() > KEPT_REVISIONS {
            self.revisions.pop_front();
        }
        let oldest = self.revisions.front().map_or(0, |(_, step)| *step);
        self.gone.retain(|_, gone| gone.there || gone.step > oldest);
    }

    /// Who this person is or was, if that is known.
    pub(super) fn profile(&self, name: &str, uid: &str) -> Option<&Arc<Profile>> {
        let here = self.people.get(name).filter(|person| person.uid == uid).map(|person| &person.profile);
        here.or_else(|| self.gone.get(name).filter(|gone| gone.uid == uid)?.profile.as_ref())
    }

    /// The revision of the list as it is now.
    pub(super) fn revision(&self) -> DeviceText {
        text(self.digest)
    }

    /// The last step at which the list was of this revision, if it is remembered.
    pub(super) fn step_of(&self, revision: &str) -> Option<u64> {
        let digest =
            Some(revision).filter(|text| text.len() == 24).and_then(|text| u128::from_str_radix(text, 16).ok())?;
        self.revisions.iter().rev().find(|(known, _)| *known == digest).map(|(_, step)| *step)
    }

    /// Name and profile of everybody who is enrolled.
    pub(super) fn people(&self) -> impl Iterator<Item = (&String, &Arc<Profile>)> {
        self.people.iter().map(|(name, person)| (name, &person.profile))
    }

    /// How many are enrolled and can be recognised.
    pub(super) fn len(&self) -> usize {
        self.people.len()
    }

    /// How many profiles cannot be read.
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    /// Names of those whom devices may still know.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &String> {
        self.gone.iter().filter(|(_, gone)| gone.there).map(|(name, _)| name)
    }

    /// Whether a device has forgotten a person who was deleted: it said that it holds the list `held`, or none, when the roll was at step
    /// `heard`. `None` when the deletion was not taken yet.
    ///
    /// What it said before the deletion proves nothing: it may have fetched a list since. A list says by itself who is on it.
    pub(super) fn has_forgotten(&self, name: &str, uid: &str, held: Option<&DeviceText>, heard: u64) -> Option<bool> {
        let gone = self.gone.get(name).filter(|gone| gone.uid == uid)?;
        let knows = |revision: &DeviceText| self.step_of(revision.as_str()).is_none_or(|step| step < gone.step);
        Some(heard >= gone.step && !held.is_some_and(knows))
    }

    /// Whether the desk of a person who was deleted keeps nothing of their enrollment any more: it said at step `heard` that it keeps no
    /// enrollment. `None` when the deletion was not taken yet.
    ///
    /// It keeps one from before the person is stored until it hears so: once it has said since that it keeps none, it never has this one.
    pub(super) fn is_settled(&self, name: &str, uid: &str, heard: u64) -> Option<bool> {
        self.gone.get(name).filter(|gone| gone.uid == uid).map(|gone| heard >= gone.since)
    }
}
