//! The folder of one control plane, held by one process at a time.

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Set to anything, temporary folders stay, for a look at the logs of a failed test.
const KEEP: &str = "FLEETFORM_KEEP";

pub(super) struct Folder {
    dir: PathBuf,
    _lock: File,
    // Removes the folder when dropped.
    temporary: Option<TempDir>,
}

impl Folder {
    pub(super) fn open(dir: Option<PathBuf>) -> Result<Self> {
        let (dir, temporary) = if let Some(dir) = dir {
            fs::create_dir_all(&dir).with_context(|| format!("create the folder {}", dir.display()))?;
            let dir = dir.canonicalize().with_context(|| format!("find the folder {}", dir.display()))?;
            (dir, None)
        } else {
            let mut temporary =
                TempDir::with_prefix("fleetform-").context("create a temporary folder; TMPDIR may help")?;
            temporary.disable_cleanup(env::var_os(KEEP).is_some());
            (temporary.path().to_owned(), Some(temporary))
        };
        let lock = File::create(dir.join("lock")).with_context(|| format!("write into {}", dir.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir, _lock: lock, temporary }),
            Err(TryLockError::WouldBlock) => {
                bail!("another control plane runs in {}: stop it, or name another folder", dir.display())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", dir.display())),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a person finds a file of it after an error.
    pub(super) fn whereabouts(&self, path: &Path) -> String {
        if self.temporary.is_none() || env::var_os(KEEP).is_some() {
            path.display().to_string()
        } else {
            format!("set {KEEP}=1 to keep such files")
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Folder;

    #[test]
    fn a_folder_serves_one_control_plane_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        let first = Folder::open(Some(dir.clone())).unwrap();
        let error = Folder::open(Some(dir.clone())).err().unwrap().to_string();
        assert!(error.contains("another control plane runs in"), "{error}");
        drop(first);
        Folder::open(Some(dir)).unwrap();
    }
}
