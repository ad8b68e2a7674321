//! HTTPS as devices and installers speak it: HTTP/1.1 on one connection at a time, every step bounded in time, every
//! answer bounded in size.

mod address;
mod connection;
mod download;
mod error;
mod trust;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

pub use address::{Address, InvalidAddress};
pub use connection::{Answer, Connection, Question, Refusal};
pub use download::{Download, Downloaded};
pub use error::TransportError;
pub use trust::{Clock, Trust};

use crate::release::FactoryKey;
use download::Downloads;

/// How long each step of a conversation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Looking the name up and connecting.
    pub connect: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
    /// From sending a request to the last byte of its answer, on top of what the request asks the server to wait.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), handshake: Duration::from_secs(5), request: Duration::from_secs(30) }
    }
}

/// Most codes of different authorities that are remembered; there is one for each gateway.
const KEPT_PINS: usize = 16;

/// What all devices of a program share: time-outs, cryptography, and one copy of each authority they trust.
#[derive(Debug)]
pub struct Network {
    timeouts: Timeouts,
    provider: Arc<CryptoProvider>,
    pinned: Mutex<HashMap<String, Arc<ClientConfig>>>,
    trusts: Mutex<HashMap<[u8; 32], Weak<Trust>>>,
    handshakes: AtomicU64,
    downloads: Downloads,
    factory_key: FactoryKey,
}

impl Network {
    /// A network with these time-outs.
    pub fn new(timeouts: Timeouts) -> Arc<Self> {
        Self::with_factory_key(timeouts, FactoryKey::of_simulation())
    }

    /// A network of devices that trust this key from the factory.
    pub fn with_factory_key(timeouts: Timeouts, factory_key: FactoryKey) -> Arc<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Arc::new(Self {
            timeouts,
            downloads: Downloads::new(provider.clone()),
            provider,
            factory_key,
            pinned: Mutex::default(),
            trusts: Mutex::default(),
            handshakes: AtomicU64::new(0),
        })
    }

    /// The key that signs the software of devices.
    pub fn factory_key(&self) -> &FactoryKey {
        &self.factory_key
    }

    /// Begins to fetch what lies at `url`, up to `limit` bytes.
    pub fn download(&self, url: &str, limit: usize) -> Download {
        self.downloads.begin(url, limit)
    }

    /// TLS handshakes made so far.
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Connects to a gateway that must have the authority with this pin, without a certificate of one's own.
    pub async fn connect_pinned(
        &self,
        address: &Address,
        pin: &str,
        clock: Clock,
    ) -> Result<Connection, TransportError> {
        let config = if clock == Clock::default() {
            self.pinned_config(pin)?
        } else {
            Arc::new(trust::pinned_config(&self.provider, pin, clock)?)
        };
        self.connect(address, config).await
    }

    /// Connects to a gateway of one of these authorities, as the holder of this certificate and key.
    pub async fn connect_as(
        &self,
        address: &Address,
        trust: &Trust,
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        clock: Clock,
    ) -> Result<Connection, TransportError> {
        // Made for each connection and dropped with it: a device at rest keeps only certificate and key.
        let config = trust::device_config(&self.provider, trust, certificates, key, clock)?;
        self.connect(address, Arc::new(config)).await
    }

    /// Connects to a server whose certificate comes from one of `roots`.
    pub async fn connect_trusting(&self, address: &Address, roots: &PemRoots) -> Result<Connection, TransportError> {
        self.connect(address, roots.0.clone()).await
    }

    /// Authorities as a PEM bundle, ready to be trusted.
    pub fn roots(&self, pem: &[u8]) -> Result<PemRoots, TransportError> {
        trust::roots_config(&self.provider, pem).map(|config| PemRoots(Arc::new(config)))
    }

    /// These authorities, shared with everyone who trusts the same.
    pub fn trust(&self, authorities: Vec<CertificateDer<'static>>) -> Result<Arc<Trust>, TransportError> {
        let mut hash = Sha256::new();
        for authority in &authorities {
            hash.update(authority.len().to_be_bytes());
            hash.update(authority);
        }
        let hash = hash.finalize().into();
        let mut trusts = self.trusts.lock();
        if let Some(trust) = trusts.get(&hash).and_then(Weak::upgrade) {
            return Ok(trust);
        }
        let trust = Arc::new(Trust::new(&self.provider, authorities)?);
        trusts.retain(|_, trust| trust.strong_count() > 0);
        trusts.insert(hash, Arc::downgrade(&trust));
        Ok(trust)
    }

    async fn connect(&self, address: &Address, config: Arc<ClientConfig>) -> Result<Connection, TransportError> {
        let connection = Connection::open(address, config, &self.timeouts).await?;
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }

    fn pinned_config(&self, pin: &str) -> Result<Arc<ClientConfig>, TransportError> {
        let mut pinned = self.pinned.lock();
        if let Some(config) = pinned.get(pin) {
            return Ok(config.clone());
        }
        let config = Arc::new(trust::pinned_config(&self.provider, pin, Clock::default())?);
        if pinned.len() >= KEPT_PINS {
            pinned.clear();
        }
        pinned.insert(pin.to_owned(), config.clone());
        Ok(config)
    }
}

/// Authorities that a portal's certificate may come from.
#[derive(Clone, Debug)]
pub struct PemRoots(Arc<ClientConfig>);
