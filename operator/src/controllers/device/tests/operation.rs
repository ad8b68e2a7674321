//! Commands, locks, copies, and withdrawal from service.

use super::*;

#[test]
fn a_reboot_is_asked_delivered_and_done_once() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.annotate("fleetform.dev/reboot", "after-the-storm");
    assert_eq!(scene.settle(), 1);
    let (orders, _) = scene.orders();
    assert_eq!((orders.len(), orders[0].kind, orders[0].id.as_str()), (1, CommandKind::Reboot, "after-the-storm"));
    let told = scene.now;
    scene.report_with(Some(1), &[], |report| report.told = vec![("after-the-storm".try_into().unwrap(), told)]);
    assert_eq!(scene.settle(), 1, "that it was delivered");
    scene.report_with(Some(1), &[], |report| report.completed = Some("after-the-storm".try_into().unwrap()));
    assert!(scene.orders().0.is_empty(), "it is not told of what it has done");
    assert_eq!(scene.settle(), 1, "that it is done");
    let done = scene.command(CommandKind::Reboot).unwrap();
    assert!(done.delivered_at.is_some() && done.done_at.is_some() && !done.abandoned);
    scene.report(Some(1), &[]);
    assert_eq!(scene.settle(), 0);
    assert!(scene.orders().0.is_empty(), "an annotation that is left asks nothing again");
}

#[test]
fn a_reboot_is_not_kept_for_another_device() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.annotate("fleetform.dev/reboot", "now");
    scene.settle();
    scene.device.spec.activation.epoch = 1;
    scene.settle();
    assert!(scene.command(CommandKind::Reboot).unwrap().abandoned);
    scene.redeem();
    scene.report(Some(1), &[]);
    scene.settle();
    assert!(scene.orders().0.is_empty());
}

#[test]
fn a_tampered_device_is_unlocked_by_the_name_of_its_lock_only() {
    let mut scene = Scene::locked(LockReason::Tamper);
    insta::assert_snapshot!("locked_by_tamper", scene.condition("Locked"));
    scene.annotate("fleetform.dev/remediate", "SameSite@l1");
    scene.annotate("fleetform.dev/unlock", "an-earlier-lock");
    scene.annotate("fleetform.dev/reboot", "now");
    scene.settle();
    assert!(scene.orders().0.is_empty(), "neither an absence's answer, nor another lock's, nor a reboot");
    scene.annotate("fleetform.dev/unlock", "l1");
    scene.settle();
    let (orders, _) = scene.orders();
    assert_eq!((orders.len(), orders[0].kind, orders[0].id.as_str()), (1, CommandKind::Unlock, "l1"));
    scene.report(Some(1), &[]);
    scene.settle();
    assert_eq!(scene.lock(), None);
    assert!(scene.command(CommandKind::Unlock).unwrap().done_at.is_some());
    assert_eq!(scene.orders().0[0].kind, CommandKind::Reboot, "what waited is told now");
    scene.report_with(Some(1), &[], |report| report.lock = Some(lock("l2", LockReason::Tamper)));
    scene.settle();
    assert_eq!(scene.lock(), Some(("l2", LockReason::Tamper)), "the next lock takes an answer of its own");
}

#[test]
fn an_absence_is_answered_by_same_site_or_by_different_site() {
    let mut scene = Scene::locked(LockReason::MaximumOfflineTime);
    insta::assert_snapshot!("locked_by_absence", scene.condition("Locked"));
    scene.annotate("fleetform.dev/remediate", "SameSite@l1");
    scene.settle();
    assert_eq!(scene.orders().0[0].kind, CommandKind::Remediate);
    scene.report(Some(1), &[]);
    scene.settle();
    assert_eq!((scene.lock(), scene.phase()), (None, Phase::Active));

    let mut scene = Scene::locked(LockReason::MaximumOfflineTime);
    scene.annotate("fleetform.dev/remediate", "DifferentSite@l1");
    scene.settle();
    let activation = scene.device.status.as_ref().unwrap().activation.clone().unwrap();
    assert_eq!((scene.phase(), scene.lock()), (Phase::ReadyForActivation, None));
    assert_eq!((activation.sequence, activation.association), (2, None), "a later sequence proves the end");
}

#[test]
fn a_site_answers_all_its_absences_at_once_and_no_later_one() {
    let mut scene = Scene::locked(LockReason::MaximumOfflineTime);
    let until = scene.now.to_string();
    let site = scene.site.as_mut().unwrap();
    site.metadata.annotations =
        Some([("fleetform.dev/remediate".to_owned(), format!("SameSite@{until}"))].into_iter().collect());
    scene.settle();
    assert_eq!(scene.orders().0[0].kind, CommandKind::Remediate);
    scene.report(Some(1), &[]);
    scene.settle();
    assert_eq!(scene.lock(), None);
    scene.pass(SignedDuration::from_secs(60));
    scene.report_with(Some(1), &[], |report| report.lock = Some(lock("l2", LockReason::MaximumOfflineTime)));
    scene.settle();
    assert!(scene.orders().0.is_empty(), "it began later than what was answered");
}

