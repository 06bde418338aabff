//! The store as the owner of a replicated log.

use std::io;
use std::sync::Arc;

use super::Store;
use super::mark::Mark;
use super::replicated::Replicated;
use super::shared::Shared;
use super::snapshot::{Pin, Snapshot};

impl Store {
    /// All entries below this sequence, which is the end of a batch that was shipped, are on the disks of a majority. Any thread may call it; a lower
    /// sequence than before changes nothing. Reports what this disk has, too, from the calling thread, in order.
    pub fn replicated(&self, below: u64) {
        if let Some(replicated) = &self.shared.replicated {
            replicated.advance(below);
            self.shared.report_replicated();
        }
    }

    /// The sequence behind the last entry that this disk *and* a majority have; 0 if the store is not replicated.
    pub fn stable(&self) -> u64 {
        self.shared.replicated.as_ref().map_or(0, |replicated| replicated.stable())
    }

    /// Whether entries that this disk has wait for a majority.
    pub fn waits_for_majority(&self) -> bool {
        self.shared.replicated.as_ref().is_some_and(|replicated| replicated.is_ahead())
    }

    /// Writes the mark: a start cuts the log to it. Waits for the disk, so the committing thread must not call it. `Ok(false)`: the log below it is
    /// not [stable](Self::stable) yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`]: the mark goes back, or its state is too long. [`io::ErrorKind::PermissionDenied`]: the store is
    /// fenced. [`io::ErrorKind::Unsupported`]: it is not replicated. Otherwise the operating system returned an error, and it can be tried again.
    pub fn write_mark(&self, mark: &Mark) -> io::Result<bool> {
        let replicated = self.shared.replicated.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let lease = replicated.lease().ok_or(io::ErrorKind::PermissionDenied)?;
        if mark.sequence > replicated.stable() {
            return Ok(false);
        }
        let mut file = replicated.mark();
        file.write(mark)?;
        replicated.was_marked(&file);
        drop(file);
        drop(lease);
        let first_end = self.shared.log().dead.first_end();
        if first_end.is_some_and(|end| end <= replicated.marked()) {
            // A segment can be freed.
            self.shared.pending.nudge();
        }
        Ok(true)
    }

    /// This store is not the owner of its log any more: reports nothing, accepts nothing and writes no mark from now on, without waiting for the disk or
    /// for a majority. Threads end, also if [`close`](Self::close) waits for them. The directory can be opened as soon as the write that may be under way
    /// has ended.
    pub fn fence(&self, reason: &str) {
        if let Some(replicated) = &self.shared.replicated {
            replicated.end();
        }
        self.shared.pending.fail(reason.to_owned());
        self.shared.pending.nudge();
        drop(self.take_threads());
    }

    /// A fixed state of the log, for a copy at another node. No space is reclaimed until it is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`]: the store is not replicated. Otherwise the files of its streams can't be listed.
    pub fn snapshot(&self) -> io::Result<Snapshot> {
        Snapshot::of_owner(&self.shared)
    }
}

impl Shared {
    /// Messages of streams are written to their files if they are in the log below this sequence: a replicated log may be cut above it.
    pub(super) fn stable(&self) -> u64 {
        self.replicated.as_ref().map_or(u64::MAX, Replicated::stable)
    }

    /// Reports what this disk and a majority have.
    pub(super) fn report_replicated(&self) {
        if let Some(replicated) = &self.replicated {
            replicated.report(&self.pending, &|took| self.log().commit_latency.record(took));
            self.streams.backlog.advanced();
        }
    }
}

impl Snapshot {
    fn of_owner(shared: &Arc<Shared>) -> io::Result<Self> {
        let replicated = shared.replicated.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        // What was freed before the pin is below each mark that is read after it, and such a mark is below the ends that are read after it.
        let pin = OwnerPin::new(shared);
        let mark = replicated.mark().mark().clone();
        let log = shared.log();
        let (tail, tail_end) = log.end;
        let end = |segment, bytes| if segment == tail { tail_end } else { bytes };
        let files = log.index.segments().map(|(segment, usage)| (segment, end(segment, usage.bytes))).collect();
        drop(log);
        Self::new(Arc::clone(&shared.disk), mark, (files, Arc::clone(&shared.streams)), Box::new(pin))
    }
}

/// Prevents that an owner frees segments.
struct OwnerPin(Arc<Shared>);

impl OwnerPin {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.log().pins += 1;
        Self(Arc::clone(shared))
    }
}

impl Pin for OwnerPin {
    fn is_held(&self) -> bool {
        self.0.replicated.as_ref().is_some_and(|replicated| !replicated.has_ended())
    }
}

impl Drop for OwnerPin {
    fn drop(&mut self) {
        self.0.log().pins -= 1;
    }
}
