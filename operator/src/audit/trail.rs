//! The trail itself: records are handed in, and who hands one in hears when the sink has it. Many at once cost one write to the disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::audit::Record;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use crate::backoff;
use crate::jsonl::JsonLines;
use crate::settings::LineSink;
use crate::telemetry::Metrics;

/// How long a record is waited for.
const LIMIT: Duration = Duration::from_secs(5);

/// Longest time between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Most that is handed in and waits for the sink; who comes then waits before handing in.
const WAITING: usize = 1024;

/// Most that is written at once.
const BATCH: usize = 256;

/// The sink did not take a record in time: what it tells of must not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail did not take a record in time")]
pub struct NotWritten;

/// Where records are handed in.
#[derive(Debug)]
pub struct Trail {
    sender: mpsc::Sender<Entry>,
    receiver: Mutex<mpsc::Receiver<Entry>>,
}

#[derive(Debug)]
struct Entry {
    records: Vec<Record>,
    written: oneshot::Sender<()>,
    /// It has happened, so it is written also when nobody waits any more.
    has_happened: bool,
}

impl Entry {
    /// Whether it is to be written: it has happened, or somebody waits for it.
    fn is_wanted(&self) -> bool {
        self.has_happened || !self.written.is_closed()
    }
}

impl Default for Trail {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl Trail {
    /// Writes what is about to happen, and waits until it stays.
    ///
    /// # Errors
    /// When the sink is away. Then it must not happen: what nobody waits for any more is not written.
    pub async fn before(&self, records: Vec<Record>) -> Result<(), NotWritten> {
        self.hand_in(records, false).await
    }

    /// Writes what has happened, and waits a while until it stays. While the sink is away it is kept in memory, as far as there is room.
    pub async fn after(&self, record: Record) {
        let action = record.event_name.clone();
        if self.hand_in(vec![record], true).await.is_err() {
            tracing::error!(
                action,
                "an audit record was not written yet, and is lost if the operator ends before it is"
            );
        }
    }

    async fn hand_in(&self, records: Vec<Record>, has_happened: bool) -> Result<(), NotWritten> {
        if records.is_empty() {
            return Ok(());
        }
        let (written, heard) = oneshot::channel();
        let handed_in = async {
            self.sender.send(Entry { records, written, has_happened }).await.map_err(|_| NotWritten)?;
            heard.await.map_err(|_| NotWritten)
        };
        timeout(LIMIT, handed_in).await.unwrap_or(Err(NotWritten))
    }

    /// Waits for records, and takes as many as there are.
    async fn take(&self) -> Vec<Entry> {
        let mut receiver = self.receiver.lock().await;
        let mut taken = Vec::new();
        receiver.recv_many(&mut taken, BATCH).await;
        taken
    }

    /// Takes what came meanwhile, so that what is given up leaves memory, as far as there is room for what is not.
    async fn take_more(&self, entries: &mut Vec<Entry>) {
        let mut receiver = self.receiver.lock().await;
        while entries.len() < WAITING {
            let Ok(entry) = receiver.try_recv() else { return };
            if entry.is_wanted() {
                entries.push(entry);
            }
        }
    }
}

/// Writes records until it is dropped. A sink that fails is tried again.
pub async fn keep(trail: Arc<Trail>, to: LineSink, metrics: Arc<Metrics>) {
    let mut sink: Option<JsonLines> = None;
    loop {
        let mut entries = trail.take().await;
        let mut failures = 0;
        loop {
            entries.retain(Entry::is_wanted);
            match write(&to, &mut sink, &entries).await {
                Ok(records) => {
                    metrics.audit_written(records);
                    break;
                }
                Err(error) => {
                    failures += 1;
                    metrics.audit_failed();
                    let delay = backoff::delay(failures).min(LONGEST_RETRY);
                    tracing::error!(%error, "audit records were not written; tried again in {delay:?}");
                    tokio::time::sleep(delay).await;
                    trail.take_more(&mut entries).await;
                }
            }
        }
        for entry in entries {
            let _ = entry.written.send(());
        }
    }
}

/// How many records were written.
async fn write(to: &LineSink, sink: &mut Option<JsonLines>, entries: &[Entry]) -> io::Result<usize> {
    let records: Vec<&Record> = entries.iter().flat_map(|entry| &entry.records).collect();
    if records.is_empty() {
        return Ok(0);
    }
    let sink = match sink {
        Some(sink) => sink,
        None => sink.insert(JsonLines::open(to, None).await?),
    };
    sink.write(&records).await?;
    Ok(records.len())
}

#[cfg(test)]
mod tests {
    use fleetform_domain::audit::{Action, Actor, Deed, Identity, Members, Outcome, Resource, ResourceKind};

    use super::*;
    use crate::controllers::fixtures;

    fn record(name: &str) -> Record {
        let identity = Identity::User { name: "mary".into(), uid: None, credential: None, impersonator: None };
        let actor = Actor { identity, source: [127, 0, 0, 1].into(), user_agent: None };
        let resource = Resource::new(ResourceKind::Site, Some("library"), Some(name));
        let deed =
            Deed { action: Action::GetSiteAddress, resource, parameters: Members::new(), outcome: Outcome::Done };
        deed.record(&fixtures::installation(), &actor, fixtures::noon(), uuid::Uuid::nil())
    }

    #[tokio::test]
    async fn what_was_waited_for_is_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let trail = Arc::new(Trail::default());
        let keeper = tokio::spawn(keep(Arc::clone(&trail), LineSink::File(path.clone()), Arc::new(Metrics::new())));
        trail.before(vec![record("one"), record("two")]).await.unwrap();
        trail.after(record("three")).await;
        trail.before(Vec::new()).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, [record("one"), record("two"), record("three")]);
        keeper.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_sink_is_away_nothing_happens_and_what_has_happened_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("away/audit.jsonl");
        let trail = Arc::new(Trail::default());
        let keeper = tokio::spawn(keep(Arc::clone(&trail), LineSink::File(path.clone()), Arc::new(Metrics::new())));
        assert_eq!(trail.before(vec![record("one")]).await, Err(NotWritten));
        trail.after(record("two")).await;
        std::fs::create_dir(directory.path().join("away")).unwrap();
        // The next try may be later than who waits.
        while trail.before(Vec::from([record("four")])).await.is_err() {}
        trail.before(vec![record("three")]).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, [record("two"), record("four"), record("three")]);
        keeper.abort();
    }
}
