//! Errors of the operator, and which of a few classes each belongs to: the class decides what happens next and is a label
//! of metrics.

use std::error::Error as StdError;
use std::time::Duration;

use crate::vault::KeyTrouble;

/// What went wrong while talking to the API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server answered with an error, or not at all.
    #[error("{what}: {}", brief(source))]
    Kube {
        /// What was tried.
        what: String,
        /// What came back.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("{what}: no answer within {}s", limit.as_secs())]
    TimedOut {
        /// What was tried.
        what: String,
        /// How long was waited.
        limit: Duration,
    },
    /// This process does not hold the lease, so it must not write.
    #[error("{what}: not written, because this process does not hold the lease")]
    NotLeading {
        /// What was tried.
        what: String,
    },
    /// Somebody else's object has the name that is needed.
    #[error("{what}: an object of this name is there that Fleetform did not make")]
    NameTaken {
        /// What was tried.
        what: String,
    },
    /// A mistake in Fleetform itself.
    #[error("{what}: a mistake in Fleetform itself: {why}; please report it")]
    Panicked {
        /// What was tried.
        what: String,
        /// What the panic said.
        why: String,
    },
    /// What is sealed of a project cannot be read or written now.
    #[error("{what}: {trouble}")]
    Closed {
        /// What was tried.
        what: String,
        /// Why.
        trouble: KeyTrouble,
    },
    /// Something that is stored does not read.
    #[error("{what}: {why}")]
    Unreadable {
        /// Which thing.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What an error means for who met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Somebody else changed the object: look again at once.
    Conflict,
    /// The object is gone.
    Gone,
    /// The API server refuses: permissions, policy, validation.
    Refused,
    /// The API server is away or overloaded.
    Unavailable,
    /// The key of the project cannot be used.
    Closed,
    /// This process must not write now.
    NotLeading,
    /// Stored data does not read.
    Unreadable,
    /// A mistake in Fleetform itself.
    Internal,
}

impl Class {
    /// The class as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Closed => "closed",
            Self::NotLeading => "not-leading",
            Self::Unreadable => "unreadable",
            Self::Internal => "internal",
        }
    }
}

impl Error {
    /// What came back from the API server while doing `what`.
    pub fn kube(what: impl Into<String>, source: kube::Error) -> Self {
        Self::Kube { what: what.into(), source: Box::new(source) }
    }

    /// What is wrong, without what was tried.
    pub fn why(&self) -> String {
        match self {
            Self::Kube { source, .. } => brief(source),
            other => other.to_string(),
        }
    }

    /// Whether the API server found the request itself wrong (422): among others, that a test of a JSON Patch failed.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Kube { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 422))
    }

    /// Whether the API server refuses because the namespace is being deleted.
    pub fn is_terminating(&self) -> bool {
        let Self::Kube { source, .. } = self else { return false };
        let kube::Error::Api(status) = &**source else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// Which class it belongs to.
    pub fn class(&self) -> Class {
        match self {
            Self::Kube { source, .. } => match &**source {
                kube::Error::Api(status) => match status.code {
                    404 => Class::Gone,
                    409 => Class::Conflict,
                    429 | 500.. => Class::Unavailable,
                    _ => Class::Refused,
                },
                _ => Class::Unavailable,
            },
            Self::TimedOut { .. } => Class::Unavailable,
            Self::NotLeading { .. } => Class::NotLeading,
            Self::Closed { .. } => Class::Closed,
            Self::NameTaken { .. } => Class::Refused,
            Self::Panicked { .. } => Class::Internal,
            Self::Unreadable { .. } => Class::Unreadable,
        }
    }
}

/// What a person needs of an answer of the API server: its sentence, not the whole document.
pub fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// An error and what caused it, from the outside in.
pub fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

/// A result of talking to the API server.
pub type Result<T, E = Error> = std::result::Result<T, E>;
