//! Writes the messages of streams to the files of the streams when their entries are stable.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::backlog::Chunk;
use super::commit::Progress;
use super::compacting::Compacting;
use super::level::Level;
use super::options::Signals;
use super::replicated::Replicated;
use super::rewrite::{StreamRecovered, rewrite};
use super::shared::Shared;
use super::shortage::Shortage;
use super::stream::StreamMessage;
use super::stream_files::OpenStream;
use super::timing::{now, wall_time};

/// Writes stable messages to their streams, syncs the streams at intervals, and then lets the log forget the messages: until then it has them,
/// and the next start writes them again. Removes what the streams should not keep any more.
///
/// [`Store`](super::Store) runs it on a thread, because neither a commit nor a publisher waits for it; a simulation calls its steps.
pub struct StreamKeeper {
    shared: Arc<Shared>,
    signals: Signals,
    /// Bytes written since the last sync.
    unsynced: usize,
    level: Level,
    /// The number of calls of [`sync`](Self::sync).
    syncs: u32,
    compacting: Compacting,
}

impl StreamKeeper {
    pub(super) fn new(shared: Arc<Shared>, signals: Signals, level: Level) -> Self {
        Self { shared, signals, unsynced: 0, level, syncs: 0, compacting: Compacting::default() }
    }

    /// Works until the store is closed, and everything is written that is stable.
    pub(super) fn run(mut self) {
        self.work();
        if self.shared.replicated.as_ref().is_some_and(Replicated::has_ended) {
            // Another owner's log is followed in these directories.
            self.shared.streams.release();
        }
    }

    fn work(&mut self) {
        let (mut synced_at, mut compacts) = (now(), false);
        loop {
            let patience = SYNC_INTERVAL.saturating_sub(synced_at.elapsed());
            let patience = if compacts { patience.min(COMPACTION_PAUSE) } else { patience };
            // Nothing is added after that.
            let is_closed = self.shared.streams.backlog.is_closed();
            let progress = self.write_within(patience);
            match progress {
                Progress::Failed => return,
                // What is not written is in the log, and the next start writes it.
                Progress::Blocked if is_closed => return,
                Progress::Blocked => thread::sleep(BLOCKED_RETRY),
                Progress::Idle if is_closed => {
                    self.sync();
                    return;
                }
                Progress::Worked | Progress::Idle => compacts = self.compact(),
            }
            if synced_at.elapsed() >= SYNC_INTERVAL || self.unsynced >= UNSYNCED_BYTES_MAX {
                self.sync();
                self.retain(wall_time());
                self.begin_compaction();
                synced_at = now();
            }
        }
    }

    /// Writes the messages of the oldest commit that are not written yet.
    pub fn write(&mut self) -> Progress {
        self.write_within(Duration::ZERO)
    }

    fn write_within(&mut self, patience: Duration) -> Progress {
        if self.shared.streams.has_behind.load(Ordering::SeqCst) {
            return match self.catch_up() {
                Ok(()) => self.written(0),
                Err(error) => self.not_written(&error),
            };
        }
        let chunk = self.shared.streams.backlog.take(patience, || self.shared.stable());
        let Some(chunk) = chunk else { return Progress::Idle };
        match self.write_chunk(&chunk) {
            Ok(()) => {
                let bytes = chunk.bytes();
                self.shared.streams.backlog.recycle(chunk);
                self.written(bytes)
            }
            Err(error) => {
                if Shortage::of(&error).is_some() {
                    self.shared.streams.backlog.put_back(chunk);
                }
                self.not_written(&error)
            }
        }
    }

    fn written(&mut self, bytes: usize) -> Progress {
        self.unsynced += bytes;
        let has_relieved = self.shared.pending.remove_stream_bytes(bytes);
        if self.shared.streams.set_shortage(None) || has_relieved {
            (self.signals.on_pressure)();
        }
        Progress::Worked
    }

    fn not_written(&self, error: &io::Error) -> Progress {
        let Some(shortage) = Shortage::of(error) else {
            self.fail(error);
            return Progress::Failed;
        };
        if self.shared.streams.set_shortage(Some(shortage)) {
            (self.signals.on_pressure)();
        }
        Progress::Blocked
    }

