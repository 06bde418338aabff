//! What brokers append and acknowledge, and what every later owner must have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::{Entry, Key, Level, Recovered, Room, Store};

/// Numbers that were appended, and those that were acknowledged.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Numbers>>);

#[derive(Default)]
struct Numbers {
    last: u64,
    /// With the epoch of the owner that has acknowledged them.
    acknowledged: BTreeMap<u64, u64>,
    removed: BTreeSet<u64>,
    /// What each owner has found in its log, by epoch.
    found: BTreeMap<u64, BTreeSet<u64>>,
    /// Nothing is appended.
    is_quiet: bool,
}

/// What one owner has appended.
#[derive(Default)]
pub(super) struct Appended {
    /// Not acknowledged yet.
    waiting: VecDeque<u64>,
    /// Not removed.
    live: VecDeque<u64>,
}

impl Ledger {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.numbers().acknowledged.len()
    }

    pub(super) fn quiet(&self, is_quiet: bool) {
        self.numbers().is_quiet = is_quiet;
    }

    /// An owner has opened its log, and found this: all that owners before it have acknowledged.
    pub(super) fn opened(&self, epoch: u64, found: BTreeSet<u64>) {
        let numbers = &mut *self.numbers();
        let lost = numbers.owed().find(|(number, before)| *before < epoch && !found.contains(number));
        assert_eq!(lost, None, "acknowledged before (number, epoch), and not in the log of the owner of epoch {epoch}");
        assert!(numbers.found.insert(epoch, found).is_none(), "two owners of epoch {epoch}");
    }

    /// The owner of this epoch has acknowledged all its numbers up to this one. Those that are owners after it have them already.
    pub(super) fn acknowledge(&self, epoch: u64, appended: &Mutex<Appended>, last: u64) {
        let numbers = &mut *self.numbers();
        let appended = &mut *appended.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(number) = appended.waiting.pop_front_if(|number| *number <= last) {
            let lacks = |(later, found): (&u64, &BTreeSet<u64>)| (!found.contains(&number)).then_some(*later);
            let later = numbers.found.range(epoch + 1..).find_map(lacks);
            let is_removed = numbers.removed.contains(&number);
            assert!(
                later.is_none() || is_removed,
                "{number}, of epoch {epoch}, is acknowledged while {later:?} lacks it"
            );
            numbers.acknowledged.insert(number, epoch);
        }
    }

    /// Appends the next number, and removes one that was appended long ago.
    pub(super) fn append(&self, store: &Store, appended: &Mutex<Appended>) {
        let numbers = &mut *self.numbers();
        if numbers.is_quiet {
            return;
        }
        numbers.last += 1;
        let appended = &mut *appended.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = (appended.live.len() > LIVE_MAX).then(|| appended.live.pop_front()).flatten();
        numbers.removed.extend(removed);
        appended.live.push_back(numbers.last);
        appended.waiting.push_back(numbers.last);
        let entry = Entry {
            body: &[7; 100],
            puts: &[key(numbers.last)],
            parts: &[],
            deletes: &removed.map(key).into_iter().collect::<Vec<_>>(),
            ends: None,
            level: Level::PowerLoss,
            room: Room::Ordinary,
        };
        let _ = store.append(0, numbers.last, &entry); // a fenced store accepts nothing
    }

    /// Whether a log has all that was acknowledged.
    pub(super) fn check(&self, found: &BTreeSet<u64>) {
        let lost = self.numbers().owed().find(|(number, _)| !found.contains(number));
        assert_eq!(lost, None, "acknowledged (number, epoch), and not in the last log");
    }
}

impl Numbers {
    /// What a log must have.
    fn owed(&self) -> impl Iterator<Item = (u64, u64)> {
        let is_owed = |(number, _): &(&u64, &u64)| !self.removed.contains(number);
        self.acknowledged.iter().filter(is_owed).map(|(number, epoch)| (*number, *epoch))
    }
}

/// Notes which numbers a log has.
pub(super) fn note(entry: &Recovered<'_>, found: &mut BTreeSet<u64>) {
    found.extend(entry.puts.iter().map(|key| key.id));
    for key in entry.deletes {
        found.remove(&key.id);
    }
}

const fn key(number: u64) -> Key {
    Key { group: 0, kind: 0, id: number }
}

/// Numbers of one owner that are not removed.
const LIVE_MAX: usize = 100;
