//! Records as files, one small JSON file for each device.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use fleetform_domain::wire::DeviceText;

use super::{Record, Storage, StorageError};

const SUFFIX: &str = ".json";
const LOCK: &str = ".lock";

/// A directory of records.
///
/// # Guarantees
///
/// Files are written beside and renamed into place, so the end of the program at any instant leaves the old record or
/// the new one. They are readable by their owner only. The directory is locked while it is in use.
///
/// # Caveats
///
/// Files are not flushed to the platter one by one, which would cost more than everything else a simulated device
/// does: after a power cut of the machine the latest records may be missing, as if those devices had been destroyed.
#[derive(Debug)]
pub struct DirectoryStorage {
    directory: PathBuf,
    _lock: File,
}

impl DirectoryStorage {
    /// Opens the directory, making it if it is not there.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let directory = directory.into();
        let failed = |source| StorageError::Directory { directory: directory.display().to_string(), source };
        fs::create_dir_all(&directory).map_err(failed)?;
        let lock = private().create(true).truncate(false).write(true).open(directory.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::InUse { directory: directory.display().to_string() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(Self { directory, _lock: lock })
    }

    fn file(&self, asset_tag: &DeviceText, suffix: &str) -> PathBuf {
        // The first letter keeps `.` and `..`, which are good texts of devices, from being names of directories.
        self.directory.join(format!("d{asset_tag}{suffix}"))
    }
}

/// For files that only their owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = private().create(true).truncate(true).write(true).open(beside)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(beside, path)
}

impl Storage for DirectoryStorage {
    fn load(&self, asset_tag: &DeviceText) -> Result<Option<Record>, StorageError> {
        match fs::read(self.file(asset_tag, SUFFIX)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| StorageError::Unreadable {
                asset_tag: asset_tag.to_string(),
                line: error.line(),
                column: error.column(),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StorageError::Io { asset_tag: asset_tag.to_string(), source }),
        }
    }

    fn save(&self, asset_tag: &DeviceText, record: &Record) -> Result<(), StorageError> {
        let bytes = serde_json::to_vec(record).expect("a record is plain data");
        replace(&self.file(asset_tag, SUFFIX), &self.file(asset_tag, ".new"), &bytes)
            .map_err(|source| StorageError::Io { asset_tag: asset_tag.to_string(), source })
    }

    fn remove(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        match fs::remove_file(self.file(asset_tag, SUFFIX)) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(StorageError::Io { asset_tag: asset_tag.to_string(), source })
            }
            _ => Ok(()),
        }
    }

    fn list(&self) -> Result<Vec<DeviceText>, StorageError> {
        let failed = |source| StorageError::Directory { directory: self.directory.display().to_string(), source };
        let mut tags = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let tag = name.to_str().and_then(|name| name.strip_prefix('d')?.strip_suffix(SUFFIX));
            tags.extend(tag.and_then(|tag| DeviceText::try_from(tag).ok()));
        }
        Ok(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Committed, Der, Stage};

    fn record(association: &str) -> Record {
        let committed = Committed {
            gateway: "https://gateway.example:8443".into(),
            association_id: association.into(),
            certificates: vec![Der(vec![1, 2, 3])],
            authorities: vec![Der(vec![4])],
            wanted: 1,
            configuration: None,
        };
        Record { private_key: Der(vec![7; 8]), stage: Stage::Active(committed) }
    }

    fn tag(text: &str) -> DeviceText {
        text.try_into().unwrap()
    }

    #[test]
    fn records_outlive_the_program_and_can_be_removed() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        assert_eq!(storage.load(&tag("SIM-1")).unwrap(), None);
        storage.save(&tag("SIM-1"), &record("a")).unwrap();
        storage.save(&tag("SIM-1"), &record("b")).unwrap();
        storage.save(&tag(".."), &record("c")).unwrap();
        drop(storage);

        let storage = DirectoryStorage::open(directory.path()).unwrap();
        assert_eq!(storage.load(&tag("SIM-1")).unwrap(), Some(record("b")));
        let mut tags = storage.list().unwrap();
        tags.sort();
        assert_eq!(tags, [tag(".."), tag("SIM-1")]);
        storage.remove(&tag("SIM-1")).unwrap();
        storage.remove(&tag("SIM-1")).unwrap();
        assert_eq!(storage.list().unwrap(), [tag("..")]);
    }

    #[test]
    fn a_save_that_was_cut_short_leaves_the_old_record() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        storage.save(&tag("SIM-1"), &record("a")).unwrap();
        fs::write(directory.path().join("dSIM-1.new"), b"{\"priv").unwrap();
        assert_eq!(storage.load(&tag("SIM-1")).unwrap(), Some(record("a")));
        assert_eq!(storage.list().unwrap(), [tag("SIM-1")]);
        storage.save(&tag("SIM-1"), &record("b")).unwrap();
        assert_eq!(storage.load(&tag("SIM-1")).unwrap(), Some(record("b")));
    }

    #[test]
    fn a_save_that_fails_leaves_the_old_record() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        storage.save(&tag("SIM-1"), &record("a")).unwrap();
        fs::create_dir(directory.path().join("dSIM-1.new")).unwrap();
        assert!(matches!(storage.save(&tag("SIM-1"), &record("b")), Err(StorageError::Io { .. })));
        assert_eq!(storage.load(&tag("SIM-1")).unwrap(), Some(record("a")));
    }

    #[test]
    fn a_record_that_cannot_be_read_says_whose_and_quotes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        fs::write(directory.path().join("dSIM-1.json"), b"{\"privateKey\": \"c2VjcmV0\", \"stage\": \"secret\"}")
            .unwrap();
        let message = storage.load(&tag("SIM-1")).unwrap_err().to_string();
        assert!(message.contains("SIM-1") && !message.contains("ecret"), "{message}");
    }

    #[test]
    fn two_programs_do_not_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        assert!(matches!(DirectoryStorage::open(directory.path()), Err(StorageError::InUse { .. })));
        drop(storage);
        assert!(DirectoryStorage::open(directory.path()).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_a_record() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        storage.save(&tag("SIM-1"), &record("a")).unwrap();
        let mode = fs::metadata(directory.path().join("dSIM-1.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
