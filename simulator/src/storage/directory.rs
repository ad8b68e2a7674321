//! Records as files, one small file for each device.
//!
//! A file has one record on each line, as JSON, and the last whole line counts. To append costs one third of what it takes
//! to write a new file and rename it into place: file systems are slow at making and removing files in the thousands. After a record that
//! has people in it, though, the file is written anew, so that who is to be forgotten does not stay on an earlier line.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use fleetform_domain::wire::DeviceText;
use parking_lot::Mutex;

use super::{Record, Storage, StorageError};

const SUFFIX: &str = ".jsonl";

/// Of the sealed list of enrolled users, beside the record.
const USERS: &str = ".users";

/// The same, before it has taken its place.
const USERS_NEW: &str = ".users.new";

/// A file that would grow beyond this is written anew, with the latest record only. In bytes.
const LONG: u64 = 32 * 1024;
const LOCK: &str = ".lock";

/// Of a file that is to take the place of another one, and did not if the program ended before.
const NEW: &str = ".new";

/// A directory of records.
///
/// # Guarantees
///
/// The end of the program at any instant leaves the old record or the new one: a line that was cut short does not count.
/// Files are readable by their owner only. The directory is locked while it is in use.
///
/// # Caveats
///
/// Files are not flushed to the platter one by one, which would cost more than everything else a simulated device
/// does: after a power cut of the machine the latest records may be missing, as if those devices had been destroyed.
#[derive(Debug)]
pub struct DirectoryStorage {
    directory: PathBuf,
    /// The devices whose files hold badges or palms, or may on a line that was cut short.
    with_people: Mutex<HashSet<DeviceText>>,
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
        Ok(Self { directory, with_people: Mutex::default(), _lock: lock })
    }

    fn remove_file(&self, asset_tag: &DeviceText, suffix: &str) -> Result<(), StorageError> {
        match fs::remove_file(self.file(asset_tag, suffix)) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(StorageError::Io { asset_tag: asset_tag.to_string(), source })
            }
            _ => Ok(()),
        }
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

/// Adds a line at the end. It begins with the end of a line, because the one before may have been cut short.
fn append(path: &Path, line: &[u8]) -> io::Result<bool> {
    let mut file = private().create(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    let bytes = [b"\n", line, b"\n"].concat();
    if length + bytes.len() as u64 > LONG {
        return Ok(false);
    }
    file.write_all(&bytes).inspect_err(|_| drop(file.set_len(length)))?;
    Ok(true)
}

/// Puts a file with these bytes only in place of the one that is there.
fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private().create(true).truncate(true).write(true).open(beside)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(beside, path)
}

/// The record of the last line that holds one, and whether a later line was cut short.
fn last_record(bytes: &[u8]) -> serde_json::Result<(Record, bool)> {
    let mut lines = bytes.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    match serde_json::from_slice(lines.next().unwrap_or_default()) {
        Ok(last) => Ok((last, false)),
        Err(error) => lines.find_map(|line| Some((serde_json::from_slice(line).ok()?, true))).ok_or(error),
    }
}

impl Storage for DirectoryStorage {
    fn load(&self, asset_tag: &DeviceText) -> Result<Option<Record>, StorageError> {
        match fs::read(self.file(asset_tag, SUFFIX)) {
            Ok(bytes) => {
                let (record, is_cut_short) = last_record(&bytes).map_err(|error| StorageError::Unreadable {
                    asset_tag: asset_tag.to_string(),
                    column: error.column(),
                })?;
                if record.holds_people() || is_cut_short {
                    self.with_people.lock().insert(asset_tag.clone());
                }
                Ok(Some(record))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StorageError::Io { asset_tag: asset_tag.to_string(), source }),
        }
    }

    fn save(&self, asset_tag: &DeviceText, record: &Record) -> Result<(), StorageError> {
        let line = serde_json::to_vec(record).expect("a record is plain data");
        let path = self.file(asset_tag, SUFFIX);
        let held_people = self.with_people.lock().contains(asset_tag);
        let appended = if held_people { Ok(false) } else { append(&path, &line) };
        let saved = match appended {
            Ok(false) => replace(&path, &self.file(asset_tag, NEW), &line),
            saved => saved.map(drop),
        };
        saved.map_err(|source| StorageError::Io { asset_tag: asset_tag.to_string(), source })?;
        let mut with_people = self.with_people.lock();
        if record.holds_people() {
            with_people.insert(asset_tag.clone());
        } else if held_people {
            with_people.remove(asset_tag);
        }
        Ok(())
    }

    fn remove(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        // The list first: without its record nothing names it any more.
        self.remove_users(asset_tag)?;
        self.remove_file(asset_tag, NEW)?;
        self.remove_file(asset_tag, SUFFIX)
    }

