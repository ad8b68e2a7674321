//! Events as JSON documents, one a line: in a file or on standard output.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use fleetform_domain::event::Event;
use serde::Deserialize;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use uuid::Uuid;

use crate::settings::EventSink;

/// A sink of JSON lines. A file is its own memory of what it holds; standard output has none.
#[derive(Debug)]
pub struct JsonLines {
    file: Option<File>,
    /// Where an attempt began that failed: what it left behind is cut off before the next one.
    torn_at: Option<u64>,
}

#[derive(Deserialize)]
struct Held {
    id: Uuid,
}

impl JsonLines {
    /// Whether the sink can be written to at all.
    pub async fn check(sink: &EventSink) -> io::Result<()> {
        match sink {
            EventSink::Stdout => Ok(()),
            EventSink::File(path) => append_to(path).await.map(drop),
        }
    }

    /// Opens the sink; and says which of the events that are `asked` about it holds already, if it can tell. A half line that
    /// a crash left at the end of a file is ended, so that the next line is whole.
    pub async fn open(sink: &EventSink, asked: &HashSet<Uuid>) -> io::Result<(Self, Option<HashSet<Uuid>>)> {
        let EventSink::File(path) = sink else { return Ok((Self { file: None, torn_at: None }, None)) };
        let mut file = append_to(path).await?;
        let (held, ends_in_line) = read(path, asked).await?;
        if !ends_in_line {
            file.write_all(b"\n").await?;
        }
        Ok((Self { file: Some(file), torn_at: None }, Some(held)))
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

async fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path).await
}

/// Line by line: a file may be larger than memory.
async fn read(path: &Path, asked: &HashSet<Uuid>) -> io::Result<(HashSet<Uuid>, bool)> {
    let mut lines = BufReader::new(File::open(path).await?);
    let (mut held, mut line, mut ends_in_line) = (HashSet::new(), Vec::new(), true);
    while lines.read_until(b'\n', &mut line).await? > 0 {
        ends_in_line = line.ends_with(b"\n");
        if let Ok(Held { id }) = serde_json::from_slice(&line)
            && asked.contains(&id)
        {
            held.insert(id);
        }
        line.clear();
    }
    Ok((held, ends_in_line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f5e6c1e-0000-4000-8000-000000000001";

    fn event() -> Event {
        serde_json::from_value(serde_json::json!({
            "version": "0", "id": ID, "detail-type": "Device Connectivity Changed To Online", "source": "aws.one",
            "account": "123456789012", "time": "2026-01-01T12:00:00Z", "region": "us-east-1",
            "resources": ["arn:aws:one:us-east-1:123456789012:device-instance/12345678901234"],
            "detail": {
                "version": "1.0.0",
                "metadata": {
                    "siteName": "S", "siteArn": "arn:aws:one:us-east-1:123456789012:site/12345678901234",
                },
                "data": {
                    "currentConnectivity": "CONNECTED", "previousConnectivity": "DISCONNECTED", "assetTagId": "1",
                    "deviceInstanceName": "D",
                },
            },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_file_knows_what_it_holds_and_half_a_line_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        std::fs::write(&path, "{\"id\":\"0f5e").unwrap();
        let (sink, asked) = (EventSink::File(path.clone()), HashSet::from([ID.parse().unwrap(), Uuid::nil()]));
        let (mut lines, held) = JsonLines::open(&sink, &asked).await.unwrap();
        assert_eq!(held, Some(HashSet::new()));
        lines.write([event()].iter()).await.unwrap();
        drop(lines);
        let (_, held) = JsonLines::open(&sink, &asked).await.unwrap();
        assert_eq!(held, Some(HashSet::from([ID.parse().unwrap()])));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(serde_json::from_str::<Event>(text.lines().last().unwrap()).unwrap(), event());
    }

    #[tokio::test]
    async fn what_a_failed_attempt_left_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let (mut lines, _) = JsonLines::open(&EventSink::File(path.clone()), &HashSet::new()).await.unwrap();
        std::fs::write(&path, "{\"whole\":1}\n{\"half\":").unwrap();
        lines.torn_at = Some(12);
        lines.write([event()].iter()).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"whole\":1}\n{\"version\":") && text.ends_with("}\n"), "{text}");
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_written_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(JsonLines::check(&EventSink::File(directory.path().to_path_buf())).await.is_err());
        assert!(JsonLines::check(&EventSink::Stdout).await.is_ok());
    }
}
