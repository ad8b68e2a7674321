//! Pure: locks and commands: what is asked of a device while it is active, and how people ask it.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a device may be without its gateway, in minutes, unless its configuration says otherwise: seven days.
pub const DEFAULT_MAXIMUM_OFFLINE_MINUTES: u32 = 7 * 24 * 60;

/// The longest that a configuration may let a device be without its gateway, in minutes: 30 days.
pub const MOST_OFFLINE_MINUTES: u32 = 43_200;

/// Annotation on a device instance that asks for one reboot for each new value.
pub const REBOOT_ANNOTATION: &str = "fleetform.dev/reboot";

/// Annotation that answers locks for a long absence: [`Remediation`]. On a device instance it names one lock, on a site the
/// time up to which its locks are answered.
pub const REMEDIATE_ANNOTATION: &str = "fleetform.dev/remediate";

/// Annotation on a device instance that names the lock that is taken off after the device was inspected.
pub const UNLOCK_ANNOTATION: &str = "fleetform.dev/unlock";

/// Why a device is locked. While it is, it obeys nothing but the answer to its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LockReason {
    /// Its case was opened or it was taken off the wall.
    Tamper,
    /// It was without its gateway for longer than it may: it may have been moved.
    MaximumOfflineTime,
    /// Two devices report with one key: one of them is a copy.
    Cloned,
}

impl LockReason {
    /// Whether it takes an inspection and somebody with full access to take the lock off.
    pub const fn takes_inspection(self) -> bool {
        matches!(self, Self::Tamper | Self::Cloned)
    }
}

impl fmt::Display for LockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tamper => "Tamper",
            Self::MaximumOfflineTime => "MaximumOfflineTime",
            Self::Cloned => "Cloned",
        })
    }
}

/// What a device is asked to do once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum CommandKind {
    /// Start anew.
    Reboot,
    /// Take the lock of this id off, as the device is still where it was.
    Remediate,
    /// Take the lock of this id off, as the device was inspected.
    Unlock,
}

/// The answer to "is the device still at its site?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remediation {
    /// It is: the lock is taken off.
    SameSite,
    /// It is not: the device is deactivated, and activated where it is.
    DifferentSite,
}

/// `SameSite@<what>` or `DifferentSite@<what>`: an answer and what it answers.
pub fn parse_remediation(text: &str) -> Option<(Remediation, &str)> {
    let (answer, what) = text.split_once('@')?;
    let answer = match answer {
        "SameSite" => Remediation::SameSite,
        "DifferentSite" => Remediation::DifferentSite,
        _ => return None,
    };
    (!what.is_empty()).then_some((answer, what))
}

/// `SameSite@<time>`: every lock for a long absence at the site that began by then is answered. Devices that are elsewhere are
/// told one by one.
pub fn parse_site_remediation(text: &str) -> Option<Timestamp> {
    match parse_remediation(text)? {
        (Remediation::SameSite, time) => time.parse().ok(),
        (Remediation::DifferentSite, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_what_it_answers() {
        assert_eq!(parse_remediation("SameSite@lock-1"), Some((Remediation::SameSite, "lock-1")));
        assert_eq!(parse_remediation("DifferentSite@lock-1"), Some((Remediation::DifferentSite, "lock-1")));
        for text in ["", "SameSite", "SameSite@", "samesite@lock-1", "Elsewhere@lock-1"] {
            assert_eq!(parse_remediation(text), None, "{text}");
        }
    }

    #[test]
    fn a_site_answers_up_to_a_time_and_only_that_devices_are_where_they_were() {
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        assert_eq!(parse_site_remediation("SameSite@2026-01-01T12:00:00Z"), Some(noon));
        assert_eq!(parse_site_remediation("SameSite@yesterday"), None);
        assert_eq!(parse_site_remediation("DifferentSite@2026-01-01T12:00:00Z"), None);
    }

    #[test]
    fn only_an_absence_can_be_answered_without_an_inspection() {
        assert!(LockReason::Tamper.takes_inspection() && LockReason::Cloned.takes_inspection());
        assert!(!LockReason::MaximumOfflineTime.takes_inspection());
    }
}
