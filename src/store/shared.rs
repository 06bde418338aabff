use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::disk::{Disk, DiskFile};
use super::entry;
use super::format::segment_name;
use super::ids::Place;
use super::index::Index;
use super::options::Options;
use super::pending::PendingEntries;

/// State shared by the committing thread, writers and readers.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) pending: PendingEntries,
    pub(super) log: Mutex<Log>,
    /// Segments that are open for reading.
    pub(super) files: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
}

/// The stable part of the log.
pub(super) struct Log {
    pub(super) index: Index,
    /// The current segment, and the offset up to which it is stable.
    pub(super) end: (u32, u64),
    /// The number of running backups. No segment is freed while there are any.
    pub(super) pins: usize,
    pub(super) commits: u64,
    pub(super) syncs: u64,
    pub(super) entries: u64,
    pub(super) unreadable_segment: Option<u32>,
}

impl Shared {
    pub(super) fn new(disk: Arc<dyn Disk>, options: &Options, index: Index, end: (u32, u64)) -> Self {
        let log = Log { index, end, pins: 0, commits: 0, syncs: 0, entries: 0, unreadable_segment: None };
        let half_a_segment = usize::try_from(options.segment_bytes / 2).unwrap_or(usize::MAX);
        let pending = PendingEntries::new(options.level, options.pending_bytes_max.min(half_a_segment));
        Self { disk, pending, log: Mutex::new(log), files: Mutex::default() }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the entry at a place, and verifies its checksum.
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
    /// Removes the oldest segment from the log, if it has no live entries.
    pub(super) fn take_dead_segment(&mut self) -> Option<u32> {
        let (oldest, usage) = self.index.oldest()?;
        if usage.live_keys > 0 || oldest == self.end.0 || self.pins > 0 {
            return None;
        }
        self.index.remove_segment(oldest);
        Some(oldest)
    }
}

/// Enough for most messages in a single read, in bytes.
const READ_BYTES_MIN: usize = 512;

/// Readers process a queue segment by segment, so only a few files need to be open. They are part of what
/// `server::process` keeps back from connections.
const OPEN_FILES_MAX: usize = 16;