    /// Writes what only the log has had since the start.
    fn catch_up(&self) -> io::Result<()> {
        // A stream that is opened meanwhile sets it again.
        self.shared.streams.has_behind.store(false, Ordering::SeqCst);
        let groups: Vec<u64> = self.shared.streams.logs().keys().copied().collect();
        for group in groups {
            let mut logs = self.shared.streams.logs();
            let Some((stream, below)) =
                logs.get_mut(&group).and_then(|stream| stream.behind.map(|below| (stream, below)))
            else {
                continue;
            };
            let written = rewrite(&*self.shared, (group, below), &mut stream.log, &mut StreamRecovered::default());
            written.inspect_err(|_| self.shared.streams.has_behind.store(true, Ordering::SeqCst))?;
            stream.behind = None;
            let end = stream.log.next();
            drop(logs);
            (self.signals.on_advance)(group, end);
        }
        Ok(())
    }

    fn write_chunk(&self, chunk: &Chunk) -> io::Result<()> {
        for (group, messages) in chunk.streams() {
            let mut logs = self.shared.streams.logs();
            let Some(OpenStream { log, .. }) = logs.get_mut(&group) else { continue };
            // Those below are written: copies of older entries, or a part of a write that failed.
            let messages = messages.iter().filter(|message| message.sequence >= log.next());
            let messages: Vec<_> = messages
                .map(|message| StreamMessage {
                    sequence: message.sequence,
                    timestamp: message.timestamp,
                    body: chunk.body(message),
                })
                .collect();
            if messages.is_empty() {
                continue;
            }
            log.append(&messages)?;
            let end = log.next();
            drop(logs);
            (self.signals.on_advance)(group, end);
        }
        Ok(())
    }

    /// Syncs what was written, and lets the log forget it. At the level `crash`, what was written survives without a sync, and few calls sync.
    pub fn sync(&mut self) {
        let is_synced = self.level == Level::PowerLoss || self.syncs.is_multiple_of(CRASH_SYNCS);
        self.syncs = self.syncs.wrapping_add(1);
        self.unsynced = 0;
        let groups: Vec<u64> = self.shared.streams.logs().keys().copied().collect();
        for group in groups {
            let mut logs = self.shared.streams.logs();
            let Some(OpenStream { log, .. }) = logs.get_mut(&group) else { continue };
            let kept = match is_synced {
                true => log.sync(),
                false => Ok(log.next()),
            };
            drop(logs);
            match kept {
                Ok(kept) => self.shared.release_numbered(group, kept),
                Err(error) => return self.fail(&error),
            }
        }
        self.shared.streams.backlog.synced();
    }

    /// Begins a pass over the next stream that keeps the last message of each key, if it needs one and none is in progress.
    pub fn begin_compaction(&mut self) {
        // What space there is belongs to messages, and to the reserve of the log.
        if self.shared.pending.is_full() || self.shared.streams.shortage().is_some() {
            return;
        }
        self.compacting.begin(&self.shared.streams);
    }

    /// A step of the pass in progress. Returns whether there may be more to do at once.
    pub fn compact(&mut self) -> bool {
        let step = self.compacting.step(&self.shared.streams);
        step.inspect_err(|error| self.fail(error)).unwrap_or(false)
    }

    /// Removes what the streams should not keep any more. `now`: milliseconds since the Unix epoch.
    pub fn retain(&mut self, now: u64) {
        if let Err(error) = self.shared.streams.retain(now) {
            self.fail(&error);
        }
    }

    fn fail(&self, error: &io::Error) {
        let reason = format!("a stream: {error}");
        self.shared.pending.fail(reason.clone());
        (self.signals.on_failure)(&reason);
    }
}

impl Drop for StreamKeeper {
    fn drop(&mut self) {
        if thread::panicking() {
            self.fail(&io::Error::other("its thread ended unexpectedly"));
        }
    }
}

/// How long the log keeps messages that are written to their streams, beside their syncs.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Between two steps of a compaction, so that it leaves the disk and the processor to others.
const COMPACTION_PAUSE: Duration = Duration::from_millis(1);

/// At the level `crash`, one in this many calls syncs: a loss of power takes half a minute.
const CRASH_SYNCS: u32 = 30;

/// What the disk writes at once in a sync.
const UNSYNCED_BYTES_MAX: usize = 32 << 20;

/// How long a write waits for a resource that ran out.
const BLOCKED_RETRY: Duration = Duration::from_millis(100);
