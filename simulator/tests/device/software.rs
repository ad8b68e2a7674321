//! How a device gets its software and its network while it goes on checking in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetform_domain::configuration::{RefusalReason, Software, UpdateState};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{CheckInRequest, DeviceConfiguration, WifiCredentials};
use fleetform_simulator::device::{Device, DeviceError};
use fleetform_simulator::release::ReleaseKey;
use fleetform_simulator::storage::MemoryStorage;
use fleetform_simulator::transport::TransportError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::support::{self, Authority, Reply, Server, gateway, good, refuse};

/// A gateway whose configurations are numbered from 1. The last one is wanted.
#[derive(Default)]
struct Gateway {
    configurations: Mutex<Vec<DeviceConfiguration>>,
    reports: Mutex<Vec<CheckInRequest>>,
    /// Who runs this configuration hears something else in place of the gateway.
    portal: Mutex<Option<u32>>,
}

impl Gateway {
    fn want(&self, wifi: Option<WifiCredentials>, software: Option<Software>) {
        let mut configurations = self.configurations.lock().unwrap();
        let version = u32::try_from(configurations.len()).unwrap() + 1;
        configurations.push(DeviceConfiguration { wifi, software, ..gateway::configuration(version) });
    }

    fn wanted(&self) -> u32 {
        u32::try_from(self.configurations.lock().unwrap().len()).unwrap()
    }

    fn hear(&self, report: CheckInRequest) -> Reply {
        let in_place = self.portal.lock().unwrap().is_some_and(|of| report.applied_configuration_version == Some(of));
        self.reports.lock().unwrap().push(report);
        if in_place {
            return Reply::Good("text/html", "<h1>welcome</h1>".into());
        }
        good(&gateway::content(self.wanted()))
    }

    /// How far reports said that software is, without those that said nothing.
    fn told(&self) -> Vec<(UpdateState, u8)> {
        let reports = self.reports.lock().unwrap();
        reports.iter().filter_map(|report| report.software_update.as_ref()).map(|to| (to.state, to.percent)).collect()
    }
}

/// An active device that runs configuration 1, and its gateway.
async fn active(gateway: &Arc<Gateway>) -> (Device, Server) {
    let authority = Arc::new(Authority::new());
    let (own, asked) = (authority.clone(), gateway.clone());
    let server = gateway::open(&authority, move |seen| match seen.path.as_str() {
        "/v1/activations/lookup" => None,
        "/v1/activations" => {
            Some(gateway::association(&own, &serde_json::from_slice(&seen.body).unwrap(), asked.wanted()))
        }
        "/v1/check-in" => Some(asked.hear(serde_json::from_slice(&seen.body).unwrap())),
        path => {
            let version = path.strip_prefix("/v1/configuration/").and_then(|version| version.parse::<usize>().ok());
            let configurations = asked.configurations.lock().unwrap();
            let found = version.and_then(|version| configurations.get(version.checked_sub(1)?));
            Some(found.map_or_else(|| refuse(ProblemCode::NotFound), good))
        }
    })
    .await;
    gateway.want(None, None);
    let mut device = support::device(&Arc::new(MemoryStorage::default())).await;
    device.scan_text(&server.code(&authority.pin)).unwrap();
    device.activate("98104").await.unwrap();
    (device, server)
}

/// A web server of releases.
#[derive(Clone)]
struct Releases {
    base: String,
    files: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<usize>>,
    /// The second halves of as many files are sent.
    halves: Arc<Semaphore>,
}

