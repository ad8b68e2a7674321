use std::fmt::Write as _;
use std::time::Duration;

use fleetform_domain::id::ResourceId;
use fleetform_domain::wire::DeviceText;
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn sensor() -> (ResourceId, DeviceText) {
    (ResourceId::of("pump-drive-end"), "S-1".try_into().unwrap())
}

fn trouble(what: What, since: Duration) -> Trouble {
    Trouble { what, sensors: SensorCast::default(), number: 0, since, faster: 1 }
}

fn floor(troubles: Vec<Trouble>) -> Floor {
    Floor { seed: 7, troubles }
}

fn reading(floor: &Floor, number: u64) -> Reading {
    let (id, tag) = sensor();
    floor.spot(&id, &tag).reading(number, Duration::ZERO)
}

fn trend(floor: &Floor) -> Reading {
    let (id, tag) = sensor();
    floor.spot(&id, &tag).trend(Duration::ZERO)
}

fn machine_fault() -> impl Strategy<Value = MachineFault> {
    let over = (1_u64..1_000_000_000).prop_map(Duration::from_millis);
    prop_oneof![
        (over, 0.0..2_000.0).prop_map(|(over, to)| MachineFault::Wear { over, to }),
        Just(MachineFault::Bearing),
        (0.0..2_000.0).prop_map(|to| MachineFault::Imbalance { to }),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let over = (0_u64..1_000_000_000).prop_map(Duration::from_millis);
    prop_oneof![
        machine_fault().prop_map(What::Machine),
        Just(What::Repair),
        (over, -2_000.0..2_000.0).prop_map(|(over, by)| What::Sensor(SensorFault::Drift { over, by })),
        Just(What::Sensor(SensorFault::Sticks)),
    ]
}

prop_compose! {
    fn any_trouble()(
        what in what(),
        since in any::<u64>(),
        faster in 1_u32..=100_000,
        share_percent in 1_u8..=100,
        number in 0_usize..9,
    ) -> Trouble {
        let sensors = SensorCast { share_percent, ..SensorCast::default() };
        Trouble { what, sensors, number, since: Duration::from_nanos(since), faster }
    }
}

proptest! {
    #[test]
    fn what_is_measured_is_within_physical_bounds_and_the_same_again(
        seed in any::<u64>(),
        troubles in prop::collection::vec(any_trouble(), 0..6),
        number in any::<u64>(),
        ago in any::<u64>().prop_map(Duration::from_nanos),
    ) {
        let floor = Floor { seed, troubles };
        let (id, tag) = sensor();
        let measured = floor.spot(&id, &tag).reading(number, ago);
        prop_assert!((0.0..=MAX_VELOCITY).contains(&measured.velocity), "{measured:?}");
        prop_assert!((TEMPERATURES[0]..=TEMPERATURES[1]).contains(&measured.temperature), "{measured:?}");
        prop_assert_eq!(measured, floor.clone().spot(&id, &tag).reading(number, ago));
    }

    #[test]
    fn a_fault_never_gets_better_by_itself(
        fault in machine_fault(),
        since in any::<u64>().prop_map(Duration::from_nanos),
        later in any::<u64>().prop_map(Duration::from_nanos),
    ) {
        let [before, after] = [since, since.saturating_add(later)]
            .map(|since| trend(&floor(vec![trouble(What::Machine(fault), since)])));
        prop_assert!(before.velocity <= after.velocity && before.temperature <= after.temperature, "{before:?} {after:?}");
        prop_assert!(before.velocity >= trend(&floor(Vec::new())).velocity);
    }

    #[test]
    fn what_was_measured_before_does_not_depend_on_when_it_is_asked_for(
        what in what(),
        since in 0_u64..1_000_000_000,
        ago in 0_u64..1_000_000_000,
        number in any::<u64>(),
    ) {
        let (id, tag) = sensor();
        let [since, ago] = [since, ago].map(Duration::from_millis);
        let then = reading(&floor(vec![trouble(what, since)]), number);
        let later = floor(vec![trouble(what, since + ago)]);
        prop_assert_eq!(later.spot(&id, &tag).reading(number, ago), then);
    }
}

#[test]
fn a_machine_without_faults_is_in_zone_a_of_every_class() {
    for uid in 0..200 {
        let id = ResourceId::of(&format!("sensor-{uid}"));
        let tag = "S-1".try_into().unwrap();
        let calm = floor(Vec::new());
        let highest = (1..100).map(|number| calm.spot(&id, &tag).reading(number, Duration::ZERO).velocity);
        assert!(highest.fold(0.0, f64::max) < 0.71);
    }
}

#[test]
fn measurements_differ_from_each_other_from_sensor_to_sensor_and_from_seed_to_seed() {
    let calm = floor(Vec::new());
    let other = ResourceId::of("pump-other-end");
    let (id, tag) = sensor();
    let first = reading(&calm, 1);
    assert_ne!(first, reading(&calm, 2));
    assert_ne!(first, calm.spot(&other, &tag).reading(1, Duration::ZERO));
    assert_ne!(first, Floor { seed: 8, ..calm }.spot(&id, &tag).reading(1, Duration::ZERO));
}

#[test]
fn a_repair_ends_what_was_wrong_with_the_machine_and_nothing_else() {
    let calm = trend(&floor(Vec::new()));
    let wear = What::Machine(MachineFault::Wear { over: HOUR, to: 9.0 });
    let drift = What::Sensor(SensorFault::Drift { over: HOUR, by: 2.0 });
    let repaired = |ago| trend(&floor(vec![trouble(wear, 3 * HOUR), trouble(What::Repair, ago)]));
    assert!((repaired(Duration::ZERO).velocity - calm.velocity).abs() < 1e-9);
    assert!(repaired(Duration::ZERO).temperature > calm.temperature + 19.0, "it is hot yet");
    assert!(repaired(2 * HOUR).temperature < calm.temperature + 0.1, "it has cooled down");
    let again = trend(&floor(vec![trouble(wear, 3 * HOUR), trouble(What::Repair, 2 * HOUR), trouble(wear, HOUR)]));
    assert!((again.velocity - 9.0).abs() < 1e-9, "what began after the repair goes on");
    let drifted = trend(&floor(vec![trouble(drift, 3 * HOUR), trouble(What::Repair, HOUR)]));
    assert!((drifted.velocity - calm.velocity - 2.0).abs() < 1e-9);
}

#[test]
fn a_sensor_that_sticks_says_the_same_while_its_machine_wears_out() {
    let wear = What::Machine(MachineFault::Wear { over: HOUR, to: 9.0 });
    let stuck = |since| floor(vec![trouble(wear, since + HOUR / 2), trouble(What::Sensor(SensorFault::Sticks), since)]);
    let said = reading(&stuck(Duration::ZERO), 40);
    for minutes in 1..30 {
        assert_eq!(reading(&stuck(Duration::from_mins(minutes)), 40 + minutes), said);
    }
}

#[test]
fn a_share_of_the_sensors_is_a_share_and_the_next_act_chooses_others() {
    let chosen = |number| {
        let half = SensorCast { share_percent: 50, ..SensorCast::default() };
        let dead = Trouble { sensors: half, number, ..trouble(What::Sensor(SensorFault::Dead), HOUR) };
        let floor = floor(vec![dead]);
        let id = sensor().0;
        let is_dead = |n: u32| floor.spot(&id, &format!("S-{n}").try_into().unwrap()).has(SensorFault::Dead);
        (0..1_000).map(is_dead).collect::<Vec<_>>()
    };
    let dead = chosen(0).iter().filter(|dead| **dead).count();
    assert!((430..570).contains(&dead), "{dead} of a thousand are about a half");
    assert_eq!(chosen(0), chosen(0));
    assert_ne!(chosen(0), chosen(1));
    let named = SensorCast { asset_tags: vec!["S-*".into()], ..SensorCast::default() };
    for (tag, expected) in [("S-1", true), ("T-1", false)] {
        assert_eq!(named.includes(1, 0, &tag.try_into().unwrap()), expected);
    }
}

#[test]
fn the_life_of_a_machine_in_numbers() {
    let wear = What::Machine(MachineFault::Wear { over: 72 * HOUR, to: 9.0 });
    let mut life = String::new();
    for (hours, said) in [
        (0, "as it was commissioned"),
        (48, "wears out since hour 24"),
        (72, ""),
        (96, "worn out"),
        (97, "repaired an hour before"),
        (120, "a bearing is damaged since hour 110"),
        (158, ""),
    ] {
        let since = |begin: u32| (hours * HOUR).checked_sub(begin * HOUR);
        let begun = [(wear, 24), (What::Repair, 96), (What::Machine(MachineFault::Bearing), 110)];
        let troubles = begun.into_iter().filter_map(|(what, begin)| Some(trouble(what, since(begin)?))).collect();
        let Reading { velocity, temperature } = reading(&floor(troubles), u64::from(hours) + 1);
        writeln!(life, "hour {hours:>3}: {velocity:>6.3} mm/s  {temperature:.2} °C  {said}").unwrap();
    }
    insta::assert_snapshot!(life);
}
