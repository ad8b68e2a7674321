//! Pure: what a device shows, and where each failure of an activation leads.

use fleetform_domain::activation::ActivationFailure;
use fleetform_domain::operation::LockReason;
use fleetform_domain::people::{EnrollmentFailure, Hand, RecognitionFailure};
use fleetform_domain::problem::ProblemCode;

/// What a device shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Screen {
    /// Nothing: it has no power.
    Off,
    /// "Scan the QR code".
    Scan,
    /// "Type the ZIP code of the site".
    Zip,
    /// "Is this your site?"
    Confirm,
    /// "Finishing the activation": it was confirmed before the power went, and is repeated.
    Pending,
    /// A failure that asks for a restart.
    Halted(ActivationFailure),
    /// Ready for people.
    Active,
    /// Somebody enrolls, or has just done so.
    Enrollment(EnrollmentScreen),
    /// Somebody has just presented a palm at the door.
    Entry(EntryScreen),
    /// Locked: it serves nobody until the lock is answered.
    Locked(LockReason),
    /// "Temporarily out of service".
    OutOfService,
}

/// What an Enrollment device shows to who enrolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnrollmentScreen {
    /// The badge is to be held to the scanner.
    Badge,
    /// The terms are to be accepted.
    Terms,
    /// The consent is to be given.
    Consent,
    /// This palm is to be held over the device.
    Palm(Hand),
    /// The same palm is to be held there again.
    SamePalm(Hand),
    /// The person is enrolled.
    Enrolled,
    /// The device has it all, and the gateway has yet to say whether the person is enrolled.
    Pending,
    /// The person is not enrolled.
    Failed(EnrollmentFailure),
}

impl EnrollmentScreen {
    /// A short name for how the enrollment ended, one of few: for counters and logs. None while it goes on.
    pub const fn outcome(self) -> Option<&'static str> {
        use EnrollmentFailure as F;
        let Self::Failed(failure) = self else {
            return match self {
                Self::Enrolled => Some("enrolled"),
                Self::Pending => Some("pending"),
                _ => None,
            };
        };
        Some(match failure {
            F::TimedOut => "timed-out",
            F::BadgeNotReadable => "badge-not-readable",
            F::TermsDeclined => "terms-declined",
            F::ConsentDeclined => "consent-declined",
            F::PalmNotReadable => "palm-not-readable",
            F::PalmsDiffer => "palms-differ",
            F::BadgeAlreadyEnrolled => "badge-already-enrolled",
            F::PalmAlreadyEnrolled => "palm-already-enrolled",
            F::UnEnrollmentInProgress => "un-enrollment-in-progress",
            F::NotAnEnrollmentDevice => "not-an-enrollment-device",
            F::ConsentNotValid => "consent-not-valid",
            F::GatewayUnreachable => "gateway-unreachable",
            F::SystemError => "system-error",
        })
    }

    /// As the device shows it.
    pub const fn message(self) -> &'static str {
        use EnrollmentFailure as F;
        match self {
            Self::Badge => "Hold your badge to the scanner",
            Self::Terms => "Do you accept the terms?",
            Self::Consent => "Do you agree that your palms are used to recognize you?",
            Self::Palm(Hand::Right) => "Hold your right palm over the device",
            Self::Palm(Hand::Left) => "Hold your left palm over the device",
            Self::SamePalm(_) => "Hold the same palm over the device again",
            Self::Enrolled => "You are enrolled",
            Self::Pending => "Your enrollment is not finished: it is tried again later",
            Self::Failed(F::TimedOut) => "Timed out: start again",
            Self::Failed(F::BadgeNotReadable) => "Unable to read badge",
            Self::Failed(F::TermsDeclined) => "Not enrolled: the terms were declined",
            Self::Failed(F::ConsentDeclined) => "Not enrolled: the consent was declined",
            Self::Failed(F::PalmNotReadable) => "Unable to read palm",
            Self::Failed(F::PalmsDiffer) => "Not enrolled: the palms differ",
            Self::Failed(F::BadgeAlreadyEnrolled) => "Somebody is enrolled with this badge already",
            Self::Failed(F::PalmAlreadyEnrolled) => "This palm is enrolled with another badge already",
            Self::Failed(F::UnEnrollmentInProgress) => "The last enrollment with this badge is still being removed",
            Self::Failed(F::NotAnEnrollmentDevice) => "This is no Enrollment device",
            Self::Failed(F::ConsentNotValid) => "Your consent could not be recorded. Start again",
            Self::Failed(F::GatewayUnreachable) => "No network: come back later",
            Self::Failed(F::SystemError) => "System error",
        }
    }
}

