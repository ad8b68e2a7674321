//! Events that objects no longer keep, and a required sink has yet to get: in `ConfigMap`s of the operator's own namespace, so that they outlive
//! the object and the operator. Each holds several events of one object, and goes when every required sink has them. In memory is only which
//! there are, and who has them.

use std::collections::{BTreeMap, BTreeSet};

use fleetform_domain::event::Event;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::history::{FactKey, is_before};
use super::object::Object;
use crate::context::Context;
use crate::error::Result;
use crate::reconcile::names;

/// Most parts that are kept: some 100 MiB in the store. Beyond it changes of objects that have too many are held back.
const MOST: usize = 10_000;

/// An event, and what it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Outgoing {
    /// The object that it is about, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) about: Option<ObjectReference>,
    /// The event.
    pub(super) event: Event,
}

/// Which events of one object are kept together.
#[derive(Clone, Debug)]
struct Part {
    /// When the last of these facts was recorded.
    last: Timestamp,
    /// Sinks that have them.
    with: BTreeSet<String>,
    /// They do not read: whoever changed them may put them right, so they stay.
    is_broken: bool,
}

impl Part {
    fn is_with(&self, sinks: &[&str]) -> bool {
        !self.is_broken && sinks.iter().all(|sink| self.with.contains(*sink))
    }
}

/// Which parts there are, by the names of their `ConfigMap`s.
#[derive(Debug, Default)]
pub struct Backlog {
    parts: Mutex<BTreeMap<String, Part>>,
    /// Counts parts that were added.
    added: watch::Sender<u64>,
}

impl Backlog {
    /// Whether there is room for another part.
    pub fn has_room(&self) -> bool {
        self.count() < MOST
    }

    /// How many parts there are.
    pub fn count(&self) -> usize {
        self.parts.lock().len()
    }

    /// There is this part.
    fn add(&self, name: String, last: Timestamp) {
        let part = Part { last, with: BTreeSet::new(), is_broken: false };
        self.parts.lock().entry(name).or_insert(part);
        self.added.send_modify(|count| *count += 1);
    }

    /// Hears of parts that are added from now on.
    pub(super) fn heard(&self) -> watch::Receiver<u64> {
        self.added.subscribe()
    }

    /// When the earliest of what does not read was recorded, at the latest: no sink has come further.
    pub(super) fn broken_until(&self) -> Option<Timestamp> {
        self.parts.lock().values().filter(|part| part.is_broken).map(|part| part.last).min()
    }

    /// A part does not read.
    pub(super) fn note_broken(&self, name: &str) {
        if let Some(part) = self.parts.lock().get_mut(name) {
            part.is_broken = true;
        }
    }

    /// Takes what is stored. A sink with this mark has what was recorded before.
    pub(super) fn load(&self, stored: Vec<(String, Timestamp)>, sink: &str, mark: Option<Timestamp>) {
        for (name, last) in stored {
            self.add(name.clone(), last);
            if is_before(mark, last) {
                self.note(&name, sink);
            }
        }
    }

