//! One device: hardware with a camera, a key pad, a disk and a power switch.
//!
//! Every step of its life is a method, so that a test can take them one by one:
//! [`Device::power_on`] → [`Device::scan`] → [`Device::look_up`] → [`Device::confirm`] → [`Device::check_in`].
//! [`Device::activate`] and [`Device::synchronise`] take several at once, as the fleet does.

mod activate;
mod adopt;
mod error;
mod obey;
mod operate;
pub mod people;
mod quirks;
mod renew;
mod screen;
mod sensors;
mod update;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetform_domain::activation::{ActivationCode, ActivationFailure};
use fleetform_domain::wire::{
    AuthoritiesDigest, DeviceConfiguration, DeviceLock, DeviceText, LookupResponse, RefusedConfiguration,
    WifiCredentials,
};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

pub use error::{ActivationError, DeviceError};
pub use quirks::Quirks;
pub use screen::{EnrollmentScreen, EntryScreen, Next, Screen, after};
pub use sensors::{BUFFER_CHECK, Delivered, MAX_BUFFERED};

use crate::storage::{Committed, Der, Installed, MemoryStorage, Pending, Record, Stage, Storage, StorageError};
use crate::transport::{Answer, Connection, Network, Question, TransportError, Trust};

/// The software that devices run unless a test says otherwise.
pub const SOFTWARE_VERSION: &str = "1.0.0";

/// One device. At rest it holds no connection, and of its disk only what it needs to open one.
pub struct Device {
    asset_tag: DeviceText,
    storage: Arc<dyn Storage>,
    network: Arc<Network>,
    /// With the count of starts it makes boot ids.
    seed: u64,
    starts: u32,
    /// Check-ins of this start.
    counter: u64,
    state: State,
    /// What it runs; what came from the factory when there is none.
    software: Option<Box<Installed>>,
    failed_health_checks: Vec<DeviceText>,
    /// When its gateway answered last, and how much time has passed since for its clock alone.
    last_contact: Option<Instant>,
    passed: Duration,
    update: Option<Box<update::Update>>,
    people: people::People,
    quirks: Box<Quirks>,
    line: Option<Box<Connection>>,
    /// What the gateway said of authorities when the device did as it said last.
    followed: Option<(Option<AuthoritiesDigest>, bool)>,
}

/// What is in the memory of a device; [`Screen`] is how it shows. Boxed, because at rest most of it is not there.
enum State {
    Off,
    Scan,
    Zip(Box<ActivationCode>),
    Confirm(Box<(ActivationCode, LookupResponse)>),
    Pending(Box<(Pending, Der)>),
    Halted(ActivationFailure),
    Active(Box<Association>),
}

struct Association {
    gateway: Box<str>,
    id: Box<str>,
    /// PKCS #8.
    key: Box<[u8]>,
    certificates: Vec<CertificateDer<'static>>,
    trust: Arc<Trust>,
    /// Wanted at activation.
    wanted: u32,
    applied: Option<u32>,
    maximum_offline: Option<Duration>,
    lock: Option<Box<DeviceLock>>,
    completed: Option<DeviceText>,
    out_of_service: bool,
    /// The network to join; the cable when there is none.
    wifi: Option<Box<WifiCredentials>>,
    refused: Option<RefusedConfiguration>,
    /// Of the list of enrolled users on the disk.
    users_revision: Option<Box<DeviceText>>,
    /// The network changed, and the gateway has yet to answer in it.
    on_trial: bool,
    /// It went back to the network before, and has yet to hear from the gateway in it.
    went_back: bool,
    /// Of a gateway.
    sensors: Option<Box<sensors::Sensors>>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("asset_tag", &self.asset_tag.as_str())
            .field("screen", &self.screen())
            .finish_non_exhaustive()
    }
}

impl Device {
    /// A device with this disk, which may hold a record from before. It is off. `seed` makes its boot ids: give another
    /// one each time the program starts, or the gateway sees the same start twice.
    pub fn new(asset_tag: DeviceText, storage: Arc<dyn Storage>, network: Arc<Network>, seed: u64) -> Self {
        Self {
            asset_tag,
            storage,
            network,
            seed,
            starts: 0,
            counter: 0,
            state: State::Off,
            software: None,
            failed_health_checks: Vec::new(),
            last_contact: None,
            passed: Duration::ZERO,
            update: None,
            people: people::People::default(),
            quirks: Box::default(),
            line: None,
            followed: None,
        }
    }

