//! Pure: an audit event of Kubernetes (`audit.k8s.io/v1`), as far as records are made of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An audit event. Bodies are read only when the event is about Fleetform.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    #[serde(rename = "auditID", borrow)]
    pub(super) audit_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) stage: Cow<'a, str>,
    #[serde(rename = "requestURI", borrow, default)]
    pub(super) request_uri: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) verb: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) user: User<'a>,
    #[serde(borrow)]
    pub(super) impersonated_user: Option<User<'a>>,
    #[serde(rename = "sourceIPs", borrow, default)]
    pub(super) source_ips: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) user_agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) object_ref: Option<ObjectReference<'a>>,
    #[serde(borrow)]
    pub(super) response_status: Option<ResponseStatus<'a>>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(borrow)]
    request_object: Option<&'a RawValue>,
    #[serde(borrow)]
    response_object: Option<&'a RawValue>,
    pub(super) request_received_timestamp: Timestamp,
}

/// A user as the API server knows them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct User<'a> {
    #[serde(borrow, default)]
    pub(super) username: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) uid: Option<Cow<'a, str>>,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

/// What a request was about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectReference<'a> {
    #[serde(borrow, default)]
    pub(super) resource: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) uid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) api_group: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) subresource: Option<Cow<'a, str>>,
}

/// How a request ended.
#[derive(Debug, Deserialize)]
pub(super) struct ResponseStatus<'a> {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(borrow, default)]
    pub(super) reason: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) message: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// Reads an event from its JSON.
    pub fn read(json: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// What was sent; nothing where the policy did not have it logged.
    pub(super) fn sent(&self) -> Option<Value> {
        body(self.request_object)
    }

    /// What was answered; nothing where the policy did not have it logged.
    pub(super) fn answered(&self) -> Option<Value> {
        body(self.response_object)
    }

    /// Whether nothing was to be stored. A deletion goes by its body, where it has one; where no body is logged, it counts as done.
    pub(super) fn is_dry_run(&self) -> bool {
        if self.verb.starts_with("delete") {
            return self.sent().is_some_and(|sent| sent["dryRun"].as_array().is_some_and(|modes| !modes.is_empty()));
        }
        let query = self.request_uri.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|pair| pair.starts_with("dryRun="))
    }

    /// What a policy said to somebody whose rights let them through; nothing where these did not.
    pub(super) fn refused_by_policy(&self) -> Option<&str> {
        let is_let_through = self.annotations.get(DECISION).is_some_and(|decision| decision == "allow");
        self.response_status
            .as_ref()
            .filter(|status| is_let_through && status.code == 403)
            .map(|status| &*status.message)
    }

    /// The HTTP status of the answer; 200 where it is not told.
    pub(super) fn status(&self) -> u16 {
        self.response_status.as_ref().map(|status| status.code).filter(|code| *code > 0).unwrap_or(200)
    }
}

/// A body that does not read tells nothing, like one that was not logged.
fn body(raw: Option<&RawValue>) -> Option<Value> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).filter(|value: &Value| !value.is_null())
}

/// Where the API server says what it decided by somebody's rights.
const DECISION: &str = "authorization.k8s.io/decision";

/// Where the API server says which token or certificate somebody came with.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

impl User<'_> {
    /// The id of the token or certificate, if it is told.
    pub(super) fn credential(&self) -> Option<&str> {
        self.extra.get(CREDENTIAL)?.first().map(String::as_str)
    }
}
