//! A sink that is open: what it has, and how it gets what it lacks.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use fleetform_domain::event::{Event, un_enrollment_event_id};
use uuid::Uuid;

use super::backlog::{self, Outgoing};
use super::config::SinkSettings;
use super::cursor::Cursor;
use super::dead_letters;
use super::marks::LATE;
use super::object::Object;
use super::sinks::{self, Sink};
use super::stored;
use super::submit::Inbox;
use super::waiting::Waiting;
use crate::cache::Found;
use crate::context::Context;
use crate::queue::Key;

/// Most events of one delivery, but for those of one object.
pub(super) const BATCH: usize = 256;

/// Most objects that are looked at for one delivery: between two of them others have their turn.
const LOOKS: usize = 1024;

/// Most parts of the backlog between two looks at what was handed in.
const PARTS: usize = 8;

/// A sink that is open, and what it has.
pub(super) struct OpenSink<'a> {
    settings: &'a SinkSettings,
    sink: Box<dyn Sink>,
    pub(super) cursor: Cursor,
    /// What the sink has of deliveries that failed in part, until the rest is with it.
    taken: HashSet<Uuid>,
    /// Something that is recorded was delivered since the mark was set.
    pub(super) has_moved: bool,
    /// The sink took something since that was asked last.
    pub(super) has_brought: bool,
    /// The sink did not take what it was handed last.
    pub(super) is_failing: bool,
}

impl<'a> OpenSink<'a> {
    /// Opens the sink and finds out where delivery goes on.
    pub(super) async fn begin(
        context: &Context,
        settings: &'a SinkSettings,
        inbox: &mut Inbox<'_>,
    ) -> io::Result<Self> {
        let (objects, now) = (Object::all(&context.world), context.clock.now());
        let (client, namespace) = (&context.client, &context.settings.namespace);
        let marks = stored::marks(client, namespace).await.map_err(io::Error::other)?;
        context.marks.load(marks.as_ref());
        context.marks.limit(now - LATE);
        let mark = context.marks.of(&settings.name);
        let sink = sinks::open(settings, context).await?;
        let asked: HashSet<Uuid> = Cursor::asked(&objects, mark).chain(of_people(context)).collect();
        let held = sink.held(&asked).await?;
        inbox.holds(of_people(context).filter(|id| held.as_ref().is_some_and(|held| held.contains(id))));
        // A sink that is new begins with what is recorded from now on, unless it says itself what it has.
        let since = mark.or_else(|| held.is_none().then(|| now - LATE));
        if let Some(since) = since {
            // At once: it may be away for long, and this process end before it has anything.
            context.marks.set(&settings.name, since);
        }
        let parts = stored::backlog(client, namespace).await.map_err(io::Error::other)?;
        context.backlog.load(parts, &settings.name, since);
        let cursor = Cursor::after_start(&objects, held.as_ref(), since);
        Ok(Self {
            settings,
            sink,
            cursor,
            taken: HashSet::new(),
            has_moved: true,
            has_brought: false,
            is_failing: false,
        })
    }

    /// Delivers what was handed in.
    pub(super) async fn deliver_submitted(&mut self, context: &Context, events: &[Event]) -> io::Result<()> {
        self.put(context, events.iter().cloned().map(|event| Outgoing { about: None, event }).collect()).await
    }

