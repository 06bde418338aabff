//! The store: one append-only log of bytes under keys, made stable in groups. It knows nothing of MQTT.
//!
//! An [`Entry`] is one atomic change. It is live until all that it puts is deleted, put again, or of a group that ended;
//! what is not live is reclaimed from the old end of the log. `docs/STORAGE.md` describes the format and the guarantees.

mod backup;
mod commit;
mod disk;
mod entry;
mod error;
mod fetch;
mod format;
mod gathering;
mod ids;
mod index;
mod level;
mod options;
mod reader;
mod reclaim;
mod recovery;
mod report;
mod shared;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod spares;
mod writer;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use self::disk::{Directory, NoDisk};
use self::index::Index;
use self::reclaim::Reclaim;
use self::shared::Shared;
use self::spares::Spares;
use self::writer::{NEW, Writer};

pub use self::backup::{check, restore};
pub use self::commit::{Committer, Progress};
pub use self::disk::{Disk, DiskFile};
pub use self::entry::{Entry, Key, Refused, Room};
pub use self::error::OpenError;
pub use self::gathering::Urgency;
pub use self::level::Level;
pub use self::options::{Hooks, Options};
pub use self::report::{Damage, Recovered, Report};

/// What a store holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Files of the log.
    pub segments: usize,
    /// Bytes of the log.
    pub bytes: u64,
    /// Of them, those that live entries have.
    pub live_bytes: u64,
    /// Keys that have a body.
    pub keys: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Syncs of segments since the start.
    pub syncs: u64,
    /// Entries written since the start, with those that were moved.
    pub entries: u64,
    /// Whether the disk is full: nothing is put but by entries that may use the reserve.
    pub is_full: bool,
    /// A segment that can't be read any more, and keeps space from being reclaimed until the next start.
    pub unreadable_segment: Option<u32>,
}

/// The log, open for appending and reading. Closed when dropped.
pub struct Store {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in a directory, which is made if it isn't there. The visitor is shown the whole log before this
    /// returns. The thread that commits is started.
    pub fn open(
        directory: &Path,
        options: &Options,
        hooks: Hooks,
        visitor: &mut dyn FnMut(Recovered<'_>),
    ) -> Result<(Self, Report), OpenError> {
        let (store, committer, report) = match options.level {
            Level::None => Self::unwritten(options, hooks),
            Level::PowerLoss | Level::Crash => {
                Self::open_on(Arc::new(Directory::open(directory)?), options, hooks, visitor)?
            }
        };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || committer.run())?;
        *store.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok((store, report))
    }

    /// Opens the store on a disk of the caller's, who also calls the committer: nothing happens by itself.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: &Options,
        hooks: Hooks,
        visitor: &mut dyn FnMut(Recovered<'_>),
    ) -> Result<(Self, Committer, Report), OpenError> {
        if options.level == Level::None {
            return Ok(Self::unwritten(options, hooks));
        }
        let mut scan = recovery::scan(&*disk, &*hooks.on_read, visitor)?;
        if let Some(first) = scan.report.damages.first().filter(|_| options.strict) {
            return Err(OpenError::Damaged { count: scan.report.damages.len(), first: first.clone() });
        }
        // For evidence alone: a start doesn't fail for want of space for it.
        let _ = recovery::quarantine(&*disk, &mut scan);
        if options.level == Level::PowerLoss {
            // What was read may still wait in the system's memory for a sync that the last process didn't live to make.
            scan.segments.iter().try_for_each(|(_, file)| file.sync())?;
            disk.sync_names()?;
        }
        let segment_bytes = options.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let mut spares = Spares::new(segment_bytes, spare_files(&*disk)?);
        // Without a reserve the disk counts as full.
        let _ = spares.fill_reserve(&*disk);
        let place = (scan.end.take(), scan.next_number);
        let resumes = place.0.is_some();
        let writer = Writer::new(Arc::clone(&disk), (options.level, segment_bytes), spares, place, scan.sequence)?;
        let (tail, tail_end) = writer.end();
        scan.index.add_bytes(tail, if resumes { 0 } else { tail_end });
        let reclaim = Reclaim::new(Arc::clone(&disk), segment_bytes, options.garbage_share);
        let shared = Arc::new(Shared::new(disk, options, scan.index, writer.end()));
        let _ = shared.gathering.set_full(!writer.spares.has_reserve());
        let committer =
            Committer { shared: Arc::clone(&shared), hooks, disk: Some((writer, reclaim)), level: options.level };
        Ok((Self { shared, thread: Mutex::new(None) }, committer, scan.report))
    }

    /// A store that keeps nothing, but answers.
    fn unwritten(options: &Options, hooks: Hooks) -> (Self, Committer, Report) {
        let shared = Arc::new(Shared::new(Arc::new(NoDisk), options, Index::default(), (0, 0)));
        let committer = Committer { shared: Arc::clone(&shared), hooks, disk: None, level: options.level };
        (Self { shared, thread: Mutex::new(None) }, committer, Report::default())
    }

    /// Appends an entry behind all that was appended before, from whichever thread. `on_stable` tells `source` when it is
    /// stable. Never waits for the disk.
    ///
    /// Tickets of one source ascend.
    pub fn append(&self, source: usize, ticket: u64, entry: &Entry<'_>) -> Result<(), Refused> {
        self.gather(source, ticket, entry)?;
        self.announce(Urgency::Awaited);
        Ok(())
    }

    /// The same for one of several entries that come together: they are committed together, if the commit hears of them by
    /// [`announce`](Self::announce) when the last has come.
    pub fn gather(&self, source: usize, ticket: u64, entry: &Entry<'_>) -> Result<(), Refused> {
        self.shared.gathering.append(source, ticket, entry)
    }

    /// Lets the entries be committed that were [gathered](Self::gather).
    pub fn announce(&self, urgency: Urgency) {
        self.shared.gathering.announce(urgency);
    }

    /// Whether so much waits to be stable that publishers should be held back.
    pub fn is_congested(&self) -> bool {
        self.shared.gathering.is_congested()
    }

    /// Whether the disk is full: nothing is put but by entries that may use the reserve.
    pub fn is_full(&self) -> bool {
        self.shared.gathering.is_full()
    }

    /// The body that a key has, if what put it is stable. Reads from the disk.
    pub fn read(&self, key: Key) -> io::Result<Option<Bytes>> {
        loop {
            let Some(place) = self.shared.log().index.get(key) else { return Ok(None) };
            let body = self.shared.read(place);
            // If it still stands there, its segment can't have been freed and overwritten meanwhile.
            if self.shared.log().index.get(key) == Some(place) {
                return body.map(Some);
            }
        }
    }

    /// What the store holds and has done.
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

    /// Why nothing is stored any more, after a write or a sync has failed.
    pub fn poisoned(&self) -> Option<String> {
        self.shared.gathering.failure()
    }

    /// Makes stable what was appended, and takes nothing more.
    pub fn close(&self) {
        self.shared.gathering.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // If it ended otherwise, `on_failure` has told.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// Removes what a crash left half made, and returns the files that can be overwritten.
fn spare_files(disk: &dyn Disk) -> io::Result<Vec<String>> {
    let names = disk.list()?;
    if names.iter().any(|name| name == NEW) {
        disk.remove(NEW)?;
    }
    Ok(names.into_iter().filter(|name| name.ends_with(spares::SUFFIX)).collect())
}

/// Below it, headers would outweigh what is in a segment.
const SEGMENT_BYTES_MIN: u64 = 4096;

/// With the largest entry behind it, every offset fits 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests;
