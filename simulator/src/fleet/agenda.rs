//! Pure: what is due when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Appointments in order of time. One that was overtaken stays in until its time comes and is told apart by its turn.
#[derive(Debug)]
pub(super) struct Agenda<T, K>(BinaryHeap<Reverse<(T, u64, K)>>);

impl<T: Ord + Copy, K: Ord> Default for Agenda<T, K> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<T: Ord + Copy, K: Ord> Agenda<T, K> {
    /// Adds an appointment.
    pub(super) fn add(&mut self, at: T, turn: u64, who: K) {
        self.0.push(Reverse((at, turn, who)));
    }

    /// The time of the next appointment.
    pub(super) fn next(&self) -> Option<T> {
        self.0.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next appointment off, if its time has come.
    pub(super) fn take_due(&mut self, now: T) -> Option<(u64, K)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, turn, who))| (turn, who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appointments_come_when_they_are_due_and_in_order() {
        let mut agenda = Agenda::default();
        for (at, who) in [(30, "c"), (10, "a"), (20, "b")] {
            agenda.add(at, 0, who);
        }
        assert_eq!(agenda.next(), Some(10));
        assert_eq!(agenda.take_due(9), None);
        assert_eq!(agenda.take_due(25), Some((0, "a")));
        assert_eq!(agenda.take_due(25), Some((0, "b")));
        assert_eq!(agenda.take_due(25), None);
        assert_eq!(agenda.take_due(30), Some((0, "c")));
        assert_eq!(agenda.next(), None);
    }
}
