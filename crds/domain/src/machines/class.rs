//! Pure: machine classes and their evaluation zones.
//!
//! Boundaries are broad-band vibration velocities on non-rotating parts, RMS, in mm/s: those of Classes I to IV from ISO 10816-1
//! (carried on as typical values by ISO 20816-1), those of Groups 1 and 2 from ISO 20816-3 (10 to 1,000 Hz).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of machine it is, and how it stands: which vibration is normal follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MachineClass {
    /// Small machines, such as electric motors up to 15 kW.
    ClassI,
    /// Medium machines, 15 to 75 kW, or up to 300 kW on special foundations.
    ClassII,
    /// Large machines on rigid, heavy foundations.
    ClassIII,
    /// Large machines on soft foundations.
    ClassIV,
    /// ISO 20816-3 Group 1 (above 300 kW, or shaft height of 315 mm and more), rigid support.
    Group1Rigid,
    /// ISO 20816-3 Group 1, flexible support.
    Group1Flexible,
    /// ISO 20816-3 Group 2 (above 15 up to 300 kW, or shaft height of 160 up to 315 mm), rigid support.
    Group2Rigid,
    /// ISO 20816-3 Group 2, flexible support.
    Group2Flexible,
}

/// Evaluation zone of ISO 20816. Those that are worse are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Zone {
    /// Newly commissioned machines.
    A,
    /// Acceptable for unrestricted long-term operation.
    B,
    /// Not acceptable for long-term continuous operation.
    C,
    /// Severe enough to cause damage to the machine.
    D,
}

impl MachineClass {
    /// The boundaries between the zones A and B, B and C, C and D, in mm/s RMS. A value at a boundary is in the better zone.
    pub const fn boundaries(self) -> [f64; 3] {
        match self {
            Self::ClassI => [0.71, 1.8, 4.5],
            Self::ClassII => [1.12, 2.8, 7.1],
            Self::ClassIII => [1.8, 4.5, 11.2],
            Self::ClassIV => [2.8, 7.1, 18.0],
            Self::Group1Rigid | Self::Group2Flexible => [2.3, 4.5, 7.1],
            Self::Group1Flexible => [3.5, 7.1, 11.0],
            Self::Group2Rigid => [1.4, 2.8, 4.5],
        }
    }
}
