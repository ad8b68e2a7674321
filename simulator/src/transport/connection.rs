//! One connection: dial, handshake, ask, hang up.

use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::problem::{Problem, ProblemCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Address, Timeouts, TransportError};

const AGENT: &str = concat!("fleetform-simulator/", env!("CARGO_PKG_VERSION"));
const JSON: &str = "application/json";

/// A request, before it is put on a connection. Its `Debug` shows method and path only.
#[derive(Clone)]
pub struct Question {
    method: Method,
    path: String,
    accept: &'static str,
    body: Option<Bytes>,
    authorization: Option<HeaderValue>,
    wait: Duration,
    limit: usize,
    is_repeatable: bool,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Question {
    fn new(method: Method, path: String) -> Self {
        let limit = fleetform_domain::wire::MAX_BODY;
        Self {
            method,
            path,
            accept: JSON,
            body: None,
            authorization: None,
            wait: Duration::ZERO,
            limit,
            is_repeatable: true,
        }
    }

    /// `GET`.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into())
    }

    /// `POST` without a body.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path.into())
    }

    /// `POST` of a message as JSON.
    pub fn post_json(path: impl Into<String>, message: &impl Serialize) -> Self {
        let body = serde_json::to_vec(message).expect("messages of the protocol are plain data");
        Self { body: Some(body.into()), ..Self::post(path) }
    }

    /// The media type wanted instead of JSON.
    #[must_use]
    pub fn accepting(self, media_type: &'static str) -> Self {
        Self { accept: media_type, ..self }
    }

    /// Shown to the server to prove who asks.
    #[must_use]
    pub fn authorized_by(self, mut authorization: HeaderValue) -> Self {
        authorization.set_sensitive(true);
        Self { authorization: Some(authorization), ..self }
    }

    /// The server was asked to wait this long for a change.
    #[must_use]
    pub fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The largest answer to read, in bytes; 64 KiB unless said otherwise.
    #[must_use]
    pub fn limited_to(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// It must not reach the server twice.
    #[must_use]
    pub fn once(self) -> Self {
        Self { is_repeatable: false, ..self }
    }

    /// Whether it may reach the server twice.
    pub fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }

    fn request(&self, address: &Address) -> Result<Request<Full<Bytes>>, TransportError> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(self.path.as_str())
            .header(HOST, address.authority())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, self.accept);
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = Full::new(self.body.clone().unwrap_or_default());
        request.body(body).map_err(|_| TransportError::Malformed(format!("`{}` is no path", self.path)))
    }
}

/// What a server said no with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {detail}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Why, when the server is one of ours.
    pub code: Option<ProblemCode>,
    /// Why, for people: one line.
    pub detail: String,
}

impl Refusal {
    /// A short name, one of few: for counters and logs.
    pub fn kind(&self) -> &'static str {
        self.code.map_or("unknown-refusal", ProblemCode::as_str)
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    media_type: String,
    body: Bytes,
}

impl Answer {
    /// The body of a good answer of this media type, or why the server refused.
    pub fn body(self, media_type: &'static str) -> Result<Result<Bytes, Refusal>, TransportError> {
        if !self.status.is_success() {
            return Ok(Err(self.refusal()));
        }
        if self.media_type == media_type {
            return Ok(Ok(self.body));
        }
        Err(TransportError::Malformed(format!("it is not {media_type}")))
    }

    /// The message in a good answer, or why the server refused.
    pub fn json<T: DeserializeOwned>(self) -> Result<Result<T, Refusal>, TransportError> {
        let body = match self.body(JSON)? {
            Ok(body) => body,
            Err(refusal) => return Ok(Err(refusal)),
        };
        serde_json::from_slice(&body).map(Ok).map_err(|error| TransportError::not_json(&error))
    }

    fn refusal(&self) -> Refusal {
        let problem = serde_json::from_slice::<Problem>(&self.body).ok();
        let detail = problem.as_ref().map_or(self.status.canonical_reason().unwrap_or_default(), |p| &p.detail);
        Refusal {
            status: self.status.as_u16(),
            code: problem.as_ref().and_then(Problem::code),
            detail: detail.chars().filter(|c| !c.is_control()).take(200).collect(),
        }
    }
}

/// An open connection. It closes when it is dropped.
#[derive(Debug)]
pub struct Connection {
    address: Address,
    sender: SendRequest<Full<Bytes>>,
    patience: Duration,
}

impl Connection {
    pub(super) async fn open(
        address: &Address,
        config: Arc<ClientConfig>,
        timeouts: &Timeouts,
    ) -> Result<Self, TransportError> {
        let stream = timeout(timeouts.connect, TcpStream::connect((address.host(), address.port())))
            .await
            .map_err(|_| TransportError::TimedOut("connecting"))?
            .map_err(|source| TransportError::Unreachable { address: address.to_string(), source })?;
        // Requests are small and each is waited for.
        let _ = stream.set_nodelay(true);
        let stream = timeout(timeouts.handshake, TlsConnector::from(config).connect(address.name().clone(), stream))
            .await
            .map_err(|_| TransportError::TimedOut("handshake"))?
            .map_err(|error| TransportError::lost(&error))?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(16 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| TransportError::lost(&error))?;
        // What ends the connection is seen by whoever waits for an answer. When nobody can ask any more, the driver says
        // goodbye to the server and ends.
        tokio::spawn(async move { drop(driver.await) });
        Ok(Self { address: address.clone(), sender, patience: timeouts.request })
    }

    /// Whether another question can be put.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Asks and waits for the whole answer. After an error the connection must be dropped.
    pub async fn ask(&mut self, question: &Question) -> Result<Answer, TransportError> {
        let request = question.request(&self.address)?;
        timeout(self.patience + question.wait, self.exchange(request, question.limit))
            .await
            .map_err(|_| TransportError::TimedOut("request"))?
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>, limit: usize) -> Result<Answer, TransportError> {
        self.sender.ready().await.map_err(|error| TransportError::lost(&error))?;
        let response = self.sender.send_request(request).await.map_err(|error| TransportError::lost(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { TransportError::TooLarge(limit) } else { TransportError::lost(&*error) }
        })?;
        let media_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Ok(Answer { status: head.status, media_type, body: body.to_bytes() })
    }
}
