//! Which commits of a replicated log are on this disk, and which on those of a majority: reports what both have, in order.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::error::OpenError;
use super::mark::{self, MarkFile};
use super::options::Hooks;
use super::pending::PendingEntries;
use super::replica::Replication;
use super::reporter::{Reporter, Tickets};

/// The state of the replication, for the committing thread and the one that replicates.
pub(super) struct Replicated {
    /// Entries below this sequence are written and synced here, and the index has them.
    synced: AtomicU64,
    /// Entries below this sequence are on the disks of a majority.
    replicated: AtomicU64,
    /// The log is never cut below this sequence.
    marked: AtomicU64,
    mark: Mutex<MarkFile>,
    queue: Mutex<Queue>,
    /// Notified when the queue became shorter, or ended.
    changed: Condvar,
    on_pressure: Arc<dyn Fn() + Send + Sync>,
    /// Above so many bytes in the queue, the committing thread takes no more entries.
    bytes_max: usize,
    lease: Mutex<Option<Lease>>,
}

/// The right to change the directory: it is released to others when nobody has it any more.
pub(super) type Lease = Arc<Leased>;

pub(super) struct Leased(Arc<dyn Disk>);

impl Drop for Leased {
    fn drop(&mut self) {
        self.0.release();
    }
}

struct Queue {
    /// Commits that are synced here, in order.
    waiting: VecDeque<Waiting>,
    /// Their bytes.
    bytes: usize,
    reporter: Reporter,
    /// Nothing is reported any more.
    has_ended: bool,
}

/// A commit that is synced here.
pub(super) struct Waiting {
    /// The sequence behind its last entry.
    pub(super) end: u64,
    pub(super) tickets: Tickets,
    /// Its bytes that count as pending.
    pub(super) pending_bytes: usize,
    /// Its bytes, with copies to reclaim space.
    pub(super) bytes: usize,
    /// When its first awaited entry was appended.
    pub(super) awaited_since: Option<Instant>,
}

impl Replicated {
    /// All of the log is replicated. Takes the hook that reports.
    pub(super) fn new(mark: MarkFile, disk: &Arc<dyn Disk>, hooks: &mut Hooks, bytes_max: usize) -> Self {
        let sequence = mark.mark().sequence;
        let on_stable = mem::replace(&mut hooks.on_stable, Box::new(|_, _| ()));
        let reporter = Reporter::new(on_stable);
        Self {
            synced: sequence.into(),
            replicated: sequence.into(),
            marked: mark.both().into(),
            mark: Mutex::new(mark),
            queue: Mutex::new(Queue { waiting: VecDeque::new(), bytes: 0, reporter, has_ended: false }),
            changed: Condvar::new(),
            on_pressure: Arc::clone(&hooks.on_pressure),
            bytes_max,
            lease: Mutex::new(Some(Arc::new(Leased(Arc::clone(disk))))),
        }
    }

    /// The sequence behind the last entry that is here and on the disks of a majority.
    pub(super) fn stable(&self) -> u64 {
        self.synced.load(Ordering::SeqCst).min(self.replicated.load(Ordering::SeqCst))
    }

    /// The log is never cut below this sequence.
    pub(super) fn marked(&self) -> u64 {
        self.marked.load(Ordering::SeqCst)
    }

    /// A majority has the entries below this sequence.
    pub(super) fn advance(&self, below: u64) {
        self.replicated.fetch_max(below, Ordering::SeqCst);
    }

    /// Whether this disk has more than a majority.
    pub(super) fn is_ahead(&self) -> bool {
        !self.has_ended() && self.is_under_way()
    }

    /// Whether a commit that is synced here is not on the disks of a majority. It takes no lock.
    pub(super) fn is_under_way(&self) -> bool {
        self.replicated.load(Ordering::SeqCst) < self.synced.load(Ordering::SeqCst)
    }

    /// A commit is synced here, and in the index.
    pub(super) fn written(&self, commit: Waiting) {
        let mut queue = self.queue();
        self.synced.store(commit.end, Ordering::SeqCst);
        if !queue.has_ended {
            queue.bytes += commit.bytes;
            queue.waiting.push_back(commit);
        }
    }

    /// Reports what is stable. `took` gets how long the first awaited entry of each commit waited.
    pub(super) fn report(&self, pending: &PendingEntries, took: &dyn Fn(Duration)) {
        let mut queue = self.queue();
        if queue.has_ended {
            return;
        }
        let (stable, mut has_relieved) = (self.stable(), false);
        while queue.waiting.front().is_some_and(|commit| commit.end <= stable) {
            let Some(commit) = queue.waiting.pop_front() else { break };
            queue.bytes -= commit.bytes;
            if let Some(since) = commit.awaited_since {
                took(since.elapsed());
            }
            let oldest = queue.waiting.iter().find_map(|commit| commit.awaited_since);
            has_relieved |= pending.completed(commit.pending_bytes, oldest);
            queue.reporter.report(&commit.tickets);
        }
        if queue.waiting.is_empty() {
            // There may be no later commit for a long time.
            queue.reporter.report_rest();
        }
        drop(queue);
        if !self.is_under_way() {
            pending.end_turn();
        }
        self.changed.notify_all();
        if has_relieved {
            (self.on_pressure)();
        }
    }

    /// Whether few enough bytes wait for a majority that more may be shipped.
    pub(super) fn has_room(&self) -> bool {
        self.queue().bytes <= self.bytes_max
    }

    /// Waits until there is room, or it has ended.
    pub(super) fn wait_for_room(&self) {
        self.wait_while(|queue| queue.bytes > self.bytes_max);
    }

    /// Waits until all commits are reported, or it has ended.
    pub(super) fn wait_for_all(&self) {
        self.wait_while(|queue| !queue.waiting.is_empty());
    }

    fn wait_while(&self, waits: impl Fn(&Queue) -> bool) {
        let queue = self.queue();
        let waits = |queue: &mut Queue| !queue.has_ended && waits(queue);
        drop(self.changed.wait_while(queue, waits).unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on, nothing is reported, and no mark is written. The directory is released when nobody changes it any more.
    pub(super) fn end(&self) {
        let mut queue = self.queue();
        queue.has_ended = true;
        queue.waiting.clear();
        queue.bytes = 0;
        drop(queue);
        self.changed.notify_all();
        drop(self.lease.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(super) fn has_ended(&self) -> bool {
        self.queue().has_ended
    }

    /// The right to change the directory; `None` if it has ended.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The mark, for reading or, by who has a [`lease`](Self::lease), for writing.
    pub(super) fn mark(&self) -> MutexGuard<'_, MarkFile> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mark was written.
    pub(super) fn was_marked(&self, mark: &MarkFile) {
        self.marked.fetch_max(mark.both(), Ordering::SeqCst);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mark with which a store begins whose log ends at this sequence. One that is not replicated has none.
pub(super) fn first_mark(
    disk: &dyn Disk,
    replication: Option<&Replication>,
    end: u64,
) -> Result<Option<MarkFile>, OpenError> {
    let Some(Replication { mark, .. }) = replication else {
        mark::forget(disk)?;
        return Ok(None);
    };
    if mark.sequence != end {
        return Err(OpenError::OffMark { log: end, mark: mark.sequence });
    }
    match MarkFile::open(disk)? {
        Some(mut file) => {
            file.write(mark)?;
            Ok(Some(file))
        }
        None => Ok(Some(MarkFile::create(disk, mark)?)),
    }
}
