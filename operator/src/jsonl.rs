//! What happened as JSON documents, one a line: in a file or on standard output. Events and audit records are written so.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::settings::LineSink;

/// Held by who writes to standard output, so that no line stands within another.
static STDOUT: Mutex<()> = Mutex::const_new(());

/// When a file is put aside for a new one: before it would become larger, and so many are kept beside it. The one put aside last ends in
/// `.1`, the one before in `.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Size in bytes. A single write may be larger.
    pub bytes: u64,
    /// How many are kept, from 1.
    pub keep: usize,
}

impl Rotation {
    /// The file that was put aside so many times ago.
    fn aside(path: &Path, times: usize) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{times}"));
        name.into()
    }

    /// Puts the file aside, and deletes the oldest.
    async fn rotate(self, path: &Path) -> io::Result<()> {
        for times in (1..self.keep).rev() {
            match tokio::fs::rename(Self::aside(path, times), Self::aside(path, times + 1)).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        tokio::fs::rename(path, Self::aside(path, 1)).await?;
        // The names are to stay, too.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).await?.sync_all().await
    }
}

/// A sink of JSON lines. A file is its own memory of what it holds; standard output has none.
#[derive(Debug)]
pub struct JsonLines {
    file: Option<File>,
    /// Where the file is, and when another one takes its place.
    rotated: Option<(PathBuf, Rotation)>,
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

    /// Opens the sink; without a rotation a file grows. A half line that a crash left at the end of a file is ended, so that the next line is whole.
    pub async fn open(sink: &LineSink, rotation: Option<Rotation>) -> io::Result<Self> {
        let LineSink::File(path) = sink else { return Ok(Self { file: None, rotated: None, torn_at: None }) };
        let mut file = append_to(path).await?;
        if !ends_in_line(path).await? {
            file.write_all(b"\n").await?;
        }
        let rotated = rotation.map(|rotation| (path.clone(), rotation));
        Ok(Self { file: Some(file), rotated, torn_at: None })
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
            self.torn_at = None;
        }
        let mut length = file.metadata().await?.len();
        if let Some((path, rotation)) = &self.rotated
            && length > 0
            && length + lines.len() as u64 > rotation.bytes
        {
            // Whoever moved the file away did what was to be done.
            if tokio::fs::try_exists(path).await? {
                rotation.rotate(path).await?;
            }
            *file = append_to(path).await?;
            length = file.metadata().await?.len();
        }
        self.torn_at = Some(length);
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

/// Which of the documents that are `asked` about, by their `id`, the sink holds already, if it can tell, those that were put aside included.
/// Read line by line: a file may be larger than memory.
pub(crate) async fn held(
    sink: &LineSink,
    rotation: Rotation,
    asked: &HashSet<Uuid>,
) -> io::Result<Option<HashSet<Uuid>>> {
    let LineSink::File(path) = sink else { return Ok(None) };
    let mut held = HashSet::new();
    let aside = (1..=rotation.keep).map(|times| Rotation::aside(path, times));
    for path in std::iter::once(path.clone()).chain(aside) {
        if held.len() == asked.len() {
            break;
        }
        let file = match File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let (mut lines, mut line) = (BufReader::new(file), Vec::new());
        while lines.read_until(b'\n', &mut line).await? > 0 {
            if let Ok(Held { id }) = serde_json::from_slice(&line)
                && asked.contains(&id)
            {
                held.insert(id);
            }
            line.clear();
        }
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
        let mut lines = JsonLines::open(&sink, None).await.unwrap();
        assert_eq!(held(&sink, ROTATION, &asked).await.unwrap(), Some(HashSet::new()));
        lines.write([event()]).await.unwrap();
        drop(lines);
        JsonLines::open(&sink, None).await.unwrap();
        assert_eq!(held(&sink, ROTATION, &asked).await.unwrap(), Some(HashSet::from([ID.parse().unwrap()])));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(serde_json::from_str::<Event>(text.lines().last().unwrap()).unwrap(), event());
    }

    /// Room for one event and no second.
    const ROTATION: Rotation = Rotation { bytes: 900, keep: 2 };

    #[tokio::test]
    async fn a_file_is_put_aside_before_it_grows_too_large_and_is_known_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let sink = LineSink::File(path.clone());
        let mut lines = JsonLines::open(&sink, Some(ROTATION)).await.unwrap();
        let events: Vec<Event> = (1..=4_u128).map(|id| Event { id: Uuid::from_u128(id), ..event() }).collect();
        for event in &events {
            lines.write([event]).await.unwrap();
        }
        let ids = |path: &Path| -> Vec<u128> {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().id.as_u128()).collect()
        };
        let aside = |times| Rotation::aside(&path, times);
        assert_eq!([ids(&path), ids(&aside(1)), ids(&aside(2)), ids(&aside(3))], [vec![4], vec![3], vec![2], vec![]]);
        let asked: HashSet<Uuid> = events.iter().map(|event| event.id).collect();
        let known = held(&sink, ROTATION, &asked).await.unwrap().unwrap();
        assert_eq!(known, asked.into_iter().filter(|id| id.as_u128() > 1).collect(), "the oldest is gone");
        // Somebody moves the file away: the next one is made when this one is full.
        std::fs::rename(&path, directory.path().join("theirs")).unwrap();
        lines.write([&events[0]]).await.unwrap();
        assert_eq!([ids(&path), ids(&aside(1))], [vec![1], vec![3]]);
    }

    #[tokio::test]
    async fn what_a_failed_attempt_left_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut lines = JsonLines::open(&LineSink::File(path.clone()), None).await.unwrap();
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
