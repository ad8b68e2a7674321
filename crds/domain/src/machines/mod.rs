//! Pure: machines on the floor: how their vibration is judged, and the life of an alert.

mod alert;
mod class;
mod judgement;
mod state;
mod window;

pub use alert::{
    AlertChange, AlertPhase, AlertTransition, FailureCause, FailureMode, MaintenanceAction, record_alert_changes,
};
pub use class::{MachineClass, Zone};
pub use judgement::{Cause, Limits, Quantity, RUN, Verdict, judge};
pub use state::MachineState;
pub use window::{KEPT_READINGS, Reading, Taken, Window};

/// Most positions that an asset has, each with one sensor.
pub const MAX_POSITIONS: usize = 20;

/// Most sensors that a gateway carries.
pub const MAX_SENSORS_PER_GATEWAY: usize = 100;
