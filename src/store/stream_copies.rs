//! The streams of a copy of a replicated log: writes the messages that it follows to files of this node.
//!
//! The definitions in the log say which streams there are, and what is kept. Everything in the log of a copy is on the disks of a majority, and the
//! numbers are in the log, so the files of all nodes have the same messages with the same numbers. Those of a copy may have more than its log below
//! the mark after a crash: what follows in the log is the same again, and is passed over. Each node removes and compacts by itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use super::backlog::timestamp;
use super::compacting::Compacting;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::segment_name;
use super::ids::Place;
use super::index::Index;
use super::keys::{DEFINED, Key, NUMBERED};
use super::read::read_both;
use super::removal::{end_stream, is_removed, remove_files};
use super::report::Damage;
use super::rewrite::{FORGOTTEN_MAX, Messages, StreamRecovered, rewrite};
use super::shortage::Shortage;
use super::stream::{Retention, StreamKey, StreamLog, StreamOptions};
use super::stream_directories::StreamDirectories;
use super::stream_files::{OpenStream, StreamFiles, number_of};
use super::timing::wall_time;

/// Which messages of a stream are kept.
#[derive(Clone, Default)]
pub struct StreamKept {
    /// The bounds.
    pub retention: Retention,
    /// The key of which the last message is kept.
    pub key: Option<Arc<StreamKey>>,
}

impl fmt::Debug for StreamKept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StreamKept").field("retention", &self.retention).finish_non_exhaustive()
    }
}

/// What the body of the definition of a stream says, with the group of its keys; `None`: that cannot be read, and all is kept. A definition is what is
/// stored under the key of kind 15 and id 0 of the group.
pub type StreamTerms = fn(u64, &[u8]) -> Option<StreamKept>;

/// The streams of a copy.
pub(super) struct StreamCopies {
    pub(super) files: Arc<StreamFiles>,
    terms: StreamTerms,
    segment_bytes: u64,
    /// The open streams by their groups, with the place of the definition that is in force.
    defined: BTreeMap<u64, Place>,
    /// The streams that were removed here, and are in the log still.
    removed: BTreeSet<u64>,
    compacting: Compacting,
}

impl StreamCopies {
    pub(super) fn new(directories: StreamDirectories, terms: StreamTerms, segment_bytes: u64) -> Self {
        Self {
            files: Arc::new(StreamFiles::new(directories)),
            terms,
            segment_bytes,
            defined: BTreeMap::new(),
            removed: BTreeSet::new(),
            compacting: Compacting::default(),
        }
    }

    /// Opens the streams of a copy that was read, which must have all that its log has forgotten.
    ///
    /// # Errors
    /// [`OpenError::Damaged`]: messages are missing. Otherwise the files can't be opened.
    pub(super) fn open(&mut self, index: &Index, disk: &dyn Disk) -> Result<(), OpenError> {
        for group in index.streams() {
            let Some(place) = index.get(definition(group)) else { continue };
            self.define(disk, group, place)?;
            let logs = self.files.logs();
            let Some(stream) = logs.get(&group) else { continue };
            let first = index.ids(group, NUMBERED).first().copied().unwrap_or(0);
            if first > stream.log.next() {
                let (next, number) = (stream.log.next(), stream.log.options().number);
                let (name, entries) = (format!("streams/{number}"), Some(first - next));
                let first = Damage { name, from: 0, to: 0, entries, quarantined_as: None };
                return Err(OpenError::Damaged { count: 1, first });
            }
        }
        Ok(())
    }

    /// Writes the messages to their streams that only the log has, and lets the log forget them; then removes what should not be kept any more. All that
    /// the log has must be synced, and everyone's.
    ///
    /// # Errors
    /// It is not known what the files have. If a resource ran out, that is none: the log keeps the messages, and the next call tries again.
    pub(super) fn keep(&mut self, index: &mut Index, disk: &dyn Disk) -> io::Result<()> {
        let mut bytes = 0;
        for group in index.streams() {
            let Some(place) = index.get(definition(group)) else {
                self.end(index, group)?;
                continue;
            };
            if !self.removed.contains(&group) && self.defined.get(&group) != Some(&place) {
                self.define(disk, group, place)?;
            }
            let mut logs = self.files.logs();
            let Some(OpenStream { log, .. }) = logs.get_mut(&group) else {
                forget(index, group, u64::MAX);
                continue;
            };
            let before = log.reader().bytes();
            let source = OfCopy { index, disk, file: RefCell::default() };
            let written = rewrite(&source, (group, u64::MAX), log, &mut StreamRecovered::default());
            match written.and_then(|()| log.sync()) {
                Ok(synced) => forget(index, group, synced.saturating_sub(1)),
                Err(error) if Shortage::of(&error).is_some() => {}
                Err(error) => return Err(error),
            }
            bytes += log.reader().bytes().saturating_sub(before);
        }
        self.tend(bytes)
    }

