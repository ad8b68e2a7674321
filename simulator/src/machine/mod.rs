//! Pure: machines, as the sensors on them feel it.
//!
//! What a sensor measures follows from a seed, the sensor, the number of the measurement, and what is wrong with the machine and the
//! sensor then: the same again each time.

mod cast;
mod fault;
mod floor;
#[cfg(test)]
mod tests;

pub use cast::SensorCast;
pub use fault::{MachineFault, SensorFault};
pub use floor::{Floor, Spot, Trouble, What};

/// Highest vibration velocity that a sensor measures, RMS, in mm/s.
pub const MAX_VELOCITY: f64 = 1_000.0;

/// Lowest and highest temperature that a sensor measures, in °C.
pub const TEMPERATURES: [f64; 2] = [-100.0, 300.0];

/// What a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Vibration velocity, RMS, in mm/s, 0 to [`MAX_VELOCITY`].
    pub velocity: f64,
    /// Temperature of the housing in °C, within [`TEMPERATURES`].
    pub temperature: f64,
}

impl Reading {
    /// As a sensor can tell it: within its bounds, in steps of 0.001 mm/s and 0.01 °C.
    fn sensed(self) -> Self {
        let [coldest, hottest] = TEMPERATURES;
        Self {
            velocity: (self.velocity.clamp(0.0, MAX_VELOCITY) * 1_000.0).round() / 1_000.0,
            temperature: (self.temperature.clamp(coldest, hottest) * 100.0).round() / 100.0,
        }
    }
}
