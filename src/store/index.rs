use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::entry::Decoded;
use super::ids::{Ids, Place};
use super::keys::Key;

/// The live keys with their places, and the live bytes of each segment.
#[derive(Debug, Default)]
pub(super) struct Index {
    groups: HashMap<u64, Vec<(u8, Ids)>, RandomState>,
    segments: BTreeMap<u32, Usage>,
    keys: u64,
    bytes: u64,
    live_bytes: u64,
}

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
        let share = entry.length / entry.puts.len().max(1);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        for (put, &key) in entry.puts.iter().enumerate() {
            let offset = offset.saturating_add(entry.distance(put));
            self.put(key, Place { segment, offset, share });
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<Place> {
        let kinds = self.groups.get(&key.group)?;
        kinds.iter().find(|(kind, _)| *kind == key.kind)?.1.get(key.id)
    }

    fn put(&mut self, key: Key, place: Place) {
        let kinds = self.groups.entry(key.group).or_default();
        let old = match kinds.iter_mut().find(|(kind, _)| *kind == key.kind) {
            Some((_, ids)) => ids.put(key.id, place),
            None => {
                kinds.reserve_exact(1); // a Session has three kinds for years, and there are many Sessions
                kinds.push((key.kind, Ids::One(key.id, place)));
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
        let Some(at) = kinds.iter().position(|(kind, _)| *kind == key.kind) else { return };
        let Some((_, ids)) = kinds.get_mut(at) else { return };
        match ids.remove(key.id) {
            Ok(None) => {}
            Ok(Some(place)) => self.forget(place),
            Err(place) => {
                kinds.swap_remove(at);
                if kinds.is_empty() {
                    self.groups.remove(&key.group);
                }
                self.forget(place);
            }
        }
    }

    fn end(&mut self, group: u64) {
        let Some(kinds) = self.groups.remove(&group) else { return };
        for place in kinds.iter().flat_map(|(_, ids)| ids.places()) {
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

#[cfg(test)]
mod tests;
