//! The program `fleetform-device`; see [`fleetform_simulator::by_hand`].

use clap::Parser as _;
use fleetform_simulator::by_hand::{self, Cli};

fn main() -> std::process::ExitCode {
    // First of all: nothing may speak TLS before it is said who does the cryptography.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match by_hand::main(&Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetform-device: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
