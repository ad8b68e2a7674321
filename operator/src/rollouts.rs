//! Which devices of which templates may take the revision that goes out. Not stored: after a restart the template's next look
//! admits the same devices again, because their order is fixed and what the others have is in their statuses.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use parking_lot::Mutex;

/// Admissions, by UID of the template.
#[derive(Debug, Default)]
pub struct Rollouts(Mutex<HashMap<String, Admission>>);

#[derive(Debug)]
struct Admission {
    revision: u32,
    devices: HashMap<String, Timestamp>,
}

impl Rollouts {
    /// The template with this UID lets these devices (by name) take its `revision` now.
    pub fn admit(&self, template_uid: &str, revision: u32, devices: &[String], now: Timestamp) {
        let mut admissions = self.0.lock();
        let admission = admissions
            .entry(template_uid.to_owned())
            .or_insert_with(|| Admission { revision, devices: HashMap::new() });
        if admission.revision != revision {
            *admission = Admission { revision, devices: HashMap::new() };
        }
        admission.devices.extend(devices.iter().map(|device| (device.clone(), now)));
    }

    /// The devices that may take this revision, and since when.
    pub fn admitted(&self, template_uid: &str, revision: u32) -> HashMap<String, Timestamp> {
        let admissions = self.0.lock();
        let admission = admissions.get(template_uid).filter(|admission| admission.revision == revision);
        admission.map(|admission| admission.devices.clone()).unwrap_or_default()
    }

    /// Whether this device may take this revision.
    pub fn admits(&self, template_uid: &str, revision: u32, device: &str) -> bool {
        let admissions = self.0.lock();
        admissions
            .get(template_uid)
            .is_some_and(|admission| admission.revision == revision && admission.devices.contains_key(device))
    }

    /// Forgets templates that are no more.
    pub fn retain(&self, lives: &HashSet<String>) {
        self.0.lock().retain(|template, _| lives.contains(template));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admission_is_for_one_revision() {
        let rollouts = Rollouts::default();
        rollouts.admit("t", 2, &["a".into()], Timestamp::UNIX_EPOCH);
        rollouts.admit("t", 2, &["b".into()], Timestamp::UNIX_EPOCH);
        assert!(rollouts.admits("t", 2, "a") && rollouts.admits("t", 2, "b"));
        assert!(!rollouts.admits("t", 1, "a") && !rollouts.admits("t", 2, "c") && !rollouts.admits("u", 2, "a"));
        rollouts.admit("t", 3, &["c".into()], Timestamp::UNIX_EPOCH);
        assert_eq!(rollouts.admitted("t", 2).len(), 0);
        assert_eq!(rollouts.admitted("t", 3).len(), 1);
        rollouts.retain(&HashSet::new());
        assert!(!rollouts.admits("t", 3, "c"));
    }
}
