//! Pure: wrong ZIP codes are counted for each token; the fifth burns the code.

use std::collections::HashMap;

use fleetform_domain::activation::{ActivationFailure, TokenHash};
use jiff::Timestamp;
use parking_lot::Mutex;

/// The wrong ZIP code that burns a code.
const BURNS: u8 = 5;

/// Most tokens that are remembered. Only tokens that are authentic get here.
const KEPT: usize = 64 * 1024;

/// Wrong ZIP codes so far.
#[derive(Debug)]
pub(super) struct ZipAttempts {
    kept: usize,
    tokens: Mutex<HashMap<TokenHash, Entry>>,
}

#[derive(Debug)]
struct Entry {
    wrong: u8,
    rotated: bool,
    expires: Timestamp,
}

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Try {
    /// The code was judged.
    Judged(Result<(), ActivationFailure>),
    /// The code is burned, by this try or an earlier one.
    Burned,
}

impl Default for ZipAttempts {
    fn default() -> Self {
        Self { kept: KEPT, tokens: Mutex::default() }
    }
}

impl ZipAttempts {
    /// Judges a code and counts a wrong ZIP code. Both are one step: however many tries come at once, five are judged.
    pub(super) fn judge(
        &self,
        token: &TokenHash,
        expires: Timestamp,
        now: Timestamp,
        judge: impl FnOnce() -> Result<(), ActivationFailure>,
    ) -> Try {
        let mut tokens = self.tokens.lock();
        if tokens.get(token).is_some_and(|entry| entry.wrong >= BURNS) {
            return Try::Burned;
        }
        let verdict = judge();
        if verdict != Err(ActivationFailure::ZipCodeDoesNotMatch) {
            return Try::Judged(verdict);
        }
        if tokens.len() >= self.kept && !tokens.contains_key(token) {
            tokens.retain(|_, entry| entry.expires > now);
            if tokens.len() >= self.kept {
                // There is no room to count: guessing must be limited all the same.
                return Try::Burned;
            }
        }
        let entry = tokens.entry(token.clone()).or_insert(Entry { wrong: 0, rotated: false, expires });
        entry.wrong += 1;
        if entry.wrong >= BURNS { Try::Burned } else { Try::Judged(verdict) }
    }

    /// Whether the code is burned.
    pub(super) fn is_burned(&self, token: &TokenHash) -> bool {
        self.tokens.lock().get(token).is_some_and(|entry| entry.wrong >= BURNS)
    }

    /// Whether the caller has to replace the burned code. Only one caller is told so, until it fails.
    pub(super) fn claim_rotation(&self, token: &TokenHash) -> bool {
        let mut tokens = self.tokens.lock();
        tokens.get_mut(token).is_none_or(|entry| !std::mem::replace(&mut entry.rotated, true))
    }

    /// The burned code was not replaced after all.
    pub(super) fn rotation_failed(&self, token: &TokenHash) {
        if let Some(entry) = self.tokens.lock().get_mut(token) {
            entry.rotated = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: Result<(), ActivationFailure> = Err(ActivationFailure::ZipCodeDoesNotMatch);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn token(name: &str) -> TokenHash {
        TokenHash::from(name.to_owned())
    }

    #[test]
    fn four_wrong_zips_may_be_put_right_and_the_fifth_burns_the_code() {
        let attempts = ZipAttempts::default();
        let tried = |verdict| attempts.judge(&token("a"), at(100), at(0), || verdict);
        for _ in 0..4 {
            assert_eq!(tried(WRONG), Try::Judged(WRONG));
        }
        assert_eq!(tried(Ok(())), Try::Judged(Ok(())));
        assert_eq!(tried(Err(ActivationFailure::SiteNotFound)), Try::Judged(Err(ActivationFailure::SiteNotFound)));
        assert!(!attempts.is_burned(&token("a")));
        assert_eq!(tried(WRONG), Try::Burned);
        assert!(attempts.is_burned(&token("a")));
        assert_eq!(tried(Ok(())), Try::Burned, "the right one comes too late");
        assert_eq!(
            attempts.judge(&token("b"), at(100), at(0), || WRONG),
            Try::Judged(WRONG),
            "others are not affected"
        );
    }

    #[test]
    fn a_burned_code_is_replaced_once_or_until_it_succeeds() {
        let attempts = ZipAttempts::default();
        for _ in 0..5 {
            attempts.judge(&token("a"), at(100), at(0), || WRONG);
        }
        assert!(attempts.claim_rotation(&token("a")));
        assert!(!attempts.claim_rotation(&token("a")));
        attempts.rotation_failed(&token("a"));
        assert!(attempts.claim_rotation(&token("a")));
    }

    #[test]
    fn memory_is_bounded_and_guessing_too() {
        let attempts = ZipAttempts { kept: 2, ..ZipAttempts::default() };
        let tried = |name, now| attempts.judge(&token(name), at(100), at(now), || WRONG);
        assert_eq!(tried("a", 0), Try::Judged(WRONG));
        assert_eq!(tried("b", 0), Try::Judged(WRONG));
        assert_eq!(tried("c", 0), Try::Burned);
        assert_eq!(tried("c", 100), Try::Judged(WRONG), "expired tokens make room");
    }
}
