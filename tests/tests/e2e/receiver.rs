//! A receiver of `CloudEvents` that can die. What it stored stays, as on a disk.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use fleetform_domain::event::Event;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::project::LIMIT;
use super::serving::serve;

/// A receiver on a port of its own, which takes everything.
pub(crate) struct Receiver {
    port: u16,
    disk: Arc<Disk>,
    life: Mutex<Option<Life>>,
}

#[derive(Default)]
struct Disk {
    stored: Mutex<Vec<Value>>,
    /// It dies with the next events: when they are stored, and before it answers.
    is_doomed: AtomicBool,
}

/// From when it rises until it dies.
struct Life {
    death: CancellationToken,
    serving: AbortOnDropHandle<()>,
}

impl Receiver {
    /// One that is up.
    pub(crate) async fn open(port: u16) -> Result<Self> {
        let this = Self { port, disk: Arc::default(), life: Mutex::default() };
        this.rise().await?;
        Ok(this)
    }

    /// What it was sent, in the order in which it was stored.
    pub(crate) fn stored(&self) -> Vec<Value> {
        self.disk.stored.lock().clone()
    }

    /// The same as the events that they tell of.
    pub(crate) fn events(&self) -> Result<Vec<Event>> {
        self.stored().iter().map(told).collect()
    }

    /// It dies: nobody listens, and all its connections are gone.
    pub(crate) async fn die(&self) -> Result<()> {
        let life = self.life.lock().take();
        let Some(Life { death, serving }) = life else { return Ok(()) };
        death.cancel();
        serving.await.context("a receiver that was to die")
    }

    /// Waits until it dies with the next events: they are stored, and who sent them hears nothing.
    pub(crate) async fn die_before_it_answers(&self) -> Result<()> {
        self.disk.is_doomed.store(true, Ordering::SeqCst);
        let life = self.life.lock().take().context("a receiver that is up")?;
        let died =
            timeout(LIMIT, life.serving).await.context("the receiver was sent nothing that it could die with")?;
        died.context("a receiver that was to die")
    }

    /// It is there again, on the same port and with the same disk.
    pub(crate) async fn rise(&self) -> Result<()> {
        let at = (Ipv4Addr::LOCALHOST, self.port);
        let listener = TcpListener::bind(at).await.with_context(|| format!("listen on port {}", self.port))?;
        let death = CancellationToken::new();
        let (disk, dying) = (Arc::clone(&self.disk), death.clone());
        let take = service_fn(move |request| take(Arc::clone(&disk), dying.clone(), request));
        let ended = death.clone();
        let serving = tokio::spawn(async move {
            ended.run_until_cancelled(serve(listener, take)).await;
        });
        *self.life.lock() = Some(Life { death, serving: AbortOnDropHandle::new(serving) });
        Ok(())
    }
}

async fn take(disk: Arc<Disk>, death: CancellationToken, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    let sent = match serde_json::from_slice(&body)? {
        Value::Array(all) => all,
        one => vec![one],
    };
    disk.stored.lock().extend(sent);
    if disk.is_doomed.swap(false, Ordering::SeqCst) {
        death.cancel();
        bail!("the receiver died before it answered");
    }
    Ok(Response::builder().status(202).body(Full::new(Bytes::new()))?)
}

/// The event that a document tells of.
fn told(document: &Value) -> Result<Event> {
    ensure!(document["specversion"] == "1.0", "no CloudEvents 1.0: {document}");
    let event = json!({
        "version": "0",
        "id": document["id"],
        "detail-type": document["type"],
        "source": document["source"],
        "account": document["account"],
        "time": document["time"],
        "region": document["region"],
        "resources": [document["subject"]],
        "detail": document["data"],
    });
    serde_json::from_value(event).with_context(|| format!("it tells of no event: {document}"))
}
