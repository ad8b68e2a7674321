//! Events. The fact is recorded first (a transition in a device instance's status) and delivered then; the event is a pure
//! function of the record, so an event that is delivered twice is the same twice.

mod jsonl;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fleetform_crds::DeviceInstance;
use fleetform_domain::event::{Event, Subject, transition_event, transition_event_id};
use fleetform_domain::id::ResourceId;
use fleetform_domain::transition::Transition;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::cache::{Change, Name};
use crate::context::Context;
pub use jsonl::JsonLines;

/// A sink without a memory of its own gets again, at a start, what was recorded so shortly before.
const OVERLAP: SignedDuration = SignedDuration::from_secs(60);

/// Most events in one delivery.
const BATCH: usize = 256;

/// Which transitions have been delivered.
#[derive(Debug, Default)]
struct Cursor {
    /// UID and sequence of the last delivered transition, by name.
    delivered: HashMap<Name, (String, i64)>,
}

impl Cursor {
    /// Where delivery goes on after a start: what the sink holds, or what was recorded a while ago where it cannot tell, counts
    /// as delivered.
    fn after_start(devices: &[Arc<DeviceInstance>], held: Option<&HashSet<Uuid>>, started: Timestamp) -> Self {
        let since = started - OVERLAP;
        let mut cursor = Self::default();
        for device in devices {
            let (Some(uid), Some(status)) = (device.metadata.uid.as_deref(), device.status.as_ref()) else { continue };
            let told = |transition: &Transition| match held {
                Some(held) => held.contains(&transition_event_id(uid, transition)),
                None => transition.time < since,
            };
            // Delivered in order, so what comes before one that was delivered was delivered too.
            if let Some(last) = status.transitions.iter().rev().find(|transition| told(transition)) {
                cursor.delivered.insert(Name::of(&**device), (uid.to_owned(), last.sequence));
            }
        }
        cursor
    }

    /// The events of `device` that are still to be delivered, with their sequences.
    fn pending(&self, context: &Context, device: &DeviceInstance) -> Vec<(i64, Event)> {
        let (Some(uid), Some(status)) = (device.metadata.uid.as_deref(), device.status.as_ref()) else {
            return Vec::new();
        };
        let delivered = self.delivered.get(&Name::of(device)).filter(|(known, _)| known == uid);
        let delivered = delivered.map_or(0, |(_, sequence)| *sequence);
        let fresh = status.transitions.iter().filter(|transition| transition.sequence > delivered);
        let here = &context.settings.installation;
        let id = ResourceId::of(uid);
        let arn = status.arn.clone().unwrap_or_else(|| here.device_instance_arn(&id));
        let namespace = device.metadata.namespace.clone().unwrap_or_default();
        let site = context.world.sites.get(&Name::new(namespace, &device.spec.site_ref.name));
        let site_uid = device.association().map(|association| association.site_uid.clone());
        let site_uid = site.as_ref().and_then(|site| site.metadata.uid.clone()).or(site_uid).unwrap_or_default();
        let site_arn = here.site_arn(&ResourceId::of(&site_uid));
        let subject = Subject {
            uid,
            arn: &arn,
            device_instance_name: &device.spec.display_name,
            site_name: site.as_ref().map_or(&device.spec.site_ref.name, |site| &site.spec.display_name),
            site_arn: &site_arn,
        };
        fresh.map(|transition| (transition.sequence, transition_event(here, &subject, transition))).collect()
    }
}

/// Delivers events until it is dropped. A sink that fails is tried again; nothing is passed over.
pub async fn deliver(context: Context, mut sink: JsonLines) {
    let mut changes = context.world.subscribe();
    let devices = context.world.devices.all();
    let mut cursor = Cursor::after_start(&devices, sink.held().as_ref(), context.clock.now());
    let mut pending: Vec<Name> = devices.iter().map(|device| Name::of(&**device)).collect();
    drop(devices);
    loop {
        for batch in pending.chunks(BATCH) {
            deliver_batch(&context, &mut sink, &mut cursor, batch).await;
        }
        pending.clear();
        match changes.recv().await {
            Some(change) => pending.extend(device_of(change)),
            None => return,
        }
        while pending.len() < BATCH
            && let Ok(change) = changes.try_recv()
        {
            pending.extend(device_of(change));
        }
        pending.sort();
        pending.dedup();
    }
}

fn device_of(change: Change) -> Option<Name> {
    match change {
        Change::DeviceInstance { name, .. } => Some(name),
        _ => None,
    }
}

async fn deliver_batch(context: &Context, sink: &mut JsonLines, cursor: &mut Cursor, names: &[Name]) {
    let mut events: Vec<(&Name, String, i64, Event)> = Vec::new();
    for name in names {
        let Some(device) = context.world.devices.get(name) else {
            cursor.delivered.remove(name);
            continue;
        };
        let uid = device.metadata.uid.clone().unwrap_or_default();
        let pending = cursor.pending(context, &device).into_iter();
        events.extend(pending.map(|(sequence, event)| (name, uid.clone(), sequence, event)));
    }
    if events.is_empty() {
        return;
    }
    let mut failures = 0;
    while let Err(error) = sink.write(events.iter().map(|(_, _, _, event)| event)).await {
        failures += 1;
        context.metrics.event_failed();
        let delay = crate::backoff::delay(failures).min(Duration::from_secs(10));
        tracing::warn!(%error, "events were not delivered; tried again in {delay:?}");
        tokio::time::sleep(delay).await;
    }
    for (name, uid, sequence, event) in events {
        context.metrics.event_delivered(&event.detail_type);
        cursor.delivered.insert(name.clone(), (uid, sequence));
    }
}
