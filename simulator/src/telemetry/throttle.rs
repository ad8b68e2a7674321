//! Pure: lets one through in a while, and counts the others.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// How many were held back before this one, if this one may pass.
    pub(super) fn admit(&mut self, now: Instant, quiet: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < quiet) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_passes_and_the_next_one_says_how_many_did_not() {
        let (mut throttle, start, quiet) = (Throttle::default(), Instant::now(), Duration::from_secs(30));
        assert_eq!(throttle.admit(start, quiet), Some(0));
        assert_eq!(throttle.admit(start + quiet / 3, quiet), None);
        assert_eq!(throttle.admit(start + quiet / 2, quiet), None);
        assert_eq!(throttle.admit(start + quiet, quiet), Some(2));
        assert_eq!(throttle.admit(start + quiet * 3, quiet), Some(0));
    }
}
