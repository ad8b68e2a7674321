//! The program: what it is told, and how it starts and ends. Nothing else here reads the environment.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::fleet::{Fleet, FleetOptions};
use crate::installer::{BearerToken, Installer, PortalAuthorities};
use crate::release::FactoryKey;
use crate::storage::DirectoryStorage;
use crate::telemetry::{Telemetry, serve};
use crate::transport::{Address, Network, Timeouts};

/// Plays installers and devices: the devices of every simulated site that the portal lists.
#[derive(Debug, Parser)]
#[command(name = "fleetform-simulator", version)]
pub struct Cli {
    /// Address of the portal: `https://host:port`
    #[arg(long, value_name = "URL", env = "FLEETFORM_SIMULATOR_PORTAL")]
    pub portal: Address,

    /// Certificates of the authorities that the portal's certificate may come from, PEM. Read again at every connection
    #[arg(long, value_name = "FILE", env = "FLEETFORM_SIMULATOR_PORTAL_CA")]
    pub portal_ca: PathBuf,

    /// Kubernetes token of an installer. Read again at every use, because tokens are renewed in place
    #[arg(
        long,
        value_name = "FILE",
        env = "FLEETFORM_SIMULATOR_TOKEN_FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    )]
    pub token_file: PathBuf,

    /// Where devices keep their keys and configurations. Start again with the same directory, and they go on
    #[arg(long, value_name = "DIR", env = "FLEETFORM_SIMULATOR_STATE_DIR")]
    pub state_dir: PathBuf,

    /// Address to serve /livez, /readyz and /metrics on, over plain HTTP
    #[arg(long, value_name = "ADDRESS", env = "FLEETFORM_SIMULATOR_LISTEN", default_value = "0.0.0.0:8081")]
    pub listen: SocketAddr,

    /// Of every so many activation codes, fetch one as a picture and decode it, and the others as text
    #[arg(long, value_name = "N", env = "FLEETFORM_SIMULATOR_PICTURE_EVERY", default_value = "1")]
    pub picture_every: NonZeroU32,

    /// Most devices that are activated at once
    #[arg(long, value_name = "N", env = "FLEETFORM_SIMULATOR_MAX_CONCURRENT_ACTIVATIONS", default_value = "64")]
    pub max_concurrent_activations: NonZeroU32,

    /// The key that signs the software of devices, as `fleetform-release key` prints it. Left out, that of the simulation
    #[arg(long, value_name = "KEY", env = "FLEETFORM_SIMULATOR_FACTORY_KEY")]
    pub factory_key: Option<FactoryKey>,

    /// How the log is written to standard error. What is in it is chosen by `RUST_LOG`
    #[arg(long, value_name = "FORMAT", env = "FLEETFORM_SIMULATOR_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object in each line.
    Json,
}

/// Starts the log of the whole program.
fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env()?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

/// The whole program, until it is told to stop.
pub fn main(cli: &Cli) -> anyhow::Result<()> {
    start_log(cli.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(async {
        let listener =
            TcpListener::bind(cli.listen).await.with_context(|| format!("--listen {}: cannot listen", cli.listen))?;
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone())?);
        run(cli, listener, stop).await
    });
    // A name being looked up or a disk that hangs is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Plays the fleet until `stop`. The caller owns the socket and the end.
pub async fn run(cli: &Cli, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    let directory = cli.state_dir.clone();
    let storage = tokio::task::spawn_blocking(move || DirectoryStorage::open(directory)).await??;
    let factory_key = cli.factory_key.clone().unwrap_or_else(FactoryKey::of_simulation);
    let network = Network::with_factory_key(Timeouts::default(), factory_key);
    let telemetry = Telemetry::new(network.clone());
    let installer = Arc::new(Installer::new(
        network.clone(),
        cli.portal.clone(),
        PortalAuthorities::File(cli.portal_ca.clone()),
        BearerToken::File(cli.token_file.clone()),
    ));
    let options = FleetOptions {
        picture_every: cli.picture_every,
        max_concurrent_activations: usize::try_from(cli.max_concurrent_activations.get())?,
        ..FleetOptions::default()
    };
    tracing::info!(portal = %cli.portal, health = %listener.local_addr()?, "the simulator runs");
    let server = tokio::spawn(serve(listener, telemetry.clone(), stop.clone()));
    let fleet = Fleet::new(installer, network, Arc::new(storage), telemetry, options);
    fleet.run(stop.clone()).await?;
    stop.cancel();
    server.await?;
    tracing::info!("the simulator has stopped");
    Ok(())
}

/// What cancels `stop` at the first Ctrl-C or, on Unix, SIGTERM.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("cannot listen for SIGTERM")?;
    #[cfg(unix)]
    let terminated = async move { terminate.recv().await };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<Option<()>>();
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
        stop.cancel();
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn help_names_every_option() {
        insta::assert_snapshot!(Cli::command().render_help());
    }
}
