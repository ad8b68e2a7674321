//! Pure: how enrollments and recognitions fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a person could not be enrolled: each step of an enrollment can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EnrollmentFailure {
    /// Nobody went on for a while.
    TimedOut,
    /// The badge scanner could not read the badge, or there is no badge scanner.
    BadgeNotReadable,
    /// The terms were declined.
    TermsDeclined,
    /// The consent was declined.
    ConsentDeclined,
    /// The palm could not be read: dirt, a bandage, a sleeve.
    PalmNotReadable,
    /// The two looks at one palm differ too much.
    PalmsDiffer,
    /// Somebody is enrolled with the badge already. Decided by the gateway.
    BadgeAlreadyEnrolled,
    /// The palm is enrolled with another badge already. Decided by the gateway.
    PalmAlreadyEnrolled,
    /// The last enrollment with the badge is still being removed from devices. Decided by the gateway.
    UnEnrollmentInProgress,
    /// The device cannot enroll: it is no Enrollment device. Decided by the gateway.
    NotAnEnrollmentDevice,
    /// The device could not ask its gateway.
    GatewayUnreachable,
    /// Something inside went wrong.
    SystemError,
}

/// Why nobody was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RecognitionFailure {
    /// "Unable to read palm": dirt, a bandage, a sleeve.
    PalmNotReadable,
    /// "Palm not recognized": nobody with this palm is enrolled; or it is the other hand.
    PalmNotRecognized,
    /// More than one person comes into question.
    Ambiguous,
    /// The device could not ask its gateway, and has no list of its own.
    GatewayUnreachable,
    /// Something inside went wrong.
    SystemError,
}
