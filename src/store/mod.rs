//! The store: an append-only log of bytes under keys, with group commit. It doesn't interpret the bytes.
//!
//! An [`Entry`] is an atomic change. It is live until all its keys are deleted, overwritten, or in a group that ended.
//! The space of other entries is reclaimed from the oldest segment. `docs/STORAGE.md` describes the format and the
//! guarantees.

mod backlog;
mod backup;
mod batch;
mod beside;
mod commit;
mod compacting;
mod cut;
mod dead;
mod disk;
mod entry;
mod error;
mod fetch;
mod fit;
mod follow;
mod format;
mod gap;
mod home;
mod ids;
mod incoming;
mod index;
mod intact;
mod keeper;
mod keys;
mod large;
mod level;
mod live;
mod mark;
mod new_log;
mod numbers;
mod options;
mod owner;
mod pace;
mod pending;
mod read;
mod reader;
mod reclaim;
mod recovery;
mod removal;
mod replica;
mod replicated;
mod report;
mod reporter;
mod resume;
mod rewrite;
mod shared;
mod shortage;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod snapshot;
mod spares;
mod stream;
mod stream_copies;
mod stream_directories;
mod stream_files;
mod stream_snapshot;
mod streams;
mod timing;
mod upgrade;
mod version_1;
mod writer;

use std::fmt;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use smallvec::SmallVec;

use self::disk::{Directory, NoDisk};
use self::index::Index;
use self::reclaim::Reclaim;
use self::replicated::{Replicated, first_mark};
use self::resume::{resume, segment_bytes};
use self::shared::Shared;
use self::stream_directories::StreamDirectories;

pub use self::backup::{check, check_all, restore};
pub use self::commit::{Committer, Progress};
pub use self::disk::{Disk, DiskFile, give_to_owner_of};
pub use self::entry::{ENTRY_BYTES_MAX, Entry, Numbered, Refused, Room};
pub use self::error::OpenError;
pub use self::fetch::{Found, Located};
pub use self::fit::fitting_segment_bytes;
pub use self::follow::Follower;
pub use self::home::Home;
pub use self::ids::Position;
pub use self::incoming::{Incoming, SpaceFor, set_aside};
pub use self::keeper::StreamKeeper;
pub use self::keys::Key;
pub use self::level::Level;
pub use self::live::LiveLog;
pub use self::mark::{Mark, forget_mark, is_copy};
pub use self::new_log::NewLog;
use self::options::Signals;
pub use self::options::{Hooks, Options, Upgrade, Upgraded};
pub use self::pending::Urgency;
pub use self::read::Body;
pub use self::removal::streams_in;
pub use self::replica::{Replica, Replication};
pub use self::report::{Damage, Recovered, Report, StreamReport};
pub use self::rewrite::StreamRecovered;
pub use self::shortage::Shortage;
pub use self::snapshot::Snapshot;
pub use self::stream::{
    Retention, StreamKey, StreamLog, StreamMessage, StreamOpened, StreamOptions, StreamReadError, StreamReader,
};
pub use self::stream_copies::{StreamKept, StreamTerms};
pub use self::stream_directories::{StreamDisk, StreamNumbers};
pub use self::stream_snapshot::StreamFile;
pub use self::timing::Timing;
pub use self::upgrade::{FormatUse, Formats, formats, upgrade};

/// Statistics of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Number of segment files.
    pub segments: usize,
    /// Size of the log in bytes.
    pub bytes: u64,
    /// Bytes of live entries.
    pub live_bytes: u64,
    /// Number of live keys.
    pub keys: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Syncs of segments since the start.
    pub syncs: u64,
    /// Entries written since the start, including copies.
    pub entries: u64,
    /// Whether the disk is full or another resource ran out, so only entries that may use the reserve can have puts.
    pub is_full: bool,
    /// A segment that can't be read, which prevents reclaiming space until the next start.
    pub unreadable_segment: Option<u32>,
}

/// The log, open for appending and reading. Dropping it closes it.
pub struct Store {
    shared: Arc<Shared>,
    /// The committing thread, and that of the streams if there are any.
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// What writes to the streams, until there are any.
    keeper: Mutex<Option<StreamKeeper>>,
    /// Whether the store has threads of its own.
    has_threads: bool,
}

