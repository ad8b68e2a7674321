//! What an outside directory said last, in memory for a bounded time.

use std::collections::HashMap;
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::DirectoryTrouble;
use crate::backoff;

/// What is told of something: the answer, or why there is none.
pub type Told<V> = Result<V, DirectoryTrouble>;

/// Answers to questions.
#[derive(Debug)]
pub struct Answers<K, V> {
    /// How long after an answer it is asked for again. It counts for two of them when nothing is heard meanwhile.
    interval: SignedDuration,
    known: Mutex<HashMap<K, Known<V>>>,
}

#[derive(Debug)]
struct Known<V> {
    told: Told<V>,
    /// When the directory answered last.
    answered: Option<Timestamp>,
    failures: u32,
    /// When it is asked next.
    due: Timestamp,
}

impl<K: Eq + Hash + Clone, V: Clone + PartialEq> Answers<K, V> {
    /// None yet.
    pub fn new(interval: SignedDuration) -> Self {
        Self { interval, known: Mutex::default() }
    }

    /// What is told of this, if it was asked for.
    pub fn get(&self, question: &K) -> Option<Told<V>> {
        self.known.lock().get(question).map(|known| known.told.clone())
    }

    /// Whether it is time to ask.
    pub fn is_due(&self, question: &K, now: Timestamp) -> bool {
        self.known.lock().get(question).is_none_or(|known| known.due <= now)
    }

    /// Forgets what nobody asks.
    pub fn retain(&self, is_asked: impl Fn(&K) -> bool) {
        self.known.lock().retain(|question, _| is_asked(question));
    }

    /// Takes an answer, or why there is none; whether something else is told from now on. What passes by itself leaves the answer before
    /// in force for a while.
    pub fn note(&self, question: &K, outcome: Told<V>, now: Timestamp) -> bool {
        let mut known = self.known.lock();
        let before = known.get(question);
        let next = match outcome {
            Ok(value) => Known { told: Ok(value), answered: Some(now), failures: 0, due: now + self.interval },
            Err(trouble) => {
                let answered = before.and_then(|before| before.answered);
                let counts = trouble.passes() && answered.is_some_and(|at| now < at + self.interval * 2);
                let told = before.map(|before| before.told.clone()).filter(|told| counts && told.is_ok());
                let (failures, due) = self.later(before, now);
                Known { told: told.unwrap_or(Err(trouble)), answered, failures, due }
            }
        };
        let is_new = before.is_none_or(|before| before.told != next.told);
        known.insert(question.clone(), next);
        is_new
    }

    /// Takes an answer that is hoped to be another one soon; whether something else is told from now on.
    pub fn note_for_now(&self, question: &K, value: V, now: Timestamp) -> bool {
        let mut known = self.known.lock();
        let before = known.get(question);
        let (failures, due) = self.later(before, now);
        let next = Known { told: Ok(value), answered: Some(now), failures, due };
        let is_new = before.is_none_or(|before| before.told != next.told);
        known.insert(question.clone(), next);
        is_new
    }

    /// Takes that something which was to be done with the answer could not be done; it is asked for again at `due`.
    pub fn refuse(&self, question: &K, trouble: DirectoryTrouble, due: Timestamp) {
        let next = Known { told: Err(trouble), answered: None, failures: 0, due };
        self.known.lock().insert(question.clone(), next);
    }

    fn later(&self, before: Option<&Known<V>>, now: Timestamp) -> (u32, Timestamp) {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let delay = SignedDuration::try_from(backoff::delay(failures)).unwrap_or(self.interval);
        (failures, now + delay.min(self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: SignedDuration = SignedDuration::from_secs(100);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_answer_counts_for_two_intervals_while_nothing_is_heard() {
        let answers: Answers<&str, u32> = Answers::new(INTERVAL);
        assert!(answers.is_due(&"mary", at(0)) && answers.get(&"mary").is_none());
        assert!(answers.note(&"mary", Ok(1), at(0)), "an answer is news");
        assert!(!answers.is_due(&"mary", at(99)) && answers.is_due(&"mary", at(100)));
        for second in [100, 150, 199] {
            assert!(!answers.note(&"mary", Err(DirectoryTrouble::Unreachable), at(second)));
            assert_eq!(answers.get(&"mary"), Some(Ok(1)));
        }
        assert!(answers.note(&"mary", Err(DirectoryTrouble::Unreachable), at(200)));
        assert_eq!(answers.get(&"mary"), Some(Err(DirectoryTrouble::Unreachable)));
        assert!(answers.note(&"mary", Ok(1), at(201)) && !answers.note(&"mary", Ok(1), at(301)));
        assert!(answers.note(&"mary", Ok(2), at(401)));
    }

    #[test]
    fn a_refusal_is_told_at_once_and_asked_about_ever_more_seldom() {
        let answers: Answers<&str, u32> = Answers::new(INTERVAL);
        answers.note(&"mary", Ok(1), at(0));
        let mut now = at(0);
        let mut last = SignedDuration::ZERO;
        for _ in 0..12 {
            answers.note(&"mary", Err(DirectoryTrouble::Credentials), now);
            assert_eq!(answers.get(&"mary"), Some(Err(DirectoryTrouble::Credentials)));
            let mut waited = SignedDuration::ZERO;
            while !answers.is_due(&"mary", now + waited) {
                waited += SignedDuration::from_millis(100);
            }
            assert!(waited >= last && waited <= INTERVAL, "{waited:?} after {last:?}");
            (now, last) = (now + waited, waited);
        }
        assert!(last >= SignedDuration::from_secs(60), "{last:?}");
    }

    #[test]
    fn what_could_not_be_done_is_told_until_it_is_asked_for_again() {
        let answers: Answers<&str, u32> = Answers::new(INTERVAL);
        answers.note(&"mary", Ok(1), at(0));
        answers.refuse(&"mary", DirectoryTrouble::Taken, at(30));
        assert_eq!(answers.get(&"mary"), Some(Err(DirectoryTrouble::Taken)));
        assert!(!answers.is_due(&"mary", at(29)) && answers.is_due(&"mary", at(30)));
        assert!(answers.note(&"mary", Ok(1), at(30)), "so that it is tried again");
        answers.retain(|question| *question != "mary");
        assert!(answers.get(&"mary").is_none());
    }
}
