//! Rollouts, step by step, and what must hold of every one.

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_268_800 + second).unwrap()
}

/// A fleet that does as it is told.
struct Fleet {
    names: Vec<String>,
    sites: Vec<String>,
    stages: Vec<Stage>,
    connected: Vec<bool>,
    silent: Vec<Option<Timestamp>>,
    critical: Vec<Option<Timestamp>>,
    progress: Progress,
    now: i64,
}

impl Fleet {
    fn new(fleet: &[(&str, usize)]) -> Self {
        let devices: Vec<(String, String)> = fleet
            .iter()
            .flat_map(|(site, size)| (0..*size).map(move |n| (format!("{site}-{n:02}"), (*site).to_owned())))
            .collect();
        let (names, sites): (Vec<_>, Vec<_>) = devices.into_iter().unzip();
        let size = names.len();
        Self {
            names,
            sites,
            stages: vec![Stage::Waiting; size],
            connected: vec![true; size],
            silent: vec![None; size],
            critical: vec![None; size],
            progress: Progress::begun(at(0)),
            now: 0,
        }
    }

    fn decide(&mut self, strategy: &RolloutStrategy) -> Decision {
        let members: Vec<Member<'_>> = (0..self.names.len())
            .map(|n| Member {
                name: &self.names[n],
                site: &self.sites[n],
                stage: self.stages[n],
                told_at: match self.stages[n] {
                    Stage::Waiting => None,
                    Stage::Changing(told) => Some(told),
                    Stage::Refused(_) | Stage::Done => Some(at(0)),
                },
                connected: self.connected[n],
                silent_since: self.silent[n],
                critical_since: self.critical[n],
            })
            .collect();
        let decision = decide(strategy, &members, &BTreeMap::new(), &self.progress, at(self.now));
        self.progress = decision.progress.clone();
        for name in &decision.admit {
            let n = self.names.iter().position(|known| known == name).unwrap();
            assert_eq!(self.stages[n], Stage::Waiting, "{name} is told twice");
            self.stages[n] = Stage::Changing(at(self.now));
        }
        decision
    }

    /// Those that are there apply what they were told.
    fn apply(&mut self) {
        for (stage, connected) in self.stages.iter_mut().zip(&self.connected) {
            if matches!(stage, Stage::Changing(_)) && *connected {
                *stage = Stage::Done;
            }
        }
    }

    /// Sizes of the batches until the rollout stands.
    fn run(&mut self, strategy: &RolloutStrategy) -> Vec<usize> {
        let mut batches = Vec::new();
        for _ in 0..1000 {
            let decision = self.decide(strategy);
            match decision.state {
                State::Complete { .. } | State::Paused(_) => return batches,
                State::Soaking { until } | State::AwaitingWindow { until } => {
                    self.now = until.as_second() - at(0).as_second();
                }
                State::Progressing => {
                    batches.extend(Some(decision.admit.len()).filter(|size| *size > 0));
                    self.apply();
                }
            }
            self.now += 1;
        }
        panic!("it never ends");
    }
}

fn strategy(json: serde_json::Value) -> RolloutStrategy {
    serde_json::from_value(json).unwrap()
}

#[test]
fn without_a_strategy_all_go_at_once() {
    assert_eq!(Fleet::new(&[("a", 7)]).run(&RolloutStrategy::default()), [7]);
}

#[test]
fn batches_are_no_larger_than_may_be_unavailable() {
    let five = strategy(serde_json::json!({ "maxUnavailable": "5" }));
    assert_eq!(Fleet::new(&[("a", 12)]).run(&five), [5, 5, 2]);
    let share = strategy(serde_json::json!({ "maxUnavailable": "25%" }));
    assert_eq!(Fleet::new(&[("a", 10)]).run(&share), [3, 3, 3, 1]);
}

#[test]
fn a_device_that_falls_silent_with_the_change_holds_the_rest() {
    let strategy = strategy(serde_json::json!({ "maxUnavailable": "1" }));
    let mut fleet = Fleet::new(&[("a", 3)]);
    assert_eq!(fleet.decide(&strategy).admit, ["a-00"]);
    fleet.now = 200;
    (fleet.connected[0], fleet.silent[0]) = (false, Some(at(190)));
    let held = fleet.decide(&strategy);
    assert_eq!((held.state, held.admit.len()), (State::Paused(Pause::WentSilent("a-00".into())), 0));
    // It returns, and runs the change after all.
    (fleet.connected[0], fleet.silent[0], fleet.stages[0]) = (true, None, Stage::Done);
    assert_eq!(fleet.decide(&strategy).admit, ["a-01"]);
    // The next one is looked into, and the change goes on without it.
    (fleet.connected[1], fleet.silent[1]) = (false, Some(at(210)));
    assert!(matches!(fleet.decide(&strategy).state, State::Paused(_)));
    fleet.now = 300;
    fleet.progress.resumed_at = Some(at(300));
    assert_eq!(fleet.decide(&strategy).admit, ["a-02"]);
    fleet.apply();
    assert_eq!(fleet.decide(&strategy).state, State::Complete { offline: 1, refused: 0 });
}

