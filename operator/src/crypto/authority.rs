//! The embedded certificate authority: ECDSA P-256. It signs the certificates of devices and of the listeners.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::parse_x509_certificate;

use super::{Bond, DeviceKey};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// How long the authority is valid.
const AUTHORITY_DAYS: i32 = 3650;

/// How long a listener's certificate is valid.
const SERVER_DAYS: i32 = 90;

/// What a certificate or a key that cannot be made or read has wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// A certificate or key cannot be made.
    #[error("{what} cannot be made: {source}")]
    Make {
        /// Which.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// A certificate or key cannot be read.
    #[error("{0}")]
    Read(String),
}

impl CryptoError {
    fn make(what: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Make { what, source }
    }
}

/// A certificate and its key in PEM. Its `Debug` hides the key.
#[derive(Clone)]
pub struct Pem {
    /// The certificate.
    pub certificate: String,
    /// PKCS #8.
    pub key: String,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem(…)")
    }
}

/// What a listener shows. Its `Debug` hides the key.
pub struct ServerCertificate {
    /// The certificate, then the authority's own: devices look for the authority that the code pins.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// When it ends.
    pub not_after: Timestamp,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// The authority. Its `Debug` hides the key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    pin: String,
    key_id: Vec<u8>,
    not_after: Timestamp,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority of this generation, valid for 10 years, backdated a day. One certificate may stand between it and those
    /// that count: that of the authority after it.
    pub fn generate(generation: u32, now: Timestamp) -> Result<Pem, CryptoError> {
        let key = new_key()?;
        let mut params = of_authority(1);
        // Each has a name of its own, so that whoever verifies a chain need not try one after the other.
        params.distinguished_name = match generation {
            1 => named("Fleetform authority"),
            _ => named(&format!("Fleetform authority {generation}")),
        };
        valid(&mut params, now, now + DAY * AUTHORITY_DAYS);
        let certificate = params.self_signed(&key).map_err(CryptoError::make("the authority's certificate"))?;
        Ok(Pem { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The authority with this certificate and key, both in PEM.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CryptoError> {
        let unreadable = |what: &str| CryptoError::Read(format!("the authority's {what} does not read"));
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| unreadable("certificate"))?;
        let key = KeyPair::from_pem(key).map_err(|_| unreadable("key"))?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(|_| unreadable("certificate"))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(CryptoError::Read("the authority's certificate is not that of its key".into()));
        }
        if !parsed.is_ca() {
            return Err(CryptoError::Read("the authority's certificate is not that of an authority".into()));
        }
        let pin = URL_SAFE_NO_PAD.encode(Sha256::digest(parsed.public_key().raw));
        let not_after = timestamp(parsed.validity().not_after.timestamp()).ok_or_else(|| unreadable("certificate"))?;
        let key_id = subject_key_id(&parsed).unwrap_or_else(|| CertificateParams::default().key_identifier(&key));
        let der = der.into_owned();
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| unreadable("certificate"))?;
        Ok(Self { issuer, certificate: der, pem: certificate.to_owned(), pin, key_id, not_after })
    }

    /// SHA-256 of its public key (DER `SubjectPublicKeyInfo`), base64url without padding: what codes pin.
    pub fn spki_pin(&self) -> String {
        self.pin.clone()
    }

    /// Names its key in the certificates that it signs (`AuthorityKeyIdentifier`).
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// When its certificate ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Its certificate in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for a listener with these names and addresses: valid for 90 days, backdated a day, with a new key.
    pub fn server_certificate(&self, names: &[String], now: Timestamp) -> Result<ServerCertificate, CryptoError> {
        let what = "a listener's certificate";
        let key = new_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(names.first().map_or("fleetform", |name| name.get(..64).unwrap_or(name)));
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(CryptoError::make(what))?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let not_after = self.capped(now + DAY * SERVER_DAYS);
        valid(&mut params, now, not_after);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(CryptoError::make(what))?;
        Ok(ServerCertificate {
            chain: vec![certificate.der().clone(), self.certificate.clone()],
            key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            not_after,
        })
    }

    /// The certificate of a device, in PEM: bound to its association, valid for `life` from `from` on, backdated a day. Made
    /// again for the same association and time it says the same, down to its serial number.
    pub fn device_certificate(
        &self,
        key: &DeviceKey,
        bond: &Bond,
        from: Timestamp,
        life: SignedDuration,
    ) -> Result<String, CryptoError> {
        let what = "a device's certificate";
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&bond.association);
        let urn = bond.to_string();
        params.subject_alt_names = vec![SanType::URI(urn.as_str().try_into().map_err(CryptoError::make(what))?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        valid(&mut params, from, self.capped(from + life));
        params.serial_number =
            Some(serial(&[urn.as_bytes(), key.sha256().as_bytes(), &from.as_second().to_be_bytes()]));
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key.public(), &self.issuer).map_err(CryptoError::make(what))?;
        Ok(certificate.pem())
    }

