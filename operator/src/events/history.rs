//! Pure: how much of its past an object keeps, and what of it has to be kept elsewhere before it may go.

use fleetform_domain::machines::AlertTransition;
use fleetform_domain::transition::{KEPT_TRANSITIONS, Transition};
use jiff::Timestamp;

/// Tells a fact from others of the same object: its sequence and its time. Each by itself: after the restore of a backup, sequences
/// are used again.
pub type FactKey = (i64, Timestamp);

/// Whether a fact of this time was recorded before a mark, so that it is known to be told.
pub(super) fn is_before(mark: Option<Timestamp>, time: Timestamp) -> bool {
    mark.is_some_and(|mark| time < mark)
}

/// A fact that stands in the status of an object.
pub trait Recorded {
    /// Which one it is.
    fn key(&self) -> FactKey;
}

impl Recorded for Transition {
    fn key(&self) -> FactKey {
        (self.sequence, self.time)
    }
}

impl Recorded for AlertTransition {
    fn key(&self) -> FactKey {
        (self.sequence, self.time)
    }
}

/// What may go of what objects record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Every required sink has what was recorded before.
    pub passed: Option<Timestamp>,
    /// Whether there is room elsewhere for what objects no longer keep. Without it, changes that can be held back are.
    pub has_room: bool,
}

impl History {
    /// Whether so many changes more can be recorded and nothing is lost by it.
    pub fn takes(&self, recorded: &[impl Recorded], more: usize) -> bool {
        let surplus = (recorded.len() + more).saturating_sub(KEPT_TRANSITIONS);
        self.has_room || recorded.iter().take(surplus).all(|fact| self.has_passed(fact.key()))
    }

    /// Shortens the record to what an object keeps. Gives those of the facts that went which a required sink has yet to get: they are to be
    /// kept elsewhere before the object is written, whether or not there is room: what nobody could hold back is recorded. So that one write keeps
    /// many, more of them go than have to.
    pub fn shorten<T: Recorded>(&self, recorded: &mut Vec<T>) -> Vec<FactKey> {
        let surplus = recorded.len().saturating_sub(KEPT_TRANSITIONS);
        if recorded.iter().take(surplus).all(|fact| self.has_passed(fact.key())) {
            recorded.drain(..surplus);
            return Vec::new();
        }
        let gone = recorded.drain(..recorded.len() - KEPT_TRANSITIONS / 2).map(|fact| fact.key());
        gone.filter(|key| !self.has_passed(*key)).collect()
    }

    /// Whether every required sink has the event that tells of this fact.
    pub(super) fn has_passed(&self, (_, time): FactKey) -> bool {
        is_before(self.passed, time)
    }
}

#[cfg(test)]
mod tests {
    use fleetform_domain::transition::{Change, Connectivity};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Changes at the seconds from 1 on.
    fn recorded(count: i64) -> Vec<Transition> {
        let change = Change::Connectivity { previous: Connectivity::Connected, current: Connectivity::Disconnected };
        let one = |n| Transition { sequence: n, time: at(n), asset_tag_id: "1".into(), change: change.clone() };
        (1..=count).map(one).collect()
    }

    fn sequences(recorded: &[Transition]) -> Vec<i64> {
        recorded.iter().map(|transition| transition.sequence).collect()
    }

    #[test]
    fn what_every_sink_has_goes_one_by_one() {
        let history = History { passed: Some(at(3)), has_room: false };
        let mut record = recorded(34);
        assert!(history.takes(&record[..33], 1) && !history.takes(&record, 1));
        assert_eq!(history.shorten(&mut record), []);
        assert_eq!(sequences(&record), (3..=34).collect::<Vec<_>>());
        assert_eq!(history.shorten(&mut record), []);
        assert_eq!(record.len(), KEPT_TRANSITIONS);
    }

    #[test]
    fn what_a_sink_lacks_is_kept_elsewhere_many_at_once() {
        let history = History { passed: Some(at(3)), has_room: true };
        let mut record = recorded(35);
        assert!(history.takes(&record, 2));
        let kept: Vec<i64> = history.shorten(&mut record).into_iter().map(|(sequence, _)| sequence).collect();
        assert_eq!(kept, (3..=19).collect::<Vec<_>>(), "the first two are told");
        assert_eq!(sequences(&record), (20..=35).collect::<Vec<_>>());
    }

    #[test]
    fn without_room_changes_are_held_back_and_what_is_recorded_all_the_same_is_kept() {
        let history = History { passed: None, has_room: false };
        let mut record = recorded(33);
        assert!(!history.takes(&record[..32], 1) && history.takes(&record[..31], 1));
        assert_eq!(history.shorten(&mut record).len(), 17);
    }
}
