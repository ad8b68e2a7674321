//! What a device keeps when its power goes: its key, its association, its configuration, and what it knows of people.

mod directory;
mod people;
mod record;
mod sensors;

use std::collections::HashMap;
use std::fmt;

use fleetform_domain::wire::DeviceText;
use parking_lot::Mutex;

pub use directory::DirectoryStorage;
pub use people::{MAX_UNTOLD, PeopleRecord, Untold};
pub use record::{Committed, Der, Installed, Pending, Record, Stage, Trial};
pub use sensors::{ListedSensor, SensorList};

/// The disks of devices: one record for each, and a list of enrolled users beside it, sealed by the device.
///
/// # Guarantees
///
/// A save is all or nothing: after a crash the record is the old one or the new one.
pub trait Storage: Send + Sync + fmt::Debug {
    /// The record of a device; none when it is as it left the factory.
    fn load(&self, asset_tag: &DeviceText) -> Result<Option<Record>, StorageError>;

    /// Replaces the record of a device.
    fn save(&self, asset_tag: &DeviceText, record: &Record) -> Result<(), StorageError>;

    /// Removes the record of a device and its list, if there are any.
    fn remove(&self, asset_tag: &DeviceText) -> Result<(), StorageError>;

    /// The sealed list of a device; none when it holds none.
    fn load_users(&self, asset_tag: &DeviceText) -> Result<Option<Vec<u8>>, StorageError>;

    /// Replaces the sealed list of a device.
    fn save_users(&self, asset_tag: &DeviceText, sealed: &[u8]) -> Result<(), StorageError>;

    /// Removes the list of a device, if there is one.
    fn remove_users(&self, asset_tag: &DeviceText) -> Result<(), StorageError>;

    /// The devices that have a record.
    fn list(&self) -> Result<Vec<DeviceText>, StorageError>;
}

/// A disk that failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Reading or writing failed.
    #[error("the disk of device {asset_tag}: {source}")]
    Io {
        /// Whose.
        asset_tag: String,
        /// Why.
        source: std::io::Error,
    },
    /// What was read is no record. The device is as if its disk had been lost.
    #[error("the disk of device {asset_tag} holds no record that this version can read (column {column})")]
    Unreadable {
        /// Whose.
        asset_tag: String,
        /// Where reading stopped.
        column: usize,
    },
    /// Two programs must not play the same devices: they would look like clones of each other.
    #[error("state directory {directory}: another simulator uses it; stop that one or choose another --state-dir")]
    InUse {
        /// Which directory.
        directory: String,
    },
    /// The directory cannot be opened or made.
    #[error("state directory {directory}: {source}")]
    Directory {
        /// Which directory.
        directory: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Records in memory, for tests: they outlive a device, but not the program.
#[derive(Default)]
pub struct MemoryStorage {
    records: Mutex<HashMap<DeviceText, Record>>,
    users: Mutex<HashMap<DeviceText, Vec<u8>>>,
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").finish_non_exhaustive()
    }
}

impl Storage for MemoryStorage {
    fn load(&self, asset_tag: &DeviceText) -> Result<Option<Record>, StorageError> {
        Ok(self.records.lock().get(asset_tag).cloned())
    }

    fn save(&self, asset_tag: &DeviceText, record: &Record) -> Result<(), StorageError> {
        self.records.lock().insert(asset_tag.clone(), record.clone());
        Ok(())
    }

    fn remove(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        self.records.lock().remove(asset_tag);
        self.remove_users(asset_tag)
    }

    fn load_users(&self, asset_tag: &DeviceText) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.users.lock().get(asset_tag).cloned())
    }

    fn save_users(&self, asset_tag: &DeviceText, sealed: &[u8]) -> Result<(), StorageError> {
        self.users.lock().insert(asset_tag.clone(), sealed.to_vec());
        Ok(())
    }

    fn remove_users(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        self.users.lock().remove(asset_tag);
        Ok(())
    }

    fn list(&self) -> Result<Vec<DeviceText>, StorageError> {
        Ok(self.records.lock().keys().cloned().collect())
    }
}
