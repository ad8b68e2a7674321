//! How failures are told to devices, and how much of them stands in the log.

use std::sync::Arc;

use fleetform_domain::activation::ActivationFailure;
use fleetform_domain::problem::ProblemCode;

use super::Gateway;
use crate::error::{Class, Error};
use crate::server::{Allowance, Refusal};
use crate::vault::data_keys::DataKeys;

/// The answer to an activation that failed.
pub(super) fn failed(failure: ActivationFailure) -> Refusal {
    let code = failure.problem().unwrap_or(ProblemCode::SystemError);
    Refusal::new(code, format!("{}: {}", failure.message(), failure.remedy()))
}

impl Gateway {
    /// The answer when something did not let itself be read or written. What is wrong stays in the log.
    pub(super) fn not_served(&self, error: &Error) -> Refusal {
        match error.class() {
            Class::Unavailable | Class::NotLeading | Class::Conflict | Class::Gone | Class::Closed => {
                tracing::debug!(%error, "a device was asked to try again");
                Refusal::unavailable("something that is needed cannot be reached just now; ask again")
            }
            Class::Refused | Class::Unreadable | Class::Internal => {
                self.complain(&error.to_string());
                failed(ActivationFailure::SystemError)
            }
        }
    }

    /// The data keys of a project, once everybody is known whom they open. Before that, and while they cannot be used, devices keep what they
    /// have: why it is so, the Project says.
    pub(super) fn opened(&self, namespace: &str) -> Result<Arc<DataKeys>, Refusal> {
        let keys = self.context.keys(namespace).map_err(|error| self.not_served(&error))?;
        if self.context.people.is_whole(namespace) {
            return Ok(keys);
        }
        Err(Refusal::unavailable("the enrolled users are being read; ask again"))
    }

    /// Logs what a person has to put right, at most once a minute each: devices ask again and again.
    pub(super) fn complain(&self, why: &str) {
        if self.complaints.take(why, self.context.clock.now()) == Allowance::Granted {
            tracing::warn!(why, "a device cannot be served");
        }
    }
}
