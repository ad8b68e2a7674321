//! The device gateway: activation, check-ins and configurations (device protocol v1).
//!
//! # Guarantees
//! A code is redeemed at most once. Trust is asked for at every request. A device is told that its association has ended
//! only with positive proof from a live read; whatever else is the matter, it hears 503 and keeps what it has.

mod activation;
mod attempts;
mod certificate;
mod check_in;
mod configuration;
mod consent;
mod enrollment;
pub(crate) mod evidence;
pub mod live;
mod measurements;
mod people;
mod recognition;
mod record;
mod refusal;
pub mod report;
pub mod rotation;
pub mod sensors;
mod sweeper;
pub mod table;
mod trust;
mod users;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::routing::{get, post};
use fleetform_domain::people::BadgeNumber;
use fleetform_domain::wire::{
    ACTIVATION_PATH, CERTIFICATE_PATH, CHECK_IN_PATH, CONFIGURATION_PATH, ENROLLMENT_PATH, LOOKUP_PATH,
    MEASUREMENTS_PATH, RECOGNITION_PATH, USER_LIST_PATH,
};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::context::Context;
use crate::crypto::{CryptoError, DeviceVerifier, ServingCertificate, provider};
use crate::recent::Recent;
use crate::server::{
    self, Allowance, Application, Limits, RateLimiter, Refusal, Shards, Transport, method_not_allowed, path_not_found,
};
use attempts::ZipAttempts;

/// Most keys that a rate limit remembers.
const KEPT_RATES: usize = 256 * 1024;

/// So many enrollments are remembered, so that one that a device tells of again is not decided again.
const KEPT_DECISIONS: usize = 4096;

/// What the routes share.
#[derive(Debug)]
struct Gateway {
    context: Context,
    shutdown: CancellationToken,
    attempts: ZipAttempts,
    token_rate: RateLimiter,
    association_rate: RateLimiter,
    /// One line a minute about each thing that people have to put right.
    complaints: RateLimiter,
    /// One enrollment at a time in each namespace.
    desks: Shards,
    decided: Mutex<Recent<Uuid, (BadgeNumber, enrollment::Decision)>>,
}

impl Gateway {
    fn new(context: Context, shutdown: CancellationToken) -> Self {
        Self {
            context,
            shutdown,
            attempts: ZipAttempts::default(),
            token_rate: RateLimiter::new(20, Duration::from_secs(1), KEPT_RATES),
            association_rate: RateLimiter::new(20, Duration::from_millis(500), KEPT_RATES),
            complaints: RateLimiter::new(1, Duration::from_mins(1), 1024),
            desks: Shards::default(),
            decided: Mutex::new(Recent::new(KEPT_DECISIONS)),
        }
    }

    /// Only the holder of the lease, with a full cache, can tell what is true of devices.
    fn serving(&self) -> Result<(), Refusal> {
        if self.context.leadership.is_leading() && self.context.world.is_synced() {
            Ok(())
        } else {
            Err(Refusal::unavailable("the gateway is starting or standing by; ask again"))
        }
    }
}

fn limited(limiter: &RateLimiter, key: &str, now: jiff::Timestamp) -> Result<(), Refusal> {
    match limiter.take(key, now) {
        Allowance::Granted => Ok(()),
        Allowance::Wait(seconds) => Err(Refusal::rate_limited(seconds)),
    }
}

/// Serves devices until `shutdown`; then waiting requests are answered and running ones finished. An error when there is no
/// certificate to show.
pub async fn serve(context: Context, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (tls, certificate) =
        tls(&context).context("the gateway cannot serve: check --gateway-url and --gateway-name")?;
    let clock = Arc::clone(&context.clock);
    let mut background = JoinSet::new();
    background.spawn(async move { certificate.keep_current(&*clock).await });
    background.spawn(sweeper::sweep(context.clone()));
    let application = Application {
        name: "gateway",
        metrics: Arc::clone(&context.metrics),
        router: router(Arc::new(Gateway::new(context, shutdown.clone()))),
        route,
    };
    server::serve(listener, Transport::Tls(Arc::new(tls)), application, Limits::default(), shutdown).await;
    Ok(())
}

fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route(LOOKUP_PATH, post(activation::look_up))
        .route(ACTIVATION_PATH, post(activation::activate))
        .route(CHECK_IN_PATH, post(check_in::check_in))
        .route(CERTIFICATE_PATH, post(certificate::renew))
        .route(MEASUREMENTS_PATH, post(measurements::measurements))
        .route(&format!("{CONFIGURATION_PATH}/{{version}}"), get(configuration::configuration))
        .route(ENROLLMENT_PATH, post(enrollment::enroll))
        .route(RECOGNITION_PATH, post(recognition::recognize))
        .route(USER_LIST_PATH, get(users::users))
        .fallback(path_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(gateway)
}

fn route(path: &str) -> &'static str {
    match path {
        LOOKUP_PATH => "lookup",
        ACTIVATION_PATH => "activation",
        CHECK_IN_PATH => "check-in",
        CERTIFICATE_PATH => "certificate",
        MEASUREMENTS_PATH => "measurements",
        ENROLLMENT_PATH => "enrollment",
        RECOGNITION_PATH => "recognition",
        USER_LIST_PATH => "users",
        path if path.starts_with(CONFIGURATION_PATH) => "configuration",
        _ => "other",
    }
}

/// TLS 1.3 only, and a full handshake each time: who a device is is proven on every connection, and nothing is sent before.
fn tls(context: &Context) -> Result<(ServerConfig, Arc<ServingCertificate>), CryptoError> {
    let names = context.settings.gateway.names.clone();
    let authorities = &context.authorities;
    let certificate =
        Arc::new(ServingCertificate::of_authorities(Arc::clone(authorities), names, context.clock.now())?);
    let verifier = Arc::new(DeviceVerifier::new(Arc::clone(authorities)));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::<ServingCertificate>::clone(&certificate));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((config, certificate))
}
