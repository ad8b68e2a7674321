//! Pure: the measurements of one sensor that are kept.

use std::collections::VecDeque;

use jiff::Timestamp;

/// Most measurements that are kept of one sensor: three weeks at one an hour, and 12 KiB.
pub const KEPT_READINGS: usize = 512;

/// One measurement, as it is kept: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Counts the sensor's measurements without a gap, from 1.
    pub sequence: u64,
    /// When it was measured, in milliseconds since 1970.
    pub millisecond: i64,
    /// Vibration velocity, RMS, in mm/s.
    pub velocity: f32,
    /// Temperature of the housing in °C.
    pub temperature: f32,
}

impl Reading {
    /// When it was measured.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.millisecond).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// What became of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new.
    New,
    /// It was taken before.
    Repeated,
    /// It is older than all that is kept, so it cannot be told whether it was taken before.
    TooOld,
}

/// The measurements of one sensor with the greatest sequence numbers, at most [`KEPT_READINGS`].
///
/// # Guarantees
/// What is kept does not depend on the order in which measurements come, nor on how often each does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window(VecDeque<Reading>);

impl Window {
    /// Takes a measurement.
    pub fn take(&mut self, reading: Reading) -> Taken {
        let place = self.0.partition_point(|kept| kept.sequence < reading.sequence);
        if self.0.get(place).is_some_and(|kept| kept.sequence == reading.sequence) {
            return Taken::Repeated;
        }
        if self.0.len() < KEPT_READINGS {
            // Once and for all: growing leaves as much behind in pieces that fit nothing.
            self.0.reserve_exact(KEPT_READINGS - self.0.len());
            self.0.insert(place, reading);
        } else if place == 0 {
            return Taken::TooOld;
        } else {
            self.0.pop_front();
            self.0.insert(place - 1, reading);
        }
        Taken::New
    }

    /// The measurements, by their sequence numbers.
    pub fn readings(&self) -> impl DoubleEndedIterator<Item = &Reading> + ExactSizeIterator {
        self.0.iter()
    }

    /// The measurement with the greatest sequence number.
    pub fn latest(&self) -> Option<&Reading> {
        self.0.back()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::machines) fn reading(sequence: u64, velocity: f32) -> Reading {
        let millisecond = 1_700_000_000_000 + i64::try_from(sequence).unwrap_or_default() * 1_000;
        Reading { sequence, millisecond, velocity, temperature: 20.0 }
    }

    #[test]
    fn what_was_taken_is_not_taken_again_and_what_is_too_old_is_told() {
        let mut window = Window::default();
        for sequence in 1..=512 {
            assert_eq!(window.take(reading(sequence, 1.0)), Taken::New);
        }
        assert_eq!(window.take(reading(1, 1.0)), Taken::Repeated);
        assert_eq!(window.take(reading(513, 1.0)), Taken::New);
        assert_eq!(window.take(reading(1, 1.0)), Taken::TooOld, "it may have been taken before");
        assert_eq!(window.take(reading(2, 1.0)), Taken::Repeated);
        assert_eq!(window.latest().map(|latest| latest.sequence), Some(513));
        assert_eq!(window.readings().len(), KEPT_READINGS);
    }

    #[test]
    fn a_reading_takes_24_bytes() {
        assert_eq!(size_of::<Reading>(), 24);
    }

    proptest! {
        #[test]
        fn what_is_kept_does_not_depend_on_order_or_repetition(
            sequences in prop::collection::btree_set(1..700_u64, 0..650),
            shuffled in any::<prop::sample::Selector>(),
            repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
        ) {
            let mut straight = Window::default();
            for sequence in &sequences {
                straight.take(reading(*sequence, 1.0));
            }
            let mut order: Vec<u64> = sequences.iter().copied().collect();
            if !order.is_empty() {
                order.extend(repeated.iter().map(|index| *index.get(&order)).collect::<Vec<_>>());
            }
            let mut otherwise = Window::default();
            let mut left = order;
            while !left.is_empty() {
                let next = *shuffled.select(&left);
                left.swap_remove(left.iter().position(|sequence| *sequence == next).unwrap());
                otherwise.take(reading(next, 1.0));
            }
            prop_assert_eq!(straight, otherwise);
        }
    }
}
