//! Plans of assets, whole, and that each fault is one alert.

use std::sync::Arc;

use fleetform_crds::asset::PositionStatus;
use fleetform_crds::condition::{ConditionType, Reason};
use fleetform_crds::{Alert, Asset};
use fleetform_domain::id::ResourceId;
use fleetform_domain::machines::{MachineState, Reading, Verdict, Window, judge};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::plan::{AssetPlan, Facts, plan};
use super::position::{Mounted, Sight};
use crate::cache::Found;
use crate::controllers::{Obstacle, alert, fixtures};
use crate::reconcile::body;
use crate::reconcile::plan::Action;

mod once;

const POSITION: &str = "drive-end";

/// The world as an asset's plan sees it, and what becomes of it. The sensor at the drive end measures; there is none at the fan end.
struct Scene {
    asset: Asset,
    alerts: Vec<Arc<Alert>>,
    window: Window,
    sequence: u64,
    judged_after: u64,
    sensor: Option<&'static str>,
    sight: bool,
    may_get_better: bool,
    alerts_unreadable: bool,
    over_quota: Option<Obstacle>,
    writes: usize,
    raised: usize,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        Self {
            asset: fixtures::asset(),
            alerts: Vec::new(),
            window: Window::default(),
            sequence: 0,
            judged_after: 0,
            sensor: Some("pump-drive-end"),
            sight: true,
            may_get_better: true,
            alerts_unreadable: false,
            over_quota: None,
            writes: 0,
            raised: 0,
            now: fixtures::noon(),
        }
    }

    /// Three measurements, a minute apart.
    fn measure(&mut self, velocity: f32) {
        for _ in 0..3 {
            self.measure_once(velocity);
        }
    }

    fn measure_once(&mut self, velocity: f32) {
        self.now += SignedDuration::from_mins(1);
        self.sequence += 1;
        let (sequence, millisecond) = (self.sequence, self.now.as_millisecond());
        self.window.take(Reading { sequence, millisecond, velocity, temperature: 40.0 });
    }

    fn position(&self) -> PositionStatus {
        self.asset.position(POSITION).unwrap().clone()
    }

    fn state(&self) -> MachineState {
        self.position().state
    }

    fn known(&self) -> MachineState {
        self.sensor.map(|sensor| self.asset.known_of(POSITION, sensor)).unwrap_or_default()
    }

    fn judge(&self) -> Option<Verdict> {
        let judged = self.window.readings().filter(|reading| reading.sequence > self.judged_after);
        judge(judged, &self.asset.limits(), self.known())
    }

    fn verdict(&self) -> Option<MachineState> {
        self.judge().map(|verdict| verdict.state)
    }

    fn plan(&self) -> AssetPlan {
        let installation = fixtures::installation();
        let mounted = self.sensor.map(|sensor| Mounted {
            name: sensor.to_owned(),
            id: ResourceId::of(sensor),
            sight: if self.sight { Sight::Clear { until: None } } else { Sight::None },
            verdict: self.judge(),
            may_get_better: if self.may_get_better { Ok(()) } else { Err(600) },
        });
        let facts = Facts {
            installation: &installation,
            project: Found::Here(Arc::new(fixtures::project())),
            site: Found::Here(Arc::new(fixtures::site())),
            over_quota: self.over_quota.clone(),
            sensors: usize::from(self.sensor.is_some()),
            mounted: self
                .asset
                .spec
                .positions
                .iter()
                .map(|at| mounted.clone().filter(|_| at.name == POSITION))
                .collect(),
            alerts: self.alerts.clone(),
            alerts_unreadable: self.alerts_unreadable,
            now: self.now,
        };
        plan(&self.asset, &facts)
    }

    /// Executes a plan up to so many writes.
    fn execute_all(&mut self, plan: &AssetPlan, writes: usize) {
        for (position, sensor) in &plan.judged_anew {
            assert_eq!(position, POSITION);
            // The one that the alert was about may be elsewhere by now.
            if Some(sensor) == self.sensor.map(ResourceId::of).as_ref() {
                self.judged_after = self.window.latest().map_or(0, |latest| latest.sequence);
            }
        }
        plan.plan.actions.iter().take(writes).for_each(|action| self.execute(action));
    }

    fn execute(&mut self, action: &Action) {
        self.writes += 1;
        match action {
            Action::RaiseAlert(draft) => {
                self.raised += 1;
                let mut alert = body::alert(&self.asset, draft);
                let taken = self.alerts.iter().any(|known| known.metadata.name == alert.metadata.name);
                assert!(!taken, "{:?} is there already", alert.metadata.name);
                alert.metadata.uid = Some(format!("alert-{}", self.raised));
                alert.metadata.creation_timestamp = Some(Time(self.now));
                alert.status = fixtures::alert(1).status;
                self.alerts.push(Arc::new(alert));
            }
            Action::DeleteAlert { name, .. } => self.alerts.retain(|alert| alert.metadata.name.as_ref() != Some(name)),
            Action::PatchStatus(patch) => {
                let mut status = serde_json::to_value(self.asset.status.clone().unwrap_or_default()).unwrap();
                json_patch::merge(&mut status, patch);
                self.asset.status = Some(serde_json::from_value(status).unwrap());
            }
            Action::Publish(_) => {}
            other => panic!("an asset's plan has no {other:?}"),
        }
    }

    /// The position is removed from the spec, and its sensor is no longer paired; or it is there again.
    fn has_position(&mut self, has: bool) {
        let positions = fixtures::asset().spec.positions;
        self.asset.spec.positions = positions.into_iter().filter(|position| has || position.name != POSITION).collect();
        if !has {
            (self.window, self.judged_after) = (Window::default(), 0);
        }
    }

    /// Executes plans of the asset until they give nothing, and those of its alerts. Answers how many writes it took.
    fn settle(&mut self) -> usize {
        let before = self.writes;
        for round in 0.. {
            let plan = self.plan();
            let quiet = plan.plan.actions.is_empty();
            self.execute_all(&plan, usize::MAX);
            let quiet = self.look_at_alerts() && quiet;
            if quiet {
                break;
            }
            assert!(round < 4, "plans do not settle");
        }
        self.writes - before
    }

    /// Whether none of them had anything to write.
    fn look_at_alerts(&mut self) -> bool {
        let mut quiet = true;
        for known in &mut self.alerts {
            let position = self.asset.position(&known.spec.position);
            let plan =
                alert::plan::plan(known, &alert::plan::Facts { position, history: fixtures::told(), now: self.now });
            for action in &plan.actions {
                let Action::PatchStatus(patch) = action else { panic!("an alert's plan only patches its status") };
                let mut status = serde_json::to_value(known.status.clone().unwrap_or_default()).unwrap();
                json_patch::merge(&mut status, patch);
                Arc::make_mut(known).status = Some(serde_json::from_value(status).unwrap());
                (quiet, self.writes) = (false, self.writes + 1);
            }
        }
        quiet
    }

    fn open(&self) -> Vec<&Arc<Alert>> {
        self.alerts.iter().filter(|alert| !alert.is_resolved()).collect()
    }

    fn resolve(&mut self, was_right: bool) {
        let resolution = json!({
            "failureMode": "Imbalance", "failureCause": "Wear", "action": "Adjust", "alertWasRight": was_right,
        });
        if let Some(open) = self.alerts.iter_mut().find(|alert| !alert.is_resolved()) {
            Arc::make_mut(open).spec.resolution = serde_json::from_value(resolution).unwrap();
        }
    }
}

