//! Objects that sum up others (projects, sites, templates) are looked at, for the sake of those others, at most once in two
//! seconds: a thousand devices that come at once are counted once, not a thousand times.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::queue::Key;

/// Shortest time between two looks.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// When each object was last looked at.
#[derive(Debug, Default)]
pub struct Debounce(Mutex<HashMap<Key, Instant>>);

impl Debounce {
    /// The object is looked at now. One that is gone is forgotten.
    pub fn looked(&self, key: &Key, exists: bool) {
        let mut looked = self.0.lock();
        if exists {
            looked.insert(key.clone(), Instant::now());
        } else {
            looked.remove(key);
        }
    }

    /// How long to wait before the next look.
    pub fn delay(&self, key: &Key) -> Duration {
        self.0.lock().get(key).map_or(Duration::ZERO, |last| INTERVAL.saturating_sub(last.elapsed()))
    }
}
