//! Instances over quota.

use super::*;

#[test]
fn an_instance_over_quota_gets_no_code_until_there_is_room() {
    let mut scene = Scene::from_template();
    scene.over_quota = Some(over_quota());
    insta::assert_json_snapshot!("over_quota", scene.plan());
    scene.settle();
    assert_eq!(scene.phase(), Phase::NeedsConfiguration);
    scene.over_quota = None;
    scene.settle();
    assert_eq!((scene.phase(), scene.ready().0), (Phase::ReadyForActivation, "True"));
    assert_eq!(scene.condition("Stalled"), "");
    // A quota that is lowered takes the code back, as it is good for one more.
    scene.over_quota = Some(over_quota());
    scene.settle();
    assert_eq!(
        (scene.phase(), scene.ready().1, scene.code.is_some()),
        (Phase::NeedsConfiguration, "QuotaExceeded", false)
    );
}

#[test]
fn an_active_instance_over_quota_is_served_on_and_says_so() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.over_quota = Some(over_quota());
    scene.settle();
    assert_eq!((scene.phase(), scene.ready()), (Phase::Active, ("False", "QuotaExceeded")));
    assert_eq!(scene.condition("Stalled"), "True QuotaExceeded: this gateway is over the quota");
    scene.template =
        Some(fixtures::template(Configuration { maximum_offline_minutes: Some(60), ..fixtures::entry() }, 2));
    scene.settle();
    assert_eq!(scene.device.status.as_ref().unwrap().configuration.as_ref().unwrap().desired, 2, "it is configured on");
    // Once it is deactivated, nobody takes its place.
    scene.device.spec.activation.epoch += 1;
    scene.settle();
    assert_eq!((scene.phase(), scene.code.is_some()), (Phase::NeedsConfiguration, false));

    let mut elsewhere = Scene::active();
    elsewhere.report(Some(1), &[]);
    elsewhere.settle();
    elsewhere.over_quota = Some(Obstacle::waits(Reason::QuotaExceeded, "spec.siteRef: Site central is over the quota"));
    assert_eq!(elsewhere.settle(), 0, "its site is over quota, it is not");
}
