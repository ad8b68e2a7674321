//! Data keys of projects: made, opened, kept in memory for a bounded time, and closed when a key is withdrawn.
//!
//! # Guarantees
//! Nothing falls back: a project whose key cannot be used is closed, and says why. A data key is in memory for at most five minutes
//! after its provider let it be opened. Who asks often costs the provider nothing: it is asked once for each project and four minutes.

pub mod data_keys;
pub mod keeper;
pub mod kms;
pub mod trouble;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetform_crds::Project;
use fleetform_crds::condition::whole_second;
use fleetform_crds::project::{DataKey, Encryption, KeyProvider};
use fleetform_domain::id::{Installation, ResourceId};
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::cache::{Found, World};
use crate::clock::Clock;
use crate::crypto::{SealError, SealingKey};
use data_keys::DataKeys;
use kms::KeyService;
pub use trouble::KeyTrouble;

/// How long after a failure a data key is made again.
pub const REMADE_AFTER: SignedDuration = SignedDuration::from_secs(15);

/// How long after a failure it is tried again, at least and at most.
const RETRIES: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(5), SignedDuration::from_mins(1));

/// The data keys of all projects.
pub struct Vault {
    installation_key: SealingKey,
    here: Installation,
    service: Arc<dyn KeyService>,
    clock: Arc<dyn Clock>,
    /// How long an open data key is in memory. When a fifth of that is left it is opened anew: so early that a few tries are left.
    open_for: SignedDuration,
    safes: RwLock<HashMap<String, Safe>>,
    /// What could not be made lately, by namespace: who asks often costs the provider nothing.
    failed: Mutex<HashMap<String, Failed>>,
    /// Somebody asked for a key that is not open.
    asked: Notify,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

/// The data keys of a project.
struct Safe {
    /// UID of the Project, and what is stored of its data keys: others are not what was opened.
    of: (String, Vec<DataKey>),
    open: Option<Open>,
    /// Why they could not be opened when that was tried last.
    trouble: Option<KeyTrouble>,
    failures: i32,
    /// When it is tried next.
    due: Timestamp,
}

struct Open {
    keys: Arc<DataKeys>,
    until: Timestamp,
    /// Since when this process seals with the key in force.
    since: Timestamp,
}

/// A data key that was wanted and could not be had.
struct Failed {
    wanted: Encryption,
    trouble: KeyTrouble,
    /// When it is tried next.
    due: Timestamp,
}

/// Whether a project can be read, as [`Vault::renew`] found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// As before.
    Same,
    /// It can be read from now on.
    Opened,
    /// It can no longer be read, or for another reason than before.
    Closed,
}

fn uid(project: &Project) -> &str {
    project.metadata.uid.as_deref().unwrap_or_default()
}

fn namespace(project: &Project) -> &str {
    project.metadata.namespace.as_deref().unwrap_or_default()
}

/// Whether the installation opens them by itself.
fn is_own(stored: &[DataKey]) -> bool {
    stored.iter().all(|key| key.provider == KeyProvider::Local)
}

impl Vault {
    /// With the installation's key, and a service for customers' keys; keys are open for a time.
    pub fn new(
        installation: &[u8; 32],
        here: Installation,
        service: Arc<dyn KeyService>,
        clock: Arc<dyn Clock>,
        open_for: SignedDuration,
    ) -> Self {
        Self {
            installation_key: SealingKey::of_installation(installation),
            here,
            service,
            clock,
            open_for,
            safes: RwLock::default(),
            failed: Mutex::default(),
            asked: Notify::new(),
        }
    }

    /// The data keys of the project of a namespace; why they cannot be had otherwise. It asks nobody.
    pub fn of(&self, world: &World, namespace: &str) -> Result<Arc<DataKeys>, KeyTrouble> {
        match world.project(namespace) {
            Found::Here(project) => self.keys(&project),
            Found::Unreadable(_) | Found::Absent => Err(KeyTrouble::NotMade),
        }
    }

