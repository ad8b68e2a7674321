//! Pure: the nine ways in which an activation fails, as a device shows them (One Enterprise guide, "Activation").

use serde::{Deserialize, Serialize};

use crate::problem::ProblemCode;

/// What the device shows when an activation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ActivationFailure {
    /// Something inside went wrong, at the gateway or the device.
    SystemError,
    /// The code is unauthorized, used or expired.
    QrNotRecognized,
    /// The picture cannot be read.
    UnableToReadQr,
    /// Several codes are in view.
    MultipleQrCodes,
    /// The device instance is deleted or was never there.
    DeviceInstanceDoesNotExist,
    /// The site is deleted or was never there.
    SiteNotFound,
    /// The typed ZIP code is not the site's.
    ZipCodeDoesNotMatch,
    /// The gateway did not answer in time.
    GatewayTimedOut,
    /// The device could not save its configuration.
    UnableToConfigureDevice,
}

impl ActivationFailure {
    /// All nine.
    pub const ALL: [Self; 9] = [
        Self::SystemError,
        Self::QrNotRecognized,
        Self::UnableToReadQr,
        Self::MultipleQrCodes,
        Self::DeviceInstanceDoesNotExist,
        Self::SiteNotFound,
        Self::ZipCodeDoesNotMatch,
        Self::GatewayTimedOut,
        Self::UnableToConfigureDevice,
    ];

    /// The words on the device's screen.
    pub const fn message(self) -> &'static str {
        match self {
            Self::SystemError => "System error",
            Self::QrNotRecognized => "QR not recognized",
            Self::UnableToReadQr => "Unable to read QR",
            Self::MultipleQrCodes => "Multiple QR codes detected",
            Self::DeviceInstanceDoesNotExist => "Device instance does not exist",
            Self::SiteNotFound => "Site not found",
            Self::ZipCodeDoesNotMatch => "ZIP code does not match",
            Self::GatewayTimedOut => "Gateway timed out",
            Self::UnableToConfigureDevice => "Unable to configure device",
        }
    }

    /// What the installer can do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::SystemError => "restart the device; after the second time, call support",
            Self::QrNotRecognized => "get a new activation code for this device instance and scan that",
            Self::UnableToReadQr => "try again; if it still cannot be read, restart the device",
            Self::MultipleQrCodes => "show the device one code only",
            Self::DeviceInstanceDoesNotExist => "check that the device instance still exists, and get a new code",
            Self::SiteNotFound => "check that the site still exists, or ask an administrator",
            Self::ZipCodeDoesNotMatch => "type the ZIP code of the site again",
            Self::GatewayTimedOut | Self::UnableToConfigureDevice => "restart the device; try twice",
        }
    }

    /// The code under which the gateway reports it; none when the device alone decides it.
    pub const fn problem(self) -> Option<ProblemCode> {
        match self {
            Self::SystemError => Some(ProblemCode::SystemError),
            Self::QrNotRecognized => Some(ProblemCode::QrNotRecognized),
            Self::DeviceInstanceDoesNotExist => Some(ProblemCode::DeviceInstanceDoesNotExist),
            Self::SiteNotFound => Some(ProblemCode::SiteNotFound),
            Self::ZipCodeDoesNotMatch => Some(ProblemCode::ZipCodeDoesNotMatch),
            Self::UnableToReadQr | Self::MultipleQrCodes | Self::GatewayTimedOut | Self::UnableToConfigureDevice => {
                None
            }
        }
    }

    /// What a device shows when the gateway answers with this problem during an activation.
    pub fn from_problem(code: ProblemCode) -> Self {
        Self::ALL.into_iter().find(|failure| failure.problem() == Some(code)).unwrap_or(Self::SystemError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_nine_are_told_apart_by_words_and_by_code() {
        let words: HashSet<_> = ActivationFailure::ALL.iter().map(|f| f.message()).collect();
        assert_eq!(words.len(), 9);
        let codes: HashSet<_> = ActivationFailure::ALL.iter().filter_map(|f| f.problem()).collect();
        assert_eq!(codes.len(), 5, "the gateway decides five; the other four are the device's own");
        for failure in ActivationFailure::ALL {
            if let Some(code) = failure.problem() {
                assert_eq!(ActivationFailure::from_problem(code), failure);
            }
        }
    }
}
