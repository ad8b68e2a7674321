//! Pure: what happened, held against what a sink of events holds. Nothing may be missing, and what stands there twice
//! is the same twice.

use std::collections::{BTreeMap, BTreeSet};

use fleetform_domain::event::{DeviceChange, Event};
use fleetform_domain::transition::{Connectivity, Health};
use serde_json::{Value, json};
use uuid::Uuid;

/// Something that happened, as its event tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    id: Uuid,
    told: Value,
}

impl Fact {
    /// What this event tells of. When somebody came goes by the device's clock, which nobody has written down, so of
    /// people it is left out.
    pub fn of(event: &Event) -> Self {
        let mut told = json!(event);
        if event.person().is_some() {
            told["time"].take();
            told["detail"]["data"]["createdTimestamp"].take();
        }
        Self { id: event.id, told }
    }
}

/// In what a sink falls short.
#[derive(Debug, Default)]
pub struct Shortfall {
    /// What happened, and is not there.
    pub missing: Vec<Fact>,
    /// What is there, and never happened.
    pub foreign: Vec<Event>,
    /// What is there, and happened otherwise.
    pub untrue: Vec<(Fact, Event)>,
    /// What is there twice under one id, and is not the same twice.
    pub contradictory: Vec<[Event; 2]>,
    /// Changes of devices that do not begin where the ones before them ended.
    pub out_of_line: Vec<Event>,
}

impl Shortfall {
    /// Whether the sink falls short in nothing.
    pub fn is_none(&self) -> bool {
        self.missing.is_empty() && self.may_pass()
    }

    /// Whether it does in nothing but what may still come.
    pub fn may_pass(&self) -> bool {
        self.foreign.is_empty()
            && self.untrue.is_empty()
            && self.contradictory.is_empty()
            && self.out_of_line.is_empty()
    }
}

/// Holds what happened against what a sink was told, in the order in which it was.
///
/// # Assumptions
///
/// Each device is activated once: it begins as disconnected and healthy.
pub fn held_against(facts: &[Fact], told: &[Event]) -> Shortfall {
    let happened: BTreeMap<Uuid, &Fact> = facts.iter().map(|fact| (fact.id, fact)).collect();
    let mut first: BTreeMap<Uuid, &Event> = BTreeMap::new();
    let mut lines: BTreeMap<&str, Line> = BTreeMap::new();
    let mut short = Shortfall::default();
    for event in told {
        match first.get(&event.id) {
            Some(known) if *known == event => continue,
            Some(known) => {
                short.contradictory.push([(*known).clone(), event.clone()]);
                continue;
            }
            None => first.insert(event.id, event),
        };
        match happened.get(&event.id) {
            None => short.foreign.push(event.clone()),
            Some(fact) if **fact == Fact::of(event) => {}
            Some(fact) => short.untrue.push(((*fact).clone(), event.clone())),
        }
        if let (Some(detail), Some(device)) = (event.device(), event.resources.first())
            && !lines.entry(device.as_str()).or_default().goes_on(&detail.data.change)
        {
            short.out_of_line.push(event.clone());
        }
    }
    short.missing.extend(facts.iter().filter(|fact| !first.contains_key(&fact.id)).cloned());
    short
}

/// How many of these stand there once more.
pub fn repeated(told: &[Event]) -> usize {
    told.len() - told.iter().map(|event| event.id).collect::<BTreeSet<_>>().len()
}

/// How a device is, as its events so far tell.
struct Line {
    connectivity: Connectivity,
    health: Health,
}

impl Default for Line {
    fn default() -> Self {
        Self { connectivity: Connectivity::Disconnected, health: Health::Healthy }
    }
}

