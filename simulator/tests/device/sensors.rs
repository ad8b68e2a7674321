//! What a gateway does for its sensors while its own gateway wants others, does not answer, or ends their association.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetform_domain::id::ResourceId;
use fleetform_domain::operation::{CommandKind, LockReason};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    CheckInRequest, CheckInResponse, Command, DeviceConfiguration, DeviceLock, MeasurementRefusal, MeasurementsRequest,
    MeasurementsResponse, RefusedMeasurement, WantedSensor, WantedSensors,
};
use fleetform_simulator::device::{BUFFER_CHECK, Delivered, Device, DeviceError, MAX_BUFFERED, Screen};
use fleetform_simulator::machine::{Floor, SensorCast, SensorFault, Trouble, What};
use fleetform_simulator::storage::{DirectoryStorage, MemoryStorage, Storage};

use super::support::disk::FailingStorage;
use super::support::{self, Authority, Reply, Server, gateway, good, refuse};

/// How often sensors measure here: long enough that none does while a test runs, unless the test lets time pass.
const INTERVAL: Duration = Duration::from_mins(10);

/// A gateway that wants sensors, and takes measurements unless it is told to do something else first.
#[derive(Default)]
struct Gateway {
    wanted: Mutex<WantedSensors>,
    reports: Mutex<Vec<CheckInRequest>>,
    /// What it has heard, request by request.
    heard: Mutex<Vec<MeasurementsRequest>>,
    /// What it says to the next measurements.
    replies: Mutex<VecDeque<Reply>>,
    /// What else it says in its answers to check-ins.
    out_of_service: Mutex<bool>,
    command: Mutex<Option<Command>>,
    is_over: Mutex<bool>,
}

fn sensor(number: u32, epoch: i64) -> WantedSensor {
    WantedSensor {
        device_instance_id: ResourceId::of(&number.to_string()),
        asset_tag_id: format!("S-{number}").try_into().unwrap(),
        epoch,
        place: "drive-end".try_into().unwrap(),
        measurement_interval_seconds: 600,
    }
}

impl Gateway {
    fn want(&self, revision: &str, sensors: Vec<WantedSensor>) {
        *self.wanted.lock().unwrap() = WantedSensors { revision: Some(revision.try_into().unwrap()), sensors };
    }

    fn check_in(&self, report: CheckInRequest) -> Reply {
        let wanted = self.wanted.lock().unwrap().clone();
        let goes_by = report.sensors.as_ref().and_then(|sensors| sensors.revision.clone());
        let sensors = (goes_by != wanted.revision).then_some(wanted);
        self.reports.lock().unwrap().push(report);
        if *self.is_over.lock().unwrap() {
            return refuse(ProblemCode::AssociationEnded);
        }
        good(&CheckInResponse {
            commands: self.command.lock().unwrap().iter().cloned().collect(),
            out_of_service: *self.out_of_service.lock().unwrap(),
            sensors,
            ..gateway::content(1)
        })
    }

    fn measurements(&self, request: MeasurementsRequest) -> Reply {
        let taken = u32::try_from(request.measurements.len()).unwrap();
        self.heard.lock().unwrap().push(request);
        let reply = self.replies.lock().unwrap().pop_front();
        reply.unwrap_or_else(|| good(&MeasurementsResponse { taken, refused: Vec::new() }))
    }

    fn next_reply(&self, reply: Reply) {
        self.replies.lock().unwrap().push_back(reply);
    }

    /// The asset tags and epochs of the last report, and which sensors are connected.
    fn told(&self) -> Vec<(String, i64, bool)> {
        let reports = self.reports.lock().unwrap();
        let sensors = reports.last().unwrap().sensors.clone().unwrap();
        sensors.sensors.into_iter().map(|one| (one.asset_tag_id.into(), one.epoch, one.connected)).collect()
    }

    /// The numbers that each sensor's measurements had, in the order in which they came, request by request.
    fn sequences(&self, number: u32) -> Vec<Vec<u64>> {
        let id = ResourceId::of(&number.to_string());
        let heard = self.heard.lock().unwrap();
        let of_it = |request: &MeasurementsRequest| {
            let own = request.measurements.iter().filter(|one| one.device_instance_id == id);
            own.map(|one| one.sequence).collect()
        };
        heard.iter().map(of_it).collect()
    }

