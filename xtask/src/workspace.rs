//! This repository, and cargo in it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

/// The folder of the repository.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Runs cargo in the repository, with its output on ours.
///
/// # Errors
///
/// When it fails. What is wrong, cargo has said itself.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: &[S]) -> Result<()> {
    let status = try_cargo(args)?;
    if !status.success() {
        bail!("`cargo {}` failed", words(args));
    }
    Ok(())
}

/// Runs cargo in the repository, with its output on ours, and tells how it ended.
pub(crate) fn try_cargo<S: AsRef<OsStr>>(args: &[S]) -> Result<ExitStatus> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(program).args(args).current_dir(root()).status();
    status.with_context(|| format!("run `cargo {}`", words(args)))
}

/// Builds operator and simulator in the profile that this program was built in.
pub(crate) fn build_programs() -> Result<()> {
    if cfg!(debug_assertions) {
        // With all of the workspace, of whose packages this program was built: so nothing is built twice.
        cargo(&["build", "--workspace", "--bins"])
    } else {
        cargo(&["build", "--package=fleetform-operator", "--package=fleetform-simulator", "--release"])
    }
}

fn words<S: AsRef<OsStr>>(args: &[S]) -> String {
    args.iter().map(|word| word.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ")
}
