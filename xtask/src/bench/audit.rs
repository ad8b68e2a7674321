//! Pure: what the API server's audit log says of requests.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// One line of the log, an `audit.k8s.io/v1` Event, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    #[serde(borrow)]
    stage: Cow<'a, str>,
    #[serde(borrow)]
    verb: Cow<'a, str>,
    #[serde(borrow)]
    user: User<'a>,
    #[serde(borrow)]
    object_ref: Option<ObjectReference<'a>>,
    response_status: Option<ResponseStatus>,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ObjectReference<'a> {
    #[serde(borrow)]
    resource: Cow<'a, str>,
    #[serde(borrow)]
    subresource: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

/// What kind of request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Something was stored or removed. Kubernetes Events are too.
    Write,
    /// A lease was taken or renewed: how often does not depend on the fleet.
    Lease,
    /// A question about a token or a right, in the form of a `create`. Nothing is stored.
    Review,
    /// A write that the API server refused (4xx). Nothing was stored.
    Refused,
    /// A write that failed otherwise.
    Failed,
    /// A read.
    Read,
}

/// One request, answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// When it was answered.
    pub(super) at: Timestamp,
    pub(super) kind: Kind,
    /// Verb and resource, as in `patch deviceinstances/status`.
    pub(super) what: String,
}

impl Event<'_> {
    /// Reads a line of the log.
    pub(super) fn read(line: &str) -> serde_json::Result<Event<'_>> {
        serde_json::from_str(line)
    }

    /// Who made the request.
    pub(super) fn user(&self) -> &str {
        &self.user.username
    }

    /// The name of the object that it was about.
    pub(super) fn object_name(&self) -> Option<&str> {
        self.object_ref.as_ref()?.name.as_deref()
    }

    /// The request; none when this is not its answer: a watch is there twice, when it starts and when it ends.
    pub(super) fn request(&self) -> Option<Request> {
        if self.stage != "ResponseComplete" {
            return None;
        }
        let (resource, subresource) = self
            .object_ref
            .as_ref()
            .map_or(("other", None), |object| (object.resource.as_ref(), object.subresource.as_deref()));
        let code = self.response_status.as_ref().and_then(|status| status.code).unwrap_or_default();
        let what = match subresource {
            Some(subresource) => format!("{} {resource}/{subresource}", self.verb),
            None => format!("{} {resource}", self.verb),
        };
        Some(Request { at: self.stage_timestamp, kind: kind(&self.verb, resource, code), what })
    }
}

fn kind(verb: &str, resource: &str, code: u16) -> Kind {
    let is_write = matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection");
    match (is_write, resource, code) {
        (false, ..) => Kind::Read,
        (true, "leases", 200..=299) => Kind::Lease,
        (true, "tokenreviews" | "subjectaccessreviews" | "selfsubjectaccessreviews", 200..=299) => Kind::Review,
        (true, _, 200..=299) => Kind::Write,
        (true, _, 400..=499) => Kind::Refused,
        (true, ..) => Kind::Failed,
    }
}

/// How many requests of one kind there were, by verb and resource.
pub(super) type Counts = BTreeMap<String, u64>;

/// Counts the requests of one kind.
pub(super) fn count<'a>(requests: impl IntoIterator<Item = &'a Request>, kind: Kind) -> Counts {
    let mut counts = Counts::new();
    for request in requests {
        if request.kind == kind {
            *counts.entry(request.what.clone()).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::{Event, Kind, count};

    /// Lines as kube-apiserver 1.35 writes them.
    const LOG: &str = include_str!("audit_sample.jsonl");

    #[test]
    fn requests_are_told_apart() {
        let mut told = String::new();
        for line in LOG.lines() {
            let event = Event::read(line).unwrap();
            let request = event.request().map(|request| (request.kind, request.what));
            writeln!(told, "{} {} {request:?}", event.user(), event.object_name().unwrap_or("-")).unwrap();
        }
        insta::assert_snapshot!(told);
    }

    #[test]
    fn only_what_was_stored_counts_as_a_write() {
        let requests: Vec<_> = LOG.lines().filter_map(|line| Event::read(line).unwrap().request()).collect();
        let writes = count(&requests, Kind::Write);
        let expected = [("create events", 1), ("patch deviceinstances/status", 1), ("patch secrets", 2)];
        assert_eq!(writes, expected.map(|(what, number)| (what.to_owned(), number)).into());
    }
}
