use crate::routing::subscriber::SessionKey;

/// A list of values by Session, ascending, in chunks: insertion, removal, look-up by Session and look-up by index take a few hundred steps at
/// most, also with millions of Sessions.
#[derive(Debug)]
pub(super) struct SortedList<T> {
    /// None is empty, and none has more than [`CHUNK_MAX`] entries.
    chunks: Vec<Vec<(SessionKey, T)>>,
    len: usize,
}

impl<T> SortedList<T> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Inserts `value` under `key` and returns the previous value.
    pub(super) fn insert(&mut self, key: SessionKey, value: T) -> Option<T> {
        let at = self.chunk_of(key).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![(key, value)]);
            self.len += 1;
            return None;
        };
        let place = chunk.partition_point(|(other, _)| *other < key);
        if let Some((_, old)) = chunk.get_mut(place).filter(|(other, _)| *other == key) {
            return Some(std::mem::replace(old, value));
        }
        chunk.insert(place, (key, value));
        self.len += 1;
        if chunk.len() > CHUNK_MAX {
            let upper = chunk.split_off(CHUNK_MAX / 2);
            self.chunks.insert(at + 1, upper);
        }
        None
    }

    pub(super) fn remove(&mut self, key: SessionKey) -> Option<T> {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get_mut(at)?;
        let place = chunk.binary_search_by_key(&key, |(other, _)| *other).ok()?;
        let (_, removed) = chunk.remove(place);
        self.len -= 1;
        let left = chunk.len();
        if left == 0 {
            self.chunks.remove(at);
        } else if self.chunks.get(at + 1).is_some_and(|next| left + next.len() <= CHUNK_MAX / 2) {
            let next = self.chunks.remove(at + 1);
            self.chunks.get_mut(at)?.extend(next);
        }
        Some(removed)
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&T> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let place = chunk.binary_search_by_key(&key, |(other, _)| *other).ok()?;
        chunk.get(place).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut T> {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get_mut(at)?;
        let place = chunk.binary_search_by_key(&key, |(other, _)| *other).ok()?;
        chunk.get_mut(place).map(|(_, value)| value)
    }

    /// The Session with this index.
    pub(super) fn nth(&self, mut index: usize) -> Option<SessionKey> {
        for chunk in &self.chunks {
            if let Some((key, _)) = chunk.get(index) {
                return Some(*key);
            }
            index -= chunk.len();
        }
        None
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionKey, &T)> {
        self.chunks.iter().flatten().map(|(key, value)| (*key, value))
    }

    /// The values from the first Session that is not less than `start` on.
    pub(super) fn iter_from(&self, start: SessionKey) -> impl Iterator<Item = (SessionKey, &T)> {
        let chunks = self.chunks.get(self.chunk_of(start)..).unwrap_or_default();
        let first = chunks.first().map_or(0, |chunk| chunk.partition_point(|(key, _)| *key < start));
        chunks.iter().flatten().skip(first).map(|(key, value)| (*key, value))
    }

    /// All values, from the first Session that is not less than `start` to the last, and then from the first on.
    pub(super) fn cycle_from(&self, start: SessionKey) -> impl Iterator<Item = &T> {
        let at = self.chunk_of(start);
        let (before, from) = self.chunks.split_at_checked(at).unwrap_or((&self.chunks, &[]));
        let (first, others) = from.split_first().map_or((&[][..], from), |(first, others)| (&**first, others));
        let place = first.partition_point(|(key, _)| *key < start);
        let (head, tail) = first.split_at_checked(place).unwrap_or((first, &[]));
        let entries = tail.iter().chain(others.iter().flatten()).chain(before.iter().flatten()).chain(head);
        entries.map(|(_, value)| value)
    }

    /// The index of the first chunk whose last Session is not less than `key`.
    fn chunk_of(&self, key: SessionKey) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|(last, _)| *last < key))
    }
}

impl<T> Default for SortedList<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> FromIterator<(SessionKey, T)> for SortedList<T> {
    fn from_iter<I: IntoIterator<Item = (SessionKey, T)>>(entries: I) -> Self {
        let mut list = Self::default();
        for (key, value) in entries {
            list.insert(key, value);
        }
        list
    }
}

const CHUNK_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_map_with_indices(steps in prop::collection::vec((0..600_u64, any::<bool>(), 0..8_u64), 0..200)) {
            let (mut list, mut model) = (SortedList::default(), BTreeMap::new());
            for (number, (key, inserts, count)) in steps.into_iter().enumerate() {
                for key in (key..key + count * 40).map(SessionKey) {
                    if inserts {
                        prop_assert_eq!(list.insert(key, number), model.insert(key, number));
                    } else {
                        prop_assert_eq!(list.remove(key), model.remove(&key));
                    }
                }
                prop_assert!(list.chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
                prop_assert_eq!(list.len(), model.len());
                prop_assert_eq!(list.get(SessionKey(key)), model.get(&SessionKey(key)));
                let cycle = model.range(SessionKey(key)..).chain(model.range(..SessionKey(key)));
                prop_assert!(list.cycle_from(SessionKey(key)).eq(cycle.map(|(_, value)| value)));
                prop_assert!(list.iter_from(SessionKey(key)).eq(model.range(SessionKey(key)..).map(|(key, value)| (*key, value))));
                let index = usize::try_from(key).unwrap();
                prop_assert_eq!(list.nth(index), model.keys().nth(index).copied());
            }
            prop_assert!(list.iter().eq(model.iter().map(|(key, value)| (*key, value))));
        }
    }
}
