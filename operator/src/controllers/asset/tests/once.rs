//! Each fault is one alert, whatever is measured, hidden, resolved or deleted, and whatever dies between two writes.

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Measurements in a row of this velocity.
    Measure(f32, u8),
    /// All of a plan is executed.
    Settle,
    /// The operator dies after so many writes of a plan, and with it what it has in memory.
    Die(u8),
    /// Only the alerts are looked at.
    LookAtAlerts,
    Sight(bool),
    Sensor(Option<&'static str>),
    MayGetBetter(bool),
    /// The position is taken out of the spec, or stands in it.
    HasPosition(bool),
    Acknowledge,
    Resolve(bool),
    Delete,
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let velocity = prop::sample::select(vec![1.0_f32, 2.7, 3.1, 8.0]);
    prop_oneof![
        6 => (velocity, 1..5_u8).prop_map(|(velocity, count)| Step::Measure(velocity, count)),
        4 => Just(Step::Settle),
        3 => (0..4_u8).prop_map(Step::Die),
        1 => Just(Step::LookAtAlerts),
        1 => any::<bool>().prop_map(Step::Sight),
        1 => prop::sample::select(vec![Some("pump-drive-end"), Some("other"), None]).prop_map(Step::Sensor),
        1 => any::<bool>().prop_map(Step::MayGetBetter),
        1 => any::<bool>().prop_map(Step::HasPosition),
        1 => Just(Step::Acknowledge),
        3 => any::<bool>().prop_map(Step::Resolve),
        1 => Just(Step::Delete),
        1 => (1..10_000_i64).prop_map(Step::Pass),
    ]
}

/// What is known of a fault from outside: the measurements that count for the next one.
#[derive(Debug, Default)]
struct Faults {
    /// After a right resolution was taken note of, only what is measured later counts.
    since: Option<u64>,
    /// After a wrong one, only what is worse counts, until it was normal or was worse.
    muted: Option<MachineState>,
}

fn die(scene: &mut Scene, writes: u8) {
    let plan = scene.plan();
    scene.execute_all(&plan, writes.into());
    (scene.window, scene.judged_after) = (Window::default(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn each_fault_is_one_alert(steps in prop::collection::vec(step(), 1..60)) {
        let mut scene = Scene::new();
        let mut faults = Faults::default();
        let mut known_names = BTreeSet::new();
        for step in steps {
            let (raised, closed) = (scene.raised, scene.asset.position(POSITION).map(|p| p.closed_alerts));
            let sensor = scene.asset.position(POSITION).and_then(|position| position.sensor.clone());
            let open_before = scene.open().len();
            match step {
                Step::Measure(velocity, count) => (0..count).for_each(|_| scene.measure_once(velocity)),
                Step::Settle => { scene.settle(); }
                Step::Die(writes) => die(&mut scene, writes),
                Step::LookAtAlerts => { scene.look_at_alerts(); }
                Step::Sight(clear) => scene.sight = clear,
                Step::Sensor(sensor) => {
                    if scene.sensor != sensor {
                        // Another sensor has measured nothing here.
                        (scene.window, scene.judged_after) = (Window::default(), 0);
                    }
                    scene.sensor = sensor;
                }
                Step::MayGetBetter(may) => scene.may_get_better = may,
                Step::HasPosition(has) => {
                    if !has {
                        faults = Faults::default();
                    }
                    scene.has_position(has);
                }
                Step::Acknowledge => {
                    if let Some(open) = scene.alerts.iter_mut().find(|alert| !alert.is_resolved()) {
                        Arc::make_mut(open).spec.acknowledged = true;
                    }
                }
                Step::Resolve(right) => scene.resolve(right),
                Step::Delete => scene.alerts.retain(|alert| alert.is_resolved()),
                Step::Pass(seconds) => scene.now += SignedDuration::from_secs(seconds),
            }
            prop_assert!(scene.open().len() <= 1, "at no time are two alerts open for one position");
            let position = scene.asset.position(POSITION).cloned();
            if let Some(position) = &position {
                if position.sensor != sensor {
                    // What was wrong about one sensor is not said of the next.
                    faults.muted = None;
                }
                if closed.is_some_and(|closed| position.closed_alerts > closed) {
                    let name = format!("pump.{POSITION}.{}", position.closed_alerts);
                    let last = scene.alerts.iter().find(|alert| alert.metadata.name.as_ref() == Some(&name));
                    let right = last.and_then(|alert| alert.spec.resolution.as_ref()).map(|r| r.alert_was_right);
                    match (right, last) {
                        (Some(true), _) => faults = Faults { since: Some(scene.sequence), muted: None },
                        (Some(false), Some(alert)) => faults.muted = Some(alert.worst()),
                        (Some(false) | None, _) => {}
                    }
                }
                if position.state == MachineState::Healthy {
                    faults.muted = None;
                }
            }
            prop_assert!(scene.raised - raised <= 1, "one at a time");
            if scene.raised > raised {
                prop_assert_eq!(open_before, 0, "none is raised while one is open");
                let name = scene.alerts.last().unwrap().metadata.name.clone();
                prop_assert!(!known_names.contains(&name), "{:?} was another one", name);
                let alert = &scene.alerts.last().unwrap().spec;
                let level = alert.level;
                // What was wrong about one sensor is not said of the next, also when that is not stored yet.
                let by = alert.sensor.as_ref().map(|by| by.name.clone());
                let muted = faults.muted.take().filter(|_| by == sensor);
                prop_assert!(muted.is_none_or(|muted| level > muted), "what was wrong is not said again unless it is worse");
                if let Some(since) = faults.since {
                    prop_assert!(scene.sequence - since >= 3, "what was measured before a repair raises nothing after it");
                }
            }
            known_names.extend(position.iter().filter(|position| position.alert.is_some()).map(|p| p.alert.clone()));
            // Whatever happened: who looks now in peace finds each fault that is there, once.
            if matches!(step, Step::Settle) {
                prop_assert_eq!(scene.settle(), 0, "what was done leaves nothing to do");
                let open = i64::try_from(scene.open().len()).unwrap();
                prop_assert_eq!(scene.asset.status.as_ref().unwrap().open_alert_count, open);
                let Some(position) = position else { continue };
                let visible = scene.sensor.is_some() && scene.sight && scene.verdict() == Some(position.state);
                let abnormal = visible && position.state >= MachineState::Warning;
                if abnormal && position.muted.is_none() {
                    prop_assert_eq!(scene.open().len(), 1, "no fault is lost");
                }
                let open = scene.open().first().and_then(|alert| alert.metadata.name.clone());
                prop_assert_eq!(&position.alert, &open);
            }
        }
    }
}
