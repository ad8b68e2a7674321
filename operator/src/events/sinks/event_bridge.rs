//! Amazon EventBridge. Limits and error codes are those of `PutEvents` in its API reference.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::primitives::{DateTime, DateTimeFormat};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use fleetform_domain::event::Event;
use fleetform_domain::id::Installation;
use futures::future::join_all;
use serde_json::json;

use super::super::backlog::Outgoing;
use super::{Answer, Became, Left, Sink};
use crate::aws::{self, Fault, fault};

/// Most entries of one call.
const ENTRIES: usize = 10;

/// Most bytes of one call, as EventBridge counts them.
const BYTES: usize = 256 * 1024;

/// Calls at once. EventBridge promises no order anyway.
const CALLS: usize = 8;

/// What the time of an entry counts for, in bytes.
const TIME_BYTES: usize = 14;

/// An event bus.
#[derive(Debug)]
pub(super) struct Bus {
    client: Client,
    name: String,
    /// It has taken an entry since this process began. Until then a call that it finds malformed is not the entries' fault.
    has_taken: AtomicBool,
}

impl Bus {
    /// The bus of this name or ARN, in this region or that of the installation.
    pub(super) async fn new(name: &str, region: Option<&str>, here: &Installation) -> Self {
        let config = aws::config(region.unwrap_or_else(|| here.region())).await;
        Self { client: Client::new(&config), name: name.to_owned(), has_taken: AtomicBool::new(false) }
    }

