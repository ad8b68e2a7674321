//! The objects that events are about, and the facts that stand in them.

use std::sync::Arc;

use fleetform_crds::{Alert, DeviceInstance, Site};
use fleetform_domain::event::{
    AlertFact, AlertSubject, ClosureCodes, Event, Subject, alert_event, transition_event, transition_event_id,
};
use fleetform_domain::id::{Installation, ResourceId};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use uuid::Uuid;

use super::backlog::Outgoing;
use super::history::FactKey;
use crate::cache::{Change, Found, Kind, Name, World};
use crate::queue::Key;

/// An object in which facts are recorded that events tell of.
#[derive(Clone, Debug)]
pub(super) enum Object {
    /// A device: its transitions.
    Device(Arc<DeviceInstance>),
    /// An alert: that it was raised, and its transitions.
    Alert(Arc<Alert>),
}

impl Object {
    /// All there are.
    pub(super) fn all(world: &World) -> Vec<Self> {
        let devices = world.devices.all().into_iter().map(Self::Device);
        devices.chain(world.alerts.all().into_iter().map(Self::Alert)).collect()
    }

    /// The object of this name.
    pub(super) fn find(world: &World, key: &Key) -> Found<Self> {
        fn found<K>(found: Found<K>, of: impl Fn(Arc<K>) -> Object) -> Found<Object> {
            match found {
                Found::Here(object) => Found::Here(Arc::new(of(object))),
                Found::Unreadable(why) => Found::Unreadable(why),
                Found::Absent => Found::Absent,
            }
        }
        match key.kind {
            Kind::DeviceInstance => found(world.devices.find(&key.name), Self::Device),
            Kind::Alert => found(world.alerts.find(&key.name), Self::Alert),
            Kind::Project
            | Kind::Site
            | Kind::ConfigTemplate
            | Kind::Asset
            | Kind::EnrolledUser
            | Kind::AdminUser
            | Kind::Secret => Found::Absent,
        }
    }

    /// The object that changed, if events are about such objects.
    pub(super) fn changed(change: Change) -> Option<Key> {
        match change {
            Change::DeviceInstance { name, .. } => Some(Key::new(Kind::DeviceInstance, name)),
            Change::Alert { name, .. } => Some(Key::new(Kind::Alert, name)),
            Change::Project { .. }
            | Change::Site { .. }
            | Change::ConfigTemplate { .. }
            | Change::Asset { .. }
            | Change::EnrolledUser { .. }
            | Change::AdminUser { .. }
            | Change::Grant { .. }
            | Change::Person { .. }
            | Change::Secret { .. }
            | Change::Referenced { .. } => None,
        }
    }

    /// The object that is gone, as it was last, if events are about such objects.
    pub(super) fn gone(change: &Change) -> Option<Self> {
        match change {
            Change::DeviceInstance { gone, .. } => gone.clone().map(Self::Device),
            Change::Alert { gone, .. } => gone.clone().map(Self::Alert),
            _ => None,
        }
    }

    /// Kind and name of the object that this refers to.
    pub(super) fn key_of(reference: &ObjectReference) -> Option<Key> {
        let kind = match reference.kind.as_deref() {
            Some("DeviceInstance") => Kind::DeviceInstance,
            Some("Alert") => Kind::Alert,
            _ => return None,
        };
        Some(Key::new(kind, Name::new(reference.namespace.as_deref()?, reference.name.as_deref()?)))
    }

    /// What refers to it.
    fn reference(&self) -> ObjectReference {
        let reference = match self {
            Self::Device(device) => device.object_ref(&()),
            Self::Alert(alert) => alert.object_ref(&()),
        };
        ObjectReference { resource_version: None, ..reference }
    }

    /// Kind and name.
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Device(device) => Key::new(Kind::DeviceInstance, Name::of(&**device)),
            Self::Alert(alert) => Key::new(Kind::Alert, Name::of(&**alert)),
        }
    }

    /// UID.
    pub(super) fn uid(&self) -> &str {
        let metadata = match self {
            Self::Device(device) => &device.metadata,
            Self::Alert(alert) => &alert.metadata,
        };
        metadata.uid.as_deref().unwrap_or_default()
    }

    /// The facts that are recorded, with the ids of their events.
    pub(super) fn facts(&self) -> Vec<(FactKey, Uuid)> {
        match self {
            Self::Device(device) => {
                let recorded = device.status.iter().flat_map(|status| &status.transitions);
                recorded.map(|fact| ((fact.sequence, fact.time), transition_event_id(self.uid(), fact))).collect()
            }
            Self::Alert(alert) => facts_of(alert).map(|fact| (fact.key(), fact.event_id(self.uid()))).collect(),
        }
    }

    /// The events that tell of these facts, in the order in which they are recorded.
    pub(super) fn events(&self, here: &Installation, world: &World, facts: &[FactKey]) -> Vec<Outgoing> {
        if facts.is_empty() || self.uid().is_empty() {
            return Vec::new();
        }
        let events = match self {
            Self::Device(device) => device_events(device, here, world, facts),
            Self::Alert(alert) => alert_events(alert, here, world, facts),
        };
        let about = self.reference();
        events.into_iter().map(|event| Outgoing { about: Some(about.clone()), event }).collect()
    }
}

