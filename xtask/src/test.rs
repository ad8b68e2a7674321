//! `cargo xtask test`: every test there is.

use std::process::{self, Command, Stdio};

use anyhow::Result;
use fleetform_e2e::{assets, stand_ins, tools};

use crate::workspace;

/// What is tested.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what goes to the tests: `cargo xtask test -- NAME` runs those whose names contain NAME.
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Checks what is quick to check, prepares the control plane, its tools and what stands for AWS, and runs all tests. The last lines are those of
/// the tests.
pub(crate) fn run(args: &Args) -> Result<()> {
    workspace::cargo(&["fmt", "--all", "--check"])?;
    workspace::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    deny()?;
    assets::locate()?;
    tools::kubectl()?;
    tools::helm()?;
    stand_ins::environment()?;
    // Tests and programs in one go: built apart, packages would be built twice with different features.
    workspace::cargo(&["build", "--workspace", "--all-targets"])?;
    // Examples in the documentation first, so that the last lines tell of the tests.
    for targets in ["--doc", "--all-targets"] {
        let mut test = vec!["test", "--workspace", "--no-fail-fast", targets, "--"];
        test.extend(args.args.iter().map(String::as_str));
        let status = workspace::try_cargo(&test)?;
        if !status.success() {
            // What failed, the last lines say themselves.
            process::exit(status.code().unwrap_or(1));
        }
    }
    Ok(())
}

/// Licences, sources and known vulnerabilities of packages, where the tool for it is installed.
fn deny() -> Result<()> {
    let mut probe = Command::new("cargo-deny");
    let is_installed =
        probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if is_installed {
        return workspace::cargo(&["deny", "check"]);
    }
    eprintln!(
        "note: cargo-deny is not installed, so licences and advisories are not checked (cargo install cargo-deny)"
    );
    Ok(())
}
