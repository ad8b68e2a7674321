//! Pure: the state of a machine, or of one position at it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a machine, or of one position at it. Those that are worse are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum MachineState {
    /// It cannot be told: nothing was measured yet, or the sensor or its gateway is silent.
    #[default]
    Unknown,
    /// Zones A and B: unrestricted long-term operation.
    Healthy,
    /// Zone C: not for long-term operation; remedial action at the next opportunity.
    Warning,
    /// Zone D: severe enough to cause damage.
    Alarm,
}

impl fmt::Display for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Healthy => "Healthy",
            Self::Warning => "Warning",
            Self::Alarm => "Alarm",
        })
    }
}
