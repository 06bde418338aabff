use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::mem;

/// A sorted map that allocates nothing for a single entry: most filters have one subscriber, and most sessions few filters.
#[derive(Debug, Default)]
pub(crate) enum CompactMap<K, V> {
    #[default]
    Empty,
    One(K, V),
    #[expect(clippy::box_collection, reason = "the enum is not larger than a single entry")]
    Many(Box<BTreeMap<K, V>>),
}

impl<K: Ord, V> CompactMap<K, V> {
    /// Inserts `value` under `key` and returns the previous value.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match mem::take(self) {
            Self::Empty => *self = Self::One(key, value),
            Self::One(old_key, old) if old_key == key => {
                *self = Self::One(key, value);
                return Some(old);
            }
            Self::One(old_key, old) => *self = Self::Many(Box::new(BTreeMap::from([(old_key, old), (key, value)]))),
            Self::Many(mut map) => {
                let old = map.insert(key, value);
                *self = Self::Many(map);
                return old;
            }
        }
        None
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::One(own, value) if (*own).borrow() == key => Some(value),
            Self::Empty | Self::One(..) => None,
            Self::Many(map) => map.get(key),
        }
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (rest, removed) = match mem::take(self) {
            Self::One(own, value) if own.borrow() == key => (Self::Empty, Some(value)),
            Self::Many(mut map) => {
                let removed = map.remove(key);
                (Self::from_map(map), removed)
            }
            unchanged @ (Self::Empty | Self::One(..)) => (unchanged, None),
        };
        *self = rest;
        removed
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => 1,
            Self::Many(map) => map.len(),
        }
    }

    /// The values in key order.
    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(_, value) => (Some(value), None),
            Self::Many(map) => (None, Some(map)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|map| map.into_values()))
    }

    /// The entries in key order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(key, value) => (Some((key, value)), None),
            Self::Many(map) => (None, Some(map)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|map| map.iter()))
    }

    /// The entries from `key` on, in key order.
    pub(crate) fn iter_from(&self, key: K) -> impl Iterator<Item = (&K, &V)>
    where
        K: Copy,
    {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(own, value) => (Some((own, value)).filter(|(own, _)| **own >= key), None),
            Self::Many(map) => (None, Some(map)),
        };
        one.into_iter().chain(many.into_iter().flat_map(move |map| map.range(key..)))
    }

    #[expect(clippy::box_collection, reason = "the caller has it boxed")]
    fn from_map(mut map: Box<BTreeMap<K, V>>) -> Self {
        if map.len() > 1 {
            return Self::Many(map);
        }
        map.pop_first().map_or(Self::Empty, |(key, value)| Self::One(key, value))
    }
}
