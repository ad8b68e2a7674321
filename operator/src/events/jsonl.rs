//! Events as JSON documents, one a line: in a file or on standard output.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use fleetform_domain::event::Event;
use serde::Deserialize;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::settings::EventSink;

/// A sink of JSON lines. A file is its own memory of what it holds; standard output has none.
#[derive(Debug)]
pub struct JsonLines {
    file: Option<File>,
    /// Where an attempt began that failed: what it left behind is cut off before the next one.
    torn_at: Option<u64>,
    held: Option<HashSet<Uuid>>,
}

#[derive(Deserialize)]
struct Held {
    id: Uuid,
}

impl JsonLines {
    /// Opens the sink. A half line that a crash left at the end of a file is ended, so that the next line is whole.
    pub async fn open(sink: &EventSink) -> io::Result<Self> {
        let EventSink::File(path) = sink else { return Ok(Self { file: None, torn_at: None, held: None }) };
        let (held, ends_in_line) = read(path).await?;
        let mut file = OpenOptions::new().create(true).append(true).open(path).await?;
        if !ends_in_line {
            file.write_all(b"\n").await?;
        }
        Ok(Self { file: Some(file), torn_at: None, held: Some(held) })
    }

    /// Ids of the events that the sink held when it was opened, if it can tell.
    pub fn held(&mut self) -> Option<HashSet<Uuid>> {
        self.held.take()
    }

    /// Writes the events and makes sure that they stay. What an attempt that failed left behind is cut off first, so that no
    /// line is half of one and half of another.
    pub async fn write(&mut self, events: impl Iterator<Item = &Event>) -> io::Result<()> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event)?;
            lines.push(b'\n');
        }
        let Some(file) = &mut self.file else {
            let mut out = tokio::io::stdout();
            out.write_all(&lines).await?;
            return out.flush().await;
        };
        if let Some(length) = self.torn_at {
            file.set_len(length).await?;
        }
        self.torn_at = Some(file.metadata().await?.len());
        file.write_all(&lines).await?;
        file.flush().await?;
        file.sync_data().await?;
        self.torn_at = None;
        Ok(())
    }
}

async fn read(path: &Path) -> io::Result<(HashSet<Uuid>, bool)> {
    let text = match tokio::fs::read(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let ids = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Held>(line).ok());
    Ok((ids.map(|held| held.id).collect(), text.last().is_none_or(|last| *last == b'\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_knows_what_it_holds_and_half_a_line_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        std::fs::write(&path, "{\"id\":\"0f5e6c1e-0000-4000-8000-000000000001\"}\n{\"id\":\"0f5e").unwrap();
        let mut sink = JsonLines::open(&EventSink::File(path.clone())).await.unwrap();
        assert_eq!(sink.held().unwrap().len(), 1);
        sink.write(std::iter::empty()).await.unwrap();
        drop(sink);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("{\"id\":\"0f5e\n"));
    }

    #[tokio::test]
    async fn what_a_failed_attempt_left_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut sink = JsonLines::open(&EventSink::File(path.clone())).await.unwrap();
        std::fs::write(&path, "{\"whole\":1}\n{\"half\":").unwrap();
        sink.torn_at = Some(12);
        sink.write(std::iter::empty()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"whole\":1}\n");
    }
}
