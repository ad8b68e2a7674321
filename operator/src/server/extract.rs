//! Bodies and queries, read within their limits. What is wrong with them is said with the path of the field.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::MAX_BODY;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Refusal;

/// How much more of a body that is too large is read all the same, so that its sender gets to hear why it is refused instead
/// of a connection that breaks.
const SWALLOWED: usize = 3 * MAX_BODY;

/// For a request without a limit of its own, as in tests of handlers.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a body may take; every request carries it as an extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyTimeout(pub(super) Duration);

/// A message in JSON, at most 64 KiB, read in time.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let body = json_body(request, MAX_BODY).await?;
        parse(&body).map(Self)
    }
}

/// The body of a request in JSON, at most so many bytes, read in time.
pub async fn json_body(request: Request, limit: usize) -> Result<Vec<u8>, Refusal> {
    if !is_json(request.headers()) {
        return Err(Refusal::malformed("the body must be JSON: set Content-Type to application/json"));
    }
    let time = request.extensions().get::<BodyTimeout>().map_or(DEFAULT_TIMEOUT, |limit| limit.0);
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    timeout(time, collect(request.into_body(), announced, limit))
        .await
        .map_err(|_| Refusal::new(ProblemCode::RequestTimedOut, "the body did not arrive in time"))?
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let media_type = value.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

async fn collect(mut body: Body, announced: Option<usize>, limit: usize) -> Result<Vec<u8>, Refusal> {
    let too_large = || Refusal::new(ProblemCode::BodyTooLarge, format!("a body takes at most {limit} bytes"));
    if announced.is_some_and(|length| length > limit + SWALLOWED) {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(limit));
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::malformed("the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > limit + SWALLOWED {
            return Err(too_large());
        }
        if length <= limit {
            bytes.extend_from_slice(&data);
        }
    }
    if length > limit { Err(too_large()) } else { Ok(bytes) }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // To know where one is in a document costs as much as reading it: only what cannot be read is read again for that.
    serde_json::from_slice(body).or_else(|_| parse_with_path(body))
}

fn parse_with_path<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let why = error.inner().to_string();
        Refusal::malformed(bounded(&if path == "." { why } else { format!("{path}: {why}") }))
    })?;
    json.end().map_err(|_| Refusal::malformed("something follows the JSON document"))?;
    Ok(read)
}

/// Messages of serde repeat what was sent; only the beginning of that comes back.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A query string that cannot be read.
pub type MalformedQuery = Refusal;

/// The query string of an address.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, MalformedQuery> {
    let query = axum::extract::Query::try_from_uri(uri);
    query.map(|query| query.0).map_err(|error| Refusal::malformed(format!("query: {}", bounded(&error.body_text()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetform_domain::wire::{ActivationRequest, CheckInRequest, DeviceListQuery};
    use proptest::prelude::*;

    fn why<T: DeserializeOwned + std::fmt::Debug>(body: &str) -> String {
        let refusal = parse::<T>(body.as_bytes()).unwrap_err();
        assert_eq!(refusal.code, ProblemCode::MalformedRequest);
        refusal.detail
    }

    #[test]
    fn what_is_wrong_with_a_message_is_said_with_the_field() {
        let told = [
            why::<CheckInRequest>(""),
            why::<CheckInRequest>("[1,2]"),
            why::<CheckInRequest>(r#"{"bootId":"a b"}"#),
            why::<CheckInRequest>(r#"{"bootId":"a","counter":"one"}"#),
            why::<CheckInRequest>(
                r#"{"bootId":"a","counter":1,"softwareVersion":"1","failedHealthChecks":["ok","ä"]}"#,
            ),
            why::<CheckInRequest>(r#"{"bootId":"a","counter":1,"softwareVersion":"1","surprise":1}"#),
            why::<ActivationRequest>("{}"),
            why::<serde_json::Value>("{} {}"),
            why::<serde_json::Value>(&"[".repeat(1000)),
        ];
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn queries_are_read_and_refused() {
        let read = query::<DeviceListQuery>(&"/x?site=a&waitSeconds=3".parse().unwrap()).unwrap();
        assert_eq!((read.site.as_deref(), read.wait_seconds), (Some("a"), 3));
        let refused = query::<DeviceListQuery>(&"/x?waitSeconds=-1".parse().unwrap()).unwrap_err();
        assert!(refused.detail.contains("waitSeconds"), "{}", refused.detail);
        assert!(query::<DeviceListQuery>(&"/x?surprise=1".parse().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse::<CheckInRequest>(&body).is_err());
        }
    }
}
