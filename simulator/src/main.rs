//! The program `fleetform-simulator`; see [`fleetform_simulator::cli`].

use clap::Parser as _;
use fleetform_simulator::cli::{self, Cli};

fn main() -> std::process::ExitCode {
    // First of all: nothing may speak TLS before it is said who does the cryptography.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match cli::main(&Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetform-simulator: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
