//! Audit events that the API server sends: its webhook hands them in, and they become records of the trail.

use std::fmt;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use fleetform_domain::audit::{Record, Translator};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::Portal;
use super::access::{Caller, Refused, Right};
use super::record::{Asked, actor};
use crate::audit::records;
use crate::server::{Peer, Refusal, json_body};
use crate::settings::Settings;

/// Largest batch, in bytes: more than an API server sends with `--audit-webhook-truncate-enabled`, whose batches have 10 MiB at most.
const LARGEST: usize = 12 * 1024 * 1024;

/// Batches that are read at a time; more wait. The memory that they take is bounded by this.
const AT_ONCE: usize = 2;

/// What it takes to take audit events.
pub(super) struct AuditEvents {
    translator: Arc<Translator>,
    reading: Semaphore,
}

impl fmt::Debug for AuditEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditEvents").finish_non_exhaustive()
    }
}

impl AuditEvents {
    pub(super) fn new(settings: &Settings) -> Self {
        let translator = Arc::new(Translator::new(settings.installation.clone(), settings.operators()));
        Self { translator, reading: Semaphore::new(AT_ONCE) }
    }
}

/// Events, as an API server sends them. One that does not read is no reason to lose the others.
#[derive(Deserialize)]
struct EventList<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// `POST /v1/audit-events`. The answer comes when the records stay.
pub(super) async fn take(
    State(portal): State<Arc<Portal>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let caller = portal.access.authenticate(&headers, &peer).await?;
    let allowed = portal.may_hand_in(&caller).await;
    portal.record_denial(&actor(&caller, &peer, &headers), Asked::to_hand_in_events, &allowed).await?;
    // Nothing of what is sent is read before.
    allowed?;
    let _one_of_few = portal.audit_events.reading.acquire().await.expect("the semaphore is never closed");
    let body = json_body(request, LARGEST).await?;
    let translator = Arc::clone(&portal.audit_events.translator);
    // Megabytes of JSON: others are not to wait for it.
    let read = tokio::task::spawn_blocking(move || read(&translator, &body)).await;
    let records = read.map_err(|_| Refusal::unavailable("the events were not read; send them again"))??;
    let written = portal.context.trail.before(records).await;
    written.map_err(|_| Refusal::unavailable("the events cannot be recorded just now; send them again"))?;
    Ok(StatusCode::OK)
}

impl Portal {
    async fn may_hand_in(&self, caller: &Caller) -> Result<(), Refused> {
        let right = Right { verb: "create", resource: "auditevents", subresource: "", namespace: None, name: None };
        if self.access.allows(caller, right).await? { Ok(()) } else { Err(Refused::Denied) }
    }
}

fn read(translator: &Translator, body: &[u8]) -> Result<Vec<Record>, Refusal> {
    let list: EventList<'_> = serde_json::from_slice(body)
        .map_err(|_| Refusal::malformed("the body must be an EventList of audit.k8s.io/v1"))?;
    let (mut found, mut unread) = (Vec::new(), 0_usize);
    for item in list.items {
        match records(translator, item.get()) {
            Ok(records) => found.extend(records),
            Err(why) => {
                unread += 1;
                tracing::debug!(why, "an audit event does not read");
            }
        }
    }
    if unread > 0 {
        tracing::warn!(unread, "the API server sent audit events that do not read");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::fixtures;

    fn names(body: &Value) -> Result<Vec<String>, Refusal> {
        let translator = Translator::new(fixtures::installation(), Vec::new());
        let records = read(&translator, body.to_string().as_bytes())?;
        Ok(records.into_iter().map(|record| record.event_name).collect())
    }

    #[test]
    fn an_event_that_does_not_read_costs_no_other() {
        let event = |verb: &str| {
            json!({
                "auditID": "e15fbea4", "stage": "ResponseComplete", "verb": verb, "user": { "username": "mary" },
                "requestReceivedTimestamp": "2026-11-21T13:02:40.452701Z",
                "objectRef": { "resource": "sites", "apiGroup": "fleetform.dev", "namespace": "library", "name": "a" },
            })
        };
        let items = json!([event("get"), { "auditID": 1 }, null, event("delete")]);
        let list = json!({ "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items });
        assert_eq!(names(&list).unwrap(), ["GetSite", "DeleteSite"]);
        assert!(names(&json!([])).unwrap_err().detail.contains("EventList"));
    }
}
