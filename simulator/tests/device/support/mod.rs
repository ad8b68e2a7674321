//! A server that says what a real gateway cannot easily be made to say.

pub(crate) mod disk;
pub(crate) mod gateway;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetform_domain::activation::{ActivationCode, TokenText};
use fleetform_domain::problem::{Problem, ProblemCode};
use fleetform_simulator::device::Device;
use fleetform_simulator::storage::Storage;
use fleetform_simulator::transport::{Network, Timeouts};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    PublicKeyData as _,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Short enough for a test to wait for.
pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    handshake: Duration::from_millis(500),
    request: Duration::from_millis(500),
};

/// An authority and its key.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) pin: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // The same name each time: only their keys tell two authorities apart.
        params.distinguished_name.push(DnType::CommonName, "Fleetform device authority");
        let certificate = params.self_signed(&key).unwrap();
        let pin = URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info()));
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), certificate: der, pem, pin }
    }

    /// A certificate for another authority, for those who trust only this one.
    pub(crate) fn vouch_for(&self, next: &Self) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "Fleetform device authority");
        params.signed_by(next.issuer.key(), &self.issuer).unwrap().der().clone()
    }

    /// A certificate for a server of this name, and its key.
    pub(crate) fn server(&self, name: &str) -> (CertificateDer<'static>, KeyPair) {
        self.server_with(name, |_| {})
    }

    pub(crate) fn server_with(
        &self,
        name: &str,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        edit(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap().der().clone(), key)
    }

    /// What a gateway makes of a device's request: a certificate in PEM.
    pub(crate) fn certify(&self, request: &str) -> String {
        CertificateSigningRequestParams::from_pem(request).unwrap().signed_by(&self.issuer).unwrap().pem()
    }
}

/// A request, as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// Whether the device showed a certificate of the authority.
    pub(crate) has_certificate: bool,
}

/// What the server does.
pub(crate) enum Reply {
    Good(&'static str, Bytes),
    Refusal(u16, Bytes),
    /// Closes the connection without an answer.
    HangUp,
    /// Says nothing, and keeps the connection.
    Silence,
}

pub(crate) fn good(message: &impl Serialize) -> Reply {
    Reply::Good("application/json", serde_json::to_vec(message).unwrap().into())
}

pub(crate) fn refuse(code: ProblemCode) -> Reply {
    Reply::Refusal(code.status(), serde_json::to_vec(&Problem::new(code, "no")).unwrap().into())
}

/// A running server. It ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// The paths that were asked for, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.path.clone()).collect()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A code that leads here, pinned to this authority.
    pub(crate) fn code(&self, pin: &str) -> String {
        code(&format!("https://{}", self.address), pin)
    }
}

pub(crate) fn code(gateway: &str, pin: &str) -> String {
    ActivationCode { gateway: gateway.into(), pin: pin.into(), token: TokenText::from("dG9rZW4".to_owned()) }.to_text()
}

/// Serves TLS 1.3 with this chain; client certificates of `authority` are welcome, and none are too.
pub(crate) async fn serve(
    authority: &Authority,
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
    behave: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> Server {
    let provider = Arc::new(default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let connections = Arc::new(AtomicUsize::new(0));
    let (behave, log, counted) = (Arc::new(behave), seen.clone(), connections.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let (acceptor, behave, log) = (acceptor.clone(), behave.clone(), log.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let has_certificate = stream.get_ref().1.peer_certificates().is_some();
                let service = service_fn(|request: Request<Incoming>| {
                    let (behave, log) = (behave.clone(), log.clone());
                    async move {
                        let path = request.uri().to_string();
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let seen = Seen { path, body, has_certificate };
                        let reply = behave(&seen);
                        log.lock().unwrap().push(seen);
                        answer(reply).await
                    }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Server { address, seen, connections }
}

async fn answer(reply: Reply) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (status, media_type, body) = match reply {
        Reply::Good(media_type, body) => (200, media_type, body),
        Reply::Refusal(status, body) => (status, fleetform_domain::problem::MEDIA_TYPE, body),
        Reply::HangUp => return Err(std::io::Error::other("hung up")),
        Reply::Silence => std::future::pending().await,
    };
    Ok(Response::builder().status(status).header("content-type", media_type).body(Full::new(body)).unwrap())
}

/// A device that is on and blank, on a network without patience.
pub(crate) async fn device(storage: &Arc<impl Storage + 'static>) -> Device {
    let network = Network::new(TIMEOUTS);
    let mut device = Device::new("SIM-1".try_into().unwrap(), storage.clone(), network, 1);
    device.power_on().await.unwrap();
    device
}
