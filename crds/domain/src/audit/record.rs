//! Pure: a record, in the shape of `CloudTrail`.

use core::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::action::Action;
use super::failure::Failure;
use super::identity::{Identity, UserIdentity};
use super::resource::Resource;
use super::text::{bounded, id};
use crate::event::{NAMESPACE, whole_seconds};
use crate::id::Installation;
use crate::problem::ProblemCode;

/// Members of an object in JSON.
pub type Members = Map<String, Value>;

/// What somebody did, or tried. The names of members and their order are those of the guides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `1.08` of One Enterprise, `1.05` of Monitron.
    pub event_version: String,
    /// Who.
    pub user_identity: UserIdentity,
    /// When the request came: RFC 3339 in whole seconds, UTC.
    pub event_time: String,
    /// `one.amazonaws.com` or `monitron.amazonaws.com`.
    pub event_source: String,
    /// The action.
    pub event_name: String,
    /// Region of the installation.
    pub aws_region: String,
    /// Where the connection came from.
    #[serde(rename = "sourceIPAddress", default, skip_serializing_if = "Option::is_none")]
    pub source_ip_address: Option<IpAddr>,
    /// What the client calls itself, at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The same, in a sentence of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What was asked for, as far as it is not confidential.
    pub request_parameters: Option<Members>,
    /// What was answered, as far as it is not confidential.
    pub response_elements: Option<Members>,
    /// What the guides have no member for: `problem`, why a device or person was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_event_data: Option<Members>,
    /// Tells one request from another; that of the API server is its audit id.
    #[serde(rename = "requestID")]
    pub request_id: String,
    /// The same for the same fact, however often it is written.
    #[serde(rename = "eventID")]
    pub event_id: Uuid,
    /// Whether the action changes nothing.
    pub read_only: bool,
    /// `AwsApiCall`.
    pub event_type: String,
    /// `true`.
    pub management_event: bool,
    /// Account of the installation, 12 digits.
    pub recipient_account_id: String,
    /// `Management`.
    pub event_category: String,
}

/// A request, as far as a record tells of it.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who.
    pub identity: &'a Identity,
    /// What they did, or tried.
    pub action: Action,
    /// Whether they did it at the portal.
    pub at_portal: bool,
    /// What it was about.
    pub resource: &'a Resource,
    /// When it came.
    pub time: Timestamp,
    /// Where the connection came from.
    pub source: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<&'a str>,
    /// Tells one request from another.
    pub request_id: &'a str,
    /// What was asked for, beyond what it was about.
    pub parameters: Members,
    /// What was answered.
    pub elements: Option<Members>,
    /// Why it was not done.
    pub failure: Option<Failure>,
    /// What the caller was told, when portal or gateway refused.
    pub problem: Option<ProblemCode>,
}

impl Request<'_> {
    /// The record of it.
    pub fn record(self, here: &Installation) -> Record {
        let (action, service) = (self.action, self.action.service());
        let user_identity = self.identity.shown(here);
        let denial = || {
            let (who, what, which) = (&user_identity.arn, action.right(), self.resource.named(here));
            format!("User: {who} is not authorized to perform: {what} on resource: {which}")
        };
        let message = self.failure.map(|failure| failure.message(denial));
        let refused = self.failure.zip(message.as_ref()).map(|(failure, message)| {
            Members::from_iter([(failure.message_key().to_owned(), Value::from(message.as_str()))])
        });
        let mut parameters = self.resource.parameters(here);
        parameters.extend(self.parameters);
        let event_name = action.event_name(self.at_portal);
        // Clients may choose the id of their request: the time keeps one from passing for another.
        let fact = format!("{}/{event_name}/{}", self.request_id, self.time);
        Record {
            event_version: service.event_version().to_owned(),
            user_identity,
            event_time: whole_seconds(self.time),
            event_source: service.event_source().to_owned(),
            aws_region: here.region().to_owned(),
            source_ip_address: self.source,
            user_agent: self.user_agent.map(bounded),
            error_code: self.failure.map(|failure| failure.code().to_owned()),
            error_message: message,
            request_parameters: Some(parameters).filter(|members| !members.is_empty()),
            response_elements: refused.or(self.elements).filter(|members| !members.is_empty()),
            additional_event_data: self
                .problem
                .map(|problem| Members::from_iter([("problem".to_owned(), problem.as_str().into())])),
            request_id: id(self.request_id),
            event_id: Uuid::new_v5(&NAMESPACE, fact.as_bytes()),
            event_name,
            read_only: action.is_read_only(),
            event_type: "AwsApiCall".to_owned(),
            management_event: true,
            recipient_account_id: here.account().to_owned(),
            event_category: "Management".to_owned(),
        }
    }
}
