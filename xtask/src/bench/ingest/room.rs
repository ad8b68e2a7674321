//! A site full of machines, with gateways that are paired with all sensors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fleetform_crds::{Asset, DeviceInstance, Project, project};
use fleetform_domain::activation::Phase;
use fleetform_domain::id::ResourceId;
use fleetform_domain::machines::MAX_POSITIONS;
use fleetform_domain::wire::{
    CHECK_IN_PATH, CheckInRequest, CheckInResponse, DeviceName, DeviceText, MAX_MEASUREMENTS, MEASUREMENTS_PATH,
    Measurement, MeasurementsRequest, SensorReport, SensorsReport,
};
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::Device;
use fleetform_simulator::installer::Installer;
use fleetform_simulator::storage::{Committed, Der, MemoryStorage, Stage, Storage};
use fleetform_simulator::transport::{Address, Clock, Connection, Network, Question, Timeouts, Trust};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::super::bed::Bed;
use super::super::objects::{NAMESPACE, make_surroundings, site_name};
use super::super::work::each;
use super::Settings;

/// How many objects are made, or gateways activated, at the same time.
const AT_ONCE: usize = 16;

/// How long the operator may take for all of them.
const LIMIT: Duration = Duration::from_mins(5);

/// The account that fetches activation codes.
const INSTALLER: &str = "installer";

/// Long enough that no sensor is silent while it is measured.
const INTERVAL_SECONDS: u32 = 3_600;

/// The gateways, paired with all sensors.
pub(super) struct Room {
    pub(super) gateways: Vec<Gateway>,
}

/// A gateway with its sensors.
pub(super) struct Gateway {
    network: Arc<Network>,
    trust: Arc<Trust>,
    kept: Committed,
    key: Vec<u8>,
    /// Its sensors and where they are mounted, as their measurements name it.
    sensors: Vec<(ResourceId, DeviceText)>,
    /// Of each sensor, how often it has measured.
    measured: Mutex<u64>,
}

impl Room {
    /// Declares everything, activates the gateways, and pairs them with their sensors.
    pub(super) async fn commission(bed: &Bed, settings: &Settings) -> Result<Self> {
        let admin = bed.admin();
        make_surroundings(&admin, 1).await?;
        declare(&admin, settings).await?;
        let installer = Arc::new(appoint(bed, &admin).await?);
        let activated: Arc<Mutex<BTreeMap<usize, Gateway>>> = Arc::default();
        let (all, sensors) = (Arc::clone(&activated), usize::try_from(settings.sensors_per_gateway)?);
        each(AT_ONCE, settings.gateways.get(), move |number| {
            let (all, installer) = (Arc::clone(&all), Arc::clone(&installer));
            async move {
                let gateway = Gateway::commission(&installer, number, sensors).await?;
                all.lock().await.insert(number, gateway);
                Ok(())
            }
        })
        .await?;
        until_active(&admin, settings).await?;
        let gateways = std::mem::take(&mut *activated.lock().await).into_values().collect();
        Ok(Self { gateways })
    }

    /// The next requests of each gateway, ready to be sent.
    pub(super) async fn questions(&self, count: usize) -> Vec<Vec<Question>> {
        let mut questions = Vec::with_capacity(self.gateways.len());
        for gateway in &self.gateways {
            questions.push(gateway.questions(count).await);
        }
        questions
    }
}

async fn declare(admin: &Client, settings: &Settings) -> Result<()> {
    let quotas = json!({ "spec": { "quotas": { "gatewaysPerSite": 10_000, "assetsPerSite": 10_000 } } });
    let projects: Api<Project> = Api::namespaced(admin.clone(), NAMESPACE);
    projects.patch(project::NAME, &PatchParams::default(), &Patch::Merge(quotas)).await.context("raise quotas")?;
    let assets: Api<Asset> = Api::namespaced(admin.clone(), NAMESPACE);
    each(AT_ONCE, settings.sensors().div_ceil(MAX_POSITIONS), move |number| {
        let (assets, asset) = (assets.clone(), read::<Asset>(asset(number)));
        async move { assets.create(&PostParams::default(), &asset).await.map(drop).context("make an asset") }
    })
    .await?;
    let devices: Api<DeviceInstance> = Api::namespaced(admin.clone(), NAMESPACE);
    let gateways = settings.gateways.get();
    each(AT_ONCE, gateways + settings.sensors(), move |number| {
        let device = if number < gateways { gateway(number) } else { sensor(number - gateways, gateways) };
        let (devices, device) = (devices.clone(), read::<DeviceInstance>(device));
        async move { devices.create(&PostParams::default(), &device).await.map(drop).context("make a device") }
    })
    .await
}

