//! What a server of a test is made of.

use std::error::Error;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves whoever connects, over plain HTTP. Dropped, it listens no more, and its connections are gone.
pub(crate) async fn serve<S, B>(listener: TcpListener, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut lines = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Those that are over are let go.
        while lines.try_join_next().is_some() {}
        lines.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone()));
    }
}