    fn failing(&self) -> Vec<String> {
        let reports = self.reports.lock().unwrap();
        reports.last().unwrap().failed_health_checks.iter().map(ToString::to_string).collect()
    }
}

/// An active gateway with this disk.
async fn active(gateway: &Arc<Gateway>, storage: &Arc<impl Storage + 'static>) -> (Device, Server) {
    let authority = Arc::new(Authority::new());
    let asked = gateway.clone();
    let server = gateway::open(&authority, move |seen| match seen.path.as_str() {
        // Time passes in these tests.
        "/v1/configuration/1" => {
            Some(good(&DeviceConfiguration { maximum_offline_minutes: 100_000, ..gateway::configuration(1) }))
        }
        "/v1/check-in" => Some(asked.check_in(serde_json::from_slice(&seen.body).unwrap())),
        "/v1/measurements" => Some(asked.measurements(serde_json::from_slice(&seen.body).unwrap())),
        _ => None,
    })
    .await;
    let mut device = support::device(storage).await;
    device.scan_text(&server.code(&authority.pin)).unwrap();
    device.activate("98104").await.unwrap();
    (device, server)
}

fn memory() -> Arc<MemoryStorage> {
    Arc::new(MemoryStorage::default())
}

/// A gateway with so many sensors.
async fn with_sensors(count: u32) -> (Arc<Gateway>, Device, Server) {
    let gateway = Arc::new(Gateway::default());
    gateway.want("r1", (0..count).map(|number| sensor(number, 0)).collect());
    let (device, server) = active(&gateway, &memory()).await;
    (gateway, device, server)
}

/// The gateway hears its sensors so many times, and time passes after each.
async fn live(device: &mut Device, times: u32) {
    for _ in 0..times {
        device.measure().await.unwrap();
        device.pass(INTERVAL);
    }
}

fn fault(fault: SensorFault, asset_tag: &str) -> Floor {
    let sensors = SensorCast { asset_tags: vec![asset_tag.into()], ..SensorCast::default() };
    let trouble = Trouble { what: What::Sensor(fault), sensors, number: 0, since: INTERVAL, faster: 1 };
    Floor { seed: 0, troubles: vec![trouble] }
}

#[tokio::test]
async fn a_gateway_pairs_with_what_is_wanted_and_says_so_at_once() {
    let (gateway, mut device, _server) = with_sensors(2).await;
    assert_eq!(gateway.told(), [("S-0".into(), 0, true), ("S-1".into(), 0, true)]);
    let reports = gateway.reports.lock().unwrap().len();
    assert_eq!(reports, 2, "once to hear of it, once to say it");
    device.synchronise().await.unwrap();
    assert_eq!(gateway.reports.lock().unwrap().len(), 3, "what is settled is not said again");
    assert_eq!(device.measure().await.unwrap(), 2, "they measure at once");
    assert_eq!(device.measure().await.unwrap(), 0);
    let delivered = device.deliver_measurements().await.unwrap();
    assert_eq!(delivered, Delivered { sent: 2, taken: 2, refused: 0 });
    assert_eq!(device.unsent_measurements(), 0);
    assert_eq!((gateway.sequences(0), gateway.sequences(1)), (vec![vec![1]], vec![vec![1]]));
}

#[tokio::test]
async fn a_sensor_that_is_moved_away_is_forgotten_with_what_it_measured() {
    let (gateway, mut device, _server) = with_sensors(2).await;
    live(&mut device, 3).await;
    gateway.want("r2", vec![sensor(1, 0), sensor(2, 0)]);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), [("S-1".into(), 0, true), ("S-2".into(), 0, true)]);
    live(&mut device, 1).await;
    device.deliver_measurements().await.unwrap();
    assert_eq!(gateway.sequences(0), [[0; 0]]);
    assert_eq!(gateway.sequences(1), [[1, 2, 3, 4]], "one that stays goes on");
    assert_eq!(gateway.sequences(2), [[1]], "a new one measures at once");
    gateway.want("r3", Vec::new());
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), []);
    assert_eq!(device.until_measurement(), None);
}

