//! What must hold of every plan, whatever happens.

use std::collections::BTreeSet;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Settle,
    Redeem,
    Report(Option<u32>, bool),
    Silence,
    Forget,
    Pass(i64),
    RaiseEpoch,
    Template(u32, bool),
    DropSite,
    RestoreSite,
    LoseCode,
    Unreadable(&'static str),
    Readable,
    Quota(bool),
    EditTemplate,
    Lock(LockReason),
    Answer(bool),
    Reboot(u8),
    /// Required sinks are so many seconds behind, and there is room for what they lack.
    Sinks(i64, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Settle),
        2 => Just(Step::Redeem),
        3 => (prop::option::of(0..4_u32), any::<bool>()).prop_map(|(applied, well)| Step::Report(applied, well)),
        1 => Just(Step::Silence),
        1 => Just(Step::Forget),
        2 => (1..40_000_i64).prop_map(Step::Pass),
        1 => Just(Step::RaiseEpoch),
        1 => (1..4_u32, any::<bool>()).prop_map(|(revision, entry)| Step::Template(revision, entry)),
        1 => Just(Step::DropSite),
        1 => Just(Step::RestoreSite),
        1 => Just(Step::LoseCode),
        1 => prop::sample::select(vec!["project", "site", "template"]).prop_map(Step::Unreadable),
        2 => Just(Step::Readable),
        1 => any::<bool>().prop_map(Step::Quota),
        1 => Just(Step::EditTemplate),
        1 => prop::sample::select(vec![LockReason::Tamper, LockReason::MaximumOfflineTime]).prop_map(Step::Lock),
        1 => any::<bool>().prop_map(Step::Answer),
        1 => (0..3_u8).prop_map(Step::Reboot),
        1 => (0..100_000_i64, any::<bool>()).prop_map(|(behind, room)| Step::Sinks(behind, room)),
    ]
}

/// So many changes, a second apart, a day before.
fn earlier(count: i64) -> Vec<Transition> {
    let change = Change::Connectivity { previous: Connectivity::Disconnected, current: Connectivity::Connected };
    let mut transitions = Vec::new();
    for second in 1..=count {
        let time = fixtures::noon() - SignedDuration::from_hours(24) + SignedDuration::from_secs(second);
        transition::record(&mut transitions, [change.clone()], "0000195169", time);
    }
    transitions
}

proptest! {
    #[test]
    fn whatever_happens_plans_settle_and_the_lifecycle_holds(steps in prop::collection::vec(step(), 1..40)) {
        let mut scene = Scene::from_template();
        scene.device.status.get_or_insert_default().transitions = earlier(28);
        scene.history = History { passed: None, has_room: true };
        let mut recorded = BTreeSet::new();
        let mut mode = None;
        let mut sequence = 0;
        for step in steps {
            match step {
                Step::Settle => { scene.settle(); }
                Step::Redeem if scene.phase() == Phase::ReadyForActivation => scene.redeem(),
                Step::Redeem => {}
                Step::Report(applied, well) => scene.report(applied, if well { &[] } else { &["storage"] }),
                Step::Silence => scene.liveness = Liveness::Silent,
                Step::Forget => scene.liveness = Liveness::Unknown,
                Step::Pass(seconds) => scene.pass(SignedDuration::from_secs(seconds)),
                Step::RaiseEpoch => scene.device.spec.activation.epoch += 1,
                Step::Template(revision, entry) => {
                    let configuration = if entry { fixtures::entry() } else { fixtures::enrollment() };
                    scene.template = Some(fixtures::template(configuration, revision));
                }
                Step::DropSite => scene.site = None,
                Step::RestoreSite => scene.site = Some(fixtures::site()),
                Step::LoseCode => scene.code = None,
                Step::Unreadable(what) => scene.unreadable = Some(what),
                Step::Readable => scene.unreadable = None,
                Step::Quota(exceeded) => scene.over_quota = exceeded.then(over_quota),
                Step::EditTemplate => scene.edit_template(),
                Step::Lock(reason) => {
                    scene.report_with(Some(1), &[], |report| report.lock = Some(lock("l1", reason)));
                }
                Step::Answer(unlock) => {
                    let id = scene.lock().map_or("l1", |lock| lock.0).to_owned();
                    if unlock {
                        scene.annotate("fleetform.dev/unlock", &id);
                    } else {
                        scene.annotate("fleetform.dev/remediate", &format!("SameSite@{id}"));
                    }
                }
                Step::Reboot(number) => scene.annotate("fleetform.dev/reboot", &number.to_string()),
                Step::Sinks(behind, has_room) => {
                    let passed = Some(scene.now - SignedDuration::from_secs(behind));
                    scene.history = History { passed: passed.max(scene.history.passed), has_room };
                }
            }
            let was = scene.phase();
            scene.settle();
            let status = scene.device.status.clone().unwrap_or_default();
            let activation = status.activation.clone().unwrap_or_default();
            prop_assert!(activation.sequence >= sequence, "the sequence never falls");
            sequence = activation.sequence;
            prop_assert_eq!(scene.phase() == Phase::Active, activation.association.is_some());
            // Without the project there is no key to make a code with.
            if scene.unreadable != Some("project") {
                prop_assert_eq!(scene.phase() == Phase::ReadyForActivation, scene.code.is_some());
            }
            prop_assert_eq!(activation.secret_name.is_some(), scene.code.is_some());
            if status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
                prop_assert_ne!(scene.phase(), Phase::NeedsConfiguration);
                prop_assert!(scene.phase() == Phase::Active || scene.code.is_some());
            }
            if let (Some(lock), Liveness::Reporting(_)) = (&status.lock, &scene.liveness) {
                let (orders, _) = scene.orders();
                prop_assert!(orders.iter().all(|order| order.id.as_str() == lock.id), "a locked device obeys its answer only");
            }
            prop_assert!(status.lock.is_none() || scene.phase() == Phase::Active);
            prop_assert!(status.transitions.len() <= 32);
            recorded.extend(status.transitions.iter().map(Recorded::key));
            for fact in &recorded {
                let is_there = status.transitions.iter().any(|transition| transition.key() == *fact);
                let is_told = scene.history.passed.is_some_and(|passed| fact.1 < passed);
                prop_assert!(is_there || is_told || scene.kept.contains(fact), "{fact:?} is lost");
            }
            let now = status.configuration.as_ref().and_then(|c| c.operation_mode);
            if was == Phase::Active && scene.phase() == Phase::Active && mode.is_some() {
                prop_assert_eq!(mode, now, "the mode never changes while active");
            }
            mode = now;
        }
    }
}
