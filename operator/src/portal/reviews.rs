//! Pure: answers of the API server, remembered for seconds: what was allowed a little longer than what was refused.

use std::collections::HashMap;
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// How long a good answer counts.
const POSITIVE: SignedDuration = SignedDuration::from_secs(10);

/// How long a refusal counts.
const NEGATIVE: SignedDuration = SignedDuration::from_secs(2);

/// Remembered answers.
#[derive(Debug)]
pub(super) struct Reviews<K, V> {
    kept: usize,
    answers: Mutex<HashMap<K, (Timestamp, V)>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Reviews<K, V> {
    /// Remembers at most `kept` answers.
    pub(super) fn new(kept: usize) -> Self {
        Self { kept, answers: Mutex::default() }
    }

    /// The answer, if one still counts.
    pub(super) fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        self.answers.lock().get(key).filter(|(until, _)| *until > now).map(|(_, answer)| answer.clone())
    }

    /// Remembers an answer.
    pub(super) fn put(&self, key: K, answer: V, positive: bool, now: Timestamp) {
        let until = now + if positive { POSITIVE } else { NEGATIVE };
        let mut answers = self.answers.lock();
        if answers.len() >= self.kept && !answers.contains_key(&key) {
            answers.retain(|_, (until, _)| *until > now);
            if answers.len() >= self.kept {
                // To ask again is all that forgetting costs.
                answers.clear();
            }
        }
        answers.insert(key, (until, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn answers_count_for_seconds() {
        let reviews = Reviews::new(10);
        reviews.put("yes", true, true, at(0));
        reviews.put("no", false, false, at(0));
        assert_eq!((reviews.get(&"yes", at(9)), reviews.get(&"yes", at(10))), (Some(true), None));
        assert_eq!((reviews.get(&"no", at(1)), reviews.get(&"no", at(2))), (Some(false), None));
    }

    #[test]
    fn memory_is_bounded() {
        let reviews = Reviews::new(10);
        for key in 0..1000 {
            reviews.put(key, (), true, at(0));
        }
        assert!(reviews.answers.lock().len() <= 10);
    }
}
