//! The open receipts of all shards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::broker::persistence::receipt::{CopyChange, CopyOutcome, CopyState};
use crate::broker::receipts::receipt::{NOWHERE, Receipt};
use crate::routing::{SessionKey, ShardId};
use crate::session::Ticket;
use crate::timestamp::Timestamp;

/// The bounds of receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptLimits {
    /// The greatest number of open receipts; 0: there are none, and `receipt-to` is a User Property like any other. Each shard may exceed it by
    /// one message.
    pub open_max: usize,
    /// The greatest number of open receipts that one user, or one client without a user, has asked for.
    pub per_client_max: usize,
    /// After this time a receipt is published, whatever is outstanding.
    pub age_max: Duration,
}

/// A limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum ReceiptsFull {
    All,
    OfClient,
}

/// The open receipts. Each of a queue's messages asks whether it has one, so that is answered without a lock.
#[derive(Debug, Default)]
pub(in crate::broker) struct Receipts {
    open: AtomicUsize,
    due: AtomicUsize,
    /// The number of tracked copies by the hash of their places, while there are any.
    tracked: OnceLock<Box<[AtomicU32]>>,
    all: Mutex<All>,
}

/// Invariants: each copy that is in a queue is in `places`; `due` has the receipts whose `due` is set, except those that are being published.
#[derive(Debug, Default)]
struct All {
    receipts: BTreeMap<u64, Receipt>,
    /// The receipt of each copy and its index, by the place of the copy.
    places: BTreeMap<(SessionKey, u64), (u64, u32)>,
    /// What each originator has asked for.
    originators: HashMap<Arc<str>, Own, RandomState>,
    due: BTreeSet<(Timestamp, u64)>,
    last: u64,
}

/// What one originator has open.
#[derive(Debug, Default, Clone, Copy)]
struct Own {
    receipts: usize,
    copies: usize,
}

