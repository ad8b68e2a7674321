//! How every listener of the process serves: one accept loop, every step bounded in time, in size and in number.
//!
//! # Guarantees
//! Hostile input neither panics a listener, nor hangs it, nor floods the log. On shutdown requests that run are finished,
//! up to a limit.

mod accept;
mod bucket;
mod connection;
mod extract;
mod problem;
mod shards;
mod stall;

pub use accept::{Application, Limits, Transport, serve};
pub use bucket::{Allowance, RateLimiter};
pub use connection::Peer;
pub use extract::{Json, MalformedQuery, json_body, query};
pub use problem::{Refusal, method_not_allowed, path_not_found};
pub use shards::Shards;

#[cfg(test)]
mod tests;
