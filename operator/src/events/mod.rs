//! Events. The fact is recorded first (a transition in a device instance's status, an alert and its transitions) and delivered then; the
//! event is a pure function of the record, so an event that is delivered twice is the same twice.
//!
//! # Guarantees
//! Every sink gets every event at least once, whatever the others do. What is recorded and not known to be with a sink is delivered after a
//! restart; what a device tells is acknowledged when every required sink has it.

pub mod config;
mod courier;
mod cursor;
mod dead_letters;
mod marks;
mod object;
pub mod show;
mod sinks;
mod submit;

use tokio::task::JoinSet;

use crate::context::Context;
pub use marks::Marks;
pub(crate) use sinks::check;
pub use submit::{NotDelivered, Submissions};

/// Begins to deliver to every sink, until the tasks are dropped.
pub fn deliver(context: &Context, tasks: &mut JoinSet<()>) {
    for place in 0..context.settings.events.sinks.len() {
        tasks.spawn(courier::run(context.clone(), place));
    }
    tasks.spawn(marks::keep(context.clone()));
}
