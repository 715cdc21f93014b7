//! A bounded cache: what was asked for lately stays, the rest goes.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::{PoisonError, RwLock};

/// A map of at most `2 * generation` entries, in two generations. New and used entries are in the young one; when it is
/// full it becomes the old one, and what was not used since the last such turn is dropped. A hit in the young
/// generation takes a read lock only; no operation walks the map.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    generation: usize,
    maps: RwLock<Maps<K, V>>,
}

#[derive(Debug)]
struct Maps<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V: Clone> Generations<K, V> {
    /// An empty cache with this many entries in a generation.
    pub(crate) fn new(generation: usize) -> Self {
        Self { generation, maps: RwLock::new(Maps { young: HashMap::new(), old: HashMap::new() }) }
    }

    /// The value under `key`.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // A panic elsewhere cannot leave the maps half-changed in a way that matters: at worst an entry is missing.
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = maps.young.get(key) {
            return Some(value.clone());
        }
        if !maps.old.contains_key(key) {
            return None;
        }
        drop(maps);
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        match maps.old.remove_entry(key) {
            Some((key, value)) => {
                maps.insert(self.generation, key, value.clone());
                Some(value)
            }
            // Another thread was faster, or the generation turned in between.
            None => maps.young.get(key).cloned(),
        }
    }

    /// Puts `value` under `key`, in place of any other.
    pub(crate) fn insert(&self, key: K, value: V) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.old.remove(&key);
        maps.insert(self.generation, key, value);
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.young.len() + maps.old.len()
    }
}

impl<K: Hash + Eq, V> Maps<K, V> {
    fn insert(&mut self, generation: usize, key: K, value: V) {
        if self.young.len() >= generation && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = Generations::new(8);
        cache.insert(u32::MAX, "used");
        for number in 0..1000 {
            cache.insert(number, "new");
            assert_eq!(cache.get(&u32::MAX), Some("used"));
            assert!(cache.len() <= 16);
        }
        assert_eq!(cache.get(&0), None);
        assert_eq!(cache.get(&999), Some("new"));
    }

    #[test]
    fn the_last_value_counts_in_whichever_generation_the_first_was() {
        let cache = Generations::new(2);
        cache.insert(1, "first");
        cache.insert(2, "x");
        cache.insert(3, "x");
        cache.insert(1, "second");
        assert_eq!(cache.get(&1), Some("second"));
        cache.insert(4, "x");
        assert_eq!(cache.get(&1), Some("second"));
    }
}
