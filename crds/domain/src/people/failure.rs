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
    /// The consent names a text that the device was not given, or a time at which nobody can have agreed. Decided by the gateway.
    ConsentNotValid,
    /// The device could not ask its gateway.
    GatewayUnreachable,
    /// Something inside went wrong.
    SystemError,
}

impl EnrollmentFailure {
    /// The reason as it stands in JSON, events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "TIMED_OUT",
            Self::BadgeNotReadable => "BADGE_NOT_READABLE",
            Self::TermsDeclined => "TERMS_DECLINED",
            Self::ConsentDeclined => "CONSENT_DECLINED",
            Self::PalmNotReadable => "PALM_NOT_READABLE",
            Self::PalmsDiffer => "PALMS_DIFFER",
            Self::BadgeAlreadyEnrolled => "BADGE_ALREADY_ENROLLED",
            Self::PalmAlreadyEnrolled => "PALM_ALREADY_ENROLLED",
            Self::UnEnrollmentInProgress => "UN_ENROLLMENT_IN_PROGRESS",
            Self::NotAnEnrollmentDevice => "NOT_AN_ENROLLMENT_DEVICE",
            Self::ConsentNotValid => "CONSENT_NOT_VALID",
            Self::GatewayUnreachable => "GATEWAY_UNREACHABLE",
            Self::SystemError => "SYSTEM_ERROR",
        }
    }
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

impl RecognitionFailure {
    /// The reason as it stands in JSON, events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PalmNotReadable => "PALM_NOT_READABLE",
            Self::PalmNotRecognized => "PALM_NOT_RECOGNIZED",
            Self::Ambiguous => "AMBIGUOUS",
            Self::GatewayUnreachable => "GATEWAY_UNREACHABLE",
            Self::SystemError => "SYSTEM_ERROR",
        }
    }
}
