//! A gateway with sensors that a test plays by hand: it checks in by itself, pairs the sensors that lie in the room, and sends what they
//! are told to have measured.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_domain::id::ResourceId;
use fleetform_domain::wire::{
    CHECK_IN_PATH, CheckInRequest, CheckInResponse, DeviceText, MEASUREMENTS_PATH, Measurement, MeasurementsRequest,
    MeasurementsResponse, SensorReport, SensorsReport, WantedSensor,
};
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::installer::Installer;
use fleetform_simulator::storage::{Committed, MemoryStorage, Stage as Kept, Storage};
use fleetform_simulator::transport::{Address, Clock, Network, Question, Timeouts};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::devices::{code_picture, device_with};
use super::project::{LIMIT, Project, ZIP};

/// Time between two check-ins: well within what the gateway gives devices here, and within its rate limit.
const BETWEEN: Duration = Duration::from_millis(900);

static BOOTS: AtomicU32 = AtomicU32::new(1);

/// A gateway that is activated and checks in until it is dropped.
pub(crate) struct Gateway {
    state: Arc<Mutex<State>>,
    checking_in: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.checking_in.abort();
    }
}

struct State {
    line: Line,
    boot: DeviceText,
    counter: u64,
    applied: Option<u32>,
    is_off: bool,
    /// By how much its clock is ahead.
    ahead: SignedDuration,
    /// What is printed on the sensors that it can find.
    in_the_room: BTreeSet<String>,
    revision: Option<DeviceText>,
    paired: BTreeMap<ResourceId, Paired>,
}

/// A sensor that it is paired with.
struct Paired {
    wanted: WantedSensor,
    connected: bool,
    failed_health_checks: Vec<DeviceText>,
    measured: u64,
}

/// How it speaks.
struct Line {
    network: Arc<Network>,
    address: Address,
    kept: Box<Committed>,
    key: Vec<u8>,
}

impl Line {
    async fn ask<T: DeserializeOwned>(&self, path: &str, message: &impl Serialize) -> Result<T> {
        let certificates = |ders: &[fleetform_simulator::storage::Der]| {
            ders.iter().map(|der| CertificateDer::from(der.0.clone())).collect::<Vec<_>>()
        };
        let trust = self.network.trust(certificates(&self.kept.authorities))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let certificates = certificates(&self.kept.certificates);
        let mut line = self.network.connect_as(&self.address, &trust, certificates, key, Clock::default()).await?;
        Ok(line.ask(&Question::post_json(path, message)).await?.json()??)
    }
}

impl State {
    fn clock(&self) -> Timestamp {
        Timestamp::now() + self.ahead
    }

    fn report(&mut self) -> CheckInRequest {
        self.counter += 1;
        let sensors = self.paired.iter().map(|(id, paired)| SensorReport {
            device_instance_id: id.clone(),
            asset_tag_id: paired.wanted.asset_tag_id.clone(),
            epoch: paired.wanted.epoch,
            connected: paired.connected,
            software_version: DeviceText::try_from("2.0.1").ok(),
            failed_health_checks: paired.failed_health_checks.clone(),
        });
        let sensors = SensorsReport { time: self.clock(), revision: self.revision.clone(), sensors: sensors.collect() };
        CheckInRequest {
            applied_configuration_version: self.applied,
            sensors: Some(sensors),
            ..CheckInRequest::new(self.boot.clone(), self.counter, "1.0.0".try_into().expect("a version"))
        }
    }

    /// Pairs what it is to be paired with and finds, and lets go of all else.
    fn hear(&mut self, answer: CheckInResponse) {
        self.applied = Some(answer.desired_configuration_version);
        let Some(wanted) = answer.sensors else { return };
        self.revision = wanted.revision;
        let (room, mut before) = (self.in_the_room.clone(), std::mem::take(&mut self.paired));
        for sensor in wanted.sensors {
            let id = sensor.device_instance_id.clone();
            let known = before.remove(&id).filter(|known| {
                (&known.wanted.asset_tag_id, known.wanted.epoch) == (&sensor.asset_tag_id, sensor.epoch)
            });
            let paired = match known {
                Some(known) => Paired { wanted: sensor, ..known },
                None if room.contains(sensor.asset_tag_id.as_str()) => {
                    Paired { wanted: sensor, connected: true, failed_health_checks: Vec::new(), measured: 0 }
                }
                None => continue,
            };
            self.paired.insert(id, paired);
        }
    }

    async fn check_in(&mut self) -> Result<()> {
        let report = self.report();
        let answer = self.line.ask(CHECK_IN_PATH, &report).await?;
        self.hear(answer);
        Ok(())
    }
}