#[test]
fn a_device_that_was_away_too_long_is_locked_whatever_it_says() {
    let away = |serving: SignedDuration| {
        let mut scene = Scene::active();
        scene.report(Some(1), &[]);
        scene.settle();
        scene.liveness = Liveness::Silent;
        scene.settle();
        scene.pass(SignedDuration::from_hours(8 * 24));
        scene.serving_since = Some(scene.now - serving);
        scene.report(Some(1), &[]);
        scene.settle();
        scene
    };
    let scene = away(SignedDuration::from_hours(365 * 24));
    assert_eq!(scene.lock().map(|lock| lock.1), Some(LockReason::MaximumOfflineTime));
    let (orders, order) = scene.orders();
    assert!(orders.is_empty() && order.is_some_and(|order| order.reason == LockReason::MaximumOfflineTime));
    assert_eq!(away(SignedDuration::from_hours(1)).lock(), None, "the gateway itself was away");
}

#[test]
fn a_copy_of_a_device_locks_both() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.report_with(Some(1), &[], |report| report.interleaved = true);
    scene.settle();
    let (id, reason) = scene.lock().map(|(id, reason)| (id.to_owned(), reason)).unwrap();
    assert_eq!(reason, LockReason::Cloned);
    insta::assert_snapshot!("locked_by_copy", scene.condition("Locked"));
    assert_eq!(scene.orders().1.map(|order| order.id.as_str().to_owned()), Some(id.clone()));
    scene.report_with(Some(1), &[], |report| report.lock = Some(lock("own", LockReason::MaximumOfflineTime)));
    scene.settle();
    assert_eq!(scene.lock().map(|lock| lock.1), Some(LockReason::Cloned), "an absence does not hide it");
    scene.annotate("fleetform.dev/unlock", &id);
    scene.report_with(Some(1), &[], |report| report.lock = Some(lock(&id, LockReason::Cloned)));
    scene.settle();
    scene.report(Some(1), &[]);
    scene.settle();
    assert_eq!(scene.lock(), None);
}

#[test]
fn hardware_with_the_tag_of_another_is_noticed() {
    let mut scene = Scene::active();
    scene.same_tag = Some("library/side-door".into());
    scene.settle();
    assert!(scene.condition("DuplicateAssetTag").contains("also that of library/side-door"));
    scene.same_tag = None;
    scene.settle();
    assert_eq!(scene.condition("DuplicateAssetTag"), "");
}

#[test]
fn a_gateway_whose_clock_is_off_says_so_in_one_write_each_way() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.report_with(Some(1), &[], |report| report.clock_is_off = true);
    assert_eq!(scene.settle(), 1);
    assert!(scene.condition("ClockSkewed").contains("more than a minute ahead or behind"));
    scene.liveness = Liveness::Unknown;
    assert_eq!(scene.settle(), 0, "while nothing is known of it, what was said stays");
    scene.report(Some(1), &[]);
    assert_eq!(scene.settle(), 1);
    assert_eq!(scene.condition("ClockSkewed"), "");
}

#[test]
fn a_device_that_is_withdrawn_says_so() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.device.spec.out_of_service = true;
    scene.settle();
    assert!(scene.condition("OutOfService").contains("withdrawn from service"));
    assert_eq!(scene.ready(), ("True", "ConfigurationApplied"));
}

#[test]
fn an_answer_for_a_time_that_has_yet_to_come_answers_nothing() {
    let mut scene = Scene::locked(LockReason::MaximumOfflineTime);
    let site = scene.site.as_mut().unwrap();
    let in_advance = ("fleetform.dev/remediate".to_owned(), "SameSite@2099-01-01T00:00:00Z".to_owned());
    site.metadata.annotations = Some([in_advance].into_iter().collect());
    scene.settle();
    assert!(scene.orders().0.is_empty());
    assert_eq!(scene.command(CommandKind::Remediate), None);
}

#[test]
fn an_absence_is_judged_by_the_configuration_that_the_device_runs() {
    let mut scene = Scene::from_template();
    let hour = Configuration { maximum_offline_minutes: Some(60), ..fixtures::entry() };
    scene.template = Some(fixtures::template(hour, 1));
    scene.settle();
    scene.redeem();
    scene.report(Some(1), &[]);
    scene.settle();
    // What is wanted cannot be told just now.
    scene.template = None;
    scene.liveness = Liveness::Silent;
    scene.settle();
    scene.pass(SignedDuration::from_hours(2));
    scene.report(Some(1), &[]);
    scene.settle();
    assert_eq!(scene.lock().map(|lock| lock.1), Some(LockReason::MaximumOfflineTime));
}

#[test]
fn a_device_that_was_not_inspected_is_let_go_on_record() {
    for (reason, told) in [(LockReason::Tamper, true), (LockReason::MaximumOfflineTime, false)] {
        let mut scene = Scene::locked(reason);
        scene.device.spec.activation.epoch += 1;
        let plan = scene.plan();
        let event = plan.actions.iter().find_map(|action| match action {
            Action::Publish(news) => Some(news.note.as_str()),
            _ => None,
        });
        let note = event.unwrap_or_default();
        assert_eq!(note.contains("asset tag 0000195169 was locked (Tamper, l1)"), told, "{note}");
        scene.execute(&plan);
        assert!(scene.plan().actions.is_empty(), "it is said once");
    }
}

#[test]
fn which_checks_fail_is_shown_while_they_do() {
    let mut scene = Scene::active();
    scene.report(Some(1), &["usb-link", "internal-error"]);
    scene.settle();
    let message = "health checks failed when the device checked in last: internal-error, usb-link";
    assert!(scene.condition("Healthy").ends_with(message), "{}", scene.condition("Healthy"));
    scene.report(Some(1), &["usb-link"]);
    assert_eq!(scene.settle(), 1, "another picture of it");
    scene.report(Some(1), &[]);
    scene.settle();
    assert!(scene.device.status.as_ref().unwrap().failed_health_checks.is_empty());
}