impl Store {
    /// Opens the store in a directory, creating it if it does not exist, and starts the committing thread. Passes every
    /// entry of the log to `visitor` before it returns.
    pub fn open(
        directory: &Path,
        options: &Options,
        hooks: Hooks,
        visitor: &mut dyn FnMut(Recovered<'_>),
    ) -> Result<(Self, Report), OpenError> {
        let StreamDirectories { disk, numbers } = StreamDirectories::below(directory, options.lock_patience);
        let hooks = Hooks { stream_disk: disk, stream_numbers: numbers, ..hooks };
        let (mut store, committer, report) = match options.level {
            Level::None => Self::unwritten(options, hooks),
            Level::PowerLoss | Level::Crash => {
                let disk = Directory::open_within(directory, options.lock_patience)?;
                Self::open_on(Arc::new(disk), options, hooks, visitor)?
            }
        };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || committer.run())?;
        store.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        store.has_threads = true;
        Ok((store, report))
    }

    /// Opens the store on a disk of the caller, who must call the committer.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: &Options,
        mut hooks: Hooks,
        visitor: &mut dyn FnMut(Recovered<'_>),
    ) -> Result<(Self, Committer, Report), OpenError> {
        let replication = hooks.replication.take();
        if replication.is_some() && options.level != Level::PowerLoss {
            return Err(
                io::Error::new(io::ErrorKind::InvalidInput, "a replicated log must have the level power-loss").into()
            );
        }
        if options.level == Level::None {
            return Ok(Self::unwritten(options, hooks));
        }
        let mut scan = recovery::scan(&*disk, &*hooks.on_read, visitor)?;
        let is_strict = options.strict || replication.is_some();
        if let Some(first) = scan.report.damages.first().filter(|_| is_strict) {
            return Err(OpenError::Damaged { count: scan.report.damages.len(), first: first.clone() });
        }
        // The copies are for inspection only, so a failure doesn't prevent the start.
        let _ = recovery::quarantine(&*disk, &mut scan);
        let first_current = scan.first_current();
        let writer = resume(&disk, options, &mut scan)?;
        let mark = first_mark(&*disk, replication.as_ref(), scan.sequence)?;
        let reclaim = Reclaim::new(Arc::clone(&disk), segment_bytes(options), options.garbage_share);
        let (signals, mut hooks, directories) = hooks.divided();
        let mut shared = Shared::new(disk, options, (scan.index, first_current), writer.end(), directories);
        let bytes_max = shared.pending.bytes_max();
        shared.replicated = mark.map(|mark| Replicated::new(mark, &shared.disk, &mut hooks, bytes_max));
        let shared = Arc::new(shared);
        let _ = shared.pending.set_shortage(writer.spares.shortage());
        let replica = replication.map(|replication| replication.replica);
        let committer = Committer::new(Arc::clone(&shared), hooks, Some((writer, reclaim)), options.level, replica);
        Ok((Self::new(shared, signals, options.level), committer, scan.report))
    }

    /// A store at level `None`, which stores nothing and reports every entry stable.
    fn unwritten(options: &Options, hooks: Hooks) -> (Self, Committer, Report) {
        let (signals, hooks, _) = hooks.divided();
        let (_, _, directories) = Hooks::default().divided();
        let shared = Arc::new(Shared::new(Arc::new(NoDisk), options, (Index::default(), 0), (0, 0), directories));
        let committer = Committer::new(Arc::clone(&shared), hooks, None, options.level, None);
        (Self::new(shared, signals, options.level), committer, Report::default())
    }

    fn new(shared: Arc<Shared>, signals: Signals, level: Level) -> Self {
        let keeper = StreamKeeper::new(Arc::clone(&shared), signals, level);
        Self { shared, threads: Mutex::default(), keeper: Mutex::new(Some(keeper)), has_threads: false }
    }

    /// Appends an entry. Can be called from any thread, and never waits for the disk. `on_stable` reports the ticket to
    /// `source` when the entry is stable.
    ///
    /// The tickets of a source must ascend.
    pub fn append(&self, source: usize, ticket: u64, entry: &Entry<'_>) -> Result<(), Refused> {
        self.append_unannounced(source, ticket, Urgency::Awaited, entry)?;
        self.announce(Urgency::Awaited);
        Ok(())
    }

    /// Appends one of several entries that should share a commit. The caller must call [`announce`](Self::announce)
    /// after the last one, with the highest `urgency` of them.
    pub fn append_unannounced(
        &self,
        source: usize,
        ticket: u64,
        urgency: Urgency,
        entry: &Entry<'_>,
    ) -> Result<(), Refused> {
        self.append_numbered((source, ticket, urgency), entry, &[]).map(|_| ())
    }

