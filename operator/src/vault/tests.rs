//! Keys that are withdrawn, and come back.

use std::sync::atomic::{AtomicUsize, Ordering};

use fleetform_crds::project::KeyProvider;
use parking_lot::Mutex;

use super::data_keys::Place;
use super::kms::Answer;
use super::*;
use crate::controllers::fixtures;

/// The data key of every project in tests.
pub(crate) const DATA_KEY: [u8; 32] = [9; 32];

const PLACE: Place<'_> = Place { kind: "EnrolledUser", name: "eu-1", member: "profile" };

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
struct Stopped(Mutex<SignedDuration>, AtomicUsize);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        fixtures::noon() + *self.0.lock()
    }

    fn random(&self) -> [u8; 16] {
        [self.1.fetch_add(1, Ordering::Relaxed).to_le_bytes(); 2].concat().try_into().expect("twice eight bytes")
    }
}

impl Stopped {
    fn pass(&self, seconds: i64) {
        *self.0.lock() += SignedDuration::from_secs(seconds);
    }
}

/// A key service that does what it is told, and counts.
#[derive(Debug, Default)]
struct Service {
    trouble: Mutex<Option<KeyTrouble>>,
    /// Whether it lets nobody decrypt.
    encrypts_only: Mutex<bool>,
    asked: AtomicUsize,
}

impl Service {
    fn answer(&self, bytes: Vec<u8>) -> Answer<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let trouble = *self.trouble.lock();
        Box::pin(async move { trouble.map_or(Ok(bytes), Err) })
    }
}

impl KeyService for Service {
    fn encrypt<'a>(&'a self, key_arn: &'a str, project_arn: &'a str, plain: Vec<u8>) -> Answer<'a> {
        self.answer([key_arn.as_bytes(), project_arn.as_bytes(), &plain].concat())
    }

    fn decrypt<'a>(&'a self, key_arn: &'a str, project_arn: &'a str, sealed: Vec<u8>) -> Answer<'a> {
        if *self.encrypts_only.lock() {
            return Box::pin(async { Err(KeyTrouble::AccessDenied) });
        }
        let layer = [key_arn.as_bytes(), project_arn.as_bytes()].concat();
        match sealed.strip_prefix(layer.as_slice()) {
            Some(plain) => self.answer(plain.to_vec()),
            None => Box::pin(async { Err(KeyTrouble::NotAuthentic) }),
        }
    }
}

/// A vault of a test installation, without a key service.
pub(crate) fn vault() -> Vault {
    scene().0
}

fn scene() -> (Vault, Arc<Service>, Arc<Stopped>) {
    let (service, clock) = (Arc::new(Service::default()), Arc::new(Stopped::default()));
    let vault = Vault::new(
        &[7; 32],
        fixtures::installation(),
        Arc::clone(&service) as _,
        Arc::clone(&clock) as _,
        SignedDuration::from_mins(5),
    );
    (vault, service, clock)
}

/// The project with [`DATA_KEY`], as the installation of tests sealed it.
pub(crate) fn with_data_key(mut project: Project) -> Project {
    let (id, sealed) = data_keys::make(&SealingKey::of_installation(&[7; 32]), uid(&project), &DATA_KEY, [4; 16]);
    let key = DataKey {
        id: id.to_string(),
        provider: KeyProvider::Local,
        key_arn: None,
        generation: 0,
        sealed,
        created_at: whole_second(fixtures::noon()),
    };
    project.status.get_or_insert_default().data_keys = vec![key];
    project
}

fn of_customer() -> Encryption {
    Encryption {
        provider: KeyProvider::AwsKms,
        key_arn: Some("arn:aws:kms:us-east-1:123456789012:key/1".into()),
        data_key_generation: 0,
    }
}

/// A project with a customer's key.
async fn customers(vault: &Vault) -> Project {
    let mut project = fixtures::project();
    let key = vault.make(&project, &of_customer()).await.unwrap();
    project.status.get_or_insert_default().data_keys = vec![key];
    project
}

fn state(vault: &Vault, project: &Project) -> Result<(), KeyTrouble> {
    vault.keys(project).map(drop)
}

#[test]
fn the_installation_opens_its_own_keys_for_the_project_that_they_were_made_for() {
    let vault = vault();
    let project = with_data_key(fixtures::project());
    let sealed = vault.keys(&project).unwrap().seal(PLACE, [1; 16], b"badge");
    assert_eq!(vault.keys(&project).unwrap().open(PLACE, &sealed).unwrap().as_slice(), b"badge");
    assert_eq!(state(&vault, &fixtures::project()), Err(KeyTrouble::NotMade));
    let mut other = project.clone();
    other.metadata.uid = Some("another".into());
    assert_eq!(state(&vault, &other), Err(KeyTrouble::NotAuthentic));
    let mut swapped = project;
    swapped.status.as_mut().unwrap().data_keys[0].id = "0".repeat(16);
    assert_eq!(state(&vault, &swapped), Err(KeyTrouble::NotAuthentic));
}

