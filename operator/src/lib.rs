//! The operator of Fleetform: controllers, device gateway and portal in one process.
//!
//! `ARCHITECTURE.md` at the root of the repository has the map of these rooms.

pub mod activation;
pub mod audit;
pub mod authority;
pub mod aws;
pub mod backoff;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod context;
pub mod controllers;
pub mod credentials;
pub mod crypto;
pub mod directory;
pub mod error;
pub mod events;
pub mod gateway;
pub mod guard;
pub mod invitation;
pub mod jsonl;
pub mod leader;
pub mod measurements;
pub mod people;
pub mod portal;
pub mod queue;
pub mod recent;
pub mod reconcile;
pub mod revisions;
pub mod rollouts;
pub mod run;
pub mod server;
pub mod settings;
pub mod telemetry;
pub mod vault;
