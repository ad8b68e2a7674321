//! Bytes over TLS, as no well-behaved client sends them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleetform_domain::problem::Problem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long an answer may take; the gateway gives slow clients ten seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body as a problem.
    pub(crate) fn problem(&self) -> Result<Problem> {
        if !self.head.to_ascii_lowercase().contains("content-type: application/problem+json") {
            bail!("not a problem: {self:?}");
        }
        serde_json::from_str(&self.body).with_context(|| format!("not a problem: {self:?}"))
    }
}

/// Connects to a server of this authority (PEM), without a certificate of one's own.
pub(crate) async fn connect(url: &str, authority: &str) -> Result<TlsStream<TcpStream>> {
    let address = url.strip_prefix("https://").context("an address")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = address.split(':').next().unwrap_or_default().to_owned();
    let stream = TcpStream::connect(address).await?;
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host)?, stream).await?)
}

/// Sends bytes and reads all that comes back.
pub(crate) async fn exchange(url: &str, authority: &str, bytes: &[u8]) -> Result<Answer> {
    let mut stream = connect(url, authority).await?;
    // A server that refuses early does not read to the end.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    read(&mut stream).await
}

/// Reads until the server closes.
pub(crate) async fn read(stream: &mut TlsStream<TcpStream>) -> Result<Answer> {
    let mut bytes = Vec::new();
    let done = timeout(LIMIT, stream.read_to_end(&mut bytes)).await.context("the server keeps the connection open")?;
    if let Err(error) = done
        && bytes.is_empty()
    {
        return Err(error).context("read the answer");
    }
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no HTTP: `{text}`"))?;
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).context("a status")?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A request that closes its connection.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}
