use std::collections::{BTreeMap, BTreeSet};

use foldhash::fast::RandomState;

use super::entry::Decoded;
use super::ids::{Ids, Place};
use super::keys::{DEFINED, Key, NUMBERED};
use crate::dense_map::DenseMap;

/// The live keys with their places, and the live bytes of each segment.
#[derive(Debug, Default)]
pub(super) struct Index {
    groups: DenseMap<u64, Kinds, RandomState>,
    segments: BTreeMap<u32, Usage>,
    /// In these groups, numbered keys with lower ids are not live.
    floors: BTreeMap<u64, u64>,
    /// The groups that have had the key of a stream.
    streams: BTreeSet<u64>,
    keys: u64,
    bytes: u64,
    live_bytes: u64,
}

/// The live ids of a group by kind. A Session that is away has three kinds for years, and there are many Sessions.
#[derive(Debug)]
enum Kinds {
    Few([Option<Ids>; KINDS_FEW]),
    Many(Vec<Ids>),
}

const _: () = assert!(size_of::<Option<(u64, Kinds)>>() == 80);

/// The usage of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Its size, up to the end of its last batch.
    pub(super) bytes: u64,
    pub(super) live_bytes: u64,
    pub(super) live_keys: u64,
}

impl Index {
    /// Applies the entry at an offset of a segment.
    pub(super) fn apply(&mut self, entry: &Decoded<'_>, segment: u32, offset: u32) {
        if let Some(group) = entry.ends {
            self.end(group);
        }
        for &key in &entry.deletes {
            self.delete(key);
        }
        let share = u32::try_from(entry.length / self.live_puts(entry).max(1)).unwrap_or(u32::MAX);
        for (put, &key) in entry.puts.iter().enumerate() {
            if self.is_forgotten(key) {
                continue;
            }
            if matches!(key.kind, NUMBERED | DEFINED) && !self.streams.contains(&key.group) {
                self.streams.insert(key.group);
            }
            let offset = offset.saturating_add(entry.distance(put));
            self.put(key, Place { segment, offset, share });
        }
    }

    /// The number of puts of an entry that are not forgotten. A copy has forgotten puts, too. If they had a share of the bytes, it would count as garbage, and
    /// reclaiming would copy it again and again.
    fn live_puts(&self, entry: &Decoded<'_>) -> usize {
        if self.floors.is_empty() {
            return entry.puts.len();
        }
        entry.puts.iter().filter(|key| !self.is_forgotten(**key)).count()
    }

    /// Whether it is the number of a message of a stream that the log has forgotten.
    fn is_forgotten(&self, key: Key) -> bool {
        key.kind == NUMBERED && self.floors.get(&key.group).is_some_and(|floor| key.id < *floor)
    }

    pub(super) fn get(&self, key: Key) -> Option<Place> {
        self.groups.get(&key.group)?.get(key.kind)?.get(key.id)
    }

    /// The live ids of a kind in a group, in ascending order.
    pub(super) fn ids(&self, group: u64, kind: u8) -> Vec<u64> {
        let ids = self.groups.get(&group).and_then(|kinds| kinds.get(kind));
        let mut ids: Vec<u64> = ids.map(|ids| ids.below(u64::MAX, usize::MAX)).unwrap_or_default();
        ids.sort_unstable();
        ids
    }

    /// The groups that have had a message or the definition of a stream since the start.
    pub(super) fn streams(&self) -> Vec<u64> {
        self.streams.iter().copied().collect()
    }

    /// From now on, the numbered keys of a group with ids below `below` are not live. Removes at most `max` of them. Returns whether there may
    /// be more.
    pub(super) fn forget_numbered(&mut self, group: u64, below: u64, max: usize) -> bool {
        let floor = self.floors.entry(group).or_default();
        *floor = below.max(*floor);
        let ids = self.groups.get(&group).and_then(|kinds| kinds.get(NUMBERED));
        let ids = ids.map(|ids| ids.below(below, max)).unwrap_or_default();
        ids.iter().for_each(|id| self.delete(Key { group, kind: NUMBERED, id: *id }));
        ids.len() == max
    }

