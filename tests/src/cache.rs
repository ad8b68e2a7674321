//! Things that take minutes to make, kept in the user's cache folder and made once.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

/// `$XDG_CACHE_HOME/fleetform`, or `~/.cache/fleetform`.
pub(crate) fn root() -> Result<PathBuf> {
    root_from(env::var_os("XDG_CACHE_HOME").map(PathBuf::from), env::home_dir())
}

fn root_from(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf> {
    // The XDG specification has relative paths ignored.
    let base = xdg
        .filter(|path| path.is_absolute())
        .or_else(|| home.filter(|path| path.is_absolute()).map(|home| home.join(".cache")));
    base.map(|base| base.join("fleetform"))
        .ok_or_else(|| anyhow!("there is no folder to keep builds in: set HOME, or XDG_CACHE_HOME to an absolute path"))
}

/// Makes the folder `dest` if it is not there, by letting `make` fill another one that is then renamed, so that `dest` is
/// either complete or absent whenever anybody looks. Of two processes that want it at once, one makes it and one waits.
pub(crate) fn once(dest: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if dest.exists() {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (dest.parent(), dest.file_name()) else {
        return Err(anyhow!("{} cannot be a cached folder", dest.display()));
    };
    fs::create_dir_all(parent)
        .with_context(|| format!("create {}: make it writable, or point XDG_CACHE_HOME elsewhere", parent.display()))?;
    let lock_path = parent.join(format!(".{}.lock", name.to_string_lossy()));
    let lock = File::create(&lock_path).with_context(|| format!("create the lock {}", lock_path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("Another process is making {}; waiting for it", dest.display());
            lock.lock().with_context(|| format!("lock {}", lock_path.display()))?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context(format!("lock {}", lock_path.display())),
    }
    if dest.exists() {
        return Ok(());
    }
    // Ours alone while we hold the lock, so what is there was left by one that was killed.
    let staging = parent.join(format!(".making-{}", name.to_string_lossy()));
    remove(&staging)?;
    fs::create_dir(&staging).with_context(|| format!("create {}", staging.display()))?;
    if let Err(error) = make(&staging) {
        remove(&staging)?;
        return Err(error);
    }
    fs::rename(&staging, dest).with_context(|| format!("put the finished build in place at {}", dest.display()))
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}, left by an earlier build", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use anyhow::bail;

    use super::{once, root_from};

    #[test]
    fn xdg_comes_first_and_must_be_absolute() {
        let home = || Some(PathBuf::from("/home/someone"));
        assert_eq!(root_from(Some("/x".into()), home()).unwrap(), PathBuf::from("/x/fleetform"));
        assert_eq!(root_from(Some("x".into()), home()).unwrap(), PathBuf::from("/home/someone/.cache/fleetform"));
        assert_eq!(root_from(None, home()).unwrap(), PathBuf::from("/home/someone/.cache/fleetform"));
        assert!(root_from(None, None).unwrap_err().to_string().contains("XDG_CACHE_HOME"));
    }

    #[test]
    fn a_thing_is_made_once_and_a_failed_making_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dest = temp.path().join("deep/thing");
        assert!(once(&dest, |_| bail!("no")).is_err());
        assert!(!dest.exists());
        once(&dest, |staging| Ok(fs::write(staging.join("file"), "1")?)).unwrap();
        once(&dest, |_| bail!("made twice")).unwrap();
        assert_eq!(fs::read_to_string(dest.join("file")).unwrap(), "1");
        let left: Vec<_> = fs::read_dir(dest.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "the thing and its lock, nothing half made: {left:?}");
    }
}