    /// Another piece of hardware with the same asset tag and a copy of its disk, as somebody makes who copies one, switched on.
    pub async fn copied(&self, seed: u64) -> Result<Self, DeviceError> {
        let disk = Arc::new(MemoryStorage::default());
        let (record, users) = self.disk(|disk, tag| Ok((disk.load(tag)?, disk.load_users(tag)?))).await?;
        if let Some(record) = record {
            disk.save(&self.asset_tag, &record)?;
        }
        if let Some(users) = users {
            disk.save_users(&self.asset_tag, &users)?;
        }
        let mut copy = self.twin(disk, seed);
        copy.power_on().await?;
        Ok(copy)
    }

    /// Another piece of hardware with the same asset tag and this disk. It is off.
    #[must_use]
    pub fn twin(&self, storage: Arc<dyn Storage>, seed: u64) -> Self {
        Self::new(self.asset_tag.clone(), storage, Arc::clone(&self.network), seed)
    }

    /// What is printed on the hardware.
    pub fn asset_tag(&self) -> &DeviceText {
        &self.asset_tag
    }

    /// What it shows.
    pub fn screen(&self) -> Screen {
        match &self.state {
            State::Off => Screen::Off,
            State::Scan => Screen::Scan,
            State::Zip(_) => Screen::Zip,
            State::Confirm(_) => Screen::Confirm,
            State::Pending(_) => Screen::Pending,
            State::Halted(failure) => Screen::Halted(*failure),
            State::Active(association) => match &association.lock {
                Some(lock) => Screen::Locked(lock.reason),
                None if association.out_of_service => Screen::OutOfService,
                None => self.people.screen().unwrap_or(Screen::Active),
            },
        }
    }

    /// The id of its association, while it is active.
    pub fn association_id(&self) -> Option<&str> {
        if let State::Active(association) = &self.state { Some(&association.id) } else { None }
    }

    /// The version of the configuration in force.
    pub fn applied_configuration_version(&self) -> Option<u32> {
        if let State::Active(association) = &self.state { association.applied } else { None }
    }

    /// The configuration in force, read from the disk.
    pub async fn configuration(&self) -> Result<Option<DeviceConfiguration>, DeviceError> {
        Ok(match self.disk(|disk, tag| disk.load(tag)).await? {
            Some(Record { stage: Stage::Active(committed), .. }) => committed.configuration,
            _ => None,
        })
    }

    /// The id of this start: 16 hexadecimal digits.
    pub fn boot_id(&self) -> DeviceText {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(self.starts.to_be_bytes());
        hash.update(self.asset_tag.as_str());
        let start = u64::from_be_bytes(hash.finalize()[..8].try_into().expect("a SHA-256 has 32 bytes"));
        format!("{start:016x}").try_into().expect("hexadecimal digits are texts of devices")
    }

    /// The version of its software.
    pub fn software_version(&self) -> DeviceText {
        self.installed().version
    }

    /// Runs another version of its software from the next check-in on.
    pub fn set_software_version(&mut self, version: DeviceText) {
        self.software = Some(Box::new(Installed { version, sha256: None }));
    }

    /// What it runs.
    fn installed(&self) -> Installed {
        let factory = || Installed {
            version: SOFTWARE_VERSION.try_into().expect("the version is a text of devices"),
            sha256: None,
        };
        self.software.as_deref().cloned().unwrap_or_else(factory)
    }

    /// What is wrong with it, or around it.
    pub fn quirks(&mut self) -> &mut Quirks {
        &mut self.quirks
    }

    /// The health checks that fail from now on; all pass when there are none. The gateway takes at most
    /// [`MAX_FAILED_HEALTH_CHECKS`](fleetform_domain::wire::MAX_FAILED_HEALTH_CHECKS).
    pub fn set_failed_health_checks(&mut self, checks: Vec<DeviceText>) {
        self.failed_health_checks = checks;
    }

    /// Starts the device: a new boot id, and what the disk says.
    pub async fn power_on(&mut self) -> Result<Screen, DeviceError> {
        self.power_off();
        let record = self.disk(|disk, tag| disk.load(tag)).await?;
        self.start(record)?;
        Ok(self.screen())
    }

