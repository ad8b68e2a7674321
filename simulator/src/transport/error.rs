//! Pure: why a conversation failed.

use std::error::Error;
use std::io;

use super::InvalidAddress;

/// Why there is no answer, or none that can be used. Never quotes what was sent or received.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// There is no such address.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// Nobody listens there, or the name is not known.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The device is in no network.
    #[error("there is no network")]
    NoNetwork,
    /// Software could not be downloaded.
    #[error("cannot download: {0}")]
    Download(io::Error),
    /// A step took too long.
    #[error("no answer in time ({0})")]
    TimedOut(&'static str),
    /// The connection ended before the answer did.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// One side does not trust the other.
    #[error("no trust: {0}")]
    Untrusted(rustls::Error),
    /// A certificate, a key or a pin cannot be read.
    #[error("cannot read {0}")]
    BadMaterial(&'static str),
    /// The answer is larger than any good one.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer cannot be read.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
}

impl TransportError {
    /// Whether the server gave no answer at all in the time that it had, as when it is away.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, Self::NoNetwork | Self::Unreachable { .. } | Self::TimedOut(_) | Self::Lost(_))
    }

    /// A short name, one of few: for counters and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Address(_) => "bad-address",
            Self::Unreachable { .. } => "unreachable",
            Self::NoNetwork => "no-network",
            Self::Download(_) => "download",
            Self::TimedOut(_) => "timed-out",
            Self::Lost(_) => "connection-lost",
            Self::Untrusted(_) => "untrusted",
            Self::BadMaterial(_) => "bad-material",
            Self::TooLarge(_) => "too-large",
            Self::Malformed(_) => "malformed",
        }
    }

    /// What an error of HTTP or of the connection below it means.
    pub(super) fn lost(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self::Untrusted(error.clone());
            }
            // An `io::Error` hides what it wraps from `source`.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(error) = wrapped.and_then(|error| error.downcast_ref::<rustls::Error>()) {
                return Self::Untrusted(error.clone());
            }
            cause = error.source();
        }
        Self::Lost(error.to_string())
    }

    /// What an error of reading JSON means; its own words would quote the answer.
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        Self::Malformed(format!("line {}, column {}", error.line(), error.column()))
    }
}
