//! The audit trail: records of what people and devices did, as `fleetform_domain::audit` makes them.

mod translate;

pub use translate::translate;
