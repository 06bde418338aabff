use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use std::{io, mem, thread};

use super::backlog::Chunk;
use super::entry::decode;
use super::format::{BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::gap::Gap;
use super::index::Index;
use super::level::Level;
use super::options::Hooks;
use super::pace::Pace;
use super::pending::{Batch, Taken};
use super::reclaim::{Reclaim, Space};
use super::replica::Replica;
use super::replicated::{Lease, Replicated, Waiting};
use super::reporter::Reporter;
use super::shared::Shared;
use super::shortage::Shortage;
use super::timing::now;
use super::writer::{Commit, Outcome, Writer, Written};

/// Commits appended entries in groups: takes all pending entries, writes them, syncs once if one of them requires it,
/// and reports them stable. Meanwhile the next group accumulates.
///
/// [`Store`](super::Store) runs it on a thread; a simulation calls [`commit`](Self::commit) itself.
pub struct Committer {
    shared: Arc<Shared>,
    hooks: Hooks,
    /// The writer; `None` at level `None`.
    disk: Option<(Writer, Reclaim)>,
    level: Level,
    /// The commit that waits for a resource that ran out.
    blocked: Option<(Taken, Commit)>,
    /// A segment without live entries that could not be freed yet. Younger ones must wait for it.
    dying: Option<u32>,
    reporter: Reporter,
    shipping: Option<Shipping>,
    pace: Pace,
}

/// What a committer of a replicated log has in addition.
struct Shipping {
    replica: Box<dyn Replica>,
    gap: Gap,
    /// The directory belongs to it until the committer has ended.
    _lease: Option<Lease>,
}

/// The result of a call of [`Committer::commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It committed or reclaimed something; there may be more.
    Worked,
    /// There was nothing to do.
    Idle,
    /// A resource ran out: the commit must be tried again.
    Blocked,
    /// The store failed and won't commit again.
    Failed,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        mut hooks: Hooks,
        disk: Option<(Writer, Reclaim)>,
        level: Level,
        replica: Option<Box<dyn Replica>>,
    ) -> Self {
        let reporter = Reporter::new(mem::replace(&mut hooks.on_stable, Box::new(|_, _| ())));
        let lease = shared.replicated.as_ref().and_then(Replicated::lease);
        let shipping = replica.map(|replica| Shipping { replica, gap: Gap::default(), _lease: lease });
        let (blocked, dying, pace) = (None, None, Pace::default());
        Self { shared, hooks, disk, level, blocked, dying, reporter, shipping, pace }
    }

    /// Commits until the store is closed or fails.
    pub(super) fn run(mut self) {
        loop {
            self.shared.pending.wait_for_urgent();
            self.wait_for(Replicated::wait_for_room);
            if let Some(gap) = self.shipping.as_ref().and_then(|shipping| shipping.gap.wait(now())) {
                self.shared.pending.accumulate(gap);
            } else if let Some(gathering) = self.pace.gathering() {
                self.shared.pending.gather(gathering);
            }
            self.wait_for_turn();
            // Looked at before the commit, which then has all that was appended before the end.
            let is_closing = self.shared.pending.is_closing();
            match self.commit_once() {
                Progress::Worked => {}
                Progress::Idle if is_closing => {
                    self.wait_for(Replicated::wait_for_all);
                    return self.report_rest();
                }
                Progress::Idle => {
                    if !self.shared.pending.linger() {
                        self.report_rest();
                        self.pace.idle();
                        self.shared.pending.wait(self.shared.pending.is_full().then_some(FULL_RETRY));
                    }
                }
                Progress::Blocked => thread::sleep(BLOCKED_RETRY),
                Progress::Failed => return self.report_rest(),
            }
        }
    }

    /// Waits while a commit is on its way to a majority, if that does not take too long.
    fn wait_for_turn(&self) {
        let (Some(Shipping { gap, .. }), Some(replicated)) = (&self.shipping, &self.shared.replicated) else { return };
        if let Some(patience) = gap.turn(now()) {
            self.shared.pending.wait_for_turn(patience, || replicated.is_under_way());
        }
    }

    /// Waits for a majority, if the log is replicated.
    fn wait_for(&self, what: fn(&Replicated)) {
        if let Some(replicated) = &self.shared.replicated {
            what(replicated);
        }
    }

    /// Commits the pending entries, and reclaims a little space.
    pub fn commit(&mut self) -> Progress {
        let progress = self.commit_once();
        self.report_rest();
        progress
    }

    /// Like [`commit`](Self::commit), but does not report all tickets that no acknowledgement waits for.
    fn commit_once(&mut self) -> Progress {
        if self.shared.pending.failure().is_some() {
            return Progress::Failed;
        }
        match self.try_commit() {
            Ok(progress) => progress,
            Err(error) => {
                self.shared.pending.fail(error.to_string());
                (self.hooks.on_failure)(&error.to_string());
                Progress::Failed
            }
        }
    }

    fn try_commit(&mut self) -> io::Result<Progress> {
        let (mut taken, mut commit) = match self.blocked.take() {
            Some((taken, commit)) => (taken, Some(commit)),
            // Bytes that wait for a majority are bounded.
            None if self.shared.replicated.as_ref().is_some_and(|replicated| !replicated.has_room()) => {
                return Ok(Progress::Blocked);
            }
            None => (self.shared.pending.take(), None),
        };
        let mut worked = !taken.tickets.is_empty();
        if commit.is_none() && self.disk.is_some() {
            let copies = self.next_copies(&taken.batches)?;
            worked |= !copies.is_empty();
            // Copies were live before this commit, so they precede its entries, which may delete them.
            for copy in copies.into_iter().rev() {
                taken.batches.push_front(copy);
                taken.copies += 1;
                taken.wants_sync = true;
            }
            self.ship(&mut taken);
        }
        let begun = now();
        if let Some(blocked) = self.write(&mut taken, commit.take())? {
            return self.block(taken, blocked);
        }
        if taken.wants_sync && self.level == Level::PowerLoss {
            self.pace.committed(begun.elapsed(), taken.awaited, self.shared.pending.awaited());
        }
        self.finish(taken);
        worked |= self.free_segments()?;
        Ok(if worked { Progress::Worked } else { Progress::Idle })
    }

    /// Ships the batches of a commit. They are on their way while they are written here.
    fn ship(&mut self, taken: &mut Taken) {
        let (Some(Shipping { replica, gap, .. }), Some((writer, _))) = (&mut self.shipping, &self.disk) else { return };
        if !taken.batches.is_empty() {
            gap.begins(now());
        }
        let mut first = writer.sequence();
        for Batch { bytes, entries } in &taken.batches {
            replica.ship(first, *entries, bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default());
            first += u64::from(*entries);
        }
        // What is in the log below a mark is stable, whatever the level of its entries.
        taken.wants_sync |= !taken.batches.is_empty();
    }

    /// A commit is written: reports it, or lets it wait for a majority.
    fn finish(&mut self, taken: Taken) {
        if let (Some(replicated), Some((writer, _))) = (&self.shared.replicated, &self.disk) {
            let Taken { batches, tickets, awaited_since, bytes: pending_bytes, .. } = taken;
            if !batches.is_empty() {
                let bytes = batches.iter().map(|batch| batch.bytes.len()).sum();
                let end = writer.sequence();
                replicated.written(Waiting { end, tickets, pending_bytes, bytes, awaited_since });
                self.shared.pending.written(batches);
                self.shared.report_replicated();
            }
            return;
        }
        if let Some(since) = taken.awaited_since {
            self.shared.log().commit_latency.record(since.elapsed());
        }
        if self.shared.pending.complete(taken.batches) {
            (self.hooks.on_pressure)();
        }
        self.reporter.report(&taken.tickets);
    }

    fn report_rest(&mut self) {
        self.reporter.report_rest();
    }

    /// Keeps a commit for the next call. A store that is being closed, or has too many bytes waiting, gives up.
    fn block(&mut self, taken: Taken, (commit, shortage): (Commit, Shortage)) -> io::Result<Progress> {
        if self.shared.pending.is_closing() || self.shared.pending.is_overdue() {
            return Err(io::Error::other(shortage.sentence()));
        }
        self.blocked = Some((taken, commit));
        if self.shared.pending.set_shortage(Some(shortage)) {
            (self.hooks.on_pressure)();
        }
        Ok(Progress::Blocked)
    }

    /// Copies of live entries, in proportion to the bytes written.
    fn next_copies(&mut self, batches: &VecDeque<Batch>) -> io::Result<Vec<Batch>> {
        let Some((writer, reclaim)) = &mut self.disk else { return Ok(Vec::new()) };
        if batches.is_empty() && self.shared.pending.is_closing() {
            return Ok(Vec::new());
        }
        let written: u64 = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
        let budget = COPY_BUDGET + COPY_FACTOR * written;
        let space = if writer.spares.has_reserve() { Space::Free } else { Space::Reserve(writer.room()) };
        reclaim.slice(&self.shared, &*self.hooks.upgrade, budget, space)
    }

    /// Writes the batches, or continues a blocked commit. Returns the commit if it is blocked.
    fn write(&mut self, taken: &mut Taken, blocked: Option<Commit>) -> io::Result<Option<(Commit, Shortage)>> {
        let Some((writer, reclaim)) = self.disk.as_mut().filter(|_| !taken.batches.is_empty()) else { return Ok(None) };
        let mut commit = match blocked {
            Some(commit) => {
                writer.spares.fill_reserve(&*self.shared.disk);
                commit
            }
            None => writer.begin(),
        };
        if let Outcome::Blocked(shortage) = writer.write(taken, &mut commit)? {
            return Ok(Some((commit, shortage)));
        }
        let (written, end) = (commit.written, writer.sequence());
        // Set before the commit is reported stable, because that causes new entries.
        if self.shared.pending.set_shortage(writer.spares.shortage()) {
            (self.hooks.on_pressure)();
        }
        let batches = &taken.batches;
        let mut log = self.shared.log();
        for segment in writer.take_begun() {
            log.index.add_bytes(segment, SEGMENT_HEADER_BYTES as u64);
        }
        log.commits += 1;
        log.syncs = writer.syncs();
        log.sync_latency = *writer.sync_latency();
        log.end = writer.end();
        log.unreadable_segment = reclaim.unreadable();
        log.entries += batches.iter().map(|batch| u64::from(batch.entries)).sum::<u64>();
        drop(log);
        let originals = batches.iter().skip(taken.copies);
        let segment = written.get(taken.copies).map_or(0, |first| first.segment);
        let mut chunk = taken.has_numbered.then(|| self.shared.streams.backlog.chunk_for(segment, originals));
        for ((number, batch), written) in batches.iter().enumerate().zip(written) {
            let chunk = chunk.as_mut().filter(|_| number >= taken.copies);
            apply(&mut self.shared.log().index, batch, written, chunk);
        }
        if let Some(mut chunk) = chunk {
            chunk.finish();
            chunk.end = end;
            self.keep(chunk);
        }
        Ok(None)
    }

    /// Hands messages over to what writes them to their streams.
    fn keep(&self, chunk: Chunk) {
        self.shared.pending.add_stream_bytes(chunk.bytes());
        self.shared.streams.backlog.push(chunk);
    }

    /// Frees the oldest segments without live entries, and fills the reserve.
    fn free_segments(&mut self) -> io::Result<bool> {
        let Some((writer, _)) = &mut self.disk else { return Ok(false) };
        let mut freed = false;
        let replicated = self.shared.replicated.as_ref();
        let held = replicated.map(|replicated| (writer.sequence(), replicated.marked()));
        while let Some(segment) = self.dying.take().or_else(|| self.shared.log().take_dead_segment(held)) {
            self.shared.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
            // The entries that replaced those of the segment must be stable before it is freed.
            writer.sync_rest()?;
            match writer.spares.free(&*self.shared.disk, self.level, segment) {
                Err(error) if Shortage::of(&error).is_some() => {
                    self.dying = Some(segment);
                    break;
                }
                result => result?,
            }
            freed = true;
        }
        // Without a reserve the disk counts as full, and this is tried again.
        writer.spares.fill_reserve(&*self.shared.disk);
        if self.shared.pending.set_shortage(writer.spares.shortage()) {
            (self.hooks.on_pressure)();
        }
        Ok(freed)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.streams.backlog.close();
        if thread::panicking() {
            let reason = "the store's thread ended unexpectedly";
            self.shared.pending.fail(reason.to_owned());
            (self.hooks.on_failure)(reason);
        }
    }
}

