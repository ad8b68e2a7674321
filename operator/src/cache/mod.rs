//! What the API server holds, as far as the watches have told, and as far as our own writes are newer.
//!
//! # Guarantees
//! An object never goes back to an older version: what one of our writes returned is seen by the next read, also when
//! the watch is late (read your own writes). A relist replaces objects one by one, so two copies never stand side by side.
//!
//! # Assumptions
//! Resource versions of one kind are numbers that grow (KEP-5504; true of etcd ever since).

mod change;
mod kind;
mod machines;
mod name;
mod people;
mod rank;
mod watch;
mod world;

pub use change::{Change, Reference, SecretOf, grant_owner};
pub use kind::{Found, KindCache, Observed, version_of};
pub use machines::Machines;
pub use name::{Kind, Name, Scope};
pub use rank::Ranks;
pub use watch::{Watches, watch_all};
pub use world::{SecretMeta, World};
