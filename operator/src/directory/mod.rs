//! Who there is: the directory of a project, where people and groups are looked up that are given roles. `native` is the built-in one,
//! whose people the cache holds; `identity_center` is AWS IAM Identity Center, which is asked now and then.
//!
//! # Guarantees
//! Whatever directory it is, the same is found by the same words. A worker that looks at an `AdminUser` waits for no directory: what was
//! answered last is in memory ([`answers`]), and [`follow`] asks anew. A directory that does not answer takes nobody's role.

pub mod answers;
pub mod follow;
pub mod identity_center;
pub mod native;
pub mod pauses;
pub mod person;
pub mod subject;
pub mod trouble;

use std::collections::HashMap;
use std::sync::Arc;

use fleetform_crds::admin_user::{Group, Person};
use fleetform_crds::{AdminUser, Project};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::Subject;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use crate::cache::World;
use crate::clock::Clock;
use answers::{Answers, Told};
use identity_center::{By, IdentityStores};
use pauses::Pauses;
use person::{Wanted, identify};
use subject::SubjectPrefix;
pub use trouble::DirectoryTrouble;

/// How long after somebody could not be created that is tried again.
const CREATE_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// Somebody, or a group, as the directory knows them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// Their id in the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory_id: Option<String>,
    /// User name of a person to Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_user: Option<String>,
    /// Who is bound to the role. None when nobody is in the group.
    pub subjects: Vec<Subject>,
    /// How a person is written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<Contact>,
}

/// How somebody is written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// Their user name in the directory.
    pub user_name: String,
    /// An address that the directory says is theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// What a directory says of whom one looks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// They are there.
    Here(Principal),
    /// Nobody is there of that name or address.
    Absent,
    /// What is looked for cannot be in this directory, or is more than one: why, and what to do.
    Impossible(String),
    /// The directory is being asked, and says within moments.
    Asked,
    /// The directory does not say.
    Unanswered(DirectoryTrouble),
}

/// A person to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewPerson {
    /// User name.
    pub user_name: String,
    /// Email address.
    pub email: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// The site that their role is at, if it is at one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

/// Whom an identity store is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    store: String,
    sought: Sought,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Sought {
    Person { user_name: Option<String>, email: Option<String> },
    Group { name: String },
}

impl Question {
    /// Of this identity store, for whom an admin user is about.
    fn of(store: &str, user: &AdminUser) -> Option<Self> {
        let sought = match (&user.spec.person, &user.spec.group) {
            (Some(Person { user_name, email, .. }), _) => {
                Sought::Person { user_name: user_name.clone(), email: email.clone() }
            }
            (None, Some(Group { name })) => Sought::Group { name: name.clone() },
            (None, None) => return None,
        };
        Some(Self { store: store.to_owned(), sought })
    }
}

/// The directories of all projects.
#[derive(Debug)]
pub struct Directories {
    service: Arc<dyn IdentityStores>,
    prefix: SubjectPrefix,
    clock: Arc<dyn Clock>,
    lookups: Answers<Question, Lookup>,
    /// What identity stores lack.
    prerequisites: Answers<String, Vec<DirectoryTrouble>>,
    pauses: Pauses,
    /// Who is to be created.
    wanted: Mutex<HashMap<Question, NewPerson>>,
    /// Somebody waits for an answer.
    asked: Notify,
}

impl Directories {
    /// With a service that has identity stores. What it says is looked at again after `interval`; `prefix` is what names of its people and
    /// groups have before them in Kubernetes.
    pub fn new(
        service: Arc<dyn IdentityStores>,
        prefix: SubjectPrefix,
        interval: SignedDuration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (lookups, prerequisites) = (Answers::new(interval), Answers::new(interval));
        let (pauses, wanted, asked) = (Pauses::default(), Mutex::default(), Notify::new());
        Self { service, prefix, clock, lookups, prerequisites, pauses, wanted, asked }
    }

    /// Whom an admin user of this project is about. It asks nobody: what is not known yet is asked for by [`follow`].
    pub fn find(&self, world: &World, project: &Project, user: &AdminUser) -> Lookup {
        let Some(store) = project.identity_store() else {
            let people = world.people.in_namespace(user.metadata.namespace.as_deref().unwrap_or_default());
            return match (&user.spec.person, &user.spec.group) {
                (Some(person), _) => native::find_person(&people, person, user.site()),
                (None, Some(group)) => native::find_group(&people, group),
                (None, None) => nobody_named(),
            };
        };
        let Some(question) = Question::of(store, user) else { return nobody_named() };
        match self.lookups.get(&question) {
            Some(Ok(lookup)) => lookup,
            Some(Err(trouble)) => Lookup::Unanswered(trouble),
            None => {
                self.asked.notify_one();
                Lookup::Asked
            }
        }
    }

