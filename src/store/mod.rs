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
mod reader;
mod reclaim;
mod recovery;
pub mod sim;
mod spares;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use self::disk::Directory;
use self::format::segment_name;
use self::gathering::Gathering;
use self::ids::Place;
use self::index::Index;
use self::reclaim::Reclaim;
use self::spares::Spares;
use self::writer::{NEW, Writer};

pub use self::backup::{check, restore};
pub use self::commit::{Committer, Progress};
pub use self::disk::{Disk, DiskFile};
pub use self::entry::{Entry, Key, Refused, Room};
pub use self::error::OpenError;
pub use self::gathering::Urgency;
pub use self::recovery::{Damage, Recovered, Report};

/// When an entry counts as stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Written and synced: it survives the loss of power.
    #[default]
    PowerLoss,
    /// Handed to the operating system: it survives the end of the process.
    Crash,
    /// At once. Nothing is written, and nothing can be read back.
    None,
}

/// How a store works.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// When an entry counts as stable, if it asks for no less itself.
    pub level: Level,
    /// What a file of the log holds; also the space that is kept for a full disk.
    pub segment_bytes: u64,
    /// The share of the log that may be garbage before what is live is moved together.
    pub garbage_share: f64,
    /// From how many bytes on that wait to be stable the store is congested; half a segment at most, as they all must fit in
    /// the space that is kept for a full disk.
    pub gathered_bytes_max: usize,
    /// Whether to refuse a log of which a part can't be read, instead of going on with the rest.
    pub strict: bool,
}

/// Whom the store tells what. By default nobody hears of anything.
pub struct Hooks {
    /// So many of so many segments have been read, while the store is opened.
    pub on_read: Box<dyn Fn(usize, usize) + Send>,
    /// All that this source appended up to and including this ticket is stable.
    pub on_stable: Box<dyn Fn(usize, u64) + Send>,
    /// Whether the store is congested, or its disk full, is not what it was: to be looked at by all who append.
    pub on_pressure: Box<dyn Fn() + Send>,
    /// A write or a sync failed: nothing is stable from now on.
    pub on_failure: Box<dyn Fn(&str) + Send>,
}

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

/// What the committing thread shares with those who append and read.
struct Shared {
    disk: Arc<dyn Disk>,
    gathering: Gathering,
    log: Mutex<Log>,
    /// Open segments, for reading.
    files: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
}

/// What is stable.
struct Log {
    index: Index,
    /// The segment that is written to, and how far it is stable.
    end: (u32, u64),
    /// How many backups are under way: no segment is freed meanwhile.
    holds: usize,
    commits: u64,
    syncs: u64,
    entries: u64,
    unreadable_segment: Option<u32>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            on_read: Box::new(|_, _| ()),
            on_stable: Box::new(|_, _| ()),
            on_pressure: Box::new(|| ()),
            on_failure: Box::new(|_| ()),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Level::PowerLoss,
            segment_bytes: 64 << 20,
            // The log is at most twice what is live, and moving costs one more write for each byte at worst.
            garbage_share: 0.5,
            // What a slow disk writes in a second.
            gathered_bytes_max: 32 << 20,
            strict: false,
        }
    }
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
        let disk = Arc::new(sim::SimDisk::new(0));
        let shared = Arc::new(Shared::new(disk, options, Index::default(), (0, 0)));
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

impl Shared {
    fn new(disk: Arc<dyn Disk>, options: &Options, index: Index, end: (u32, u64)) -> Self {
        let log = Log { index, end, holds: 0, commits: 0, syncs: 0, entries: 0, unreadable_segment: None };
        let half_a_segment = usize::try_from(options.segment_bytes / 2).unwrap_or(usize::MAX);
        let gathering = Gathering::new(options.level, options.gathered_bytes_max.min(half_a_segment));
        Self { disk, gathering, log: Mutex::new(log), files: Mutex::default() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the entry at a place, and checks it.
    fn read(&self, place: Place) -> io::Result<Bytes> {
        let file = self.file(place.segment)?;
        let mut bytes = vec![0; READ_BYTES_MIN.max(usize::try_from(place.share).unwrap_or(0))];
        let read = file.read_at(u64::from(place.offset), &mut bytes)?;
        bytes.truncate(read);
        let length = entry::length(&bytes).unwrap_or(0);
        if length > read {
            let rest = u64::from(place.offset) + read as u64;
            let missing = u64::try_from(length - read).unwrap_or(u64::MAX);
            if missing > file.size()?.saturating_sub(rest) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            bytes.resize(length, 0);
            file.read_at(rest, bytes.get_mut(read..).unwrap_or_default())?;
        }
        bytes.truncate(length);
        let decoded = entry::decode(&bytes).filter(|_| entry::is_intact(&bytes)).ok_or(io::ErrorKind::InvalidData)?;
        let (start, end) = (length - decoded.body.len(), length);
        Ok(Bytes::from(bytes).slice(start..end))
    }

    fn file(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment_name(segment))?;
        files.insert(segment, Arc::clone(&file));
        if files.len() > OPEN_FILES_MAX {
            files.pop_first();
        }
        Ok(file)
    }
}

impl Log {
    /// The oldest segment if nothing in it is live: from now on it is not part of the log.
    fn take_dead_segment(&mut self) -> Option<u32> {
        let (oldest, usage) = self.index.oldest()?;
        if usage.live_keys > 0 || oldest == self.end.0 || self.holds > 0 {
            return None;
        }
        self.index.remove_segment(oldest);
        Some(oldest)
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

/// Enough for most messages in one read.
const READ_BYTES_MIN: usize = 512;

/// Readers go through a queue segment by segment; the rest is opened again when it is wanted.
const OPEN_FILES_MAX: usize = 64;

/// Below it, headers would outweigh what is in a segment.
const SEGMENT_BYTES_MIN: u64 = 4096;

/// With the largest entry behind it, every offset fits 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests;