    /// The data keys of a project; why they cannot be had otherwise. It asks nobody.
    pub fn keys(&self, project: &Project) -> Result<Arc<DataKeys>, KeyTrouble> {
        let (stored, now) = (project.data_keys(), self.clock.now());
        if stored.is_empty() {
            return Err(KeyTrouble::NotMade);
        }
        let own = is_own(stored);
        if let Some(safe) = self.safes.read().get(namespace(project)).filter(|safe| safe.of.0 == uid(project)) {
            let is_current = safe.is_of(project);
            match (&safe.open, safe.trouble) {
                (Some(open), _) if now < open.until && (is_current || !own) => {
                    if !is_current {
                        // What is open goes on until its successor is open too.
                        self.asked.notify_one();
                    }
                    return Ok(Arc::clone(&open.keys));
                }
                (_, Some(trouble)) if is_current => return Err(trouble),
                _ => {}
            }
        }
        if own {
            return self.open_own(project, now);
        }
        self.asked.notify_one();
        Err(KeyTrouble::Opening)
    }

    /// Those of the installation take nobody else.
    fn open_own(&self, project: &Project, now: Timestamp) -> Result<Arc<DataKeys>, KeyTrouble> {
        let open = |stored: &DataKey| self.open_one(project, stored, &stored.sealed);
        let keys: Result<Vec<SealingKey>, KeyTrouble> = project.data_keys().iter().map(open).collect();
        self.note(project, keys, now).0
    }

    /// Opens with the installation's key what is left when the provider has opened its layer.
    fn open_one(&self, project: &Project, stored: &DataKey, sealed: &str) -> Result<SealingKey, KeyTrouble> {
        data_keys::open(&self.installation_key, uid(project), stored, sealed).map_err(|error| match error {
            SealError::Format | SealError::OtherKey | SealError::NotAuthentic => KeyTrouble::NotAuthentic,
        })
    }

    /// Opens the data keys of a project anew, if it is time.
    pub async fn renew(&self, project: &Project) -> Turn {
        let now = self.clock.now();
        let is_due =
            self.safes.read().get(namespace(project)).is_none_or(|safe| !safe.is_of(project) || now >= safe.due);
        if project.data_keys().is_empty() || !is_due {
            return Turn::Same;
        }
        let mut keys = Ok(Vec::new());
        for stored in project.data_keys() {
            match (self.open_with_provider(project, stored).await, &mut keys) {
                (Ok(key), Ok(keys)) => keys.push(key),
                (Err(trouble), keys) => *keys = Err(trouble),
                (Ok(_), Err(_)) => {}
            }
        }
        self.note(project, keys, self.clock.now()).1
    }

    async fn open_with_provider(&self, project: &Project, stored: &DataKey) -> Result<SealingKey, KeyTrouble> {
        let sealed = match (stored.provider, &stored.key_arn) {
            (KeyProvider::Local, _) => stored.sealed.clone(),
            (KeyProvider::AwsKms, None) => return Err(KeyTrouble::NotAuthentic),
            (KeyProvider::AwsKms, Some(key_arn)) => {
                let outer = STANDARD.decode(&stored.sealed).map_err(|_| KeyTrouble::NotAuthentic)?;
                let inner = self.service.decrypt(key_arn, &self.arn(project), outer).await?;
                String::from_utf8(inner).map_err(|_| KeyTrouble::NotAuthentic)?
            }
        };
        self.open_one(project, stored, &sealed)
    }

    /// Takes how opening went. Who said no closes the project at once; what may be over in a moment leaves it open for its time.
    fn note(
        &self,
        project: &Project,
        keys: Result<Vec<SealingKey>, KeyTrouble>,
        now: Timestamp,
    ) -> (Result<Arc<DataKeys>, KeyTrouble>, Turn) {
        let mut safes = self.safes.write();
        let safe = safes.entry(namespace(project).to_owned()).or_insert_with(|| Safe::of(project, now));
        let was = (safe.open.is_some(), safe.trouble);
        if !safe.is_of(project) {
            let open = safe.open.take().filter(|_| safe.of.0 == uid(project));
            *safe = Safe { open, ..Safe::of(project, now) };
        }
        let outcome = match keys {
            Ok(keys) => {
                let keys = Arc::new(DataKeys::new(uid(project), keys));
                let before = safe.open.as_ref().filter(|open| open.keys.current() == keys.current());
                let since = before.map_or(now, |open| open.since);
                *safe = Safe {
                    open: Some(Open { keys: Arc::clone(&keys), until: now + self.open_for, since }),
                    due: now + self.open_for / 5 * 4,
                    ..Safe::of(project, now)
                };
                Ok(keys)
            }
            Err(trouble) => {
                safe.failures = safe.failures.saturating_add(1);
                safe.trouble = Some(trouble);
                safe.due = now + (RETRIES.0 * safe.failures.min(12)).min(RETRIES.1);
                if trouble.is_refusal() || safe.open.as_ref().is_some_and(|open| now >= open.until) {
                    safe.open = None;
                }
                Err(trouble)
            }
        };
        let turn = match (was, safe.open.is_some()) {
            ((false, _), true) => Turn::Opened,
            ((true, _), false) => Turn::Closed,
            ((false, trouble), false) if trouble != safe.trouble => Turn::Closed,
            _ => Turn::Same,
        };
        (outcome, turn)
    }

