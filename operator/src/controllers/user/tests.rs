//! Plans for enrolled users.

use std::time::Duration;

use fleetform_crds::EnrolledUser;
use fleetform_crds::enrolled_user::{ABANDON_ANNOTATION, UN_ENROLLMENT_FINALIZER};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{Facts, Holder, Why, plan};
use crate::controllers::fixtures::noon;
use crate::crypto::SealError;
use crate::people::{Unreadable, fixtures};
use crate::reconcile::plan::{Action, Plan};
use crate::vault::KeyTrouble;

fn facts(holders: &[(&str, Option<bool>)]) -> Facts {
    let holder = |(name, confirmed): &(&str, Option<bool>)| Holder {
        name: (*name).to_owned(),
        confirmed: *confirmed,
        why: Why::List,
    };
    Facts {
        readable: Ok(()),
        holders: holders.iter().map(holder).collect(),
        unreadable: 0,
        ends: false,
        check_in: Duration::from_mins(1),
        written: None,
        now: noon(),
    }
}

/// Somebody who was deleted so many seconds before noon.
fn deleted(seconds: i64) -> EnrolledUser {
    let mut user = fixtures::user("eu-1", 1);
    user.metadata.deletion_timestamp = Some(Time(noon() - SignedDuration::from_secs(seconds)));
    user.metadata.generation = Some(2);
    user
}

fn executed(mut user: EnrolledUser, plan: &Plan) -> EnrolledUser {
    for action in &plan.actions {
        let Action::PatchStatus(patch) = action else { panic!("it is not over: {action:?}") };
        let mut status = serde_json::to_value(user.status.clone().unwrap_or_default()).unwrap();
        json_patch::merge(&mut status, patch);
        user.status = Some(serde_json::from_value(status).unwrap());
    }
    user
}

fn is_done(plan: &Plan, abandoned: bool) -> bool {
    matches!(&plan.actions[..], [Action::PatchStatus(_), Action::TellUnEnrolled { abandoned: said, .. }, Action::Release { finalizer: UN_ENROLLMENT_FINALIZER }]
        if *said == abandoned)
}

/// Whoever dies between recording it and the last sink: the next one tells the same.
#[test]
fn the_end_is_recorded_before_it_is_told_and_stays_what_it_was() {
    let mut user = deleted(5);
    user.metadata.annotations = Some([(ABANDON_ANNOTATION.to_owned(), "gone".to_owned())].into_iter().collect());
    let waited_for = facts(&[("door", Some(false))]);
    let [first, rest @ ..] = &plan(&user, &waited_for).actions[..] else { panic!("it ends") };
    let recorded = Plan { actions: vec![Action::PatchStatus(patch_of(first))], ..Plan::default() };
    let user = executed(user, &recorded);
    let later = Facts { now: noon() + SignedDuration::from_hours(1), ..facts(&[("door", Some(true))]) };
    let again = plan(&user, &later);
    assert_eq!(format!("{:?}", again.actions), format!("{rest:?}"));
    assert!(matches!(again.actions[0], Action::TellUnEnrolled { at, abandoned: true } if at == noon()));
}

#[test]
fn what_has_ended_is_told_with_the_badge() {
    let mut user = deleted(5);
    let [first, ..] = &plan(&user, &facts(&[])).actions[..] else { panic!("it ends") };
    user = executed(user, &Plan { actions: vec![Action::PatchStatus(patch_of(first))], ..Plan::default() });
    let closed = Facts { readable: Err(Unreadable::Closed(KeyTrouble::Opening)), ..facts(&[]) };
    let waiting = plan(&user, &closed);
    assert!(waiting.actions.is_empty() && waiting.look_again.is_some(), "{waiting:?}");
    // Restored from a backup of then, the person is enrolled.
    user.metadata.deletion_timestamp = None;
    user = executed(user.clone(), &plan(&user, &facts(&[])));
    assert_eq!(user.status.unwrap().un_enrollment, None);
}

fn patch_of(action: &Action) -> serde_json::Value {
    let Action::PatchStatus(patch) = action else { panic!("it is recorded first: {action:?}") };
    patch.clone()
}

#[test]
fn somebody_who_is_enrolled_costs_no_write() {
    let plan = plan(&fixtures::user("eu-1", 1), &facts(&[]));
    assert!(plan.actions.is_empty() && plan.look_again.is_none(), "{plan:?}");
}

#[test]
fn a_profile_that_does_not_open_is_said_and_that_it_does_again_too() {
    let user = fixtures::user("eu-1", 1);
    let bad = Facts { readable: Err(Unreadable::Sealed(SealError::OtherKey)), ..facts(&[]) };
    let said = plan(&user, &bad);
    insta::assert_json_snapshot!("profile_unreadable", said);
    let user = executed(user, &said);
    assert!(plan(&user, &bad).actions.is_empty());
    let again = plan(&user, &facts(&[]));
    insta::assert_json_snapshot!("profile_readable_again", again);
    assert!(plan(&executed(user, &again), &facts(&[])).actions.is_empty());
}

#[test]
fn a_person_nobody_holds_is_gone_at_once() {
    assert!(is_done(&plan(&deleted(0), &facts(&[])), false));
    assert!(is_done(&plan(&deleted(0), &facts(&[("door", Some(true))])), false));
    let mut released = deleted(0);
    released.metadata.finalizers = Some(vec!["example.org/other".into()]);
    assert!(plan(&released, &facts(&[])).actions.is_empty(), "what others hold is theirs");
}