fn asset(number: usize) -> Value {
    let positions: Vec<Value> = (0..MAX_POSITIONS).map(|position| json!({ "name": format!("p{position}") })).collect();
    json!({ "metadata": { "name": format!("machine-{number}") }, "spec": {
        "siteRef": { "name": site_name(0) },
        "displayName": format!("Machine {number}"),
        "machineClass": "ClassII",
        "temperatureLimits": { "warningCelsius": 70, "alarmCelsius": 85 },
        "positions": positions,
    } })
}

fn gateway_name(number: usize) -> String {
    format!("gateway-{number:05}")
}

fn gateway(number: usize) -> Value {
    json!({ "metadata": { "name": gateway_name(number) }, "spec": {
        "siteRef": { "name": site_name(0) }, "displayName": format!("Gateway {number}"), "deviceType": "Gateway",
    } })
}

fn sensor(number: usize, gateways: usize) -> Value {
    json!({ "metadata": { "name": format!("sensor-{number:06}") }, "spec": {
        "siteRef": { "name": site_name(0) },
        "displayName": format!("Sensor {number}"),
        "deviceType": "Sensor",
        "configuration": { "sensor": {
            "assetRef": { "name": format!("machine-{}", number / MAX_POSITIONS) },
            "position": format!("p{}", number % MAX_POSITIONS),
            "gatewayRef": { "name": gateway_name(number % gateways) },
            "measurementIntervalSeconds": INTERVAL_SECONDS,
        } },
        "activation": { "expectedAssetTagId": format!("VT-{number:06}") },
    } })
}

fn read<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("what is declared here is of its kind")
}

async fn appoint(bed: &Bed, admin: &Client) -> Result<Installer> {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), NAMESPACE);
    let account = read(json!({ "metadata": { "name": INSTALLER } }));
    accounts.create(&PostParams::default(), &account).await.context("make an account")?;
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), NAMESPACE);
    let binding = read(json!({
        "metadata": { "name": INSTALLER },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fleetform-installer" },
        "subjects": [{ "kind": "ServiceAccount", "name": INSTALLER, "namespace": NAMESPACE }],
    }));
    bindings.create(&PostParams::default(), &binding).await.context("give it a role")?;
    bed.installation.installer(NAMESPACE, INSTALLER).await
}

async fn until_active(admin: &Client, settings: &Settings) -> Result<()> {
    let devices: Api<DeviceInstance> = Api::namespaced(admin.clone(), NAMESPACE);
    let all = settings.gateways.get() + settings.sensors();
    wait::until("every sensor to be active", LIMIT, async || {
        let devices = devices.list(&ListParams::default()).await?;
        let active = devices.iter().filter(|device| device.phase() == Phase::Active).count();
        Ok(if active == all { Look::Done(()) } else { Look::NotYet(format!("{active} of {all}")) })
    })
    .await
}

impl Gateway {
    /// Activates the gateway of this number and pairs it with its sensors.
    async fn commission(installer: &Installer, number: usize, sensors: usize) -> Result<Self> {
        let name = DeviceName { project: NAMESPACE.to_owned(), name: gateway_name(number) };
        let code = code_of(installer, &name).await?;
        let (disk, network) = (Arc::new(MemoryStorage::default()), Network::new(Timeouts::default()));
        let tag = DeviceText::try_from(format!("{number:010}"))?;
        let mut device = Device::new(tag.clone(), disk.clone(), Arc::clone(&network), u64::try_from(number)?);
        device.power_on().await?;
        device.scan_text(&code)?;
        device.activate("98104").await?;
        let record = disk.load(&tag)?.context("the gateway keeps its key")?;
        let Stage::Active(kept) = record.stage else { bail!("the gateway is not active") };
        let trust = network.trust(ders(&kept.authorities))?;
        let (key, measured) = (record.private_key.0, Mutex::new(0));
        let mut this = Self { network, trust, kept: *kept, key, sensors: Vec::new(), measured };
        this.pair(sensors).await?;
        Ok(this)
    }

