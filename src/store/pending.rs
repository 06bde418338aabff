mod accumulate;
mod noted;
mod together;
mod under_way;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) use super::batch::Batch;
use super::entry::{Entry, Numbered, Refused, Room, encode_numbered};
use super::level::Level;
use super::numbers::{NextNumbers, Numbers};
use super::pace::Gathering;
use super::shortage::Shortage;

/// Entries that were appended and are not stable yet, in order. All shards append; the committing thread takes them.
pub(super) struct PendingEntries {
    state: Mutex<State>,
    wake: Condvar,
    congested: AtomicBool,
    /// The code of a [`Shortage`].
    shortage: AtomicU8,
    pending_bytes_max: usize,
    /// Whether entries are kept. Otherwise, only their tickets are.
    keeps: bool,
    /// Bytes of stable messages that are not in the files of their streams yet. They count as pending.
    stream_bytes: AtomicUsize,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    /// The highest ticket of each source, and the highest urgency.
    tickets: Vec<Option<(u64, Urgency)>>,
    /// Whether one of the entries requires a sync.
    wants_sync: bool,
    next_numbers: NextNumbers,
    /// Whether one of the entries has a numbered put.
    has_numbered: bool,
    /// Bytes in the batches.
    bytes: usize,
    /// Bytes in the batches that were taken and are not stable.
    taken_bytes: usize,
    /// Empty buffers for later batches.
    buffers: Vec<Vec<u8>>,
    /// Whether an acknowledgement waits for one of the entries.
    is_urgent: bool,
    /// The number of announcements of awaited entries.
    awaited: u32,
    /// When the first awaited entry was appended.
    awaited_since: Option<Instant>,
    /// The same for the entries that were taken and are not stable.
    taken_since: Option<Instant>,
    /// The same for those that are being written.
    writing_since: Option<Instant>,
    commit_waits: WaitsFor,
    closing: bool,
    failure: Option<String>,
}

/// Whether an acknowledgement waits for entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// None does: the entries accumulate for a while, because a commit for them alone is too expensive.
    Unawaited,
    /// One does.
    Awaited,
}

/// What the committing thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum WaitsFor {
    /// Nothing: it is working.
    #[default]
    Nothing,
    /// Any entry.
    Any,
    /// An awaited entry, or enough others.
    Urgent,
    /// So many announcements of awaited entries.
    Awaited(u32),
    /// At least [`ENOUGH_BYTES`].
    Enough,
    /// The same, or that a majority has what was shipped.
    Turn,
}

/// The entries of a commit.
pub(super) struct Taken {
    pub(super) batches: VecDeque<Batch>,
    /// The highest ticket of each source, and the highest urgency.
    pub(super) tickets: Vec<Option<(u64, Urgency)>>,
    /// Whether one of the entries requires a sync.
    pub(super) wants_sync: bool,
    /// Whether one of the entries has a numbered put.
    pub(super) has_numbered: bool,
    /// The number of batches in front that are copies of older entries.
    pub(super) copies: usize,
    /// The number of announcements of awaited entries.
    pub(super) awaited: u32,
    /// When the first awaited entry was appended.
    pub(super) awaited_since: Option<Instant>,
    /// The bytes of its entries, without copies.
    pub(super) bytes: usize,
}

