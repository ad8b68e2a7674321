//! What happened as JSON documents, one a line: in a file or on standard output. Events and audit records are written so.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::settings::LineSink;

/// Held by who writes to standard output, so that no line stands within another.
static STDOUT: Mutex<()> = Mutex::const_new(());

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
    pub async fn check(sink: &LineSink) -> io::Result<()> {
        match sink {
            LineSink::Stdout => Ok(()),
            LineSink::File(path) => append_to(path).await.map(drop),
        }
    }

    /// Opens the sink. A half line that a crash left at the end of a file is ended, so that the next line is whole.
    pub async fn open(sink: &LineSink) -> io::Result<Self> {
        let LineSink::File(path) = sink else { return Ok(Self { file: None, torn_at: None }) };
        let mut file = append_to(path).await?;
        if !ends_in_line(path).await? {
            file.write_all(b"\n").await?;
        }
        Ok(Self { file: Some(file), torn_at: None })
    }

    /// Writes the documents and makes sure that they stay. What an attempt that failed left behind is cut off first, so that no
    /// line is half of one and half of another.
    pub async fn write(&mut self, documents: impl IntoIterator<Item = impl Serialize>) -> io::Result<()> {
        let mut lines = Vec::new();
        for document in documents {
            serde_json::to_writer(&mut lines, &document)?;
            lines.push(b'\n');
        }
        let Some(file) = &mut self.file else {
            let _one_writes = STDOUT.lock().await;
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

async fn ends_in_line(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path).await?;
    if file.metadata().await?.len() == 0 {
        return Ok(true);
    }
    file.seek(io::SeekFrom::End(-1)).await?;
    Ok(file.read_u8().await? == b'\n')
}

/// Which of the documents that are `asked` about, by their `id`, the sink holds already, if it can tell. Read line by line: a file may
/// be larger than memory.
pub(crate) async fn held(sink: &LineSink, asked: &HashSet<Uuid>) -> io::Result<Option<HashSet<Uuid>>> {
    let LineSink::File(path) = sink else { return Ok(None) };
    let mut lines = BufReader::new(File::open(path).await?);
    let (mut held, mut line) = (HashSet::new(), Vec::new());
    while lines.read_until(b'\n', &mut line).await? > 0 {
        if let Ok(Held { id }) = serde_json::from_slice(&line)
            && asked.contains(&id)
        {
            held.insert(id);
        }
        line.clear();
    }
    Ok(Some(held))
}

#[cfg(test)]
mod tests {
    use fleetform_domain::event::Event;

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
        let (sink, asked) = (LineSink::File(path.clone()), HashSet::from([ID.parse().unwrap(), Uuid::nil()]));
        let mut lines = JsonLines::open(&sink).await.unwrap();
        assert_eq!(held(&sink, &asked).await.unwrap(), Some(HashSet::new()));
        lines.write([event()]).await.unwrap();
        drop(lines);
        JsonLines::open(&sink).await.unwrap();
        assert_eq!(held(&sink, &asked).await.unwrap(), Some(HashSet::from([ID.parse().unwrap()])));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(serde_json::from_str::<Event>(text.lines().last().unwrap()).unwrap(), event());
    }

    #[tokio::test]
    async fn what_a_failed_attempt_left_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut lines = JsonLines::open(&LineSink::File(path.clone())).await.unwrap();
        std::fs::write(&path, "{\"whole\":1}\n{\"half\":").unwrap();
        lines.torn_at = Some(12);
        lines.write([event()]).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"whole\":1}\n{\"version\":") && text.ends_with("}\n"), "{text}");
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_written_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(JsonLines::check(&LineSink::File(directory.path().to_path_buf())).await.is_err());
        assert!(JsonLines::check(&LineSink::Stdout).await.is_ok());
    }
}