    fn load_users(&self, asset_tag: &DeviceText) -> Result<Option<Vec<u8>>, StorageError> {
        match fs::read(self.file(asset_tag, USERS)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StorageError::Io { asset_tag: asset_tag.to_string(), source }),
        }
    }

    fn save_users(&self, asset_tag: &DeviceText, sealed: &[u8]) -> Result<(), StorageError> {
        replace(&self.file(asset_tag, USERS), &self.file(asset_tag, USERS_NEW), sealed)
            .map_err(|source| StorageError::Io { asset_tag: asset_tag.to_string(), source })
    }

    fn remove_users(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        self.remove_file(asset_tag, USERS_NEW)?;
        self.remove_file(asset_tag, USERS)
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
    use crate::storage::{Committed, Der, PeopleRecord, Stage, Untold};

    fn record(association: &str) -> Record {
        let committed = Committed {
            gateway: "https://gateway.example:8443".into(),
            association_id: association.into(),
            certificates: vec![Der(vec![1, 2, 3])],
            authorities: vec![Der(vec![4])],
            wanted: 1,
            configuration: None,
            trial: None,
            refused: None,
            software: None,
            lock: None,
            completed: None,
            people: PeopleRecord::default(),
            sensors: None,
        };
        Record { private_key: Der(vec![7; 8]), stage: Stage::Active(Box::new(committed)) }
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
    fn a_save_that_was_cut_short_at_any_byte_leaves_the_old_record() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        let path = directory.path().join("dSIM-1.jsonl");
        storage.save(&tag("SIM-1"), &record("a")).unwrap();
        let old = fs::metadata(&path).unwrap().len();
        storage.save(&tag("SIM-1"), &record("b")).unwrap();
        let whole = fs::read(&path).unwrap();
        // Only the end of the line is missing in the last case: then the record is there.
        for length in usize::try_from(old).unwrap()..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let loaded = storage.load(&tag("SIM-1")).unwrap();
            let expected = if length == whole.len() - 1 { "b" } else { "a" };
            assert_eq!(loaded, Some(record(expected)), "cut at {length}");
            storage.save(&tag("SIM-1"), &record("c")).unwrap();
            assert_eq!(storage.load(&tag("SIM-1")).unwrap(), Some(record("c")), "cut at {length}");
        }
    }

    #[test]
    fn a_file_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        for round in 0..2_000 {
            storage.save(&tag("SIM-1"), &record(&round.to_string())).unwrap();
        }
        assert!(fs::metadata(directory.path().join("dSIM-1.jsonl")).unwrap().len() <= LONG);
        assert_eq!(storage.load(&tag("SIM-1")).unwrap(), Some(record("1999")));
        assert_eq!(storage.list().unwrap(), [tag("SIM-1")]);
    }

    #[test]
    fn who_is_to_be_forgotten_stays_on_no_earlier_line() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        let path = directory.path().join("dSIM-1.jsonl");
        let mut with_people = record("a");
        let Stage::Active(committed) = &mut with_people.stage else { unreachable!("it is active") };
        committed.people.keep(|sequence| {
            Some(Untold::Enrollment { sequence, undecided: true, sealed: Der(b"ada, sealed".to_vec()) })
        });
        let holds = || String::from_utf8(fs::read(&path).unwrap()).unwrap().contains("YWRhLCBzZWFsZW");
        storage.save(&tag("SIM-1"), &with_people).unwrap();
        assert!(holds());
        storage.save(&tag("SIM-1"), &record("b")).unwrap();
        assert!(!holds());
        // Another program does not know what the one before wrote, nor how far it came.
        storage.save(&tag("SIM-1"), &with_people).unwrap();
        for length in [fs::metadata(&path).unwrap().len(), 800] {
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            assert!(holds(), "cut at {length}: it was on the way");
            let another = DirectoryStorage {
                directory: storage.directory.clone(),
                with_people: Mutex::default(),
                _lock: File::open(&path).unwrap(),
            };
            another.load(&tag("SIM-1")).unwrap();
            another.save(&tag("SIM-1"), &record("c")).unwrap();
            assert!(!holds(), "cut at {length}");
            storage.save(&tag("SIM-1"), &record("c")).unwrap();
            storage.save(&tag("SIM-1"), &with_people).unwrap();
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_says_whose_and_quotes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        let bad = b"{\"privateKey\": \"c2VjcmV0\", \"stage\": \"secret\"}";
        for bytes in [&bad[..], b"", b"\n\n", &[0; 100]] {
            fs::write(directory.path().join("dSIM-1.jsonl"), bytes).unwrap();
            let message = storage.load(&tag("SIM-1")).unwrap_err().to_string();
            assert!(message.contains("SIM-1") && !message.contains("ecret"), "{message}");
        }
    }

    #[test]
    fn two_programs_do_not_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        assert!(matches!(DirectoryStorage::open(directory.path()), Err(StorageError::InUse { .. })));
        drop(storage);
        assert!(DirectoryStorage::open(directory.path()).is_ok());
    }

    #[test]
    fn a_list_lies_beside_its_record_and_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        let (own, other) = (tag("SIM-1"), tag("SIM-1.users"));
        for device in [&own, &other] {
            storage.save(device, &record("a")).unwrap();
        }
        storage.save_users(&own, b"sealed").unwrap();
        storage.save_users(&own, b"sealed anew").unwrap();
        assert_eq!(storage.load_users(&own).unwrap().as_deref(), Some(&b"sealed anew"[..]));
        assert_eq!(storage.load_users(&other).unwrap(), None);
        assert_eq!(storage.list().unwrap().len(), 2);
        // The power went before the next ones had taken their places.
        for unfinished in ["dSIM-1.new", "dSIM-1.users.new"] {
            fs::write(directory.path().join(unfinished), "secret").unwrap();
        }
        storage.remove(&own).unwrap();
        let left = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| !name.to_string_lossy().starts_with("dSIM-1.users.jsonl")).collect();
        assert_eq!(left, [LOCK], "nothing of it is left");
        assert_eq!(storage.load_users(&own).unwrap(), None);
        assert_eq!(storage.load(&other).unwrap(), Some(record("a")));
        storage.remove_users(&own).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_a_record() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::open(directory.path()).unwrap();
        storage.save(&tag("SIM-1"), &record("a")).unwrap();
        let mode = fs::metadata(directory.path().join("dSIM-1.jsonl")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
