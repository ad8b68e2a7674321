//! Events. The fact is recorded first (a transition in a device instance's status, an alert and its transitions) and delivered then; the
//! event is a pure function of the record, so an event that is delivered twice is the same twice.

mod cursor;
mod object;
mod submit;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::event::{Event, un_enrollment_event_id};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use uuid::Uuid;

use crate::backoff;
use crate::cache::{Change, Found};
use crate::context::Context;
use crate::jsonl::{self, JsonLines};
use crate::queue::Key;
use cursor::Cursor;
use object::Object;
use submit::Inbox;
pub use submit::{NotDelivered, Submissions};

/// Most objects whose events make one delivery.
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
    let mut pending: BTreeSet<Key> = BTreeSet::new();
    let mut failures = 0;
    let (mut sink, mut cursor) = loop {
        match begin(context, inbox).await {
            Ok(begun) => break begun,
            Err(error) => pause(context, &error, &mut failures, &mut changes, &mut pending).await,
        }
    };
    pending.extend(Object::all(&context.world).iter().map(Object::key));
    loop {
        while !(pending.is_empty() && inbox.is_empty()) {
            let batch: Vec<Key> = pending.iter().take(BATCH).cloned().collect();
            let submitted = inbox.take(BATCH);
            match deliver_batch(context, &mut sink, &mut cursor, &batch, submitted.events()).await {
                Ok(()) => {
                    failures = 0;
                    inbox.delivered(submitted);
                    for key in &batch {
                        pending.remove(key);
                    }
                }
                Err(error) => pause(context, &error, &mut failures, &mut changes, &mut pending).await,
            }
        }
        tokio::select! {
            change = changes.recv() => match change {
                Some(change) => pending.extend(Object::changed(change)),
                None => return,
            },
            () = inbox.arrival() => {}
        }
        while let Ok(change) = changes.try_recv() {
            pending.extend(Object::changed(change));
        }
    }
}

/// Opens the sink and finds out where delivery goes on.
async fn begin(context: &Context, inbox: &mut Inbox<'_>) -> io::Result<(JsonLines, Cursor)> {
    let objects = Object::all(&context.world);
    let asked = objects.iter().flat_map(Object::facts).map(|(_, id)| id);
    let asked: HashSet<Uuid> = asked.chain(of_people(context)).collect();
    let sink = JsonLines::open(&context.settings.events).await?;
    let held = jsonl::held(&context.settings.events, &asked).await?;
    inbox.holds(of_people(context).filter(|id| held.as_ref().is_some_and(|held| held.contains(id))));
    Ok((sink, Cursor::after_start(&objects, held.as_ref(), context.clock.now())))
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

/// Waits before the next try; what changes meanwhile is remembered once, however often it changes.
async fn pause(
    context: &Context,
    error: &io::Error,
    failures: &mut u32,
    changes: &mut UnboundedReceiver<Change>,
    pending: &mut BTreeSet<Key>,
) {
    *failures += 1;
    context.metrics.event_failed();
    let delay = backoff::delay(*failures).min(LONGEST_RETRY);
    tracing::warn!(%error, "events were not delivered; tried again in {delay:?}");
    let end = Instant::now() + delay;
    while let Ok(Some(change)) = tokio::time::timeout_at(end, changes.recv()).await {
        pending.extend(Object::changed(change));
    }
}

async fn deliver_batch(
    context: &Context,
    sink: &mut JsonLines,
    cursor: &mut Cursor,
    keys: &[Key],
    submitted: &[Event],
) -> io::Result<()> {
    let (here, world) = (&context.settings.installation, &context.world);
    let mut looked: Vec<Arc<Object>> = Vec::new();
    let mut events: Vec<Event> = submitted.to_vec();
    for key in keys {
        match Object::find(world, key) {
            Found::Here(object) => {
                events.extend(object.events(here, world, &cursor.pending(&object)));
                looked.push(object);
            }
            // It may read again.
            Found::Unreadable(_) => {}
            Found::Absent => cursor.forget(key),
        }
    }
    if !events.is_empty() {
        sink.write(&events).await?;
    }
    for event in &events {
        context.metrics.event_delivered(&event.detail_type);
    }
    for object in looked {
        cursor.delivered(&object);
    }
    Ok(())
}
