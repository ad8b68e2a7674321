//! Pure: token buckets, keyed on who asks. A site shares one address, so addresses are no keys.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

/// Whether a request is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// It is.
    Granted,
    /// Not before so many seconds.
    Wait(u32),
}

/// Token buckets: `burst` requests at once, then one every `interval`.
#[derive(Debug)]
pub struct RateLimiter {
    interval_millis: i64,
    burst: i64,
    kept: usize,
    /// For each key, the time at which its bucket is full again, in milliseconds.
    full_at: Mutex<HashMap<String, i64>>,
}

impl RateLimiter {
    /// A limiter that remembers at most `kept` keys.
    pub fn new(burst: u32, interval: Duration, kept: usize) -> Self {
        let interval_millis = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX / 1024).max(1);
        Self { interval_millis, burst: i64::from(burst.max(1)), kept, full_at: Mutex::default() }
    }

    /// Whether the bucket of `key` has something left, without taking it.
    pub fn look(&self, key: &str, now: Timestamp) -> Allowance {
        let now = now.as_millisecond();
        let full_at = self.full_at.lock().get(key).copied().unwrap_or(now).max(now);
        self.allowance(full_at, now)
    }

    fn allowance(&self, full_at: i64, now: i64) -> Allowance {
        let wait = full_at - now - self.interval_millis * (self.burst - 1);
        if wait > 0 {
            Allowance::Wait(u32::try_from(wait.unsigned_abs().div_ceil(1000)).unwrap_or(u32::MAX))
        } else {
            Allowance::Granted
        }
    }

    /// Takes one request from the bucket of `key`.
    pub fn take(&self, key: &str, now: Timestamp) -> Allowance {
        let now = now.as_millisecond();
        let mut buckets = self.full_at.lock();
        let full_at = buckets.get(key).copied().unwrap_or(now).max(now);
        if let wait @ Allowance::Wait(_) = self.allowance(full_at, now) {
            return wait;
        }
        if let Some(bucket) = buckets.get_mut(key) {
            *bucket = full_at + self.interval_millis;
            return Allowance::Granted;
        }
        if buckets.len() >= self.kept {
            // Full buckets say nothing. When there are none, so many ask at once that forgetting one is no harm.
            buckets.retain(|_, full_at| *full_at > now);
            if buckets.len() >= self.kept
                && let Some(some) = buckets.keys().next().cloned()
            {
                buckets.remove(&some);
            }
        }
        buckets.insert(key.to_owned(), full_at + self.interval_millis);
        Allowance::Granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    #[test]
    fn a_burst_is_granted_and_then_one_an_interval() {
        let limiter = RateLimiter::new(3, Duration::from_secs(2), 10);
        for _ in 0..3 {
            assert_eq!(limiter.take("a", at(0)), Allowance::Granted);
        }
        assert_eq!(limiter.take("a", at(0)), Allowance::Wait(2));
        assert_eq!((limiter.look("a", at(0)), limiter.look("b", at(0))), (Allowance::Wait(2), Allowance::Granted));
        assert_eq!(limiter.take("a", at(1_500)), Allowance::Wait(1));
        assert_eq!(limiter.take("b", at(1_500)), Allowance::Granted, "others are not affected");
        assert_eq!(limiter.take("a", at(2_000)), Allowance::Granted);
        assert_eq!(limiter.take("a", at(2_000)), Allowance::Wait(2));
        for _ in 0..3 {
            assert_eq!(limiter.take("a", at(60_000)), Allowance::Granted, "a rested bucket is full, not fuller");
        }
        assert_eq!(limiter.take("a", at(60_000)), Allowance::Wait(2));
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = RateLimiter::new(3, Duration::from_secs(2), 10);
        for key in 0..1000 {
            limiter.take(&key.to_string(), at(0));
        }
        assert!(limiter.full_at.lock().len() <= 10);
    }
}