#[tokio::test]
async fn a_sensor_of_another_epoch_is_paired_anew_and_counts_anew() {
    let (gateway, mut device, _server) = with_sensors(1).await;
    live(&mut device, 3).await;
    gateway.want("r2", vec![sensor(0, 1)]);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), [("S-0".into(), 1, true)]);
    assert_eq!(device.unsent_measurements(), 0, "what the old pairing measured is refused now");
    live(&mut device, 1).await;
    device.deliver_measurements().await.unwrap();
    assert_eq!(gateway.sequences(0), [[1]]);
}

#[tokio::test]
async fn a_change_of_the_interval_is_no_new_pairing() {
    let (gateway, mut device, _server) = with_sensors(1).await;
    live(&mut device, 2).await;
    gateway.want("r2", vec![WantedSensor { measurement_interval_seconds: 3_600, ..sensor(0, 0) }]);
    device.synchronise().await.unwrap();
    live(&mut device, 1).await;
    assert!(device.until_measurement().unwrap() > 4 * INTERVAL);
    device.deliver_measurements().await.unwrap();
    assert_eq!(gateway.sequences(0), [[1, 2, 3]]);
}

#[tokio::test]
async fn a_sensor_that_is_moved_counts_on_and_each_measurement_names_its_place() {
    let (gateway, mut device, _server) = with_sensors(1).await;
    live(&mut device, 2).await;
    gateway.want("r2", vec![WantedSensor { place: "fan-end".try_into().unwrap(), ..sensor(0, 0) }]);
    device.synchronise().await.unwrap();
    assert_eq!(device.unsent_measurements(), 2, "what was measured before waits on");
    live(&mut device, 1).await;
    device.deliver_measurements().await.unwrap();
    let heard = gateway.heard.lock().unwrap();
    let told: Vec<_> = heard[0].measurements.iter().map(|one| (one.sequence, one.place.as_str())).collect();
    assert_eq!(told, [(1, "drive-end"), (2, "drive-end"), (3, "fan-end")]);
}

#[tokio::test]
async fn a_sensor_out_of_reach_is_paired_when_it_is_heard() {
    let gateway = Arc::new(Gateway::default());
    let (mut device, _server) = active(&gateway, &memory()).await;
    device.quirks().floor = Some(Box::new(fault(SensorFault::Dead, "S-1")));
    gateway.want("r1", vec![sensor(0, 0), sensor(1, 0)]);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), [("S-0".into(), 0, true)]);
    live(&mut device, 2).await;
    device.quirks().floor = None;
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), [("S-0".into(), 0, true), ("S-1".into(), 0, true)]);
    live(&mut device, 1).await;
    device.deliver_measurements().await.unwrap();
    assert_eq!((gateway.sequences(0), gateway.sequences(1)), (vec![vec![1, 2, 3]], vec![vec![1]]));
}

#[tokio::test]
async fn a_sensor_that_dies_is_not_connected_and_goes_on_counting_when_it_is_back() {
    let (gateway, mut device, _server) = with_sensors(2).await;
    live(&mut device, 2).await;
    device.quirks().floor = Some(Box::new(fault(SensorFault::Dead, "S-1")));
    live(&mut device, 2).await;
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), [("S-0".into(), 0, true), ("S-1".into(), 0, false)]);
    device.quirks().floor = None;
    live(&mut device, 1).await;
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), [("S-0".into(), 0, true), ("S-1".into(), 0, true)]);
    device.deliver_measurements().await.unwrap();
    assert_eq!(gateway.sequences(1), [[1, 2, 3]]);
}

