//! Whom one trusts: the one authority that a code pins, the authorities that an activation delivered, or a bundle.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetform_domain::wire::AuthoritiesDigest;
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use x509_parser::parse_x509_certificate;

use super::TransportError;

/// Authorities that a device trusts, and what checks servers against them.
#[derive(Debug)]
pub struct Trust {
    authorities: Vec<CertificateDer<'static>>,
    digest: AuthoritiesDigest,
    verifier: Arc<WebPkiServerVerifier>,
}

impl Trust {
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Result<Self, TransportError> {
        let verifier = verifier(provider, &authorities).ok_or(TransportError::BadMaterial("the authorities"))?;
        Ok(Self { digest: AuthoritiesDigest::of(&authorities), authorities, verifier })
    }

    /// The authorities.
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// Names them to the gateway.
    pub fn digest(&self) -> AuthoritiesDigest {
        self.digest
    }
}

fn verifier(
    provider: &Arc<CryptoProvider>,
    authorities: &[CertificateDer<'static>],
) -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).ok()?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok()
}

/// Trusts a server whose chain, as sent, holds the authority with the pinned key, and whose own certificate comes from
/// exactly that authority, or from one that it vouches for in the chain, is valid now and names the server.
#[derive(Debug)]
struct PinnedAuthority {
    provider: Arc<CryptoProvider>,
    pin: [u8; 32],
    /// The authority that had the pinned key the last time, so that not every handshake reads it again.
    known: Mutex<Option<Arc<Trust>>>,
}

impl PinnedAuthority {
    fn find(&self, certificates: &[CertificateDer<'_>]) -> Option<Arc<Trust>> {
        let known = self.known.lock().clone();
        if let Some(known) = known.filter(|known| certificates.contains(&known.authorities[0])) {
            return Some(known);
        }
        let is_pinned = |certificate: &&CertificateDer<'_>| {
            parse_x509_certificate(certificate)
                .is_ok_and(|(_, parsed)| Sha256::digest(parsed.public_key().raw).as_slice() == self.pin.as_slice())
        };
        let authority = certificates.iter().find(is_pinned)?.clone().into_owned();
        let found = Arc::new(Trust::new(&self.provider, vec![authority]).ok()?);
        *self.known.lock() = Some(found.clone());
        Some(found)
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = self.find(intermediates);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        authority.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

/// A clock that is ahead by so many seconds, or behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Seconds; negative when it is behind.
    pub ahead_seconds: i64,
}

impl Clock {
    /// What it shows, in seconds since 1970; 0 when that is before.
    pub fn now(self) -> u64 {
        UnixTime::now().as_secs().saturating_add_signed(self.ahead_seconds)
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now())))
    }
}

fn tls13(provider: &Arc<CryptoProvider>, clock: Clock) -> Builder {
    ClientConfig::builder_with_details(provider.clone(), Arc::new(clock))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
}

/// Full handshakes only: nothing is kept between connections and nothing is sent before the server is known.
fn finished(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

pub(super) fn pinned_config(
    provider: &Arc<CryptoProvider>,
    pin: &str,
    clock: Clock,
) -> Result<ClientConfig, TransportError> {
    let bytes = URL_SAFE_NO_PAD.decode(pin).ok().and_then(|bytes| bytes.try_into().ok());
    let pin = bytes.ok_or(TransportError::BadMaterial("the pin of the code"))?;
    let verifier = Arc::new(PinnedAuthority { provider: provider.clone(), pin, known: Mutex::default() });
    Ok(finished(tls13(provider, clock).dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

pub(super) fn device_config(
    provider: &Arc<CryptoProvider>,
    trust: &Trust,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clock: Clock,
) -> Result<ClientConfig, TransportError> {
    tls13(provider, clock)
        .with_webpki_verifier(trust.verifier.clone())
        .with_client_auth_cert(certificates, key)
        .map(finished)
        .map_err(|_| TransportError::BadMaterial("the device's own certificate and key"))
}

/// The portal speaks to people's browsers and so may speak TLS 1.2 too.
pub(super) fn roots_config(provider: &Arc<CryptoProvider>, pem: &[u8]) -> Result<ClientConfig, TransportError> {
    let bad = TransportError::BadMaterial("the bundle of authorities: it takes certificates in PEM");
    let Ok(authorities) = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() else { return Err(bad) };
    let verifier = if authorities.is_empty() { None } else { verifier(provider, &authorities) };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3");
    Ok(finished(builder.with_webpki_verifier(verifier.ok_or(bad)?).with_no_client_auth()))
}
