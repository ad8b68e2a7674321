//! The list of enrolled users that a door holds: how it comes, and how it goes.

use std::sync::Arc;

use fleetform_domain::people::{Hand, RecognitionFailure};
use fleetform_domain::wire::{DeviceText, UserList};
use fleetform_simulator::device::{Device, DeviceError, EntryScreen, Screen};
use fleetform_simulator::people::Person;
use fleetform_simulator::storage::{DirectoryStorage, MemoryStorage, Storage};

use super::super::support::Server;
use super::super::support::disk::FailingStorage;
use super::door::{whole, wiegand};
use super::gateway::{Gateway, Mood, name_of};

const ADA: Person = Person::new(1, 1);
const GRACE: Person = Person::new(1, 2);
const JOAN: Person = Person::new(1, 3);

fn text(text: &str) -> DeviceText {
    text.try_into().unwrap()
}

impl Gateway {
    /// Wants this revision, which is on these pages.
    fn list(&self, revision: &str, pages: &[(&str, UserList)]) {
        *self.revision.lock().unwrap() = Some(text(revision));
        let pages = pages.iter().map(|(query, page)| ((*query).to_owned(), page.clone()));
        *self.pages.lock().unwrap() = pages.collect();
    }
}

/// What changed.
fn changes(revision: &str, people: &[Person], removed: &[Person], next: Option<&str>) -> UserList {
    UserList {
        complete: false,
        removed: removed.iter().map(name_of).collect(),
        next: next.map(text),
        ..whole(revision, people)
    }
}

/// A door that holds a list of two.
async fn door(storage: &Arc<impl Storage + 'static>) -> (Arc<Gateway>, Device, Server) {
    let gateway = Gateway::new(wiegand(true));
    gateway.list("r1", &[("", whole("r1", &[ADA, GRACE]))]);
    let (device, server) = gateway.device(storage).await;
    (gateway, device, server)
}

/// Who is recognised while the gateway is out of reach.
async fn known(device: &mut Device) -> Vec<u64> {
    device.quirks().no_network = true;
    let mut known = Vec::new();
    for (number, person) in [(1, ADA), (2, GRACE), (3, JOAN)] {
        match device.present_palm(Some(person.look(Hand::Left, 5))).await.unwrap() {
            EntryScreen::Granted => known.push(number),
            EntryScreen::NotRecognized(
                RecognitionFailure::PalmNotRecognized | RecognitionFailure::GatewayUnreachable,
            ) => {}
            other => panic!("{other:?}"),
        }
    }
    device.quirks().no_network = false;
    known
}

#[tokio::test]
async fn a_list_comes_page_by_page_and_counts_when_it_is_whole() {
    let (gateway, mut device, server) = door(&Arc::new(MemoryStorage::default())).await;
    assert_eq!(known(&mut device).await, [1, 2]);
    // The line breaks after the first page, which removes somebody and brings somebody.
    gateway.list("r2", &[("?since=r1", changes("r2", &[JOAN], &[ADA], Some("p2")))]);
    device.synchronise().await.unwrap();
    assert_eq!(known(&mut device).await, [2], "who is removed is forgotten at once, who is new is not known yet");
    assert_eq!(gateway.report().enrolled_users_revision, Some(text("r1")));
    let last = ("?since=r1&after=p2", changes("r2", &[], &[GRACE], None));
    gateway.list("r2", &[("?since=r1", changes("r2", &[JOAN], &[ADA], Some("p2"))), last]);
    device.synchronise().await.unwrap();
    assert_eq!(known(&mut device).await, [3]);
    assert_eq!(gateway.report().enrolled_users_revision, Some(text("r2")));
    let asked = server.paths().len();
    device.synchronise().await.unwrap();
    let since = server.paths()[asked..].to_vec();
    assert!(!since.iter().any(|path| path.starts_with("/v1/users")), "what it holds it does not ask for: {since:?}");
}