    /// Checks in until it has heard of all its sensors, and says that it is paired with them.
    async fn pair(&mut self, sensors: usize) -> Result<()> {
        let mut counter = 0;
        let mut report = SensorsReport { time: Timestamp::now(), revision: None, sensors: Vec::new() };
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            counter += 1;
            let check_in = CheckInRequest {
                applied_configuration_version: Some(1),
                sensors: Some(report.clone()),
                ..CheckInRequest::new("paired".try_into()?, counter, "1.0.0".try_into()?)
            };
            let answer = self.connect().await?.ask(&Question::post_json(CHECK_IN_PATH, &check_in)).await?;
            let answer: CheckInResponse = answer.json()??;
            let Some(wanted) = answer.sensors else {
                if report.sensors.len() == sensors {
                    break;
                }
                ensure!(tokio::time::Instant::now() < end, "the gateway was told of {} sensors", report.sensors.len());
                tokio::time::sleep(Duration::from_secs(2)).await;
                continue;
            };
            self.sensors =
                wanted.sensors.iter().map(|sensor| (sensor.device_instance_id.clone(), sensor.place.clone())).collect();
            let paired = wanted.sensors.into_iter().map(|sensor| SensorReport {
                device_instance_id: sensor.device_instance_id,
                asset_tag_id: sensor.asset_tag_id,
                epoch: sensor.epoch,
                connected: true,
                software_version: None,
                failed_health_checks: Vec::new(),
            });
            report = SensorsReport { time: Timestamp::now(), revision: wanted.revision, sensors: paired.collect() };
        }
        Ok(())
    }

    /// A connection to the operator.
    pub(super) async fn connect(&self) -> Result<Connection> {
        self.connect_to(&self.kept.gateway.parse()?, &self.trust).await
    }

    /// A connection to a server of this authority.
    pub(super) async fn connect_to(&self, address: &Address, authority: &Trust) -> Result<Connection> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let certificates = ders(&self.kept.certificates);
        Ok(self.network.connect_as(address, authority, certificates, key, Clock::default()).await?)
    }

    /// The next requests, each full of measurements: its sensors in turn, and nothing that is not normal.
    async fn questions(&self, count: usize) -> Vec<Question> {
        let mut measured = self.measured.lock().await;
        let each = MAX_MEASUREMENTS.div_ceil(self.sensors.len());
        let request = |measured: u64| {
            let of = |place: usize| {
                let turn = u64::try_from(place / self.sensors.len()).unwrap_or(u64::MAX);
                let (sensor, mounted) = &self.sensors[place % self.sensors.len()];
                Measurement {
                    device_instance_id: sensor.clone(),
                    sequence: measured + turn + 1,
                    place: mounted.clone(),
                    time: Timestamp::now(),
                    velocity_rms_mm_per_s: 1.2 + f64::from(u32::try_from(place % 97).unwrap_or_default()) / 100.0,
                    temperature_celsius: 41.5 + f64::from(u32::try_from(place % 13).unwrap_or_default()) / 10.0,
                }
            };
            MeasurementsRequest { measurements: (0..MAX_MEASUREMENTS).map(of).collect() }
        };
        let mut questions = Vec::with_capacity(count);
        for _ in 0..count {
            questions.push(Question::post_json(MEASUREMENTS_PATH, &request(*measured)));
            *measured += u64::try_from(each).unwrap_or(u64::MAX);
        }
        questions
    }
}

/// The code of a gateway, as soon as there is one and the installer may have it.
async fn code_of(installer: &Installer, name: &DeviceName) -> Result<String> {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        match installer.activation_text(name).await {
            Ok(code) => return Ok(code),
            Err(error) => ensure!(tokio::time::Instant::now() < end, "{} has no code: {error}", name.name),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn ders(ders: &[Der]) -> Vec<CertificateDer<'static>> {
    ders.iter().map(|der| CertificateDer::from(der.0.clone())).collect()
}
