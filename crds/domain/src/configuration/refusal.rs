//! Pure: why a device does not run the configuration that is wanted.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a device refused a configuration, and went on with what it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RefusalReason {
    /// It asks for something that the hardware does not have.
    NotSupported,
    /// With it, the gateway was out of reach, so the device undid it.
    GatewayUnreachable,
    /// Saving it on the device's disk failed.
    StorageFailed,
    /// The software could not be downloaded.
    DownloadFailed,
    /// The software that was downloaded is not that of the digest.
    DigestMismatch,
    /// The software is not signed by the key that the device trusts from the factory.
    SignatureInvalid,
    /// The software is older than what the device runs, and `allowDowngrade` is not set.
    DowngradeNotAllowed,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NotSupported,
        Self::GatewayUnreachable,
        Self::StorageFailed,
        Self::DownloadFailed,
        Self::DigestMismatch,
        Self::SignatureInvalid,
        Self::DowngradeNotAllowed,
    ];

    /// Whether the device tries again by itself; otherwise it waits for another configuration.
    pub const fn is_retried(self) -> bool {
        matches!(self, Self::StorageFailed | Self::DownloadFailed | Self::DigestMismatch)
    }

    /// What happened and what to do, for the person who wrote the configuration.
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotSupported => {
                "the device does not support what it asks for: compare it with the data sheet of the hardware, and change the \
                 configuration"
            }
            Self::GatewayUnreachable => {
                "with it the device could not reach its gateway, so it went back: check ssid and passphrase of wifi, and \
                 that the network is there and lets the device through"
            }
            Self::StorageFailed => {
                "the device could not save it; it tries again: when it goes on, reboot the device, or have it replaced"
            }
            Self::DownloadFailed => {
                "the device could not download the software; it tries again: check software.url, and that the device's network \
                 lets it through"
            }
            Self::DigestMismatch => {
                "what the device downloaded is not the release that software.sha256 names; it tries again: check what lies at \
                 software.url"
            }
            Self::SignatureInvalid => {
                "software.signature was not made with the key that the device trusts from the factory, or for another version \
                 or digest: sign the release with that key"
            }
            Self::DowngradeNotAllowed => {
                "the device runs a later version: name a later one, or set software.allowDowngrade if it is to go back"
            }
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again_says_so() {
        for reason in RefusalReason::ALL {
            assert_eq!(reason.message().contains("tries again"), reason.is_retried(), "{reason}");
        }
    }
}
