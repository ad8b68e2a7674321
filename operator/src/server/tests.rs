//! Hostile clients against a real listener with real TLS: each gets its answer or its end, none hangs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use fleetform_domain::wire::CheckInRequest;
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::crypto::succession::Times;
use crate::crypto::{
    Authorities, Authority, Bond, DeviceKey, DeviceVerifier, Generation, Ring, ServingCertificate, provider,
};
use crate::telemetry::Metrics;

const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    authority: Arc<Authority>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

fn limits() -> Limits {
    Limits {
        connections: 32,
        handshakes: 4,
        handshake: Duration::from_millis(300),
        headers: Duration::from_millis(300),
        body: Duration::from_millis(300),
        stalled: Duration::from_millis(300),
    }
}

async fn panics() -> &'static str {
    panic!("on purpose")
}

fn router() -> Router {
    Router::new()
        .route("/echo", post(|Json(request): Json<CheckInRequest>| async move { axum::Json(request) }))
        .route(
            "/who",
            get(|axum::Extension(peer): axum::Extension<Peer>| async move {
                peer.certificate.map_or("nobody".to_owned(), |identity| identity.bond.association.clone())
            }),
        )
        .route("/panic", get(panics))
        .route("/large", get(|| async { "x".repeat(64 * 1024 * 1024) }))
        .route(
            "/slow",
            get(|| async {
                sleep(Duration::from_millis(500)).await;
                "done"
            }),
        )
        .fallback(path_not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let now = SystemClock.now();
        let pem = Authority::generate(1, now).unwrap();
        let authority = Arc::new(Authority::from_pem(&pem.certificate, &pem.key).unwrap());
        let alone = Generation { number: 1, authority: Arc::clone(&authority), times: Times::settled(now) };
        let authorities = Arc::new(Authorities::new(Ring::new(vec![alone], now).unwrap()));
        let names = vec!["localhost".into()];
        let shown = ServingCertificate::of_authorities(Arc::clone(&authorities), names, now).unwrap();
        let verifier = DeviceVerifier::new(authorities);
        let tls = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(shown));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, metrics, shutdown) =
            (listener.local_addr().unwrap(), Arc::new(Metrics::new()), CancellationToken::new());
        let application =
            Application { name: "test", router: router(), route: |_| "any", metrics: Arc::clone(&metrics) };
        let running =
            tokio::spawn(serve(listener, Transport::Tls(Arc::new(tls)), application, limits, shutdown.clone()));
        Self { address, authority, metrics, shutdown, running }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn dial(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await).await
    }

    fn client(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        builder.with_root_certificates(roots)
    }

    fn anybody(&self) -> ClientConfig {
        self.client(&[&rustls::version::TLS13]).with_no_client_auth()
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        self.dial(self.anybody()).await.unwrap()
    }

    async fn counted(&self, text: &str) {
        let counted = async {
            while !self.metrics.encode().contains(text) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, counted).await.unwrap_or_else(|_| panic!("{text} in\n{}", self.metrics.encode()));
    }
}

/// Sends `request` and reads until the server closes.
async fn ask(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A server that closes without a goodbye is as good as one that says it.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server answers or closes");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ends(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
}

