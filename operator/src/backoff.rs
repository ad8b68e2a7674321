//! Pure: how long to wait after a failure.

use std::time::Duration;

/// First delay.
const FIRST: Duration = Duration::from_millis(200);

/// Longest delay.
pub const LONGEST: Duration = Duration::from_mins(1);

/// How long to wait after so many failures in a row (from 1): doubles from 0.2 s to a minute.
pub fn delay(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_are_capped() {
        assert_eq!(delay(1), Duration::from_millis(200));
        assert_eq!(delay(2), Duration::from_millis(400));
        assert_eq!(delay(20), LONGEST);
        assert_eq!(delay(u32::MAX), LONGEST);
    }
}
