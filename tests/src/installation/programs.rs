//! Our own programs, as cargo left them beside the one that runs now.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

/// The operator's program.
pub const OPERATOR: &str = "fleetform";

/// The simulator's program.
pub const SIMULATOR: &str = "fleetform-simulator";

/// The program that plays one device by hand.
pub const DEVICE: &str = "fleetform-device";

/// Where the program `name` is: in cargo's folder that the running program was built into, so that both are of one profile.
///
/// # Errors
///
/// When it is not there; with the command that builds it.
pub fn locate(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("find the running program")?;
    locate_beside(&own, name)
}

fn locate_beside(own: &Path, name: &str) -> Result<PathBuf> {
    // Tests are one folder deeper than programs.
    let folders = own.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        let folder = own.parent().unwrap_or(own);
        anyhow!(
            "there is no {name} in {} or above it: build it with `cargo build`, or run `cargo xtask test`",
            folder.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::locate_beside;

    #[test]
    fn programs_are_beside_programs_and_above_tests() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("deps")).unwrap();
        fs::write(temp.path().join("fleetform"), "").unwrap();
        for own in ["xtask", "deps/e2e-0123"] {
            assert_eq!(locate_beside(&temp.path().join(own), "fleetform").unwrap(), temp.path().join("fleetform"));
        }
        let error = locate_beside(&temp.path().join("xtask"), "other").unwrap_err().to_string();
        assert!(error.contains("no other") && error.contains("cargo build"), "{error}");
    }
}