impl PendingEntries {
    pub(super) fn new(level: Level, pending_bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            congested: AtomicBool::new(false),
            shortage: AtomicU8::new(0),
            pending_bytes_max,
            keeps: level != Level::None,
            stream_bytes: AtomicUsize::new(0),
        }
    }

    /// Appends an entry. The committing thread is notified by [`announce`](Self::announce), or here if many bytes are
    /// pending.
    pub(super) fn append(
        &self,
        (source, ticket, urgency): (usize, u64, Urgency),
        entry: &Entry<'_>,
        numbered: &[Numbered<'_>],
    ) -> Result<Numbers, Refused> {
        let mut encoded = if self.keeps { Some(encode_numbered(entry, numbered)?) } else { None };
        let mut state = self.accepting()?;
        let mut numbers = Numbers::new();
        if let Some(encoded) = &mut encoded {
            let has_puts = !(entry.puts.is_empty() && numbered.is_empty());
            if self.is_full() && entry.room == Room::Ordinary && has_puts {
                return Err(Refused::Full);
            }
            if !numbered.is_empty() {
                numbers = state.next_numbers.take(numbered)?;
                state.has_numbered = true;
                encoded.set_numbers(&numbers);
            }
            let length = encoded.length(entry.body);
            state.batch_for(length).add(encoded, entry.body);
            self.added(&mut state, length, entry.level);
        }
        self.note_ticket(state, source, ticket, urgency);
        Ok(numbers)
    }

    /// The state, if entries are accepted.
    fn accepting(&self) -> Result<MutexGuard<'_, State>, Refused> {
        let state = self.lock();
        if state.failure.is_some() {
            return Err(Refused::Failed);
        }
        if state.closing { Err(Refused::Closed) } else { Ok(state) }
    }

    /// Counts the bytes that were added to a batch.
    fn added(&self, state: &mut State, length: usize, level: Level) {
        state.bytes += length;
        state.wants_sync |= level == Level::PowerLoss;
        if state.bytes + state.taken_bytes + self.stream_bytes.load(Ordering::Relaxed) > self.pending_bytes_max {
            self.congested.store(true, Ordering::Relaxed);
        }
    }

    /// Notifies the committing thread of appended entries.
    pub(super) fn announce(&self, urgency: Urgency) {
        self.notify(self.lock(), urgency);
    }

    fn notify(&self, mut state: MutexGuard<'_, State>, urgency: Urgency) {
        state.is_urgent |= urgency == Urgency::Awaited;
        state.awaited += u32::from(urgency == Urgency::Awaited);
        let is_enough = match state.commit_waits {
            WaitsFor::Nothing => false,
            WaitsFor::Any => true,
            WaitsFor::Urgent => state.is_urgent,
            WaitsFor::Awaited(count) => state.awaited >= count,
            WaitsFor::Enough | WaitsFor::Turn => state.bytes >= ENOUGH_BYTES,
        };
        if is_enough {
            state.commit_waits = WaitsFor::Nothing;
            // Without the lock, which the woken thread takes first.
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Stable messages of so many bytes are to be written to their streams.
    pub(super) fn add_stream_bytes(&self, bytes: usize) {
        let before = self.stream_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.pending_bytes_max {
            self.congested.store(true, Ordering::Relaxed);
        }
    }

    /// They are written. Returns whether that ended the congestion.
    pub(super) fn remove_stream_bytes(&self, bytes: usize) -> bool {
        let state = self.lock();
        self.stream_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.relieve(&state)
    }

    /// Sets the next id in a group of numbered puts. Entries with puts in other groups are refused.
    pub(super) fn set_next_number(&self, group: u64, next: u64) {
        self.lock().next_numbers.set(group, next);
    }

    /// After the last commit, waits for [`UNAWAITED_DELAY`] at most, until entries should be committed. Returns whether
    /// there are any, or the store is closed.
    ///
    /// An awaited message is usually followed by an unawaited entry, when its receiver acknowledges it. Here, unlike in
    /// [`wait`](Self::wait), an unawaited entry does not wake the thread, which would only wait for others again.
    pub(super) fn linger(&self) -> bool {
        let mut state = self.lock();
        if state.tickets.is_empty() && !state.is_ending() {
            state.is_urgent = false;
            state = self.wait_for(WaitsFor::Urgent, Some(UNAWAITED_DELAY), state);
            // What is pending has accumulated.
            state.is_urgent = true;
        }
        !state.tickets.is_empty() || state.is_ending()
    }

    /// Waits until an entry is pending, the store is closed, or `patience` has passed.
    pub(super) fn wait(&self, patience: Option<Duration>) {
        let mut state = self.lock();
        if state.tickets.is_empty() && !state.is_ending() {
            state.is_urgent = false;
            drop(self.wait_for(WaitsFor::Any, patience, state));
        }
    }

    /// Lets unawaited entries accumulate, because many of them cost little more than one.
    pub(super) fn wait_for_urgent(&self) {
        let state = self.lock();
        if !state.tickets.is_empty() && !state.is_urgent && !state.is_ending() {
            drop(self.wait_for(WaitsFor::Urgent, Some(UNAWAITED_DELAY), state));
        }
    }

    /// Waits for more awaited entries, if there are any.
    pub(super) fn gather(&self, Gathering { patience, awaited }: Gathering) {
        let state = self.lock();
        if (1..awaited).contains(&state.awaited) && !state.is_ending() {
            drop(self.wait_for(WaitsFor::Awaited(awaited), Some(patience), state));
        }
    }

    /// The number of announcements of awaited entries that are pending.
    pub(super) fn awaited(&self) -> u32 {
        self.lock().awaited
    }

    fn wait_for<'a>(
        &self,
        what: WaitsFor,
        patience: Option<Duration>,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        state.commit_waits = what;
        let waits = |state: &mut State| state.commit_waits != WaitsFor::Nothing;
        let mut state = match patience {
            Some(patience) => {
                let woken = self.wake.wait_timeout_while(state, patience, waits);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.wake.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner),
        };
        state.commit_waits = WaitsFor::Nothing;
        state
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.commit_waits = WaitsFor::Nothing;
        drop(state);
        self.wake.notify_one();
    }

    /// Lets the committing thread look for something to do, if it waits.
    pub(super) fn nudge(&self) {
        self.lock().commit_waits = WaitsFor::Nothing;
        self.wake.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Returns whether the store is full now and was not, or the other way round.
    pub(super) fn set_shortage(&self, shortage: Option<Shortage>) -> bool {
        let before = self.shortage.swap(Shortage::to_code(shortage), Ordering::Relaxed);
        Shortage::from_code(before).is_some() != shortage.is_some()
    }

    pub(super) fn shortage(&self) -> Option<Shortage> {
        Shortage::from_code(self.shortage.load(Ordering::Relaxed))
    }

    pub(super) fn is_full(&self) -> bool {
        self.shortage().is_some()
    }

    /// Whether more entries wait for a blocked commit than the store should keep in memory.
    pub(super) fn is_overdue(&self) -> bool {
        let state = self.lock();
        state.bytes + state.taken_bytes > BLOCKED_FACTOR * self.pending_bytes_max
    }

    /// Refuses all entries from now on.
    pub(super) fn fail(&self, reason: String) {
        self.lock().failure.get_or_insert(reason);
        self.congested.store(true, Ordering::Relaxed);
    }

    /// The bytes that are not stable, and how long the oldest awaited entry of them has waited.
    pub(super) fn lag(&self) -> (usize, Duration) {
        let state = self.lock();
        let oldest = state.taken_since.or(state.awaited_since);
        (state.bytes + state.taken_bytes, oldest.map(|since| since.elapsed()).unwrap_or_default())
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Above so many pending bytes the store is congested.
    pub(super) fn bytes_max(&self) -> usize {
        self.pending_bytes_max
    }

    pub(super) fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether no entries will be appended any more.
    fn is_ending(&self) -> bool {
        self.closing || self.failure.is_some()
    }

    /// The batch for the next entry.
    fn batch_for(&mut self, length: usize) -> &mut Batch {
        let fits = self.batches.back().is_some_and(|batch| batch.bytes.len() + length <= BATCH_BYTES);
        if !fits {
            let batch = Batch::new(self.buffers.pop().unwrap_or_default());
            self.batches.push_back(batch);
        }
        let last = self.batches.len() - 1;
        self.batches.get_mut(last).unwrap_or_else(|| unreachable!("a batch was added above"))
    }
}

/// Maximum size of a batch in bytes. Recovery reads a whole batch in memory to verify it. Small in tests, so that a
/// commit has several.
const BATCH_BYTES: usize = if cfg!(test) { 1000 } else { 4 << 20 };

/// One that is written, one that accumulates, and one spare.
const BUFFERS_MAX: usize = 3;

/// While a commit is blocked, publishers are paused, but connections and acknowledgements still cause entries: up to this
/// many times the bytes above which the store is congested.
const BLOCKED_FACTOR: usize = 4;

/// How long unawaited entries accumulate. A crash may lose them, because no acknowledgement depends on them.
pub(super) const UNAWAITED_DELAY: Duration = Duration::from_millis(50);

/// From this many bytes on, entries are committed, whether or not an acknowledgement waits for them.
const URGENT_BYTES: usize = 256 << 10;

/// A commit of a replicated log with at least this number of bytes does not wait for more entries, because the bytes cost more than the entry of the engine.
const ENOUGH_BYTES: usize = 64 << 10;