#[test]
fn devices_that_are_there_get_a_moment_before_anything_is_written() {
    let held = facts(&[("door", None)]);
    let early = plan(&deleted(1), &held);
    assert!(early.actions.is_empty());
    assert_eq!(early.look_again, Some(Duration::from_secs(2)));
    let late = plan(&deleted(2), &held);
    insta::assert_json_snapshot!("un_enrolling", late);
    let user = executed(deleted(2), &late);
    assert!(plan(&user, &held).actions.is_empty(), "it is said once");
}

#[test]
fn what_is_waited_for_is_written_at_most_every_ten_seconds() {
    let both = facts(&[("east", None), ("west", Some(false))]);
    let user = executed(deleted(60), &plan(&deleted(60), &both));
    let one = facts(&[("east", None), ("west", Some(true))]);
    let just_written = Facts { written: Some(noon() - SignedDuration::from_secs(4)), ..one.clone() };
    let held_back = plan(&user, &just_written);
    assert!(held_back.actions.is_empty());
    assert_eq!(held_back.look_again, Some(Duration::from_secs(7)));
    let written = Facts { written: Some(noon() - SignedDuration::from_secs(10)), ..one };
    let user = executed(user.clone(), &plan(&user, &written));
    let status = user.status.unwrap().un_enrollment.unwrap();
    assert_eq!((status.pending_device_count, &*status.pending_devices), (1, &["east".to_owned()][..]));
}

#[test]
fn an_instance_that_does_not_read_is_waited_for_and_nothing_is_promised_of_it() {
    let ill = Facts { unreadable: 1, ..facts(&[]) };
    let user = deleted(60);
    let said = plan(&user, &ill);
    insta::assert_json_snapshot!("instance_unreadable", said);
    let user = executed(user, &said);
    assert!(plan(&user, &ill).actions.is_empty());
    // It reads again, and its device has not been heard.
    let back = plan(&user, &facts(&[("east", None)]));
    assert!(!back.actions.iter().any(|action| matches!(action, Action::Release { .. })), "{back:?}");
    let gone = plan(&user, &facts(&[]));
    assert!(matches!(
        gone.actions[..],
        [Action::PatchStatus(_), Action::TellUnEnrolled { abandoned: false, .. }, Action::Release { .. }]
    ));
}

#[test]
fn a_device_is_named_with_what_it_may_have_of_the_person_and_the_gravest_counts() {
    let holder = |name: &str, why| Holder { name: name.to_owned(), confirmed: None, why };
    let until = noon() + SignedDuration::from_hours(1);
    let holders = vec![
        holder("desk", Why::Enrollment),
        holder("east", Why::Former(until)),
        holder("west", Why::Former(until)),
        holder("west", Why::List),
    ];
    let user = executed(deleted(60), &plan(&deleted(60), &Facts { holders, ..facts(&[]) }));
    let status = user.status.unwrap();
    insta::assert_snapshot!("waited_for", status.conditions[0].message);
    assert_eq!(status.un_enrollment.unwrap().pending_devices, ["desk", "east", "west"]);
}

#[test]
fn after_a_restart_the_status_says_who_has_confirmed() {
    let user = executed(deleted(60), &plan(&deleted(60), &facts(&[("east", None)])));
    // The other one confirmed to the process before, and is silent now.
    let silent = facts(&[("east", Some(true)), ("west", None)]);
    assert!(is_done(&plan(&user, &silent), false));
    assert!(!is_done(&plan(&deleted(60), &silent), false), "without that it is waited for");
}

#[test]
fn more_devices_than_can_be_named_are_counted_and_all_are_waited_for() {
    let names: Vec<String> = (0..70).map(|door| format!("door-{door:02}")).collect();
    let mut holders: Vec<(&str, Option<bool>)> = names.iter().map(|name| (name.as_str(), None)).collect();
    let counted = plan(&deleted(60), &facts(&holders));
    let user = executed(deleted(60), &counted);
    let status = user.status.as_ref().unwrap();
    let un_enrollment = status.un_enrollment.clone().unwrap();
    assert_eq!((un_enrollment.pending_device_count, un_enrollment.pending_devices.len()), (70, 0));
    assert!(status.conditions[0].message.contains("door-04 and 65 more"), "{}", status.conditions[0].message);
    holders[0].1 = Some(true);
    let next = executed(user.clone(), &plan(&user, &facts(&holders)));
    assert_eq!(next.status.unwrap().un_enrollment.unwrap().pending_device_count, 69);
}

#[test]
fn who_gives_up_is_told_that_it_was_not_done_and_only_then() {
    let mut user = deleted(0);
    user.metadata.annotations = Some([(ABANDON_ANNOTATION.to_owned(), "the door burned down".to_owned())].into());
    assert!(is_done(&plan(&user, &facts(&[("door", None)])), true));
    assert!(is_done(&plan(&user, &facts(&[("door", Some(true))])), false), "it was done before");
    user.metadata.annotations = Some([(ABANDON_ANNOTATION.to_owned(), String::new())].into());
    assert!(plan(&user, &facts(&[("door", None)])).actions.is_empty(), "nothing is said by it");
    let mut enrolled = fixtures::user("eu-1", 1);
    enrolled.metadata.annotations = Some([(ABANDON_ANNOTATION.to_owned(), "early".to_owned())].into());
    assert!(plan(&enrolled, &facts(&[])).actions.is_empty(), "nobody is deleted by it");
}