#[tokio::test]
async fn a_customers_key_that_says_no_closes_the_project_at_once_and_opens_it_when_it_says_yes() {
    let (vault, service, clock) = scene();
    let project = customers(&vault).await;
    assert_eq!(state(&vault, &project), Err(KeyTrouble::Opening));
    assert_eq!(vault.renew(&project).await, Turn::Opened);
    assert_eq!(state(&vault, &project), Ok(()));
    *service.trouble.lock() = Some(KeyTrouble::Disabled);
    assert_eq!(vault.renew(&project).await, Turn::Same, "it is not due");
    clock.pass(241);
    assert_eq!(vault.renew(&project).await, Turn::Closed);
    assert_eq!(state(&vault, &project), Err(KeyTrouble::Disabled));
    *service.trouble.lock() = None;
    clock.pass(6);
    assert_eq!(vault.renew(&project).await, Turn::Opened);
    assert_eq!(state(&vault, &project), Ok(()));
}

#[tokio::test]
async fn what_may_be_over_in_a_moment_closes_nothing_for_five_minutes() {
    let (vault, service, clock) = scene();
    let project = customers(&vault).await;
    vault.renew(&project).await;
    *service.trouble.lock() = Some(KeyTrouble::Throttled);
    clock.pass(241);
    assert_eq!(vault.renew(&project).await, Turn::Same);
    assert_eq!(state(&vault, &project), Ok(()));
    clock.pass(60);
    assert_eq!(state(&vault, &project), Err(KeyTrouble::Throttled), "its time is over, whoever has looked");
    assert_eq!(vault.renew(&project).await, Turn::Closed);
}

#[tokio::test]
async fn a_restart_while_the_key_service_is_away_is_told_and_so_is_each_other_reason() {
    let (vault, service, clock) = scene();
    let project = customers(&vault).await;
    *service.trouble.lock() = Some(KeyTrouble::Unreachable);
    assert_eq!(vault.renew(&project).await, Turn::Closed);
    assert_eq!(state(&vault, &project), Err(KeyTrouble::Unreachable));
    clock.pass(61);
    assert_eq!(vault.renew(&project).await, Turn::Same, "it is known");
    *service.trouble.lock() = Some(KeyTrouble::Disabled);
    clock.pass(61);
    assert_eq!(vault.renew(&project).await, Turn::Closed);
    *service.trouble.lock() = None;
    clock.pass(61);
    assert_eq!(vault.renew(&project).await, Turn::Opened);
}

#[tokio::test]
async fn who_asks_often_costs_the_key_service_nothing() {
    let (vault, service, clock) = scene();
    let project = customers(&vault).await;
    for _ in 0..1000 {
        let _ = vault.keys(&project);
        vault.renew(&project).await;
    }
    assert_eq!(service.asked.load(Ordering::Relaxed), 3, "two to make it, one to open it");
    *service.trouble.lock() = Some(KeyTrouble::AccessDenied);
    clock.pass(241);
    for _ in 0..60 {
        vault.renew(&project).await;
        clock.pass(1);
    }
    let asked = service.asked.load(Ordering::Relaxed);
    assert!((4..=9).contains(&asked), "asked {asked} times in a minute of refusals");
    for _ in 0..100 {
        let next = Encryption { data_key_generation: 1, ..of_customer() };
        assert_eq!(vault.make(&project, &next).await.unwrap_err(), KeyTrouble::AccessDenied);
    }
    assert_eq!(service.asked.load(Ordering::Relaxed), asked + 1, "a failure is remembered");
}

#[tokio::test]
async fn a_project_goes_on_while_it_gets_another_key() {
    let (vault, service, clock) = scene();
    let mut project = customers(&vault).await;
    vault.renew(&project).await;
    let sealed = vault.keys(&project).unwrap().seal(PLACE, [1; 16], b"badge");
    clock.pass(1);
    let next = vault.make(&project, &Encryption { data_key_generation: 1, ..of_customer() }).await.unwrap();
    project.status.as_mut().unwrap().data_keys.insert(0, next);
    let before = vault.keys(&project).expect("what is open goes on").current();
    *service.trouble.lock() = Some(KeyTrouble::Unreachable);
    assert_eq!(vault.renew(&project).await, Turn::Same);
    assert_eq!((state(&vault, &project), vault.in_force_since(&project)), (Ok(()), None));
    *service.trouble.lock() = None;
    clock.pass(6);
    assert_eq!(vault.renew(&project).await, Turn::Same);
    let keys = vault.keys(&project).unwrap();
    assert_ne!(keys.current(), before);
    assert_eq!(vault.in_force_since(&project), Some(clock.now()));
    assert_eq!(*keys.open(PLACE, &sealed).unwrap(), *b"badge");
}

#[tokio::test]
async fn a_key_that_may_not_decrypt_is_not_taken_into_use() {
    let (vault, service, _) = scene();
    *service.encrypts_only.lock() = true;
    assert_eq!(vault.make(&fixtures::project(), &of_customer()).await.unwrap_err(), KeyTrouble::AccessDenied);
}

#[tokio::test]
async fn a_key_of_another_account_is_not_asked_for() {
    let (vault, service, _) = scene();
    let elsewhere = Encryption { key_arn: Some("arn:aws:kms:us-east-1:999999999999:key/1".into()), ..of_customer() };
    assert_eq!(vault.make(&fixtures::project(), &elsewhere).await.unwrap_err(), KeyTrouble::OtherAccount);
    assert_eq!(service.asked.load(Ordering::Relaxed), 0);
}
