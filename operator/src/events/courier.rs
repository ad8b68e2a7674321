//! Brings events to one sink. Each sink has a courier of its own, so that one that is away delays no other.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::event::{Event, un_enrollment_event_id};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use uuid::Uuid;

use super::config::SinkSettings;
use super::cursor::Cursor;
use super::dead_letters;
use super::marks::LATE;
use super::object::Object;
use super::sinks::{self, Sink};
use super::submit::Inbox;
use crate::backoff;
use crate::cache::{Change, Found};
use crate::context::Context;
use crate::gateway::live;
use crate::queue::Key;

/// Most objects whose events make one delivery.
const BATCH: usize = 256;

/// Longest time between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Delivers events to the sink of this place in the settings until it is dropped, while this process leads: what another leader records, it
/// delivers. A sink that fails is tried again; nothing is passed over.
pub(super) async fn run(context: Context, place: usize) {
    let settings = &context.settings.events.sinks[place];
    let (mut leading, mut lost) = (context.leadership.clone(), context.leadership.clone());
    let mut inbox = context.submissions.inbox(place).await;
    loop {
        leading.leading().await;
        tokio::select! {
            () = deliver_term(&context, settings, &mut inbox) => return,
            () = lost.lost() => {}
        }
    }
}

async fn deliver_term(context: &Context, settings: &SinkSettings, inbox: &mut Inbox<'_>) {
    // Subscribed before anything is read, so that no change falls between.
    let mut changes = context.world.subscribe();
    let mut pending: BTreeSet<Key> = BTreeSet::new();
    let mut failures = 0;
    let mut courier = loop {
        match Courier::begin(context, settings, inbox).await {
            Ok(begun) => break begun,
            Err(error) => pause(context, settings, &error, &mut failures, &mut changes, &mut pending).await,
        }
    };
    pending.extend(Object::all(&context.world).iter().map(Object::key));
    loop {
        // Between any two batches: what devices tell without end keeps no change from being heard of.
        while let Ok(change) = changes.try_recv() {
            pending.extend(Object::changed(change));
        }
        if pending.is_empty() {
            courier.mark(context);
        }
        if pending.is_empty() && inbox.is_empty() {
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => pending.extend(Object::changed(change)),
                    None => return,
                },
                () = inbox.arrival() => {}
            }
            continue;
        }
        let batch: Vec<Key> = pending.iter().take(BATCH).cloned().collect();
        let submitted = inbox.take(BATCH);
        match courier.deliver(context, &batch, submitted.events()).await {
            Ok(()) => {
                failures = 0;
                inbox.delivered(submitted);
                for key in &batch {
                    pending.remove(key);
                }
            }
            Err(error) => {
                inbox.failed(submitted);
                pause(context, settings, &error, &mut failures, &mut changes, &mut pending).await;
            }
        }
    }
}

/// Who brings events to a sink that is open.
struct Courier<'a> {
    settings: &'a SinkSettings,
    sink: Box<dyn Sink>,
    cursor: Cursor,
    /// What the sink has of a batch that is tried again.
    taken: HashSet<Uuid>,
    /// Something that is recorded was delivered since the mark was set.
    has_moved: bool,
}

impl<'a> Courier<'a> {
    /// Opens the sink and finds out where delivery goes on.
    async fn begin(context: &Context, settings: &'a SinkSettings, inbox: &mut Inbox<'_>) -> io::Result<Self> {
        let (objects, now) = (Object::all(&context.world), context.clock.now());
        let stored = live::event_marks(&context.client, &context.settings.namespace).await;
        context.marks.load(stored.map_err(io::Error::other)?.as_ref());
        let mark = context.marks.of(&settings.name);
        let asked: HashSet<Uuid> = Cursor::asked(&objects, mark).chain(of_people(context)).collect();
        let sink = sinks::open(settings, &context.settings.installation).await?;
        let held = sink.held(&asked).await?;
        inbox.holds(of_people(context).filter(|id| held.as_ref().is_some_and(|held| held.contains(id))));
        // A sink that is new begins with what is recorded from now on, unless it says itself what it has.
        let since = mark.or_else(|| held.is_none().then(|| now - LATE));
        Ok(Self {
            settings,
            sink,
            cursor: Cursor::after_start(&objects, held.as_ref(), since),
            taken: HashSet::new(),
            has_moved: true,
        })
    }

    async fn deliver(&mut self, context: &Context, keys: &[Key], submitted: &[Event]) -> io::Result<()> {
        let (here, world) = (&context.settings.installation, &context.world);
        let mut looked: Vec<Arc<Object>> = Vec::new();
        let mut events: Vec<Event> = submitted.to_vec();
        for key in keys {
            match Object::find(world, key) {
                Found::Here(object) => {
                    events.extend(object.events(here, world, &self.cursor.pending(&object)));
                    looked.push(object);
                }
                // It may read again.
                Found::Unreadable(_) => {}
                Found::Absent => self.cursor.forget(key),
            }
        }
        let are_recorded = events.len() > submitted.len();
        if !events.is_empty() {
            let events: Vec<Event> =
                events.into_iter().map(|event| sinks::from_source(event, &self.settings.source)).collect();
            self.put(context, events).await?;
            self.has_moved |= are_recorded;
        }
        for object in looked {
            self.cursor.delivered(&object);
        }
        Ok(())
    }

    /// Hands events over, but for those of the same batch that it has already.
    async fn put(&mut self, context: &Context, mut events: Vec<Event>) -> io::Result<()> {
        let name = &self.settings.name;
        events.retain(|event| !self.taken.contains(&event.id));
        let left = self.sink.put(&events).await?;
        let refused: Vec<(&Event, String)> =
            left.refused.into_iter().map(|(place, why)| (&events[place], why)).collect();
        if !refused.is_empty() {
            dead_letters::keep(context, name, &refused).await?;
        }
        self.taken.extend(refused.into_iter().map(|(event, _)| event.id));
        let again: HashSet<Uuid> = left.again.into_iter().map(|place| events[place].id).collect();
        for event in events.iter().filter(|event| !again.contains(&event.id)) {
            // What was refused is done with, and not delivered.
            if self.taken.insert(event.id) {
                context.metrics.event_delivered(name, &event.detail_type);
            }
        }
        if let Some(why) = left.why {
            return Err(io::Error::other(why));
        }
        self.taken.clear();
        Ok(())
    }

    /// All facts that are known are with the sink. What is recorded and not seen yet is later than this.
    fn mark(&mut self, context: &Context) {
        if std::mem::take(&mut self.has_moved) {
            context.marks.advance(&self.settings.name, context.clock.now() - LATE);
        }
    }
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
    settings: &SinkSettings,
    error: &io::Error,
    failures: &mut u32,
    changes: &mut UnboundedReceiver<Change>,
    pending: &mut BTreeSet<Key>,
) {
    *failures += 1;
    context.metrics.event_failed(&settings.name);
    let delay = backoff::delay(*failures).min(LONGEST_RETRY);
    tracing::warn!(sink = settings.name, %error, "events were not delivered; tried again in {delay:?}");
    let end = Instant::now() + delay;
    while let Ok(Some(change)) = tokio::time::timeout_at(end, changes.recv()).await {
        pending.extend(Object::changed(change));
    }
}
