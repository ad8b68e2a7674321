//! The population: as many installers and devices as the portal's list names, played by declaration.
//!
//! A device powers on when its instance is ready for activation, is activated by an installer with a code from the
//! portal, obeys its gateway from then on, and is switched off when its instance or its site's simulation goes. What
//! [`decide`](decide::decide) says about one device, the population makes an order of; a task carries it out.

mod addresses;
mod agenda;
mod crew;
pub mod decide;
mod director;
mod follow;
mod order;
mod people;
mod population;
mod status;
mod visit;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::wire::{DeviceText, MAX_WAIT_SECONDS};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;
use crate::device::Device;
use crate::installer::Installer;
use crate::scenario::Scenario;
use crate::storage::{Record, Storage, StorageError};
use crate::telemetry::Telemetry;
use crate::transport::Network;
use crew::Crew;
use population::Population;
use visit::Tools;

pub use population::asset_tag;
pub use status::{FleetStatus, Stage};

/// How the fleet behaves.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// Of every so many codes one is fetched as a picture and decoded; the others as text.
    pub picture_every: NonZeroU32,
    /// Most devices that are activated at once.
    pub max_concurrent_activations: usize,
    /// Most devices that check in at once.
    pub max_concurrent_check_ins: usize,
    /// How long devices have the gateway wait for something to say, in seconds, up to [`MAX_WAIT_SECONDS`]. From 1 on they check in
    /// again at once, and hold a connection all the time.
    pub check_in_wait_seconds: u32,
    /// How long the portal is asked to wait for a change of its list, in seconds, up to [`MAX_WAIT_SECONDS`].
    pub list_wait_seconds: u32,
    /// How long a device is kept whose instance, or whose site's simulation, is gone. Within that time it can come back.
    pub forget_after: Duration,
    /// Between attempts to activate one device.
    pub activation_backoff: Backoff,
    /// Between attempts of one device to check in.
    pub check_in_backoff: Backoff,
    /// Between attempts to read the list.
    pub list_backoff: Backoff,
    /// What goes wrong, if something is to.
    pub scenario: Option<Arc<Scenario>>,
    /// The one project whose devices are played, of all its sites: for an installer who has rights there alone. Without it, the
    /// devices of all simulated sites are.
    pub project: Option<String>,
    /// Of boot ids and of all chance. Another one each time, unless a test wants the same again.
    pub seed: u64,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            picture_every: NonZeroU32::MIN,
            max_concurrent_activations: 64,
            max_concurrent_check_ins: 256,
            check_in_wait_seconds: 0,
            list_wait_seconds: MAX_WAIT_SECONDS - 5,
            forget_after: Duration::from_mins(10),
            activation_backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            check_in_backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            list_backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(5)),
            scenario: None,
            project: None,
            seed: rand::random(),
        }
    }
}

/// A disk that was found, and what is on it.
type Restored = (DeviceText, Result<Option<Record>, StorageError>);

/// What devices are made of.
#[derive(Clone)]
struct Maker {
    storage: Arc<dyn Storage>,
    network: Arc<Network>,
}

impl Maker {
    fn make(&self, asset_tag: DeviceText, seed: u64) -> Device {
        Device::new(asset_tag, self.storage.clone(), self.network.clone(), seed)
    }
}

/// A fleet, before it runs.
pub struct Fleet {
    options: FleetOptions,
    maker: Maker,
    tools: Arc<Tools>,
    status: watch::Sender<FleetStatus>,
}

impl Fleet {
    /// A fleet of the devices that `installer` sees, whose disks are in `storage`.
    pub fn new(
        installer: Arc<Installer>,
        network: Arc<Network>,
        storage: Arc<dyn Storage>,
        telemetry: Arc<Telemetry>,
        options: FleetOptions,
    ) -> Self {
        let tools = Arc::new(Tools::new(installer, telemetry, &options));
        Self { options, maker: Maker { storage, network }, tools, status: watch::Sender::default() }
    }

    /// How the fleet is doing, from now on.
    pub fn status(&self) -> watch::Receiver<FleetStatus> {
        self.status.subscribe()
    }

    /// Plays the fleet until it is stopped. Only a disk that cannot even be listed ends it earlier; a portal or a
    /// gateway that is away is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StorageError> {
        let restored = self.restore().await?;
        let mut population = Population::new(self.options.clone(), self.maker.clone(), restored);
        let (sender, mut lists) = mpsc::channel(2);
        let follow =
            follow::follow(self.tools.installer.clone(), self.tools.telemetry.clone(), self.options.clone(), sender);
        let _follower = AbortOnDropHandle::new(tokio::spawn(follow));
        let mut crew = Crew::default();
        let mut sweep =
            interval((self.options.forget_after / 2).clamp(Duration::from_millis(50), Duration::from_secs(30)));
        loop {
            while let Some(order) = population.next_order(Instant::now()) {
                crew.send(order, &self.tools);
            }
            self.publish(population.status());
            let next = population.next_due();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(list) = lists.recv() => {
                    let before = population.status().devices(Stage::Elsewhere);
                    population.admit(list, Instant::now());
                    let devices = population.status().devices(Stage::Elsewhere).saturating_sub(before);
                    if devices > 0 {
                        tracing::info!(devices, "device instances are active with other hardware: they are left alone");
                    }
                }
                Some(done) = crew.next(&self.maker) => population.finish(done, Instant::now()),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                _ = sweep.tick() => self.forget(population.forget(Instant::now())).await,
            }
        }
        crew.dismiss().await;
        Ok(())
    }

    fn publish(&self, status: FleetStatus) {
        let is_new = self.status.send_if_modified(|known| std::mem::replace(known, status) != status);
        if is_new {
            self.tools.telemetry.fleet(&status);
        }
    }

    /// Reads all disks. One that cannot be read is a device that was lost: its instance waits for another one.
    async fn restore(&self) -> Result<Vec<Device>, StorageError> {
        let storage = self.maker.storage.clone();
        let read = move || -> Result<Vec<Restored>, StorageError> {
            Ok(storage.list()?.into_iter().map(|tag| (tag.clone(), storage.load(&tag))).collect())
        };
        let records = tokio::task::spawn_blocking(read).await.expect("disks do not panic")?;
        let mut devices = Vec::with_capacity(records.len());
        for (asset_tag, record) in records {
            let mut device = self.maker.make(asset_tag, rand::random());
            let started = record.map_err(Into::into).and_then(|record| device.start(record));
            match started {
                Ok(()) => devices.push(device),
                Err(error) => self.tools.telemetry.trouble("a device is lost", error.kind(), &error),
            }
        }
        if !devices.is_empty() {
            tracing::info!(devices = devices.len(), "devices from before are there again");
        }
        Ok(devices)
    }

    async fn forget(&self, asset_tags: Vec<DeviceText>) {
        if asset_tags.is_empty() {
            return;
        }
        tracing::info!(devices = asset_tags.len(), "devices whose instances are gone are forgotten");
        self.tools.forget(&asset_tags);
        let storage = self.maker.storage.clone();
        let remove = move || asset_tags.iter().try_for_each(|tag| storage.remove(tag));
        if let Err(error) = tokio::task::spawn_blocking(remove).await.expect("disks do not panic") {
            self.tools.telemetry.trouble("a device that is gone cannot be forgotten", "storage", &error);
        }
    }
}
