//! Locks by key: what is done for one key is done one after the other, and mostly nothing else waits for it.

use std::hash::{BuildHasher as _, Hash, RandomState};

use tokio::sync::{Mutex, MutexGuard};

const SHARDS: usize = 64;

/// A bounded number of locks that stand for any number of keys.
#[derive(Debug)]
pub struct Shards {
    hasher: RandomState,
    locks: [Mutex<()>; SHARDS],
}

impl Default for Shards {
    fn default() -> Self {
        Self { hasher: RandomState::new(), locks: std::array::from_fn(|_| Mutex::new(())) }
    }
}

impl Shards {
    /// Waits until nobody else is at work for `key`.
    pub async fn lock(&self, key: &impl Hash) -> MutexGuard<'_, ()> {
        let shard = self.hasher.hash_one(key) % (SHARDS as u64);
        self.locks[usize::try_from(shard).expect("below the number of shards")].lock().await
    }
}
