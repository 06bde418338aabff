//! A node: what it knows of the others, and the cells that it owns.

use std::collections::BTreeMap;

use oncemq::routing::{CellId, InterestKey, InterestTable};

use crate::cell::Owner;

#[derive(Debug)]
pub(crate) struct Node {
    /// Rises with each start, and whenever it must join again.
    pub(crate) life: u64,
    /// It does nothing until then.
    pub(crate) stands_until: u64,
    pub(crate) next_beat: u64,
    /// When its last sign of life was sent; `None`: none in this life.
    pub(crate) last_beat: Option<u64>,
    /// Whether it accepts messages.
    pub(crate) serves: bool,
    pub(crate) table: InterestTable,
    pub(crate) owned: BTreeMap<CellId, Owner>,
    /// The last sign of life of each other node, and how many of its own went in since.
    pub(crate) seen: BTreeMap<usize, (u64, u64)>,
}

impl Node {
    pub(crate) fn new(life: u64, now: u64) -> Self {
        let (table, owned, seen) = (InterestTable::new(key()), BTreeMap::new(), BTreeMap::new());
        Self { life, stands_until: 0, next_beat: now, last_beat: None, serves: false, table, owned, seen }
    }

    pub(crate) fn stands(&self, now: u64) -> bool {
        now < self.stands_until
    }

    /// Whether no other node can have judged it dead: so it may acknowledge what has no record.
    pub(crate) fn has_lease(&self, now: u64) -> bool {
        self.last_beat.is_some_and(|at| now - at <= LEASE)
    }

    pub(crate) fn is_dead(&self, other: usize) -> bool {
        self.seen.get(&other).is_some_and(|(_, since)| *since >= BEATS_TO_DIE)
    }
}

/// The same on all nodes.
pub(crate) fn key() -> InterestKey {
    InterestKey::new(&[7; 16])
}

pub(crate) const BEAT: u64 = 20;
const LEASE: u64 = 2 * BEAT + BEAT / 2;
const BEATS_TO_DIE: u64 = 3;
