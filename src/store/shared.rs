use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use super::dead::DeadSegments;
use super::disk::{Disk, DiskFile};
use super::format::segment_name;
use super::index::Index;
use super::large::LargeBodies;
use super::options::Options;
use super::pending::PendingEntries;
use super::replicated::Replicated;
use super::stream_directories::StreamDirectories;
use super::stream_files::StreamFiles;
use crate::histogram::LatencyHistogram;

/// State shared by the committing thread, writers and readers.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) pending: PendingEntries,
    pub(super) log: Mutex<Log>,
    /// Segments that are open for reading.
    pub(super) files: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
    /// The number of the first segment of the current format version.
    pub(super) first_current: u32,
    pub(super) large: LargeBodies,
    pub(super) streams: Arc<StreamFiles>,
    /// `None`: the log is not replicated.
    pub(super) replicated: Option<Replicated>,
    /// The size of a segment of a stream, at most.
    pub(super) segment_bytes: u64,
}

/// The stable part of the log.
pub(super) struct Log {
    pub(super) index: Index,
    pub(super) dead: DeadSegments,
    /// The current segment, and the offset up to which it is stable.
    pub(super) end: (u32, u64),
    /// The number of running backups. No segment is freed while there are any.
    pub(super) pins: usize,
    pub(super) commits: u64,
    pub(super) syncs: u64,
    pub(super) commit_latency: LatencyHistogram,
    pub(super) sync_latency: LatencyHistogram,
    pub(super) entries: u64,
    pub(super) unreadable_segment: Option<u32>,
}

impl Shared {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        options: &Options,
        (index, first_current): (Index, u32),
        end: (u32, u64),
        directories: StreamDirectories,
    ) -> Self {
        let log = Log {
            index,
            dead: DeadSegments::default(),
            end,
            pins: 0,
            commits: 0,
            syncs: 0,
            commit_latency: LatencyHistogram::default(),
            sync_latency: LatencyHistogram::default(),
            entries: 0,
            unreadable_segment: None,
        };
        let half_a_segment = usize::try_from(options.segment_bytes / 2).unwrap_or(usize::MAX);
        let pending = PendingEntries::new(options.level, options.pending_bytes_max.min(half_a_segment));
        let (files, large) = (Mutex::default(), LargeBodies::default());
        let (streams, segment_bytes) = (Arc::new(StreamFiles::new(directories)), options.segment_bytes);
        Self {
            disk,
            pending,
            log: Mutex::new(log),
            files,
            first_current,
            large,
            streams,
            replicated: None,
            segment_bytes,
        }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
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

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Log {
    /// Removes the oldest segment from the log, if it has no live entries. `held`: where the log ends, and below which sequence it is never cut,
    /// if it is replicated.
    pub(super) fn take_dead_segment(&mut self, held: Option<(u64, u64)>) -> Option<u32> {
        if let Some((end, marked)) = held {
            self.dead.find(&self.index, self.end.0, end);
            return if self.pins > 0 { None } else { self.dead.take(&mut self.index, marked) };
        }
        let (oldest, usage) = self.index.oldest()?;
        if usage.live_keys > 0 || oldest == self.end.0 || self.pins > 0 {
            return None;
        }
        self.index.remove_segment(oldest);
        Some(oldest)
    }
}

/// Readers process a queue segment by segment, so only a few files need to be open. They are part of what
/// `server::process` keeps back from connections.
const OPEN_FILES_MAX: usize = 16;
