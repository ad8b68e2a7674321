//! Sinks: where events go.

mod cloud_events;
mod event_bridge;
#[cfg(test)]
pub(super) mod fixtures;
mod json_lines;
mod kubernetes;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use fleetform_domain::event::Event;
use fleetform_domain::id::Installation;
use uuid::Uuid;

use super::backlog::Outgoing;
use super::config::{GUIDES, SinkSettings, Target};
use crate::context::Context;
use crate::jsonl::JsonLines;

/// What comes of asking a sink.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// What became of events that were handed over: a sink has all but these.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Those that it will never take, by their places, and why. Nothing of an event stands in a reason.
    pub(super) refused: Vec<(usize, String)>,
    /// Those that are to be handed over again, by their places.
    pub(super) again: Vec<usize>,
    /// Why, if there are any.
    pub(super) why: Option<String>,
}

/// What became of one event.
#[derive(Clone, Debug)]
enum Became {
    /// The sink has it.
    Taken,
    /// It will never be taken.
    Refused(String),
    /// It is to be handed over again: what is wrong is not the event.
    Again(String),
}

impl Left {
    /// What became of the event at this place.
    fn note(&mut self, place: usize, became: Became) {
        match became {
            Became::Taken => {}
            Became::Refused(why) => self.refused.push((place, why)),
            Became::Again(why) => self.again(place, why),
        }
    }

    /// What is left of others, too.
    fn join(&mut self, other: Self) {
        self.refused.extend(other.refused);
        self.again.extend(other.again);
        self.why = self.why.take().or(other.why);
    }

    /// This one is to be handed over again.
    fn again(&mut self, place: usize, why: impl Into<String>) {
        self.again.push(place);
        self.why.get_or_insert_with(|| why.into());
    }
}

/// Where events go. What it has taken stays.
pub(super) trait Sink: Send + fmt::Debug {
    /// Hands events over, in this order. An error when it is not known that it has any of them: all are handed over again.
    fn put<'a>(&'a mut self, events: &'a [Outgoing]) -> Answer<'a, Left>;

    /// Which of these events it has already, by their ids; none when it cannot tell.
    fn held<'a>(&'a self, _asked: &'a HashSet<Uuid>) -> Answer<'a, Option<HashSet<Uuid>>> {
        Box::pin(async { Ok(None) })
    }
}

/// Whether there can be such a sink at all.
pub(crate) async fn check(settings: &SinkSettings, here: &Installation) -> io::Result<()> {
    match &settings.target {
        Target::JsonLines { to, .. } => JsonLines::check(to).await,
        Target::CloudEvents { url, mode, authorization } => {
            cloud_events::Receiver::new(url, *mode, authorization.clone())?.authorization().await.map(drop)
        }
        Target::EventBridge { bus, region } => event_bridge::Bus::new(bus, region.as_deref(), here).await.check().await,
        Target::KubernetesEvents => Ok(()),
    }
}

/// Opens one.
pub(super) async fn open(settings: &SinkSettings, context: &Context) -> io::Result<Box<dyn Sink>> {
    let here = &context.settings.installation;
    Ok(match &settings.target {
        Target::JsonLines { to, rotation } => Box::new(json_lines::Lines::open(to, *rotation).await?),
        Target::CloudEvents { url, mode, authorization } => {
            Box::new(cloud_events::Receiver::new(url, *mode, authorization.clone())?)
        }
        Target::EventBridge { bus, region } => Box::new(event_bridge::Bus::new(bus, region.as_deref(), here).await),
        Target::KubernetesEvents => Box::new(kubernetes::Announcements::new(context)),
    })
}

/// Makes an event come from where a sink is to have it from.
pub(super) fn set_source(event: &mut Event, source: &str) {
    if let Some(service) = event.source.strip_prefix(GUIDES).filter(|_| source != GUIDES) {
        event.source = format!("{source}{service}");
    }
}
