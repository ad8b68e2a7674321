//! Pure: people at the door: badges, palms, what an enrollment takes and how it and a recognition fail.

mod badge_number;
mod failure;
pub mod matching;
mod palm;

pub use badge_number::{BadgeNumber, InvalidBadgeNumber};
pub use failure::{EnrollmentFailure, RecognitionFailure};
pub use palm::{Hand, InvalidPalmCode, PALM_CODE_BYTES, Palm, PalmCode};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a person agreed to at the device, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Consent {
    /// Which text of the terms and of the consent: `configuration.consentVersion` of the device. 1 to 64 letters, digits, `.`, `_`
    /// or `-`.
    #[schemars(length(min = 1, max = 64))]
    pub version: String,
    /// When the person agreed (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub given_at: Timestamp,
}
