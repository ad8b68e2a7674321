//! Pure: which recorded transitions have been delivered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fleetform_crds::DeviceInstance;
use fleetform_domain::transition::Transition;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::transitions;
use crate::cache::Name;

/// A sink without a memory of its own gets again, at a start, what was recorded so shortly before.
const OVERLAP: SignedDuration = SignedDuration::from_secs(60);

/// What has been delivered of what the devices' statuses still show.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    delivered: HashMap<Name, Delivered>,
}

/// Of one device. Each transition by itself: after the restore of a backup, sequences are used again.
#[derive(Debug)]
struct Delivered {
    uid: String,
    transitions: Vec<(i64, Timestamp)>,
}

impl Cursor {
    /// Where delivery goes on after a start: what the sink holds, or what was recorded a while ago where it cannot tell, is
    /// delivered.
    pub(super) fn after_start(
        devices: &[Arc<DeviceInstance>],
        held: Option<&HashSet<Uuid>>,
        started: Timestamp,
    ) -> Self {
        let since = started - OVERLAP;
        let mut cursor = Self::default();
        for device in devices {
            let told = transitions(device).filter(|(id, transition)| match held {
                Some(held) => held.contains(id),
                None => transition.time < since,
            });
            cursor.note(device, told.map(|(_, transition)| key(transition)).collect());
        }
        cursor
    }

    /// The transitions of `device` that are still to be delivered.
    pub(super) fn pending<'a>(&self, device: &'a DeviceInstance) -> impl Iterator<Item = &'a Transition> {
        let known = self.delivered.get(&Name::of(device));
        let known = known.filter(|known| device.metadata.uid.as_ref() == Some(&known.uid));
        let recorded = device.status.iter().flat_map(|status| &status.transitions);
        recorded.filter(move |transition| known.is_none_or(|known| !known.transitions.contains(&key(transition))))
    }

    /// All transitions of `device` are delivered.
    pub(super) fn delivered(&mut self, device: &DeviceInstance) {
        let recorded = device.status.iter().flat_map(|status| &status.transitions);
        self.note(device, recorded.map(key).collect());
    }

    /// The device is gone.
    pub(super) fn forget(&mut self, name: &Name) {
        self.delivered.remove(name);
    }

    fn note(&mut self, device: &DeviceInstance, transitions: Vec<(i64, Timestamp)>) {
        let uid = device.metadata.uid.clone().unwrap_or_default();
        self.delivered.insert(Name::of(device), Delivered { uid, transitions });
    }
}

fn key(transition: &Transition) -> (i64, Timestamp) {
    (transition.sequence, transition.time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use fleetform_crds::DeviceInstanceStatus;
    use fleetform_domain::transition::{Change, Connectivity};

    fn device(uid: &str, seconds: &[i64]) -> Arc<DeviceInstance> {
        let mut device = fixtures::device(&serde_json::json!({}));
        device.metadata.uid = Some(uid.into());
        let (previous, current) = (Connectivity::Connected, Connectivity::Disconnected);
        let transitions = seconds.iter().zip(1..).map(|(second, sequence)| Transition {
            sequence,
            time: fixtures::noon() + SignedDuration::from_secs(*second),
            asset_tag_id: "1".into(),
            change: Change::Connectivity { previous, current },
        });
        device.status =
            Some(DeviceInstanceStatus { transitions: transitions.collect(), ..DeviceInstanceStatus::default() });
        Arc::new(device)
    }

    fn pending(cursor: &Cursor, device: &DeviceInstance) -> Vec<i64> {
        cursor.pending(device).map(|transition| transition.sequence).collect()
    }

    #[test]
    fn what_is_delivered_is_not_delivered_again_and_what_is_new_is() {
        let mut cursor = Cursor::default();
        assert_eq!(pending(&cursor, &device("a", &[0, 1])), [1, 2]);
        cursor.delivered(&device("a", &[0, 1]));
        assert_eq!(pending(&cursor, &device("a", &[0, 1, 2])), [3]);
        assert_eq!(pending(&cursor, &device("b", &[0])), [1], "another device of the same name");
        assert_eq!(pending(&cursor, &device("a", &[0, 7])), [2], "a restored backup uses sequences again");
        cursor.forget(&Name::of(&*device("a", &[])));
        assert_eq!(pending(&cursor, &device("a", &[0])), [1]);
    }

    #[test]
    fn after_a_start_a_file_says_what_it_holds() {
        let device = device("a", &[0, 1, 2]);
        let ids: Vec<Uuid> = transitions(&device).map(|(id, _)| id).collect();
        let held = HashSet::from([ids[0], ids[2]]);
        let cursor = Cursor::after_start(&[Arc::clone(&device)], Some(&held), fixtures::noon());
        assert_eq!(pending(&cursor, &device), [2], "also one that is missing in the middle");
    }

    #[test]
    fn after_a_start_without_a_memory_the_last_minute_is_told_again() {
        let device = device("a", &[-300, -61, -59]);
        let cursor = Cursor::after_start(&[Arc::clone(&device)], None, fixtures::noon());
        assert_eq!(pending(&cursor, &device), [3]);
    }
}