#[tokio::test]
async fn what_is_not_answered_is_sent_again_as_it_was_and_nothing_is_skipped() {
    let (gateway, mut device, _server) = with_sensors(1).await;
    live(&mut device, 2).await;
    let lost: [fn() -> Reply; 4] = [
        || Reply::HangUp,
        || Reply::Silence,
        || refuse(ProblemCode::Unavailable),
        || Reply::Good("text/html", "<h1>welcome</h1>".into()),
    ];
    for reply in lost {
        gateway.next_reply(reply());
        device.deliver_measurements().await.unwrap_err();
    }
    live(&mut device, 1).await;
    assert_eq!(device.deliver_measurements().await.unwrap().sent, 3);
    assert_eq!(gateway.sequences(0), [&[1, 2][..], &[1, 2], &[1, 2], &[1, 2], &[1, 2, 3]]);
    let heard = gateway.heard.lock().unwrap();
    assert_eq!(heard[0].measurements, heard[4].measurements[..2], "with the same times and values");
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    let (gateway, mut device, _server) = with_sensors(2).await;
    live(&mut device, 1).await;
    let refused = RefusedMeasurement { index: 1, reason: MeasurementRefusal::NotPaired };
    gateway.next_reply(good(&MeasurementsResponse { taken: 1, refused: vec![refused] }));
    let delivered = device.deliver_measurements().await.unwrap();
    assert_eq!(delivered, Delivered { sent: 2, taken: 1, refused: 1 });
    assert_eq!(device.deliver_measurements().await.unwrap(), Delivered::default());
}

#[tokio::test]
async fn much_goes_in_several_requests_on_one_line() {
    let (gateway, mut device, server) = with_sensors(100).await;
    live(&mut device, 7).await;
    let before = server.connections();
    assert_eq!(device.deliver_measurements().await.unwrap().sent, 700);
    live(&mut device, 1).await;
    assert_eq!(device.deliver_measurements().await.unwrap().sent, 100);
    let sizes: Vec<_> = gateway.heard.lock().unwrap().iter().map(|request| request.measurements.len()).collect();
    assert_eq!(sizes, [300, 300, 100, 100]);
    assert_eq!(server.connections() - before, 1, "the line is kept as long as sensors measure often");
}

#[tokio::test]
async fn a_buffer_that_overflows_drops_the_oldest_and_is_a_failed_health_check_until_it_is_empty() {
    let (gateway, mut device, _server) = with_sensors(100).await;
    device.quirks().no_network = true;
    let rounds = u32::try_from(MAX_BUFFERED / 100).unwrap();
    live(&mut device, rounds + 2).await;
    assert_eq!(device.unsent_measurements(), MAX_BUFFERED);
    device.deliver_measurements().await.unwrap_err();
    device.quirks().no_network = false;
    device.synchronise().await.unwrap();
    assert_eq!(gateway.failing(), [BUFFER_CHECK]);
    device.deliver_measurements().await.unwrap();
    device.synchronise().await.unwrap();
    assert_eq!(gateway.failing(), [""; 0]);
    let all: Vec<u64> = gateway.sequences(0).concat();
    assert_eq!(all, (3..=u64::from(rounds) + 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn numbers_go_on_after_a_restart_and_none_stands_for_two_measurements() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(DirectoryStorage::open(directory.path()).unwrap());
    let gateway = Arc::new(Gateway::default());
    gateway.want("r1", vec![sensor(0, 0), sensor(1, 0)]);
    let (mut device, _server) = active(&gateway, &storage).await;
    live(&mut device, 2).await;
    device.deliver_measurements().await.unwrap();
    live(&mut device, 1).await;
    // What was not sent is gone with the power.
    device.power_on().await.unwrap();
    assert_eq!(device.unsent_measurements(), 0);
    live(&mut device, 2).await;
    device.deliver_measurements().await.unwrap();
    assert_eq!(gateway.sequences(0), [&[1, 2][..], &[4, 5]]);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), [("S-0".into(), 0, true), ("S-1".into(), 0, true)], "it was not told again");
}

#[tokio::test]
async fn what_cannot_be_saved_is_not_measured_and_what_cannot_be_kept_is_not_paired() {
    let gateway = Arc::new(Gateway::default());
    gateway.want("r1", vec![sensor(0, 0)]);
    let storage = FailingStorage::new(memory());
    let (mut device, _server) = active(&gateway, &storage).await;
    live(&mut device, 2).await;
    storage.set_failing(true);
    assert!(matches!(device.measure().await, Err(DeviceError::Storage(_))));
    device.pass(INTERVAL);
    gateway.want("r2", vec![sensor(0, 0), sensor(1, 0)]);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), [("S-0".into(), 0, true)]);
    storage.set_failing(false);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.told(), [("S-0".into(), 0, true), ("S-1".into(), 0, true)]);
    live(&mut device, 1).await;
    device.deliver_measurements().await.unwrap();
    assert_eq!(gateway.sequences(0), [[1, 2, 3]]);
}

