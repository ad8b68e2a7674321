//! Kubernetes Events about the objects, for people who look with kubectl. Never of people: what has no object is passed over.

use std::fmt;

use fleetform_domain::event::{Detail, DeviceChange, Event, MachineChange};
use fleetform_domain::machines::MachineState;
use fleetform_domain::transition::{Connectivity, Health};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use super::super::backlog::Outgoing;
use super::{Answer, Became, Left, Sink};
use crate::context::Context;
use crate::error::Class;
use crate::reconcile::execute::Executor;
use crate::reconcile::names::MANAGER;

/// Writes at once.
const WRITES: usize = 8;

/// Most characters of an object's name that stand in that of its Event, which has up to 253.
const LONGEST_NAME: usize = 220;

/// Kubernetes Events.
pub(super) struct Announcements {
    executor: Executor,
    /// The process that writes them.
    instance: String,
}

impl fmt::Debug for Announcements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcements").finish_non_exhaustive()
    }
}

impl Announcements {
    /// Written by this process.
    pub(super) fn new(context: &Context) -> Self {
        Self { executor: context.executor.clone(), instance: context.settings.identity.clone() }
    }

    async fn announce(&self, outgoing: &Outgoing) -> Became {
        let Some(event) = announcement(outgoing, &self.instance) else { return Became::Taken };
        match self.executor.announce(&event).await {
            Ok(()) => Became::Taken,
            // Its namespace goes, or is gone.
            Err(error) if error.class() == Class::Gone || error.is_terminating() => Became::Taken,
            Err(error) if error.class() == Class::Refused => {
                Became::Refused("the API server refuses to store it: see fleetform_writes_total".to_owned())
            }
            Err(error) => Became::Again(error.to_string()),
        }
    }
}

impl Sink for Announcements {
    fn put<'a>(&'a mut self, events: &'a [Outgoing]) -> Answer<'a, Left> {
        Box::pin(async move {
            let mut left = Left::default();
            for (at, some) in (0..).step_by(WRITES).zip(events.chunks(WRITES)) {
                let became = join_all(some.iter().map(|outgoing| self.announce(outgoing))).await;
                (at..).zip(became).for_each(|(place, became)| left.note(place, became));
            }
            Ok(left)
        })
    }
}

/// The Kubernetes Event that tells of an event, if it is about an object. Its name says which event it is, so that it is made once.
fn announcement(outgoing: &Outgoing, instance: &str) -> Option<events::Event> {
    let Outgoing { about: Some(about), event } = outgoing else { return None };
    let (is_warning, note) = in_words(event)?;
    let (namespace, name) = (about.namespace.as_ref()?, about.name.as_ref()?);
    let metadata = ObjectMeta {
        // As long as it may be.
        name: Some(format!(
            "{}.{}",
            name.get(..LONGEST_NAME).unwrap_or(name).trim_end_matches(['-', '.']),
            event.id.simple()
        )),
        namespace: Some(namespace.clone()),
        ..ObjectMeta::default()
    };
    Some(events::Event {
        metadata,
        event_time: event.time.parse::<Timestamp>().ok().map(MicroTime),
        reporting_controller: Some(MANAGER.to_owned()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        action: Some("Record".to_owned()),
        reason: Some(event.detail_type.split(' ').collect()),
        regarding: Some(about.clone()),
        note: Some(note.chars().take(1000).collect()),
        type_: Some(if is_warning { "Warning" } else { "Normal" }.to_owned()),
        ..events::Event::default()
    })
}

/// Whether somebody has to act, and what happened.
fn in_words(event: &Event) -> Option<(bool, String)> {
    match &event.detail {
        Detail::Device(detail) => {
            let (is_warning, what) = match &detail.data.change {
                DeviceChange::Health { current_health_status, .. } => match current_health_status {
                    Health::Healthy => (false, "all its health checks pass again"),
                    Health::Critical => (true, "health checks of it fail"),
                },
                DeviceChange::Connectivity { current_connectivity, .. } => match current_connectivity {
                    Connectivity::Connected => (false, "it is online"),
                    Connectivity::Disconnected => (true, "it is offline"),
                },
            };
            let (data, site) = (&detail.data, &detail.metadata.site_name);
            let (name, tag) = (&data.device_instance_name, &data.asset_tag_id);
            Some((is_warning, format!("{name} at {site}, asset tag {tag}: {what}")))
        }
        Detail::Machine(detail) => {
            let (data, site) = (&detail.data, &detail.metadata.site_name);
            let (is_warning, what) = match &data.change {
                MachineChange::State { current_state, cause, .. } => {
                    let cause = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
                    let state = format!("{current_state:?}").to_lowercase();
                    (*current_state >= MachineState::Warning, format!("its state is {state}{cause}"))
                }
                MachineChange::Phase { current_phase, .. } => {
                    (false, format!("the alert is {}", format!("{current_phase:?}").to_lowercase()))
                }
            };
            Some((is_warning, format!("{} at {site}, {}: {what}", data.asset_name, data.position)))
        }
        Detail::Person(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::cache::{Scope, World};
    use crate::controllers::fixtures;
    use crate::events::object::Object;
    use crate::events::sinks::fixtures::outgoing;

    /// What is announced of all facts of an object.
    fn announced(object: &Object) -> Vec<events::Event> {
        let world = World::new(vec![Scope::All]);
        world.own_asset(fixtures::asset());
        world.own_site(fixtures::site());
        let facts: Vec<_> = object.facts().into_iter().map(|(key, _)| key).collect();
        let outgoing = object.events(&fixtures::installation(), &world, &facts);
        outgoing.iter().map(|outgoing| announcement(outgoing, "fleetform-0").unwrap()).collect()
    }

    #[test]
    fn changes_of_devices_are_announced_in_words() {
        let mut device = fixtures::device(&json!({}));
        let transition = |sequence: i64, kind: &str, previous: &str, current: &str| json!({ "sequence": sequence, "time": "2026-01-01T12:00:00Z", "assetTagId": "0000195169", "kind": kind, "previous": previous, "current": current });
        let transitions = [
            transition(1, "Connectivity", "DISCONNECTED", "CONNECTED"),
            transition(2, "Health", "HEALTHY", "CRITICAL"),
            transition(3, "Health", "CRITICAL", "HEALTHY"),
            transition(4, "Connectivity", "CONNECTED", "DISCONNECTED"),
        ];
        device.status = Some(serde_json::from_value(json!({ "transitions": transitions })).unwrap());
        let announced = announced(&Object::Device(Arc::new(device)));
        insta::assert_json_snapshot!("offline", announced[3]);
        let told: Vec<_> = announced.iter().map(|event| (event.type_.as_deref(), event.note.as_deref())).collect();
        insta::assert_debug_snapshot!("devices", told);
    }

    #[test]
    fn alerts_are_announced_and_people_are_not() {
        let mut alert = fixtures::alert(1);
        let transition = json!({ "sequence": 1, "time": "2026-01-01T12:05:00Z", "kind": "Phase", "previous": "Raised", "current": "Acknowledged" });
        alert.status = Some(serde_json::from_value(json!({ "transitions": [transition] })).unwrap());
        let announced = announced(&Object::Alert(Arc::new(alert)));
        let told: Vec<_> = announced.iter().map(|event| (event.type_.as_deref(), event.note.as_deref())).collect();
        insta::assert_debug_snapshot!("alerts", told);
        let mut person = outgoing(1).remove(0);
        assert_eq!(announcement(&person, "fleetform-0"), None);
        person.about = announced[0].regarding.clone();
        assert_eq!(announcement(&person, "fleetform-0"), None, "whatever it is about");
    }
}
