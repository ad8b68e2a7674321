//! Pure: what a courier has yet to look at. It goes round by round, so that objects that change without end keep no other waiting, and the end
//! of a round says how far the sink has come.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tokio::time::Instant;

use super::object::Object;
use crate::cache::Change;
use crate::queue::Key;

/// What a courier has yet to look at.
#[derive(Debug)]
pub(super) struct Waiting {
    round: BTreeSet<Key>,
    /// What changed since the round began.
    next: BTreeSet<Key>,
    /// Objects that are gone, as they were last.
    departed: Vec<Object>,
    /// When the round began.
    began: Timestamp,
    /// Since when there has always been something to deliver.
    since: Option<Instant>,
}

impl Waiting {
    /// A first round of nothing, which begins now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { round: BTreeSet::new(), next: BTreeSet::new(), departed: Vec::new(), began: now, since: None }
    }

    /// Begins a round of these.
    pub(super) fn begin_with(&mut self, now: Timestamp, keys: impl IntoIterator<Item = Key>) {
        (self.began, self.since) = (now, None);
        self.round.extend(keys);
    }

    /// Something changed.
    pub(super) fn note(&mut self, change: Change) {
        self.departed.extend(Object::gone(&change));
        self.next.extend(Object::changed(change));
    }

    /// The round is over: begins the next one with what changed meanwhile. Gives when the one that is over began: what was recorded well
    /// before is with the sink. None while it is not over. A sink that failed last `is_failing`: whatever waits, it has yet to get something.
    pub(super) fn next_round(&mut self, now: Timestamp, is_failing: bool) -> Option<Timestamp> {
        if !self.round.is_empty() || !self.departed.is_empty() {
            return None;
        }
        self.round = std::mem::take(&mut self.next);
        if !is_failing {
            self.since = (!self.round.is_empty()).then(Instant::now);
        }
        Some(std::mem::replace(&mut self.began, now))
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.round.is_empty() && self.next.is_empty() && self.departed.is_empty()
    }

    /// Objects of this round.
    pub(super) fn round(&self) -> impl Iterator<Item = &Key> {
        self.round.iter()
    }

    /// These have been looked at.
    pub(super) fn done(&mut self, keys: &[Key]) {
        for key in keys {
            self.round.remove(key);
        }
    }

    /// Objects that are gone, as they were last.
    pub(super) fn departed(&self) -> &[Object] {
        &self.departed
    }

    /// So many that are gone have been looked at, from the first.
    pub(super) fn done_departed(&mut self, count: usize) {
        self.departed.drain(..count);
    }

    /// Something could not be delivered.
    pub(super) fn failed(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Since when there has always been something to deliver.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Kind, Name};

    fn change(name: &str) -> Change {
        Change::Alert { name: Name::new("namespace", name), asset: None, gone: None }
    }

    fn key(name: &str) -> Key {
        Key::new(Kind::Alert, Name::new("namespace", name))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_changes_without_end_keeps_no_other_waiting() {
        let mut waiting = Waiting::new(at(0));
        waiting.begin_with(at(0), [key("a"), key("z")]);
        for _ in 0..2 {
            let first = waiting.round().next().unwrap().clone();
            waiting.done(&[first]);
            waiting.note(change("a"));
        }
        assert_eq!(waiting.next_round(at(7), false), Some(at(0)), "the first round is over");
        assert_eq!(waiting.next_round(at(8), false), None);
        assert!(waiting.round().eq([&key("a")]) && waiting.since().is_some());
        waiting.done(&[key("a")]);
        assert_eq!((waiting.next_round(at(9), false), waiting.is_empty(), waiting.since()), (Some(at(7)), true, None));
    }

    #[test]
    fn a_sink_is_behind_until_it_has_taken_something_again() {
        let mut waiting = Waiting::new(at(0));
        waiting.failed();
        let since = waiting.since();
        assert!(since.is_some());
        // Whoever handed something in keeps it, so that nothing waits here.
        assert!(waiting.next_round(at(1), true).is_some() && waiting.is_empty());
        waiting.failed();
        assert_eq!(waiting.since(), since);
        assert!(waiting.next_round(at(2), false).is_some());
        assert_eq!(waiting.since(), None);
    }
}
