//! Checks the certificates of devices in the handshake.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::parse_x509_certificate;

use super::Authorities;

/// Takes devices with a certificate of an authority of ours, and such without any, who may look codes up and redeem them.
///
/// A chain is judged as of the end of the certificate: whether that is past is asked at every request, for a connection
/// can outlive its certificate, and a device whose certificate has expired must hear so in words that it understands. For the
/// same reason those of an authority that was retired are taken here.
#[derive(Debug)]
pub struct DeviceVerifier(Arc<Authorities>);

impl DeviceVerifier {
    /// A verifier that trusts these authorities, whichever they are at the time.
    pub fn new(authorities: Arc<Authorities>) -> Self {
        Self(authorities)
    }
}

impl ClientCertVerifier for DeviceVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Devices have one certificate and need no hint; what is trusted changes while this lives.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = parse_x509_certificate(end_entity).map_err(|_| bad())?;
        let end = u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| bad())?;
        let end = UnixTime::since_unix_epoch(Duration::from_secs(end));
        self.0.ring().verifier().verify_client_cert(end_entity, intermediates, end)
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
        self.0.ring().verifier().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.ring().verifier().supported_verify_schemes()
    }
}
