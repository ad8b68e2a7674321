//! Plans of sensors, whole, and what must hold of every plan.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::controllers::fixtures;
use jiff::SignedDuration;

/// The world as a sensor's plan sees it, and what becomes of it.
struct Scene {
    project: Option<Project>,
    site: Option<Site>,
    asset: Found<Asset>,
    gateway: Found<DeviceInstance>,
    holder: Option<String>,
    crowded_out: bool,
    over_quota: Option<Obstacle>,
    heard: Heard,
    same_tag: Option<String>,
    sensor: DeviceInstance,
    now: Timestamp,
}

fn gateway(connectivity: &str) -> DeviceInstance {
    let mut gateway = fixtures::gateway("hall");
    let status = json!({ "phase": "Active", "connectivity": connectivity });
    gateway.status = Some(serde_json::from_value(status).unwrap());
    gateway
}

fn here<K>(object: K) -> Found<K> {
    Found::Here(Arc::new(object))
}

impl Scene {
    fn new() -> Self {
        Self {
            project: Some(fixtures::project()),
            site: Some(fixtures::site()),
            asset: here(fixtures::asset()),
            gateway: here(gateway("CONNECTED")),
            holder: None,
            crowded_out: false,
            over_quota: None,
            heard: Heard::Unknown,
            same_tag: None,
            sensor: fixtures::sensor("drive-end", "hall"),
            now: fixtures::noon(),
        }
    }

    fn paired() -> Self {
        let mut scene = Self::new();
        scene.settle();
        scene.report("VT-0001", 0, true, &[]);
        scene.settle();
        scene
    }

    fn report(&mut self, tag: &str, epoch: i64, connected: bool, failed: &[&str]) {
        self.heard = Heard::Paired(Box::new(SensorReport {
            device_instance_id: ResourceId::of(self.sensor.metadata.uid.as_deref().unwrap()),
            asset_tag_id: tag.try_into().unwrap(),
            epoch,
            connected,
            software_version: Some("2.0.1".try_into().unwrap()),
            failed_health_checks: failed.iter().map(|name| (*name).try_into().unwrap()).collect(),
        }));
    }

    fn plan(&self) -> SensorPlan {
        let installation = fixtures::installation();
        let found = |object: Option<Site>| object.map_or(Found::Absent, here);
        let configuration = self.sensor.spec.configuration.as_ref().and_then(|c| c.sensor.as_ref());
        let facts = Facts {
            installation: &installation,
            project: self.project.clone().map_or(Found::Absent, here),
            site: found(self.site.clone()),
            over_quota: self.over_quota.clone(),
            place: configuration.map(|configuration| Place {
                configuration,
                asset: self.asset.clone(),
                gateway: self.gateway.clone(),
                holder: self.holder.clone(),
                crowded_out: self.crowded_out,
                heard: self.heard.clone(),
            }),
            same_tag: self.same_tag.clone(),
            history: fixtures::told(),
            now: self.now,
        };
        plan(&self.sensor, &facts)
    }

    /// Executes the plan; answers how many writes it took and what counts of the past. Planning again must give nothing.
    fn settle(&mut self) -> (usize, Past) {
        let SensorPlan { plan, past } = self.plan();
        for action in &plan.actions {
            match action {
                Action::PatchStatus(patch) => {
                    let mut status = serde_json::to_value(self.sensor.status.clone().unwrap_or_default()).unwrap();
                    json_patch::merge(&mut status, patch);
                    self.sensor.status = Some(serde_json::from_value(status).unwrap());
                }
                Action::Publish(_) => {}
                other => panic!("a sensor's plan has no {other:?}"),
            }
        }
        let again = self.plan();
        assert!(again.plan.actions.is_empty(), "a plan that was executed left {:#?}", again.plan.actions);
        assert_eq!(again.past, Past::Counts, "what is gone is gone once");
        (plan.actions.len(), past)
    }

    fn status(&self) -> DeviceInstanceStatus {
        self.sensor.status.clone().unwrap()
    }

