//! `fleetform-release`: keys that sign software releases, and releases as they stand in a configuration.

use std::process::ExitCode;

use clap::Parser as _;
use fleetform_simulator::sign::{self, Cli};

fn main() -> ExitCode {
    match sign::main(&Cli::parse()) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
