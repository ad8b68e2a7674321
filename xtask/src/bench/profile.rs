//! How the programs are compiled.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace;

/// How operator, simulator and the bare client are compiled: all alike, or the ratio says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Profile {
    /// As it is shipped.
    Release,
    /// Unoptimised, for trying the benchmark itself.
    Dev,
}

impl Profile {
    /// That of the running program.
    pub(super) const fn own() -> Self {
        if cfg!(debug_assertions) { Self::Dev } else { Self::Release }
    }

    /// Builds what is measured. When the running program is of the other profile it is replaced by itself in this one.
    pub(super) fn enter(self) -> Result<()> {
        // All in one go, also the second time: built apart, packages would be built twice with different features.
        let mut build = vec!["build", "--workspace", "--bins"];
        if self == Self::Release {
            build.push("--release");
        }
        workspace::cargo(&build)?;
        if self == Self::own() {
            return Ok(());
        }
        let own = env::current_exe().context("find the running program")?;
        let program = self.twin(&own).with_context(|| format!("{} is in no folder of cargo's", own.display()))?;
        // Comes back only when it failed.
        let error = Command::new(&program).args(env::args_os().skip(1)).exec();
        Err(error).with_context(|| format!("run {}", program.display()))
    }

    /// The same program in this profile: cargo has a folder for each, side by side.
    fn twin(self, own: &Path) -> Option<PathBuf> {
        let folder = match self {
            Self::Release => "release",
            Self::Dev => "debug",
        };
        Some(own.parent()?.parent()?.join(folder).join(own.file_name()?))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::Profile;

    #[test]
    fn each_profile_has_its_folder() {
        let own = Path::new("/project/target/debug/xtask");
        assert_eq!(Profile::Release.twin(own), Some(PathBuf::from("/project/target/release/xtask")));
        assert_eq!(Profile::Dev.twin(own), Some(own.to_owned()));
    }
}
