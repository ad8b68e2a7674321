//! Pure: what a device shows, and where each failure of an activation leads.

use fleetform_domain::activation::ActivationFailure;
use fleetform_domain::operation::LockReason;
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
    /// Locked: it serves nobody until the lock is answered.
    Locked(LockReason),
    /// "Temporarily out of service".
    OutOfService,
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
