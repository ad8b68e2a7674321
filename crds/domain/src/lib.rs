//! The domain of Fleetform: what fleets of door readers, gateways and sensors are, and how they behave.
//!
//! Everything here is pure: no Kubernetes, no runtime, no clock and no randomness. What needs the time takes it as
//! [`jiff::Timestamp`]; what needs randomness takes bytes. Operator and simulator share this crate and nothing else.

pub mod activation;
pub mod address;
pub mod admin;
pub mod audit;
pub mod configuration;
pub mod event;
mod hex;
pub mod id;
pub mod machines;
pub mod openapi;
pub mod operation;
pub mod people;
pub mod problem;
pub mod quota;
pub mod rollout;
mod schema;
pub mod tag;
pub mod transition;
pub mod wire;

pub use hex::hex;