#[test]
fn after_a_repair_no_measurement_of_before_counts_wherever_its_sensor_was_meanwhile() {
    let mut scene = Scene::new();
    scene.measure(7.5);
    scene.settle();
    scene.sensor = None;
    scene.settle();
    scene.resolve(true);
    let about = (POSITION.to_owned(), ResourceId::of("pump-drive-end"));
    assert_eq!(scene.plan().judged_anew, std::slice::from_ref(&about));
    scene.sensor = Some("other");
    let there = (POSITION.to_owned(), ResourceId::of("other"));
    let mut both = vec![about, there];
    both.sort();
    assert_eq!(scene.plan().judged_anew, both);
}

#[test]
fn a_fault_is_one_alert_and_two_writes() {
    let mut scene = Scene::new();
    scene.measure(1.0);
    insta::assert_json_snapshot!("healthy", scene.plan());
    assert_eq!(scene.settle(), 1);
    scene.measure(1.1);
    assert_eq!(scene.settle(), 0, "measurements write nothing");
    scene.measure(3.1);
    insta::assert_json_snapshot!("raised", scene.plan());
    assert_eq!(scene.settle(), 2);
    for velocity in [3.0, 3.3, 2.9] {
        scene.measure(velocity);
        assert_eq!(scene.settle(), 0);
    }
    assert_eq!(scene.open().len(), 1);
}