fn post_of(length: usize, body: &str) -> Vec<u8> {
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close";
    format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn get_of(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

fn assert_problem(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains(&format!("problems/{code}\"")), "{answer}");
}

#[tokio::test]
async fn whoever_says_nothing_or_garbage_is_let_go() {
    let server = Server::start(limits()).await;
    ends(&mut server.tcp().await).await;
    server.counted("outcome=\"timed-out\"} 1").await;

    let mut garbage = server.tcp().await;
    garbage.write_all(&[0xff; 4096]).await.unwrap();
    ends(&mut garbage).await;
    server.counted("outcome=\"failed\"} 1").await;

    let mut stream = server.connect().await;
    ends(&mut stream).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    ends(&mut stream).await;
    let answer = ask(&mut server.connect().await, b"\x00\x01\x02 nonsense\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let mut stream = server.connect().await;
    let _ = stream.write_all(long.as_bytes()).await;
    ends(&mut stream).await;
}

#[tokio::test]
async fn more_stalled_handshakes_than_there_is_room_for_do_not_keep_others_out() {
    let server = Server::start(limits()).await;
    let mut stalled = Vec::new();
    for _ in 0..16 {
        stalled.push(server.tcp().await);
    }
    let answer = async {
        loop {
            if let Ok(mut stream) = server.dial(server.anybody()).await {
                break ask(&mut stream, &get_of("/who")).await;
            }
        }
    };
    assert!(timeout(PATIENCE, answer).await.unwrap().ends_with("nobody"));
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_time() {
    let server = Server::start(limits()).await;
    let body = r#"{"bootId":"a","counter":1,"softwareVersion":"1"}"#;
    let answer = ask(&mut server.connect().await, &post_of(body.len(), body)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let large = "x".repeat(fleetform_domain::wire::MAX_BODY + 1);
    assert_problem(&ask(&mut server.connect().await, &post_of(large.len(), &large)).await, 413, "body-too-large");
    assert_problem(&ask(&mut server.connect().await, &post_of(1 << 40, "x")).await, 413, "body-too-large");
    assert_problem(&ask(&mut server.connect().await, &post_of(100, "{")).await, 408, "request-timed-out");
    assert_problem(&ask(&mut server.connect().await, &post_of(1, "{")).await, 400, "malformed-request");
    let untyped = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    assert_problem(&ask(&mut server.connect().await, untyped).await, 400, "malformed-request");
}

#[tokio::test]
async fn whatever_goes_wrong_is_told_as_a_problem() {
    let server = Server::start(limits()).await;
    assert_problem(&ask(&mut server.connect().await, &get_of("/nowhere")).await, 404, "not-found");
    assert_problem(&ask(&mut server.connect().await, &get_of("/echo")).await, 405, "method-not-allowed");
    assert_problem(&ask(&mut server.connect().await, &get_of("/panic")).await, 500, "system-error");
    assert_problem(&ask(&mut server.connect().await, &get_of("/nowhere")).await, 404, "not-found");
}

#[tokio::test]
async fn whoever_does_not_take_the_answer_is_let_go() {
    let server = Server::start(limits()).await;
    let mut stream = server.connect().await;
    stream.write_all(&get_of("/large")).await.unwrap();
    server.counted("connections{listener=\"test\"} 1").await;
    server.counted("connections{listener=\"test\"} 0").await;
    drop(stream);
}

#[tokio::test]
async fn devices_are_known_by_their_certificate_even_after_its_end_and_strangers_are_not() {
    let server = Server::start(limits()).await;
    let bond = |id: &str| Bond::example(id);
    let life = jiff::SignedDuration::from_hours(24 * 30);
    let as_device = |authority: &Authority, id: &str, activated: Timestamp| {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let certificate = authority
            .device_certificate(&DeviceKey::from_request(&request).unwrap(), &bond(id), activated, life)
            .unwrap();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        server.client(&[&rustls::version::TLS13]).with_client_auth_cert(chain, key).unwrap()
    };
    let now = SystemClock.now();
    let mut stream = server.dial(as_device(&server.authority, "good", now)).await.unwrap();
    assert!(ask(&mut stream, &get_of("/who")).await.ends_with("good"));

    let long_ago = now - jiff::SignedDuration::from_hours(24 * 365);
    let mut stream = server.dial(as_device(&server.authority, "expired", long_ago)).await.unwrap();
    assert!(ask(&mut stream, &get_of("/who")).await.ends_with("expired"), "its handler judges it");

    let pem = Authority::generate(1, now).unwrap();
    let other = Authority::from_pem(&pem.certificate, &pem.key).unwrap();
    // In TLS 1.3 a client learns with its first read that its certificate was refused.
    if let Ok(mut stream) = server.dial(as_device(&other, "forged", now)).await {
        let _ = stream.write_all(&get_of("/who")).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
    let old = server.client(&[&rustls::version::TLS12]).with_no_client_auth();
    assert!(server.dial(old).await.is_err(), "TLS 1.2");
}

#[tokio::test]
async fn a_shutdown_finishes_what_runs_and_lets_the_idle_go() {
    let server = Server::start(Limits { headers: PATIENCE, ..limits() }).await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    server.shutdown.cancel();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, busy.read_to_end(&mut answer)).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).ends_with("done"));
    ends(&mut idle).await;
    timeout(PATIENCE, server.running).await.expect("the listener ends").unwrap();
}
