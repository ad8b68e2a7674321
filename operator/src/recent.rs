//! Pure: what was decided lately, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The last entries, by key; the oldest are forgotten first.
#[derive(Debug)]
pub struct Recent<K, V> {
    kept: usize,
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// Remembers at most `kept` entries.
    pub fn new(kept: usize) -> Self {
        Self { kept, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// What is remembered of this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// Remembers an entry. One of the same key is replaced.
    pub fn put(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.kept
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut recent = Recent::new(2);
        for key in [1, 2, 1, 3] {
            recent.put(key, key * 10);
        }
        assert_eq!((recent.get(&1), recent.get(&2), recent.get(&3)), (None, Some(&20), Some(&30)));
        assert_eq!(recent.entries.len(), 2);
    }
}
