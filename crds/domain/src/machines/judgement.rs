//! Pure: how the measurements of one sensor are judged.
//!
//! For each boundary an up-run is three measurements in a row (consecutive sequence numbers) above it, a down-run three in a row well
//! below it. The boundary is exceeded when the last up-run is later than the last down-run. So one outlier changes nothing, noise
//! at a boundary changes nothing back and forth, and neither order nor repetition of measurements matters.

use std::fmt;

use super::{MachineClass, MachineState, Reading};

/// So many measurements in a row make a run.
pub const RUN: u8 = 3;

/// A velocity is well below a boundary when it is below this share of it.
const VELOCITY_SHARE: f32 = 0.9;

/// A temperature is well below a limit when it is so many °C below it.
const TEMPERATURE_DISTANCE: f32 = 2.0;

/// What is normal for a machine, and what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its class: the boundaries of vibration follow from it.
    pub class: MachineClass,
    /// Temperatures in °C above which it is in `Warning` and `Alarm`, if temperature is judged.
    pub temperature: Option<[i32; 2]>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Vibration velocity, RMS, in mm/s.
    Velocity,
    /// Temperature of the housing, in °C.
    Temperature,
}

/// What the measurements of a sensor say.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// `Healthy`, `Warning` or `Alarm`.
    pub state: MachineState,
    /// Why it is not `Healthy`.
    pub causes: Vec<Cause>,
}

/// A boundary that is exceeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cause {
    /// Of what.
    pub quantity: Quantity,
    /// Its value, in the unit of the quantity.
    pub limit: f32,
    /// The last measurement of the last three in a row that were above it.
    pub measured: f32,
}

