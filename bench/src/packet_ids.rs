//! The Packet Identifiers in use in one direction of a connection.

use std::num::NonZeroU16;

/// A set of Packet Identifiers, which allocates memory for its first member.
#[derive(Debug)]
pub(crate) struct PacketIds {
    words: Vec<u64>,
    last: u16,
    len: usize,
}

impl PacketIds {
    /// The empty set.
    pub(crate) const fn new() -> Self {
        Self { words: Vec::new(), last: 0, len: 0 }
    }

    /// The number of identifiers in use.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Allocates the next free identifier in round-robin order. The search is short as long as fewer than half are in
    /// use.
    pub(crate) fn allocate(&mut self) -> Option<NonZeroU16> {
        if self.len >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if self.insert(self.last) {
                return NonZeroU16::new(self.last);
            }
        }
    }

    /// Adds an identifier. Returns false if it was in use.
    pub(crate) fn insert(&mut self, packet_id: u16) -> bool {
        if self.words.is_empty() {
            self.words = vec![0; WORDS];
        }
        let fresh = self.flip(packet_id, 0);
        self.len += usize::from(fresh);
        fresh
    }

    /// Removes an identifier. Returns false if it wasn't in use.
    pub(crate) fn remove(&mut self, packet_id: u16) -> bool {
        let known = self.flip(packet_id, 1);
        self.len -= usize::from(known);
        known
    }

    fn flip(&mut self, packet_id: u16, from: u64) -> bool {
        let bit = packet_id % 64;
        let Some(word) = self.words.get_mut(usize::from(packet_id / 64)) else { return false };
        let matches = (*word >> bit) & 1 == from;
        *word ^= u64::from(matches) << bit;
        matches
    }
}

const WORDS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_in_use_and_zero_are_skipped_after_the_wrap() {
        let mut ids = PacketIds::new();
        let kept = ids.allocate().unwrap();
        for _ in 0..200_000 {
            let id = ids.allocate().unwrap();
            assert_ne!(id, kept);
            assert!(ids.remove(id.get()));
        }
        assert_eq!(ids.len(), 1);
    }

    #[test]
    fn all_identifiers_can_be_allocated() {
        let mut ids = PacketIds::new();
        for _ in 0..65_535 {
            assert!(ids.allocate().is_some());
        }
        assert_eq!(ids.allocate(), None);
    }

    #[test]
    fn removing_an_unknown_identifier_fails() {
        let mut ids = PacketIds::new();
        assert!(!ids.remove(5));
        assert!(ids.insert(5));
        assert!(!ids.insert(5));
        assert!(ids.remove(5));
        assert!(!ids.remove(5));
        assert_eq!(ids.len(), 0);
    }
}
