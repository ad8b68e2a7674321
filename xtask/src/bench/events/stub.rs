//! A receiver of events that does nothing but to take them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt as _;
use tokio::runtime::{Builder, Runtime};

use super::wire::{Format, JSON};

/// A request that brought events.
pub(super) struct Sent {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    format: Format,
}

#[derive(Default)]
struct Got {
    events: AtomicUsize,
    requests: Mutex<Vec<Sent>>,
}

/// What stands for EventBridge, or a receiver of `CloudEvents`, on the loopback. It keeps what it got, and counts it:
/// reading more would take time from what is measured. It has a thread of its own: whoever asks it waits for another
/// thread, as for any server.
pub(super) struct Stub {
    address: SocketAddr,
    got: Arc<Got>,
    /// Always there, until it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        // Waiting for its end is not for asynchronous code.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Stub {
    /// Opens one at this port; 0 is any.
    pub(super) fn open(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("listen for events")?;
        listener.set_nonblocking(true)?;
        let (address, got) = (listener.local_addr()?, Arc::new(Got::default()));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().context("start a thread")?;
        let router = Router::new().fallback(take).with_state(Arc::clone(&got));
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        // A connection on which small answers wait is slower, and no less of a receiver.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, got, runtime: Some(runtime) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many events have come.
    pub(super) fn events(&self) -> usize {
        self.got.events.load(Ordering::Acquire)
    }

    /// Ends it. Gives what it got, in order.
    pub(super) fn close(self) -> Vec<Sent> {
        std::mem::take(&mut *self.got.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn take(State(got): State<Arc<Got>>, headers: HeaderMap, body: Bytes) -> Response {
    // Whether a bus is there is asked at the start.
    let Some(format) = Format::of(&headers) else { return ([(CONTENT_TYPE, JSON)], "{}").into_response() };
    let Ok(count) = format.count(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    // Copied, as it holds on to the buffer that it was read into, which is larger.
    let sent = Sent { headers, body: Bytes::copy_from_slice(&body), format };
    got.requests.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
    got.events.fetch_add(count, Ordering::Release);
    ([(CONTENT_TYPE, format.media_type())], format.answer(count)).into_response()
}

/// The ids of all events that were sent.
pub(super) fn ids(sent: &[Sent]) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for request in sent {
        ids.extend(request.format.ids(&request.body).context("read the ids of events")?);
    }
    Ok(ids)
}
