//! Enrollments: every step, every failure, and answers that are lost.

use std::sync::Arc;

use fleetform_domain::configuration::BadgeFormat;
use fleetform_domain::people::{EnrollmentFailure, Hand};
use fleetform_domain::wire::EnrollmentOutcome;
use fleetform_simulator::device::people::{EnrollmentStep, PATIENCE, TRIES};
use fleetform_simulator::device::{Device, DeviceError, EnrollmentScreen, Screen};
use fleetform_simulator::panel::scanner::{self, ScannerQuirks};
use fleetform_simulator::people::Person;
use fleetform_simulator::storage::{MemoryStorage, Stage, Storage};
use serde_json::json;

use super::super::support::Server;
use super::gateway::{Gateway, Mood};

const ADA: Person = Person::new(1, 1);

async fn desk() -> (Arc<Gateway>, Arc<MemoryStorage>, Device, Server) {
    let gateway = Gateway::new(json!({ "operationMode": "Enrollment", "consentVersion": "2026-01" }));
    let storage = Arc::new(MemoryStorage::default());
    let (device, server) = gateway.device(&storage).await;
    (gateway, storage, device, server)
}

fn palm(hand: Hand, look: u64) -> EnrollmentStep {
    EnrollmentStep::Palm(Some(ADA.look(hand, look)))
}

fn steps() -> Vec<EnrollmentStep> {
    vec![
        EnrollmentStep::Badge(Some(scanner::badge(&ADA.badge()))),
        EnrollmentStep::Terms(true),
        EnrollmentStep::Consent(true),
        palm(Hand::Right, 0),
        palm(Hand::Right, 1),
        palm(Hand::Left, 2),
        palm(Hand::Left, 3),
    ]
}

/// Takes the steps from the first on; what is shown at the end.
async fn play(device: &mut Device, steps: Vec<EnrollmentStep>) -> EnrollmentScreen {
    let mut shown = device.get_started().await.unwrap();
    for step in steps {
        shown = device.enroll(step).await.unwrap();
    }
    assert_eq!(device.screen(), Screen::Enrollment(shown));
    shown
}

/// What is on the disk of people, as JSON.
fn kept(storage: &MemoryStorage) -> String {
    let record = storage.load(&"SIM-1".try_into().unwrap()).unwrap().unwrap();
    let Stage::Active(committed) = record.stage else { panic!("it is active") };
    serde_json::to_string(&committed.people).unwrap()
}