    /// The parts that a sink has yet to get, the oldest first.
    pub(super) fn lacked_by(&self, sink: &str) -> Vec<String> {
        let parts = self.parts.lock();
        let mut lacked: Vec<(Timestamp, &String)> =
            parts.iter().filter(|(_, part)| !part.with.contains(sink)).map(|(name, part)| (part.last, name)).collect();
        lacked.sort();
        lacked.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// Whether the sink has all parts.
    pub(super) fn is_all_with(&self, sink: &str) -> bool {
        self.parts.lock().values().all(|part| part.with.contains(sink))
    }

    /// Whether there is a part that the sink has yet to get, or one that all required sinks have, which is to go.
    pub(super) fn has_work_for(&self, sink: &str, required: &[&str]) -> bool {
        self.parts.lock().values().any(|part| !part.with.contains(sink) || part.is_with(required))
    }

    /// A sink has this part.
    pub(super) fn note(&self, name: &str, sink: &str) {
        if let Some(part) = self.parts.lock().get_mut(name) {
            part.with.insert(sink.to_owned());
        }
    }

    /// The parts that all of these sinks have.
    pub(super) fn told(&self, required: &[&str]) -> Vec<String> {
        let parts = self.parts.lock();
        let told = parts.iter().filter(|(_, part)| part.is_with(required));
        told.map(|(name, _)| name.clone()).collect()
    }

    /// This part is gone.
    pub(super) fn remove(&self, name: &str) {
        self.parts.lock().remove(name);
    }
}

/// Keeps the events that tell of these facts of an object. Done twice, it is done once.
pub(super) async fn keep(context: &Context, object: &Object, facts: &[FactKey]) -> Result<()> {
    let (Some((first, _)), Some(last)) = (facts.first(), facts.iter().map(|(_, time)| *time).max()) else {
        return Ok(());
    };
    let namespace = &context.settings.namespace;
    let events = object.events(&context.settings.installation, &context.world, facts);
    let name = names::event_backlog(object.uid(), *first, last);
    context.executor.keep_events(namespace, &name, last, &lines(&events)).await?;
    context.backlog.add(name, last);
    context.metrics.events_kept(context.backlog.count());
    Ok(())
}

/// Keeps what a required sink has yet to hear of an object that is about to go, or is gone.
pub(super) async fn keep_untold(context: &Context, object: &Object) -> Result<()> {
    let history = context.history();
    let facts = object.facts().into_iter().map(|(key, _)| key);
    let untold: Vec<FactKey> = facts.filter(|key| !history.has_passed(*key)).collect();
    keep(context, object, &untold).await
}

/// Events as they are stored: as JSON, one a line.
fn lines(events: &[Outgoing]) -> String {
    events.iter().fold(String::new(), |lines, event| {
        lines + &serde_json::to_string(event).expect("an event is JSON, and its keys are texts") + "\n"
    })
}

/// Reads them back.
pub(super) fn read(lines: &str) -> serde_json::Result<Vec<Outgoing>> {
    lines.lines().map(serde_json::from_str).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sinks::fixtures;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_part_is_lacked_until_a_sink_has_it_and_told_when_all_have() {
        let backlog = Backlog::default();
        backlog.load(vec![("later".into(), at(20)), ("early".into(), at(10))], "file", Some(at(15)));
        assert_eq!(backlog.lacked_by("file"), ["later"], "the other one is before its mark");
        assert_eq!(backlog.lacked_by("bus"), ["early", "later"]);
        let required = ["file", "bus"];
        assert!(backlog.told(&required).is_empty());
        backlog.note("early", "bus");
        assert_eq!(backlog.told(&required), ["early"]);
        assert!(backlog.has_work_for("kubectl", &required) && backlog.has_work_for("bus", &required));
        backlog.remove("early");
        // Read once more, it is known who has it.
        backlog.load(vec![("later".into(), at(20))], "bus", None);
        assert_eq!((backlog.count(), backlog.lacked_by("bus")), (1, vec!["later".to_owned()]));
        backlog.note("later", "bus");
        assert!(!backlog.has_work_for("bus", &required) && backlog.has_work_for("file", &required));
        backlog.note_broken("later");
        backlog.note("later", "file");
        assert!(backlog.told(&required).is_empty() && !backlog.has_work_for("file", &required), "it stays");
        assert_eq!(backlog.broken_until(), Some(at(20)));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let backlog = Backlog::default();
        for number in 0..MOST {
            assert!(backlog.has_room());
            backlog.add(number.to_string(), at(0));
        }
        assert!(!backlog.has_room());
    }

    #[test]
    fn events_read_as_they_were_stored() {
        let mut events = fixtures::outgoing(2);
        events[0].about = Some(ObjectReference { name: Some("door".into()), ..ObjectReference::default() });
        assert_eq!(read(&lines(&events)).unwrap(), events);
        assert!(read("{").is_err());
    }
}