    /// Whether it is there, as far as one may know. An EventBridge that does not answer now may do so later.
    pub(super) async fn check(&self) -> io::Result<()> {
        let Err(error) = self.client.describe_event_bus().name(&self.name).send().await else { return Ok(()) };
        match fault(&error) {
            Fault::Code("ResourceNotFoundException") => Err(io::Error::other(format!(
                "there is no event bus {} in this region: create it, or correct eventBridge.bus or eventBridge.region",
                self.name
            ))),
            Fault::Code(code @ "ValidationException") => Err(io::Error::other(format!(
                "EventBridge finds {} no name of an event bus ({code}): correct eventBridge.bus",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    /// What became of the entries of one call, of which the first is at this place. One that makes EventBridge refuse a whole call for good is
    /// found by sending each alone.
    async fn put_chunk(&self, entries: &[PutEventsRequestEntry], at: usize) -> Left {
        let mut left = self.call(entries, at).await;
        let is_malformed = left.refused.len() == entries.len();
        if is_malformed && entries.len() > 1 {
            left = Left::default();
            for (place, entry) in (at..).zip(entries) {
                left.join(self.call(std::slice::from_ref(entry), place).await);
            }
        }
        if left.refused.len() == entries.len() && !self.has_taken.load(Ordering::Relaxed) {
            // Nothing that it ever saw is right: it is not the events.
            left = Left::default();
            let why = "EventBridge finds every call wrong (ValidationException): see eventBridge.bus of the sink";
            (at..at + entries.len()).for_each(|place| left.again(place, why));
        }
        left
    }

    async fn call(&self, entries: &[PutEventsRequestEntry], at: usize) -> Left {
        let mut left = Left::default();
        let sent = self.client.put_events().set_entries(Some(entries.to_vec())).send().await;
        match sent {
            Ok(answer) => {
                for (place, entry) in (at..at + entries.len()).zip(answer.entries()) {
                    self.has_taken.fetch_or(entry.error_code().is_none(), Ordering::Relaxed);
                    left.note(place, entry.error_code().map_or(Became::Taken, became));
                }
                // Entries that are not answered are not known to be there.
                for place in at + answer.entries().len()..at + entries.len() {
                    left.again(place, "EventBridge did not answer for every entry".to_owned());
                }
            }
            Err(error) if matches!(fault(&error), Fault::Code("ValidationException")) => {
                let why = "EventBridge finds it wrong (ValidationException)";
                (at..at + entries.len()).for_each(|place| left.refused.push((place, why.to_owned())));
            }
            Err(error) => {
                let why = match fault(&error) {
                    Fault::Credentials => aws::NO_CREDENTIALS.to_owned(),
                    Fault::Throttled => "EventBridge answers that there are too many requests".to_owned(),
                    Fault::Code("AccessDeniedException") => {
                        "EventBridge denies the operator events:PutEvents on the bus: allow it".to_owned()
                    }
                    Fault::Code(code) => format!("EventBridge answers {code}"),
                    Fault::NoAnswer => "EventBridge does not answer".to_owned(),
                };
                (at..at + entries.len()).for_each(|place| left.again(place, why.clone()));
            }
        }
        left
    }
}

impl Sink for Bus {
    fn put<'a>(&'a mut self, events: &'a [Outgoing]) -> Answer<'a, Left> {
        Box::pin(async move {
            let entries: Vec<PutEventsRequestEntry> =
                events.iter().map(|outgoing| entry(&outgoing.event, &self.name)).collect();
            let sizes: Vec<usize> = entries.iter().map(size).collect();
            let mut left = Left::default();
            let is_too_large = |chunk: &Range<usize>| matches!(sizes[chunk.clone()], [only] if only > BYTES);
            let (too_large, fitting): (Vec<_>, Vec<_>) = chunks(&sizes).into_iter().partition(is_too_large);
            for chunk in too_large {
                let size = sizes[chunk.start];
                left.refused.push((chunk.start, format!("it has {size} bytes, and EventBridge takes {BYTES}")));
            }
            for some in fitting.chunks(CALLS) {
                if !left.again.is_empty() {
                    // What wants fewer requests, or does not answer, is not asked again at once.
                    left.again.extend(some.iter().flat_map(Range::clone));
                    continue;
                }
                let calls = some.iter().map(|chunk| self.put_chunk(&entries[chunk.clone()], chunk.start));
                join_all(calls).await.into_iter().for_each(|of_call| left.join(of_call));
            }
            Ok(left)
        })
    }
}

/// What became of an entry with this error.
fn became(code: &str) -> Became {
    match code {
        "InvalidArgument" | "MalformedDetail" | "ValidationException" => {
            Became::Refused(format!("EventBridge finds it wrong ({code})"))
        }
        "NotAuthorizedForSourceException" => Became::Again(
            "EventBridge takes no events of this source (NotAuthorizedForSourceException): choose another in the list of sinks".to_owned(),
        ),
        "ResourceNotFoundException" => {
            Became::Again("the event bus is gone (ResourceNotFoundException): create it again".to_owned())
        }
        code => Became::Again(format!("EventBridge could not take it now ({code})")),
    }
}

/// EventBridge makes version, account, region and an id of its own; ours, by which an event that comes twice is known, is in the detail.
fn entry(event: &Event, bus: &str) -> PutEventsRequestEntry {
    let mut detail = json!(event.detail);
    detail["id"] = json!(event.id);
    PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source(&event.source)
        .detail_type(&event.detail_type)
        .detail(detail.to_string())
        .set_resources(Some(event.resources.iter().map(ToString::to_string).collect()))
        .set_time(DateTime::from_str(&event.time, DateTimeFormat::DateTime).ok())
        .build()
}

/// The size of an entry, as EventBridge counts it.
fn size(entry: &PutEventsRequestEntry) -> usize {
    let texts = [entry.source(), entry.detail_type(), entry.detail()];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    TIME_BYTES + texts + entry.resources().iter().map(String::len).sum::<usize>()
}

/// Which entries of these sizes go into one call, in their order. One that is too large is alone.
fn chunks(sizes: &[usize]) -> Vec<Range<usize>> {
    let mut chunks: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (place, size) in sizes.iter().enumerate() {
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < ENTRIES && bytes + size <= BYTES => {
                chunk.end = place + 1;
                bytes += size;
            }
            _ => {
                chunks.push(place..place + 1);
                bytes = *size;
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests;
