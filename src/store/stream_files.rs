//! The streams that a store has open.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::backlog::Backlog;
use super::disk::Disk;
use super::shortage::Shortage;
use super::stream::{Retention, StreamKey, StreamLog, StreamReader};
use super::stream_directories::StreamDirectories;

/// The groups of streams begin here.
const GROUPS_BEGIN: u64 = 1 << 63;

/// The group of the keys of a stream.
pub(super) const fn group_of(number: u32) -> u64 {
    GROUPS_BEGIN + number as u64
}

/// The number of the stream of a group.
pub(super) fn number_of(group: u64) -> Option<u32> {
    group.checked_sub(GROUPS_BEGIN).and_then(|number| u32::try_from(number).ok())
}

/// The streams, with what is to be written to them.
pub(super) struct StreamFiles {
    pub(super) directories: StreamDirectories,
    /// Held while a directory is opened until its stream is among the open ones, and while it is open for anything else: it is locked meanwhile.
    opening: Mutex<()>,
    pub(super) backlog: Backlog,
    /// By the group of their keys.
    logs: Mutex<BTreeMap<u64, OpenStream>>,
    readers: RwLock<BTreeMap<u64, StreamReader>>,
    /// The code of the [`Shortage`] because of which the last write could not be made.
    shortage: AtomicU8,
    /// Whether a stream may be [behind](OpenStream::behind).
    pub(super) has_behind: AtomicBool,
    /// The number of running backups. Nothing is removed while there are any.
    pub(super) pins: AtomicUsize,
}

/// An open stream.
pub(super) struct OpenStream {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) log: StreamLog,
    pub(super) retention: Retention,
    /// The log has messages from before the start that the files do not have, because a resource had run out: those below this number.
    pub(super) behind: Option<u64>,
    /// The key of its messages, of which the last one is kept.
    pub(super) key: Option<Arc<StreamKey>>,
}

impl StreamFiles {
    pub(super) fn new(directories: StreamDirectories) -> Self {
        Self {
            directories,
            opening: Mutex::default(),
            backlog: Backlog::default(),
            logs: Mutex::default(),
            readers: RwLock::default(),
            shortage: AtomicU8::new(Shortage::to_code(None)),
            has_behind: AtomicBool::new(false),
            pins: AtomicUsize::new(0),
        }
    }

    /// Makes sure that no other thread opens a directory. To be taken before [`logs`](Self::logs).
    pub(super) fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open streams. The committing thread never waits for this lock: it is held during syncs.
    pub(super) fn logs(&self) -> MutexGuard<'_, BTreeMap<u64, OpenStream>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_reader(&self, group: u64, reader: StreamReader) {
        self.readers.write().unwrap_or_else(PoisonError::into_inner).insert(group, reader);
    }

    pub(super) fn remove_reader(&self, group: u64) {
        self.readers.write().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }

    pub(super) fn reader(&self, group: u64) -> Option<StreamReader> {
        self.readers.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    pub(super) fn shortage(&self) -> Option<Shortage> {
        Shortage::from_code(self.shortage.load(Ordering::Relaxed))
    }

    /// Returns whether it is another one than before.
    pub(super) fn set_shortage(&self, shortage: Option<Shortage>) -> bool {
        let code = Shortage::to_code(shortage);
        self.shortage.swap(code, Ordering::Relaxed) != code
    }

    /// Removes what the streams should not keep any more, unless a copy of the files is being made. `now`: milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// It is not known whether the files of a stream are as they should be.
    pub(super) fn retain(&self, now: u64) -> io::Result<()> {
        let mut logs = self.logs();
        // A copy that begins now waits for the lock.
        if self.pins.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        for stream in logs.values_mut() {
            match stream.log.retain(&stream.retention, now) {
                Err(error) if Shortage::of(&error).is_none() => return Err(error),
                // It is tried again after the next sync.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The directory of a stream, if it is open.
    pub(super) fn open_disk(&self, number: u32) -> Option<Arc<dyn Disk>> {
        self.logs().get(&group_of(number)).map(|stream| Arc::clone(&stream.disk))
    }

    /// Lets another process open the directories.
    pub(super) fn release(&self) {
        self.logs().values().for_each(|stream| stream.log.release());
    }
}
