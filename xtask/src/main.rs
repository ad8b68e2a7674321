//! `cargo xtask`: what a developer runs.

mod control_plane;
mod tools;

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
    /// Run a Kubernetes control plane alone, until Ctrl-C.
    ControlPlane(control_plane::Args),
    /// Print where kubectl and helm are, fetching or building what is missing.
    Tools,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Task::ControlPlane(args) => control_plane::run(args),
        Task::Tools => tools::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
