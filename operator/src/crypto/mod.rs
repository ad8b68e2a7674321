//! Keys and certificates: the embedded authority, what devices prove with, and what the listeners show.
//!
//! # Guarantees
//! No key is shown by a `Debug` or a log line. A Secret that exists is never overwritten.

mod authority;
mod identity;
mod keys;
mod request;
mod ring;
mod seal;
mod serving;
pub mod succession;
mod verifier;

pub use authority::{Authority, CryptoError, Pem, ServerCertificate};
pub use identity::{Bond, DeviceIdentity};
pub use keys::{ACTIVATION_KEY_SECRET, AUTHORITY_CONFIG_MAP, AUTHORITY_SECRET, Holder, Keys, authority_secret};
pub use request::DeviceKey;
pub use ring::{Authorities, Generation, Ring};
pub use seal::{KeyId, Purpose, SealError, SealingKey};
pub use serving::ServingCertificate;
pub use verifier::DeviceVerifier;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one provider of cryptography in this program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// SHA-256 as 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    fleetform_domain::hex(&Sha256::digest(bytes))
}
