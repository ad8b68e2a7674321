//! What the portal did for somebody, written down before they hear of it.

use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;
use fleetform_domain::audit::{Action, Actor, Deed, Members, Outcome, Resource, ResourceKind};

use super::Portal;
use super::access::{Caller, Refused};
use crate::cache::Name;
use crate::server::{Peer, Refusal};

/// Who asked, and from where.
pub(super) fn actor(caller: &Caller, peer: &Peer, headers: &HeaderMap) -> Actor {
    let user_agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned);
    Actor { identity: caller.identity(), source: peer.address.ip(), user_agent }
}

/// What was asked.
pub(super) struct Asked {
    action: Action,
    resource: Resource,
    parameters: Members,
}

impl Asked {
    /// For one object; its ARN is told when its UID is known.
    pub(super) fn of(action: Action, kind: ResourceKind, name: &Name, uid: Option<&str>) -> Self {
        let resource = Resource::new(kind, Some(&name.namespace), Some(&name.name)).with_uid(uid);
        Self { action, resource, parameters: Members::new() }
    }

    /// For what may be no object: all of a kind, or what is no name.
    pub(super) fn of_all(action: Action, kind: ResourceKind, namespace: Option<&str>) -> Self {
        Self { action, resource: Resource::new(kind, namespace, None), parameters: Members::new() }
    }

    /// To hand in audit events.
    pub(super) fn to_hand_in_events() -> Self {
        Self { action: Action::PutAuditEvents, resource: Resource::audit_events(), parameters: Members::new() }
    }

    /// The same, with more of what was asked. Nothing confidential.
    pub(super) fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.parameters.insert(key.to_owned(), value.into());
        self
    }
}

impl Portal {
    /// Writes down what became of it. What cannot be written down is not done.
    pub(super) async fn record<T>(
        &self,
        actor: &Actor,
        asked: Asked,
        became: &Result<T, Refused>,
    ) -> Result<(), Refusal> {
        let outcome = became.as_ref().err().map_or(Outcome::Done, Refused::outcome);
        let Asked { action, resource, parameters } = asked;
        let deed = Deed { action, resource, parameters, outcome };
        let (here, clock) = (&self.context.settings.installation, &self.context.clock);
        let record = deed.record(here, actor, clock.now(), clock.uuid());
        let written = self.context.trail.before(vec![record]).await;
        written.map_err(|_| Refusal::unavailable("what is asked for cannot be recorded just now; ask again"))
    }

    /// Writes down that somebody lacked the right; what they saw is not for the trail.
    pub(super) async fn record_denial<T>(
        &self,
        actor: &Actor,
        asked: impl FnOnce() -> Asked,
        became: &Result<T, Refused>,
    ) -> Result<(), Refusal> {
        if matches!(became, Err(Refused::Denied)) { self.record(actor, asked(), became).await } else { Ok(()) }
    }
}