    fn condition(&self, condition: ConditionType) -> (String, String) {
        let status = self.status();
        let found = status.conditions.iter().find(|found| found.type_ == condition.as_str()).unwrap();
        (found.status.clone(), found.reason.clone())
    }

    fn configuration(&mut self) -> &mut SensorConfiguration {
        self.sensor.spec.configuration.as_mut().unwrap().sensor.as_mut().unwrap()
    }

    fn tell(&self, sequence: usize) -> Option<(Connectivity, String)> {
        use fleetform_domain::transition::Change;
        let transition = self.status().transitions.get(sequence).cloned()?;
        let Change::Connectivity { current, .. } = transition.change else { return None };
        Some((current, transition.asset_tag_id))
    }
}

#[test]
fn a_sensor_is_commissioned_in_two_writes() {
    let mut scene = Scene::new();
    insta::assert_json_snapshot!("ready", scene.plan());
    assert_eq!(scene.settle().0, 1);
    scene.report("VT-0001", 0, true, &[]);
    insta::assert_json_snapshot!("paired", scene.plan());
    assert_eq!(scene.settle().0, 1);
    scene.now += SignedDuration::from_hours(1);
    assert_eq!(scene.settle().0, 0, "at rest nothing is written");
    assert_eq!(scene.tell(0), Some((Connectivity::Connected, "VT-0001".into())), "and there is an event");
}

#[test]
fn what_a_gateway_pairs_is_what_it_was_told_to() {
    let mut scene = Scene::new();
    scene.settle();
    for (tag, epoch) in [("VT-0002", 0), ("VT-0001", 1)] {
        scene.report(tag, epoch, true, &[]);
        scene.settle();
        assert_eq!(scene.status().phase, Some(Phase::ReadyForActivation), "{tag} {epoch}");
    }
    scene.heard = Heard::NotPaired;
    assert_eq!(scene.settle().0, 0);
}

#[test]
fn a_raised_epoch_unpairs_and_pairs_anew() {
    let mut scene = Scene::paired();
    scene.sensor.spec.activation.epoch = 1;
    assert_eq!(scene.settle(), (1, Past::IsGone));
    assert_eq!((scene.status().phase, scene.status().sensor), (Some(Phase::ReadyForActivation), None));
    assert_eq!(scene.tell(1), Some((Connectivity::Disconnected, "VT-0001".into())));
    scene.report("VT-0001", 1, true, &[]);
    scene.settle();
    assert_eq!(scene.status().sensor.map(|paired| paired.epoch), Some(1));
}

#[test]
fn other_hardware_takes_the_place_of_what_is_worn_out() {
    let mut scene = Scene::paired();
    scene.sensor.spec.activation.expected_asset_tag_id = Some("VT-0002".into());
    scene.report("VT-0002", 0, true, &[]);
    assert_eq!(scene.settle().0, 1, "when the gateway is as quick, in one write");
    assert_eq!(scene.tell(1), Some((Connectivity::Disconnected, "VT-0001".into())));
    assert_eq!(scene.tell(2), Some((Connectivity::Connected, "VT-0002".into())));
    assert_eq!(scene.status().device.unwrap().asset_tag_id, "VT-0002");
}

#[test]
fn a_sensor_is_moved_along_an_asset_and_to_another_gateway() {
    let mut scene = Scene::paired();
    let paired_at = scene.status().sensor.unwrap().paired_at;
    scene.now += SignedDuration::from_hours(1);
    scene.configuration().position = "fan-end".into();
    assert_eq!(scene.settle(), (1, Past::Counts));
    let moved = scene.status().sensor.unwrap();
    assert_eq!((moved.position.as_str(), &moved.paired_at), ("fan-end", &paired_at), "it stays paired");
    scene.configuration().gateway_ref.name = "cellar".into();
    scene.heard = Heard::NotPaired;
    assert_eq!(scene.settle(), (1, Past::IsGone));
    assert_eq!(scene.condition(ConditionType::Ready), ("True".into(), "CommissionedByGateway".into()));
}

