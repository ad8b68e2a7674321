//! A web server that releases of software are fetched from.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use fleetform_domain::configuration::Software;
use fleetform_simulator::release::ReleaseKey;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

type Files = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A web server on the loopback. It ends when it is dropped.
pub(crate) struct Releases {
    base: String,
    files: Files,
    server: JoinHandle<()>,
}

impl Releases {
    pub(crate) async fn open() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen")?;
        let base = format!("http://{}", listener.local_addr()?);
        let files = Files::default();
        let server = tokio::spawn(serve(listener, Arc::clone(&files)));
        Ok(Self { base, files, server })
    }

    /// Address of the server, without a path.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Signs a release with the key of the simulation, and puts it on the server.
    pub(crate) fn publish(&self, version: &str, content: &[u8]) -> Software {
        let path = format!("/reader-{version}.bin");
        self.put(&path, content);
        ReleaseKey::of_simulation().sign(version, &format!("{}{path}", self.base), content)
    }

    /// Has something else lie where the release is fetched from.
    pub(crate) fn replace(&self, software: &Software, content: &[u8]) {
        let path = software.url.strip_prefix(&self.base).expect("it is one of this server");
        self.put(path, content);
    }

    /// Has this lie at a path.
    pub(crate) fn put(&self, path: &str, content: &[u8]) {
        self.files.lock().expect("nobody panics with it").insert(path.to_owned(), content.to_vec());
    }
}

impl Drop for Releases {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, files: Files) {
    while let Ok((stream, _)) = listener.accept().await {
        let files = Arc::clone(&files);
        let answer = service_fn(move |request: Request<Incoming>| {
            let found = files.lock().expect("nobody panics with it").get(request.uri().path()).cloned();
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            let mut response = Response::new(Full::new(Bytes::from(found.unwrap_or_default())));
            *response.status_mut() = status;
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await });
    }
}

/// The patch of a spec that wants this software.
pub(crate) fn wanted(software: &Software) -> Value {
    json!({ "spec": { "configuration": { "software": software } } })
}