    /// A certificate for the name and the key of `next`, by this authority: whoever trusts this one alone verifies with it what
    /// `next` signed.
    pub fn vouch_for(&self, next: &Self, now: Timestamp) -> Result<CertificateDer<'static>, CryptoError> {
        let unreadable = |what: &str| CryptoError::Read(format!("the next authority's {what}"));
        let (_, parsed) =
            parse_x509_certificate(&next.certificate).map_err(|_| unreadable("certificate does not read"))?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let mut params = of_authority(0);
        params.distinguished_name = named(name.ok_or_else(|| unreadable("certificate has no common name"))?);
        params.key_identifier_method = KeyIdMethod::PreSpecified(next.key_id.clone());
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, self.capped(next.not_after));
        params.serial_number = Some(serial(&[&self.key_id, &next.key_id, &now.as_second().to_be_bytes()]));
        let certificate = params
            .signed_by(next.issuer.key(), &self.issuer)
            .map_err(CryptoError::make("the certificate for the next authority"))?;
        let der = certificate.der().clone();
        let (_, made) = parse_x509_certificate(&der).map_err(|_| unreadable("certificate does not read"))?;
        if made.subject().as_raw() != subject.as_raw() {
            return Err(unreadable("name has to be one common name, as Fleetform makes it"));
        }
        Ok(der)
    }

    /// A certificate must not outlive its authority: it is judged as of its own end.
    fn capped(&self, end: Timestamp) -> Timestamp {
        end.min(self.not_after)
    }
}

fn new_key() -> Result<KeyPair, CryptoError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CryptoError::make("a key"))
}

/// A certificate that may sign others, with at most so many certificates between it and those that count.
fn of_authority(path_length: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn valid(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let time = |time: Timestamp| {
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default())
    };
    params.not_before = time(from - DAY);
    params.not_after = time(until);
}

/// 127 bits of a hash: positive, and never all zero in practice (RFC 5280, 4.1.2.2).
fn serial(parts: &[&[u8]]) -> SerialNumber {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    let mut bytes: [u8; 16] = digest.finalize()[..16].try_into().expect("a SHA-256 has 32 bytes");
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

pub(super) fn timestamp(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::DeviceIdentity;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn authority() -> Authority {
        let pem = Authority::generate(1, now()).unwrap();
        Authority::from_pem(&pem.certificate, &pem.key).unwrap()
    }

    fn device_key() -> DeviceKey {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        DeviceKey::from_request(&request.pem().unwrap()).unwrap()
    }

    #[test]
    fn the_pin_is_that_of_the_public_key_and_survives_a_restart() {
        let pem = Authority::generate(1, now()).unwrap();
        let (first, again) =
            (Authority::from_pem(&pem.certificate, &pem.key), Authority::from_pem(&pem.certificate, &pem.key));
        assert_eq!(first.unwrap().spki_pin(), again.unwrap().spki_pin());
        let other = Authority::generate(1, now()).unwrap();
        assert!(Authority::from_pem(&pem.certificate, &other.key).is_err(), "a key of another authority");
        assert!(Authority::from_pem("", "").is_err());
    }

    #[test]
    fn a_device_certificate_reads_back_and_repeats() {
        let (authority, key) = (authority(), device_key());
        let bond = Bond::example("assoc-1");
        let read = || {
            let pem = authority.device_certificate(&key, &bond, now(), DAY * 30).unwrap();
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let (_, parsed) = parse_x509_certificate(&der).unwrap();
            (parsed.raw_serial().to_vec(), parsed.validity().clone(), DeviceIdentity::read(&der).unwrap())
        };
        let (serial, validity, identity) = read();
        assert_eq!(read(), (serial, validity, identity.clone()));
        assert_eq!(identity.bond, bond);
        assert_eq!(identity.key_sha256, key.sha256());
        assert_eq!(identity.not_after, now() + DAY * 30);
    }

    #[test]
    fn a_listener_shows_its_names_and_its_authority() {
        let authority = authority();
        let shown = authority.server_certificate(&["gw.example.org".into(), "127.0.0.1".into()], now()).unwrap();
        assert_eq!(shown.chain.len(), 2);
        assert_eq!(&shown.chain[1], authority.certificate());
        let (_, parsed) = parse_x509_certificate(&shown.chain[0]).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let pem = Authority::generate(1, now()).unwrap();
        let secret = pem.key.lines().nth(1).unwrap();
        let shown = authority().server_certificate(&[], now()).unwrap();
        let debug = format!("{pem:?} {:?} {shown:?}", Authority::from_pem(&pem.certificate, &pem.key).unwrap());
        assert!(!debug.contains(secret) && !debug.contains("PRIVATE"), "{debug}");
    }
}
