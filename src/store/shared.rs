use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::disk::{Disk, DiskFile};
use super::entry;
use super::format::segment_name;
use super::gathering::Gathering;
use super::ids::Place;
use super::index::Index;
use super::options::Options;

/// What the committing thread shares with those who append and read.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) gathering: Gathering,
    pub(super) log: Mutex<Log>,
    /// Open segments, for reading.
    pub(super) files: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
}

/// What is stable.
pub(super) struct Log {
    pub(super) index: Index,
    /// The segment that is written to, and how far it is stable.
    pub(super) end: (u32, u64),
    /// How many backups are under way: no segment is freed meanwhile.
    pub(super) holds: usize,
    pub(super) commits: u64,
    pub(super) syncs: u64,
    pub(super) entries: u64,
    pub(super) unreadable_segment: Option<u32>,
}

impl Shared {
    pub(super) fn new(disk: Arc<dyn Disk>, options: &Options, index: Index, end: (u32, u64)) -> Self {
        let log = Log { index, end, holds: 0, commits: 0, syncs: 0, entries: 0, unreadable_segment: None };
        let half_a_segment = usize::try_from(options.segment_bytes / 2).unwrap_or(usize::MAX);
        let gathering = Gathering::new(options.level, options.gathered_bytes_max.min(half_a_segment));
        Self { disk, gathering, log: Mutex::new(log), files: Mutex::default() }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the entry at a place, and checks it.
    pub(super) fn read(&self, place: Place) -> io::Result<Bytes> {
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

    pub(super) fn file(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
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
    pub(super) fn take_dead_segment(&mut self) -> Option<u32> {
        let (oldest, usage) = self.index.oldest()?;
        if usage.live_keys > 0 || oldest == self.end.0 || self.holds > 0 {
            return None;
        }
        self.index.remove_segment(oldest);
        Some(oldest)
    }
}

/// Enough for most messages in one read.
const READ_BYTES_MIN: usize = 512;

/// Readers go through a queue segment by segment; the rest is opened again when it is wanted.
const OPEN_FILES_MAX: usize = 64;