#[test]
fn one_that_is_offline_is_no_canary() {
    let careful = strategy(serde_json::json!({ "canary": ["1"], "soakSeconds": 60 }));
    let mut fleet = Fleet::new(&[("a", 4)]);
    (fleet.connected[0], fleet.silent[0]) = (false, Some(at(-500)));
    assert_eq!(fleet.decide(&careful).admit, ["a-01"], "who is there comes first");
    fleet.apply();
    assert_eq!(fleet.decide(&careful).state, State::Soaking { until: at(60) });
    fleet.now = 60;
    assert_eq!(fleet.decide(&careful).admit, ["a-02", "a-03", "a-00"]);

    // Nobody else is there: the offline one is told, and the next one that is there is the canary.
    let mut fleet = Fleet::new(&[("a", 3)]);
    fleet.connected = vec![false; 3];
    fleet.silent = vec![Some(at(-500)); 3];
    assert_eq!(fleet.decide(&careful).admit, ["a-00"]);
    (fleet.connected[1], fleet.silent[1]) = (true, None);
    fleet.now = 100;
    fleet.progress.settled_at = Some(at(0));
    assert_eq!(fleet.decide(&careful).admit, ["a-01"]);
}

#[test]
fn a_window_in_no_known_time_zone_never_opens() {
    let nightly = strategy(serde_json::json!({
        "maintenanceWindow": { "days": ["Monday"], "start": "00:00", "durationMinutes": 60 },
    }));
    let fleet = Fleet::new(&[("mars", 1)]);
    let member = Member {
        name: "mars-00",
        site: "mars",
        stage: Stage::Waiting,
        told_at: None,
        connected: true,
        silent_since: None,
        critical_since: None,
    };
    let zones = BTreeMap::from([("mars", None)]);
    let decision = decide(&nightly, &[member], &zones, &fleet.progress, at(0));
    assert_eq!(decision.state, State::Paused(Pause::UnknownTimeZone("mars".into())));
}

#[test]
fn who_was_critical_before_it_was_told_holds_nobody() {
    let strategy = strategy(serde_json::json!({ "maxUnavailable": "1", "pauseOnCritical": true }));
    let mut fleet = Fleet::new(&[("a", 2)]);
    assert_eq!(fleet.decide(&strategy).admit, ["a-00"]);
    fleet.apply();
    fleet.now = 20;
    fleet.critical[1] = Some(at(10));
    assert_eq!(fleet.decide(&strategy).admit, ["a-01"]);
    assert_eq!(fleet.decide(&strategy).state, State::Progressing);
}

#[test]
fn canaries_come_first() {
    let careful = strategy(serde_json::json!({ "maxUnavailable": "50%", "canary": ["1", "20%"] }));
    assert_eq!(Fleet::new(&[("a", 10)]).run(&careful), [1, 1, 5, 3]);
}

#[test]
fn a_batch_keeps_to_one_site() {
    let by_site = strategy(serde_json::json!({ "maxUnavailable": "3", "groupBy": "Site" }));
    assert_eq!(Fleet::new(&[("b", 4), ("a", 2)]).run(&by_site), [2, 3, 1]);
}

#[test]
fn the_next_batch_waits_until_the_last_one_has_soaked() {
    let soaked = strategy(serde_json::json!({ "maxUnavailable": "1", "soakSeconds": 60 }));
    let mut fleet = Fleet::new(&[("a", 2)]);
    assert_eq!(fleet.decide(&soaked).admit, ["a-00"]);
    fleet.now = 10;
    assert_eq!(fleet.decide(&soaked).admit, [""; 0], "it is changing");
    fleet.apply();
    fleet.now = 20;
    let soaking = fleet.decide(&soaked);
    assert_eq!((soaking.state, soaking.look_again), (State::Soaking { until: at(80) }, Some(at(80))));
    fleet.now = 79;
    assert!(fleet.decide(&soaked).admit.is_empty());
    fleet.now = 80;
    assert_eq!(fleet.decide(&soaked).admit, ["a-01"]);
}

#[test]
fn a_device_that_turns_critical_holds_the_rest_until_somebody_has_looked() {
    let careful = strategy(serde_json::json!({ "maxUnavailable": "1", "pauseOnCritical": true }));
    let mut fleet = Fleet::new(&[("a", 3)]);
    fleet.critical[2] = Some(at(-100));
    fleet.decide(&careful);
    fleet.apply();
    fleet.now = 5;
    fleet.critical[0] = Some(at(4));
    assert_eq!(fleet.decide(&careful).state, State::Paused(Pause::Critical("a-00".into())));
    fleet.progress.resumed_at = Some(at(6));
    fleet.now = 7;
    assert_eq!(fleet.decide(&careful).admit, ["a-01"]);
    fleet.apply();
    fleet.now = 8;
    assert_eq!(fleet.decide(&careful).admit, ["a-02"], "what was critical before is no news");
}

