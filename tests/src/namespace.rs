//! Names for tests that share a control plane.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Longest name of a namespace: a DNS label (RFC 1123).
const MAX_LABEL: usize = 63;

/// A namespace name that no other test has: `prefix`, cut to fit, then this process, a counter and the time.
///
/// # Assumptions
///
/// `prefix` is itself a DNS label; anything else in it becomes a hyphen.
pub fn unique(prefix: &str) -> String {
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    assemble(prefix, &format!("{:x}-{count:x}-{:x}", std::process::id(), time & 0xffff_ffff))
}

fn assemble(prefix: &str, suffix: &str) -> String {
    let clean: String = prefix
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(MAX_LABEL - suffix.len() - 1)
        .collect();
    let clean = clean.trim_matches('-');
    if clean.is_empty() { format!("test-{suffix}") } else { format!("{clean}-{suffix}") }
}

#[cfg(test)]
mod tests {
    use super::{MAX_LABEL, assemble, unique};

    #[test]
    fn two_names_differ() {
        assert_ne!(unique("same"), unique("same"));
    }

    #[test]
    fn a_name_is_a_dns_label_whatever_the_prefix() {
        assert_eq!(assemble("Activation_races", "1"), "activation-races-1");
        assert_eq!(assemble("__", "1"), "test-1");
        assert_eq!(assemble(&"x".repeat(100), "abc").len(), MAX_LABEL);
    }
}