    /// Delivers some of what is recorded and waits. What objects no longer keep comes first, as it is older; then what is gone.
    pub(super) async fn deliver_recorded(&mut self, context: &Context, waiting: &mut Waiting) -> io::Result<()> {
        if !self.deliver_backlog(context).await? {
            return Ok(());
        }
        let (here, world) = (&context.settings.installation, &context.world);
        let (mut outgoing, mut departed): (Vec<Outgoing>, usize) = (Vec::new(), 0);
        for object in waiting.departed() {
            if outgoing.len() >= BATCH {
                break;
            }
            outgoing.extend(object.events(here, world, &self.cursor.pending(object)));
            departed += 1;
        }
        // All that is gone is told of before what has its name now.
        let are_all_gone = departed == waiting.departed().len();
        let (mut looked, mut objects): (Vec<Key>, Vec<Arc<Object>>) = (Vec::new(), Vec::new());
        for key in waiting.round().filter(|_| are_all_gone) {
            if outgoing.len() >= BATCH || looked.len() >= LOOKS {
                break;
            }
            match Object::find(world, key) {
                Found::Here(object) => {
                    outgoing.extend(object.events(here, world, &self.cursor.pending(&object)));
                    objects.push(object);
                }
                // It may read again.
                Found::Unreadable(_) => {}
                Found::Absent => self.cursor.forget(key),
            }
            looked.push(key.clone());
        }
        if !context.backlog.is_all_with(&self.settings.name) {
            // An object was shortened meanwhile: what it no longer keeps is older, and goes first.
            return Ok(());
        }
        let are_there = !outgoing.is_empty();
        self.put(context, outgoing).await?;
        self.has_moved |= are_there;
        for object in objects {
            self.cursor.delivered(&object);
        }
        waiting.done(&looked);
        waiting.done_departed(departed);
        Ok(())
    }

    /// Delivers some of what objects no longer keep, and deletes what every required sink has. Whether that was all.
    async fn deliver_backlog(&mut self, context: &Context) -> io::Result<bool> {
        let (name, namespace) = (&self.settings.name, &context.settings.namespace);
        let lacked = context.backlog.lacked_by(name);
        let are_all = lacked.len() <= PARTS;
        for part in lacked.into_iter().take(PARTS) {
            let lines = stored::undelivered(&context.client, namespace, &part).await.map_err(io::Error::other)?;
            match lines.map(|lines| backlog::read(&lines)) {
                Some(Ok(mut events)) => {
                    events.retain(|outgoing| {
                        let key = outgoing.about.as_ref().and_then(Object::key_of);
                        !key.is_some_and(|key| self.cursor.has(&key, outgoing.event.id))
                    });
                    self.put(context, events).await?;
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "the events in the ConfigMap {namespace}/{part} do not read: correct it and start the operator again, or delete it");
                    context.backlog.note_broken(&part);
                }
                // All required sinks have it, or somebody deleted it.
                None => context.backlog.remove(&part),
            }
            context.backlog.note(&part, name);
        }
        let required: Vec<&str> = context.settings.events.required().collect();
        for part in context.backlog.told(&required) {
            context.executor.drop_events(namespace, &part).await.map_err(io::Error::other)?;
            context.backlog.remove(&part);
        }
        context.metrics.events_kept(context.backlog.count());
        Ok(are_all)
    }

    /// Hands events over, but for those that it has already of a try that failed in part.
    async fn put(&mut self, context: &Context, outgoing: Vec<Outgoing>) -> io::Result<()> {
        let (name, source) = (&self.settings.name, &self.settings.source);
        let ids: Vec<Uuid> = outgoing.iter().map(|outgoing| outgoing.event.id).collect();
        let mut events: Vec<Outgoing> =
            outgoing.into_iter().filter(|outgoing| !self.taken.contains(&outgoing.event.id)).collect();
        for outgoing in &mut events {
            sinks::set_source(&mut outgoing.event, source);
        }
        if !events.is_empty() {
            self.is_failing = true;
            let left = self.sink.put(&events).await?;
            let refused: Vec<(&Event, String)> =
                left.refused.into_iter().map(|(place, why)| (&events[place].event, why)).collect();
            // What is refused is done with when it is written down, and is not delivered.
            let again = left.again.into_iter().map(|place| events[place].event.id);
            let not_taken: HashSet<Uuid> = again.chain(refused.iter().map(|(event, _)| event.id)).collect();
            for event in events.iter().map(|outgoing| &outgoing.event).filter(|event| !not_taken.contains(&event.id)) {
                self.has_brought = true;
                if self.taken.insert(event.id) {
                    context.metrics.event_delivered(name, &event.detail_type);
                }
            }
            if !refused.is_empty() {
                dead_letters::keep(context, name, &refused).await?;
            }
            self.taken.extend(refused.into_iter().map(|(event, _)| event.id));
            if let Some(why) = left.why {
                return Err(io::Error::other(why));
            }
        }
        self.is_failing &= ids.is_empty();
        for id in ids {
            self.taken.remove(&id);
        }
        Ok(())
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
