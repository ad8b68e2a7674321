//! Downloads of software releases, as any client of the web makes them.

use std::io::{self, Read as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use fleetform_domain::hex;
use rustls::crypto::CryptoProvider;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, oneshot};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::TransportError;

/// Longest that a download may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// Longest that a server may keep silent, so that one that hangs does not keep others waiting.
const SILENCE: Duration = Duration::from_secs(30);

/// Most downloads at once in a program: a fleet that is told of a release at once shares the machine with its check-ins.
const AT_ONCE: usize = 32;

/// As much as is read at once.
const PIECE: usize = 64 * 1024;

/// Fetches releases. Servers are trusted as the machine trusts them; that a release is the right one is known by its digest and
/// signature.
#[derive(Debug)]
pub(super) struct Downloads {
    provider: Arc<CryptoProvider>,
    agent: OnceLock<Agent>,
    room: Arc<Semaphore>,
}

/// A download that goes on by itself. Dropped, it ends with the next piece that arrives.
#[derive(Debug)]
pub struct Download {
    progress: Arc<Progress>,
    outcome: oneshot::Receiver<Outcome>,
}

type Outcome = Result<Downloaded, TransportError>;

/// What was downloaded: as much of it as a device has to know. Thousands of simulated ones share one memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

#[derive(Debug, Default)]
struct Progress {
    arrived: AtomicU64,
    /// 0 while it is not known.
    total: AtomicU64,
}

impl Downloads {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, agent: OnceLock::new(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    fn agent(&self) -> &Agent {
        self.agent.get_or_init(|| {
            let roots = rustls_native_certs::load_native_certs().certs;
            let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
            let tls = TlsConfig::builder()
                .provider(TlsProvider::Rustls)
                .unversioned_rustls_crypto_provider(self.provider.clone())
                .root_certs(RootCerts::new_with_certs(&roots))
                .build();
            let config = Agent::config_builder().tls_config(tls).timeout_global(Some(PATIENCE));
            config.timeout_connect(Some(SILENCE)).timeout_per_read(Some(SILENCE)).build().into()
        })
    }

    /// Begins to fetch what lies at `url`, up to `limit` bytes, as soon as there is room.
    pub(super) fn begin(&self, url: &str, limit: usize) -> Download {
        let (agent, url, room) = (self.agent().clone(), url.to_owned(), Arc::clone(&self.room));
        let (mut wanted, outcome) = oneshot::channel();
        let progress = Arc::new(Progress::default());
        let noted = Arc::clone(&progress);
        tokio::spawn(async move {
            let place = tokio::select! {
                () = wanted.closed() => return,
                place = room.acquire_owned() => place,
            };
            let fetch = move || {
                let outcome = fetch(&agent, &url, limit, &noted, &wanted);
                drop(place);
                // Nobody listens when it was given up.
                let _ = wanted.send(outcome);
            };
            // A thread of its own stands still as long as the server does, and the program can end without it. Where there can be
            // none, what it would have sent never comes.
            if let Err(error) = thread::Builder::new().name("download".into()).spawn(fetch) {
                tracing::warn!(%error, "there is no thread for a download");
            }
        });
        Download { progress, outcome }
    }
}

impl Download {
    /// How many bytes have arrived, and how many there are, once that is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        let total = self.progress.total.load(Ordering::Relaxed);
        (self.progress.arrived.load(Ordering::Relaxed), (total > 0).then_some(total))
    }

    /// What came of it, waiting up to this long; none while it goes on. To be asked no more once it has answered.
    pub async fn outcome(&mut self, patience: Duration) -> Option<Result<Downloaded, TransportError>> {
        let outcome = tokio::time::timeout(patience, &mut self.outcome).await.ok()?;
        Some(outcome.unwrap_or_else(|_| Err(TransportError::Download(io::Error::other("it was given up")))))
    }
}

