//! The raw sinks: a bare client brings the same events in the same portions, and computes nothing.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request};
use fleetform_e2e::installation::{ACCOUNT, REGION};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::time::timeout;

use super::super::report::float;
use super::pace::DELIVERY;
use super::stub::Sent;
use super::wire::{JSON, TARGET, portions};

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Most bytes of an answer.
const MOST_BYTES: usize = 1 << 20;

/// Appends lines to a new file, as many at a time as the operator, and has each portion stay. Gives how many in a
/// second.
pub(super) fn append(text: &[u8], to: &Path) -> Result<f64> {
    let portions = portions(text, DELIVERY);
    let lines = text.split(|byte| *byte == b'\n').count().saturating_sub(1);
    let file = OpenOptions::new().create(true).append(true).open(to);
    let mut file = file.with_context(|| format!("open {}", to.display()))?;
    let begun = Instant::now();
    for portion in portions {
        file.write_all(portion)?;
        file.sync_data()?;
    }
    Ok(float(lines) / begun.elapsed().as_secs_f64())
}

/// Posts to this address what was sent before, one request after the other. Gives how many events in a second.
pub(super) async fn post_all(address: SocketAddr, sent: &Arc<Vec<Sent>>, events: usize) -> Result<f64> {
    let sent = Arc::clone(sent);
    // As the operator, in a task beside the connection's: whoever only waits for it is on a thread of its own.
    let posting = tokio::spawn(async move {
        let (client, begun) = (Bare::new(address), Instant::now());
        for request in sent.iter() {
            client.post(request.headers.clone(), request.body.clone()).await?;
        }
        Ok(float(events) / begun.elapsed().as_secs_f64())
    });
    posting.await.context("the bare client panicked")?
}

/// Has ministack make a bus of this name.
pub(super) async fn create_bus(address: SocketAddr, name: &str) -> Result<()> {
    let scope = format!("{ACCOUNT}/20260101/{REGION}/events/aws4_request");
    let signature = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
    let headers = HeaderMap::from_iter([
        (HeaderName::from_static(TARGET), HeaderValue::from_static("AWSEvents.CreateEventBus")),
        (CONTENT_TYPE, HeaderValue::from_static(JSON)),
        (AUTHORIZATION, HeaderValue::try_from(signature)?),
    ]);
    Bare::new(address).post(headers, json!({ "Name": name }).to_string().into()).await.context("make an event bus")
}

/// An HTTP client, and no SDK.
struct Bare {
    client: Client<HttpConnector, Body>,
    url: String,
}

impl Bare {
    fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), url: format!("http://{address}/") }
    }

    async fn post(&self, mut headers: HeaderMap, body: Bytes) -> Result<()> {
        // It was sent to somebody else.
        headers.remove(HOST);
        let mut request = Request::post(&self.url).body(Body::from(body))?;
        *request.headers_mut() = headers;
        let answer = timeout(LIMIT, async {
            let answer = self.client.request(request).await.context("post events")?;
            let status = answer.status();
            anyhow::Ok((status, to_bytes(Body::new(answer.into_body()), MOST_BYTES).await?))
        });
        let (status, body) = answer.await.with_context(|| format!("no answer after {} s", LIMIT.as_secs()))??;
        ensure!(status.is_success(), "the receiver answers {status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}