#[tokio::test]
async fn the_end_of_the_association_takes_sensors_and_measurements_along() {
    let gateway = Arc::new(Gateway::default());
    gateway.want("r1", vec![sensor(0, 0)]);
    let storage = memory();
    let (mut device, _server) = active(&gateway, &storage).await;
    live(&mut device, 2).await;
    gateway.next_reply(refuse(ProblemCode::AssociationEnded));
    assert!(matches!(device.deliver_measurements().await, Err(DeviceError::AssociationEnded)));
    assert_eq!((device.screen(), device.unsent_measurements()), (Screen::Scan, 0));
    assert_eq!((device.sensors_report(), device.until_measurement()), (None, None));
    assert!(storage.list().unwrap().is_empty());
    assert_eq!(device.measure().await.unwrap(), 0);
    assert_eq!(device.deliver_measurements().await.unwrap(), Delivered::default());
}

#[tokio::test]
async fn a_gateway_that_is_locked_or_out_of_service_hears_and_sends_nothing() {
    let (gateway, mut device, _server) = with_sensors(1).await;
    live(&mut device, 2).await;
    device.tamper().await.unwrap();
    assert_eq!(device.until_measurement(), None);
    live(&mut device, 5).await;
    gateway.want("r2", vec![sensor(1, 0)]);
    device.synchronise().await.unwrap();
    assert_eq!(device.deliver_measurements().await.unwrap(), Delivered::default());
    assert_eq!(gateway.told(), [("S-0".into(), 0, true)], "it obeys nothing but what takes its lock off");
    let DeviceLock { id, reason } = device.lock().unwrap().clone();
    assert_eq!(reason, LockReason::Tamper);
    *gateway.command.lock().unwrap() = Some(Command { kind: CommandKind::Unlock, id });
    gateway.want("r1", vec![sensor(0, 0)]);
    device.synchronise().await.unwrap();
    assert_eq!(device.measure().await.unwrap(), 1, "what was measured meanwhile nobody heard");

    *gateway.out_of_service.lock().unwrap() = true;
    device.synchronise().await.unwrap();
    live(&mut device, 5).await;
    assert_eq!(device.deliver_measurements().await.unwrap(), Delivered::default());
    *gateway.out_of_service.lock().unwrap() = false;
    device.synchronise().await.unwrap();
    device.deliver_measurements().await.unwrap();
    assert_eq!(gateway.sequences(0), [[1, 2, 3]]);
}

#[tokio::test]
async fn sensors_that_repeat_themselves_or_come_out_of_order_send_what_others_do() {
    let (gateway, mut device, _server) = with_sensors(3).await;
    let mut floor = fault(SensorFault::Repeats, "S-1");
    floor.troubles.extend(fault(SensorFault::OutOfOrder, "S-2").troubles);
    device.quirks().floor = Some(Box::new(floor));
    for _ in 0..4 {
        live(&mut device, 1).await;
        device.deliver_measurements().await.unwrap();
    }
    assert_eq!(gateway.sequences(0), [[1], [2], [3], [4]]);
    assert_eq!(gateway.sequences(1), [&[1][..], &[1, 2], &[2, 3], &[3, 4]]);
    assert_eq!(gateway.sequences(2), [&[][..], &[2], &[3, 1], &[]]);
    // What is said twice is the same.
    let mut said = BTreeMap::new();
    for one in gateway.heard.lock().unwrap().iter().flat_map(|request| &request.measurements) {
        let key = (one.device_instance_id.to_string(), one.sequence);
        assert_eq!(*said.entry(key).or_insert(one), one);
    }
}

#[tokio::test]
async fn a_reader_says_nothing_of_sensors() {
    let reader = support::device(&memory()).await;
    assert_eq!((reader.sensors_report(), reader.until_measurement()), (None, None));
}
