//! The work queue: which objects are to be reconciled. An object waits at most once, is never worked on twice at the same
//! time, and one that changes while it is worked on comes again afterwards.
//!
//! There are two lanes. What a device waits for goes ahead of the rest, so that a check-in is not noted down minutes late while
//! thousands of new objects are looked at; every fourth turn is kept for the rest.
//!
//! kube's own scheduler counts no attempts and is tied to one kind and one store; here one queue serves every kind and the
//! gateway.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backoff;
use crate::cache::{Kind, Name};

/// One turn in so many is kept for objects that nobody waits for.
const TURNS: u32 = 4;

/// One object to be reconciled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
}

impl Key {
    /// A key.
    pub fn new(kind: Kind, name: Name) -> Self {
        Self { kind, name }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    arrived: Notify,
}

/// Who waits for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Normal,
    Urgent,
}

#[derive(Debug, Default)]
struct Inner {
    urgent: VecDeque<Key>,
    /// May hold keys that moved to `urgent` since.
    normal: VecDeque<Key>,
    waiting: HashMap<Key, Lane>,
    in_work: HashSet<Key>,
    again: HashMap<Key, Lane>,
    due: BTreeSet<(Instant, Key)>,
    due_at: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
    turn: u32,
    /// Since when something waits and nobody took anything.
    untouched_since: Option<Instant>,
}

impl Inner {
    fn make_ready(&mut self, key: Key, lane: Lane) {
        if let Some(at) = self.due_at.remove(&key) {
            self.due.remove(&(at, key.clone()));
        }
        let before = if self.in_work.contains(&key) { &mut self.again } else { &mut self.waiting };
        let known = before.get(&key).copied();
        if known >= Some(lane) {
            return;
        }
        before.insert(key.clone(), lane);
        if !self.in_work.contains(&key) {
            self.untouched_since.get_or_insert_with(Instant::now);
            match lane {
                Lane::Urgent => self.urgent.push_back(key),
                Lane::Normal => self.normal.push_back(key),
            }
        }
    }

    fn take(&mut self) -> Option<Key> {
        self.turn = (self.turn + 1) % TURNS;
        let urgent_first = self.turn != 0;
        let key = if urgent_first { self.urgent.pop_front() } else { None };
        let key = key.or_else(|| self.take_normal()).or_else(|| self.urgent.pop_front())?;
        self.waiting.remove(&key);
        self.in_work.insert(key.clone());
        self.untouched_since = (!self.waiting.is_empty()).then(Instant::now);
        Some(key)
    }

    fn take_normal(&mut self) -> Option<Key> {
        loop {
            let key = self.normal.pop_front()?;
            if self.waiting.get(&key) == Some(&Lane::Normal) {
                return Some(key);
            }
        }
    }

    fn delay(&mut self, key: Key, at: Instant) {
        if self.due_at.get(&key).is_some_and(|planned| *planned <= at) {
            return;
        }
        if let Some(planned) = self.due_at.insert(key.clone(), at) {
            self.due.remove(&(planned, key.clone()));
        }
        self.due.insert((at, key));
    }
}

impl Queue {
    /// Reconciles `key` as soon as a worker is free.
    pub fn add(&self, key: Key) {
        self.inner.lock().make_ready(key, Lane::Normal);
        self.arrived.notify_one();
    }

    /// Reconciles `key` ahead of what nobody waits for.
    pub fn add_urgent(&self, key: Key) {
        self.inner.lock().make_ready(key, Lane::Urgent);
        self.arrived.notify_one();
    }

    /// Reconciles `key` after `delay`, or earlier if that was planned already.
    pub fn add_after(&self, key: Key, delay: Duration) {
        self.inner.lock().delay(key, Instant::now() + delay);
        self.arrived.notify_one();
    }

    /// How many keys wait for a worker.
    pub fn depth(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    /// For how long something has waited while nobody took anything.
    pub fn untouched_for(&self) -> Duration {
        self.inner.lock().untouched_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The next key; waits for one. [`Queue::done`] or [`Queue::failed`] must follow.
    pub async fn next(&self) -> Key {
        loop {
            let arrived = self.arrived.notified();
            let next_due = {
                let mut inner = self.inner.lock();
                let now = Instant::now();
                while inner.due.first().is_some_and(|(at, _)| *at <= now) {
                    let (_, key) = inner.due.pop_first().expect("there is a first");
                    inner.due_at.remove(&key);
                    inner.make_ready(key, Lane::Normal);
                }
                if let Some(key) = inner.take() {
                    // Somebody else has to take what is left, and to wake for what becomes due.
                    if !(inner.waiting.is_empty() && inner.due.is_empty()) {
                        self.arrived.notify_one();
                    }
                    return key;
                }
                inner.due.first().map(|(at, _)| *at)
            };
            match next_due {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, arrived).await;
                }
                None => arrived.await,
            }
        }
    }