    /// What the directory of a project lacks; none while that is not known. The built-in one lacks nothing.
    pub fn lacking(&self, project: &Project) -> Option<Vec<DirectoryTrouble>> {
        let Some(store) = project.identity_store() else { return Some(Vec::new()) };
        let told = self.prerequisites.get(&store.to_owned());
        if told.is_none() {
            self.asked.notify_one();
        }
        told.map(|told| told.unwrap_or_else(|trouble| vec![trouble]))
    }

    /// Has a person created in an identity store, for an admin user. It waits for nobody: [`follow`] does it.
    pub fn want(&self, store: &str, user: &AdminUser, person: &NewPerson) {
        let Some(question) = Question::of(store, user) else { return };
        self.wanted.lock().entry(question).or_insert_with(|| person.clone());
        self.asked.notify_one();
    }

    /// Who is to be created, once for all who ask for them.
    fn take_wanted(&self) -> HashMap<Question, NewPerson> {
        std::mem::take(&mut *self.wanted.lock())
    }

    /// Creates a person. How it went is what is told of them next.
    async fn create(&self, question: &Question, person: &NewPerson) {
        let store = &question.store;
        let made = match self.pauses.of(store, self.clock.now()) {
            Some(trouble) => Err(trouble),
            None => self.service.create(store, person).await,
        };
        self.heed(store, made.as_ref().err(), self.clock.now());
        let told = match made {
            Ok(id) => {
                tracing::info!(store, user_name = person.user_name, "a person is created in the directory");
                let contact = Contact { user_name: person.user_name.clone(), email: Some(person.email.clone()) };
                Ok(Lookup::Here(self.prefix.person(id, contact)))
            }
            // By somebody else at the same time, or by an attempt of ours of which nothing was heard.
            Err(DirectoryTrouble::Taken) => match self.look_up(question).await {
                Ok(Lookup::Absent) | Err(_) => Err(DirectoryTrouble::Taken),
                told => told,
            },
            Err(trouble) => Err(trouble),
        };
        let now = self.clock.now();
        match told {
            Ok(lookup) => drop(self.lookups.note(question, Ok(lookup), now)),
            Err(trouble) => self.lookups.refuse(question, trouble, now + CREATE_AGAIN),
        }
    }

    /// Asks anew what an identity store lacks; whether that is something else than before.
    async fn check(&self, store: &String) -> bool {
        let lacking = self.service.lacking(store).await;
        let now = self.clock.now();
        self.heed(store, lacking.first(), now);
        match lacking.first() {
            None => self.prerequisites.note(store, Ok(lacking), now),
            Some(first) if lacking.iter().all(|trouble| trouble.passes()) => {
                self.prerequisites.note(store, Err(*first), now)
            }
            // Looked at again as soon as what does not answer.
            Some(_) => self.prerequisites.note_for_now(store, lacking, now),
        }
    }

    /// Asks anew for somebody; whether something else is told than before.
    async fn ask(&self, question: &Question) -> bool {
        let told = match self.pauses.of(&question.store, self.clock.now()) {
            Some(trouble) => Err(trouble),
            None => self.look_up(question).await,
        };
        let now = self.clock.now();
        self.heed(&question.store, told.as_ref().err(), now);
        self.lookups.note(question, told, now)
    }

    /// Leaves a store alone for a moment, if that is what came of asking. A pause is not made longer by itself.
    fn heed(&self, store: &str, trouble: Option<&DirectoryTrouble>, now: Timestamp) {
        if let Some(trouble) = trouble.filter(|_| self.pauses.of(store, now).is_none()) {
            self.pauses.note(store, *trouble, now);
        }
    }

    async fn look_up(&self, Question { store, sought }: &Question) -> Told<Lookup> {
        match sought {
            Sought::Group { name } => Ok(match self.service.group(store, name).await? {
                Some(group) => Lookup::Here(self.prefix.group(group.id, &group.name)),
                None => Lookup::Absent,
            }),
            Sought::Person { user_name, email } => {
                let named = match user_name {
                    Some(name) => self.service.person(store, By::UserName(name)).await?,
                    None => None,
                };
                let addressed = match email {
                    Some(email) if named.is_none() => self.service.person(store, By::Email(email)).await?,
                    _ => None,
                };
                let wanted = Wanted { user_name: user_name.as_deref(), email: email.as_deref() };
                Ok(match identify(wanted, named, addressed.into_iter().collect()) {
                    Ok(Some(account)) if account.disabled => Lookup::Impossible(format!(
                        "spec.person: {} is disabled in the directory: enable them there, or delete this AdminUser",
                        account.user_name
                    )),
                    Ok(Some(account)) => {
                        let address = wanted.email.map(ToOwned::to_owned).or(account.emails.into_iter().next());
                        let contact = Contact { user_name: account.user_name, email: address };
                        Lookup::Here(self.prefix.person(account.id, contact))
                    }
                    Ok(None) => Lookup::Absent,
                    Err(why) => Lookup::Impossible(why),
                })
            }
        }
    }
}

fn nobody_named() -> Lookup {
    Lookup::Impossible("spec: name either a person or a group".to_owned())
}

#[cfg(test)]
mod tests;
