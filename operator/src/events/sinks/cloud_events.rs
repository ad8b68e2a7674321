//! `CloudEvents` 1.0 over HTTP: the JSON event format, and the structured, binary and batched modes of the HTTP protocol binding.

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use fleetform_domain::event::Event;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::super::backlog::Outgoing;
use super::super::config::Mode;
use super::{Answer, Became, Left, Sink};

/// Time for one request.
const LIMIT: Duration = Duration::from_secs(10);

/// Most events of one request.
const BATCH: usize = 100;

/// A receiver.
pub(super) struct Receiver {
    url: Uri,
    mode: Mode,
    /// A file with the value of the header, which may be written anew at any time.
    authorization: Option<PathBuf>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Receiver {
    /// At this URL.
    pub(super) fn new(url: &str, mode: Mode, authorization: Option<PathBuf>) -> io::Result<Self> {
        let mut http = HttpConnector::new();
        // The connector for TLS is around it.
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(crate::crypto::provider())?
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(http);
        let url = url.parse().map_err(io::Error::other)?;
        Ok(Self { url, mode, authorization, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// The value of the header, if there is a file with it.
    pub(super) async fn authorization(&self) -> io::Result<Option<HeaderValue>> {
        let Some(path) = &self.authorization else { return Ok(None) };
        let told = |why: String| io::Error::other(format!("authorizationFile {}: {why}", path.display()));
        let text = tokio::fs::read_to_string(path).await.map_err(|error| told(error.to_string()))?;
        let mut value = HeaderValue::from_str(text.trim()).map_err(|_| told("is no value of a header".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn post(&self, headers: &HeaderMap, body: Vec<u8>) -> io::Result<Became> {
        let mut request = Request::post(self.url.clone()).body(Full::from(body)).map_err(io::Error::other)?;
        *request.headers_mut() = headers.clone();
        if let Some(value) = self.authorization().await? {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(match tokio::time::timeout(LIMIT, self.client.request(request)).await {
            Ok(Ok(answer)) => became(answer.status()),
            Ok(Err(error)) if error.is_connect() => Became::Again("the receiver cannot be reached".to_owned()),
            Ok(Err(_)) => Became::Again("the receiver broke off".to_owned()),
            Err(_) => Became::Again(format!("the receiver did not answer within {} s", LIMIT.as_secs())),
        })
    }

    /// Posts one event, by itself.
    async fn post_one(&self, event: &Event) -> io::Result<Became> {
        match self.mode {
            Mode::Structured => self.post(&content("application/cloudevents+json"), bytes(&document(event))).await,
            Mode::Batched => {
                self.post(&content("application/cloudevents-batch+json"), bytes(&json!([document(event)]))).await
            }
            Mode::Binary => self.post(&binary(event), bytes(&json!(event.detail))).await,
        }
    }

    /// Posts events one by one, until the receiver is to be left alone.
    async fn post_each(&self, events: &[Outgoing], at: usize, left: &mut Left) -> io::Result<()> {
        for (place, event) in (at..).zip(events) {
            if !left.again.is_empty() {
                left.again.push(place);
                continue;
            }
            left.note(place, self.post_one(&event.event).await?);
        }
        Ok(())
    }
}

impl Sink for Receiver {
    fn put<'a>(&'a mut self, events: &'a [Outgoing]) -> Answer<'a, Left> {
        Box::pin(async move {
            let mut left = Left::default();
            if self.mode != Mode::Batched {
                self.post_each(events, 0, &mut left).await?;
                return Ok(left);
            }
            for (chunk, at) in events.chunks(BATCH).zip((0..).step_by(BATCH)) {
                if !left.again.is_empty() {
                    left.again.extend(at..at + chunk.len());
                    continue;
                }
                let documents: Vec<Value> = chunk.iter().map(|outgoing| document(&outgoing.event)).collect();
                match self.post(&content("application/cloudevents-batch+json"), bytes(&json!(documents))).await? {
                    Became::Taken => {}
                    // Which of them it is, is told when each is alone.
                    Became::Refused(_) => self.post_each(chunk, at, &mut left).await?,
                    Became::Again(why) => (at..at + chunk.len()).for_each(|place| left.again(place, why.as_str())),
                }
            }
            Ok(left)
        })
    }
}

fn became(status: StatusCode) -> Became {
    match status {
        status if status.is_success() => Became::Taken,
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Became::Refused(format!("the receiver answers {}", status.as_u16())),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Became::Again(format!("the receiver answers {}: see authorizationFile of the sink", status.as_u16()))
        }
        status => Became::Again(format!("the receiver answers {}", status.as_u16())),
    }
}

fn content(media_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))])
}

fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

/// The attributes of an event: all but its data. Account and region are extensions.
fn attributes(event: &Event) -> [(&'static str, String); 8] {
    [
        ("specversion", "1.0".to_owned()),
        ("id", event.id.to_string()),
        ("source", event.source.clone()),
        ("type", event.detail_type.clone()),
        ("subject", event.resources.first().map(ToString::to_string).unwrap_or_default()),
        ("time", event.time.clone()),
        ("account", event.account.clone()),
        ("region", event.region.clone()),
    ]
}

/// An event in the JSON event format.
fn document(event: &Event) -> Value {
    let mut document = json!({ "datacontenttype": "application/json", "data": event.detail });
    for (name, value) in attributes(event) {
        document[name] = value.into();
    }
    document
}

/// The attributes of an event as headers of the binary mode.
fn binary(event: &Event) -> HeaderMap {
    let header = |(name, value): (&str, String)| {
        let name = HeaderName::try_from(format!("ce-{name}")).expect("attributes are letters and digits");
        (name, HeaderValue::try_from(encoded(&value)).expect("what is encoded is printable"))
    };
    let mut headers = content("application/json");
    headers.extend(attributes(event).map(header));
    headers
}

/// A value as the binary mode has it in a header (HTTP protocol binding, 3.1.3.2): in percents, but for what is printable.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            text.push(byte.into());
        } else {
            // A String takes everything.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
