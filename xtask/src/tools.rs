//! `cargo xtask tools`: where kubectl and helm are.

use anyhow::Result;
use fleetform_e2e::tools;

/// Prints their paths on standard output, kubectl first, a line each.
pub(crate) fn run() -> Result<()> {
    println!("{}", tools::kubectl()?.display());
    println!("{}", tools::helm()?.display());
    Ok(())
}
