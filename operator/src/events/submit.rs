//! Events that are no transitions: they are handed in, and who hands one in hears when every required sink has it. Each sink gets them together
//! with the transitions of the same moment, so that many at once cost one write to the disk.

use std::collections::VecDeque;
use std::time::Duration;

use fleetform_domain::event::Event;
use futures::future::try_join_all;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use super::config::SinkSettings;
use crate::recent::Recent;

/// Most events that wait for a sink. For one that is required, who comes then waits before handing in; for another one, it goes without.
const WAITING: usize = 1024;

/// Of so many events the ids are remembered, so that one that is handed in twice is written once.
const REMEMBERED: usize = 16 * 1024;

/// A required sink did not take an event in time: whoever handed it in keeps it and tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event sink did not take an event in time")]
pub struct NotDelivered;

/// Where events are handed in.
#[derive(Debug)]
pub struct Submissions {
    outlets: Vec<Outlet>,
}

/// To one sink.
#[derive(Debug)]
struct Outlet {
    name: String,
    required: bool,
    sender: mpsc::Sender<Submission>,
    receiver: Mutex<mpsc::Receiver<Submission>>,
}

#[derive(Debug)]
struct Submission {
    event: Event,
    /// Who waits for it, if the sink is required.
    delivered: Option<oneshot::Sender<()>>,
}

impl Submission {
    /// Whether nobody waits for it any more: it comes again.
    fn is_given_up(&self) -> bool {
        self.delivered.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    fn say_delivered(self) {
        if let Some(delivered) = self.delivered {
            let _ = delivered.send(());
        }
    }
}

impl Submissions {
    /// To these sinks.
    pub fn new(sinks: &[SinkSettings]) -> Self {
        let outlet = |sink: &SinkSettings| {
            let (sender, receiver) = mpsc::channel(WAITING);
            Outlet { name: sink.name.clone(), required: sink.required, sender, receiver: Mutex::new(receiver) }
        };
        Self { outlets: sinks.iter().map(outlet).collect() }
    }

    /// Hands in an event, and waits until every required sink has it, at most so long. Gives the names of other sinks that have too much to do
    /// to get it.
    ///
    /// # Errors
    /// When a required sink is away, or this process does not lead. The event may be delivered all the same.
    pub async fn deliver(&self, event: &Event, limit: Duration) -> Result<Vec<&str>, NotDelivered> {
        let (required, others): (Vec<&Outlet>, Vec<&Outlet>) = self.outlets.iter().partition(|outlet| outlet.required);
        let handed_in = required.into_iter().map(|outlet| async move {
            let (delivered, heard) = oneshot::channel();
            let submission = Submission { event: event.clone(), delivered: Some(delivered) };
            outlet.sender.send(submission).await.map_err(|_| NotDelivered)?;
            heard.await.map_err(|_| NotDelivered)
        });
        timeout(limit, try_join_all(handed_in)).await.unwrap_or(Err(NotDelivered))?;
        // Once it is acknowledged: what comes again is told once.
        let is_missed =
            |outlet: &&Outlet| outlet.sender.try_send(Submission { event: event.clone(), delivered: None }).is_err();
        Ok(others.into_iter().filter(is_missed).map(|outlet| outlet.name.as_str()).collect())
    }

