use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::entry::{Entry, Refused, Room, encode_head};
use super::format::BATCH_HEADER_BYTES;
use super::level::Level;

/// What was appended and is not yet stable, in the order in which it came. All shards put in, the commit takes out.
pub(super) struct Gathering {
    state: Mutex<State>,
    wake: Condvar,
    congested: AtomicBool,
    full: AtomicBool,
    gathered_bytes_max: usize,
    /// Whether entries are kept, and not their tickets alone.
    keeps: bool,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    /// The highest ticket of each source.
    tickets: Vec<Option<u64>>,
    /// Whether one of them wants to be synced.
    wants_sync: bool,
    /// In the batches.
    bytes: usize,
    /// In those that were taken and are being written.
    taken_bytes: usize,
    /// Emptied buffers for batches to come.
    buffers: Vec<Vec<u8>>,
    /// Whether somebody waits for an entry that has gathered.
    is_urgent: bool,
    commit_waits: Waits,
    closing: bool,
    failure: Option<String>,
}

/// Whether somebody waits for entries to be stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody: a commit for them alone is not worth it, and they gather for a while.
    Unawaited,
    /// Somebody does.
    Awaited,
}

/// What the committing thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Waits {
    /// It is at work.
    #[default]
    No,
    /// Any entry.
    Any,
    /// One that somebody waits for, or enough of the others.
    Urgent,
}

/// Entries that are written together.
pub(super) struct Batch {
    /// Room for the header, then the entries.
    pub(super) bytes: Vec<u8>,
    pub(super) entries: u32,
}

/// What a commit takes.
pub(super) struct Taken {
    pub(super) batches: VecDeque<Batch>,
    pub(super) tickets: Vec<Option<u64>>,
    /// Whether an entry among them is stable only when it is synced.
    pub(super) wants_sync: bool,
}

