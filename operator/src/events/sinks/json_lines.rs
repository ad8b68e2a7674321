//! Events as JSON lines.

use std::collections::HashSet;
use std::io;

use uuid::Uuid;

use super::super::backlog::Outgoing;
use super::{Answer, Left, Sink};
use crate::jsonl::{self, JsonLines, Rotation};
use crate::settings::LineSink;

/// A file, or standard output.
#[derive(Debug)]
pub(super) struct Lines {
    to: LineSink,
    rotation: Rotation,
    sink: JsonLines,
}

impl Lines {
    /// Opens it.
    pub(super) async fn open(to: &LineSink, rotation: Rotation) -> io::Result<Self> {
        Ok(Self { to: to.clone(), rotation, sink: JsonLines::open(to, Some(rotation)).await? })
    }
}

impl Sink for Lines {
    fn put<'a>(&'a mut self, events: &'a [Outgoing]) -> Answer<'a, Left> {
        Box::pin(async move {
            self.sink.write(events.iter().map(|outgoing| &outgoing.event)).await.map(|()| Left::default())
        })
    }

    fn held<'a>(&'a self, asked: &'a HashSet<Uuid>) -> Answer<'a, Option<HashSet<Uuid>>> {
        Box::pin(jsonl::held(&self.to, self.rotation, asked))
    }
}