    /// What is handed in for the sink of this place.
    pub(super) async fn inbox(&self, place: usize) -> Inbox<'_> {
        let receiver = self.outlets[place].receiver.lock().await;
        Inbox { receiver, waiting: VecDeque::new(), known: Recent::new(REMEMBERED) }
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
    all: Vec<Submission>,
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
            let Some(submission) = next else { break };
            if submission.is_given_up() {
                continue;
            }
            let event = &submission.event;
            if self.known.get(&event.id).is_some() {
                submission.say_delivered();
                continue;
            }
            if taken.events.iter().all(|known| known.id != event.id) {
                taken.events.push(event.clone());
            }
            taken.all.push(submission);
        }
        taken
    }

    /// The sink did not take them: what nobody waits for is kept, and all else comes again.
    pub(super) fn failed(&mut self, submitted: Submitted) {
        let kept = submitted.all.into_iter().filter(|submission| submission.delivered.is_none());
        for submission in kept.rev() {
            self.waiting.push_front(submission);
        }
    }

    /// The sink has them.
    pub(super) fn delivered(&mut self, submitted: Submitted) {
        self.holds(submitted.events.iter().map(|event| event.id));
        submitted.all.into_iter().for_each(Submission::say_delivered);
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::standard_output;
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
    fn hand_in(to: &Arc<Submissions>, sequences: &[u64]) -> Vec<tokio::task::JoinHandle<Result<usize, NotDelivered>>> {
        let hand_in = |sequence: &u64| {
            let (to, event) = (Arc::clone(to), event(*sequence));
            tokio::spawn(async move { to.deliver(&event, LIMIT).await.map(|missed| missed.len()) })
        };
        sequences.iter().map(hand_in).collect()
    }

    /// So many sinks; whether each is required.
    fn sinks(required: &[bool]) -> Vec<SinkSettings> {
        let one = |(place, required): (usize, &bool)| {
            let base = standard_output().sinks.remove(0);
            SinkSettings { name: format!("sink-{place}"), required: *required, ..base }
        };
        required.iter().enumerate().map(one).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn every_required_sink_is_waited_for_and_no_other() {
        let submissions = Arc::new(Submissions::new(&sinks(&[true, false, true])));
        let (mut first, mut other, mut last) =
            (submissions.inbox(0).await, submissions.inbox(1).await, submissions.inbox(2).await);
        let mut waiting = hand_in(&submissions, &[1]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let taken = first.take(10);
        first.delivered(taken);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!waiting[0].is_finished(), "the last has yet to take it");
        assert!(other.is_empty(), "nobody else hears of what is not acknowledged");
        let taken = last.take(10);
        last.delivered(taken);
        assert_eq!(waiting.remove(0).await.unwrap(), Ok(0));
        // It is kept for the other one until that takes it.
        for _ in 0..2 {
            let taken = other.take(10);
            assert_eq!(taken.events(), [event(1)]);
            other.failed(taken);
        }
        let taken = other.take(10);
        other.delivered(taken);
        assert!(other.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_not_required_and_away_goes_without_in_the_end() {
        let submissions = Submissions::new(&sinks(&[false]));
        for sequence in 0..WAITING as u64 {
            assert_eq!(submissions.deliver(&event(sequence), LIMIT).await, Ok(vec![]));
        }
        assert_eq!(submissions.deliver(&event(0), LIMIT).await, Ok(vec!["sink-0"]));
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_is_taken_once_and_everybody_hears_of_it() {
        let submissions = Arc::new(Submissions::new(&sinks(&[true])));
        let mut inbox = submissions.inbox(0).await;
        let waiting = hand_in(&submissions, &[1, 2, 1]);
        inbox.arrival().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let taken = inbox.take(10);
        assert_eq!(taken.events(), [event(1), event(2)]);
        inbox.delivered(taken);
        for heard in waiting {
            assert_eq!(heard.await.unwrap(), Ok(0));
        }
        let again = hand_in(&submissions, &[2, 3]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let taken = inbox.take(10);
        assert_eq!(taken.events(), [event(3)], "what the sink has is not written again");
        inbox.delivered(taken);
        for heard in again {
            assert_eq!(heard.await.unwrap(), Ok(0));
        }
        assert!(inbox.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_away_is_heard_of_and_the_event_comes_again() {
        let submissions = Arc::new(Submissions::new(&sinks(&[true])));
        let late = hand_in(&submissions, &[1]);
        for heard in late {
            assert_eq!(heard.await.unwrap(), Err(NotDelivered), "nobody delivers");
        }
        let mut inbox = submissions.inbox(0).await;
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
            assert_eq!(heard.await.unwrap(), Ok(0));
        }
    }
}