impl Gathering {
    pub(super) fn new(level: Level, gathered_bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            congested: AtomicBool::new(false),
            full: AtomicBool::new(false),
            gathered_bytes_max,
            keeps: level != Level::None,
        }
    }

    /// Takes an entry. The committing thread hears of it with [`announce`](Self::announce), or when there is much.
    pub(super) fn append(&self, source: usize, ticket: u64, entry: &Entry<'_>) -> Result<(), Refused> {
        let head = if self.keeps { Some(encode_head(entry)?) } else { None };
        let mut state = self.lock();
        if state.failure.is_some() {
            return Err(Refused::Failed);
        }
        if state.closing {
            return Err(Refused::Closed);
        }
        if let Some(head) = head {
            if self.is_full() && entry.room == Room::Ordinary && !entry.puts.is_empty() {
                return Err(Refused::Full);
            }
            let length = head.len() + entry.body.len();
            let batch = state.batch_for(length);
            batch.bytes.extend_from_slice(&head);
            batch.bytes.extend_from_slice(entry.body);
            batch.entries += 1;
            state.bytes += length;
            state.wants_sync |= entry.level == Level::PowerLoss;
            if state.bytes + state.taken_bytes > self.gathered_bytes_max {
                self.congested.store(true, Ordering::Relaxed);
            }
        }
        if state.tickets.len() <= source {
            state.tickets.resize(source + 1, None);
        }
        if let Some(highest) = state.tickets.get_mut(source) {
            *highest = (*highest).max(Some(ticket));
        }
        if state.bytes >= UNANNOUNCED_BYTES.min(self.gathered_bytes_max) {
            self.tell(state, Urgency::Awaited);
        }
        Ok(())
    }

    /// Tells the committing thread of what was appended.
    pub(super) fn announce(&self, urgency: Urgency) {
        self.tell(self.lock(), urgency);
    }

    fn tell(&self, mut state: MutexGuard<'_, State>, urgency: Urgency) {
        state.is_urgent |= urgency == Urgency::Awaited;
        if state.commit_waits == Waits::Any || state.commit_waits == Waits::Urgent && state.is_urgent {
            state.commit_waits = Waits::No;
            self.wake.notify_one();
        }
    }

    /// All that has gathered.
    pub(super) fn take(&self) -> Taken {
        let mut state = self.lock();
        state.taken_bytes = mem::take(&mut state.bytes);
        state.is_urgent = false;
        Taken {
            batches: mem::take(&mut state.batches),
            tickets: mem::take(&mut state.tickets),
            wants_sync: mem::take(&mut state.wants_sync),
        }
    }

    /// Tells that what was taken is stable, and gives its buffers back. Returns whether that ended the congestion.
    pub(super) fn settle(&self, batches: VecDeque<Batch>) -> bool {
        let mut state = self.lock();
        for Batch { mut bytes, .. } in batches {
            if state.buffers.len() < BUFFERS_MAX && bytes.capacity() <= 2 * BATCH_BYTES {
                bytes.clear();
                state.buffers.push(bytes);
            }
        }
        state.taken_bytes = 0;
        state.bytes <= self.gathered_bytes_max / 2 && self.congested.swap(false, Ordering::Relaxed)
    }

    /// Waits until something has gathered or the store is closed, or as long as patience lasts.
    pub(super) fn wait(&self, patience: Option<Duration>) {
        let state = self.lock();
        if state.tickets.is_empty() && !state.closing {
            self.wait_for(Waits::Any, patience, state);
        }
    }

    /// Lets entries gather that nobody waits for: many of them cost little more than one.
    pub(super) fn linger(&self) {
        let state = self.lock();
        if !state.tickets.is_empty() && !state.is_urgent && !state.closing {
            self.wait_for(Waits::Urgent, Some(LINGER), state);
        }
    }

    fn wait_for(&self, what: Waits, patience: Option<Duration>, mut state: MutexGuard<'_, State>) {
        state.commit_waits = what;
        match patience {
            Some(patience) => {
                let woken = self.wake.wait_timeout_while(state, patience, |state| state.commit_waits != Waits::No);
                woken.unwrap_or_else(PoisonError::into_inner).0.commit_waits = Waits::No;
            }
            None => drop(self.wake.wait_while(state, |state| state.commit_waits != Waits::No)),
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.commit_waits = Waits::No;
        self.wake.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Returns whether that is news.
    pub(super) fn set_full(&self, full: bool) -> bool {
        self.full.swap(full, Ordering::Relaxed) != full
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Nothing is taken from now on.
    pub(super) fn fail(&self, reason: String) {
        self.lock().failure.get_or_insert(reason);
        self.congested.store(true, Ordering::Relaxed);
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    pub(super) fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The batch that the next entry goes into.
    fn batch_for(&mut self, length: usize) -> &mut Batch {
        let fits = self.batches.back().is_some_and(|batch| batch.bytes.len() + length <= BATCH_BYTES);
        if !fits {
            let batch = Batch::new(self.buffers.pop().unwrap_or_default());
            self.batches.push_back(batch);
        }
        let last = self.batches.len() - 1;
        self.batches.get_mut(last).unwrap_or_else(|| unreachable!("one was just put there"))
    }
}

impl Batch {
    pub(super) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.resize(BATCH_HEADER_BYTES, 0);
        Self { bytes, entries: 0 }
    }
}

/// A batch is checked as a whole before any of it is read, and one is held in memory then. Small in tests, so that a commit
/// has several.
const BATCH_BYTES: usize = if cfg!(test) { 1000 } else { 4 << 20 };

/// One that is written, one that gathers, and one for good measure.
const BUFFERS_MAX: usize = 3;

/// How long entries gather that nobody waits for. What is lost of them in a crash was promised to nobody.
pub(super) const LINGER: Duration = Duration::from_millis(50);

/// So much is worth a commit, whether somebody waits for it or not.
const UNANNOUNCED_BYTES: usize = 256 << 10;
