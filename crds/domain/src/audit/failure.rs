//! Pure: why something was not done, in words that are ours. What the API server says may quote values, and is not copied.

use crate::problem::ProblemCode;

/// A refusal that is about the state of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// How it is told from others: what the refusal says.
    pub refusal: &'static str,
    /// What the record says.
    pub message: &'static str,
}

/// Refusals of rules and policies that are about the state of things. `tests/tests/chart.rs` finds each of them in what is installed.
pub const CONFLICTS: &[Conflict] = &[
    Conflict {
        refusal: "and cannot be deleted: their profiles open in this project only",
        message: "This project still has enrolled users and cannot be deleted.",
    },
    Conflict {
        refusal: "This project still has",
        message: "This project still has device instances associated to it and cannot be deleted.",
    },
    Conflict {
        refusal: "set spec.deletionConfirmation to Delete",
        message: "The deletion of this project was not confirmed.",
    },
    Conflict {
        refusal: "This site still has",
        message: "This site still has device instances or assets associated to it and cannot be deleted.",
    },
    Conflict {
        refusal: "This asset still has",
        message: "This asset still has sensors associated to it and cannot be deleted.",
    },
    Conflict {
        refusal: "This configuration template still has",
        message: "This configuration template still has device instances associated to it and cannot be deleted.",
    },
    Conflict {
        refusal: "the address of a site is fixed while device instances are activated there",
        message: "The address of a site is fixed while device instances are activated there.",
    },
    Conflict {
        refusal: "spec.siteRef is fixed while a device is associated",
        message: "The site of a device instance is fixed while a device is associated.",
    },
    Conflict {
        refusal: "spec.siteRef of a Sensor is fixed while it is paired with its gateway",
        message: "The site of a sensor is fixed while it is paired with its gateway.",
    },
    Conflict {
        refusal: "spec.configuration.operationMode is fixed while the device is active",
        message: "The operation mode is fixed while the device is active.",
    },
    Conflict { refusal: "spec.activation.epoch only rises", message: "The epoch of an activation only rises." },
];

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// They may not.
    Denied,
    /// They may, and the key of the project may not be used.
    KeyUnavailable,
    /// Nobody knows who it is.
    NotAuthenticated,
    /// The state of things is against it.
    Conflict(&'static str),
    /// It is not there.
    NotFound,
    /// The request is not valid.
    Invalid,
    /// Too many requests.
    Throttled,
    /// Something that is needed was away.
    Unavailable,
    /// Something went wrong inside.
    Internal,
    /// It was only tried, and would have been done.
    DryRun,
}

impl Failure {
    /// What the API server answered with this status, reason and message. `None` where it did what was asked.
    pub(super) fn of_status(status: u16, reason: &str, message: &str) -> Option<Self> {
        let known = || CONFLICTS.iter().find(|known| message.contains(known.refusal));
        Some(match status {
            0..=399 => return None,
            401 => Self::NotAuthenticated,
            403 => Self::Denied,
            404 | 410 => Self::NotFound,
            409 if reason == "AlreadyExists" => Self::Conflict("There is one of this name already."),
            409 => Self::Conflict("It was changed by somebody else meanwhile."),
            429 => Self::Throttled,
            400..=499 => known().map_or(Self::Invalid, |known| Self::Conflict(known.message)),
            503 | 504 => Self::Unavailable,
            _ => Self::Internal,
        })
    }

    /// What portal or gateway answered.
    pub(super) fn of_problem(code: ProblemCode) -> Self {
        match code {
            ProblemCode::QrNotRecognized => Self::Denied,
            ProblemCode::KeyUnavailable => Self::KeyUnavailable,
            ProblemCode::NotAuthenticated => Self::NotAuthenticated,
            ProblemCode::ConfirmationNotValid | ProblemCode::NoCode => Self::Conflict(code.title()),
            ProblemCode::DeviceInstanceDoesNotExist
            | ProblemCode::SiteNotFound
            | ProblemCode::AssociationEnded
            | ProblemCode::NotFound => Self::NotFound,
            ProblemCode::ZipCodeDoesNotMatch
            | ProblemCode::MalformedRequest
            | ProblemCode::BodyTooLarge
            | ProblemCode::RequestTimedOut
            | ProblemCode::MethodNotAllowed => Self::Invalid,
            ProblemCode::RateLimited => Self::Throttled,
            ProblemCode::Unavailable => Self::Unavailable,
            ProblemCode::SystemError => Self::Internal,
        }
    }

    /// The `errorCode`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Denied => "AccessDenied",
            Self::KeyUnavailable => "AccessDeniedException",
            Self::NotAuthenticated => "UnrecognizedClientException",
            Self::Conflict(_) => "ConflictException",
            Self::NotFound => "ResourceNotFoundException",
            Self::Invalid => "ValidationException",
            Self::Throttled => "ThrottlingException",
            Self::Unavailable => "ServiceUnavailableException",
            Self::Internal => "InternalServerException",
            Self::DryRun => "DryRunOperation",
        }
    }

    /// The `errorMessage`. `denial` is what is said to who may not.
    pub(super) fn message(self, denial: impl FnOnce() -> String) -> String {
        match self {
            Self::Denied => return denial(),
            Self::KeyUnavailable => "The key of the project cannot be used.",
            Self::NotAuthenticated => "Nobody knows who asks.",
            Self::Conflict(message) => message,
            Self::NotFound => "It does not exist.",
            Self::Invalid => "The request is not valid.",
            Self::Throttled => "There are too many requests.",
            Self::Unavailable => "Something that is needed could not be reached.",
            Self::Internal => "Something went wrong.",
            Self::DryRun => "It was only tried, and would have been done.",
        }
        .to_owned()
    }

    /// The key of the message in the answer, as the guides have it.
    pub(super) const fn message_key(self) -> &'static str {
        if matches!(self, Self::Denied) { "Message" } else { "message" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_told_from_what_is_not_valid_and_nothing_of_its_words_is_kept() {
        let said = |status, reason, message| Failure::of_status(status, reason, message).map(Failure::code);
        assert_eq!(said(200, "", ""), None);
        assert_eq!(said(403, "Forbidden", "whatever"), Some("AccessDenied"));
        assert_eq!(said(422, "Invalid", "spec.displayName: Invalid value: \"secret\""), Some("ValidationException"));
        assert_eq!(said(409, "AlreadyExists", ""), Some("ConflictException"));
        assert_eq!(said(504, "Timeout", ""), Some("ServiceUnavailableException"));
        let refused = Failure::of_status(
            422,
            "Invalid",
            "denied request: This project still has 1 enrolled user and \
            cannot be deleted: their profiles open in this project only.",
        );
        assert_eq!(
            refused.unwrap().message(String::new),
            "This project still has enrolled users and cannot be deleted."
        );
    }

    #[test]
    fn every_problem_of_portal_and_gateway_has_a_code() {
        let told: Vec<_> =
            ProblemCode::ALL.iter().map(|code| (code.as_str(), Failure::of_problem(*code).code())).collect();
        insta::assert_debug_snapshot!("problems", told);
    }
}
