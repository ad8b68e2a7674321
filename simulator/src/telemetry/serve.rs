//! `/livez`, `/readyz` and `/metrics`, over plain HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Telemetry;

/// Most connections at once; others wait to be accepted.
const CONNECTIONS: usize = 16;

/// How long a connection may last.
const LONGEST: Duration = Duration::from_mins(1);

/// Serves until it is stopped.
pub async fn serve(listener: TcpListener, telemetry: Arc<Telemetry>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accept = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely; it is not better at once.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let telemetry = telemetry.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &telemetry);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service);
            // A client that leaves or lingers is no trouble of ours.
            let _ = timeout(LONGEST, connection).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, telemetry: &Telemetry) -> Response<Full<Bytes>> {
    let (status, media_type, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/livez") => (StatusCode::OK, "text/plain", "ok\n".into()),
        (&Method::GET, "/readyz") if telemetry.is_ready() => (StatusCode::OK, "text/plain", "ok\n".into()),
        (&Method::GET, "/readyz") => {
            let reason = "the portal's list of devices has not been read yet\n";
            (StatusCode::SERVICE_UNAVAILABLE, "text/plain", reason.into())
        }
        (&Method::GET, "/metrics") => {
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", telemetry.metrics())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "there are /livez, /readyz and /metrics\n".into()),
    };
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, media_type)
        .body(Full::new(text.into()))
        .expect("the header is well formed")
}