/// Applies the entries of a batch to the index, and adds their messages of streams to the chunk.
pub(super) fn apply(index: &mut Index, batch: &Batch, written: Written, mut chunk: Option<&mut Chunk>) {
    index.add_bytes(written.segment, written.bytes);
    let mut at = BATCH_HEADER_BYTES;
    for _ in 0..batch.entries {
        let entry = batch.bytes.get(at..).and_then(decode);
        let offset = u32::try_from(written.offset + at as u64).ok();
        let (Some(entry), Some(offset)) = (entry, offset) else {
            unreachable!("encoded entries can be decoded, and offsets fit 32 bits")
        };
        index.apply(&entry, written.segment, offset);
        if let Some(chunk) = &mut chunk {
            chunk.add(&entry);
        }
        at += entry.length;
    }
}

/// How long a commit waits for a resource that ran out.
const BLOCKED_RETRY: Duration = Duration::from_millis(100);

/// How long to wait on a full disk before trying to allocate the reserve again.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Bytes searched for live entries in each commit, about a millisecond's work.
const COPY_BUDGET: u64 = 256 << 10;

/// Additional bytes to search per byte written. Half of the log may be garbage, so at least two are needed to keep up;
/// more, because copies are written too.
const COPY_FACTOR: u64 = 3;
