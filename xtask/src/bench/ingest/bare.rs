//! The bare HTTP server: axum over mutual TLS, which reads a body and answers; or one that also reads the JSON in it, and does nothing
//! with it. A process of its own, as the operator is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use fleetform_domain::wire::{MEASUREMENTS_PATH, MeasurementsRequest};
use fleetform_simulator::transport::{Address, Network, Timeouts, Trust};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const CERTIFICATE: &str = "bare.crt";
const KEY: &str = "bare.key";
const CLIENTS: &str = "bare-clients.crt";

/// The bare server, running. It is killed when this is dropped.
pub(super) struct BareServer {
    process: Child,
    address: Address,
    authority: Arc<Trust>,
}

impl Drop for BareServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl BareServer {
    /// Starts one that takes clients with certificates of this authority (PEM), with its files in `dir`. `reads_json` says whether it
    /// reads more than bytes.
    pub(super) fn start(clients: &str, dir: &Path, reads_json: bool) -> Result<Self> {
        let authority = make_certificate(clients, dir)?;
        let own = std::env::current_exe().context("find the running program")?;
        let mut process = Command::new(own)
            .args(["bench", "bare-server"])
            .arg(dir)
            .args(reads_json.then_some("--reads-json"))
            .stdout(Stdio::piped())
            .spawn()
            .context("start the bare server")?;
        let mut line = String::new();
        let said = process.stdout.take().context("the bare server has an output")?;
        BufReader::new(said).read_line(&mut line).context("read the address of the bare server")?;
        let authority = Network::new(Timeouts::default()).trust(vec![authority])?;
        Ok(Self { process, address: line.trim().parse()?, authority })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn authority(&self) -> &Trust {
        &self.authority
    }
}

/// Writes a certificate for the loopback, of the kind that the gateway has; answers its authority.
fn make_certificate(clients: &str, dir: &Path) -> Result<CertificateDer<'static>> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (authority_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let authority = params.self_signed(&authority_key)?.der().clone();
    let issuer = Issuer::new(params, authority_key);
    let certificate = CertificateParams::new(vec![Ipv4Addr::LOCALHOST.to_string()])?.signed_by(&key, &issuer)?;
    let write = |name, text: &str| fs::write(dir.join(name), text).with_context(|| format!("write {name}"));
    write(CERTIFICATE, &certificate.pem())?;
    write(KEY, &key.serialize_pem())?;
    write(CLIENTS, clients)?;
    Ok(authority)
}

/// Where the files of a bare server are.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::bench) struct Files {
    dir: PathBuf,
    /// Reads the JSON in a body, too.
    #[arg(long)]
    reads_json: bool,
}

/// Serves until it is killed. Says where on standard output.
pub(in crate::bench) async fn serve(files: &Files) -> Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(&files.dir)?));
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    println!("https://{}", listener.local_addr()?);
    let reads_json = files.reads_json;
    let answer = post(move |body: Bytes| async move { if reads_json { read(&body) } else { body.len() }.to_string() });
    let router = Router::new().route(MEASUREMENTS_PATH, answer);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = TowerToHyperService::new(router);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// How many measurements there are in a body.
fn read(body: &[u8]) -> usize {
    serde_json::from_slice::<MeasurementsRequest>(body).map_or(0, |request| request.measurements.len())
}

fn tls(dir: &Path) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(dir.join(CLIENTS))? {
        roots.add(root?)?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let certificate = CertificateDer::from_pem_file(dir.join(CERTIFICATE))?;
    let key = PrivateKeyDer::from_pem_file(dir.join(KEY))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