#[test]
fn a_device_that_does_not_apply_in_time_holds_the_rest_and_one_that_is_offline_does_not() {
    let strict = strategy(serde_json::json!({ "maxUnavailable": "1", "applyDeadlineSeconds": 30 }));
    let mut fleet = Fleet::new(&[("a", 3)]);
    fleet.connected[0] = false;
    fleet.now = 100;
    assert_eq!(fleet.decide(&strict).admit, ["a-01"], "who is there comes first");
    fleet.now = 110;
    assert_eq!(fleet.decide(&strict).look_again, Some(at(130)));
    fleet.now = 130;
    assert_eq!(fleet.decide(&strict).state, State::Paused(Pause::NotApplied("a-01".into())));
    fleet.apply();
    assert_eq!(fleet.decide(&strict).admit, ["a-02"], "applied after all");
    fleet.apply();
    assert_eq!(fleet.decide(&strict).admit, ["a-00"], "it gets the change when it returns");
    assert_eq!(fleet.decide(&strict).state, State::Complete { offline: 1, refused: 0 });
}

#[test]
fn what_one_device_refuses_the_others_do_not_get_until_a_person_has_looked() {
    let strategy = strategy(serde_json::json!({ "maxUnavailable": "1" }));
    let mut fleet = Fleet::new(&[("a", 3)]);
    assert_eq!(fleet.decide(&strategy).admit, ["a-00"]);
    fleet.now = 10;
    fleet.stages[0] = Stage::Refused(at(10));
    let held = fleet.decide(&strategy);
    assert_eq!((held.state, held.admit.len()), (State::Paused(Pause::Refused("a-00".into())), 0));
    fleet.now = 20;
    fleet.progress.resumed_at = Some(at(20));
    assert_eq!(fleet.decide(&strategy).admit, ["a-01"], "it was looked into");
    fleet.apply();
    assert_eq!(fleet.decide(&strategy).admit, ["a-02"]);
    // The last one is no exception.
    fleet.stages[2] = Stage::Refused(at(30));
    assert_eq!(fleet.decide(&strategy).state, State::Paused(Pause::Refused("a-02".into())));
    fleet.progress.resumed_at = Some(at(31));
    assert_eq!(fleet.decide(&strategy).state, State::Complete { offline: 0, refused: 2 });
}

#[test]
fn a_rollout_is_held_and_let_go_by_hand() {
    let mut fleet = Fleet::new(&[("a", 1)]);
    let held = RolloutStrategy { paused: true, ..RolloutStrategy::default() };
    assert_eq!(fleet.decide(&held).state, State::Paused(Pause::ByHand));
    assert_eq!(fleet.decide(&RolloutStrategy::default()).admit, ["a-00"]);
}

#[test]
fn batches_begin_in_the_window_only() {
    // at(0) is noon.
    let nightly = strategy(serde_json::json!({ "maintenanceWindow": { "start": "22:00", "durationMinutes": 60 } }));
    let mut fleet = Fleet::new(&[("a", 2)]);
    let ten_hours = at(36_000);
    let waiting = fleet.decide(&nightly);
    assert_eq!((waiting.state, waiting.look_again), (State::AwaitingWindow { until: ten_hours }, Some(ten_hours)));
    fleet.now = 36_000;
    assert_eq!(fleet.decide(&nightly).admit.len(), 2);
}

#[test]
fn amounts_are_numbers_or_shares() {
    for (text, of_ten) in [("1", 1), ("12", 12), ("1%", 1), ("25%", 3), ("100%", 10)] {
        let amount = Amount::try_from(text.to_owned()).unwrap();
        assert_eq!((amount.of(10), amount.to_string().as_str()), (of_ten, text));
    }
    for text in ["", "0", "0%", "101%", "-1", "1.5", "ten"] {
        assert!(Amount::try_from(text.to_owned()).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn every_device_is_told_once_and_no_batch_is_too_large(
        sizes in prop::collection::vec(1..12_usize, 1..4),
        at_once in 1..8_u32,
        canary in prop::collection::vec(1..6_u32, 0..3),
        by_site: bool,
        soak in 0..100_u32,
        offline in prop::collection::vec(any::<bool>(), 0..12),
    ) {
        let sites: Vec<(String, usize)> = sizes.iter().enumerate().map(|(n, size)| (format!("s{n}"), *size)).collect();
        let sites: Vec<(&str, usize)> = sites.iter().map(|(site, size)| (site.as_str(), *size)).collect();
        let mut fleet = Fleet::new(&sites);
        for (connected, offline) in fleet.connected.iter_mut().zip(offline) {
            *connected = !offline;
        }
        let strategy = RolloutStrategy {
            max_unavailable: Some(Amount::Count(at_once)),
            canary: canary.into_iter().map(Amount::Count).collect(),
            group_by: by_site.then_some(GroupBy::Site),
            soak_seconds: soak,
            ..RolloutStrategy::default()
        };
        let batches = fleet.run(&strategy);
        prop_assert!(batches.iter().all(|size| *size <= usize::try_from(at_once).unwrap()));
        prop_assert_eq!(batches.iter().sum::<usize>(), fleet.names.len());
        prop_assert!(fleet.stages.iter().all(|stage| *stage != Stage::Waiting));
    }
}
