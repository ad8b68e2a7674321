//! People at a device that a person plays.

use clap::Parser as _;
use fleetform_domain::people::{EnrollmentFailure, RecognitionFailure};
use fleetform_domain::wire::{EnrollmentOutcome, PalmPresented};
use fleetform_simulator::by_hand::{self, Cli};
use fleetform_simulator::people::Person;
use serde_json::json;

use super::door::{whole, wiegand};
use super::gateway::{Gateway, name_of};

/// Runs the program with these arguments; why it failed.
async fn run(arguments: &[&str]) -> Result<(), String> {
    let cli = Cli::try_parse_from(["fleetform-device"].iter().chain(arguments)).unwrap();
    let played = tokio::task::spawn_blocking(move || by_hand::main(&cli)).await.unwrap();
    played.map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_enrolls_at_a_desk_that_was_activated_before() {
    let gateway = Gateway::new(json!({ "operationMode": "Enrollment" }));
    let (_server, code) = gateway.open().await;
    let folder = tempfile::tempdir().unwrap();
    let desk = folder.path().join("desk").display().to_string();
    let enroll = ["enroll", "--state-dir", &desk, "--person", "ada"];
    let error = run(&[&enroll[..], &["--yes"]].concat()).await.unwrap_err();
    assert!(error.contains("is not active: activate it first"), "{error}");

    run(&["--code", &code, "--zip", "98104", "--yes", "--once", "--state-dir", &desk]).await.unwrap();
    run(&[&enroll[..], &["--yes", "--badge", "1111358294500", "--one-palm"]].concat()).await.unwrap();
    let error = run(&[&enroll[..], &["--yes", "--unreadable", "palm"]].concat()).await.unwrap_err();
    assert_eq!(error, "nobody was enrolled");
    let told = gateway.enrollments.lock().unwrap().clone();
    assert_eq!(told.iter().map(|told| told.sequence).collect::<Vec<_>>(), [1, 2]);
    let EnrollmentOutcome::Completed { badge_number, palms, .. } = &told[0].outcome else { panic!("{told:?}") };
    assert_eq!((badge_number.as_str(), palms.len()), ("1111358294500", 1));
    let badge_number = Some(Person::named("ada").badge());
    let failed = EnrollmentOutcome::Failed { reason: EnrollmentFailure::PalmNotReadable, badge_number };
    assert_eq!(told[1].outcome, failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_enters_by_either_palm_and_without_a_network() {
    let ada = Person::named("ada");
    let gateway = Gateway::new(wiegand(true));
    gateway.people.lock().unwrap().push(ada);
    *gateway.revision.lock().unwrap() = Some("r1".try_into().unwrap());
    gateway.pages.lock().unwrap().insert(String::new(), whole("r1", &[ada]));
    let (_server, code) = gateway.open().await;
    let folder = tempfile::tempdir().unwrap();
    let door = folder.path().join("door").display().to_string();
    run(&["--code", &code, "--zip", "98104", "--yes", "--once", "--state-dir", &door]).await.unwrap();
    for (arguments, is_open) in [
        (&["--person", "ada"][..], true),
        (&["--person", "ada", "--left"], true),
        (&["--person", "grace"], false),
        (&["--person", "ada", "--unreadable"], false),
        (&["--person", "ada", "--offline"], true),
        (&["--person", "grace", "--offline"], false),
    ] {
        let entered = run(&[&["enter", "--state-dir", &door], arguments].concat()).await;
        assert_eq!(entered, if is_open { Ok(()) } else { Err("the door stays closed".into()) }, "{arguments:?}");
    }
    // What happened without a network is told by who comes next.
    run(&["enter", "--state-dir", &door, "--person", "ada"]).await.unwrap();
    let told = gateway.recognitions.lock().unwrap().clone();
    assert_eq!(told.iter().map(|told| told.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(told[4].palm, PalmPresented::Recognized { user: name_of(&ada) });
    let reason = RecognitionFailure::PalmNotRecognized;
    assert_eq!(told[5].palm, PalmPresented::NotRecognized { reason });
}
