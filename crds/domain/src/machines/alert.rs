//! Pure: the life of an alert, and the closure codes that it ends with.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MachineState;

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

impl fmt::Display for AlertPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raised => "Raised",
            Self::Acknowledged => "Acknowledged",
            Self::Resolved => "Resolved",
        })
    }
}

/// Something that happened to an alert after it was raised: the fact that an event is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertTransition {
    /// Counts the transitions of one alert, from 1.
    #[schemars(range(min = 1))]
    pub sequence: i64,
    /// When the operator saw it (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// What changed to what.
    #[serde(flatten)]
    pub change: AlertChange,
}

/// What changed to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum AlertChange {
    /// The state of the position.
    State {
        /// Before.
        previous: MachineState,
        /// After.
        current: MachineState,
    },
    /// Where the alert stands.
    Phase {
        /// Before.
        previous: AlertPhase,
        /// After.
        current: AlertPhase,
    },
}

// Written by hand: a structural schema (what Kubernetes takes) has no room for a tagged union.
impl JsonSchema for AlertChange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AlertChange".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = |text: &str| {
            serde_json::json!({
                "description": text,
                "type": "string",
                "enum": ["Unknown", "Healthy", "Warning", "Alarm", "Raised", "Acknowledged", "Resolved"],
            })
        };
        schemars::json_schema!({
            "type": "object",
            "required": ["kind", "previous", "current"],
            "properties": {
                "kind": { "description": "What changed.", "type": "string", "enum": ["State", "Phase"] },
                "previous": value("The value before."),
                "current": value("The value after."),
            },
        })
    }
}

/// Adds `changes` at `now` to the record, which may then exceed [`KEPT_TRANSITIONS`](crate::transition::KEPT_TRANSITIONS).
pub fn record_alert_changes(
    transitions: &mut Vec<AlertTransition>,
    changes: impl IntoIterator<Item = AlertChange>,
    now: Timestamp,
) {
    for change in changes {
        let sequence = transitions.last().map_or(0, |last| last.sequence) + 1;
        transitions.push(AlertTransition { sequence, time: now, change });
    }
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
