//! Events that are no transitions: they are handed in, and who hands one in hears when the sink has it. They are written together with
//! the transitions of the same moment, so that many at once cost one write to the disk.

use std::collections::VecDeque;
use std::time::Duration;

use fleetform_domain::event::Event;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use crate::recent::Recent;

/// Most events that wait for the sink; who comes then waits before handing in.
const WAITING: usize = 1024;

/// Of so many events the ids are remembered, so that one that is handed in twice is written once.
const REMEMBERED: usize = 16 * 1024;

/// The sink did not take an event in time: whoever handed it in keeps it and tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event sink did not take an event in time")]
pub struct NotDelivered;

/// Where events are handed in.
#[derive(Debug)]
pub struct Submissions {
    sender: mpsc::Sender<Submission>,
    receiver: Mutex<mpsc::Receiver<Submission>>,
}

#[derive(Debug)]
struct Submission {
    event: Event,
    delivered: oneshot::Sender<()>,
}

impl Default for Submissions {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl Submissions {
    /// Hands in an event, and waits until the sink has it, at most so long.
    ///
    /// # Errors
    /// When the sink is away, or this process does not lead. The event may be delivered all the same.
    pub async fn deliver(&self, event: Event, limit: Duration) -> Result<(), NotDelivered> {
        let (delivered, heard) = oneshot::channel();
        let handed_in = async {
            self.sender.send(Submission { event, delivered }).await.map_err(|_| NotDelivered)?;
            heard.await.map_err(|_| NotDelivered)
        };
        timeout(limit, handed_in).await.unwrap_or(Err(NotDelivered))
    }

    /// What is handed in, for the one who delivers.
    pub(super) async fn inbox(&self) -> Inbox<'_> {
        Inbox { receiver: self.receiver.lock().await, waiting: VecDeque::new(), known: Recent::new(REMEMBERED) }
    }
}

/// What is handed in.
#[derive(Debug)]
pub(super) struct Inbox<'a> {
    receiver: MutexGuard<'a, mpsc::Receiver<Submission>>,
    waiting: VecDeque<Submission>,
    known: Recent<Uuid, ()>,
}

/// Events that are delivered together, each once.
#[derive(Debug, Default)]
pub(super) struct Submitted {
    events: Vec<Event>,
    delivered: Vec<oneshot::Sender<()>>,
}

impl Submitted {
    /// The events.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }
}

impl Inbox<'_> {
    /// The sink holds these already.
    pub(super) fn holds(&mut self, ids: impl Iterator<Item = Uuid>) {
        ids.for_each(|id| self.known.put(id, ()));
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.receiver.is_empty()
    }

    /// Waits until something does. May be given up at any time.
    pub(super) async fn arrival(&mut self) {
        match self.receiver.recv().await {
            Some(submission) => self.waiting.push_back(submission),
            // Both ends are ours, so this one never closes.
            None => std::future::pending().await,
        }
    }

    /// Takes up to so many events that are to be delivered. What is delivered already is only said so, and what nobody waits for any more
    /// is left: it comes again.
    pub(super) fn take(&mut self, most: usize) -> Submitted {
        let mut taken = Submitted::default();
        while taken.events.len() < most {
            let next = self.waiting.pop_front().or_else(|| self.receiver.try_recv().ok());
            let Some(Submission { event, delivered }) = next else { break };
            if delivered.is_closed() {
                continue;
            }
            if self.known.get(&event.id).is_some() {
                let _ = delivered.send(());
                continue;
            }
            if taken.events.iter().all(|known| known.id != event.id) {
                taken.events.push(event);
            }
            taken.delivered.push(delivered);
        }
        taken
    }

    /// The sink has them.
    pub(super) fn delivered(&mut self, submitted: Submitted) {
        self.holds(submitted.events.iter().map(|event| event.id));
        for delivered in submitted.delivered {
            let _ = delivered.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use fleetform_domain::event::{Occasion, Person, person_event, person_event_id};
    use fleetform_domain::people::RecognitionFailure;
    use std::sync::Arc;

    const LIMIT: Duration = Duration::from_secs(1);

    fn event(sequence: u64) -> Event {
        let person = Person {
            id: person_event_id("a", sequence),
            time: fixtures::noon(),
            source: &"QfUuUnFqs5accJ".parse().unwrap(),
            badge: None,
        };
        person_event(&fixtures::installation(), &person, Occasion::NotRecognized(RecognitionFailure::Ambiguous))
    }

    /// Hands in events with these sequences at once; what became of them.
    fn hand_in(to: &Arc<Submissions>, sequences: &[u64]) -> Vec<tokio::task::JoinHandle<Result<(), NotDelivered>>> {
        let hand_in = |sequence: &u64| {
            let (to, event) = (Arc::clone(to), event(*sequence));
            tokio::spawn(async move { to.deliver(event, LIMIT).await })
        };
        sequences.iter().map(hand_in).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_is_taken_once_and_everybody_hears_of_it() {
        let submissions = Arc::new(Submissions::default());
        let mut inbox = submissions.inbox().await;
        let waiting = hand_in(&submissions, &[1, 2, 1]);
        inbox.arrival().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let taken = inbox.take(10);
        assert_eq!(taken.events(), [event(1), event(2)]);
        inbox.delivered(taken);
        for heard in waiting {
            assert_eq!(heard.await.unwrap(), Ok(()));
        }
        let again = hand_in(&submissions, &[2, 3]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let taken = inbox.take(10);
        assert_eq!(taken.events(), [event(3)], "what the sink has is not written again");
        inbox.delivered(taken);
        for heard in again {
            assert_eq!(heard.await.unwrap(), Ok(()));
        }
        assert!(inbox.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_away_is_heard_of_and_the_event_comes_again() {
        let submissions = Arc::new(Submissions::default());
        let late = hand_in(&submissions, &[1]);
        for heard in late {
            assert_eq!(heard.await.unwrap(), Err(NotDelivered), "nobody delivers");
        }
        let mut inbox = submissions.inbox().await;
        assert!(inbox.take(10).events().is_empty(), "nobody waits for it any more");
        let failed = hand_in(&submissions, &[1]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(inbox.take(10));
        for heard in failed {
            assert_eq!(heard.await.unwrap(), Err(NotDelivered), "the sink failed");
        }
        let again = hand_in(&submissions, &[1]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let taken = inbox.take(10);
        assert_eq!(taken.events(), [event(1)]);
        inbox.delivered(taken);
        for heard in again {
            assert_eq!(heard.await.unwrap(), Ok(()));
        }
    }
}
