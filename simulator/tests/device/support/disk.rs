//! A disk that a gateway can make fail while a device waits for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fleetform_domain::wire::DeviceText;
use fleetform_simulator::storage::{Record, Storage, StorageError};

/// A disk that can be made to fail, in front of a good one.
#[derive(Debug)]
pub(crate) struct FailingStorage {
    disk: Arc<dyn Storage>,
    failing: AtomicBool,
}

impl FailingStorage {
    /// In front of `disk`, and good at first.
    pub(crate) fn new(disk: Arc<dyn Storage>) -> Arc<Self> {
        Arc::new(Self { disk, failing: AtomicBool::new(false) })
    }

    /// Whether saving fails from now on. Reading goes on to work, as on a full disk.
    pub(crate) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    fn check(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        if self.failing.load(Ordering::Relaxed) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(StorageError::Io { asset_tag: asset_tag.to_string(), source: full });
        }
        Ok(())
    }
}

impl Storage for FailingStorage {
    fn load(&self, asset_tag: &DeviceText) -> Result<Option<Record>, StorageError> {
        self.disk.load(asset_tag)
    }

    fn save(&self, asset_tag: &DeviceText, record: &Record) -> Result<(), StorageError> {
        self.check(asset_tag)?;
        self.disk.save(asset_tag, record)
    }

    fn remove(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        self.disk.remove(asset_tag)
    }

    fn load_users(&self, asset_tag: &DeviceText) -> Result<Option<Vec<u8>>, StorageError> {
        self.disk.load_users(asset_tag)
    }

    fn save_users(&self, asset_tag: &DeviceText, sealed: &[u8]) -> Result<(), StorageError> {
        self.check(asset_tag)?;
        self.disk.save_users(asset_tag, sealed)
    }

    fn remove_users(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        self.disk.remove_users(asset_tag)
    }

    fn list(&self) -> Result<Vec<DeviceText>, StorageError> {
        self.disk.list()
    }
}
