//! Pure: what goes wrong with machines and with sensors, and how it shows over time.

use std::time::Duration;

const DAY: f64 = 86_400.0;

/// How much hotter a housing is that is worn out, in °C.
const WORN_HEAT: f64 = 20.0;

/// By how much a damaged bearing shakes more than a sound one at first; and how often that doubles in a day, and to what at most.
const BEARING_STEP: f64 = 2.2;
const BEARING_DOUBLINGS: f64 = 1.0;
const BEARING_MOST: f64 = 40.0;

/// How much hotter a damaged bearing is at first, by how much more after each day, and at most, in °C.
const BEARING_HEAT: f64 = 15.0;
const BEARING_HEAT_MOST: f64 = 45.0;

/// How long a housing takes to lose most (63 %) of the heat of a fault that was repaired.
const COOLING: f64 = 20.0 * 60.0;

/// What is wrong with a machine. Times are those of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MachineFault {
    /// It wears out: vibration rises exponentially from what is normal, and the housing gets warmer.
    Wear {
        /// Until it is worn out.
        over: Duration,
        /// Vibration velocity by then, RMS, in mm/s.
        to: f64,
    },
    /// A bearing is damaged: vibration rises at once and doubles every day, with impulses in between, and the housing gets hot.
    Bearing,
    /// A rotor is out of balance, as after maintenance that went wrong: vibration is higher, and stays so.
    Imbalance {
        /// Vibration velocity, RMS, in mm/s.
        to: f64,
    },
}

/// What is wrong with a sensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SensorFault {
    /// Its values are off, by more and more.
    Drift {
        /// Until they are off by all of it.
        over: Duration,
        /// By how much at last, in mm/s; too low, when negative.
        by: f64,
    },
    /// It says the same value over and over.
    Sticks,
    /// It is not heard: its battery is empty, or it is out of reach.
    Dead,
    /// It says each measurement a second time, after the next one was due.
    Repeats,
    /// Every third measurement arrives after the two that follow it.
    OutOfOrder,
}

/// How a machine with a fault differs from one without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Effect {
    /// Vibration velocity, RMS, in mm/s.
    pub(super) velocity: f64,
    /// How much hotter it is, in °C.
    pub(super) heat: f64,
}

impl MachineFault {
    /// What it does `age` after it began, where `normal` mm/s are normal.
    pub(super) fn effect(self, normal: f64, age: Duration) -> Effect {
        match self {
            Self::Wear { over, to } => {
                let share = share(age, over);
                Effect { velocity: normal * (to.max(normal) / normal).powf(share), heat: WORN_HEAT * share }
            }
            Self::Bearing => {
                let days = age.as_secs_f64() / DAY;
                let factor = BEARING_STEP * (days * BEARING_DOUBLINGS).exp2();
                let heat = (BEARING_HEAT * (1.0 + days)).min(BEARING_HEAT_MOST);
                Effect { velocity: normal * factor.min(BEARING_MOST), heat }
            }
            Self::Imbalance { to } => Effect { velocity: to.max(normal), heat: 0.0 },
        }
    }

    /// Whether single measurements stand out.
    pub(super) const fn is_impulsive(self) -> bool {
        matches!(self, Self::Bearing)
    }
}

/// What is left of heat so long after its cause was repaired.
pub(super) fn cooled(heat: f64, ago: Duration) -> f64 {
    heat * (-ago.as_secs_f64() / COOLING).exp()
}

/// How much of `over` has passed, 0 to 1.
pub(super) fn share(age: Duration, over: Duration) -> f64 {
    if age >= over { 1.0 } else { age.as_secs_f64() / over.as_secs_f64() }
}
