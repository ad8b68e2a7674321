//! Pure: which recorded facts have been delivered.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use uuid::Uuid;

use super::history::{FactKey, is_before};
use super::object::Object;
use crate::queue::Key;

/// What has been delivered of what the objects still show, by the ids of the events.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    delivered: HashMap<Key, Vec<Uuid>>,
    /// Where delivery began. Of objects that appear later, what was recorded before is not told: they read again, or were restored.
    since: Option<Timestamp>,
}

impl Cursor {
    /// Ids of the events about what was recorded since this mark.
    pub(super) fn asked(objects: &[Object], mark: Option<Timestamp>) -> impl Iterator<Item = Uuid> {
        let facts = objects.iter().flat_map(Object::facts);
        facts.filter(move |((_, time), _)| !is_before(mark, *time)).map(|(_, id)| id)
    }

    /// Where delivery goes on after a start: what the sink says that it holds is delivered, and what was recorded before its mark.
    pub(super) fn after_start(objects: &[Object], held: Option<&HashSet<Uuid>>, mark: Option<Timestamp>) -> Self {
        let told = |object: &Object| {
            let told = object
                .facts()
                .into_iter()
                .filter(|((_, time), id)| is_before(mark, *time) || held.is_some_and(|held| held.contains(id)));
            told.map(|(_, id)| id).collect()
        };
        Self { delivered: objects.iter().map(|object| (object.key(), told(object))).collect(), since: mark }
    }

    /// Delivery did not begin later than this: the clock was ahead then.
    pub(super) fn limit(&mut self, latest: Timestamp) {
        self.since = self.since.map(|since| since.min(latest));
    }

    /// The facts of `object` that are still to be delivered.
    pub(super) fn pending(&self, object: &Object) -> Vec<FactKey> {
        let key = object.key();
        let known = self.delivered.get(&key);
        let is_pending = |((_, time), id): &(FactKey, Uuid)| match known {
            Some(known) => !known.contains(id),
            None => !is_before(self.since, *time),
        };
        object.facts().into_iter().filter(is_pending).map(|(fact, _)| fact).collect()
    }

    /// Whether this event about this object is delivered, as far as is known.
    pub(super) fn has(&self, key: &Key, id: Uuid) -> bool {
        self.delivered.get(key).is_some_and(|known| known.contains(&id))
    }

    /// All facts of `object` are delivered.
    pub(super) fn delivered(&mut self, object: &Object) {
        self.delivered.insert(object.key(), object.facts().into_iter().map(|(_, id)| id).collect());
    }

    /// The object is gone.
    pub(super) fn forget(&mut self, key: &Key) {
        self.delivered.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use fleetform_crds::DeviceInstanceStatus;
    use fleetform_domain::transition::{Change, Connectivity, Transition};
    use jiff::SignedDuration;
    use std::sync::Arc;

    fn device(uid: &str, seconds: &[i64]) -> Object {
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
        Object::Device(Arc::new(device))
    }

    fn pending(cursor: &Cursor, device: &Object) -> Vec<i64> {
        cursor.pending(device).into_iter().map(|(sequence, _)| sequence).collect()
    }

    #[test]
    fn what_is_delivered_is_not_delivered_again_and_what_is_new_is() {
        let mut cursor = Cursor::default();
        assert_eq!(pending(&cursor, &device("a", &[0, 1])), [1, 2]);
        cursor.delivered(&device("a", &[0, 1]));
        assert_eq!(pending(&cursor, &device("a", &[0, 1, 2])), [3]);
        assert_eq!(pending(&cursor, &device("b", &[0])), [1], "another device of the same name");
        assert_eq!(pending(&cursor, &device("a", &[0, 7])), [2], "a restored backup uses sequences again");
        cursor.forget(&device("a", &[]).key());
        assert_eq!(pending(&cursor, &device("a", &[0])), [1]);
    }

    #[test]
    fn after_a_start_a_file_says_what_it_holds() {
        let device = device("a", &[0, 1, 2]);
        let ids: Vec<Uuid> = device.facts().into_iter().map(|(_, id)| id).collect();
        let held = HashSet::from([ids[0], ids[2]]);
        let cursor = Cursor::after_start(std::slice::from_ref(&device), Some(&held), None);
        assert_eq!(pending(&cursor, &device), [2], "also one that is missing in the middle");
    }

    #[test]
    fn after_a_start_what_was_recorded_since_the_mark_is_told_again() {
        let device = device("a", &[-300, -61, 0]);
        let objects = std::slice::from_ref(&device);
        let cursor = Cursor::after_start(objects, None, Some(fixtures::noon()));
        assert_eq!(pending(&cursor, &device), [3]);
        let asked: Vec<Uuid> = Cursor::asked(objects, Some(fixtures::noon())).collect();
        assert_eq!(asked, [device.facts()[2].1]);
        let held = asked.into_iter().collect();
        let cursor = Cursor::after_start(objects, Some(&held), Some(fixtures::noon()));
        assert!(pending(&cursor, &device).is_empty(), "but for what the sink has");
        let mut restored = device.clone();
        if let Object::Device(device) = &mut restored {
            Arc::make_mut(device).metadata.name = Some("restored".into());
        }
        assert_eq!(pending(&cursor, &restored), [3], "also of what appears later");
        assert_eq!(Cursor::asked(objects, None).count(), 3);
    }
}
