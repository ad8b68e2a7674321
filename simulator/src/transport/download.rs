//! Downloads of software releases, as any client of the web makes them.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::TransportError;

/// Longest that a download may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// Fetches releases. Servers are trusted as the machine trusts them; that a release is the right one is known by its digest and
/// signature.
#[derive(Debug)]
pub(super) struct Downloads {
    provider: Arc<CryptoProvider>,
    agent: OnceLock<Agent>,
}

impl Downloads {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, agent: OnceLock::new() }
    }

    fn agent(&self) -> &Agent {
        self.agent.get_or_init(|| {
            let roots = rustls_native_certs::load_native_certs().certs;
            let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
            let tls = TlsConfig::builder()
                .provider(TlsProvider::Rustls)
                .unversioned_rustls_crypto_provider(self.provider.clone())
                .root_certs(RootCerts::new_with_certs(&roots))
                .build();
            Agent::config_builder().tls_config(tls).timeout_global(Some(PATIENCE)).build().into()
        })
    }

    /// What lies at `url`, up to `limit` bytes.
    pub(super) async fn fetch(&self, url: &str, limit: usize) -> Result<Vec<u8>, TransportError> {
        let (agent, url) = (self.agent().clone(), url.to_owned());
        let fetch = move || {
            let mut answer = agent.get(&url).call()?;
            answer.body_mut().with_config().limit(limit as u64).read_to_vec()
        };
        let fetched = tokio::task::spawn_blocking(fetch).await.expect("downloads do not panic");
        fetched.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => TransportError::TooLarge(limit),
            ureq::Error::Timeout(_) => TransportError::TimedOut("download"),
            error => TransportError::Download(io::Error::other(error)),
        })
    }
}
