//! Events for tests of sinks.

use fleetform_domain::event::{Event, Occasion, Person, person_event};
use fleetform_domain::people::RecognitionFailure;
use uuid::Uuid;

use super::super::backlog::Outgoing;
use crate::controllers::fixtures;

/// An event with this id.
pub(in crate::events) fn event(number: u128) -> Event {
    let source = "QfUuUnFqs5accJ".parse().unwrap();
    let person = Person { id: Uuid::from_u128(number), time: fixtures::noon(), source: &source, badge: None };
    person_event(&fixtures::installation(), &person, Occasion::NotRecognized(RecognitionFailure::Ambiguous))
}

/// Events with the ids from 1.
pub(in crate::events) fn events(count: u128) -> Vec<Event> {
    (1..=count).map(event).collect()
}

/// The same, on their way.
pub(in crate::events) fn outgoing(count: u128) -> Vec<Outgoing> {
    events(count).into_iter().map(|event| Outgoing { about: None, event }).collect()
}