    /// The same, with further puts whose ids the store gives. Returns the ids. The first argument is source, ticket and urgency.
    pub fn append_numbered(
        &self,
        (source, ticket, urgency): (usize, u64, Urgency),
        entry: &Entry<'_>,
        numbered: &[Numbered<'_>],
    ) -> Result<SmallVec<[u64; 2]>, Refused> {
        self.shared.pending.append((source, ticket, urgency), entry, numbered)
    }

    /// Appends entries that are recovered together or not at all: as one change that needs several bodies. They share the ticket, and must not be
    /// empty. `numbered`: the further puts of each entry whose ids the store gives, as far as entries have any; their ids are returned. The first
    /// argument is source, ticket and urgency. As for [`append_unannounced`](Self::append_unannounced), the caller must call
    /// [`announce`](Self::announce).
    ///
    /// # Errors
    /// As for one entry; [`Refused::TooLarge`] also if they have more bytes together than an entry may have.
    pub fn append_together(
        &self,
        (source, ticket, urgency): (usize, u64, Urgency),
        entries: &[Entry<'_>],
        numbered: &[&[Numbered<'_>]],
    ) -> Result<Vec<SmallVec<[u64; 2]>>, Refused> {
        self.shared.pending.append_together((source, ticket, urgency), entries, numbered)
    }

    /// Starts the commit of [unannounced](Self::append_unannounced) entries.
    pub fn announce(&self, urgency: Urgency) {
        self.shared.pending.announce(urgency);
    }

    /// Starts the commit of pending messages of streams, if there are any: a reader waits for them.
    pub fn hurry_streams(&self) {
        self.shared.pending.hurry_streams();
    }

    /// Whether the pending bytes exceed the limit above which publishers should be paused (backpressure).
    pub fn is_congested(&self) -> bool {
        self.shared.pending.is_congested()
    }

    /// Whether the disk is full or another resource ran out, so only entries that may use the reserve can have puts.
    pub fn is_full(&self) -> bool {
        self.shared.pending.is_full() || self.shared.streams.shortage().is_some()
    }

    /// The resource that ran out, if [`is_full`](Self::is_full).
    pub fn shortage(&self) -> Option<Shortage> {
        self.shared.pending.shortage().or_else(|| self.shared.streams.shortage())
    }

    /// Whether the store is being closed.
    pub fn is_closing(&self) -> bool {
        self.shared.pending.is_closing()
    }

    /// Current statistics.
    pub fn stats(&self) -> Stats {
        let is_full = self.is_full();
        let log = self.shared.log();
        Stats {
            segments: log.index.segments().len(),
            bytes: log.index.bytes(),
            live_bytes: log.index.live_bytes(),
            keys: log.index.keys(),
            commits: log.commits,
            syncs: log.syncs,
            entries: log.entries,
            is_full,
            unreadable_segment: log.unreadable_segment,
        }
    }

    /// How long the store takes, and what waits for it now.
    pub fn timing(&self) -> Timing {
        let (pending_bytes, lag) = self.shared.pending.lag();
        let log = self.shared.log();
        Timing { commit: log.commit_latency, sync: log.sync_latency, pending_bytes: pending_bytes as u64, lag }
    }

    /// Why the store accepts no entries, if a write or a sync has failed.
    pub fn poisoned(&self) -> Option<String> {
        self.shared.pending.failure()
    }

    /// Whether the threads have ended.
    pub fn has_ended(&self) -> bool {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).iter().all(JoinHandle::is_finished)
    }

    /// Commits all pending entries, and refuses new ones. Waits without a bound for the disk and, if the log is replicated, for a majority, until
    /// [`fence`](Self::fence) is called.
    pub fn close(&self) {
        self.begin_close();
        for thread in self.take_threads() {
            // If the thread failed, `on_failure` has reported that.
            let _ = thread.join();
        }
    }

    /// Refuses new entries. The pending ones are committed when [`has_ended`](Self::has_ended).
    pub fn begin_close(&self) {
        self.shared.pending.close();
    }

    /// Lets another process open the store, after [`has_ended`](Self::has_ended): what is appended from now on is refused. Entries can still be
    /// read as long as the other process doesn't overwrite them; what it has overwritten doesn't match its checksum.
    pub fn release(&self) {
        self.close();
        self.shared.streams.release();
        self.shared.disk.release();
    }

    /// Gives up waiting for a disk that does not answer: dropping the store does not wait for it either.
    pub fn abandon(&self) {
        self.begin_close();
        drop(self.take_threads());
    }

    fn take_threads(&self) -> Vec<JoinHandle<()>> {
        mem::take(&mut self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.begin_close();
        if let Some(replicated) = &self.shared.replicated {
            // The replication may have ended, so the wait of `close` could last for ever. Commits that are not reported are not acknowledged.
            replicated.end();
        }
        self.close();
    }
}

#[cfg(test)]
mod tests;
