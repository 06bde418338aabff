use std::ops::Range;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::routing::interest::fingerprint::Fingerprint;

/// Fingerprints with a byte each; one may be there several times with different bytes.
///
/// An entry takes 5 bytes and one of the hash table, of which 44 to 88 % are filled. The parts have tables of different sizes, so that together they take 9.7 to
/// 10.3 bytes for each entry at any number of them, and none grows for long: with 100 million entries, a table has 150,000 at most.
#[derive(Debug)]
pub(super) struct Fingerprints {
    /// By the parts of the fingerprints.
    parts: Box<[HashTable<Slot>]>,
}

#[derive(Debug)]
struct Slot {
    rest: [u8; 4],
    tag: u8,
}

const _: () = assert!(size_of::<Slot>() == 5);

impl Slot {
    fn rest(&self) -> u32 {
        u32::from_le_bytes(self.rest)
    }
}

impl Fingerprints {
    pub(super) fn new() -> Self {
        Self { parts: (0..Fingerprint::PARTS).map(|_| HashTable::new()).collect() }
    }

    /// The bytes of a fingerprint.
    pub(super) fn tags(&self, fingerprint: Fingerprint) -> impl Iterator<Item = u8> {
        let Fingerprint { part, rest } = fingerprint;
        let slots = self.parts.get(usize::from(part)).into_iter().flat_map(move |part| part.iter_hash(hash(rest)));
        slots.filter(move |slot| slot.rest() == rest).map(|slot| slot.tag)
    }

    /// The byte of a fingerprint that is there once.
    pub(super) fn tag_mut(&mut self, fingerprint: Fingerprint) -> Option<&mut u8> {
        let Fingerprint { part, rest } = fingerprint;
        let part = self.parts.get_mut(usize::from(part))?;
        part.find_mut(hash(rest), |slot| slot.rest() == rest).map(|slot| &mut slot.tag)
    }

    /// Returns whether it was not there with this byte.
    pub(super) fn insert(&mut self, fingerprint: Fingerprint, tag: u8) -> bool {
        let Fingerprint { part, rest } = fingerprint;
        let Some(part) = self.parts.get_mut(usize::from(part)) else { return false };
        match part.entry(hash(rest), |slot| (slot.rest(), slot.tag) == (rest, tag), |slot| hash(slot.rest())) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Slot { rest: rest.to_le_bytes(), tag });
                true
            }
        }
    }

    /// Returns whether it was there with this byte.
    pub(super) fn remove(&mut self, fingerprint: Fingerprint, tag: u8) -> bool {
        let Fingerprint { part, rest } = fingerprint;
        let Some(part) = self.parts.get_mut(usize::from(part)) else { return false };
        let Ok(entry) = part.find_entry(hash(rest), |slot| (slot.rest(), slot.tag) == (rest, tag)) else {
            return false;
        };
        entry.remove();
        shrink(part);
        true
    }

    /// Removes those with this byte in a range that are not in `kept`, which is sorted. Returns how many.
    pub(super) fn remove_others(&mut self, tag: u8, range: Range<Fingerprint>, kept: &[Fingerprint]) -> usize {
        let (from, to) = (usize::from(range.start.part), usize::from(range.end.part));
        let mut removed = 0;
        for (number, part) in (0..).zip(&mut self.parts).take(to + 1).skip(from) {
            let before = part.len();
            part.retain(|slot| {
                let fingerprint = || Fingerprint { part: number, rest: slot.rest() };
                slot.tag != tag || !range.contains(&fingerprint()) || kept.binary_search(&fingerprint()).is_ok()
            });
            removed += before - part.len();
            shrink(part);
        }
        removed
    }

    /// All of them, ascending.
    pub(super) fn sorted(&self) -> Vec<Fingerprint> {
        let slots = (0..).zip(&self.parts).flat_map(|(part, table)| table.iter().map(move |slot| (part, slot.rest())));
        let mut all: Vec<_> = slots.map(|(part, rest)| Fingerprint { part, rest }).collect();
        all.sort_unstable();
        all
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(HashTable::allocation_size).sum()
    }
}

/// Returns memory of a table that is nearly empty.
fn shrink(part: &mut HashTable<Slot>) {
    if part.len() < part.capacity() / 4 {
        part.shrink_to(part.len() * 2, |slot| hash(slot.rest()));
    }
}

/// The table takes its place from the low bits, and compares the high bits before the entry.
fn hash(rest: u32) -> u64 {
    (u64::from(rest) << 32) | u64::from(rest)
}
