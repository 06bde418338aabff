//! The deduplication windows: recently accepted messages by their `dedup-id`. A publisher that lost its Session state may publish a
//! message again, and it is routed once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytestring::ByteString;
use foldhash::quality::RandomState;

use crate::broker::persistence::record::Deduplicated;
use crate::routing::ShardId;
use crate::session::Ticket;
use crate::timestamp::Timestamp;

/// The windows of all publishers, shared among shards.
#[derive(Debug, Default)]
pub(in crate::broker) struct Deduplication(Mutex<Windows>);

#[derive(Debug, Default)]
struct Windows {
    publishers: HashMap<ByteString, Window, RandomState>,
    /// The publishers by the number of their identifiers.
    sizes: BTreeSet<(usize, ByteString)>,
    /// All entries by number, which is the order of acceptance.
    all: BTreeMap<u64, WindowEntry>,
    last: u64,
}

/// The window of one publisher.
#[derive(Debug, Default)]
struct Window {
    numbers: HashMap<ByteString, u64, RandomState>,
    order: BTreeSet<u64>,
}

#[derive(Debug)]
struct WindowEntry {
    publisher: ByteString,
    id: ByteString,
    at: Timestamp,
    /// The shard and record that accepted the message; `None` while it is being accepted.
    accepted: Option<(ShardId, Ticket)>,
}

/// The bounds of a window.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct WindowBounds {
    pub(in crate::broker) time: Duration,
    /// The greatest number of identifiers of one publisher.
    pub(in crate::broker) ids_max: usize,
    /// The number of identifiers of all publishers together from which on each new one evicts the oldest of the publisher with the most:
    /// one publisher can't evict the identifiers of another that has fewer.
    pub(in crate::broker) all_max: usize,
}

/// The result of looking up a `dedup-id`.
#[derive(Debug)]
pub(in crate::broker) enum WindowLookup {
    /// New: the entry must be [confirmed](Deduplication::confirm) or [withdrawn](Deduplication::withdraw).
    New(Deduplicated),
    /// A message with this identifier is being accepted.
    Pending,
    /// A message with this identifier was accepted by this shard with this record.
    Repeat(ShardId, Ticket),
}

impl Deduplication {
    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up an identifier, and adds an entry if it is new. The new entry lists the entries that were evicted for it.
    pub(in crate::broker) fn claim(
        &self,
        now: Timestamp,
        bounds: WindowBounds,
        publisher: ByteString,
        id: ByteString,
    ) -> WindowLookup {
        let mut windows = self.lock();
        let known = windows.publishers.get(&publisher).and_then(|window| window.numbers.get(&id)).copied();
        let mut left = Vec::new();
        if let Some((number, entry)) = known.and_then(|number| Some((number, windows.all.get(&number)?))) {
            if entry.at + bounds.time > now {
                return entry
                    .accepted
                    .map_or(WindowLookup::Pending, |(shard, ticket)| WindowLookup::Repeat(shard, ticket));
            }
            left.extend(windows.remove(number));
        }
        if let Some(window) = windows.publishers.get(&publisher).filter(|window| window.order.len() >= bounds.ids_max) {
            let oldest = window.order.first().copied();
            left.extend(oldest.and_then(|number| windows.remove(number)));
        }
        if windows.all.len() >= bounds.all_max {
            let oldest = windows.oldest_of_largest();
            left.extend(oldest.and_then(|number| windows.remove(number)));
        }
        let number = windows.last + 1;
        let entry = Deduplicated { number, publisher, id, at: now, left };
        windows.insert(&entry, None);
        WindowLookup::New(entry)
    }

    /// The message of this entry was accepted.
    pub(in crate::broker) fn confirm(&self, number: u64, shard: ShardId, ticket: Ticket) {
        if let Some(entry) = self.lock().all.get_mut(&number) {
            entry.accepted = Some((shard, ticket));
        }
    }

    /// The message of this entry was not accepted: removes the entry.
    pub(in crate::broker) fn withdraw(&self, number: u64) {
        self.lock().remove(number);
    }

