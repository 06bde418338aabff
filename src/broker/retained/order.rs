//! Numbers the changes of retained messages, and determines which of their records are obsolete.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::broker::persistence::record::ObsoleteRetained;
use crate::routing::ShardId;

/// The numbers of all changes of retained messages.
///
/// Shards change the retained messages one after the other, but append their records to the log in any order. So recovery uses the record
/// with the highest number of each topic, and clearing a topic also has a record. An obsolete record is deleted when all records up to the
/// one that replaced it are in the log. If it were deleted earlier, an older record could be appended after the deletion, and recovery would
/// use it.
#[derive(Debug)]
pub(in crate::broker) struct RetainedOrder {
    numbers: Mutex<Numbers>,
    /// For each shard, the lowest number whose record may not be in the log yet, or [`NONE`]. A record is in the log before the shard's next
    /// event.
    open: Vec<AtomicU64>,
}

#[derive(Debug, Default)]
struct Numbers {
    last: u64,
    /// Obsolete records that are not deleted yet: the change that replaced each, ascending, and the number of the record. Bounded by the number
    /// of changes between two events of any shard.
    gone: VecDeque<(u64, u64)>,
    /// Deletions by a filter that have cleared all their messages: the last change before the end of each, ascending, and its number. Bounded by
    /// the number of deletions between two sweeps.
    ended: Vec<(u64, u64)>,
    /// The last change whose record deletes obsolete records.
    carried_by: u64,
}

impl RetainedOrder {
    /// The initial state for `shards` shards.
    pub(in crate::broker) fn new(shards: usize) -> Self {
        Self { numbers: Mutex::default(), open: (0..shards).map(|_| AtomicU64::new(NONE)).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Issues the number of a new change by this shard. The caller must hold the write lock of the retained messages.
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

    /// All records that this shard has written are in the log.
    pub(in crate::broker) fn logged(&self, shard: ShardId) {
        if let Some(open) = self.open.get(usize::from(shard.0)) {
            open.store(NONE, Ordering::Release);
        }
    }

    /// The change `by` made the records `replaced` obsolete. Returns the obsolete records that the record of `by` is to delete.
    pub(in crate::broker) fn replace(&self, by: u64, replaced: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut numbers = self.lock();
        let carried = self.carry(&mut numbers, by);
        numbers.gone.extend(replaced.into_iter().map(|number| (by, number)));
        carried
    }

    /// The records of these expired messages are obsolete.
    pub(in crate::broker) fn expire(&self, expired: &[u64]) {
        let mut numbers = self.lock();
        let by = numbers.last;
        numbers.gone.extend(expired.iter().map(|number| (by, *number)));
    }

    /// The deletion with this number has cleared all its messages, by changes before this call.
    pub(in crate::broker) fn end_deletion(&self, number: u64) {
        let mut numbers = self.lock();
        let last = numbers.last;
        numbers.ended.push((last, number));
    }

    /// The obsolete records that this shard can delete with a record of their own.
    pub(in crate::broker) fn sweep(&self, shard: ShardId) -> ObsoleteRetained {
        let mut numbers = self.lock();
        if numbers.gone.is_empty() && numbers.ended.is_empty() {
            return ObsoleteRetained::default();
        }
        let by = self.number(&mut numbers, shard);
        let open = self.first_open();
        let can_end = numbers.carried_by < open;
        let messages = self.carry(&mut numbers, by);
        // Without the record of its deletion, a start would restore each message whose record is still there.
        let kept = numbers.gone.front().map_or(NONE, |(since, _)| *since);
        let is_over = |(last, _): &mut (u64, u64)| can_end && *last < open && *last < kept;
        let deletions: Vec<_> = numbers.ended.extract_if(.., is_over).map(|(_, number)| number).collect();
        if !deletions.is_empty() {
            numbers.carried_by = by;
        }
        ObsoleteRetained { messages, deletions }
    }

    /// Deletions must be in the log in the order of their numbers, so at most one record that is not in the log yet may contain deletions.
    fn carry(&self, numbers: &mut Numbers, by: u64) -> Vec<u64> {
        let open = self.first_open();
        if numbers.gone.is_empty() || numbers.carried_by >= open {
            return Vec::new();
        }
        let settled = numbers.gone.partition_point(|(since, _)| *since < open);
        if settled > 0 {
            numbers.carried_by = by;
        }
        numbers.gone.drain(..settled.min(CARRIED_MAX)).map(|(_, number)| number).collect()
    }

    /// The lowest number whose record may not be in the log yet.
    fn first_open(&self) -> u64 {
        self.open.iter().map(|open| open.load(Ordering::Acquire)).min().unwrap_or(NONE)
    }

    /// Continues after `last`, the highest number of the previous run, of which the records `gone` are obsolete.
    pub(in crate::broker) fn restore(&self, last: u64, gone: ObsoleteRetained) {
        let mut numbers = self.lock();
        numbers.last = numbers.last.max(last);
        numbers.gone.extend(gone.messages.into_iter().map(|number| (0, number)));
        numbers.ended.extend(gone.deletions.into_iter().map(|number| (0, number)));
    }
}

/// All records of the shard are in the log.
const NONE: u64 = u64::MAX;
/// The greatest number of deletions in one record.
const CARRIED_MAX: usize = 10_000;
