//! Pure: audit events of Kubernetes become records.

mod decide;
mod event;
mod members;
mod statement;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use event::Event;

use super::action::Action;
use super::failure::Failure;
use super::identity::Identity;
use super::record::{Record, Request};
use super::resource::{Resource, ResourceKind};
use crate::id::Installation;
use decide::{Known, Verb, actions};
use statement::{Statement, at};

/// API group of Fleetform.
const GROUP: &str = "fleetform.dev";

/// The user that the operator is, when the chart is installed under its own name.
pub const OPERATOR_USER: &str = "system:serviceaccount:fleetform-system:fleetform-operator";

/// Parts of Kubernetes that look at all objects, and delete and detach what follows from a request that has its own record.
const CONTROLLERS: [&str; 6] = [
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:resourcequota-controller",
];

/// Kubelets.
const NODES: &str = "system:node:";

/// Makes records of audit events.
#[derive(Clone, Debug)]
pub struct Translator {
    here: Installation,
    operators: Vec<String>,
}

impl Translator {
    /// For this installation, whose operators are these users: what they do follows from what people asked for.
    pub fn new(here: Installation, operators: Vec<String>) -> Self {
        Self { here, operators }
    }

    /// The records of an event: one for each action that the request is; none of what is not about Fleetform, has not ended, or was done
    /// by the operator or by Kubernetes itself.
    pub fn records(&self, event: &Event<'_>) -> Vec<Record> {
        let Some(reference) = event.object_ref.as_ref().filter(|reference| reference.api_group == GROUP) else {
            return Vec::new();
        };
        let Some(kind) = ResourceKind::of_plural(&reference.resource) else { return Vec::new() };
        if event.stage != "ResponseComplete" || self.is_left_out(event) {
            return Vec::new();
        }
        let (sent, answered) = (event.sent(), event.answered());
        let Some(verb) = verb(event, sent.as_ref()) else { return Vec::new() };
        let stored = answered.as_ref().filter(|object| object.get("spec").is_some());
        let patch = if let Verb::Edit(Some(statement)) = &verb { Some(&statement.object) } else { None };
        let known = Known { sent: patch.or(sent.as_ref()), stored };
        let actions = actions(kind, &verb, reference.subresource.as_deref(), known);
        let failure = failure(event);
        let (actions, failure) = match denied_action(event) {
            Some(action) => (vec![action], Some(Failure::Denied)),
            None => (actions, failure),
        };
        let resource = resource(kind, event, answered.as_ref());
        let identity = identity(event);
        let record = |action: Action| {
            let answers = failure.is_none() && action.answers_with_the_object();
            Request {
                identity: &identity,
                action,
                at_portal: false,
                resource: &resource,
                time: event.request_received_timestamp,
                // All but the last can be made up by the client.
                source: event.source_ips.last().and_then(|address| address.parse().ok()),
                user_agent: event.user_agent.as_deref(),
                request_id: &event.audit_id,
                parameters: known.sent.map(|sent| members::parameters(kind, action, sent)).unwrap_or_default(),
                elements: stored.filter(|_| answers).map(|stored| {
                    let mut elements = members::elements(kind, stored);
                    elements.extend(resource.elements(&self.here));
                    elements
                }),
                failure,
                problem: None,
            }
            .record(&self.here)
        };
        actions.into_iter().map(record).collect()
    }

    fn is_left_out(&self, event: &Event<'_>) -> bool {
        // Who acts as somebody else is never left out.
        let user = event.user.username.as_ref();
        let is_machinery = CONTROLLERS.contains(&user) || user.starts_with(NODES);
        event.impersonated_user.is_none() && (is_machinery || self.operators.iter().any(|operator| operator == user))
    }
}

fn verb(event: &Event<'_>, sent: Option<&Value>) -> Option<Verb> {
    let statement = |replaces| sent.map(|sent| Statement::read(sent.clone(), replaces));
    Some(match event.verb.as_ref() {
        "create" => Verb::Create,
        // A server-side apply of what was not there yet.
        "patch" if event.status() == 201 => Verb::Create,
        "get" => Verb::Get,
        "list" | "watch" => Verb::List,
        "update" => Verb::Edit(statement(true)),
        "patch" => Verb::Edit(statement(false)),
        "delete" | "deletecollection" => Verb::Delete,
        _ => return None,
    })
}

fn failure(event: &Event<'_>) -> Option<Failure> {
    let (reason, message) =
        event.response_status.as_ref().map_or(("", ""), |status| (status.reason.as_ref(), status.message.as_ref()));
    let failure = Failure::of_status(event.status(), reason, message);
    failure.or_else(|| event.is_dry_run().then_some(Failure::DryRun))
}

/// The action that a policy of ours says that somebody may not, if it is one.
fn denied_action(event: &Event<'_>) -> Option<Action> {
    let (_, rest) = event.refused_by_policy()?.split_once("is not authorized to perform: ")?;
    Action::named(rest.split(' ').next()?)
}

fn resource(kind: ResourceKind, event: &Event<'_>, answered: Option<&Value>) -> Resource {
    let reference = event.object_ref.as_ref();
    let text = |path: &[&str]| answered.and_then(|object| at(object, path)).and_then(Value::as_str);
    let namespace = reference.and_then(|reference| reference.namespace.as_deref());
    let name = reference.and_then(|reference| reference.name.as_deref()).filter(|name| !name.is_empty());
    // Who deletes an object is answered with what it was, or with a status that has its UID; so is who tries to and is refused,
    // without.
    let uid = text(&["metadata", "uid"]).or_else(|| text(&["details", "uid"]));
    let uid = uid.or_else(|| reference.and_then(|reference| reference.uid.as_deref()));
    let uid = uid.filter(|_| event.status() < 400);
    Resource::new(kind, namespace, name.or_else(|| text(&["metadata", "name"]))).with_uid(uid)
}

fn identity(event: &Event<'_>) -> Identity {
    let user = event.impersonated_user.as_ref().unwrap_or(&event.user);
    let impersonator = event.impersonated_user.as_ref().map(|_| event.user.username.clone().into_owned());
    Identity::User {
        name: user.username.clone().into_owned(),
        uid: user.uid.as_deref().filter(|uid| !uid.is_empty()).map(str::to_owned),
        credential: event.user.credential().map(str::to_owned),
        impersonator,
    }
}
