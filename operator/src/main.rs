//! The program `fleetform`.

use std::process::ExitCode;

use clap::Parser as _;
use fleetform_operator::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    Box::pin(execute(Cli::parse())).await
}