impl Receipts {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of open receipts.
    #[inline]
    pub(in crate::broker) fn len(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether a receipt may be due.
    #[inline]
    pub(in crate::broker) fn has_due(&self) -> bool {
        self.due.load(Ordering::Relaxed) > 0
    }

    /// Whether the message with this sequence in the queue of a Session may have a receipt. It is `true` for all that have
    /// one, and for a few others whose places have the same hash.
    #[inline]
    pub(in crate::broker) fn may_track(&self, key: SessionKey, sequence: u64) -> bool {
        self.len() > 0 && self.tracked_at(key, sequence) > 0
    }

    #[inline(never)]
    fn tracked_at(&self, key: SessionKey, sequence: u64) -> u32 {
        self.tracked().get(place_of(key, sequence)).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn tracked(&self) -> &[AtomicU32] {
        self.tracked.get_or_init(|| (0..TRACKED_PLACES).map(|_| AtomicU32::new(0)).collect())
    }

    /// Whether an originator may ask for one more receipt besides `more` that it asks for at the same time.
    pub(in crate::broker) fn check(
        &self,
        originator: &str,
        more: usize,
        limits: &ReceiptLimits,
    ) -> Result<(), ReceiptsFull> {
        let all = self.lock();
        if all.receipts.len() + more >= limits.open_max || all.places.len() >= COPIES_MAX {
            return Err(ReceiptsFull::All);
        }
        let own = all.originators.get(originator).copied().unwrap_or_default();
        let is_full = own.receipts + more >= limits.per_client_max || own.copies >= COPIES_OF_CLIENT_MAX;
        if is_full { Err(ReceiptsFull::OfClient) } else { Ok(()) }
    }

    /// The number of a new receipt.
    pub(in crate::broker) fn next_number(&self, now: Timestamp) -> u64 {
        let mut all = self.lock();
        all.last = now.0.max(all.last + 1);
        all.last
    }

    /// Adds a receipt whose record has this ticket; `None`: it has no record.
    pub(in crate::broker) fn open(&self, number: u64, mut receipt: Receipt, record: Option<(ShardId, Ticket)>) {
        if let Some((shard, ticket)) = record {
            receipt.depends_on(shard, ticket);
        }
        let now = receipt.at;
        let mut all = self.lock();
        for (copy, place) in (0..).zip(&receipt.places).filter(|(_, place)| **place != NOWHERE) {
            all.places.insert(*place, (number, copy));
            self.track(*place, 1);
        }
        let own = all.originators.entry(Arc::clone(&receipt.counted_for)).or_default();
        own.receipts += 1;
        own.copies += receipt.copies;
        all.last = all.last.max(number);
        all.receipts.insert(number, receipt);
        all.settle(number, now);
        self.publish_lengths(&all);
    }

    /// A copy leaves its queue for good. The caller writes the change in the record that removes it, and then [settles](Self::settle) it.
    pub(in crate::broker) fn leave(
        &self,
        place: (SessionKey, u64),
        outcome: CopyOutcome,
        now: Timestamp,
    ) -> Option<CopyChange> {
        let mut all = self.lock();
        let (receipt, copy) = all.places.remove(&place)?;
        self.track(place, u32::MAX);
        let open = all.receipts.get_mut(&receipt)?;
        open.add(outcome, 1, now);
        Some(CopyChange { receipt, copy, state: CopyState::Left(outcome, now) })
    }

    /// A copy moves to another queue. The caller writes the change in the record that moves it.
    pub(in crate::broker) fn moved(&self, from: (SessionKey, u64), to: (SessionKey, u64)) -> Option<CopyChange> {
        let mut all = self.lock();
        let (receipt, copy) = all.places.remove(&from)?;
        self.track(from, u32::MAX);
        all.places.insert(to, (receipt, copy));
        self.track(to, 1);
        if let Some(place) = all.receipts.get_mut(&receipt).and_then(|open| open.places.get_mut(copy as usize)) {
            *place = to;
        }
        Some(CopyChange { receipt, copy, state: CopyState::Queued(to.0, to.1) })
    }

    /// The record of a change has this ticket.
    pub(in crate::broker) fn settle(&self, change: CopyChange, (shard, ticket): (ShardId, Ticket), now: Timestamp) {
        let mut all = self.lock();
        let Some(open) = all.receipts.get_mut(&change.receipt) else { return };
        open.depends_on(shard, ticket);
        if let CopyState::Left(..) = change.state {
            open.outstanding = open.outstanding.saturating_sub(1);
            all.settle(change.receipt, now);
        }
        self.publish_lengths(&all);
    }

    /// A Session ended with this record, and all its messages, or only those with the sequences `left`. Its end tells what became of its copies.
    pub(in crate::broker) fn end_session(
        &self,
        key: SessionKey,
        left: Option<&[u64]>,
        record: (ShardId, Ticket),
        now: Timestamp,
    ) {
        let mut all = self.lock();
        let places: Vec<_> = match left {
            None => all.places.range(all_of(key)).map(|(place, _)| *place).collect(),
            Some(left) => left.iter().map(|sequence| (key, *sequence)).collect(),
        };
        for place in places {
            let Some((receipt, _)) = all.places.remove(&place) else { continue };
            self.track(place, u32::MAX);
            let Some(open) = all.receipts.get_mut(&receipt) else { continue };
            open.add(CopyOutcome::SessionEnded, 1, now.max(open.at)); // a start ends orphans without a time
            open.depends_on(record.0, record.1);
            open.outstanding = open.outstanding.saturating_sub(1);
            all.settle(receipt, now);
        }
        self.publish_lengths(&all);
    }

    /// Makes receipts due that are too old, at most `max`.
    pub(in crate::broker) fn expire(&self, now: Timestamp, age_max: Duration, max: usize) {
        let mut all = self.lock();
        // The numbers ascend with the times.
        let is_old = |receipt: &Receipt| receipt.at + age_max <= now;
        let old: Vec<u64> = all.receipts.iter().take_while(|(_, receipt)| is_old(receipt)).map(|(n, _)| *n).collect();
        for number in old.into_iter().filter(|number| !all.is_due(*number)).take(max).collect::<Vec<_>>() {
            all.make_due(number, now);
        }
        self.publish_lengths(&all);
    }

    /// Takes receipts that are due and whose records are stable, at most `max`. Each must be [closed](Self::close) or
    /// [put back](Self::put_back).
    pub(in crate::broker) fn take_due(
        &self,
        now: Timestamp,
        stable: impl Fn(ShardId) -> Ticket,
        max: usize,
    ) -> Vec<(u64, Receipt)> {
        let mut all = self.lock();
        let is_ready = |number: &u64| all.receipts.get(number).is_some_and(|receipt| receipt.is_stable(&stable));
        let due = all.due.iter().take_while(|(at, _)| *at <= now).take(LOOKED_AT_MAX);
        let ready: Vec<_> = due.filter(|(_, number)| is_ready(number)).take(max).copied().collect();
        let mut taken = Vec::with_capacity(ready.len());
        for entry in ready {
            all.due.remove(&entry);
            if let Some(receipt) = all.receipts.get_mut(&entry.1) {
                if receipt.outstanding == 0 {
                    receipt.places = Vec::new(); // all copies have left them
                }
                taken.push((entry.1, receipt.clone()));
            }
        }
        self.publish_lengths(&all);
        taken
    }

    /// A receipt can't be published now: it is due again at `at`.
    pub(in crate::broker) fn put_back(&self, number: u64, at: Timestamp) {
        let mut all = self.lock();
        if let Some(receipt) = all.receipts.get_mut(&number) {
            receipt.due = None;
            all.make_due(number, at);
        }
        self.publish_lengths(&all);
    }

    /// Removes a receipt that is published, or never will be.
    pub(in crate::broker) fn close(&self, number: u64) {
        let mut all = self.lock();
        self.forget_places(&mut all, number);
        if let Some(receipt) = all.receipts.remove(&number)
            && let Some(own) = all.originators.get_mut(&receipt.counted_for)
        {
            own.receipts -= 1;
            own.copies -= receipt.copies;
            if own.receipts == 0 {
                all.originators.remove(&receipt.counted_for);
            }
        }
        self.publish_lengths(&all);
    }

    /// What becomes of the copies of this receipt from now on does not matter.
    fn forget_places(&self, all: &mut All, number: u64) {
        let places = all.receipts.get_mut(&number).map(|receipt| std::mem::take(&mut receipt.places));
        for (copy, place) in (0..).zip(places.unwrap_or_default()) {
            if all.places.get(&place) == Some(&(number, copy)) {
                all.places.remove(&place);
                self.track(place, u32::MAX);
            }
        }
    }

    /// Adds to the number of tracked copies at a place; `u32::MAX` subtracts one.
    fn track(&self, (key, sequence): (SessionKey, u64), count: u32) {
        if let Some(tracked) = self.tracked().get(place_of(key, sequence)) {
            tracked.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn publish_lengths(&self, all: &All) {
        self.open.store(all.receipts.len(), Ordering::Relaxed);
        self.due.store(all.due.len(), Ordering::Relaxed);
    }

    /// Adds a receipt of the previous run, whose records are stable, and what is known of copies that are in no queue.
    pub(in crate::broker) fn restore(
        &self,
        number: u64,
        mut receipt: Receipt,
        known: impl Iterator<Item = (CopyOutcome, Timestamp)>,
    ) {
        for (outcome, at) in known {
            receipt.add(outcome, 1, at);
        }
        self.open(number, receipt, None);
    }
}

impl All {
    /// Makes a receipt due if nothing is outstanding.
    fn settle(&mut self, number: u64, now: Timestamp) {
        if self.receipts.get(&number).is_some_and(|receipt| receipt.outstanding == 0) {
            self.make_due(number, now);
        }
    }

    fn make_due(&mut self, number: u64, at: Timestamp) {
        let Some(receipt) = self.receipts.get_mut(&number).filter(|receipt| receipt.due.is_none()) else { return };
        receipt.due = Some(at);
        self.due.insert((at, number));
    }

    fn is_due(&self, number: u64) -> bool {
        self.receipts.get(&number).is_some_and(|receipt| receipt.due.is_some())
    }
}

/// The places in the queue of a Session.
const fn all_of(key: SessionKey) -> RangeInclusive<(SessionKey, u64)> {
    (key, 0)..=(key, u64::MAX)
}

/// The index of a place in the table of tracked ones: consecutive sequences have consecutive indexes.
const fn place_of(SessionKey(key): SessionKey, sequence: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(16).wrapping_add(sequence) % TRACKED_PLACES) as usize
}

/// The entries of the table of tracked copies: 256 KiB.
const TRACKED_PLACES: u64 = 1 << 16;
/// The copies of all open receipts, which may be exceeded by those of one message for each shard: about 100 MB.
const COPIES_MAX: usize = 1_000_000;
/// Those of one originator, so that it does not use up what is there for all.
const COPIES_OF_CLIENT_MAX: usize = COPIES_MAX / 10;
/// The due receipts that are looked at in one turn.
const LOOKED_AT_MAX: usize = 1_024;

#[cfg(test)]
mod tests;
