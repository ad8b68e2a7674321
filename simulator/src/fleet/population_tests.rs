use fleetform_domain::configuration::DeviceType;
use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::storage::{Committed, Der, MemoryStorage, PeopleRecord, Record, Stage as Disk};
use crate::transport::{Network, Timeouts};

const SECOND: Duration = Duration::from_secs(1);

struct Town {
    population: Population,
    now: Instant,
}

fn maker() -> Maker {
    Maker { storage: Arc::new(MemoryStorage::default()), network: Network::new(Timeouts::default()) }
}

/// A device that was activated.
fn active(maker: &Maker, uid: &str) -> Device {
    let key = KeyPair::generate().unwrap();
    let authority = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
    let committed = Committed {
        gateway: "https://127.0.0.1:1".into(),
        association_id: "a".into(),
        certificates: vec![Der(authority.clone())],
        authorities: vec![Der(authority)],
        wanted: 1,
        configuration: None,
        trial: None,
        refused: None,
        software: None,
        lock: None,
        completed: None,
        people: PeopleRecord::default(),
        sensors: None,
    };
    let mut device = maker.make(asset_tag(uid), 0);
    device
        .start(Some(Record { private_key: Der(key.serialize_der()), stage: Disk::Active(Box::new(committed)) }))
        .unwrap();
    device
}

fn entry(number: u32, phase: Phase, sequence: i64) -> DeviceSummary {
    DeviceSummary {
        id: DeviceName { project: "library".into(), name: format!("door-{number}") },
        uid: format!("uid-{number}"),
        display_name: "Door".into(),
        site: "central".into(),
        device_type: DeviceType::Reader,
        phase,
        activation_sequence: sequence,
        simulated: true,
    }
}

fn ready(number: u32) -> DeviceSummary {
    entry(number, Phase::ReadyForActivation, 1)
}

impl Town {
    fn new(restored: Vec<Device>, maker: Maker) -> Self {
        let options = FleetOptions { seed: 7, max_concurrent_activations: 2, ..FleetOptions::default() };
        Self { population: Population::new(options, maker, restored), now: Instant::now() }
    }

    fn list(&mut self, complete: bool, items: Vec<DeviceSummary>) {
        let list = DeviceList { version: "1".into(), complete, items, removed: Vec::new() };
        self.population.admit(list, self.now);
    }

    fn order(&mut self) -> Option<Order> {
        self.population.next_order(self.now)
    }

    fn finish(&mut self, order: Order, device: Box<Device>, outcome: Outcome) {
        let Order { name, entry, work, .. } = order;
        self.population.finish(Done { name, device, outcome, work, cue: None, measures: None, entry }, self.now);
    }

    /// The order is carried out, and the device is active.
    fn activated(&mut self, order: Order) {
        let device = active(&self.population.maker.clone(), &format!("uid-{}", &order.name.name[5..]));
        self.finish(order, Box::new(device), Outcome::CheckedIn { next_seconds: 60 });
    }

    /// The order is carried out, and the device is blank.
    fn blank(&mut self, order: Order, outcome: Outcome) {
        let mut device = Box::new(self.population.maker.make(order.device.asset_tag().clone(), 0));
        device.start(None).unwrap();
        self.finish(order, device, outcome);
    }

    fn devices(&self, stage: Stage) -> usize {
        self.population.status().devices(stage)
    }
}

#[test]
fn ready_instances_are_activated_and_others_are_not() {
    let mut town = Town::new(Vec::new(), maker());
    let sensor = DeviceSummary { device_type: DeviceType::Sensor, ..ready(3) };
    let real = DeviceSummary { simulated: false, ..ready(4) };
    town.list(true, vec![ready(1), entry(2, Phase::NeedsConfiguration, 0), sensor, real, entry(5, Phase::Active, 1)]);
    assert_eq!([Stage::Activating, Stage::Waiting, Stage::Elsewhere].map(|s| town.devices(s)), [1, 1, 1]);
    let order = town.order().unwrap();
    assert_eq!((order.name.name.as_str(), order.work), ("door-1", Work::Activation));
    assert!(town.order().is_none());
    town.activated(order);
    assert_eq!(town.devices(Stage::Active), 1);
    assert!(town.order().is_none(), "the next check-in is not due yet");
    town.now += 60 * SECOND;
    assert_eq!(town.order().unwrap().work, Work::CheckIn);
}

#[test]
fn no_more_are_activated_at_once_than_may_be() {
    let mut town = Town::new(Vec::new(), maker());
    town.list(true, (0..5).map(ready).collect());
    let first = town.order().unwrap();
    let _second = town.order().unwrap();
    assert!(town.order().is_none());
    town.activated(first);
    assert!(town.order().is_some());
    assert!(town.order().is_none());
}

