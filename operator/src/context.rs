//! What every part of the running operator shares.

use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::event::Event;
use kube::Client;

use crate::activation::code::Mint;
use crate::audit::Trail;
use crate::cache::World;
use crate::clock::Clock;
use crate::credentials::KnownCredentials;
use crate::crypto::Authorities;
use crate::directory::Directories;
use crate::error::{Error, Result};
use crate::events::{Backlog, History, LATE, Marks, NotDelivered, Submissions};
use crate::gateway::table::DeviceTable;
use crate::guard::Guard;
use crate::invitation::Deliveries;
use crate::leader::Leadership;
use crate::measurements::Measurements;
use crate::people::Directory;
use crate::queue::Queue;
use crate::reconcile::execute::Executor;
use crate::revisions::Revisions;
use crate::rollouts::Rollouts;
use crate::server::Shards;
use crate::settings::Settings;
use crate::telemetry::Metrics;
use crate::vault::Vault;
use crate::vault::data_keys::DataKeys;

/// What every part of the running operator shares.
#[derive(Clone)]
pub struct Context {
    /// For reads; writes go through the executor.
    pub client: Client,
    /// Validated.
    pub settings: Arc<Settings>,
    /// The time, and randomness.
    pub clock: Arc<dyn Clock>,
    /// What the API server holds.
    pub world: Arc<World>,
    /// What devices reported.
    pub table: Arc<DeviceTable>,
    /// What sensors measured.
    pub measurements: Arc<Measurements>,
    /// Writes.
    pub executor: Executor,
    /// Whether this process holds the lease.
    pub leadership: Leadership,
    /// Whether the policies that guard roles are in place.
    pub guard: Arc<Guard>,
    /// Directories of people who get roles.
    pub directories: Arc<Directories>,
    /// What became of letters to people who got a role.
    pub deliveries: Arc<Deliveries>,
    /// Held while the count of a site's active devices is looked at and stored: the count keeps the address from being edited.
    pub site_locks: Arc<Shards>,
    /// Revisions of templates, as they were read last.
    pub revisions: Arc<Revisions>,
    /// What is known of Wi-Fi credentials.
    pub credentials: Arc<KnownCredentials>,
    /// Which devices may take the revisions that go out.
    pub rollouts: Arc<Rollouts>,
    /// Who is enrolled.
    pub people: Arc<Directory>,
    /// Events that are no transitions are handed in here.
    pub submissions: Arc<Submissions>,
    /// How far each event sink has come.
    pub marks: Arc<Marks>,
    /// Events that objects no longer keep, and a required sink has yet to get.
    pub backlog: Arc<Backlog>,
    /// Audit records are handed in here.
    pub trail: Arc<Trail>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Data keys of projects.
    pub vault: Arc<Vault>,
    /// The installation's key: activation codes are made with it.
    pub activation_key: [u8; 32],
    /// Sign certificates; which of them changes while a rotation goes on.
    pub authorities: Arc<Authorities>,
    /// What is to be reconciled.
    pub queue: Arc<Queue>,
}

impl Context {
    /// The data keys of the project of a namespace.
    pub fn keys(&self, namespace: &str) -> Result<Arc<DataKeys>> {
        self.vault.of(&self.world, namespace).map_err(|trouble| Error::Closed {
            what: format!("what is sealed in namespace {namespace} cannot be used"),
            trouble,
        })
    }

    /// Hands an event in that is no transition, and waits until every required sink has it, at most so long.
    pub async fn tell(&self, event: &Event, limit: Duration) -> Result<(), NotDelivered> {
        let missed = self.submissions.deliver(event, limit).await?;
        for sink in missed {
            self.metrics.event_missed(sink);
        }
        Ok(())
    }

    /// What may go of what objects record.
    pub fn history(&self) -> History {
        // The clock may have been set back.
        self.marks.limit(self.clock.now() - LATE);
        let passed = self.marks.all_passed(self.settings.events.required());
        History { passed, has_room: self.backlog.has_room() }
    }

    /// Makes activation codes, which pin the authority that serves now.
    pub fn mint(&self) -> Mint {
        Mint {
            installation: self.activation_key,
            gateway: self.settings.gateway.url.clone(),
            pin: self.authorities.ring().signer().spki_pin(),
            settings: self.settings.codes,
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("settings", &self.settings).finish_non_exhaustive()
    }
}
