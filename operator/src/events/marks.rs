//! How far each sink has come: all facts that were recorded before its mark are with it. Marks are kept in one `ConfigMap` of the operator's
//! own namespace, which is written once in five seconds at most, and not at all while nothing happens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::backoff;
use crate::context::Context;

/// Between two writes.
const INTERVAL: Duration = Duration::from_secs(5);

/// A fact may be seen that much later than the time that stands in it: until its write is done, tried again and watched, and as much as
/// the clocks of two who lead may differ.
pub const LATE: SignedDuration = SignedDuration::from_mins(1);

/// The marks of all sinks, by their names.
#[derive(Debug, Default)]
pub struct Marks {
    known: Mutex<BTreeMap<String, Timestamp>>,
    /// Whether the `ConfigMap` is there.
    are_stored: AtomicBool,
    advanced: Notify,
}

impl Marks {
    /// No mark is later than this: the clock was ahead, and what is recorded from now on is not told.
    pub fn limit(&self, latest: Timestamp) {
        let mut known = self.known.lock();
        for mark in known.values_mut().filter(|mark| **mark > latest) {
            *mark = latest;
            self.advanced.notify_one();
        }
    }

    /// Takes what is stored, where that is further than what is known.
    pub(super) fn load(&self, stored: Option<&BTreeMap<String, String>>) {
        self.are_stored.store(stored.is_some(), Ordering::Relaxed);
        let mut known = self.known.lock();
        for (sink, mark) in stored.into_iter().flatten() {
            let Ok(mark) = mark.parse::<Timestamp>() else { continue };
            let entry = known.entry(sink.clone()).or_insert(mark);
            *entry = mark.max(*entry);
        }
    }

    /// How far a sink has come, if it has ever been there.
    pub(super) fn of(&self, sink: &str) -> Option<Timestamp> {
        self.known.lock().get(sink).copied()
    }

    /// What was recorded before is with all of these sinks.
    pub fn all_passed<'a>(&self, mut sinks: impl Iterator<Item = &'a str>) -> Option<Timestamp> {
        let known = self.known.lock();
        sinks.try_fold(Timestamp::MAX, |least, sink| Some(least.min(*known.get(sink)?)))
    }

    /// A sink has come so far.
    pub(super) fn set(&self, sink: &str, to: Timestamp) {
        if self.known.lock().insert(sink.to_owned(), to) != Some(to) {
            self.advanced.notify_one();
        }
    }

    /// As they are stored.
    fn stored(&self, sinks: &[&str]) -> BTreeMap<String, String> {
        let known = self.known.lock();
        let ours = known.iter().filter(|(sink, _)| sinks.contains(&sink.as_str()));
        ours.map(|(sink, mark)| (sink.clone(), mark.to_string())).collect()
    }
}

/// Writes marks down until it is dropped. What is not written down is delivered once more after a restart.
pub(super) async fn keep(context: Context) {
    let sinks: Vec<&str> = context.settings.events.sinks.iter().map(|sink| sink.name.as_str()).collect();
    let (mut failures, mut leadership) = (0, context.leadership.clone());
    loop {
        context.marks.advanced.notified().await;
        loop {
            // Whoever leads writes.
            leadership.leading().await;
            let (marks, are_stored) = (context.marks.stored(&sinks), context.marks.are_stored.load(Ordering::Relaxed));
            match context.executor.store_marks(&context.settings.namespace, &marks, are_stored).await {
                Ok(are_stored) => {
                    context.marks.are_stored.store(are_stored, Ordering::Relaxed);
                    if are_stored {
                        break;
                    }
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "how far events are delivered is not written down yet");
                    tokio::time::sleep(backoff::delay(failures)).await;
                }
            }
        }
        failures = 0;
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_as_far_as_is_known_and_never_ahead_of_the_clock() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let marks = Marks::default();
        assert_eq!(marks.of("file"), None);
        marks.set("file", at(100));
        let stored =
            [("file", 70), ("bus", 7), ("early", 5000)].map(|(sink, mark)| (sink.into(), at(mark).to_string()));
        marks.load(Some(&BTreeMap::from(stored)));
        marks.load(Some(&BTreeMap::from([("odd".into(), "yesterday".into())])));
        marks.limit(at(120));
        let known = ["file", "bus", "early", "odd"].map(|sink| marks.of(sink));
        assert_eq!(known, [Some(at(100)), Some(at(7)), Some(at(120)), None]);
        marks.limit(at(150));
        assert_eq!(marks.of("early"), Some(at(120)), "it does not go along with the clock");
        assert_eq!(marks.all_passed(["file", "bus"].into_iter()), Some(at(7)));
        assert_eq!(marks.all_passed(["file", "new"].into_iter()), None);
        assert_eq!(
            marks.stored(&["file"]),
            BTreeMap::from([("file".into(), at(100).to_string())]),
            "of sinks that are"
        );
    }
}