#[test]
fn a_list_that_catches_up_with_an_activation_makes_no_device_call() {
    let mut town = Town::new(Vec::new(), maker());
    town.list(true, vec![ready(1)]);
    let order = town.order().unwrap();
    town.activated(order);
    town.list(false, vec![entry(1, Phase::Active, 1)]);
    assert!(town.order().is_none());
    town.now += 60 * SECOND;
    assert!(town.order().is_some(), "its appointment is kept");
    assert!(town.order().is_none());
}

#[test]
fn a_device_that_was_deactivated_hears_of_it_and_is_activated_again() {
    let mut town = Town::new(Vec::new(), maker());
    town.list(true, vec![ready(1)]);
    let order = town.order().unwrap();
    town.activated(order);
    town.list(false, vec![entry(1, Phase::ReadyForActivation, 2)]);
    let order = town.order().unwrap();
    assert_eq!(order.work, Work::CheckIn);
    town.blank(order, Outcome::Wiped);
    let order = town.order().unwrap();
    assert_eq!((order.work, order.entry.sequence), (Work::Activation, 2));
}

#[test]
fn an_activation_that_fails_is_tried_again_later_and_at_once_when_the_list_has_news() {
    let mut town = Town::new(Vec::new(), maker());
    town.list(true, vec![ready(1)]);
    for _ in 0..3 {
        let order = town.order().unwrap();
        town.blank(order, Outcome::Failed);
        assert!(town.order().is_none());
        town.now += 60 * SECOND;
    }
    let order = town.order().unwrap();
    town.list(false, vec![entry(1, Phase::ReadyForActivation, 2)]);
    town.blank(order, Outcome::Failed);
    assert!(town.order().is_some());
}

#[test]
fn an_association_that_ends_as_soon_as_it_is_made_is_no_loop() {
    let mut town = Town::new(Vec::new(), maker());
    town.list(true, vec![ready(1)]);
    let order = town.order().unwrap();
    town.blank(order, Outcome::Wiped);
    assert!(town.order().is_none());
}

#[test]
fn devices_from_before_check_in_again_and_not_all_at_once() {
    let maker = maker();
    let restored = (0..100).map(|n| active(&maker, &format!("uid-{n}"))).collect();
    let mut town = Town::new(restored, maker);
    town.list(true, (0..100).map(|n| entry(n, Phase::Active, 4)).collect());
    assert_eq!(town.devices(Stage::Active), 100);
    town.now += SECOND / 2;
    let early = std::iter::from_fn(|| town.order()).inspect(|order| assert_eq!(order.work, Work::CheckIn)).count();
    assert!((20..80).contains(&early), "{early} in the first half of the time");
    town.now += SECOND / 2;
    assert_eq!(std::iter::from_fn(|| town.order()).count(), 100 - early);
}

#[test]
fn what_goes_is_switched_off_and_comes_back_as_it_was_until_it_is_forgotten() {
    let maker = maker();
    let mut town = Town::new(vec![active(&maker, "uid-1")], maker);
    town.list(true, vec![entry(1, Phase::Active, 1)]);
    town.list(true, Vec::new());
    assert_eq!(town.population.status().total(), 0);
    town.now += 60 * SECOND;
    assert!(town.order().is_none());
    assert!(town.population.forget(town.now).is_empty());

    town.list(false, vec![entry(1, Phase::Active, 1)]);
    town.now += SECOND;
    let order = town.order().unwrap();
    assert_eq!(order.device.screen(), Screen::Active);

    let gone = DeviceList { removed: vec![entry(1, Phase::Active, 1).id], ..DeviceList::default() };
    town.population.admit(gone, town.now);
    let Order { name, entry, device, work, .. } = order;
    town.population
        .finish(Done { name, device, outcome: Outcome::Failed, work, cue: None, measures: None, entry }, town.now);
    town.now += 601 * SECOND;
    assert_eq!(town.population.forget(town.now), [asset_tag("uid-1")]);
    assert!(town.population.forget(town.now).is_empty());
}

#[test]
fn nothing_is_forgotten_before_a_list_was_read() {
    let maker = maker();
    let mut town = Town::new(vec![active(&maker, "uid-1")], maker);
    town.now += 10_000 * SECOND;
    assert!(town.population.forget(town.now).is_empty());
    town.list(true, Vec::new());
    assert!(town.population.forget(town.now).is_empty());
    town.now += 601 * SECOND;
    assert_eq!(town.population.forget(town.now), [asset_tag("uid-1")]);
}

#[test]
fn another_uid_is_another_device() {
    let maker = maker();
    let mut town = Town::new(vec![active(&maker, "uid-1")], maker);
    town.list(true, vec![entry(1, Phase::Active, 1)]);
    town.list(false, vec![DeviceSummary { uid: "uid-2".into(), ..ready(1) }]);
    let order = town.order().unwrap();
    assert_eq!((order.work, order.device.asset_tag()), (Work::Activation, &asset_tag("uid-2")));
    assert_eq!(town.population.status().total(), 1);
}