#[test]
fn a_fault_that_gets_worse_is_the_same_alert_and_so_is_one_that_comes_again_before_it_was_resolved() {
    let mut scene = Scene::new();
    for (velocity, state) in [(3.1, MachineState::Warning), (8.0, MachineState::Alarm), (1.0, MachineState::Healthy)] {
        scene.measure(velocity);
        scene.settle();
        assert_eq!((scene.state(), scene.open()[0].state()), (state, state));
    }
    assert_eq!(scene.open()[0].worst(), MachineState::Alarm);
    scene.measure(3.0);
    scene.settle();
    assert_eq!((scene.raised, scene.open().len()), (1, 1));
}

#[test]
fn after_a_repair_what_was_measured_before_says_nothing_and_a_new_fault_is_a_new_alert() {
    let mut scene = Scene::new();
    scene.measure(8.0);
    scene.settle();
    scene.resolve(true);
    scene.now += SignedDuration::from_mins(1);
    scene.settle();
    assert_eq!((scene.state(), scene.open().len(), scene.raised), (MachineState::Unknown, 0, 1));
    scene.measure_once(8.0);
    scene.measure_once(8.0);
    scene.settle();
    assert_eq!(scene.raised, 1, "two measurements are no run");
    scene.measure_once(8.0);
    scene.settle();
    let names: Vec<_> = scene.alerts.iter().map(|alert| alert.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["pump.drive-end.1", "pump.drive-end.2"]);
    assert_eq!(scene.asset.status.as_ref().unwrap().open_alert_count, 1);
}

#[test]
fn an_alert_that_was_wrong_is_not_raised_again_until_it_was_normal_or_gets_worse() {
    let mut scene = Scene::new();
    scene.measure(3.1);
    scene.settle();
    scene.resolve(false);
    scene.settle();
    assert_eq!((scene.state(), scene.position().muted), (MachineState::Warning, Some(MachineState::Warning)));
    scene.measure(3.2);
    scene.settle();
    assert_eq!(scene.raised, 1);
    scene.measure(8.0);
    scene.settle();
    assert_eq!((scene.raised, scene.position().muted), (2, None), "it got worse");
    scene.resolve(false);
    scene.settle();
    scene.measure(3.0);
    scene.settle();
    assert_eq!(scene.raised, 2);
    for velocity in [1.0, 3.0] {
        scene.measure(velocity);
        scene.settle();
    }
    assert_eq!(scene.raised, 3, "it was normal");
}

#[test]
fn what_is_hidden_is_unknown_and_no_alert() {
    let mut scene = Scene::new();
    scene.measure(1.0);
    scene.settle();
    scene.sight = false;
    scene.measure(8.0);
    assert_eq!((scene.settle(), scene.state(), scene.raised), (1, MachineState::Unknown, 0));
    scene.sight = true;
    scene.settle();
    assert_eq!((scene.state(), scene.raised), (MachineState::Alarm, 1));
    scene.sight = false;
    assert_eq!(scene.settle(), 1, "the alert stays as it was known last");
    assert_eq!(scene.open()[0].state(), MachineState::Alarm);
}