    /// Forgets the keys of namespaces that have no Project any more, and those whose time is over.
    fn sweep(&self, world: &World) {
        let now = self.clock.now();
        self.safes.write().retain(|namespace, safe| {
            // Those that it takes a provider to open are closed by `renew`, which says so.
            let own = is_own(&safe.of.1);
            safe.open.take_if(|open| own && now >= open.until);
            !matches!(world.project(namespace), Found::Absent)
        });
        self.failed
            .lock()
            .retain(|namespace, failed| now < failed.due && !matches!(world.project(namespace), Found::Absent));
    }

    fn arn(&self, project: &Project) -> String {
        self.here.project_arn(&ResourceId::of(uid(project))).as_str().to_owned()
    }

    /// Since when this process seals with the data key that the project has in force; none when it does not yet.
    pub fn in_force_since(&self, project: &Project) -> Option<Timestamp> {
        let safes = self.safes.read();
        let open = safes.get(namespace(project)).filter(|safe| safe.of.0 == uid(project))?.open.as_ref()?;
        let is_current = project.data_keys().first().is_some_and(|key| key.id == open.keys.current().to_string());
        is_current.then_some(open.since)
    }

    /// A new data key for a project, sealed as `wanted` says. After a failure it is not tried again for a while.
    pub async fn make(&self, project: &Project, wanted: &Encryption) -> Result<DataKey, KeyTrouble> {
        let now = self.clock.now();
        if let Some(failed) = self.failed.lock().get(namespace(project))
            && failed.wanted == *wanted
            && now < failed.due
        {
            return Err(failed.trouble);
        }
        let made = self.try_make(project, wanted).await;
        let mut failures = self.failed.lock();
        match &made {
            Ok(_) => drop(failures.remove(namespace(project))),
            Err(trouble) => {
                let failed = Failed { wanted: wanted.clone(), trouble: *trouble, due: now + REMADE_AFTER };
                failures.insert(namespace(project).to_owned(), failed);
            }
        }
        made
    }

    async fn try_make(&self, project: &Project, wanted: &Encryption) -> Result<DataKey, KeyTrouble> {
        trouble::checked(wanted, &self.here)?;
        let key = Zeroizing::new(self.clock.key());
        let (id, sealed) = data_keys::make(&self.installation_key, uid(project), &key, self.clock.random());
        let sealed = match (wanted.provider, &wanted.key_arn) {
            (KeyProvider::AwsKms, Some(arn)) => {
                let project = self.arn(project);
                let outer = self.service.encrypt(arn, &project, sealed.clone().into_bytes()).await?;
                // Who may encrypt may not therefore decrypt: a key that cannot be opened is not taken into use.
                let inner = self.service.decrypt(arn, &project, outer.clone()).await?;
                if inner != sealed.as_bytes() {
                    return Err(KeyTrouble::NotAuthentic);
                }
                STANDARD.encode(outer)
            }
            _ => sealed,
        };
        if is_own(project.data_keys()) && !project.data_keys().is_empty() {
            // They are open for all of their time, until their successor is.
            self.open_own(project, self.clock.now())?;
        }
        Ok(DataKey {
            id: id.to_string(),
            provider: wanted.provider,
            key_arn: wanted.key_arn.clone(),
            generation: wanted.data_key_generation,
            sealed,
            created_at: whole_second(self.clock.now()),
        })
    }
}

impl Safe {
    /// Nothing opened yet.
    fn of(project: &Project, now: Timestamp) -> Self {
        let of = (uid(project).to_owned(), project.data_keys().to_vec());
        Self { of, open: None, trouble: None, failures: 0, due: now }
    }

    fn is_of(&self, project: &Project) -> bool {
        self.of.0 == uid(project) && self.of.1 == project.data_keys()
    }
}

#[cfg(test)]
pub(crate) mod tests;
