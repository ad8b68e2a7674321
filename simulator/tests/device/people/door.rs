//! Recognitions: by the gateway, by the device's own list, and what the control panel says.

use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::configuration::BadgeFormat;
use fleetform_domain::operation::LockReason;
use fleetform_domain::people::{Hand, RecognitionFailure};
use fleetform_domain::wire::{ListedUser, PalmPresented, UserList};
use fleetform_simulator::device::{Device, DeviceError, EntryScreen, Screen};
use fleetform_simulator::panel::PanelQuirks;
use fleetform_simulator::people::Person;
use fleetform_simulator::storage::{MAX_UNTOLD, MemoryStorage};
use serde_json::{Value, json};

use super::super::support::Server;
use super::gateway::{Gateway, Mood, name_of};

const ADA: Person = Person::new(1, 1);
const GRACE: Person = Person::new(1, 2);

pub(super) fn wiegand(offline: bool) -> Value {
    json!({
        "operationMode": "Entry",
        "controlPanel": { "wiegand": {} },
        "badgeFormat": BadgeFormat::standard_26_bit(),
        "offlineRecognition": offline,
    })
}

async fn door(configuration: Value) -> (Arc<Gateway>, Device, Server) {
    let gateway = Gateway::new(configuration);
    gateway.people.lock().unwrap().extend([ADA, GRACE]);
    let (device, server) = gateway.device(&Arc::new(MemoryStorage::default())).await;
    (gateway, device, server)
}

/// The first list, whole.
pub(super) fn whole(revision: &str, people: &[Person]) -> UserList {
    let listed = |person: &Person| ListedUser {
        user: name_of(person),
        badge_number: person.badge(),
        palms: vec![person.look(Hand::Right, 0), person.look(Hand::Left, 0)],
    };
    UserList {
        revision: revision.try_into().unwrap(),
        complete: true,
        users: people.iter().map(listed).collect(),
        removed: Vec::new(),
        next: None,
    }
}

async fn present(device: &mut Device, person: &Person) -> EntryScreen {
    let shown = device.present_palm(Some(person.look(Hand::Right, 7))).await.unwrap();
    assert_eq!(device.screen(), Screen::Entry(shown));
    shown
}

#[tokio::test]
async fn a_palm_is_recognised_in_one_round_trip_and_the_panel_opens_the_door() {
    for line in [json!({ "osdp": { "address": 5 } }), json!({ "osdp": { "version": "V1" } }), json!({ "wiegand": {} })]
    {
        let mut configuration = wiegand(false);
        configuration["controlPanel"] = line;
        let (gateway, mut device, server) = door(configuration).await;
        let before = server.paths().len();
        assert_eq!(present(&mut device, &ADA).await, EntryScreen::Granted);
        assert_eq!(server.paths()[before..], ["/v1/recognitions"]);
        let admits = Some([GRACE.badge()].into());
        device.quirks().panel = Some(Box::new(PanelQuirks { admits, ..PanelQuirks::default() }));
        assert_eq!(present(&mut device, &ADA).await, EntryScreen::Denied);
        assert_eq!(present(&mut device, &GRACE).await, EntryScreen::Granted);
        let unknown = EntryScreen::NotRecognized(RecognitionFailure::PalmNotRecognized);
        assert_eq!(present(&mut device, &ADA.stranger()).await, unknown);
        assert_eq!(unknown.message(), "Palm not recognized");
        device.synchronise().await.unwrap();
        assert_eq!(device.screen(), Screen::Active);
        assert_eq!((gateway.sequences(), gateway.failed_checks().len()), (vec![1, 2, 3, 4], 0));
    }
}

#[tokio::test]
async fn a_palm_that_cannot_be_read_is_told_and_nothing_is_asked() {
    let (gateway, mut device, _server) = door(wiegand(false)).await;
    let unread = EntryScreen::NotRecognized(RecognitionFailure::PalmNotReadable);
    assert_eq!(device.present_palm(None).await.unwrap(), unread);
    assert_eq!(unread.message(), "Unable to read palm");
    let told = gateway.recognitions.lock().unwrap().clone();
    let reason = RecognitionFailure::PalmNotReadable;
    assert!(told.len() == 1 && told[0].palm == PalmPresented::NotRecognized { reason }, "{told:?}");
}