#[tokio::test]
async fn a_list_outlives_a_restart_and_is_sealed_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(DirectoryStorage::open(directory.path()).unwrap());
    let (_gateway, mut device, _server) = door(&storage).await;
    device.power_on().await.unwrap();
    assert_eq!(known(&mut device).await, [1, 2]);
    let sealed = storage.load_users(device.asset_tag()).unwrap().unwrap();
    let secrets = [ADA.badge().as_str().to_owned(), name_of(&ADA).to_string(), "palms".into()];
    for secret in secrets {
        assert!(!sealed.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test]
async fn a_list_that_is_no_longer_wanted_is_forgotten_and_a_wiped_device_has_none() {
    let storage = Arc::new(MemoryStorage::default());
    let (gateway, mut device, _server) = door(&storage).await;
    let tag = device.asset_tag().clone();
    *gateway.revision.lock().unwrap() = None;
    device.synchronise().await.unwrap();
    assert_eq!(gateway.report().enrolled_users_revision, None, "that it holds none is said at once");
    assert_eq!((storage.load_users(&tag).unwrap(), known(&mut device).await), (None, Vec::new()));

    gateway.list("r1", &[("", whole("r1", &[ADA]))]);
    device.synchronise().await.unwrap();
    assert!(storage.load_users(&tag).unwrap().is_some());
    gateway.set(Mood::Gone);
    let asked = device.present_palm(Some(ADA.look(Hand::Right, 1))).await;
    assert!(matches!(asked, Err(DeviceError::AssociationEnded)), "{asked:?}");
    assert_eq!((device.screen(), storage.load_users(&tag).unwrap()), (Screen::Scan, None));
}

#[tokio::test]
async fn a_list_that_cannot_be_brought_up_to_date_is_forgotten() {
    let storage = FailingStorage::new(Arc::new(MemoryStorage::default()));
    let (gateway, mut device, _server) = door(&storage).await;
    gateway.list("r2", &[("?since=r1", changes("r2", &[], &[ADA], None)), ("", whole("r2", &[GRACE]))]);
    storage.set_failing(true);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.report().enrolled_users_revision, None);
    assert_eq!(storage.load_users(device.asset_tag()).unwrap(), None);
    storage.set_failing(false);
    device.synchronise().await.unwrap();
    assert_eq!(known(&mut device).await, [2]);
}

#[tokio::test]
async fn a_list_that_was_lost_or_was_sealed_by_another_device_is_asked_for_anew() {
    let storage = Arc::new(MemoryStorage::default());
    let (gateway, mut device, _server) = door(&storage).await;
    storage.save_users(device.asset_tag(), b"what another device has sealed").unwrap();
    assert_eq!(known(&mut device).await, [0; 0]);
    device.synchronise().await.unwrap();
    assert_eq!(gateway.report().enrolled_users_revision, Some(text("r1")));
    assert_eq!(known(&mut device).await, [1, 2]);
}

#[tokio::test]
async fn no_power_cut_makes_a_device_go_by_its_list_for_longer_than_it_may() {
    let storage = Arc::new(MemoryStorage::default());
    let (_gateway, device, _server) = door(&storage).await;
    let after = async |minutes: i64| {
        let mut restored = device.twin(storage.clone(), 9);
        restored.quirks().clock.ahead_seconds = minutes * 60;
        restored.power_on().await.unwrap();
        restored.quirks().no_network = true;
        let shown = restored.present_palm(Some(ADA.look(Hand::Left, 5))).await;
        (shown, restored.screen())
    };
    assert!(matches!(after(50).await.0, Ok(EntryScreen::Granted)));
    // Nor does a clock that lost its battery.
    for minutes in [60, -60 * 24 * 365] {
        let (shown, screen) = after(minutes).await;
        assert!(matches!(shown, Err(DeviceError::OutOfTurn { .. })), "{minutes}: {shown:?}");
        assert!(matches!(screen, Screen::Locked(_)), "{minutes}: {screen:?}");
    }
}

#[tokio::test]
async fn a_copy_of_a_device_has_a_copy_of_its_list() {
    let (_gateway, device, _server) = door(&Arc::new(MemoryStorage::default())).await;
    let mut copy = device.copied(7).await.unwrap();
    assert_eq!(known(&mut copy).await, [1, 2]);
}
