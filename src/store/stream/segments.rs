use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::disk::{Disk, DiskFile};
use super::super::format::segment_name;
use super::format::{HEADER_BYTES, StreamHeader};
use super::index::Index;

/// A segment, as far as it can be read.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) header: StreamHeader,
    /// The sequence after its last message.
    pub(super) end: u64,
    /// The offset behind its last batch.
    pub(super) length: u64,
    pub(super) index: Index,
    /// Whether a region was found unreadable when it was opened. Then it has no index file, so that each start finds the damage.
    pub(super) is_damaged: bool,
}

impl Segment {
    pub(super) fn new(header: StreamHeader) -> Self {
        let (end, length) = (header.first_sequence, HEADER_BYTES as u64);
        Self { header, end, length, index: Index::default(), is_damaged: false }
    }

    /// Whether it has a message that was readable when it was opened.
    const fn has_messages(&self) -> bool {
        self.index.len() > 0
    }

    /// The bytes of its batches.
    const fn bytes(&self) -> u64 {
        self.length.saturating_sub(HEADER_BYTES as u64)
    }
}

/// What the writer and the readers share.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    segments: Mutex<Segments>,
    /// Changed with `segments` locked.
    oldest: AtomicU64,
    end: AtomicU64,
    bytes: AtomicU64,
    /// Segments that are open for reading.
    files: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
}

/// The segments of a stream, the oldest first. Their first sequences ascend.
#[derive(Default)]
pub(super) struct Segments {
    pub(super) list: VecDeque<Segment>,
    /// Segments in which a reader found damage.
    pub(super) damaged: BTreeSet<u32>,
}

/// Where to read a message.
#[derive(Debug)]
pub(super) enum Place {
    /// In this segment, at or behind this offset.
    At(Piece),
    /// It is lost. The next message, or the end.
    Gap(u64),
    /// It is not appended yet.
    End,
    /// It is not kept. The oldest message.
    Trimmed(u64),
}

/// The part of a segment that can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) header: StreamHeader,
    pub(super) offset: u64,
    /// The offset behind the last batch.
    pub(super) length: u64,
    /// The sequence after the last message.
    pub(super) end: u64,
}

impl Shared {
    pub(super) fn new(disk: Arc<dyn Disk>, list: VecDeque<Segment>, (oldest, end): (u64, u64)) -> Self {
        let shared = Self {
            disk,
            segments: Mutex::new(Segments { list, damaged: BTreeSet::new() }),
            oldest: AtomicU64::new(oldest),
            end: AtomicU64::new(end),
            bytes: AtomicU64::new(0),
            files: Mutex::default(),
        };
        shared.change(|_| ());
        shared
    }

    fn lock(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Segments) -> T) -> T {
        look(&mut self.lock())
    }

    /// Changes the segments, and publishes their size.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Segments) -> T) -> T {
        let mut segments = self.lock();
        let result = change(&mut segments);
        self.bytes.store(segments.list.iter().map(|segment| segment.length).sum(), Ordering::Release);
        result
    }

    /// Changes the last segment, and publishes the end of the stream.
    pub(super) fn extend(&self, end: u64, change: impl FnOnce(&mut Segment)) {
        let mut segments = self.lock();
        if let Some(tail) = segments.list.back_mut() {
            let before = tail.length;
            change(tail);
            self.bytes.fetch_add(tail.length - before, Ordering::AcqRel);
        }
        self.end.store(end, Ordering::Release);
    }

    /// Publishes that messages below this one are not kept.
    pub(super) fn set_oldest(&self, oldest: u64) {
        let _segments = self.lock();
        self.oldest.fetch_max(oldest, Ordering::AcqRel);
    }

    pub(super) fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Where to read a message.
    pub(super) fn locate(&self, sequence: u64) -> Place {
        let segments = self.lock();
        let (oldest, end) = (self.oldest(), self.end());
        if sequence < oldest {
            return Place::Trimmed(oldest);
        }
        if sequence >= end {
            return Place::End;
        }
        let at = segments.list.partition_point(|segment| segment.header.first_sequence <= sequence);
        let segment = at.checked_sub(1).and_then(|at| segments.list.get(at)).filter(|segment| sequence < segment.end);
        match segment {
            Some(segment) => Place::At(segment.piece(segment.index.offset_of(&segment.header, sequence))),
            None => Place::Gap(segments.list.get(at).map_or(end, |next| next.header.first_sequence)),
        }
    }

    /// The file of a segment. At most [`OPEN_FILES_MAX`] are open for reading.
    pub(super) fn file(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment_name(segment))?;
        files.insert(segment, Arc::clone(&file));
        if files.len() > OPEN_FILES_MAX
            && let Some(other) = files.keys().copied().find(|number| *number != segment)
        {
            files.remove(&other);
        }
        Ok(file)
    }

    /// Whether this is the segment with its number still: it is removed when it is trimmed, and replaced when it is compacted.
    pub(super) fn has(&self, header: &StreamHeader) -> bool {
        let segments = self.lock();
        segments.list.iter().any(|segment| segment.header == *header)
    }

    /// Puts a segment in the place of others, whose first one has its number. `rename` gives its file the name. Returns whether it did:
    /// not if one of the others is gone.
    pub(super) fn replace(
        &self,
        others: &[StreamHeader],
        segment: Segment,
        rename: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        // A reader that found the old segment gets the old file or sees that the segment has changed; one that found the new one gets the new file.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if !others.iter().all(|header| self.has(header)) {
            return Ok(false);
        }
        rename()?;
        self.change(|segments| {
            let is_other = |known: &Segment| others.contains(&known.header);
            let place = segments.list.iter().position(is_other).unwrap_or(0);
            segments.list.retain(|known| !is_other(known));
            segments.list.insert(place, segment);
        });
        others.iter().for_each(|header| _ = files.remove(&header.number));
        Ok(true)
    }

    pub(super) fn forget_file(&self, segment: u32) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
    }
}

