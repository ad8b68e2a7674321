//! `cargo xtask demo`: the example fleet, going to Active before your eyes.

mod code;
mod fleet;
mod screen;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fleetform_e2e::control_plane::Options;
use fleetform_e2e::{Cluster, ControlPlane, Installation, assets, installation, tools};
use fleetform_simulator::scenario::Scenario;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::workspace;
use fleet::Fleet;
use screen::Screen;

/// What is applied.
const EXAMPLE: &str = "examples/library/overlays/demo";

/// Between two looks at the fleet.
const INTERVAL: Duration = Duration::from_millis(400);

/// How long `--exit-when-active` waits.
const PATIENCE: Duration = Duration::from_mins(5);

/// How the demo runs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// End as soon as every simulated device is Active, with a summary as the last line; fail if that takes over 5 minutes.
    #[arg(long)]
    exit_when_active: bool,
    /// Use the cluster of this context of your kubeconfig instead of a control plane of its own. What is applied there stays.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Play a scenario, such as examples/scenarios/tamper.yaml: what goes wrong with which devices, and when.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

/// Runs the demo until Ctrl-C or SIGTERM. Nothing is left running.
pub(crate) fn run(args: &Args) -> Result<()> {
    // Before signals are ours, so that Ctrl-C also ends a build.
    prepare(args)?;
    let runtime = tokio::runtime::Runtime::new().context("start the async runtime")?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watch for Ctrl-C")?;
        tokio::select! {
            result = demonstrate(args) => result,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    });
    runtime.shutdown_background();
    outcome
}

/// Builds what is missing; silent when nothing is.
fn prepare(args: &Args) -> Result<()> {
    let overlay = workspace::root().join(EXAMPLE);
    if !overlay.join("kustomization.yaml").is_file() {
        bail!("{EXAMPLE} is not there: it is what the demo applies");
    }
    if let Some(scenario) = &args.scenario {
        Scenario::read(scenario).context("--scenario")?;
    }
    workspace::build_programs()?;
    if args.context.is_none() {
        assets::locate()?;
    }
    tools::kubectl()?;
    tools::helm()?;
    installation::locate(installation::OPERATOR)?;
    installation::locate(installation::SIMULATOR)?;
    Ok(())
}

/// A folder for this cluster alone, as it was left: simulated devices keep their keys there, without which they would have to
/// be activated again.
fn folder_of_context(context: &str) -> PathBuf {
    let name: String = context.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    workspace::root().join("target/demo-contexts").join(name)
}

/// `target/demo`, empty.
fn fresh_folder() -> Result<PathBuf> {
    let dir = workspace::root().join("target/demo");
    let lock = dir.join("lock");
    if let Ok(held) = File::open(&lock)
        && let Err(TryLockError::WouldBlock) = held.try_lock()
    {
        bail!("another demo runs in {}: end it first", dir.display());
    }
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("empty {}", dir.display()))
        }
        _ => Ok(dir),
    }
}

async fn demonstrate(args: &Args) -> Result<()> {
    let mut screen = Screen::new();
    let (dir, plane, cluster) = if let Some(context) = &args.context {
        (folder_of_context(context), None, Cluster::of_context(context).await?)
    } else {
        screen.say("Starting a control plane ...");
        let dir = fresh_folder()?;
        let plane = ControlPlane::start(Options { dir: Some(dir.clone()), ..Options::default() }).await?;
        let cluster = Cluster::of(&plane)?;
        (dir, Some(plane), cluster)
    };
    screen.say("Installing the chart; starting operator and simulator with their own tokens ...");
    let mut options = installation::Options::in_dir(dir);
    if let (Some(scenario), Some(simulator)) = (&args.scenario, &mut options.simulator) {
        simulator.args.push(format!("--scenario={}", scenario.display()));
    }
    let installation = Installation::start(cluster, options).await?;
    screen.say(&format!("Applying {EXAMPLE} ..."));
    let started = Instant::now();
    let mut fleet = Fleet::apply(installation.cluster(), &workspace::root().join(EXAMPLE)).await?;
    let outcome = follow(args, &installation, &mut fleet, &mut screen, started).await;
    // In this order: whoever uses the API server ends before it.
    drop(installation);
    drop(plane);
    outcome
}

/// Shows the fleet until all simulated devices are Active, and beyond unless told to end then.
async fn follow(
    args: &Args,
    installation: &Installation,
    fleet: &mut Fleet,
    screen: &mut Screen,
    started: Instant,
) -> Result<()> {
    screen.say(&pointers(args, installation, fleet.namespace()));
    let namespace = fleet.namespace().to_owned();
    let mut invitation = Box::pin(code::invitation(installation, &namespace));
    let mut invited = false;
    let mut told = 0;
    let mut done = None;
    loop {
        installation.ensure_running()?;
        fleet.look().await?;
        let events = installation.events()?;
        for event in &events[told..] {
            screen.say(&fleet::in_words(event));
        }
        told = events.len();
        screen.show(fleet, done.unwrap_or_else(|| started.elapsed()));
        if done.is_none() && fleet.is_active() {
            let took = *done.insert(started.elapsed());
            let seconds = took.as_secs_f64();
            let (active, all) = fleet.simulated();
            let summary = format!("{active} of {all} simulated devices are Active after {seconds:.1} s");
            if args.exit_when_active {
                if !invited {
                    screen.say(&invitation.await?);
                }
                screen.say(&summary);
                return Ok(());
            }
            screen.say(&format!("{summary}. Ctrl-C ends everything."));
        }
        if args.exit_when_active && started.elapsed() > PATIENCE {
            let (active, all) = fleet.simulated();
            let logs = format!("{}\n{}", installation.operator_log_end(), installation.simulator_log_end());
            bail!("{active} of {all} simulated devices are Active after {} minutes; {logs}", PATIENCE.as_secs() / 60);
        }
        tokio::select! {
            text = &mut invitation, if !invited => {
                screen.say(&text?);
                invited = true;
            }
            () = sleep(INTERVAL) => {}
        }
    }
}

/// How a person looks at it with kubectl.
fn pointers(args: &Args, installation: &Installation, namespace: &str) -> String {
    let (first, kubectl) = match &args.context {
        Some(context) => (String::new(), format!("kubectl --context {context}")),
        None => ("    export KUBECONFIG=target/demo/kubeconfig\n".to_owned(), "kubectl".to_owned()),
    };
    let installed = tools::kubectl().ok().filter(|path| !on_path(path));
    let hint = installed.map(|path| format!("\n    (there is a kubectl at {})", path.display())).unwrap_or_default();
    let (portal, ca) = (installation.portal_url(), installation.portal_ca());
    format!(
        "\nLook at it from another terminal:\n{first}    {kubectl} get fleetform --namespace {namespace}\n    \
         {kubectl} get deviceinstances --namespace {namespace} --watch\n    \
         {kubectl} explain deviceinstance.spec{hint}\n\
         The portal, for installers (docs/getting-started.md):\n    \
         export PORTAL={portal} PORTAL_CA={}\n",
        ca.display()
    )
}

fn on_path(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Some(folder.as_path()) == program.parent())
}
