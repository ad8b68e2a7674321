//! `cargo xtask control-plane`: a control plane to play with.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleetform_e2e::control_plane::Options;
use fleetform_e2e::{Component, ControlPlane, assets};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// Between two looks at whether all of it still runs.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Where it runs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder for its data, logs and kubeconfig; one that was used before goes on where it was. Without it the control plane
    /// is empty and leaves nothing behind.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it, prints the path of its kubeconfig on standard output, and ends it on Ctrl-C or SIGTERM.
pub(crate) fn run(args: Args) -> Result<()> {
    // Before signals are ours, so that Ctrl-C also ends a build.
    assets::locate()?;
    let runtime = tokio::runtime::Runtime::new().context("start the async runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watch for Ctrl-C")?;
        let serve = async {
            let plane = ControlPlane::start(Options { dir: args.dir, ..Options::default() }).await?;
            println!("{}", plane.kubeconfig().display());
            eprintln!(
                "control plane at {}; logs and audit log in {}; Ctrl-C ends it",
                plane.server(),
                plane.dir().display()
            );
            watch(&plane).await
        };
        tokio::select! {
            result = serve => result,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

/// Ends with an error when a component does.
async fn watch(plane: &ControlPlane) -> Result<()> {
    loop {
        sleep(WATCH_INTERVAL).await;
        if let Some(ended) = Component::ALL.into_iter().find(|component| plane.pid(*component).is_none()) {
            bail!("{ended} ended; {}", plane.log_end(ended));
        }
    }
}
