//! Events. The fact is recorded first (a transition in a device instance's status, an alert and its transitions) and delivered then; the
//! event is a pure function of the record, so an event that is delivered twice is the same twice.
//!
//! # Guarantees
//! Every required sink gets every event at least once, whatever the others do; one that is not required goes without what stands nowhere any more.
//! What is recorded and not known to be with a sink is delivered after a restart; what a device tells is acknowledged when every required sink has it.

mod backlog;
pub mod config;
mod courier;
mod cursor;
mod dead_letters;
mod history;
mod marks;
mod object;
mod open_sink;
pub mod show;
mod sinks;
mod stored;
mod submit;
mod waiting;

use std::sync::Arc;

use fleetform_crds::{Alert, DeviceInstance};
use tokio::task::JoinSet;

use crate::context::Context;
use crate::error::Result;
pub use backlog::Backlog;
#[cfg(test)]
pub(crate) use history::Recorded;
pub use history::{FactKey, History};
pub use marks::{LATE, Marks};
use object::Object;
pub(crate) use sinks::check;
pub use submit::{NotDelivered, Submissions};

/// Begins to deliver to every sink, until the tasks are dropped.
pub fn deliver(context: &Context, tasks: &mut JoinSet<()>) {
    for place in 0..context.settings.events.sinks.len() {
        tasks.spawn(courier::run(context.clone(), place));
    }
    tasks.spawn(marks::keep(context.clone()));
}

/// Keeps the events that tell of these facts, which the device instance no longer keeps itself, until every required sink has them.
pub async fn keep_of_device(context: &Context, device: &DeviceInstance, facts: &[FactKey]) -> Result<()> {
    backlog::keep(context, &Object::Device(Arc::new(device.clone())), facts).await
}

/// The same, of an alert.
pub async fn keep_of_alert(context: &Context, alert: &Arc<Alert>, facts: &[FactKey]) -> Result<()> {
    backlog::keep(context, &Object::Alert(Arc::clone(alert)), facts).await
}

/// Keeps what a required sink has yet to hear of an alert that is about to be deleted.
pub async fn keep_untold_of_alert(context: &Context, alert: &Arc<Alert>) -> Result<()> {
    backlog::keep_untold(context, &Object::Alert(Arc::clone(alert))).await
}