    /// Starts anew without losing sight of its gateway.
    async fn restart(&mut self) -> Result<(), DeviceError> {
        let contact = self.last_contact;
        self.power_on().await?;
        self.last_contact = contact;
        Ok(())
    }

    /// Cuts the power: what is not on the disk is gone.
    pub fn power_off(&mut self) {
        self.line = None;
        self.update = None;
        self.followed = None;
        self.people.stop();
        self.state = State::Off;
    }

    /// Forgets key, certificate, configuration and people, on the disk too: the device is as it left the factory.
    pub async fn wipe(&mut self) -> Result<(), DeviceError> {
        self.line = None;
        self.update = None;
        self.people = people::People::default();
        self.state = State::Scan;
        self.disk(|disk, tag| disk.remove(tag)).await.map_err(DeviceError::from)
    }

    /// Starts the device with a record that was read already.
    pub(crate) fn start(&mut self, record: Option<Record>) -> Result<(), DeviceError> {
        self.power_off();
        self.starts += 1;
        self.counter = 0;
        self.state = match record {
            None => State::Scan,
            Some(Record { private_key, stage: Stage::Pending(pending) }) => {
                State::Pending(Box::new((pending, private_key)))
            }
            Some(Record { private_key, stage: Stage::Active(committed) }) => {
                self.software = committed.software.clone().map(Box::new).or_else(|| self.software.take());
                self.people.start(&committed.people);
                self.remember_contact(&committed.people);
                self.associated(private_key, *committed)?
            }
        };
        Ok(())
    }

    fn associated(&self, private_key: Der, committed: Committed) -> Result<State, DeviceError> {
        let certificates = |list: Vec<Der>| list.into_iter().map(|der| CertificateDer::from(der.0)).collect();
        Ok(State::Active(Box::new(Association {
            gateway: committed.gateway.into(),
            id: committed.association_id.into(),
            key: private_key.0.into(),
            certificates: certificates(committed.certificates),
            trust: self.network.trust(certificates(committed.authorities))?,
            wanted: committed.wanted,
            applied: committed.configuration.as_ref().map(|configuration| configuration.version),
            maximum_offline: committed.configuration.as_ref().map(operate::maximum_offline),
            lock: committed.lock.map(Box::new),
            completed: committed.completed,
            out_of_service: false,
            sensors: committed
                .configuration
                .as_ref()
                .is_some_and(operate::is_of_gateway)
                .then(|| Box::new(sensors::Sensors::restored(committed.sensors.unwrap_or_default(), Instant::now()))),
            wifi: committed.configuration.and_then(|configuration| configuration.wifi).map(Box::new),
            refused: committed.refused,
            users_revision: committed.people.users_revision.map(Box::new),
            on_trial: committed.trial.is_some(),
            went_back: false,
        })))
    }

    fn out_of_turn(&self, what: &'static str) -> DeviceError {
        DeviceError::OutOfTurn { what, screen: self.screen() }
    }

    /// Asks on the line that is open, if there is one. `None` when there is none, or it closed meanwhile, as an idle one
    /// may at any time: then it is to be asked again on a new one.
    async fn ask_on_open_line(&mut self, question: &Question) -> Result<Option<Answer>, TransportError> {
        let Some(mut line) = self.line.take().filter(|line| line.is_open()) else { return Ok(None) };
        match line.ask(question).await {
            Ok(answer) => {
                self.line = Some(line);
                Ok(Some(answer))
            }
            Err(TransportError::Lost(_)) if question.is_repeatable() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Uses the disk, off the threads that serve the network.
    async fn disk<T: Send + 'static>(
        &self,
        action: impl FnOnce(&dyn Storage, &DeviceText) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (storage, asset_tag) = (self.storage.clone(), self.asset_tag.clone());
        tokio::task::spawn_blocking(move || action(&*storage, &asset_tag)).await.expect("disks do not panic")
    }

    async fn save(&self, record: Record) -> Result<(), StorageError> {
        if self.quirks.disk_full {
            return Err(self.full_disk());
        }
        self.disk(move |disk, tag| disk.save(tag, &record)).await
    }

    fn full_disk(&self) -> StorageError {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        StorageError::Io { asset_tag: self.asset_tag.to_string(), source }
    }
}