fn fetch(
    agent: &Agent,
    url: &str,
    limit: usize,
    progress: &Progress,
    wanted: &oneshot::Sender<Outcome>,
) -> Result<Downloaded, TransportError> {
    let most = limit as u64;
    let mut answer = agent.get(url).call().map_err(failed)?;
    let total = answer.body().content_length();
    if total.is_some_and(|total| total > most) {
        return Err(TransportError::TooLarge(limit));
    }
    progress.total.store(total.unwrap_or_default(), Ordering::Relaxed);
    let mut reader = answer.body_mut().as_reader();
    let (mut piece, mut bytes, mut hash) = (vec![0; PIECE], 0, Sha256::new());
    while !wanted.is_closed() {
        let read = match reader.read(&mut piece) {
            Ok(0) => return Ok(Downloaded { bytes, sha256: hex(&hash.finalize()) }),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error.into())),
        };
        bytes += read as u64;
        if bytes > most {
            return Err(TransportError::TooLarge(limit));
        }
        hash.update(&piece[..read]);
        progress.arrived.store(bytes, Ordering::Relaxed);
    }
    Err(TransportError::Download(io::Error::other("nobody wants it any more")))
}

fn failed(error: ureq::Error) -> TransportError {
    match error {
        ureq::Error::Timeout(_) => TransportError::TimedOut("download"),
        error => TransportError::Download(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{sleep, timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn server() -> (TcpListener, String, Downloads) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/reader.bin", listener.local_addr().unwrap());
        (listener, url, Downloads::new(Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
    }

    /// Takes a request, and answers with these first bytes.
    async fn answered(listener: &TcpListener, first: &str) -> TcpStream {
        let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(first.as_bytes()).await.unwrap();
        stream
    }

    async fn until(what: impl Fn() -> bool) {
        timeout(SOON, async {
            while !what() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn what_arrives_is_counted_as_it_arrives() {
        let (listener, url, downloads) = server().await;
        let mut download = downloads.begin(&url, 100);
        assert_eq!(download.progress(), (0, None));
        let mut stream = answered(&listener, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nthe so").await;
        until(|| download.progress() == (6, Some(12))).await;
        assert!(download.outcome(Duration::ZERO).await.is_none());
        stream.write_all(b"ftware").await.unwrap();
        let done = download.outcome(SOON).await.unwrap().unwrap();
        assert_eq!(done, Downloaded { bytes: 12, sha256: hex(&Sha256::digest(b"the software")) });
    }

    #[tokio::test]
    async fn what_is_too_large_cut_off_or_not_there_is_no_download() {
        for (answer, too_large) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", true),
            (&*format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(101)), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nthe so", false),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false),
        ] {
            let (listener, url, downloads) = server().await;
            let mut download = downloads.begin(&url, 100);
            drop(answered(&listener, answer).await);
            let error = download.outcome(SOON).await.unwrap().unwrap_err();
            assert_eq!(matches!(error, TransportError::TooLarge(100)), too_large, "{answer}: {error}");
        }
    }

    #[tokio::test]
    async fn so_many_run_at_once_and_one_that_is_dropped_makes_room_with_its_next_piece() {
        let (listener, url, downloads) = server().await;
        let mut begun = Vec::new();
        let mut streams = Vec::new();
        for _ in 0..AT_ONCE {
            begun.push(downloads.begin(&url, 100));
            streams.push(answered(&listener, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nthe so").await);
        }
        drop(downloads.begin(&url, 100));
        let next = downloads.begin(&url, 100);
        assert!(timeout(Duration::from_millis(200), listener.accept()).await.is_err(), "there is no room");
        assert_eq!(next.progress(), (0, None));
        begun.clear();
        for stream in &mut streams {
            stream.write_all(b"f").await.unwrap();
        }
        answered(&listener, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n.").await;
        assert!(timeout(Duration::from_millis(200), listener.accept()).await.is_err(), "what was dropped never began");
    }
}
