//! In which order retained messages changed, and which of their records count no more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::routing::ShardId;

/// The numbers of all changes of what is retained.
///
/// Shards change it one after the other, but their records come to the log in any order. So of two records of one topic the higher number
/// counts, and that nothing is retained is a record, too. What counts no more is deleted when all records up to the one that came in its place
/// are in the log: before, an older one could come behind the deletion, and would count again.
#[derive(Debug)]
pub(in crate::broker) struct RetainedOrder {
    numbers: Mutex<Numbers>,
    /// The first number of each shard whose record may not be in the log yet, or [`NONE`]. It is there before the shard's next event.
    open: Vec<AtomicU64>,
}

#[derive(Debug, Default)]
struct Numbers {
    last: u64,
    /// By which change a record counts no more, ascending, and the number of the record. They are as many as there are changes between two
    /// events of any shard.
    gone: VecDeque<(u64, u64)>,
    /// The last change that took some of these with it.
    carried_by: u64,
}

impl RetainedOrder {
    /// Of so many shards.
    pub(in crate::broker) fn new(shards: usize) -> Self {
        Self { numbers: Mutex::default(), open: (0..shards).map(|_| AtomicU64::new(NONE)).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a change by this shard. Taken while the retained messages are locked.
    pub(in crate::broker) fn next(&self, shard: ShardId) -> u64 {
        self.number(&mut self.lock(), shard)
    }

    fn number(&self, numbers: &mut Numbers, shard: ShardId) -> u64 {
        numbers.last += 1;
        if let Some(open) = self.open.get(usize::from(shard.0)) {
            open.fetch_min(numbers.last, Ordering::AcqRel);
        }
        numbers.last
    }

    /// All that this shard gave to the store is in the log.
    pub(in crate::broker) fn logged(&self, shard: ShardId) {
        if let Some(open) = self.open.get(usize::from(shard.0)) {
            open.store(NONE, Ordering::Release);
        }
    }

    /// These records count no more by the change `by`. Returns those that its record deletes.
    pub(in crate::broker) fn replace(&self, by: u64, replaced: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut numbers = self.lock();
        let carried = self.carry(&mut numbers, by);
        numbers.gone.extend(replaced.into_iter().map(|number| (by, number)));
        carried
    }

    /// These messages have expired.
    pub(in crate::broker) fn expire(&self, expired: &[u64]) {
        let mut numbers = self.lock();
        let by = numbers.last;
        numbers.gone.extend(expired.iter().map(|number| (by, *number)));
    }

    /// What can be deleted although nothing changes, by a record of this shard.
    pub(in crate::broker) fn sweep(&self, shard: ShardId) -> Vec<u64> {
        let mut numbers = self.lock();
        if numbers.gone.is_empty() {
            return Vec::new();
        }
        let by = self.number(&mut numbers, shard);
        self.carry(&mut numbers, by)
    }

    /// A deletion must not come to the log before those of lower numbers: only one record has some at a time.
    fn carry(&self, numbers: &mut Numbers, by: u64) -> Vec<u64> {
        let open = self.open.iter().map(|open| open.load(Ordering::Acquire)).min().unwrap_or(NONE);
        if numbers.gone.is_empty() || numbers.carried_by >= open {
            return Vec::new();
        }
        let settled = numbers.gone.partition_point(|(since, _)| *since < open);
        if settled > 0 {
            numbers.carried_by = by;
        }
        numbers.gone.drain(..settled.min(CARRIED_MAX)).map(|(_, number)| number).collect()
    }

    /// Begins behind what the last run left, of which this counts no more.
    pub(in crate::broker) fn restore(&self, last: u64, gone: impl IntoIterator<Item = u64>) {
        let mut numbers = self.lock();
        numbers.last = numbers.last.max(last);
        numbers.gone.extend(gone.into_iter().map(|number| (0, number)));
    }
}

/// No record is missing in the log.
const NONE: u64 = u64::MAX;
/// Deletions in one record at the most.
const CARRIED_MAX: usize = 10_000;
