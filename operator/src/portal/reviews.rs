//! Pure: answers of the API server, remembered for seconds: what was allowed a little longer than what was refused, and apart,
//! so that a flood of what is refused makes nobody forgotten.

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
    positive: Mutex<HashMap<K, (Timestamp, V)>>,
    negative: Mutex<HashMap<K, (Timestamp, V)>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Reviews<K, V> {
    /// Remembers at most `kept` answers of either kind.
    pub(super) fn new(kept: usize) -> Self {
        Self { kept, positive: Mutex::default(), negative: Mutex::default() }
    }

    /// The answer, if one still counts.
    pub(super) fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let good = |answers: &HashMap<K, (Timestamp, V)>| {
            answers.get(key).filter(|(until, _)| *until > now).map(|(_, answer)| answer.clone())
        };
        let answer = good(&self.positive.lock());
        answer.or_else(|| good(&self.negative.lock()))
    }

    /// Remembers an answer.
    pub(super) fn put(&self, key: K, answer: V, positive: bool, now: Timestamp) {
        let (until, answers) =
            if positive { (now + POSITIVE, &self.positive) } else { (now + NEGATIVE, &self.negative) };
        let mut answers = answers.lock();
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
            reviews.put(key, (), key % 2 == 0, at(0));
        }
        assert!(reviews.positive.lock().len() <= 10 && reviews.negative.lock().len() <= 10);
    }

    #[test]
    fn a_flood_of_refusals_makes_nobody_forgotten() {
        let reviews = Reviews::new(10);
        reviews.put(-1, true, true, at(0));
        for key in 0..1000 {
            reviews.put(key, false, false, at(0));
        }
        assert_eq!(reviews.get(&-1, at(1)), Some(true));
    }
}