impl Segment {
    pub(super) const fn piece(&self, offset: u64) -> Piece {
        Piece { header: self.header, offset, length: self.length, end: self.end }
    }
}

impl Segments {
    pub(super) fn set_damaged(&mut self, number: u32) {
        let segment = self.list.iter_mut().find(|segment| segment.header.number == number);
        segment.into_iter().for_each(|segment| segment.is_damaged = true);
    }

    /// The sequence from which at most so many bytes are kept: the first of an indexed batch, or the end of a segment.
    pub(super) fn keeping_bytes(&self, oldest: u64, bytes: u64) -> u64 {
        let first = self.list.partition_point(|segment| segment.end <= oldest);
        let kept = self.list.range(first..);
        let total: u64 = kept.clone().map(Segment::bytes).sum();
        let trimmed = self
            .list
            .get(first)
            .map_or(HEADER_BYTES as u64, |segment| segment.index.offset_of(&segment.header, oldest));
        // From the start of the first segment, which is trimmed in part already.
        let mut excess = total.saturating_sub(bytes);
        if excess <= trimmed.saturating_sub(HEADER_BYTES as u64) {
            return oldest;
        }
        for segment in kept {
            let from = excess.saturating_add(HEADER_BYTES as u64);
            if let Some((sequence, _)) = segment.index.first_behind(&segment.header, from) {
                return sequence.max(oldest);
            }
            let is_last = self.list.back().is_some_and(|last| last.header.number == segment.header.number);
            if is_last {
                return segment.index.last(&segment.header).max(oldest);
            }
            excess = excess.saturating_sub(segment.bytes());
            if excess == 0 {
                return segment.end.max(oldest);
            }
        }
        oldest
    }

    /// Looks at the segments from `oldest` on: the sequence before which all have expired, and in the segment behind them the
    /// sequence at or before the first message that has not, and the end of that segment. `None` if there is no message.
    ///
    /// A timestamp in the future says nothing about the age, so it keeps a segment only if the segments behind it are kept.
    pub(super) fn expired(&self, oldest: u64, cutoff: u64, now: u64) -> Option<(u64, Option<(u64, u64)>)> {
        let kept = || self.list.iter().filter(|segment| segment.end > oldest && segment.has_messages());
        let mut expired = (oldest, 0);
        for (at, segment) in kept().enumerate() {
            if segment.index.newest < cutoff {
                expired = (segment.end, at + 1);
            } else if segment.index.newest <= now {
                break;
            }
        }
        kept().next()?;
        let next = kept().nth(expired.1);
        Some((expired.0, next.map(|segment| (segment.index.sequence_at(&segment.header, cutoff), segment.end))))
    }

    /// The first segment from this number on that has a message at or after `timestamp`: its number, the sequence at or before that
    /// message, and the end of the segment.
    pub(super) fn since(&self, timestamp: u64, number: u32) -> Option<(u32, u64, u64)> {
        let has = |segment: &&Segment| segment.header.number >= number && segment.index.newest >= timestamp;
        let segment = self.list.iter().filter(|segment| segment.has_messages()).find(has)?;
        Some((segment.header.number, segment.index.sequence_at(&segment.header, timestamp), segment.end))
    }

    /// Bytes that the indexes take in memory.
    #[cfg(test)]
    pub(super) fn index_bytes(&self) -> usize {
        self.list.iter().map(|segment| segment.index.len() * 16).sum()
    }
}

/// Each reader reads one segment after the other, so only a few files need to be open.
const OPEN_FILES_MAX: usize = 8;