impl Line {
    /// Takes the next change; whether it begins where the one before ended.
    fn goes_on(&mut self, change: &DeviceChange) -> bool {
        match *change {
            DeviceChange::Health { current_health_status, previous_health_status } => {
                std::mem::replace(&mut self.health, current_health_status) == previous_health_status
            }
            DeviceChange::Connectivity { current_connectivity, previous_connectivity } => {
                std::mem::replace(&mut self.connectivity, current_connectivity) == previous_connectivity
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetform_domain::event::{
        Occasion, Person, Subject, person_event, person_event_id, transition_event, transition_event_id,
    };
    use fleetform_domain::id::{Installation, ResourceId};
    use fleetform_domain::people::RecognitionFailure;
    use fleetform_domain::transition::{Change, Transition};
    use jiff::Timestamp;

    use super::*;

    fn here() -> Installation {
        Installation::new("aws", "us-east-1", "123456789012").unwrap()
    }

    fn id() -> ResourceId {
        "12345678901234".parse().unwrap()
    }

    fn changed(sequence: i64, change: Change) -> Event {
        let (arn, site_arn) = (here().device_instance_arn(&id()), here().site_arn(&id()));
        let subject =
            Subject { uid: "u", arn: &arn, device_instance_name: "door", site_name: "site", site_arn: &site_arn };
        let time = Timestamp::from_second(sequence).unwrap();
        let transition = Transition { sequence, time, asset_tag_id: "1".into(), change };
        let event = transition_event(&here(), &subject, &transition);
        assert_eq!(event.id, transition_event_id("u", &transition));
        event
    }

    fn health(sequence: i64, previous: Health, current: Health) -> Event {
        changed(sequence, Change::Health { previous, current })
    }

    fn turned_away(sequence: u64, second: i64, reason: RecognitionFailure) -> Event {
        let time = Timestamp::from_second(second).unwrap();
        let person = Person { id: person_event_id("a", sequence), time, source: &id(), badge: None };
        person_event(&here(), &person, Occasion::NotRecognized(reason))
    }

    /// A device goes online, turns critical and healthy again.
    fn course() -> [Event; 3] {
        let (previous, current) = (Connectivity::Disconnected, Connectivity::Connected);
        [
            changed(1, Change::Connectivity { previous, current }),
            health(2, Health::Healthy, Health::Critical),
            health(3, Health::Critical, Health::Healthy),
        ]
    }

    fn facts(events: &[Event]) -> Vec<Fact> {
        events.iter().map(Fact::of).collect()
    }

    /// How many are missing, foreign, untrue, contradictory and out of line.
    fn counts(facts: &[Fact], told: &[Event]) -> [usize; 5] {
        let Shortfall { missing, foreign, untrue, contradictory, out_of_line } = held_against(facts, told);
        [missing.len(), foreign.len(), untrue.len(), contradictory.len(), out_of_line.len()]
    }

    #[test]
    fn all_there_in_order_is_no_shortfall_also_when_some_comes_twice() {
        let [online, critical, healthy] = course();
        let facts = facts(&course());
        let told = [online.clone(), critical.clone(), online, critical, healthy];
        assert!(held_against(&facts, &told).is_none());
        assert_eq!((repeated(&told), repeated(&course())), (2, 0));
    }

    #[test]
    fn what_has_yet_to_come_may_pass_and_what_was_passed_over_does_not() {
        let facts = facts(&course());
        let [online, _, healthy] = course();
        let short = held_against(&facts, std::slice::from_ref(&online));
        assert!(short.may_pass() && !short.is_none() && short.missing == facts[1..]);
        assert_eq!(counts(&facts, &[online, healthy]), [1, 0, 0, 0, 1]);
        assert_eq!(counts(&facts, &[]), [3, 0, 0, 0, 0]);
    }

    #[test]
    fn what_nobody_did_and_what_was_otherwise_are_told_apart() {
        let [online, critical, healthy] = course();
        let facts = facts(&[online.clone(), critical.clone()]);
        assert_eq!(counts(&facts, &[online.clone(), critical.clone(), healthy]), [0, 1, 0, 0, 0]);
        let moved = Event { time: "2030-01-01T00:00:00Z".into(), ..critical.clone() };
        assert_eq!(counts(&facts, &[online.clone(), moved.clone()]), [0, 0, 1, 0, 0]);
        assert_eq!(counts(&facts, &[online, critical, moved]), [0, 0, 0, 1, 0]);
    }

    #[test]
    fn of_people_the_time_is_not_held_against_anything_but_itself() {
        let (unknown, unread) = (RecognitionFailure::PalmNotRecognized, RecognitionFailure::PalmNotReadable);
        let facts = facts(&[turned_away(1, 0, unknown)]);
        assert!(held_against(&facts, &[turned_away(1, 77, unknown)]).is_none());
        assert_eq!(counts(&facts, &[turned_away(1, 77, unread)]), [0, 0, 1, 0, 0]);
        assert_eq!(counts(&facts, &[turned_away(1, 77, unknown), turned_away(1, 78, unknown)]), [0, 0, 0, 1, 0]);
        assert_eq!(counts(&facts, &[turned_away(2, 77, unknown)]), [1, 1, 0, 0, 0]);
    }
}
