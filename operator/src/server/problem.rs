//! Refusals, as RFC 9457 problem bodies.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fleetform_domain::problem::{MEDIA_TYPE, Problem, ProblemCode};

/// A refusal: what the caller sees. What only the log sees is logged where it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: ProblemCode,
    /// What is wrong here, and what to do.
    pub detail: String,
    /// In how many seconds to ask again.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A refusal with a sentence about this very case.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None }
    }

    /// Something that is needed cannot be reached just now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(2), ..Self::new(ProblemCode::Unavailable, detail) }
    }

    /// The request cannot be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::MalformedRequest, detail)
    }

    /// Too many requests.
    pub fn rate_limited(retry_after: u32) -> Self {
        let detail = format!("too many requests: wait {retry_after} s");
        Self { retry_after: Some(retry_after), ..Self::new(ProblemCode::RateLimited, detail) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(Problem::new(self.code, self.detail))).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.code == ProblemCode::NotAuthenticated {
            headers.insert(axum::http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer on a path that does not exist.
pub async fn path_not_found() -> Refusal {
    Refusal::new(ProblemCode::NotFound, "there is nothing at this path")
}

/// The answer to a method that a path does not take.
pub async fn method_not_allowed() -> Refusal {
    Refusal::new(ProblemCode::MethodNotAllowed, "this path takes another method")
}