#[test]
fn a_gateway_that_is_silent_hides_its_sensors_in_one_write_each_way() {
    let mut scene = Scene::paired();
    scene.gateway = here(gateway("DISCONNECTED"));
    insta::assert_json_snapshot!("hidden", scene.plan());
    assert_eq!(scene.settle().0, 1);
    assert_eq!(scene.condition(ConditionType::Connected), ("Unknown".into(), "GatewayDisconnected".into()));
    assert_eq!(scene.status().connectivity, Some(Connectivity::Connected), "what is stored stays");
    scene.report("VT-0001", 0, false, &[]);
    assert_eq!(scene.settle().0, 0, "what it said last is not how it is");
    scene.heard = Heard::Unknown;
    assert_eq!(scene.settle().0, 0);
    scene.gateway = here(gateway("CONNECTED"));
    assert_eq!(scene.settle().0, 1);
    assert_eq!(scene.condition(ConditionType::Connected), ("True".into(), "CheckedIn".into()));
    assert_eq!(scene.status().transitions.len(), 1, "the sensor itself did not change");
}

#[test]
fn silence_and_failed_checks_of_a_sensor_are_transitions_and_too_many_are_held_back() {
    let mut scene = Scene::paired();
    scene.report("VT-0001", 0, false, &["battery"]);
    assert_eq!(scene.settle().0, 1);
    assert_eq!(scene.condition(ConditionType::Connected), ("False".into(), "Silent".into()));
    assert_eq!(scene.condition(ConditionType::Healthy), ("False".into(), "ChecksFailed".into()));
    for minute in 1..20 {
        scene.now += SignedDuration::from_mins(1);
        scene.report("VT-0001", 0, minute % 2 == 1, &[]);
        scene.settle();
    }
    assert_eq!(scene.condition(ConditionType::Flapping), ("True".into(), "TooManyTransitions".into()));
}

type Break = Box<dyn Fn(&mut Scene)>;

