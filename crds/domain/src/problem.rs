//! Pure: problem details (RFC 9457): what gateway and portal answer when they refuse.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Media type of a problem body.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// Why a request was refused. The codes are stable; programs go by them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum ProblemCode { $($(#[$doc])* $name,)* }

        impl ProblemCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as text: the last part of the problem's `type`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// A short sentence for people, the same every time.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

problems! {
    /// Something inside went wrong.
    SystemError = "system-error", 500, "System error";
    /// The code is unauthorized, used or expired.
    QrNotRecognized = "qr-not-recognized", 403, "QR not recognized";
    /// The device instance is deleted or was never there.
    DeviceInstanceDoesNotExist = "device-instance-does-not-exist", 404, "Device instance does not exist";
    /// The site is deleted or was never there.
    SiteNotFound = "site-not-found", 404, "Site not found";
    /// The typed ZIP code is not the site's.
    ZipCodeDoesNotMatch = "zip-code-does-not-match", 422, "ZIP code does not match";
    /// The site changed since it was shown: look the code up again.
    ConfirmationNotValid = "confirmation-not-valid", 409, "The site changed since it was shown";
    /// The association has ended: the device wipes itself.
    AssociationEnded = "association-ended", 410, "The association has ended";
    /// The request cannot be read.
    MalformedRequest = "malformed-request", 400, "The request cannot be read";
    /// The body is too large.
    BodyTooLarge = "body-too-large", 413, "The body is too large";
    /// The body did not arrive in time.
    RequestTimedOut = "request-timed-out", 408, "The request did not arrive in time";
    /// Too many requests.
    RateLimited = "rate-limited", 429, "Too many requests";
    /// No proof of who asks.
    NotAuthenticated = "not-authenticated", 401, "Not authenticated";
    /// Not allowed, or not there: both look alike.
    NotFound = "not-found", 404, "Not found";
    /// The path does not take this method.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed";
    /// The instance has no code now.
    NoCode = "no-activation-code", 409, "No activation code";
    /// What is sealed of the project cannot be read: its key is disabled, withdrawn or out of reach.
    KeyUnavailable = "key-unavailable", 503, "The project's key cannot be used";
    /// Something that is needed cannot be reached just now; ask again later.
    Unavailable = "unavailable", 503, "Try again later";
}

/// A problem body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `https://fleetform.dev/problems/<code>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// Short, the same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, and what to do.
    pub detail: String,
}

const TYPE_PREFIX: &str = "https://fleetform.dev/problems/";

impl Problem {
    /// A problem with a sentence about this very case.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("{TYPE_PREFIX}{}", code.as_str()),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
        }
    }

    /// The code, when it is one of ours.
    pub fn code(&self) -> Option<ProblemCode> {
        let code = self.type_uri.strip_prefix(TYPE_PREFIX)?;
        ProblemCode::ALL.iter().copied().find(|known| known.as_str() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        for code in ProblemCode::ALL {
            assert_eq!(Problem::new(*code, "").code(), Some(*code));
        }
    }

    #[test]
    fn a_problem_is_rfc_9457_json() {
        insta::assert_json_snapshot!(Problem::new(ProblemCode::QrNotRecognized, "the code has expired; get a new one"));
    }
}
