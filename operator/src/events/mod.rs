//! Events. The fact is recorded first (a transition in a device instance's status) and delivered then; the event is a pure
//! function of the record, so an event that is delivered twice is the same twice.

mod cursor;
mod jsonl;
mod submit;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fleetform_crds::DeviceInstance;
use fleetform_domain::event::{Event, Subject, transition_event, transition_event_id, un_enrollment_event_id};
use fleetform_domain::id::ResourceId;
use fleetform_domain::transition::Transition;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use uuid::Uuid;

use crate::backoff;
use crate::cache::{Change, Found, Name};
use crate::context::Context;
use cursor::Cursor;
pub use jsonl::JsonLines;
use submit::Inbox;
pub use submit::{NotDelivered, Submissions};

/// Most devices whose events make one delivery.
const BATCH: usize = 256;

/// Longest time between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Delivers events until it is dropped, while this process leads: what another leader records, it delivers. A sink that fails
/// is tried again; nothing is passed over.
pub async fn deliver(context: Context) {
    let (mut leading, mut lost) = (context.leadership.clone(), context.leadership.clone());
    let mut inbox = context.submissions.inbox().await;
    loop {
        leading.leading().await;
        tokio::select! {
            () = deliver_term(&context, &mut inbox) => return,
            () = lost.lost() => {}
        }
    }
}

async fn deliver_term(context: &Context, inbox: &mut Inbox<'_>) {
    // Subscribed before anything is read, so that no change falls between.
    let mut changes = context.world.subscribe();
    let mut pending: BTreeSet<Name> = BTreeSet::new();
    let mut failures = 0;
    let (mut sink, mut cursor) = loop {
        match begin(context, inbox).await {
            Ok(begun) => break begun,
            Err(error) => pause(context, &error, &mut failures, &mut changes, &mut pending).await,
        }
    };
    pending.extend(context.world.devices.all().iter().map(|device| Name::of(&**device)));
    loop {
        while !(pending.is_empty() && inbox.is_empty()) {
            let batch: Vec<Name> = pending.iter().take(BATCH).cloned().collect();
            let submitted = inbox.take(BATCH);
            match deliver_batch(context, &mut sink, &mut cursor, &batch, submitted.events()).await {
                Ok(()) => {
                    failures = 0;
                    inbox.delivered(submitted);
                    for name in &batch {
                        pending.remove(name);
                    }
                }
                Err(error) => pause(context, &error, &mut failures, &mut changes, &mut pending).await,
            }
        }
        tokio::select! {
            change = changes.recv() => match change {
                Some(change) => pending.extend(device_of(change)),
                None => return,
            },
            () = inbox.arrival() => {}
        }
        while let Ok(change) = changes.try_recv() {
            pending.extend(device_of(change));
        }
    }
}

/// Opens the sink and finds out where delivery goes on.
async fn begin(context: &Context, inbox: &mut Inbox<'_>) -> io::Result<(JsonLines, Cursor)> {
    let devices = context.world.devices.all();
    let asked = devices.iter().flat_map(|device| transitions(device).map(|(id, _)| id));
    let asked: HashSet<Uuid> = asked.chain(of_people(context)).collect();
    let (sink, held) = JsonLines::open(&context.settings.events, &asked).await?;
    inbox.holds(of_people(context).filter(|id| held.as_ref().is_some_and(|held| held.contains(id))));
    Ok((sink, Cursor::after_start(&devices, held.as_ref(), context.clock.now())))
}

/// Ids of the events about people that may be handed in once more after a restart, as far as they can be told.
fn of_people(context: &Context) -> impl Iterator<Item = Uuid> {
    let users = context.world.users.all();
    users.into_iter().flat_map(|user| {
        let enrolled = Uuid::parse_str(&user.spec.event_id).ok();
        let un_enrolled = user.metadata.uid.as_deref().map(un_enrollment_event_id);
        enrolled.into_iter().chain(un_enrolled)
    })
}

/// The transitions of a device, with the ids of their events.
fn transitions(device: &DeviceInstance) -> impl Iterator<Item = (Uuid, &Transition)> {
    let uid = device.metadata.uid.as_deref().unwrap_or_default();
    let recorded = device.status.iter().flat_map(|status| &status.transitions);
    recorded.map(move |transition| (transition_event_id(uid, transition), transition))
}

/// Waits before the next try; what changes meanwhile is remembered once, however often it changes.
async fn pause(
    context: &Context,
    error: &io::Error,
    failures: &mut u32,
    changes: &mut UnboundedReceiver<Change>,
    pending: &mut BTreeSet<Name>,
) {
    *failures += 1;
    context.metrics.event_failed();
    let delay = backoff::delay(*failures).min(LONGEST_RETRY);
    tracing::warn!(%error, "events were not delivered; tried again in {delay:?}");
    let end = Instant::now() + delay;
    while let Ok(Some(change)) = tokio::time::timeout_at(end, changes.recv()).await {
        pending.extend(device_of(change));
    }
}

fn device_of(change: Change) -> Option<Name> {
    match change {
        Change::DeviceInstance { name, .. } => Some(name),
        _ => None,
    }
}

async fn deliver_batch(
    context: &Context,
    sink: &mut JsonLines,
    cursor: &mut Cursor,
    names: &[Name],
    submitted: &[Event],
) -> io::Result<()> {
    let mut looked: Vec<Arc<DeviceInstance>> = Vec::new();
    let mut events: Vec<Event> = submitted.to_vec();
    for name in names {
        match context.world.devices.find(name) {
            Found::Here(device) => {
                events.extend(events_of(context, &device, cursor.pending(&device)));
                looked.push(device);
            }
            // It may read again.
            Found::Unreadable(_) => {}
            Found::Absent => cursor.forget(name),
        }
    }
    if !events.is_empty() {
        sink.write(events.iter()).await?;
    }
    for event in &events {
        context.metrics.event_delivered(&event.detail_type);
    }
    for device in looked {
        cursor.delivered(&device);
    }
    Ok(())
}

fn events_of<'a>(
    context: &Context,
    device: &DeviceInstance,
    pending: impl Iterator<Item = &'a Transition>,
) -> Vec<Event> {
    let mut pending = pending.peekable();
    let (Some(uid), Some(status), Some(_)) = (device.metadata.uid.as_deref(), &device.status, pending.peek()) else {
        return Vec::new();
    };
    let here = &context.settings.installation;
    let arn = status.arn.clone().unwrap_or_else(|| here.device_instance_arn(&ResourceId::of(uid)));
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
    pending.map(|transition| transition_event(here, &subject, transition)).collect()
}
