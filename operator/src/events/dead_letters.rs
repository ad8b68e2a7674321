//! What a sink refuses for good, with the reason, as JSON lines in a file of their own, which is rotated.

use std::io;

use fleetform_domain::event::Event;
use serde::Serialize;
use tokio::sync::Mutex;

use super::config::ROTATION;
use crate::context::Context;
use crate::jsonl::JsonLines;
use crate::settings::LineSink;

/// Held by who writes, so that no line stands within another.
static ONE_WRITES: Mutex<()> = Mutex::const_new(());

/// An event that a sink refused, and why.
#[derive(Serialize)]
struct DeadLetter<'a> {
    sink: &'a str,
    reason: &'a str,
    event: &'a Event,
}

/// Keeps events that a sink refused, with the reasons. Where there is no file for them only their ids are told, in the log.
pub(super) async fn keep(context: &Context, sink: &str, refused: &[(&Event, String)]) -> io::Result<()> {
    for (event, reason) in refused {
        context.metrics.event_refused(sink);
        tracing::error!(sink, id = %event.id, detail_type = event.detail_type, reason, "a sink refused an event for good");
    }
    let Some(path) = &context.settings.events.dead_letters else { return Ok(()) };
    let letters = refused.iter().map(|(event, reason)| DeadLetter { sink, reason, event });
    let _one_writes = ONE_WRITES.lock().await;
    JsonLines::open(&LineSink::File(path.clone()), Some(ROTATION)).await?.write(letters).await
}