#[tokio::test]
async fn what_is_not_acknowledged_is_told_again_with_its_sequence_as_what_came_of_it() {
    let (gateway, mut device, _server) = door(wiegand(false)).await;
    gateway.set(Mood::DoesNotAcknowledge);
    assert_eq!(present(&mut device, &ADA).await, EntryScreen::Granted);
    present(&mut device, &ADA.stranger()).await;
    device.power_on().await.unwrap();
    gateway.set(Mood::Good);
    device.synchronise().await.unwrap();
    device.synchronise().await.unwrap();
    let told: Vec<_> =
        gateway.recognitions.lock().unwrap()[2..].iter().map(|told| (told.sequence, told.palm.clone())).collect();
    let reason = RecognitionFailure::PalmNotRecognized;
    assert_eq!(
        told,
        [(1, PalmPresented::Recognized { user: name_of(&ADA) }), (2, PalmPresented::NotRecognized { reason })]
    );
}

#[tokio::test]
async fn a_gateway_that_cannot_serve_is_out_of_reach_like_one_that_is_not_there() {
    let (gateway, mut device, _server) = door(wiegand(true)).await;
    *gateway.revision.lock().unwrap() = Some("r1".try_into().unwrap());
    gateway.pages.lock().unwrap().insert(String::new(), whole("r1", &[ADA]));
    device.synchronise().await.unwrap();
    gateway.set(Mood::Unavailable);
    assert_eq!(present(&mut device, &ADA).await, EntryScreen::Granted);
    let stranger = EntryScreen::NotRecognized(RecognitionFailure::PalmNotRecognized);
    assert_eq!(present(&mut device, &ADA.stranger()).await, stranger);
}