    /// Removes up to `max` entries that are older than `time`, and returns their numbers.
    pub(in crate::broker) fn expire(&self, now: Timestamp, time: Duration, max: usize) -> Vec<u64> {
        let mut windows = self.lock();
        let old = windows.all.iter().take_while(|(_, entry)| entry.at + time <= now);
        let numbers: Vec<u64> = old.filter(|(_, entry)| entry.accepted.is_some()).take(max).map(|(n, _)| *n).collect();
        numbers.iter().for_each(|number| _ = windows.remove(*number));
        numbers
    }

    /// Restores the entries of the previous run.
    pub(in crate::broker) fn restore(&self, entries: &[Deduplicated]) {
        let mut windows = self.lock();
        for entry in entries {
            windows.insert(entry, Some((ShardId(0), Ticket::default())));
        }
    }
}

impl Windows {
    fn insert(&mut self, entry: &Deduplicated, accepted: Option<(ShardId, Ticket)>) {
        let Deduplicated { number, publisher, id, at, .. } = entry.clone();
        self.last = self.last.max(number);
        let window = self.publishers.entry(publisher.clone()).or_default();
        self.sizes.remove(&(window.order.len(), publisher.clone()));
        window.order.insert(number);
        window.numbers.insert(id.clone(), number);
        self.sizes.insert((window.order.len(), publisher.clone()));
        self.all.insert(number, WindowEntry { publisher, id, at, accepted });
    }

    fn remove(&mut self, number: u64) -> Option<u64> {
        let entry = self.all.remove(&number)?;
        let window = self.publishers.get_mut(&entry.publisher)?;
        self.sizes.remove(&(window.order.len(), entry.publisher.clone()));
        window.order.remove(&number);
        window.numbers.remove(&entry.id);
        if window.order.is_empty() {
            self.publishers.remove(&entry.publisher);
        } else {
            self.sizes.insert((window.order.len(), entry.publisher));
        }
        Some(number)
    }

    /// The oldest entry of the publisher with the most entries.
    fn oldest_of_largest(&self) -> Option<u64> {
        let (_, publisher) = self.sizes.last()?;
        self.publishers.get(publisher)?.order.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: WindowBounds = WindowBounds { time: Duration::from_secs(60), ids_max: 100, all_max: 12 };

    fn claim(windows: &Deduplication, publisher: &str, id: usize) -> WindowLookup {
        windows.claim(Timestamp(1_000), BOUNDS, publisher.into(), id.to_string().into())
    }

    #[test]
    fn a_publisher_with_many_identifiers_evicts_only_its_own() {
        let windows = Deduplication::default();
        for id in 0..5 {
            assert!(matches!(claim(&windows, "few", id), WindowLookup::New(_)));
        }
        for id in 0..1_000 {
            let WindowLookup::New(entry) = claim(&windows, "many", id) else { panic!("{id}") };
            assert_eq!(entry.left.len(), usize::from(id >= 7), "{id}");
        }
        for id in 0..5 {
            assert!(matches!(claim(&windows, "few", id), WindowLookup::Pending), "{id}");
        }
        assert!(matches!(claim(&windows, "many", 999), WindowLookup::Pending));
        assert!(matches!(claim(&windows, "third", 0), WindowLookup::New(_)), "there is a share for a new publisher");
        assert!(matches!(claim(&windows, "many", 993), WindowLookup::New(_)), "it was evicted for the third");
        let windows = windows.lock();
        assert_eq!(windows.all.len(), BOUNDS.all_max);
        let sizes: Vec<_> = windows.sizes.iter().map(|(size, name)| (*size, &**name)).collect();
        assert_eq!(sizes, [(1, "third"), (5, "few"), (6, "many")]);
    }

    #[test]
    fn an_entry_that_is_removed_leaves_nothing() {
        let windows = Deduplication::default();
        let WindowLookup::New(entry) = claim(&windows, "p", 1) else { panic!() };
        windows.withdraw(entry.number);
        let windows = windows.lock();
        assert!(windows.all.is_empty() && windows.sizes.is_empty() && windows.publishers.is_empty());
    }
}