    fn put(&mut self, key: Key, place: Place) {
        let kinds = self.groups.or_default(key.group);
        let old = match kinds.get_mut(key.kind) {
            Some(ids) => ids.put(key.id, place),
            None => {
                kinds.add(Ids::One { kind: key.kind, id: key.id, place });
                None
            }
        };
        if let Some(old) = old {
            self.forget(old);
        }
        self.keys += 1;
        self.live_bytes += u64::from(place.share);
        let usage = self.segments.entry(place.segment).or_default();
        usage.live_keys += 1;
        usage.live_bytes += u64::from(place.share);
    }

    fn delete(&mut self, key: Key) {
        let Some(kinds) = self.groups.get_mut(&key.group) else { return };
        let Some(ids) = kinds.get_mut(key.kind) else { return };
        match ids.remove(key.id) {
            Ok(None) => {}
            Ok(Some(place)) => self.forget(place),
            Err(place) => {
                kinds.remove(key.kind);
                if kinds.is_empty() {
                    self.groups.remove(&key.group);
                }
                self.forget(place);
            }
        }
    }

    fn end(&mut self, group: u64) {
        let Some(kinds) = self.groups.remove(&group) else { return };
        for place in kinds.iter().flat_map(Ids::places) {
            self.forget(place);
        }
    }

    fn forget(&mut self, place: Place) {
        self.keys -= 1;
        self.live_bytes -= u64::from(place.share);
        if let Some(usage) = self.segments.get_mut(&place.segment) {
            usage.live_keys -= 1;
            usage.live_bytes -= u64::from(place.share);
        }
    }

    /// Adds bytes to a segment, which may be new.
    pub(super) fn add_bytes(&mut self, segment: u32, bytes: u64) {
        self.segments.entry(segment).or_default().bytes += bytes;
        self.bytes += bytes;
    }

    /// Removes a segment without live entries.
    pub(super) fn remove_segment(&mut self, segment: u32) {
        if let Some(usage) = self.segments.remove(&segment) {
            self.bytes -= usage.bytes;
        }
    }

    /// The first segment of the log.
    pub(super) fn oldest(&self) -> Option<(u32, Usage)> {
        self.segments.first_key_value().map(|(&number, &usage)| (number, usage))
    }

    pub(super) fn segments(&self) -> impl ExactSizeIterator<Item = (u32, Usage)> + '_ {
        self.segments.iter().map(|(&number, &usage)| (number, usage))
    }

    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}

impl Kinds {
    fn get(&self, kind: u8) -> Option<&Ids> {
        self.iter().find(|ids| ids.kind() == kind)
    }

    fn get_mut(&mut self, kind: u8) -> Option<&mut Ids> {
        match self {
            Self::Few(few) => few.iter_mut().flatten().find(|ids| ids.kind() == kind),
            Self::Many(many) => many.iter_mut().find(|ids| ids.kind() == kind),
        }
    }

    /// Adds the ids of a kind that it doesn't have.
    fn add(&mut self, ids: Ids) {
        match self {
            Self::Few(few) => match few.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = Some(ids),
                None => *self = Self::Many(few.iter_mut().filter_map(Option::take).chain([ids]).collect()),
            },
            Self::Many(many) => many.push(ids),
        }
    }

    fn remove(&mut self, kind: u8) {
        match self {
            Self::Few(few) => few
                .iter_mut()
                .filter(|ids| ids.as_ref().is_some_and(|ids| ids.kind() == kind))
                .for_each(|ids| *ids = None),
            // Not few again: a queue that is empty now will often have a message soon.
            Self::Many(many) => many.retain(|ids| ids.kind() != kind),
        }
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &Ids> {
        let (few, many) = match self {
            Self::Few(few) => (&few[..], &[][..]),
            Self::Many(many) => (&[][..], &many[..]),
        };
        few.iter().flatten().chain(many)
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self::Few([const { None }; KINDS_FEW])
    }
}

/// The kinds of a Session that is away, with subscriptions and without queued messages.
const KINDS_FEW: usize = 3;

#[cfg(test)]
mod tests;
