//! What goes wrong around a device, made on purpose: pictures that cannot be read, disks that cannot be written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fleetform_domain::wire::DeviceText;

use crate::picture::Grey;
use crate::storage::{Record, Storage, StorageError};

/// Two PNG pictures beside each other in one, as two sheets of paper in one view. `None` when one of them is no picture.
pub fn side_by_side(left: &[u8], right: &[u8]) -> Option<Vec<u8>> {
    let (left, right) = (Grey::from_png(left)?, Grey::from_png(right)?);
    let height = left.height.max(right.height);
    let mut pixels = Vec::with_capacity((left.width + right.width) * height);
    for y in 0..height {
        for picture in [&left, &right] {
            let start = y * picture.width;
            match picture.pixels.get(start..start + picture.width) {
                Some(row) => pixels.extend_from_slice(row),
                None => pixels.resize(pixels.len() + picture.width, u8::MAX),
            }
        }
    }
    Some(Grey { width: left.width + right.width, height, pixels }.to_png())
}

/// The PNG picture with more of it covered in white than error correction makes up for. `None` when it is no picture.
pub fn covered(png: &[u8]) -> Option<Vec<u8>> {
    let mut picture = Grey::from_png(png)?;
    let covered = picture.width * picture.height * 2 / 3;
    picture.pixels[..covered].fill(u8::MAX);
    Some(picture.to_png())
}

/// A disk that can be made to fail, in front of a good one.
#[derive(Debug)]
pub struct FailingStorage {
    disk: Arc<dyn Storage>,
    failing: AtomicBool,
}

impl FailingStorage {
    /// In front of `disk`, and good at first.
    pub fn new(disk: Arc<dyn Storage>) -> Arc<Self> {
        Arc::new(Self { disk, failing: AtomicBool::new(false) })
    }

    /// Whether saving fails from now on. Reading goes on to work, as on a full disk.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }
}

impl Storage for FailingStorage {
    fn load(&self, asset_tag: &DeviceText) -> Result<Option<Record>, StorageError> {
        self.disk.load(asset_tag)
    }

    fn save(&self, asset_tag: &DeviceText, record: &Record) -> Result<(), StorageError> {
        if self.failing.load(Ordering::Relaxed) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(StorageError::Io { asset_tag: asset_tag.to_string(), source: full });
        }
        self.disk.save(asset_tag, record)
    }

    fn remove(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        self.disk.remove(asset_tag)
    }

    fn list(&self) -> Result<Vec<DeviceText>, StorageError> {
        self.disk.list()
    }
}
