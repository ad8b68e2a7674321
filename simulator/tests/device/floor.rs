//! A fleet of gateways that carry thousands of sensors, at a portal and a gateway that say what they should.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetform_domain::activation::Phase;
use fleetform_domain::configuration::DeviceType;
use fleetform_domain::id::ResourceId;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    CheckInRequest, CheckInResponse, DEVICE_LIST_PATH, DeviceList, DeviceName, DeviceSummary, MeasurementsRequest,
    MeasurementsResponse, WantedSensor, WantedSensors,
};
use fleetform_simulator::fleet::{Fleet, FleetOptions, asset_tag};
use fleetform_simulator::installer::{BearerToken, Installer, PortalAuthorities};
use fleetform_simulator::storage::{Committed, Der, MemoryStorage, Record, Stage, Storage};
use fleetform_simulator::telemetry::Telemetry;
use fleetform_simulator::transport::{Network, Timeouts};
use rcgen::{CertificateParams, KeyPair};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::support::{Authority, Reply, Seen, gateway, good, refuse, serve};

/// How many measurements of each sensor are waited for.
const ENOUGH: u64 = 4;

/// Gateways with as many sensors each, whose sensors measure every second.
struct Works {
    gateways: usize,
    sensors: usize,
    /// The numbers that came of each sensor.
    heard: Mutex<HashMap<ResourceId, Vec<u64>>>,
    check_ins: Mutex<usize>,
}

fn sensor_id(gateway: &str, number: usize) -> ResourceId {
    ResourceId::of(&format!("{gateway}-{number}"))
}

impl Works {
    fn names(&self) -> impl Iterator<Item = String> {
        (0..self.gateways).map(|number| format!("hall-{number}"))
    }

    fn answer(&self, seen: &Seen) -> Reply {
        if seen.path.starts_with(DEVICE_LIST_PATH) {
            return self.list();
        }
        match seen.path.as_str() {
            "/v1/check-in" => self.check_in(&serde_json::from_slice(&seen.body).unwrap()),
            "/v1/measurements" => self.take(serde_json::from_slice(&seen.body).unwrap()),
            _ => refuse(ProblemCode::NotFound),
        }
    }

    fn list(&self) -> Reply {
        let gateway = |name: String| DeviceSummary {
            id: DeviceName { project: "works".into(), name: name.clone() },
            uid: name,
            display_name: "Gateway".into(),
            site: "works".into(),
            device_type: DeviceType::Gateway,
            phase: Phase::Active,
            activation_sequence: 1,
            simulated: true,
        };
        let items = self.names().map(gateway).collect();
        good(&DeviceList { version: "1".into(), complete: true, items, removed: Vec::new() })
    }

    /// Every gateway gets sensors of its own: the software version says which one it is.
    fn check_in(&self, report: &CheckInRequest) -> Reply {
        *self.check_ins.lock().unwrap() += 1;
        let name = report.software_version.as_str();
        let wanted = |number| WantedSensor {
            device_instance_id: sensor_id(name, number),
            asset_tag_id: format!("{name}-{number}").try_into().unwrap(),
            epoch: 0,
            place: "drive-end".try_into().unwrap(),
            measurement_interval_seconds: 1,
        };
        let revision = Some("r1".try_into().unwrap());
        let is_told = report.sensors.as_ref().is_some_and(|sensors| sensors.revision == revision);
        let sensors = WantedSensors { revision, sensors: (0..self.sensors).map(wanted).collect() };
        let sensors = (!is_told).then_some(sensors);
        good(&CheckInResponse { next_check_in_seconds: 3_600, sensors, ..gateway::content(1) })
    }

    fn take(&self, request: MeasurementsRequest) -> Reply {
        let taken = u32::try_from(request.measurements.len()).unwrap();
        let mut heard = self.heard.lock().unwrap();
        for one in request.measurements {
            heard.entry(one.device_instance_id).or_default().push(one.sequence);
        }
        good(&MeasurementsResponse { taken, refused: Vec::new() })
    }

    fn is_heard_enough(&self) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.len() == self.gateways * self.sensors && heard.values().all(|numbers| numbers.len() as u64 >= ENOUGH)
    }
}

/// The disk of a gateway that was activated before.
fn record(authority: &Authority, gateway: &str, name: &str) -> Record {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().signed_by(&key, &authority.issuer).unwrap();
    let committed = serde_json::json!({
        "gateway": gateway,
        "associationId": name,
        "certificates": [String::from(Der(certificate.der().to_vec()))],
        "authorities": [String::from(Der(authority.certificate.to_vec()))],
        "wanted": 1,
        "configuration": { "version": 1, "arn": "", "deviceInstanceName": name, "maximumOfflineMinutes": 60 },
        "software": { "version": name },
    });
    let committed: Committed = serde_json::from_value(committed).unwrap();
    Record { private_key: Der(key.serialize_der()), stage: Stage::Active(Box::new(committed)) }
}

async fn run(gateways: usize, sensors: usize) {
    let authority = Authority::new();
    let (leaf, key) = authority.server("127.0.0.1");
    let works = Arc::new(Works { gateways, sensors, heard: Mutex::default(), check_ins: Mutex::default() });
    let asked = works.clone();
    let server =
        serve(&authority, vec![leaf, authority.certificate.clone()], &key, move |seen| asked.answer(seen)).await;
    let address = format!("https://{}", server.address);
    let storage = Arc::new(MemoryStorage::default());
    for name in works.names() {
        storage.save(&asset_tag(&name), &record(&authority, &address, &name)).unwrap();
    }
    let network = Network::new(Timeouts::default());
    let telemetry = Telemetry::new(network.clone());
    let authorities = PortalAuthorities::Pem(authority.pem.clone().into_bytes());
    let token = BearerToken::Text("token".into());
    let installer = Arc::new(Installer::new(network.clone(), address.parse().unwrap(), authorities, token));
    let fleet = Fleet::new(installer, network.clone(), storage, telemetry, FleetOptions::default());
    let stop = CancellationToken::new();
    let played = tokio::spawn(fleet.run(stop.clone()));
    while !works.is_heard_enough() {
        assert!(!played.is_finished());
        sleep(Duration::from_millis(100)).await;
    }
    stop.cancel();
    played.await.unwrap().unwrap();
    let heard = works.heard.lock().unwrap();
    for (sensor, numbers) in heard.iter() {
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(*numbers, expected, "{sensor}: each measurement came once, in order");
    }
    // Each heard of its sensors and said so; what was measured took no check-ins.
    let check_ins = *works.check_ins.lock().unwrap();
    assert!(check_ins <= 3 * gateways, "{check_ins} check-ins of {gateways} gateways");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gateway_carries_twenty_sensors_that_measure_every_second() {
    run(1, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_gateways_carry_two_thousand_sensors_that_measure_every_second() {
    run(100, 20).await;
}
