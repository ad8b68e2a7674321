//! Pure: the bond between a device instance and the hardware that redeemed its code.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a device instance stands in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Its configuration lacks something, or what it refers to is missing.
    #[default]
    NeedsConfiguration,
    /// An activation code is there to be scanned.
    ReadyForActivation,
    /// A device is associated with it.
    Active,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeedsConfiguration => "NeedsConfiguration",
            Self::ReadyForActivation => "ReadyForActivation",
            Self::Active => "Active",
        })
    }
}

/// The bond. It lives in the instance's status and nowhere else, and is good only for its epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Association {
    /// Random id (UUID); the device's certificate is bound to it.
    #[schemars(length(max = 64))]
    pub id: String,
    /// SHA-256 of the token that was redeemed, 64 hexadecimal digits.
    #[schemars(length(max = 64))]
    pub token_sha256: String,
    /// SHA-256 of the device's public key (DER `SubjectPublicKeyInfo`), 64 hexadecimal digits.
    #[schemars(length(max = 64))]
    pub device_key_sha256: String,
    /// `spec.activation.epoch` for which the association is good.
    pub epoch: i64,
    /// `status.activation.sequence` of the code that was redeemed.
    pub sequence: i64,
    /// UID of the site where the device was activated.
    #[schemars(length(max = 64))]
    pub site_uid: String,
}