fn device_events(device: &DeviceInstance, here: &Installation, world: &World, facts: &[FactKey]) -> Vec<Event> {
    let (Some(uid), Some(status)) = (device.metadata.uid.as_deref(), &device.status) else { return Vec::new() };
    let arn = status.arn.clone().unwrap_or_else(|| here.device_instance_arn(&ResourceId::of(uid)));
    let site = world.sites.get(&Name::new(Name::of(device).namespace, &device.spec.site_ref.name));
    let known_site = device.association().map(|association| association.site_uid.as_str());
    let site_arn = here.site_arn(&site_id(site.as_deref(), known_site));
    let subject = Subject {
        uid,
        arn: &arn,
        device_instance_name: &device.spec.display_name,
        site_name: site.as_ref().map_or(&device.spec.site_ref.name, |site| &site.spec.display_name),
        site_arn: &site_arn,
    };
    let told = status.transitions.iter().filter(|fact| facts.contains(&(fact.sequence, fact.time)));
    told.map(|transition| transition_event(here, &subject, transition)).collect()
}

fn site_id(site: Option<&Site>, known: Option<&str>) -> ResourceId {
    ResourceId::of(site.and_then(|site| site.metadata.uid.as_deref()).or(known).unwrap_or_default())
}

/// That it was raised stands in its spec; what happened since, in its status.
fn facts_of(alert: &Alert) -> impl Iterator<Item = AlertFact<'_>> {
    let spec = &alert.spec;
    let raised = AlertFact::Raised { at: spec.raised_at.0, level: spec.level, cause: &spec.cause };
    let resolution = spec.resolution.as_ref().map(|resolution| ClosureCodes {
        failure_mode: resolution.failure_mode,
        failure_cause: resolution.failure_cause,
        action: resolution.action,
        alert_was_right: resolution.alert_was_right,
    });
    let recorded = alert.status.iter().flat_map(|status| &status.transitions);
    std::iter::once(raised).chain(recorded.map(move |transition| AlertFact::Changed { transition, resolution }))
}

fn alert_events(alert: &Alert, here: &Installation, world: &World, facts: &[FactKey]) -> Vec<Event> {
    let name = Name::of(alert);
    let asset = world.assets.get(&Name::new(&name.namespace, &alert.spec.asset_ref.name));
    let site = asset.as_ref().map(|asset| Name::new(&name.namespace, &asset.spec.site_ref.name));
    let site = site.and_then(|site| world.sites.get(&site));
    // The owner's UID stands in the alert itself, also when the asset is gone.
    let owners = alert.metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.kind == "Asset").map(|owner| owner.uid.as_str());
    let asset_arn = here.asset_arn(&ResourceId::of(owner.unwrap_or_default()));
    let site_arn = here.site_arn(&site_id(site.as_deref(), None));
    let subject = AlertSubject {
        uid: alert.metadata.uid.as_deref().unwrap_or_default(),
        name: &name.name,
        asset_arn: &asset_arn,
        asset_name: asset.as_ref().map_or(&alert.spec.asset_ref.name, |asset| &asset.spec.display_name),
        position: &alert.spec.position,
        sensor: alert.spec.sensor.as_ref().map(|sensor| &sensor.device_instance_id),
        site_name: site.as_ref().map_or("", |site| &site.spec.display_name),
        site_arn: &site_arn,
    };
    facts_of(alert).filter(|fact| facts.contains(&fact.key())).map(|fact| alert_event(here, &subject, &fact)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Scope;
    use crate::controllers::fixtures;
    use serde_json::json;

    #[test]
    fn an_alert_that_is_raised_is_a_fact_and_so_is_each_step_after_it() {
        let world = World::new(vec![Scope::All]);
        world.own_asset(fixtures::asset());
        world.own_site(fixtures::site());
        let time = "2026-01-01T12:05:00Z";
        let transition = |sequence: i64, previous: &str, current: &str| json!({ "sequence": sequence, "time": time, "kind": "Phase", "previous": previous, "current": current });
        let mut alert = fixtures::alert(1);
        let transitions = [transition(1, "Raised", "Acknowledged"), transition(2, "Acknowledged", "Resolved")];
        alert.status = Some(serde_json::from_value(json!({ "transitions": transitions })).unwrap());
        let object = Object::Alert(Arc::new(alert));
        let facts: Vec<FactKey> = object.facts().into_iter().map(|(key, _)| key).collect();
        let here = fixtures::installation();
        let events = object.events(&here, &world, &facts);
        let about = events[0].about.clone().unwrap();
        assert_eq!(Object::key_of(&about), Some(object.key()));
        let events: Vec<Event> = events.into_iter().map(|outgoing| outgoing.event).collect();
        let types: Vec<&str> = events.iter().map(|event| event.detail_type.as_str()).collect();
        assert_eq!(types, ["Asset State Changed To Warning", "Alert Acknowledged", "Alert Resolved"]);
        let detail = events[0].machine().unwrap();
        assert_eq!(
            (detail.data.asset_name.as_str(), detail.metadata.site_name.as_str()),
            ("Pump 1", "Central Library")
        );
        let ids: Vec<Uuid> = object.facts().into_iter().map(|(_, id)| id).collect();
        assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), ids);
        assert_eq!(object.events(&here, &world, &facts[2..]).len(), 1);
    }
}
