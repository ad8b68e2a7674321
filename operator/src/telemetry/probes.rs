//! `/livez`, `/readyz`, `/metrics` and `/metrics/measurements`, over plain HTTP.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::server::{self, Application, Limits, Transport};

/// Media type of `OpenMetrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the probes until `shutdown`. `ready` and `live` answer why not, when not; readiness has nothing to do with
/// leadership, or a rolling update would wait for itself. What sensors measured is on a path of its own: who scrapes the operator may
/// not want two lines for each sensor.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    measurements: impl Fn() -> String + Send + Sync + 'static,
    ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    live: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    shutdown: CancellationToken,
) {
    let (ready, live) = (Arc::new(ready), Arc::new(live));
    let (shown, measurements) = (Arc::clone(&metrics), Arc::new(measurements));
    let router = Router::new()
        .route("/livez", get(move || async move { verdict(live()) }))
        .route("/readyz", get(move || async move { verdict(ready()) }))
        .route("/metrics", get(move || async move { ([(CONTENT_TYPE, OPEN_METRICS)], shown.encode()).into_response() }))
        .route(
            "/metrics/measurements",
            get(move || async move { ([(CONTENT_TYPE, OPEN_METRICS)], measurements()).into_response() }),
        );
    let application = Application { name: "probes", router, route, metrics };
    server::serve(listener, Transport::Plain, application, Limits::small(), shutdown).await;
}

fn verdict(outcome: Result<(), String>) -> Response {
    match outcome {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

fn route(path: &str) -> &'static str {
    match path {
        "/livez" => "livez",
        "/readyz" => "readyz",
        "/metrics" => "metrics",
        "/metrics/measurements" => "measurements",
        _ => "other",
    }
}
