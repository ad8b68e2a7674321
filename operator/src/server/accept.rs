//! The accept loop: how many connections, how many handshakes, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Peer};
use crate::crypto::DeviceIdentity;
use crate::telemetry::Metrics;

/// How long requests that run may take to finish after the shutdown has begun.
const DRAIN: Duration = Duration::from_secs(10);

/// Longest pause after an accept that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What bounds a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait in the backlog of the socket.
    pub connections: usize,
    /// TLS handshakes at a time; more wait, within their time.
    pub handshakes: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and how long a connection may idle before one.
    pub headers: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// How long a client may take nothing of an answer.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            handshakes: 256,
            handshake: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            body: Duration::from_secs(10),
            stalled: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// For listeners that few use.
    pub fn small() -> Self {
        Self { connections: 256, handshakes: 32, ..Self::default() }
    }
}

/// What lies under HTTP.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Nothing.
    Plain,
    /// TLS.
    Tls(Arc<ServerConfig>),
}

/// What a listener serves.
#[derive(Clone, Debug)]
pub struct Application {
    /// Name of the listener in metrics and logs.
    pub name: &'static str,
    /// Answers requests.
    pub router: Router,
    /// The route of a path, as a label: one of few.
    pub route: fn(&str) -> &'static str,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Serves until `shutdown`, then finishes the requests that run.
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    application: Application,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let connections = Arc::new(Semaphore::new(limits.connections));
    let door = Door {
        transport,
        handshakes: Arc::new(Semaphore::new(limits.handshakes)),
        application: Arc::new(application),
        limits,
        shutdown: shutdown.clone(),
    };
    let open = TaskTracker::new();
    let mut pause = Duration::ZERO;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        match accepted {
            Ok((stream, address, permit)) => {
                pause = Duration::ZERO;
                let door = door.clone();
                open.spawn(async move {
                    door.admit(stream, address).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: it passes, and one line tells of it.
                if pause.is_zero() {
                    tracing::warn!(listener = door.application.name, %error, "cannot accept connections just now");
                }
                pause = (pause * 2).clamp(Duration::from_millis(10), LONGEST_PAUSE);
                tokio::time::sleep(pause).await;
            }
        }
    }
    drop(listener);
    open.close();
    if timeout(DRAIN, open.wait()).await.is_err() {
        tracing::warn!(listener = door.application.name, "requests were cut off: they took too long to finish");
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, permit))
}

#[derive(Clone)]
struct Door {
    transport: Transport,
    handshakes: Arc<Semaphore>,
    application: Arc<Application>,
    limits: Limits,
    shutdown: CancellationToken,
}

impl Door {
    async fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let metrics = &self.application.metrics;
        metrics.connection_opened(self.application.name);
        // Answers are small and each is waited for.
        let _ = stream.set_nodelay(true);
        let connection = connection::Connection {
            application: Arc::clone(&self.application),
            limits: self.limits,
            shutdown: self.shutdown.clone(),
        };
        match &self.transport {
            Transport::Plain => connection.serve(stream, Peer { address, certificate: None }).await,
            Transport::Tls(config) => {
                let deadline = Instant::now() + self.limits.handshake;
                if let Some(tls) = self.shake_hands(config, stream, deadline).await {
                    let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let certificate = certificate.and_then(|leaf| DeviceIdentity::read(leaf)).map(Arc::new);
                    connection.serve(tls, Peer { address, certificate }).await;
                }
            }
        }
        metrics.connection_closed(self.application.name);
    }

    async fn shake_hands(
        &self,
        config: &Arc<ServerConfig>,
        stream: TcpStream,
        deadline: Instant,
    ) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
        let handshake = async {
            // Who says nothing takes no one's place: only what costs us work is counted.
            let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            let _permit = self.handshakes.acquire().await.expect("the semaphore is never closed");
            hello.into_stream(Arc::clone(config)).await
        };
        let outcome = tokio::select! {
            () = self.shutdown.cancelled() => return None,
            outcome = timeout_at(deadline, handshake) => outcome,
        };
        let (name, metrics) = (self.application.name, &self.application.metrics);
        match outcome {
            Ok(Ok(tls)) => {
                metrics.handshake(name, "ok");
                Some(tls)
            }
            Ok(Err(error)) => {
                metrics.handshake(name, "failed");
                tracing::debug!(listener = name, %error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                metrics.handshake(name, "timed-out");
                None
            }
        }
    }
}
