//! One connection: HTTP/1.1 with limits.

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use fleetform_domain::problem::ProblemCode;
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::accept::{Application, Limits};
use super::extract::BodyTimeout;
use super::problem::Refusal;
use super::stall::Stalling;
use crate::crypto::DeviceIdentity;

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Who is at the other end; every request carries it as an extension.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Who its certificate says it is, if it showed one that our authority signed for a device.
    pub certificate: Option<Arc<DeviceIdentity>>,
}

pub(super) struct Connection {
    pub(super) application: Arc<Application>,
    pub(super) limits: Limits,
    pub(super) shutdown: CancellationToken,
}

impl Connection {
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, peer: Peer) {
        let application = &self.application;
        let body_timeout = BodyTimeout(self.limits.body);
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(body_timeout);
            answer(application, request.map(Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.headers)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Stalling::new(stream, self.limits.stalled)), service);
        let mut connection = pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(listener = self.application.name, %error, "a connection ended");
        }
    }
}

async fn answer(application: &Application, request: Request<Body>) -> Result<Response, Infallible> {
    let route = (application.route)(request.uri().path());
    let handling = AssertUnwindSafe(application.router.clone().oneshot(request)).catch_unwind();
    let response = match handling.await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            tracing::error!(listener = application.name, route, panic = said(&*panic), "a request handler panicked");
            Refusal::new(ProblemCode::SystemError, "something went wrong here; it has been recorded").into_response()
        }
    };
    application.metrics.request(application.name, route, response.status().as_u16());
    Ok(response)
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}
