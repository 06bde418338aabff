//! A hash map for many small entries.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use slab::Slab;

/// A hash map whose entries are in a list without gaps; the hash table has only their places there, 5 bytes each with its own.
///
/// A hash table is filled to 44 to 88 %, and memory of it is resident also where it is empty. So a map with large entries takes up to twice
/// their size. Space at the end of a list that was never used is not resident.
#[derive(Debug)]
pub(crate) struct DenseMap<K, V, S> {
    places: HashTable<u32>,
    entries: Slab<(K, V)>,
    hasher: S,
}

impl<K, V, S: Default> Default for DenseMap<K, V, S> {
    fn default() -> Self {
        Self { places: HashTable::new(), entries: Slab::new(), hasher: S::default() }
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> DenseMap<K, V, S> {
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let place = self.places.find(self.hasher.hash_one(key), self.is_of(key))?;
        self.entries.get(*place as usize).map(|(_, value)| value)
    }

    pub(crate) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let place = *self.places.find(self.hasher.hash_one(key), self.is_of(key))?;
        self.entries.get_mut(place as usize).map(|(_, value)| value)
    }

    /// Inserts `value` under `key` and returns the previous value.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(old) = self.get_mut(&key) {
            return Some(std::mem::replace(old, value));
        }
        self.add(key, value);
        None
    }

    /// The value of `key`; a default one is inserted if there is none.
    #[expect(clippy::indexing_slicing, reason = "the place is that of an entry")]
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let place = self.places.find(self.hasher.hash_one(&key), self.is_of(&key)).copied();
        let place = place.unwrap_or_else(|| self.add(key, V::default()));
        &mut self.entries[place as usize].1
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Self { places, entries, hasher } = self;
        let is_same = |place: &u32| entries.get(*place as usize).is_some_and(|(own, _)| own.borrow() == key);
        let (place, _) = places.find_entry(hasher.hash_one(key), is_same).ok()?.remove();
        entries.try_remove(place as usize).map(|(_, value)| value)
    }

    /// Whether a place is that of `key`.
    fn is_of<Q>(&self, key: &Q) -> impl Fn(&u32) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        move |place| self.entries.get(*place as usize).is_some_and(|(own, _)| own.borrow() == key)
    }

    /// Adds a key that is not in the map.
    #[expect(clippy::expect_used, reason = "memory is exhausted before the numbers")]
    fn add(&mut self, key: K, value: V) -> u32 {
        let Self { places, entries, hasher } = self;
        let hash = hasher.hash_one(&key);
        let place = u32::try_from(entries.insert((key, value))).expect("fewer than 2³² entries");
        let hash_of = |place: &u32| entries.get(*place as usize).map_or(0, |(key, _)| hasher.hash_one(key));
        places.insert_unique(hash, place, hash_of);
        place
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.places.len(), self.entries.len());
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_map(steps in prop::collection::vec((0..4_u8, 0..60_u32), 0..400)) {
            let mut map = DenseMap::<u32, usize, foldhash::fast::RandomState>::default();
            let mut model = BTreeMap::new();
            for (number, (step, key)) in steps.into_iter().enumerate() {
                match step {
                    0 => prop_assert_eq!(map.insert(key, number), model.insert(key, number)),
                    1 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    2 => {
                        *map.or_default(key) += 1;
                        *model.entry(key).or_default() += 1;
                    }
                    _ => prop_assert_eq!(map.get_mut(&key), model.get_mut(&key)),
                }
                prop_assert_eq!(map.len(), model.len());
            }
            for key in 0..60 {
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
        }
    }
}
