//! `cargo xtask bench`: what Fleetform costs, held against what the API server can do at all.
//!
//! A benchmark has two halves, the raw limit and the fleet, each on a control plane of its own that was started for it.
//! On one and the same, the second half would find an etcd twice as large, an API server with warm caches and a grown
//! heap, and an operator that also reconciles what the bare client left behind; deleting that first would leave etcd
//! fragmented. The halves never run at the same time, and the order can be turned round to see whether it matters.

mod audit;
mod audit_log;
mod bed;
mod convergence;
mod device;
mod events;
mod fleet;
mod ingest;
mod objects;
mod profile;
mod raw;
mod raw_bodies;
mod report;
mod rollout;
mod stages;
mod steady;
mod table;
#[cfg(test)]
mod tests;
mod usage;
mod work;

use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleetform_e2e::{assets, stand_ins, tools};
use tokio::signal::unix::{SignalKind, signal};

use profile::Profile;
use report::Report;

/// What can be measured.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(clap::Subcommand)]
enum Benchmark {
    /// How long a fleet takes from its declaration to being active, how much of that the API server's own limit explains,
    /// and what the operator writes and keeps in memory for it.
    Convergence(Options),
    /// How long a change of a template takes to be applied by every device of an active fleet whose devices wait for it, and how
    /// much of that the API server's own limit explains. At most 16,000 devices: each holds a connection.
    Rollout(Options),
    /// How many measurements in a second the gateway takes from a site of 2,000 sensors, keeps and judges, held against a bare HTTP
    /// server that reads the same requests over the same mutual TLS.
    Ingest(IngestOptions),
    /// How many events in a second the operator brings to a file, to EventBridge and to a receiver of `CloudEvents`,
    /// and what each costs it, held against a bare client that brings the same events; and what it keeps in memory of
    /// what waits for a sink that is away.
    Events(EventsOptions),
    /// The bare HTTP server of `ingest`, in a process of its own.
    #[command(hide = true)]
    BareServer(ingest::Files),
}

#[derive(clap::Args)]
struct IngestOptions {
    #[command(flatten)]
    settings: ingest::Settings,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct EventsOptions {
    #[command(flatten)]
    settings: events::Settings,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct Options {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct Output {
    /// File to write the figures to, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How the programs, this one included, are compiled. Only figures of release builds mean anything.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

/// What is measured, and how.
#[derive(Clone, Debug, clap::Args)]
struct Settings {
    /// How many device instances are declared.
    #[arg(long, value_name = "N")]
    devices: NonZeroUsize,
    /// How many requests the bare client keeps in flight. The operator reconciles 48 objects at once.
    #[arg(long, value_name = "N", default_value = "48")]
    concurrency: NonZeroUsize,
    /// How long writes are counted after everything has come to rest, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    steady_seconds: u64,
    /// Of every so many devices one decodes the picture of its activation code; the others ask for its text.
    #[arg(long, value_name = "N", default_value = "50")]
    picture_every: NonZeroU32,
    /// Time between two check-ins of a device, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    check_in_seconds: u32,
    /// Which half comes first.
    #[arg(long, value_enum, default_value_t = Order::RawFirst)]
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    /// The bare client, then the fleet.
    RawFirst,
    /// The fleet, then the bare client.
    FleetFirst,
}

impl Settings {
    fn devices(&self) -> usize {
        self.devices.get()
    }

    /// One site for every thousand devices, and one at least.
    fn sites(&self) -> usize {
        (self.devices() / 1000).max(1)
    }

    /// How long either half may take: many times what it takes on two slow cores.
    fn limit(&self) -> Duration {
        Duration::from_mins(2) + Duration::from_millis(150) * u32::try_from(self.devices()).unwrap_or(u32::MAX)
    }
}

/// Measures, prints one table, and writes the JSON file.
pub(crate) fn run(args: &Args) -> Result<()> {
    let output = match &args.benchmark {
        Benchmark::Convergence(options) | Benchmark::Rollout(options) => &options.output,
        Benchmark::Ingest(options) => &options.output,
        Benchmark::Events(options) => &options.output,
        Benchmark::BareServer(files) => {
            return tokio::runtime::Runtime::new().context("start the async runtime")?.block_on(ingest::serve(files));
        }
    };
    output.profile.enter()?;
    // Before signals are ours, so that Ctrl-C also ends a build.
    assets::locate()?;
    tools::kubectl()?;
    tools::helm()?;
    if matches!(args.benchmark, Benchmark::Events(_)) {
        stand_ins::environment()?;
    }
    let runtime = tokio::runtime::Runtime::new().context("start the async runtime")?;
    let figures = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watch for Ctrl-C")?;
        tokio::select! {
            figures = measure(&args.benchmark) => figures,
            _ = terminate.recv() => bail!("ended before it had measured anything"),
            _ = interrupt.recv() => bail!("ended before it had measured anything"),
        }
    })?;
    println!("{}", figures.table);
    if let Some(path) = &output.json {
        fs::write(path, figures.json).with_context(|| format!("write the figures to {}", path.display()))?;
    }
    Ok(())
}

/// What was measured, for people and for programs.
struct Figures {
    table: String,
    json: String,
}

async fn measure(benchmark: &Benchmark) -> Result<Figures> {
    Ok(match benchmark {
        Benchmark::Convergence(options) => {
            let report = measure_convergence(&options.settings).await?;
            Figures { table: table::of(&report), json: report.to_json() }
        }
        Benchmark::Rollout(options) => {
            let figures = rollout::measure(&options.settings).await?;
            Figures { table: table::of_rows(figures.rows(), figures.optimised), json: figures.to_json() }
        }
        Benchmark::Ingest(options) => {
            let figures = ingest::measure(&options.settings).await?;
            Figures { table: table::of_rows(figures.rows(), figures.is_optimised()), json: figures.to_json() }
        }
        Benchmark::Events(options) => {
            let figures = events::measure(&options.settings).await?;
            Figures { table: table::of_rows(figures.rows(), figures.optimised), json: figures.to_json() }
        }
        Benchmark::BareServer(_) => bail!("it measures nothing"),
    })
}

async fn measure_convergence(settings: &Settings) -> Result<Report> {
    let (raw, fleet) = match settings.order {
        Order::RawFirst => {
            let raw = raw::measure(settings).await?;
            (raw, fleet::measure(settings).await?)
        }
        Order::FleetFirst => {
            let fleet = fleet::measure(settings).await?;
            (raw::measure(settings).await?, fleet)
        }
    };
    Ok(Report::new(settings, &raw, fleet))
}