    /// Removes messages beyond the bounds of their streams, and compacts. `bytes`: the number of bytes that were written since the last call.
    ///
    /// # Errors
    /// It is not known what the files have.
    pub(super) fn tend(&mut self, bytes: u64) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.files.retain(wall_time())?;
        self.compacting.begin(&self.files);
        let steps = STEPS_MIN + STEPS_FACTOR * (bytes / STEP_BYTES);
        for _ in 0..steps {
            if !self.compacting.step(&self.files)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.defined.is_empty()
    }

    /// Opens a stream, unless it is open or was removed, and takes over its definition.
    fn define(&mut self, disk: &dyn Disk, group: u64, place: Place) -> io::Result<()> {
        let Some(number) = number_of(group) else { return Ok(()) };
        let (_, body) = read_both(&*disk.open(&segment_name(place.segment))?, place)?;
        let StreamKept { retention, key } = (self.terms)(group, &body).unwrap_or_default();
        let options = StreamOptions::new(number).fitting(self.segment_bytes, retention.max_bytes);
        let mut logs = self.files.logs();
        if let Some(stream) = logs.get_mut(&group) {
            (stream.retention, stream.key) = (retention, key);
            stream.log.set_segment_bytes(options.segment_bytes);
        } else {
            let disk = (self.files.directories.disk)(number)?;
            if is_removed(&*disk)? {
                // A crash came before its files were removed. If that fails again, they do no harm.
                let _ = remove_files(&*disk);
                disk.release();
                self.removed.insert(group);
                return Ok(());
            }
            // What is damaged is reported when this node is the owner.
            let (log, _) = StreamLog::open(Arc::clone(&disk), &options)?;
            logs.insert(group, OpenStream { disk, log, retention, behind: None, key });
        }
        self.defined.insert(group, place);
        Ok(())
    }

    /// A stream of which there are messages in the log, and no definition: it was removed.
    fn end(&mut self, index: &mut Index, group: u64) -> io::Result<()> {
        if self.defined.contains_key(&group) {
            if let Some(stream) = self.files.logs().remove(&group) {
                end_stream(&*stream.disk)?;
            }
            self.defined.remove(&group);
        }
        self.removed.remove(&group);
        forget(index, group, u64::MAX);
        Ok(())
    }
}

impl Drop for StreamCopies {
    fn drop(&mut self) {
        self.files.release();
    }
}

/// The log of a copy.
struct OfCopy<'a> {
    index: &'a Index,
    disk: &'a dyn Disk,
    /// The segment that was read last.
    file: RefCell<Option<(u32, Arc<dyn DiskFile>)>>,
}

impl Messages for OfCopy<'_> {
    fn numbered_from(&self, group: u64, from: u64) -> Vec<u64> {
        self.index.ids(group, NUMBERED).into_iter().filter(|id| *id >= from).collect()
    }

    fn numbered(&self, group: u64, id: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some(place) = self.index.get(Key { group, kind: NUMBERED, id }) else { return Ok(None) };
        let mut open = self.file.borrow_mut();
        let file = match &*open {
            Some((segment, file)) if *segment == place.segment => Arc::clone(file),
            _ => self.disk.open(&segment_name(place.segment))?,
        };
        *open = Some((place.segment, Arc::clone(&file)));
        // A copy that has lost something is of no use: it is not passed over.
        let (part, body) = read_both(&*file, place)?;
        Ok(Some((timestamp(&part), body)))
    }
}

fn definition(group: u64) -> Key {
    Key { group, kind: DEFINED, id: 0 }
}

fn forget(index: &mut Index, group: u64, below: u64) {
    while index.forget_numbered(group, below, FORGOTTEN_MAX) {}
}

/// The bytes of a step of a compaction, about.
const STEP_BYTES: u64 = 256 << 10;
/// The steps after each sync, and for as many bytes as were written: a pass reads twice what it writes.
const STEPS_MIN: u64 = 32;
const STEPS_FACTOR: u64 = 8;