#[test]
fn a_device_that_is_away_when_its_instance_goes_and_comes_is_not_made_twice() {
    let mut town = Town::new(Vec::new(), maker());
    town.list(true, vec![ready(1)]);
    let order = town.order().unwrap();
    town.list(true, Vec::new());
    town.list(true, vec![ready(1)]);
    assert!(town.order().is_none());
    town.activated(order);
    assert_eq!(town.devices(Stage::Active), 1);
}

impl Town {
    /// The order is carried out in so much time, by a gateway one of whose sensors measures in so much more.
    fn measured(&mut self, order: Order, took: Duration, measures: Duration, outcome: Outcome) {
        self.now += took;
        let device = Box::new(active(&self.population.maker.clone(), &format!("uid-{}", &order.name.name[5..])));
        let Order { name, entry, work, .. } = order;
        let outcome = if work == Work::Measurement { Outcome::Measured } else { outcome };
        let done = Done { name, device, outcome, work, cue: None, measures: Some(measures), entry };
        self.population.finish(done, self.now);
    }

    /// What it goes to do in so much time, and when, if all its check-ins end like this.
    fn course(&mut self, until: Duration, took: Duration, measures: Duration, outcome: Outcome) -> Vec<(Work, u64)> {
        let begin = self.now;
        let mut course = Vec::new();
        while self.now - begin < until {
            match self.order() {
                Some(order) => {
                    course.push((order.work, (self.now - begin).as_secs()));
                    self.measured(order, took, measures, outcome);
                }
                None => self.now = self.population.next_due().unwrap().max(self.now),
            }
        }
        course
    }
}

fn check_ins(course: &[(Work, u64)]) -> Vec<u64> {
    course.iter().filter(|(work, _)| *work == Work::CheckIn).map(|(_, at)| *at).collect()
}

#[test]
fn a_gateway_hears_its_sensors_between_its_check_ins_and_checks_in_as_often_as_before() {
    let mut town = Town::new(Vec::new(), maker());
    town.list(true, vec![ready(1)]);
    let course = town.course(300 * SECOND, Duration::ZERO, SECOND, Outcome::CheckedIn { next_seconds: 60 });
    assert_eq!(course[0], (Work::Activation, 0));
    let measured = course.iter().filter(|(work, _)| *work == Work::Measurement).count();
    assert!((280..=300).contains(&measured), "{measured} in five minutes are one each second");
    let check_ins = check_ins(&course);
    assert!((5..=7).contains(&check_ins.len()), "one a minute: {check_ins:?}");
}

#[test]
fn sensors_that_measure_seldom_are_heard_when_they_are_due() {
    let mut town = Town::new(Vec::new(), maker());
    town.list(true, vec![ready(1)]);
    let order = town.order().unwrap();
    town.measured(order, Duration::ZERO, 3_600 * SECOND, Outcome::CheckedIn { next_seconds: 60 });
    town.now += 60 * SECOND;
    assert_eq!(town.order().unwrap().work, Work::CheckIn, "their time is not waited for");
}

#[test]
fn a_gateway_without_answers_goes_on_checking_in_however_long_its_measurements_take() {
    let maker = maker();
    let mut town = Town::new(vec![active(&maker, "uid-1")], maker);
    town.list(true, vec![entry(1, Phase::Active, 1)]);
    town.now += SECOND;
    let order = town.order().unwrap();
    town.measured(order, Duration::ZERO, Duration::ZERO, Outcome::Failed);
    let course = town.course(600 * SECOND, 5 * SECOND, Duration::ZERO, Outcome::Failed);
    let check_ins = check_ins(&course);
    assert!(check_ins.len() >= 10, "{course:?}");
    assert_eq!(town.devices(Stage::Unanswered), 1);
}

#[test]
fn a_gateway_between_measurements_hears_of_its_deactivation() {
    let mut town = Town::new(Vec::new(), maker());
    town.list(true, vec![ready(1)]);
    let order = town.order().unwrap();
    town.measured(order, Duration::ZERO, SECOND, Outcome::CheckedIn { next_seconds: 60 });
    town.list(false, vec![entry(1, Phase::Active, 1)]);
    town.now += SECOND;
    let order = town.order().unwrap();
    assert_eq!(order.work, Work::Measurement);
    town.list(false, vec![entry(1, Phase::ReadyForActivation, 2)]);
    town.measured(order, Duration::ZERO, SECOND, Outcome::Failed);
    assert_eq!(town.order().unwrap().work, Work::CheckIn);
}
