//! What a device does when its gateway behaves as a real one cannot easily be made to: it does not answer, is an
//! impostor, talks too much, or dies between deciding and answering.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fleetform_domain::activation::ActivationFailure;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    ActivationRequest, AuthoritiesDigest, CertificateResponse, CheckInRequest, CheckInResponse,
};
use fleetform_simulator::device::{ActivationError, DeviceError, Screen};
use fleetform_simulator::storage::{DirectoryStorage, MemoryStorage, Storage};
use fleetform_simulator::transport::TransportError;
use rcgen::date_time_ymd;
use tokio::net::TcpListener;

use super::support::disk::FailingStorage;
use super::support::gateway::{self, ZIP, site};
use super::support::{Authority, Reply, code, device, good, refuse, serve};

fn memory() -> Arc<MemoryStorage> {
    Arc::new(MemoryStorage::default())
}

fn transport(error: &ActivationError) -> &TransportError {
    match error.cause.as_deref() {
        Some(DeviceError::Transport(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_applies_its_configuration_before_it_first_checks_in() {
    let authority = Arc::new(Authority::new());
    let server = gateway::open(&authority, |seen| {
        if seen.path == "/v1/check-in" {
            let message: CheckInRequest = serde_json::from_slice(&seen.body).unwrap();
            assert_eq!((message.counter, message.applied_configuration_version), (1, Some(1)));
        }
        None
    })
    .await;
    let mut device = device(&memory()).await;
    device.scan_text(&server.code(&authority.pin)).unwrap();
    let error = device.look_up("98107").await.unwrap_err();
    assert_eq!((error.failure, device.screen()), (ActivationFailure::ZipCodeDoesNotMatch, Screen::Zip));
    assert_eq!(device.activate(ZIP).await.unwrap().next_check_in_seconds, 60);
    assert_eq!(
        server.paths(),
        ["/v1/activations/lookup", "/v1/activations/lookup", "/v1/activations", "/v1/configuration/1", "/v1/check-in"]
    );
    assert_eq!(device.configuration().await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_times_out() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    for (name, listener) in [("accepts and says nothing", Some(listener)), ("does not listen", None)] {
        let mut device = device(&memory()).await;
        device.scan_text(&code(&address, &authority.pin)).unwrap();
        let error = device.look_up(ZIP).await.unwrap_err();
        assert_eq!(error.failure, ActivationFailure::GatewayTimedOut, "{name}");
        assert_eq!(device.screen(), Screen::Halted(ActivationFailure::GatewayTimedOut), "{name}");
        assert_eq!(device.power_on().await.unwrap(), Screen::Scan, "a restart is the remedy");
        drop(listener);
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_times_out() {
    let authority = Arc::new(Authority::new());
    let server = gateway::open(&authority, |_| Some(Reply::Silence)).await;
    let mut device = device(&memory()).await;
    device.scan_text(&server.code(&authority.pin)).unwrap();
    let error = device.look_up(ZIP).await.unwrap_err();
    assert_eq!(error.failure, ActivationFailure::GatewayTimedOut);
    assert!(matches!(transport(&error), TransportError::TimedOut(_)), "{error}");
}

#[tokio::test]
async fn an_impostor_hears_nothing() {
    let (pinned, other) = (Authority::new(), Authority::new());
    let expired = |params: &mut rcgen::CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let cases = [
        ("another authority", other.server("127.0.0.1"), other.certificate.clone()),
        ("another authority, showing the pinned one", other.server("127.0.0.1"), pinned.certificate.clone()),
        ("another name", pinned.server("gateway.example"), pinned.certificate.clone()),
        ("out of date", pinned.server_with("127.0.0.1", expired), pinned.certificate.clone()),
    ];
    for (name, (leaf, key), authority) in cases {
        let server = serve(&pinned, vec![leaf, authority], &key, site).await;
        let mut device = device(&memory()).await;
        device.scan_text(&server.code(&pinned.pin)).unwrap();
        let error = device.look_up(ZIP).await.unwrap_err();
        assert_eq!(error.failure, ActivationFailure::SystemError, "{name}: {error}");
        assert!(matches!(transport(&error), TransportError::Untrusted(_)), "{name}: {error}");
        assert_eq!(server.paths(), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn a_code_that_pins_an_earlier_authority_is_good_when_that_one_vouches_for_the_one_that_signs() {
    let (old, new) = (Authority::new(), Authority::new());
    let (leaf, key) = new.server("127.0.0.1");
    for (vouched, is_good) in [(Some(old.vouch_for(&new)), true), (None, false), (Some(new.vouch_for(&new)), false)] {
        let mut chain = vec![leaf.clone(), new.certificate.clone(), old.certificate.clone()];
        chain.extend(vouched);
        let server = serve(&new, chain, &key, site).await;
        let mut device = device(&memory()).await;
        device.scan_text(&server.code(&old.pin)).unwrap();
        assert_eq!(device.look_up(ZIP).await.is_ok(), is_good);
    }
}

#[tokio::test]
async fn what_the_gateway_says_of_authorities_is_done_once_and_what_failed_is_done_again() {
    let authority = Arc::new(Authority::new());
    let (own, request, fails) = (authority.clone(), Mutex::new(String::new()), Arc::new(AtomicBool::new(true)));
    let fails_then = fails.clone();
    let server = gateway::open(&authority, move |seen| match seen.path.as_str() {
        "/v1/activations" => {
            let message: ActivationRequest = serde_json::from_slice(&seen.body).unwrap();
            *request.lock().unwrap() = message.certificate_request;
            None
        }
        // It never is content.
        "/v1/check-in" => Some(good(&CheckInResponse {
            out_of_service: true,
            authorities: Some(AuthoritiesDigest::of(["others"])),
            renew_certificate: true,
            ..gateway::content(1)
        })),
        "/v1/certificate" if fails_then.load(Ordering::Relaxed) => Some(refuse(ProblemCode::Unavailable)),
        "/v1/certificate" => Some(good(&CertificateResponse {
            certificate: own.certify(&request.lock().unwrap()),
            ca_certificates: vec![own.pem.clone()],
        })),
        _ => None,
    })
    .await;
    let asked = || server.paths().iter().filter(|path| *path == "/v1/certificate").count();
    let mut device = device(&memory()).await;
    device.scan_text(&server.code(&authority.pin)).unwrap();
    device.activate(ZIP).await.unwrap();
    assert_eq!(asked(), 1);
    device.synchronise().await.unwrap();
    assert_eq!(asked(), 2, "what failed is done again");
    fails.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        device.synchronise().await.unwrap();
        assert_eq!(asked(), 3);
        assert_eq!(device.screen(), Screen::OutOfService, "what else was said stays");
    }
    device.power_on().await.unwrap();
    device.synchronise().await.unwrap();
    assert_eq!(asked(), 4, "the next start tries once more");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let authority = Arc::new(Authority::new());
    let huge = vec![b' '; 1024 * 1024];
    let server = gateway::open(&authority, move |_| Some(Reply::Good("application/json", huge.clone().into()))).await;
    let mut device = device(&memory()).await;
    device.scan_text(&server.code(&authority.pin)).unwrap();
    let error = device.look_up(ZIP).await.unwrap_err();
    assert_eq!(error.failure, ActivationFailure::SystemError);
    assert!(matches!(transport(&error), TransportError::TooLarge(_)), "{error}");
}

#[tokio::test]
async fn a_commit_without_an_answer_is_repeated_with_the_same_key_after_a_restart() {
    let authority = Arc::new(Authority::new());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = requests.clone();
    let server = gateway::open(&authority, move |seen| {
        if seen.path != "/v1/activations" {
            return None;
        }
        let request: ActivationRequest = serde_json::from_slice(&seen.body).unwrap();
        let mut log = log.lock().unwrap();
        log.push(request);
        // The line breaks twice: before the second, the device asks again on a new one.
        (log.len() <= 2).then_some(Reply::HangUp)
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(DirectoryStorage::open(directory.path()).unwrap());
    let mut first = device(&storage).await;
    first.scan_text(&server.code(&authority.pin)).unwrap();
    first.look_up(ZIP).await.unwrap();
    let error = first.confirm().await.unwrap_err();
    assert_eq!(error.failure, ActivationFailure::GatewayTimedOut, "{error}");
    drop(first);

    let mut again = device(&storage).await;
    assert_eq!(again.screen(), Screen::Pending);
    again.resume().await.unwrap();
    again.synchronise().await.unwrap();
    assert_eq!(again.screen(), Screen::Active);
    let keys: Vec<_> =
        requests.lock().unwrap().iter().map(|request| public_key(&request.certificate_request)).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]));
}

fn public_key(request: &str) -> Vec<u8> {
    use rcgen::PublicKeyData as _;
    rcgen::CertificateSigningRequestParams::from_pem(request).unwrap().public_key.der_bytes().to_vec()
}

#[tokio::test]
async fn a_disk_that_fails_is_told_before_anything_is_committed_and_after() {
    let authority = Arc::new(Authority::new());
    let storage = FailingStorage::new(memory());
    let (fails, disk) = (Arc::new(AtomicBool::new(false)), storage.clone());
    let fails_then = fails.clone();
    let server = gateway::open(&authority, move |seen| {
        if seen.path == "/v1/activations" {
            disk.set_failing(fails_then.load(Ordering::Relaxed));
        }
        None
    })
    .await;
    let mut device = device(&storage).await;
    device.scan_text(&server.code(&authority.pin)).unwrap();
    device.look_up(ZIP).await.unwrap();
    storage.set_failing(true);
    let error = device.confirm().await.unwrap_err();
    assert_eq!(error.failure, ActivationFailure::UnableToConfigureDevice);
    assert_eq!(server.paths(), ["/v1/activations/lookup"], "the gateway has not heard of it");

    storage.set_failing(false);
    fails.store(true, Ordering::Relaxed);
    device.power_on().await.unwrap();
    device.scan_text(&server.code(&authority.pin)).unwrap();
    device.look_up(ZIP).await.unwrap();
    let error = device.confirm().await.unwrap_err();
    assert_eq!(error.failure, ActivationFailure::UnableToConfigureDevice);

    fails.store(false, Ordering::Relaxed);
    storage.set_failing(false);
    assert_eq!(device.power_on().await.unwrap(), Screen::Pending);
    device.resume().await.unwrap();
    assert_eq!(device.screen(), Screen::Active);
}

#[tokio::test]
async fn only_the_proof_that_its_association_ended_makes_a_device_wipe_itself() {
    let authority = Arc::new(Authority::new());
    let odd = Arc::new(Mutex::new(None::<fn() -> Reply>));
    let then = odd.clone();
    let server = gateway::open(&authority, move |seen| {
        then.lock().unwrap().as_ref().filter(|_| seen.path == "/v1/check-in").map(|reply| reply())
    })
    .await;
    let storage = memory();
    let mut device = device(&storage).await;
    device.scan_text(&server.code(&authority.pin)).unwrap();
    device.activate(ZIP).await.unwrap();
    let harmless: [fn() -> Reply; 5] = [
        || refuse(ProblemCode::Unavailable),
        || refuse(ProblemCode::NotAuthenticated),
        || Reply::Refusal(410, "Gone".into()),
        || Reply::HangUp,
        || Reply::Good("text/html", "<h1>welcome</h1>".into()),
    ];
    for reply in harmless {
        *odd.lock().unwrap() = Some(reply);
        let error = device.synchronise().await.unwrap_err();
        assert_eq!(device.screen(), Screen::Active, "{error}");
        assert_eq!(device.applied_configuration_version(), Some(1), "{error}");
    }
    *odd.lock().unwrap() = Some(|| refuse(ProblemCode::AssociationEnded));
    assert!(matches!(device.synchronise().await, Err(DeviceError::AssociationEnded)));
    assert_eq!(device.screen(), Screen::Scan);
    assert_eq!(storage.list().unwrap(), []);
}
