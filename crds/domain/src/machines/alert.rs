//! Pure: the life of an alert, and the closure codes that it ends with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where an alert stands. It never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum AlertPhase {
    /// Nobody has taken it on yet.
    #[default]
    Raised,
    /// Somebody has.
    Acknowledged,
    /// Somebody said what it was and what was done.
    Resolved,
}

/// How the machine failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FailureMode {
    /// There was no failure.
    NoFailure,
    /// A blockage.
    Blockage,
    /// Cavitation.
    Cavitation,
    /// Corrosion.
    Corrosion,
    /// A deposit.
    Deposit,
    /// Imbalance.
    Imbalance,
    /// Poor or missing lubrication.
    Lubrication,
    /// Misalignment.
    Misalignment,
    /// Resonance.
    Resonance,
    /// A rotating part is loose.
    RotatingLooseness,
    /// The structure is loose.
    StructuralLooseness,
    /// A bearing.
    BearingDamage,
    /// A gear.
    GearDamage,
    /// An electric fault of the motor.
    ElectricalFault,
    /// Too hot.
    Overheating,
    /// Something else; say what in the notes.
    Other,
    /// It was not found out.
    Undetermined,
}

/// Why it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FailureCause {
    /// Its administration: planning, procedures, spare parts.
    Administration,
    /// Its design.
    Design,
    /// Its fabrication.
    Fabrication,
    /// Its maintenance.
    Maintenance,
    /// Its operation.
    Operation,
    /// Its quality.
    Quality,
    /// Wear.
    Wear,
    /// Something else; say what in the notes.
    Other,
    /// It was not found out.
    Undetermined,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MaintenanceAction {
    /// Nothing.
    NoAction,
    /// Adjusted.
    Adjust,
    /// Cleaned.
    Clean,
    /// Lubricated.
    Lubricate,
    /// Modified.
    Modify,
    /// Overhauled.
    Overhaul,
    /// Repaired.
    Repair,
    /// Replaced.
    Replace,
    /// Something else; say what in the notes.
    Other,
}
