//! The work queue: which objects are to be reconciled. An object waits at most once, is never worked on twice at the same
//! time, and one that changes while it is worked on comes again afterwards.
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

#[derive(Debug, Default)]
struct Inner {
    ready: VecDeque<Key>,
    waiting: HashSet<Key>,
    in_work: HashSet<Key>,
    again: HashSet<Key>,
    due: BTreeSet<(Instant, Key)>,
    due_at: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
}

impl Inner {
    fn make_ready(&mut self, key: Key) {
        if let Some(at) = self.due_at.remove(&key) {
            self.due.remove(&(at, key.clone()));
        }
        if self.in_work.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
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
        self.inner.lock().make_ready(key);
        self.arrived.notify_one();
    }

    /// Reconciles `key` after `delay`, or earlier if that was planned already.
    pub fn add_after(&self, key: Key, delay: Duration) {
        self.inner.lock().delay(key, Instant::now() + delay);
        self.arrived.notify_one();
    }

    /// How many keys wait for a worker.
    pub fn depth(&self) -> usize {
        self.inner.lock().ready.len()
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
                    inner.make_ready(key);
                }
                if let Some(key) = inner.ready.pop_front() {
                    inner.waiting.remove(&key);
                    inner.in_work.insert(key.clone());
                    if !inner.ready.is_empty() {
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
        if inner.again.remove(&key) {
            inner.make_ready(key);
        } else if let Some(delay) = look_again {
            inner.delay(key, Instant::now() + delay);
        }
        drop(inner);
        self.arrived.notify_one();
    }

    /// `key` could not be reconciled: it comes again after a backoff that grows with its failures. Returns how long.
    pub fn failed(&self, key: Key) -> Duration {
        let mut inner = self.inner.lock();
        let failures = inner.failures.entry(key.clone()).or_default();
        *failures += 1;
        let delay = backoff::delay(*failures);
        inner.in_work.remove(&key);
        inner.again.remove(&key);
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