impl Verdict {
    /// What was measured, and what is normal, in words.
    pub fn in_words(&self, class: MachineClass) -> String {
        let zone = if self.state == MachineState::Alarm { 'D' } else { 'C' };
        let causes = self.causes.iter().map(|cause| match cause.quantity {
            Quantity::Velocity => format!(
                "vibration velocity (RMS) was above {} mm/s three times in a row, last {} mm/s: zone {zone} of ISO 20816 for {class}",
                cause.limit, cause.measured
            ),
            Quantity::Temperature => format!(
                "temperature was above {} °C three times in a row, last {} °C: the limit of {}",
                cause.limit, cause.measured, self.state
            ),
        });
        causes.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for MachineClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One boundary, while measurements are looked at from the last one backwards.
#[derive(Debug)]
struct Boundary {
    level: MachineState,
    quantity: Quantity,
    limit: f32,
    well_below: f32,
    above: u8,
    below: u8,
    /// The last measurement of the run above it that is being counted.
    last: f32,
    /// Whether it is exceeded, as soon as that is known.
    exceeded: Option<bool>,
}

impl Boundary {
    fn new(level: MachineState, quantity: Quantity, limit: f32) -> Self {
        let well_below = match quantity {
            Quantity::Velocity => limit * VELOCITY_SHARE,
            Quantity::Temperature => limit - TEMPERATURE_DISTANCE,
        };
        Self { level, quantity, limit, well_below, above: 0, below: 0, last: limit, exceeded: None }
    }

    fn interrupt(&mut self) {
        (self.above, self.below) = (0, 0);
    }

    fn look(&mut self, reading: &Reading) {
        let value = match self.quantity {
            Quantity::Velocity => reading.velocity,
            Quantity::Temperature => reading.temperature,
        };
        if value > self.limit {
            if self.above == 0 {
                self.last = value;
            }
            (self.above, self.below) = (self.above + 1, 0);
        } else if value < self.well_below {
            (self.above, self.below) = (0, self.below + 1);
        } else {
            self.interrupt();
        }
        // A run that is met first ends last.
        if self.above == RUN {
            self.exceeded = Some(true);
        } else if self.below == RUN {
            self.exceeded = Some(false);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "boundaries are small; measurements are kept as precisely")]
fn boundaries(limits: &Limits) -> Vec<Boundary> {
    let [_, warning, alarm] = limits.class.boundaries().map(|boundary| boundary as f32);
    let levels = [MachineState::Warning, MachineState::Alarm];
    let velocity =
        levels.into_iter().zip([warning, alarm]).map(|(level, at)| Boundary::new(level, Quantity::Velocity, at));
    let temperature = limits.temperature.into_iter().flat_map(|limits| {
        levels.into_iter().zip(limits).map(|(level, at)| Boundary::new(level, Quantity::Temperature, degrees(at)))
    });
    velocity.chain(temperature).collect()
}

/// Whole degrees; beyond ±32,767 none are distinguished, and none are stored.
fn degrees(celsius: i32) -> f32 {
    f32::from(i16::try_from(celsius).unwrap_or(if celsius < 0 { i16::MIN } else { i16::MAX }))
}

/// Judges the measurements, which come by their sequence numbers. A boundary of which they say nothing either way is exceeded when the
/// state that is `known` says so: what is near a boundary stays as it was, whatever was forgotten. None when they say nothing at all:
/// there are no three in a row. When they were taken plays no part: clocks may be wrong.
pub fn judge<'a>(
    readings: impl DoubleEndedIterator<Item = &'a Reading>,
    limits: &Limits,
    known: MachineState,
) -> Option<Verdict> {
    let mut boundaries = boundaries(limits);
    let (mut next, mut in_a_row, mut says_something) = (None, 0, false);
    for reading in readings.rev() {
        if next.replace(reading.sequence).and_then(|next: u64| next.checked_sub(1)) != Some(reading.sequence) {
            in_a_row = 0;
            boundaries.iter_mut().for_each(Boundary::interrupt);
        }
        in_a_row += 1;
        says_something |= in_a_row >= u32::from(RUN);
        let undecided = boundaries.iter_mut().filter(|boundary| boundary.exceeded.is_none());
        undecided.for_each(|boundary| boundary.look(reading));
        if boundaries.iter().all(|boundary| boundary.exceeded.is_some()) {
            break;
        }
    }
    if !says_something {
        return None;
    }
    let is_exceeded = |boundary: &&Boundary| boundary.exceeded.unwrap_or(known >= boundary.level);
    let exceeded: Vec<&Boundary> = boundaries.iter().filter(is_exceeded).collect();
    let state = exceeded.iter().map(|boundary| boundary.level).max().unwrap_or(MachineState::Healthy);
    let worst = exceeded.into_iter().filter(|boundary| boundary.level == state);
    let cause =
        |boundary: &Boundary| Cause { quantity: boundary.quantity, limit: boundary.limit, measured: boundary.last };
    Some(Verdict { state, causes: worst.map(cause).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::Window;
    use crate::machines::window::tests::reading;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { class: MachineClass::ClassII, temperature: None };

    fn window(velocities: &[f32]) -> Window {
        let mut window = Window::default();
        for (velocity, sequence) in velocities.iter().zip(1..) {
            window.take(reading(sequence, *velocity));
        }
        window
    }

    fn state(velocities: &[f32]) -> Option<MachineState> {
        judge(window(velocities).readings(), &LIMITS, MachineState::Unknown).map(|verdict| verdict.state)
    }

    #[test]
    fn three_in_a_row_decide_and_fewer_do_not() {
        use MachineState::{Alarm, Healthy, Warning};
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[9.0, 9.0]), None, "two may be outliers");
        assert_eq!(state(&[1.0, 1.0, 1.0]), Some(Healthy));
        assert_eq!(state(&[1.0, 9.0, 1.0]), Some(Healthy), "three in a row of which one is an outlier");
        assert_eq!(state(&[1.0, 1.0, 1.0, 3.0, 3.0]), Some(Healthy));
        assert_eq!(state(&[1.0, 1.0, 1.0, 3.0, 3.0, 3.0]), Some(Warning));
        assert_eq!(state(&[3.0, 8.0, 8.0, 8.0]), Some(Alarm));
        assert_eq!(state(&[8.0, 8.0, 8.0, 3.0, 3.0, 3.0]), Some(Warning), "no longer an alarm");
        assert_eq!(state(&[3.0, 3.0, 3.0, 1.0, 1.0, 1.0]), Some(Healthy));
        assert_eq!(state(&[3.0, 3.0, 3.0, 2.7, 2.7, 2.7, 2.7]), Some(Warning), "just below is not well below");
        assert_eq!(state(&[2.8, 2.8, 2.8]), Some(Healthy), "a value at a boundary is in the better zone");
    }

    #[test]
    fn what_is_near_a_boundary_stays_as_it_was_also_when_all_else_is_forgotten() {
        use MachineState::{Alarm, Healthy, Unknown, Warning};
        let state = |velocities: &[f32], known| {
            judge(window(velocities).readings(), &LIMITS, known).map(|verdict| verdict.state)
        };
        let near = [2.7, 2.7, 2.7];
        assert_eq!(state(&near, Warning), Some(Warning));
        assert_eq!(state(&near, Healthy), Some(Healthy));
        assert_eq!(state(&near, Unknown), Some(Healthy));
        assert_eq!(state(&near, Alarm), Some(Warning), "it is well below the next one");
        assert_eq!(state(&[1.0; 3], Alarm), Some(Healthy));
        assert_eq!(state(&[1.0; 2], Alarm), None);
    }

    #[test]
    fn a_gap_ends_a_run() {
        let mut window = window(&[3.0, 3.0]);
        window.take(reading(4, 3.0));
        window.take(reading(5, 3.0));
        assert_eq!(judge(window.readings(), &LIMITS, MachineState::Unknown), None);
        window.take(reading(3, 1.0));
        assert_eq!(judge(window.readings(), &LIMITS, MachineState::Unknown).unwrap().state, MachineState::Healthy);
        window.take(reading(6, 3.0));
        assert_eq!(judge(window.readings(), &LIMITS, MachineState::Unknown).unwrap().state, MachineState::Warning);
    }

    #[test]
    fn temperature_is_judged_where_it_has_limits() {
        let mut window = Window::default();
        for (celsius, sequence) in [81.0, 82.0, 83.5, 79.0, 79.0, 79.0].into_iter().zip(1..) {
            window.take(Reading { temperature: celsius, ..reading(sequence, 1.0) });
        }
        assert_eq!(judge(window.readings(), &LIMITS, MachineState::Unknown).unwrap().state, MachineState::Healthy);
        let limits = Limits { temperature: Some([70, 80]), ..LIMITS };
        let verdict = judge(window.readings(), &limits, MachineState::Unknown).unwrap();
        insta::assert_snapshot!(verdict.in_words(limits.class), @"temperature was above 80 °C three times in a row, last 83.5 °C: the limit of Alarm");
        for sequence in 7..=9 {
            window.take(Reading { temperature: 77.0, ..reading(sequence, 1.0) });
        }
        assert_eq!(judge(window.readings(), &limits, MachineState::Unknown).unwrap().state, MachineState::Warning);
    }

    #[test]
    fn a_verdict_says_what_was_measured_and_what_is_normal() {
        let verdict = judge(window(&[7.0, 7.3, 7.9, 7.25]).readings(), &LIMITS, MachineState::Unknown).unwrap();
        insta::assert_snapshot!(verdict.in_words(LIMITS.class), @"vibration velocity (RMS) was above 7.1 mm/s three times in a row, last 7.25 mm/s: zone D of ISO 20816 for ClassII");
    }

    proptest! {
        #[test]
        fn neither_order_nor_repetition_changes_the_verdict(
            velocities in prop::collection::vec(prop::sample::select(vec![1.0_f32, 2.6, 3.0, 6.5, 8.0]), 0..60),
            missing in prop::collection::btree_set(0..60_usize, 0..10),
            keys in prop::collection::vec(any::<u32>(), 120),
        ) {
            let there: Vec<Reading> = velocities
                .iter()
                .zip(1_u64..)
                .enumerate()
                .filter(|(place, _)| !missing.contains(place))
                .map(|(_, (velocity, sequence))| reading(sequence, *velocity))
                .collect();
            let verdict = |order: &[Reading]| {
                let mut window = Window::default();
                for reading in order {
                    window.take(*reading);
                }
                judge(window.readings(), &LIMITS, MachineState::Unknown)
            };
            let mut twice: Vec<(u32, Reading)> = keys.iter().copied().zip(there.iter().chain(&there).copied()).collect();
            twice.sort_by_key(|(key, _)| *key);
            let twice: Vec<Reading> = twice.into_iter().map(|(_, reading)| reading).collect();
            prop_assert_eq!(verdict(&there), verdict(&twice));
        }

        #[test]
        fn noise_at_a_boundary_changes_the_state_once_at_most(
            velocities in prop::collection::vec(2.53_f32..3.1, 3..200),
        ) {
            let mut window = Window::default();
            let mut states = Vec::new();
            for (velocity, sequence) in velocities.iter().zip(1..) {
                window.take(reading(sequence, *velocity));
                states.extend(judge(window.readings(), &LIMITS, MachineState::Unknown).map(|verdict| verdict.state));
            }
            states.dedup();
            prop_assert!(states.len() <= 2, "{:?}", states);
            prop_assert!(states != [MachineState::Warning, MachineState::Healthy]);
        }
    }
}