    /// `key` was reconciled; look again after `look_again` if that is given.
    pub fn done(&self, key: Key, look_again: Option<Duration>) {
        let mut inner = self.inner.lock();
        inner.failures.remove(&key);
        inner.in_work.remove(&key);
        if let Some(lane) = inner.again.remove(&key) {
            inner.make_ready(key, lane);
        } else if let Some(delay) = look_again {
            inner.delay(key, Instant::now() + delay);
        }
        drop(inner);
        self.arrived.notify_one();
    }

    /// `key` could not be reconciled: it comes again after a backoff that grows with its failures, or after the shortest one
    /// when it changed meanwhile, as that may be the remedy. Returns how long.
    pub fn failed(&self, key: Key) -> Duration {
        let mut inner = self.inner.lock();
        let failures = inner.failures.entry(key.clone()).or_default();
        *failures += 1;
        let failures = *failures;
        inner.in_work.remove(&key);
        let changed = inner.again.remove(&key).is_some();
        let delay = backoff::delay(if changed { 1 } else { failures });
        inner.delay(key, Instant::now() + delay);
        drop(inner);
        self.arrived.notify_one();
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(Kind::Site, Name::new("n", name))
    }

    async fn nothing_comes(queue: &Queue) -> bool {
        tokio::time::timeout(Duration::from_millis(1), queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_not_worked_on_twice_at_a_time() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("a"));
        assert!(nothing_comes(&queue).await);
        queue.add(key("a"));
        assert!(nothing_comes(&queue).await, "it is being worked on");
        queue.done(key("a"), None);
        assert_eq!(queue.next().await, key("a"), "it changed meanwhile");
        queue.done(key("a"), None);
        assert!(nothing_comes(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_is_kept_and_the_earlier_one_counts() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after(key("a"), Duration::from_mins(1));
        queue.add_after(key("a"), Duration::from_secs(10));
        queue.add_after(key("a"), Duration::from_secs(30));
        assert_eq!(queue.next().await, key("a"));
        assert_eq!(start.elapsed().as_secs(), 10);
        queue.done(key("a"), None);
        assert!(nothing_comes(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_waits_for_goes_ahead_and_the_rest_is_not_forgotten() {
        let queue = Queue::default();
        for name in ["a", "b", "c"] {
            queue.add(key(name));
        }
        for name in ["u", "v", "w", "x", "c"] {
            queue.add_urgent(key(name));
        }
        queue.add(key("u"));
        let mut taken = Vec::new();
        for _ in 0..7 {
            let next = queue.next().await;
            taken.push(next.name.name.clone());
            queue.done(next, None);
        }
        assert_eq!(taken, ["u", "v", "w", "a", "x", "c", "b"]);
        assert!(nothing_comes(&queue).await);
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_nobody_empties_is_noticed() {
        let queue = Queue::default();
        assert_eq!(queue.untouched_for(), Duration::ZERO);
        queue.add(key("a"));
        queue.add(key("b"));
        tokio::time::advance(Duration::from_mins(2)).await;
        assert_eq!(queue.untouched_for(), Duration::from_mins(2));
        queue.next().await;
        assert_eq!(queue.untouched_for(), Duration::ZERO);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(queue.untouched_for(), Duration::from_mins(1), "b still waits");
        queue.next().await;
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(queue.untouched_for(), Duration::ZERO, "nothing waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_during_a_look_that_fails_is_not_kept_waiting() {
        let queue = Queue::default();
        queue.add(key("a"));
        for _ in 0..10 {
            queue.next().await;
            queue.failed(key("a"));
        }
        queue.next().await;
        queue.add(key("a"));
        assert_eq!(queue.failed(key("a")), backoff::delay(1));
        queue.next().await;
        assert_eq!(queue.failed(key("a")), backoff::delay(12), "its failures are not forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_until_one_success() {
        let queue = Queue::default();
        queue.add(key("a"));
        let mut delays = Vec::new();
        for _ in 0..3 {
            queue.next().await;
            delays.push(queue.failed(key("a")));
        }
        assert!(delays[0] < delays[1] && delays[1] < delays[2], "{delays:?}");
        queue.next().await;
        queue.done(key("a"), None);
        queue.add(key("a"));
        queue.next().await;
        assert_eq!(queue.failed(key("a")), delays[0]);
    }
}
