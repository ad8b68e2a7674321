//! Pure: why a device could not do what it was told.

use fleetform_domain::activation::ActivationFailure;
use fleetform_domain::problem::ProblemCode;

use super::Screen;
use crate::storage::StorageError;
use crate::transport::{Refusal, TransportError};

/// Why a device could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It shows another screen: what was asked does not belong there.
    #[error("the device cannot {what} now: it shows {screen:?}")]
    OutOfTurn {
        /// What was asked.
        what: &'static str,
        /// What it shows.
        screen: Screen,
    },
    /// The association has ended. The device has wiped its key, its certificate and its configuration.
    #[error("the association has ended: the device has wiped itself")]
    AssociationEnded,
    /// The gateway said no.
    #[error("the gateway refused: {0}")]
    Refused(#[from] Refusal),
    /// No answer, or none that can be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A key or a certificate request could not be made, or what is stored of them cannot be used.
    #[error("cannot make or read {0}")]
    Crypto(&'static str),
    /// The gateway wanted another configuration each time the last one was applied.
    #[error("the configuration does not settle: the gateway wants another one each time")]
    Unsettled,
}

impl DeviceError {
    /// What the device shows when this happens during an activation.
    pub fn failure(&self) -> ActivationFailure {
        match self {
            Self::Transport(error) if error.is_no_answer() => ActivationFailure::GatewayTimedOut,
            Self::Storage(_) => ActivationFailure::UnableToConfigureDevice,
            Self::Refused(Refusal { code: Some(code), .. }) => ActivationFailure::from_problem(*code),
            _ => ActivationFailure::SystemError,
        }
    }

    /// A short name, one of few: for counters and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OutOfTurn { .. } => "out-of-turn",
            Self::AssociationEnded => "association-ended",
            Self::Refused(refusal) => refusal.kind(),
            Self::Transport(error) => error.kind(),
            Self::Storage(_) => "storage",
            Self::Crypto(_) => "crypto",
            Self::Unsettled => "unsettled",
        }
    }

    pub(super) fn code(&self) -> Option<ProblemCode> {
        if let Self::Refused(refusal) = self { refusal.code } else { None }
    }
}

/// An activation that failed: what the device shows, and why, as far as more than that is known.
#[derive(Debug, thiserror::Error)]
#[error("{}", match cause { Some(cause) => format!("{}: {cause}", failure.message()), None => failure.message().into() })]
pub struct ActivationError {
    /// What the device shows.
    pub failure: ActivationFailure,
    /// Why.
    pub cause: Option<Box<DeviceError>>,
}

impl From<DeviceError> for ActivationError {
    fn from(cause: DeviceError) -> Self {
        Self { failure: cause.failure(), cause: Some(Box::new(cause)) }
    }
}

impl From<ActivationFailure> for ActivationError {
    fn from(failure: ActivationFailure) -> Self {
        Self { failure, cause: None }
    }
}

impl ActivationError {
    /// The gateway's code, when the gateway decided.
    pub fn code(&self) -> Option<ProblemCode> {
        self.cause.as_ref().and_then(|cause| cause.code())
    }

    /// A short name, one of few: for counters and logs.
    pub fn kind(&self) -> &'static str {
        use ActivationFailure as F;
        match self.failure {
            F::SystemError => "system-error",
            F::QrNotRecognized => "qr-not-recognized",
            F::UnableToReadQr => "unable-to-read-qr",
            F::MultipleQrCodes => "multiple-qr-codes",
            F::DeviceInstanceDoesNotExist => "device-instance-does-not-exist",
            F::SiteNotFound => "site-not-found",
            F::ZipCodeDoesNotMatch => "zip-code-does-not-match",
            F::GatewayTimedOut => "gateway-timed-out",
            F::UnableToConfigureDevice => "unable-to-configure-device",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ProblemCode) -> DeviceError {
        DeviceError::Refused(Refusal { status: code.status(), code: Some(code), detail: String::new() })
    }

    #[test]
    fn the_device_tells_its_failures_apart() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let disk = StorageError::Io { asset_tag: "SIM-1".into(), source: full };
        for (error, failure) in [
            (DeviceError::Transport(TransportError::TimedOut("request")), ActivationFailure::GatewayTimedOut),
            (DeviceError::Transport(TransportError::TooLarge(1)), ActivationFailure::SystemError),
            (DeviceError::Storage(disk), ActivationFailure::UnableToConfigureDevice),
            (DeviceError::Unsettled, ActivationFailure::SystemError),
            (refused(ProblemCode::Unavailable), ActivationFailure::SystemError),
            (refused(ProblemCode::SiteNotFound), ActivationFailure::SiteNotFound),
        ] {
            assert_eq!(error.failure(), failure, "{error}");
        }
    }

    #[test]
    fn an_activation_error_reads_as_the_screen_and_the_reason() {
        let error = ActivationError::from(DeviceError::Transport(TransportError::TimedOut("request")));
        assert_eq!(error.to_string(), "Gateway timed out: no answer in time (request)");
        assert_eq!(ActivationError::from(ActivationFailure::UnableToReadQr).to_string(), "Unable to read QR");
    }
}
