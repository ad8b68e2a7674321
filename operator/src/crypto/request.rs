//! Pure: certificate requests (PKCS #10). Only the key in them is used.

use rcgen::{CertificateSigningRequestParams, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use super::{CryptoError, sha256_hex};

/// RSA keys of devices, in bits: no weaker ones, and none so long that checking them is an attack.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// The key of a device, which it has proven to hold.
#[derive(Clone, Debug)]
pub struct DeviceKey {
    public: SubjectPublicKeyInfo,
    sha256: String,
}

impl DeviceKey {
    /// The key in a certificate request in PEM, after checking that the request is signed with it. Taken are ECDSA P-256
    /// and P-384, Ed25519, and RSA of 2048 to 4096 bits.
    pub fn from_request(pem: &str) -> Result<Self, CryptoError> {
        let bad = |why: &str| CryptoError::Read(format!("certificateRequest: {why}"));
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| bad("it is no certificate request in PEM"))?;
        let (_, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| bad("it is no certificate request (PKCS #10)"))?;
        let info = &request.certification_request_info.subject_pki;
        // Before the signature is checked: that is work for us, the more the longer the key.
        match info.parsed() {
            Ok(PublicKey::RSA(key)) if !RSA_BITS.contains(&key.key_size()) => {
                return Err(bad("an RSA key takes 2048 to 4096 bits"));
            }
            Ok(_) => {}
            Err(_) => return Err(bad("its key does not read")),
        }
        CertificateSigningRequestParams::from_der(&der)
            .map_err(|_| bad("its signature is wrong, or its algorithm or an extension is not supported"))?;
        let public = SubjectPublicKeyInfo::from_der(info.raw)
            .map_err(|_| bad("its key must be ECDSA P-256 or P-384, Ed25519 or RSA"))?;
        Ok(Self { public, sha256: sha256_hex(info.raw) })
    }

    /// The key in a certificate that the handshake has verified (DER `SubjectPublicKeyInfo`).
    pub fn from_certificate(spki: &[u8]) -> Result<Self, CryptoError> {
        let public = SubjectPublicKeyInfo::from_der(spki)
            .map_err(|_| CryptoError::Read("the certificate's key does not read".into()))?;
        Ok(Self { public, sha256: sha256_hex(spki) })
    }

    /// SHA-256 of the key (DER `SubjectPublicKeyInfo`), 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    pub(super) fn public(&self) -> &SubjectPublicKeyInfo {
        &self.public
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

    fn request(key: &KeyPair) -> rcgen::CertificateSigningRequest {
        CertificateParams::default().serialize_request(key).unwrap()
    }

    #[test]
    fn the_usual_keys_are_taken() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let read = DeviceKey::from_request(&request(&key).pem().unwrap()).unwrap();
            assert_eq!(read.sha256(), sha256_hex(&key.subject_public_key_info()));
            assert_eq!(read.public().subject_public_key_info(), key.subject_public_key_info());
        }
    }

    #[test]
    fn a_request_that_somebody_else_signed_is_refused() {
        let key = KeyPair::generate().unwrap();
        let mut der = request(&key).der().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        let pem = pem_of(&der);
        assert!(DeviceKey::from_request(&pem).is_err());
    }

    fn pem_of(der: &[u8]) -> String {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(der in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
            prop_assert!(DeviceKey::from_request(&pem_of(&der)).is_err());
            prop_assert!(DeviceKey::from_request(&text).is_err());
        }
    }
}
