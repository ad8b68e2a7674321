//! Pure: how failures are told to devices.

use fleetform_domain::activation::ActivationFailure;
use fleetform_domain::problem::ProblemCode;

use crate::error::{Class, Error};
use crate::server::Refusal;

/// The answer to an activation that failed.
pub(super) fn failed(failure: ActivationFailure) -> Refusal {
    let code = failure.problem().unwrap_or(ProblemCode::SystemError);
    Refusal::new(code, format!("{}: {}", failure.message(), failure.remedy()))
}

/// The answer when the API server did not do what was asked. What is wrong stays in the log.
pub(super) fn not_served(error: &Error) -> Refusal {
    match error.class() {
        Class::Unavailable | Class::NotLeading | Class::Conflict | Class::Gone => {
            tracing::debug!(%error, "a device was asked to try again");
            Refusal::unavailable("something that is needed cannot be reached just now; ask again")
        }
        Class::Refused | Class::Unreadable => {
            tracing::warn!(%error, "a device cannot be served");
            failed(ActivationFailure::SystemError)
        }
    }
}