impl Releases {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let releases = Self {
            base: format!("http://{}", listener.local_addr().unwrap()),
            files: Arc::default(),
            asked: Arc::default(),
            halves: Arc::new(Semaphore::new(100)),
        };
        let serving = releases.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.answer(stream).await });
            }
        });
        releases
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let path = String::from_utf8_lossy(&request[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
        *self.asked.lock().unwrap() += 1;
        let content = self.files.lock().unwrap().get(&path).cloned().unwrap_or_default();
        let (first, second) = content.split_at(content.len() / 2);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(first).await.unwrap();
        self.halves.acquire().await.unwrap().forget();
        let _ = stream.write_all(second).await;
    }

    fn put(&self, path: &str, content: &[u8]) {
        self.files.lock().unwrap().insert(path.to_owned(), content.to_vec());
    }

    fn publish(&self, version: &str, path: &str, content: &[u8]) -> Software {
        self.put(path, content);
        ReleaseKey::of_simulation().sign(version, &format!("{}{path}", self.base), content)
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

fn refused(device: &Device) -> Option<RefusalReason> {
    device.refused_configuration().map(|refused| refused.reason)
}

#[tokio::test]
async fn a_version_is_what_was_signed_for_it_and_not_its_name() {
    let (gateway, releases) = (Arc::new(Gateway::default()), Releases::open().await);
    let (mut device, _server) = active(&gateway).await;
    gateway.want(None, Some(releases.publish("1.1.0", "/first", b"the first")));
    device.synchronise().await.unwrap();
    assert_eq!((device.applied_configuration_version(), releases.asked()), (Some(2), 1));
    assert_eq!(gateway.told(), [], "what is there at once is no progress");

    let boot = device.boot_id();
    let second = releases.publish("1.1.0", "/second", b"the second");
    gateway.want(None, Some(second.clone()));
    device.synchronise().await.unwrap();
    assert_eq!((device.applied_configuration_version(), releases.asked()), (Some(3), 2));
    assert_ne!(device.boot_id(), boot, "it starts anew with it");

    device.power_on().await.unwrap();
    gateway.want(None, Some(Software { url: format!("{}/elsewhere", releases.base), ..second.clone() }));
    device.synchronise().await.unwrap();
    assert_eq!((device.applied_configuration_version(), releases.asked()), (Some(4), 2), "it runs that already");

    let forged = ReleaseKey::from_seed(&[7; 32]).sign("1.1.0", &second.url, b"the second");
    gateway.want(None, Some(forged));
    device.synchronise().await.unwrap();
    assert_eq!((refused(&device), releases.asked()), (Some(RefusalReason::SignatureInvalid), 2));
}

#[tokio::test]
async fn what_is_not_the_release_is_fetched_again_after_a_while() {
    let (gateway, releases) = (Arc::new(Gateway::default()), Releases::open().await);
    let (mut device, _server) = active(&gateway).await;
    gateway.want(None, Some(releases.publish("1.1.0", "/first", b"the first")));
    releases.put("/first", b"something else");
    for (asked, pass) in [(1, 0), (2, 1), (3, 2), (4, 4), (4, 0)] {
        device.pass(Duration::from_secs(pass));
        device.synchronise().await.unwrap();
        assert_eq!((refused(&device), releases.asked()), (Some(RefusalReason::DigestMismatch), asked));
        assert_eq!(gateway.told(), [], "nothing is on its way");
    }
    // It begins anew with a start, and at once with another release.
    device.power_on().await.unwrap();
    device.synchronise().await.unwrap();
    assert_eq!(releases.asked(), 5);
    gateway.want(None, Some(releases.publish("1.1.0", "/second", b"the second")));
    device.synchronise().await.unwrap();
    assert_eq!((device.applied_configuration_version(), refused(&device), releases.asked()), (Some(3), None, 6));
}

#[tokio::test]
async fn a_device_checks_in_while_it_downloads_and_says_how_far_it_is() {
    let (gateway, releases) = (Arc::new(Gateway::default()), Releases::open().await);
    let (mut device, _server) = active(&gateway).await;
    releases.halves.forget_permits(100);
    gateway.want(None, Some(releases.publish("1.1.0", "/first", &[7; 1000])));
    device.synchronise().await.unwrap();
    device.synchronise().await.unwrap();
    assert!(device.is_downloading());
    assert_eq!((device.software_version().as_str(), device.applied_configuration_version()), ("1.0.0", Some(1)));
    assert_eq!(gateway.told(), [(UpdateState::Downloading, 50); 3]);

    releases.halves.add_permits(100);
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while device.applied_configuration_version() != Some(2) {
        assert!(tokio::time::Instant::now() < end, "it is never there: {:?}", gateway.told());
        device.synchronise().await.unwrap();
    }
    assert_eq!(gateway.told().last(), Some(&(UpdateState::Installing, 100)));
    assert_eq!((device.software_version().as_str(), device.software_update(), releases.asked()), ("1.1.0", None, 1));

    // Edited back, nothing is on its way any more.
    releases.halves.forget_permits(100);
    gateway.want(None, Some(releases.publish("1.2.0", "/second", &[8; 1000])));
    device.synchronise().await.unwrap();
    assert!(device.is_downloading());
    gateway.want(None, None);
    device.synchronise().await.unwrap();
    assert_eq!((device.is_downloading(), device.software_version().as_str()), (false, "1.1.0"));
}

#[tokio::test]
async fn a_network_where_somebody_else_answers_is_left_after_three_calls_also_with_restarts() {
    let gateway = Arc::new(Gateway::default());
    let (mut device, _server) = active(&gateway).await;
    *gateway.portal.lock().unwrap() = Some(2);
    gateway.want(Some(WifiCredentials { ssid: "guests".into(), passphrase: "welcome to all".into() }), None);
    for _ in 0..2 {
        let error = device.synchronise().await.unwrap_err();
        assert!(matches!(error, DeviceError::Transport(TransportError::Malformed(_))), "{error}");
        device.power_on().await.unwrap();
        assert!(device.is_on_trial());
    }
    device.synchronise().await.unwrap();
    assert_eq!(device.applied_configuration_version(), Some(1));
    assert_eq!(refused(&device), Some(RefusalReason::GatewayUnreachable));
    assert!(!device.is_on_trial());
}
