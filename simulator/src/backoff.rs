//! Pure: when to try again, and when to check in. Randomness comes in as `luck`, a number from 0 up to 1.

use std::time::Duration;

/// Waits that double with every failure in a row, up to a longest one, each shortened by chance to as little as half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Waits at most `first` after the first failure and never more than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The wait after so many failures in a row, counted from 1.
    pub fn delay(&self, failures: u32, luck: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        full.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0)
    }
}

/// Shortest and longest interval between check-ins that a device agrees to, in seconds: a gateway that names another
/// one gets the nearest.
const INTERVALS: (u32, u32) = (1, 86_400);

/// When a device checks in that was told to do so within `seconds`: after 80 to 100 % of them, so that a fleet that was
/// started at once does not call at once, and none is late.
pub fn until_check_in(seconds: u32, luck: f64) -> Duration {
    let interval = Duration::from_secs(seconds.clamp(INTERVALS.0, INTERVALS.1).into());
    interval.mul_f64(0.8 + luck.clamp(0.0, 1.0) / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest_and_are_never_less_than_half() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        for (failures, full) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)] {
            let full = Duration::from_secs(full);
            assert_eq!(backoff.delay(failures, 1.0), full, "after {failures}");
            assert_eq!(backoff.delay(failures, 0.0), full / 2, "after {failures}");
            let middle = backoff.delay(failures, 0.3);
            assert!(full / 2 < middle && middle < full, "after {failures}: {middle:?}");
        }
        assert!(backoff.delay(0, 0.5) <= Duration::from_secs(1));
    }

    #[test]
    fn a_device_checks_in_early_but_not_by_much() {
        assert_eq!(until_check_in(60, 0.0), Duration::from_secs(48));
        assert_eq!(until_check_in(60, 1.0), Duration::from_mins(1));
        assert_eq!(until_check_in(0, 1.0), Duration::from_secs(1), "never a busy loop");
        assert!(until_check_in(u32::MAX, 1.0) <= Duration::from_hours(24));
    }
}
