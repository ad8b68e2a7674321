//! Which identity stores are left alone for a moment: one that does not answer would keep who asks waiting for each of its people, and one
//! that has too many requests would get as many again.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::DirectoryTrouble;

/// For how long.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// Stores that are left alone, why, and until when.
#[derive(Debug, Default)]
pub struct Pauses {
    until: Mutex<HashMap<String, (DirectoryTrouble, Timestamp)>>,
}

impl Pauses {
    /// Why this store is not asked now, if it is not.
    pub fn of(&self, store: &str, now: Timestamp) -> Option<DirectoryTrouble> {
        let mut until = self.until.lock();
        until.retain(|_, (_, end)| now < *end);
        until.get(store).map(|(trouble, _)| *trouble)
    }

    /// Takes what came of asking a store.
    pub fn note(&self, store: &str, trouble: DirectoryTrouble, now: Timestamp) {
        if trouble.is_of_all() {
            self.until.lock().insert(store.to_owned(), (trouble, now + PAUSE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::trouble::Call;

    #[test]
    fn a_store_is_left_alone_for_a_moment_for_what_concerns_all_who_ask() {
        let (pauses, start) = (Pauses::default(), Timestamp::UNIX_EPOCH);
        for of_one in [DirectoryTrouble::AccessDenied(Call::CreateUser), DirectoryTrouble::Taken] {
            pauses.note("d-1", of_one, start);
            assert_eq!(pauses.of("d-1", start), None);
        }
        pauses.note("d-1", DirectoryTrouble::Throttled, start);
        assert_eq!(pauses.of("d-1", start + PAUSE / 2), Some(DirectoryTrouble::Throttled));
        assert_eq!(pauses.of("d-2", start + PAUSE / 2), None);
        assert_eq!(pauses.of("d-1", start + PAUSE), None);
    }
}
