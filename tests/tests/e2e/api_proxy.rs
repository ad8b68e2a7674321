//! A way to the API server on which the operator can be made to die at a write.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use fleetform_e2e::ControlPlane;
use fleetform_e2e::api_write::kind_of;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::access::der;
use super::serving::serve;

/// When the operator dies of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before: the API server never hears of it.
    Before,
    /// After: it is carried out, and the operator never hears of that.
    After,
}

/// A write that is held for as long as this is kept. It is never answered, so the operator has to be dead when this is
/// dropped.
pub(crate) type Held = oneshot::Sender<()>;

/// A write that the operator is to die of.
struct Doom {
    kind: String,
    moment: Moment,
    met: oneshot::Sender<Held>,
}

/// A reverse proxy: plain HTTP from the operator, whose token it hands on, and TLS to the API server. What is watched
/// streams through.
pub(crate) struct ApiProxy {
    url: String,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

struct Shared {
    upstream: Client,
    written: Mutex<Vec<String>>,
    doom: Mutex<Option<Doom>>,
}

impl ApiProxy {
    /// A way to the API server of this control plane.
    pub(crate) async fn open(plane: &ControlPlane) -> Result<Self> {
        let mut config = kube::Config::new(plane.server().parse()?);
        config.root_cert = Some(vec![der(plane.ca_pem())?]);
        // Whether a write is tried again is the operator's to say.
        config.default_retry = false;
        let upstream = Client::try_from(config).context("make a client for the proxy")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen for the operator")?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared { upstream, written: Mutex::default(), doom: Mutex::default() });
        let passing = Arc::clone(&shared);
        let pass = service_fn(move |request| pass(Arc::clone(&passing), request));
        let serving = AbortOnDropHandle::new(tokio::spawn(serve(listener, pass)));
        Ok(Self { url, shared, _serving: serving })
    }

    /// Where the operator is to reach the API server.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// What was written since this was asked last, as [`kind_of`] says it.
    pub(crate) fn written(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.written.lock())
    }

    /// Has the next write of this kind be held. Who gets it is to kill the operator.
    pub(crate) fn doom(&self, kind: &str, moment: Moment) -> oneshot::Receiver<Held> {
        let (met, meets) = oneshot::channel();
        *self.shared.doom.lock() = Some(Doom { kind: kind.to_owned(), moment, met });
        meets
    }

    /// Whether the operator has yet to write what it is to die of.
    pub(crate) fn has_doom(&self) -> bool {
        self.shared.doom.lock().is_some()
    }

    /// Takes back what the operator is to die of; whether it had yet to write that.
    pub(crate) fn spare(&self) -> bool {
        self.shared.doom.lock().take().is_some()
    }
}

impl Shared {
    /// Notes a write; when the operator dies of it, if it does.
    fn note(&self, kind: &str) -> Option<Moment> {
        self.written.lock().push(kind.to_owned());
        self.doom.lock().as_ref().filter(|doom| doom.kind == kind).map(|doom| doom.moment)
    }

    /// Holds a write until the operator is dead. Says so if it is not to die any more.
    async fn strike(&self) -> bool {
        let doom = self.doom.lock().take();
        let Some(doom) = doom else { return false };
        let (held, let_go) = oneshot::channel();
        if doom.met.send(held).is_ok() {
            // It is let go by being dropped.
            let _ = let_go.await;
        }
        true
    }

    async fn forward(&self, mut head: Parts, body: Bytes) -> Result<Response<Body>> {
        for of_this_line in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
            head.headers.remove(of_this_line);
        }
        let answer = self.upstream.send(Request::from_parts(head, Body::from(body))).await;
        let mut answer = answer.context("the API server does not answer")?;
        for of_this_line in [CONNECTION, TRANSFER_ENCODING] {
            answer.headers_mut().remove(of_this_line);
        }
        Ok(answer)
    }
}

async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let media_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind_of(&head.method, head.uri.path(), media_type, &body);
    let moment = kind.as_deref().and_then(|kind| shared.note(kind));
    if moment == Some(Moment::Before) && shared.strike().await {
        bail!("the operator died before a write");
    }
    let answer = shared.forward(head, body).await?;
    // One that is refused changes nothing, so the operator lives on.
    if moment == Some(Moment::After) && answer.status().is_success() && shared.strike().await {
        bail!("the operator died after a write");
    }
    Ok(answer)
}