#[test]
fn each_thing_that_is_missing_is_named() {
    let elsewhere = || {
        let mut asset = fixtures::asset();
        asset.spec.site_ref.name = "annex".into();
        asset
    };
    let mut annexed = gateway("CONNECTED");
    annexed.spec.site_ref.name = "annex".into();
    let cases: Vec<Break> = vec![
        Box::new(|scene| scene.project = None),
        Box::new(|scene| scene.site = None),
        Box::new(|scene| scene.sensor.spec.configuration = None),
        Box::new(|scene| scene.sensor.spec.activation.expected_asset_tag_id = None),
        Box::new(|scene| scene.asset = Found::Absent),
        Box::new(move |scene| scene.asset = here(elsewhere())),
        Box::new(|scene| scene.configuration().position = "roof".into()),
        Box::new(|scene| scene.holder = Some("older".into())),
        Box::new(|scene| scene.gateway = Found::Absent),
        Box::new(|scene| scene.gateway = here(fixtures::device(&json!({})))),
        Box::new(move |scene| scene.gateway = here(annexed.clone())),
        Box::new(|scene| scene.crowded_out = true),
        Box::new(|scene| scene.over_quota = Some(Obstacle::waits(Reason::QuotaExceeded, "this is over a quota"))),
    ];
    let mut said = Vec::new();
    for break_it in &cases {
        let mut scene = Scene::new();
        break_it(&mut scene);
        scene.settle();
        assert_eq!(scene.status().phase, Some(Phase::NeedsConfiguration));
        let status = scene.status();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        let stalls = status.conditions.iter().any(|condition| condition.type_ == "Stalled");
        said.push(format!("{} ({}) {}", ready.reason, if stalls { "stalls" } else { "waits" }, ready.message));
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn what_does_not_read_takes_nothing_away_and_who_is_paired_is_served_on_over_quota() {
    let mut scene = Scene::paired();
    let phase = |scene: &mut Scene| {
        scene.settle();
        scene.status().phase
    };
    scene.asset = Found::Unreadable("missing field `spec`".into());
    assert_eq!(phase(&mut scene), Some(Phase::Active));
    scene.asset = here(fixtures::asset());
    scene.gateway = Found::Unreadable("missing field `spec`".into());
    assert_eq!(phase(&mut scene), Some(Phase::Active));
    scene.gateway = here(gateway("CONNECTED"));
    scene.over_quota = Some(Obstacle::waits(Reason::QuotaExceeded, "this is over a quota"));
    assert_eq!(phase(&mut scene), Some(Phase::Active));
    scene.gateway = Found::Absent;
    assert_eq!(phase(&mut scene), Some(Phase::NeedsConfiguration), "its gateway is gone");
}

#[derive(Clone, Debug)]
enum Step {
    Report(u8, i64, bool, bool),
    NotPaired,
    Unknown,
    Gateway(&'static str),
    NoGateway,
    Asset(bool),
    Position(bool),
    Tag(u8),
    RaiseEpoch,
    Holder(bool),
    Pass(i64),
    Quota(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..3_u8, 0..3_i64, any::<bool>(), any::<bool>()).prop_map(|(t, e, c, h)| Step::Report(t, e, c, h)),
        1 => Just(Step::NotPaired),
        1 => Just(Step::Unknown),
        2 => prop::sample::select(vec!["CONNECTED", "DISCONNECTED"]).prop_map(Step::Gateway),
        1 => Just(Step::NoGateway),
        1 => any::<bool>().prop_map(Step::Asset),
        1 => any::<bool>().prop_map(Step::Position),
        1 => (1..3_u8).prop_map(Step::Tag),
        1 => Just(Step::RaiseEpoch),
        1 => any::<bool>().prop_map(Step::Holder),
        2 => (1..5_000_i64).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Quota),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_plans_settle_and_a_sensor_is_active_exactly_while_it_is_paired(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut scene = Scene::new();
        for step in steps {
            let mut only_time = false;
            match step {
                Step::Report(tag, epoch, connected, well) => {
                    scene.report(&format!("VT-000{tag}"), epoch, connected, if well { &[] } else { &["battery"] });
                }
                Step::NotPaired => scene.heard = Heard::NotPaired,
                Step::Unknown => scene.heard = Heard::Unknown,
                Step::Gateway(connectivity) => scene.gateway = here(gateway(connectivity)),
                Step::NoGateway => scene.gateway = Found::Absent,
                Step::Asset(there) => scene.asset = if there { here(fixtures::asset()) } else { Found::Absent },
                Step::Position(first) => {
                    scene.configuration().position = if first { "drive-end" } else { "fan-end" }.into();
                }
                Step::Tag(tag) => scene.sensor.spec.activation.expected_asset_tag_id = Some(format!("VT-000{tag}")),
                Step::RaiseEpoch => scene.sensor.spec.activation.epoch += 1,
                Step::Holder(there) => scene.holder = there.then(|| "older".to_owned()),
                Step::Pass(seconds) => {
                    scene.now += SignedDuration::from_secs(seconds);
                    only_time = !scene.sensor.status.iter().any(|status| {
                        status.conditions.iter().any(|condition| condition.type_ == "Flapping")
                    });
                }
                Step::Quota(over) => {
                    scene.over_quota = over.then(|| Obstacle::waits(Reason::QuotaExceeded, "this is over a quota"));
                }
            }
            let was_seen = scene.sensor.status.is_some();
            let (writes, _) = scene.settle();
            prop_assert!(!(only_time && was_seen) || writes == 0, "time alone writes nothing");
            let status = scene.status();
            prop_assert_eq!(status.phase == Some(Phase::Active), status.sensor.is_some());
            prop_assert_eq!(status.sensor.is_some(), status.device.is_some());
            if let Some(paired) = &status.sensor {
                prop_assert_eq!(paired.epoch, scene.sensor.spec.activation.epoch);
                prop_assert_eq!(status.device.map(|device| device.asset_tag_id), scene.sensor.spec.activation.expected_asset_tag_id.clone());
                prop_assert!(is_paired_as_declared(&scene.sensor));
            }
            prop_assert!(status.transitions.len() <= 32);
        }
    }
}
