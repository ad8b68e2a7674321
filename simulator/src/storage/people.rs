//! Pure: what a device keeps of people until its gateway has acknowledged it.

use std::collections::VecDeque;

use fleetform_domain::wire::{DeviceText, RecognitionRequest};
use serde::{Deserialize, Serialize};

use super::Der;

/// Most that a device keeps for its gateway. When more comes, the oldest is lost.
pub const MAX_UNTOLD: usize = 64;

/// What a device keeps of people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeopleRecord {
    /// The sequence that was given to something last. None is given twice in the life of an association.
    pub sequence: u64,
    /// What is to be told yet, the oldest first.
    pub untold: VecDeque<Untold>,
    /// How much was lost since all was told last.
    pub lost: u64,
    /// The revision of the list of enrolled users that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_revision: Option<DeviceText>,
    /// When the gateway was there, while it holds a list: about the last time, in seconds since 1970 by its clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<u64>,
}

/// Something that the gateway is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Untold {
    /// How an enrollment ended, sealed by the device, as it has the badge and may have the palms.
    Enrollment {
        /// Of the message.
        sequence: u64,
        /// Whether the gateway is to decide about it: then the palms are in it.
        undecided: bool,
        /// The message.
        sealed: Der,
    },
    /// How a recognition ended.
    Recognition(RecognitionRequest),
}

impl Untold {
    /// Its sequence.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Enrollment { sequence, .. } => *sequence,
            Self::Recognition(recognition) => recognition.sequence,
        }
    }
}

impl PeopleRecord {
    /// Whether it holds an enrollment with palms, which the gateway is to decide about.
    pub fn keeps_enrollments(&self) -> bool {
        self.untold.iter().any(|kept| matches!(kept, Untold::Enrollment { undecided: true, .. }))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Keeps something new, made with its sequence. What cannot be made is lost.
    pub fn keep(&mut self, make: impl FnOnce(u64) -> Option<Untold>) {
        self.sequence += 1;
        if self.untold.len() >= MAX_UNTOLD {
            self.untold.pop_front();
            self.lost += 1;
        }
        match make(self.sequence) {
            Some(untold) => self.untold.push_back(untold),
            None => self.lost += 1,
        }
    }

    /// Whether it holds badges or palms, if only sealed.
    pub fn holds_people(&self) -> bool {
        self.untold.iter().any(|kept| matches!(kept, Untold::Enrollment { .. }))
    }

    /// What is kept with this sequence turned out otherwise.
    pub fn amend(&mut self, now: Untold) {
        if let Some(kept) = self.untold.iter_mut().find(|kept| kept.sequence() == now.sequence()) {
            *kept = now;
        }
    }

    /// Nothing of badges or palms is kept any more.
    pub fn forget_people(&mut self) {
        self.untold.retain(|kept| !matches!(kept, Untold::Enrollment { .. }));
    }

    /// The gateway has acknowledged what has these sequences.
    pub fn settle(&mut self, sequences: &[u64]) {
        self.untold.retain(|kept| !sequences.contains(&kept.sequence()));
    }
}

#[cfg(test)]
mod tests {
    use fleetform_domain::people::RecognitionFailure;
    use fleetform_domain::wire::PalmPresented;

    use super::*;

    fn told(sequence: u64, reason: RecognitionFailure) -> Untold {
        let palm = PalmPresented::NotRecognized { reason };
        Untold::Recognition(RecognitionRequest { sequence, time: "2026-01-01T00:00:00Z".parse().unwrap(), palm })
    }

    #[test]
    fn sequences_go_on_whatever_is_settled_and_a_record_reads_back() {
        let mut record = PeopleRecord::default();
        assert!(record.is_empty());
        for expected in 1..=3 {
            record.keep(|sequence| Some(told(sequence, RecognitionFailure::SystemError)));
            assert_eq!(record.untold.back().map(Untold::sequence), Some(expected));
        }
        record.settle(&[3]);
        record.settle(&[3]);
        record.amend(told(2, RecognitionFailure::Ambiguous));
        record.amend(told(3, RecognitionFailure::Ambiguous));
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<PeopleRecord>(&json).unwrap(), record);
        assert_eq!(record.untold, [told(1, RecognitionFailure::SystemError), told(2, RecognitionFailure::Ambiguous)]);
        assert!(!record.holds_people());
        record.keep(|sequence| Some(Untold::Enrollment { sequence, undecided: true, sealed: Der(vec![1]) }));
        assert_eq!(record.untold.back().map(Untold::sequence), Some(4));
        assert!(record.holds_people() && record.keeps_enrollments());
        record.amend(Untold::Enrollment { sequence: 4, undecided: false, sealed: Der(vec![2]) });
        assert!(record.holds_people() && !record.keeps_enrollments());
        assert_eq!(record.lost, 0);
        record.forget_people();
        assert!(!record.holds_people());
        record.keep(|_| None);
        assert_eq!((record.sequence, record.untold.len(), record.lost), (5, 2, 1));
    }

    #[test]
    fn when_it_is_full_the_oldest_is_lost_and_that_is_counted() {
        let mut record = PeopleRecord::default();
        for _ in 0..MAX_UNTOLD + 3 {
            record.keep(|sequence| Some(told(sequence, RecognitionFailure::SystemError)));
        }
        assert_eq!((record.untold.len(), record.lost), (MAX_UNTOLD, 3));
        assert_eq!(record.untold[0].sequence(), 4);
    }
}