#[tokio::test]
async fn somebody_enrolls_step_by_step() {
    use EnrollmentScreen as S;
    let (gateway, storage, mut device, _server) = desk().await;
    let mut shown = vec![device.get_started().await.unwrap()];
    for step in steps() {
        shown.push(device.enroll(step).await.unwrap());
    }
    let (right, left) = (Hand::Right, Hand::Left);
    assert_eq!(
        shown,
        [
            S::Badge,
            S::Terms,
            S::Consent,
            S::Palm(right),
            S::SamePalm(right),
            S::Palm(left),
            S::SamePalm(left),
            S::Enrolled
        ]
    );
    device.synchronise().await.unwrap();
    assert_eq!(device.screen(), Screen::Active);
    let told = gateway.enrollments.lock().unwrap().clone();
    let [told] = &told[..] else { panic!("it is told once: {told:?}") };
    assert_eq!(told.sequence, 1);
    let EnrollmentOutcome::Completed { badge_number, consent, palms } = &told.outcome else { panic!("{told:?}") };
    assert_eq!((badge_number, consent.version.as_str()), (&ADA.badge(), "2026-01"));
    assert!(consent.given_at <= told.time);
    assert_eq!(palms[..], [ADA.look(right, 0), ADA.look(left, 2)]);
    assert_eq!(kept(&storage), r#"{"sequence":1,"untold":[],"lost":0}"#, "nothing of the palms stays on the disk");
    assert_eq!(gateway.failed_checks(), [""; 0]);
}

#[tokio::test]
async fn every_failure_is_shown_and_told_once_with_its_reason() {
    use EnrollmentFailure as F;
    let (gateway, _storage, mut device, _server) = desk().await;
    let instead = |at: usize, step: EnrollmentStep, times: usize| {
        let mut steps = steps();
        steps.truncate(at);
        steps.extend(std::iter::repeat_n(step, times));
        steps
    };
    let other = EnrollmentStep::Palm(Some(ADA.stranger().look(Hand::Right, 0)));
    let cases = [
        (instead(0, EnrollmentStep::Badge(None), 3), F::BadgeNotReadable),
        (instead(1, EnrollmentStep::Terms(false), 1), F::TermsDeclined),
        (instead(2, EnrollmentStep::Consent(false), 1), F::ConsentDeclined),
        (instead(3, EnrollmentStep::Palm(None), 3), F::PalmNotReadable),
        (instead(4, other, 1), F::PalmsDiffer),
    ];
    let mut expected = Vec::new();
    for (steps, reason) in cases {
        assert_eq!(play(&mut device, steps).await, EnrollmentScreen::Failed(reason));
        expected.push(reason);
    }
    for (refused, is_shown) in
        [(F::BadgeAlreadyEnrolled, 1), (F::PalmAlreadyEnrolled, 2), (F::UnEnrollmentInProgress, 3)]
    {
        *gateway.refuses.lock().unwrap() = Some(refused);
        assert_eq!(play(&mut device, steps()).await, EnrollmentScreen::Failed(refused), "{is_shown}");
    }
    device.synchronise().await.unwrap();
    let told = gateway.enrollments.lock().unwrap().clone();
    assert!(told.iter().map(|told| told.sequence).eq(1..=8), "{told:?}");
    let reasons: Vec<F> = told
        .iter()
        .filter_map(|told| match &told.outcome {
            EnrollmentOutcome::Failed { reason, badge_number } => {
                assert_eq!(badge_number.is_some(), *reason != F::BadgeNotReadable);
                Some(*reason)
            }
            EnrollmentOutcome::Completed { .. } | EnrollmentOutcome::Enrolled { .. } => None,
        })
        .collect();
    assert_eq!(reasons, expected);
}

#[tokio::test]
async fn who_goes_away_times_out_at_the_next_step_and_at_the_next_check_in() {
    let (gateway, _storage, mut device, _server) = desk().await;
    play(&mut device, steps()[..3].to_vec()).await;
    device.pass(PATIENCE);
    let timed_out = EnrollmentScreen::Failed(EnrollmentFailure::TimedOut);
    assert_eq!(device.enroll(palm(Hand::Right, 0)).await.unwrap(), timed_out);
    assert!(matches!(device.enroll(palm(Hand::Right, 0)).await, Err(DeviceError::OutOfTurn { .. })));
    play(&mut device, steps()[..2].to_vec()).await;
    device.pass(PATIENCE);
    device.synchronise().await.unwrap();
    assert_eq!(device.screen(), Screen::Enrollment(timed_out));
    // And who comes finds the device as somebody left it.
    play(&mut device, steps()[..1].to_vec()).await;
    assert_eq!(play(&mut device, steps()).await, EnrollmentScreen::Enrolled);
    let told = gateway.enrollments.lock().unwrap().clone();
    let failed = |told: &EnrollmentOutcome| {
        matches!(told, EnrollmentOutcome::Failed { reason: EnrollmentFailure::TimedOut, .. })
    };
    assert!(told[..3].iter().all(|told| failed(&told.outcome)) && told.len() == 4, "{told:?}");
}

#[tokio::test]
async fn a_scanner_that_is_lost_or_reads_another_format_is_seen_before_anybody_comes_and_until_it_is_repaired() {
    let (gateway, _storage, mut device, _server) = desk().await;
    let failed = EnrollmentScreen::Failed(EnrollmentFailure::BadgeNotReadable);
    let other = BadgeFormat { length_bits: 37, ..BadgeFormat::standard_26_bit() };
    for (quirks, check, tries) in [
        (ScannerQuirks { lost: true, ..ScannerQuirks::default() }, "badge-scanner", 1),
        (ScannerQuirks { badge_format: Some(other), ..ScannerQuirks::default() }, "badge-format", TRIES.into()),
    ] {
        device.quirks().badge_scanner = Some(Box::new(quirks));
        device.synchronise().await.unwrap();
        assert_eq!(gateway.failed_checks(), [check]);
        assert_eq!(play(&mut device, vec![steps()[0].clone(); tries]).await, failed, "{check}");
        device.synchronise().await.unwrap();
        assert_eq!(gateway.failed_checks(), [check]);
        device.quirks().badge_scanner = None;
        device.synchronise().await.unwrap();
        assert_eq!(gateway.failed_checks(), [""; 0], "{check}");
    }
    assert_eq!(play(&mut device, steps()).await, EnrollmentScreen::Enrolled);
}

#[tokio::test]
async fn a_lost_answer_makes_the_same_enrollment_be_told_again_with_the_same_sequence_also_after_a_restart() {
    let (gateway, storage, mut device, _server) = desk().await;
    gateway.set(Mood::LosesAnswers);
    assert_eq!(play(&mut device, steps()).await, EnrollmentScreen::Pending);
    let on_disk = kept(&storage);
    assert!(on_disk.len() > 2 * fleetform_domain::people::PALM_CODE_BYTES, "the palms are there");
    for secret in ["Completed", "palms", ADA.badge().as_str()] {
        assert!(!on_disk.contains(secret), "{secret} is not sealed");
    }
    device.synchronise().await.unwrap();
    device.power_on().await.unwrap();
    device.synchronise().await.unwrap();
    assert!(gateway.report().keeps_enrollments, "it says that it will tell again");
    gateway.set(Mood::DoesNotAcknowledge);
    device.synchronise().await.unwrap();
    gateway.set(Mood::Unavailable);
    device.synchronise().await.unwrap();
    gateway.set(Mood::Good);
    device.synchronise().await.unwrap();
    device.synchronise().await.unwrap();
    let told = gateway.enrollments.lock().unwrap().clone();
    assert!(told.len() >= 6, "{}", told.len());
    assert!(told.iter().all(|one| one.time == told[0].time && one.sequence == 1));
    let decided = told.iter().position(|one| matches!(one.outcome, EnrollmentOutcome::Enrolled { .. })).unwrap();
    assert!(told[..decided].iter().all(|one| *one == told[0]), "it is the same until it is answered");
    assert!(told[decided..].iter().all(|one| *one == told[decided]), "then the answer is told, and no palm any more");
    let after = told.len();
    device.synchronise().await.unwrap();
    assert_eq!(gateway.enrollments.lock().unwrap().len(), after, "what is acknowledged is told no more");
    assert!(!gateway.report().keeps_enrollments);
    assert_eq!(play(&mut device, steps()).await, EnrollmentScreen::Enrolled);
    assert_eq!(gateway.enrollments.lock().unwrap().last().unwrap().sequence, 2);
    assert_eq!(kept(&storage), r#"{"sequence":2,"untold":[],"lost":0}"#);
}

#[tokio::test]
async fn without_a_network_nobody_is_enrolled_and_no_palm_stays_on_the_disk() {
    let (gateway, storage, mut device, _server) = desk().await;
    device.quirks().no_network = true;
    let unreachable = EnrollmentScreen::Failed(EnrollmentFailure::GatewayUnreachable);
    assert_eq!(play(&mut device, steps()).await, unreachable);
    let with_palms = 2 * fleetform_domain::people::PALM_CODE_BYTES;
    assert!(kept(&storage).len() < with_palms, "{}", kept(&storage));
    device.quirks().no_network = false;
    device.synchronise().await.unwrap();
    let told = gateway.enrollments.lock().unwrap().clone();
    let reason = EnrollmentFailure::GatewayUnreachable;
    let failed = EnrollmentOutcome::Failed { reason, badge_number: Some(ADA.badge()) };
    assert!(told.len() == 1 && told[0].outcome == failed, "{told:?}");
}

#[tokio::test]
async fn a_full_disk_enrolls_nobody_and_the_gap_is_reported() {
    let (gateway, _storage, mut device, _server) = desk().await;
    device.quirks().disk_full = true;
    let failed = EnrollmentScreen::Failed(EnrollmentFailure::SystemError);
    assert_eq!(play(&mut device, steps()).await, failed);
    assert!(gateway.enrollments.lock().unwrap().is_empty(), "what could be told twice under one number is not told");
    device.quirks().disk_full = false;
    device.synchronise().await.unwrap();
    assert_eq!(gateway.failed_checks(), ["event-buffer"]);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.failed_checks(), [""; 0]);
}

#[tokio::test]
async fn a_device_that_is_not_ready_for_people_enrolls_nobody() {
    let (gateway, _storage, mut device, _server) = desk().await;
    let is_out_of_turn =
        |done: Result<EnrollmentScreen, DeviceError>| matches!(done, Err(DeviceError::OutOfTurn { .. }));
    assert!(is_out_of_turn(device.enroll(EnrollmentStep::Terms(true)).await), "nobody has got started");
    assert!(matches!(device.present_palm(None).await, Err(DeviceError::OutOfTurn { .. })), "it is no door");
    device.get_started().await.unwrap();
    assert!(is_out_of_turn(device.enroll(EnrollmentStep::Consent(true)).await), "the badge comes first");
    *gateway.out_of_service.lock().unwrap() = true;
    device.synchronise().await.unwrap();
    assert_eq!(device.screen(), Screen::OutOfService);
    assert!(is_out_of_turn(device.get_started().await));
    *gateway.out_of_service.lock().unwrap() = false;
    device.synchronise().await.unwrap();
    device.tamper().await.unwrap();
    assert!(is_out_of_turn(device.get_started().await));
    assert!(gateway.enrollments.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_end_of_the_association_wipes_what_was_kept_of_people() {
    let (gateway, storage, mut device, _server) = desk().await;
    gateway.set(Mood::LosesAnswers);
    play(&mut device, steps()).await;
    gateway.set(Mood::Gone);
    assert!(matches!(device.synchronise().await, Err(DeviceError::AssociationEnded)));
    assert_eq!((device.screen(), storage.list().unwrap().len()), (Screen::Scan, 0));
}
