//! The audit trail: records of what people and devices did, as `fleetform_domain::audit` makes them.
//!
//! # Guarantees
//! What the portal hands out, it hands out only once the record of it stays. What devices did is recorded as long as the sink is away
//! for no longer than memory holds.

mod trail;
mod translate;

pub use trail::{NotWritten, Trail, keep};
pub use translate::{records, translate};