impl Gateway {
    /// Activates the gateway of this name, in a room with sensors that have these asset tags.
    pub(crate) async fn activate(project: &Project, installer: &Installer, name: &str, room: &[&str]) -> Result<Self> {
        let disk = Arc::new(MemoryStorage::default());
        let mut device = device_with(disk.clone()).await?;
        device.scan(&code_picture(project, installer, name).await?)?;
        device.activate(ZIP).await?;
        let record = disk.load(device.asset_tag())?.context("the gateway keeps its key")?;
        let Kept::Active(kept) = record.stage else { bail!("the gateway is not active") };
        let line = Line {
            network: Network::new(Timeouts::default()),
            address: kept.gateway.parse()?,
            kept,
            key: record.private_key.0,
        };
        let boot = format!("played-{}-{}", std::process::id(), BOOTS.fetch_add(1, Ordering::Relaxed));
        let state = Arc::new(Mutex::new(State {
            line,
            boot: boot.try_into()?,
            counter: 0,
            applied: Some(1),
            is_off: false,
            ahead: SignedDuration::ZERO,
            in_the_room: room.iter().map(|tag| (*tag).to_owned()).collect(),
            revision: None,
            paired: BTreeMap::new(),
        }));
        let shared = Arc::clone(&state);
        let checking_in = tokio::spawn(async move {
            loop {
                let mut state = shared.lock().await;
                if !state.is_off {
                    // One that fails is made up for by the next.
                    let _ = state.check_in().await;
                }
                drop(state);
                sleep(BETWEEN).await;
            }
        });
        Ok(Self { state, checking_in })
    }

    /// Its power goes, or comes back.
    pub(crate) async fn switch(&self, on: bool) {
        self.state.lock().await.is_off = !on;
    }

    /// Its clock is ahead by so much from now on.
    pub(crate) async fn is_ahead(&self, ahead: SignedDuration) {
        self.state.lock().await.ahead = ahead;
    }

    /// Where it says that a sensor is mounted.
    pub(crate) async fn place(&self, sensor: &DeviceInstance) -> Option<DeviceText> {
        self.state.lock().await.paired.get(&id_of(sensor)).map(|paired| paired.wanted.place.clone())
    }

    /// Changes what it says of a sensor.
    pub(crate) async fn says(&self, sensor: &DeviceInstance, connected: bool, failed: &[&str]) -> Result<()> {
        let mut state = self.state.lock().await;
        let paired = state.paired.get_mut(&id_of(sensor)).context("the gateway is not paired with it")?;
        paired.connected = connected;
        paired.failed_health_checks = failed.iter().map(|name| (*name).try_into()).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// What is printed on a sensor that was just brought into the room.
    pub(crate) async fn finds(&self, asset_tag: &str) {
        let mut state = self.state.lock().await;
        state.in_the_room.insert(asset_tag.to_owned());
        // It looks at its list again.
        state.revision = None;
    }

    /// Ids of the sensors that it is paired with.
    pub(crate) async fn paired(&self) -> Vec<ResourceId> {
        self.state.lock().await.paired.keys().cloned().collect()
    }

    /// The next measurements of a sensor that it is paired with, as if they were taken just now.
    pub(crate) async fn measure(&self, sensor: &DeviceInstance, velocities: &[f64]) -> Result<Vec<Measurement>> {
        let mut state = self.state.lock().await;
        let (id, clock) = (id_of(sensor), state.clock());
        let paired = state.paired.get_mut(&id).context("the gateway is not paired with it")?;
        let next = |velocity: &f64| {
            paired.measured += 1;
            Measurement {
                device_instance_id: id.clone(),
                sequence: paired.measured,
                place: paired.wanted.place.clone(),
                time: clock,
                velocity_rms_mm_per_s: *velocity,
                temperature_celsius: 41.5,
            }
        };
        Ok(velocities.iter().map(next).collect())
    }

    /// Sends measurements, and again when it is asked to wait.
    pub(crate) async fn send(&self, measurements: Vec<Measurement>) -> Result<MeasurementsResponse> {
        let request = MeasurementsRequest { measurements };
        wait::until("measurements to be taken or refused", LIMIT, async || {
            let answer = self.state.lock().await.line.ask(MEASUREMENTS_PATH, &request).await;
            Ok(match answer {
                Ok(answer) => Look::Done(answer),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
        .await
    }

    /// Measures and sends; all of it must be taken.
    pub(crate) async fn measures(&self, sensor: &DeviceInstance, velocities: &[f64]) -> Result<()> {
        let answer = self.send(self.measure(sensor, velocities).await?).await?;
        let all = usize::try_from(answer.taken) == Ok(velocities.len()) && answer.refused.is_empty();
        ensure!(all, "of {velocities:?}: {answer:?}");
        Ok(())
    }
}

/// The id of a device instance.
pub(crate) fn id_of(device: &DeviceInstance) -> ResourceId {
    ResourceId::of(&device.uid().unwrap_or_default())
}