#[test]
fn after_a_restart_what_is_stored_stays_until_there_is_a_verdict() {
    let mut scene = Scene::new();
    scene.measure(3.1);
    scene.settle();
    scene.window = Window::default();
    scene.measure_once(1.0);
    assert_eq!((scene.settle(), scene.state()), (0, MachineState::Warning));
    scene.measure(1.0);
    scene.settle();
    assert_eq!((scene.state(), scene.raised), (MachineState::Healthy, 1));
}

#[test]
fn a_state_that_gets_better_too_often_is_held_back_and_one_that_gets_worse_is_not() {
    let mut scene = Scene::new();
    scene.measure(3.1);
    scene.settle();
    scene.may_get_better = false;
    scene.measure(1.0);
    assert_eq!((scene.settle(), scene.state()), (0, MachineState::Warning));
    assert!(scene.plan().plan.look_again.is_some());
    scene.measure(8.0);
    scene.settle();
    assert_eq!((scene.state(), scene.open()[0].worst()), (MachineState::Alarm, MachineState::Alarm));
}

#[test]
fn a_deleted_alert_is_over_and_a_fault_that_goes_on_is_another_one() {
    let mut scene = Scene::new();
    scene.measure(3.1);
    scene.settle();
    scene.alerts.clear();
    scene.settle();
    assert_eq!(scene.open()[0].metadata.name.as_deref(), Some("pump.drive-end.2"), "names are not used again");
}

#[test]
fn the_alert_of_a_position_that_is_removed_stays_and_is_known_again_when_it_comes_back() {
    let mut scene = Scene::new();
    scene.measure(3.1);
    scene.settle();
    scene.has_position(false);
    scene.settle();
    let status = scene.asset.status.as_ref().unwrap();
    assert_eq!((status.positions.len(), status.open_alert_count, status.removed_alerts), (1, 1, 1));
    scene.has_position(true);
    scene.alerts_unreadable = true;
    scene.settle();
    scene.alerts_unreadable = false;
    scene.measure(3.1);
    scene.settle();
    assert_eq!((scene.raised, scene.position().alert.as_deref()), (1, Some("pump.drive-end.1")));
    scene.resolve(true);
    scene.settle();
    assert_eq!((scene.state(), scene.position().closed_alerts), (MachineState::Unknown, 1));
    scene.measure(3.1);
    scene.settle();
    assert_eq!(scene.open()[0].metadata.name.as_deref(), Some("pump.drive-end.2"));

    // Resolved and deleted while the position was away: its number is not used again.
    scene.has_position(false);
    scene.resolve(true);
    scene.settle();
    scene.alerts.clear();
    scene.settle();
    assert_eq!(scene.asset.status.as_ref().unwrap().open_alert_count, 0);
    scene.has_position(true);
    scene.measure(3.1);
    scene.settle();
    assert_eq!(scene.open()[0].metadata.name.as_deref(), Some("pump.drive-end.3"));
}

#[test]
fn while_an_alert_does_not_read_none_is_raised() {
    let mut scene = Scene::new();
    scene.alerts_unreadable = true;
    scene.measure(8.0);
    scene.settle();
    assert_eq!((scene.state(), scene.raised), (MachineState::Alarm, 0));
    scene.alerts_unreadable = false;
    scene.settle();
    assert_eq!(scene.raised, 1);
}

#[test]
fn an_asset_over_quota_says_so_and_alerts_that_are_over_are_kept_up_to_a_hundred() {
    let mut scene = Scene::new();
    scene.over_quota = Some(Obstacle::stalls(Reason::QuotaExceeded, "this asset is over the quota"));
    scene.settle();
    let conditions = scene.asset.status.clone().unwrap().conditions;
    assert!(fleetform_crds::condition::has_reason(&conditions, ConditionType::Ready, Reason::QuotaExceeded));
    for _ in 0..103 {
        scene.measure(8.0);
        scene.settle();
        scene.resolve(true);
        scene.now += SignedDuration::from_mins(1);
        scene.settle();
    }
    assert_eq!((scene.raised, scene.alerts.len()), (103, 100));
    assert_eq!(scene.alerts[0].metadata.name.as_deref(), Some("pump.drive-end.4"), "the oldest went");
}
