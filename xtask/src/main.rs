//! `cargo xtask`: what a developer runs.

mod bench;
mod control_plane;
mod demo;
mod generate;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a developer of Fleetform runs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the example fleet on a control plane of its own, until Ctrl-C.
    Demo(demo::Args),
    /// Run every test there is, and the checks that come before.
    Test(test::Args),
    /// Measure what a fleet costs, against what the API server can do at all.
    Bench(bench::Args),
    /// Run a Kubernetes control plane alone, until Ctrl-C.
    ControlPlane(control_plane::Args),
    /// Print where kubectl and helm are, fetching or building what is missing.
    Tools,
    /// Write what is checked in and made from code: the definitions of the custom resources.
    Generate,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::ControlPlane(args) => control_plane::run(args),
        Task::Tools => tools::run(),
        Task::Generate => generate::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