/// What an Entry device shows to who wants to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryScreen {
    /// The control panel opens the door.
    Granted,
    /// The control panel does not.
    Denied,
    /// The person was recognised, and the control panel decides nothing: it does not answer, or cannot read the badge.
    NoDecision,
    /// Nobody was recognised.
    NotRecognized(RecognitionFailure),
}

impl EntryScreen {
    /// A short name, one of few: for counters and logs.
    pub const fn outcome(self) -> &'static str {
        use RecognitionFailure as F;
        match self {
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::NoDecision => "no-decision",
            Self::NotRecognized(F::PalmNotReadable) => "palm-not-readable",
            Self::NotRecognized(F::PalmNotRecognized) => "palm-not-recognized",
            Self::NotRecognized(F::Ambiguous) => "ambiguous",
            Self::NotRecognized(F::GatewayUnreachable) => "gateway-unreachable",
            Self::NotRecognized(F::SystemError) => "system-error",
        }
    }

    /// As the device shows it.
    pub const fn message(self) -> &'static str {
        use RecognitionFailure as F;
        match self {
            Self::Granted => "Access granted",
            Self::Denied => "Access denied",
            Self::NoDecision => "Temporarily unavailable",
            Self::NotRecognized(F::PalmNotReadable) => "Unable to read palm",
            Self::NotRecognized(F::PalmNotRecognized | F::Ambiguous) => "Palm not recognized",
            Self::NotRecognized(F::GatewayUnreachable) => "No network",
            Self::NotRecognized(F::SystemError) => "Something went wrong",
        }
    }
}

/// Where the device goes after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Back to the QR screen: this code is of no use.
    Scan,
    /// Back to the ZIP screen, with the same code.
    Zip,
    /// Nowhere until it is restarted.
    Restart,
}

/// The remedy that the device offers.
pub fn after(failure: ActivationFailure) -> Next {
    use ActivationFailure as F;
    match failure {
        F::QrNotRecognized
        | F::UnableToReadQr
        | F::MultipleQrCodes
        | F::DeviceInstanceDoesNotExist
        | F::SiteNotFound => Next::Scan,
        F::ZipCodeDoesNotMatch => Next::Zip,
        F::SystemError | F::GatewayTimedOut | F::UnableToConfigureDevice => Next::Restart,
    }
}

/// Whether a commit that was refused with this code is refused for good. After any other the gateway may have decided
/// already, or may yet decide otherwise: the device keeps its key and repeats.
pub(super) fn is_final(code: Option<ProblemCode>) -> bool {
    matches!(
        code,
        Some(
            ProblemCode::QrNotRecognized
                | ProblemCode::DeviceInstanceDoesNotExist
                | ProblemCode::SiteNotFound
                | ProblemCode::ZipCodeDoesNotMatch
                | ProblemCode::ConfirmationNotValid
                | ProblemCode::MalformedRequest
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_halts_the_device_exactly_when_its_first_remedy_is_a_restart() {
        for failure in ActivationFailure::ALL {
            let restart = failure.remedy().starts_with("restart");
            assert_eq!(after(failure) == Next::Restart, restart, "{failure:?}: {}", failure.remedy());
        }
    }
}