#[tokio::test]
async fn the_own_list_counts_while_the_network_is_down_where_that_is_set_and_until_the_device_locks_itself() {
    for offline in [true, false] {
        let (gateway, mut device, _server) = door(wiegand(offline)).await;
        *gateway.revision.lock().unwrap() = Some("r1".try_into().unwrap());
        gateway.pages.lock().unwrap().insert(String::new(), whole("r1", &[ADA, GRACE]));
        device.synchronise().await.unwrap();
        assert_eq!(gateway.report().enrolled_users_revision.unwrap().as_str(), "r1", "what it has got is said at once");
        device.quirks().no_network = true;
        device.power_on().await.unwrap();
        let unreachable = EntryScreen::NotRecognized(RecognitionFailure::GatewayUnreachable);
        let unknown = EntryScreen::NotRecognized(RecognitionFailure::PalmNotRecognized);
        let expected = if offline { [EntryScreen::Granted, unknown] } else { [unreachable; 2] };
        assert_eq!([present(&mut device, &GRACE).await, present(&mut device, &GRACE.stranger()).await], expected);
        assert!(gateway.sequences().is_empty());

        device.pass(Duration::from_hours(1));
        let locked = device.present_palm(Some(ADA.look(Hand::Right, 1))).await;
        assert!(matches!(locked, Err(DeviceError::OutOfTurn { .. })), "{locked:?}");
        assert_eq!(device.screen(), Screen::Locked(LockReason::MaximumOfflineTime));

        device.quirks().no_network = false;
        device.synchronise().await.unwrap();
        assert_eq!(gateway.sequences(), [1, 2], "told once it can be, each with a sequence of its own");
        if offline {
            let first = gateway.recognitions.lock().unwrap()[0].palm.clone();
            assert_eq!(first, PalmPresented::Recognized { user: name_of(&GRACE) });
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_made_up_for_by_the_own_list_with_the_same_sequence() {
    let (gateway, mut device, _server) = door(wiegand(true)).await;
    *gateway.revision.lock().unwrap() = Some("r1".try_into().unwrap());
    gateway.pages.lock().unwrap().insert(String::new(), whole("r1", &[ADA]));
    device.synchronise().await.unwrap();
    gateway.set(Mood::LosesAnswers);
    assert_eq!(present(&mut device, &ADA).await, EntryScreen::Granted);
    gateway.set(Mood::Good);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.sequences(), [1, 1]);
}

#[tokio::test]
async fn trouble_with_the_panel_reaches_the_health_of_the_device_and_leaves_it() {
    let other_format = BadgeFormat { length_bits: 37, ..BadgeFormat::standard_26_bit() };
    let secure = json!({ "osdp": {} });
    for (line, quirks, check) in [
        (secure.clone(), PanelQuirks { lost: true, ..PanelQuirks::default() }, "control-panel"),
        (secure.clone(), PanelQuirks { address: Some(9), ..PanelQuirks::default() }, "control-panel"),
        (secure.clone(), PanelQuirks { other_key: true, ..PanelQuirks::default() }, "control-panel"),
        (secure, PanelQuirks { badge_format: Some(other_format.clone()), ..PanelQuirks::default() }, "badge-format"),
        (json!({ "wiegand": {} }), PanelQuirks { lost: true, ..PanelQuirks::default() }, "control-panel"),
        (
            json!({ "wiegand": {} }),
            PanelQuirks { badge_format: Some(other_format), ..PanelQuirks::default() },
            "badge-format",
        ),
    ] {
        let mut configuration = wiegand(false);
        configuration["controlPanel"] = line;
        let (gateway, mut device, _server) = door(configuration).await;
        device.quirks().panel = Some(Box::new(quirks.clone()));
        device.synchronise().await.unwrap();
        assert_eq!(gateway.failed_checks(), [check], "nobody has to come: {quirks:?}");
        assert_eq!(present(&mut device, &ADA).await, EntryScreen::NoDecision, "{quirks:?}");
        // A restart repairs no line.
        device.power_on().await.unwrap();
        device.synchronise().await.unwrap();
        assert_eq!(gateway.failed_checks(), [check], "{quirks:?}");
        device.quirks().panel = None;
        device.synchronise().await.unwrap();
        assert_eq!(gateway.failed_checks(), [""; 0], "{quirks:?}");
    }
}

#[tokio::test]
async fn a_full_buffer_loses_the_oldest_and_that_is_reported_until_all_else_is_told() {
    let (gateway, mut device, _server) = door(wiegand(false)).await;
    device.quirks().no_network = true;
    for _ in 0..MAX_UNTOLD + 5 {
        device.present_palm(None).await.unwrap();
    }
    device.power_on().await.unwrap();
    device.quirks().no_network = false;
    device.synchronise().await.unwrap();
    assert_eq!(gateway.failed_checks(), ["event-buffer"]);
    let kept = u64::try_from(MAX_UNTOLD).unwrap();
    assert_eq!(gateway.sequences(), (6..=kept + 5).collect::<Vec<_>>(), "in order, and no more of the first five");
    device.synchronise().await.unwrap();
    assert_eq!(gateway.failed_checks(), [""; 0]);
    device.present_palm(None).await.unwrap();
    assert_eq!(gateway.sequences().last(), Some(&(kept + 6)));
}

#[tokio::test]
async fn what_the_gateway_will_never_take_holds_nothing_up_and_is_a_gap() {
    let (gateway, mut device, _server) = door(wiegand(false)).await;
    gateway.set(Mood::Malformed);
    device.present_palm(None).await.unwrap();
    gateway.set(Mood::Good);
    device.present_palm(None).await.unwrap();
    assert_eq!(gateway.sequences(), [1, 2]);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.failed_checks(), ["event-buffer"]);
    device.synchronise().await.unwrap();
    assert_eq!((gateway.failed_checks().len(), gateway.sequences()), (0, vec![1, 2]));
}
