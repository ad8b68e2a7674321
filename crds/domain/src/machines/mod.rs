//! Pure: machines on the floor: how their vibration is judged, and the life of an alert.

mod alert;
mod class;
mod state;

pub use alert::{AlertPhase, FailureCause, FailureMode, MaintenanceAction};
pub use class::{MachineClass, Zone};
pub use state::MachineState;

/// Most positions that an asset has, each with one sensor.
pub const MAX_POSITIONS: usize = 20;

/// Most sensors that a gateway carries.
pub const MAX_SENSORS_PER_GATEWAY: usize = 100;
