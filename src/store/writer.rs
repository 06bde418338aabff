use std::sync::Arc;
use std::{io, mem};

use super::disk::{Disk, DiskFile};
use super::format::{ALIGNMENT, SEGMENT_HEADER_BYTES, SegmentHeader, seal_batch, segment_name};
use super::level::Level;
use super::pending::Taken;
use super::spares::Spares;

/// Writes batches at the end of the log.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    level: Level,
    segment_bytes: u64,
    tail: Tail,
    pub(super) spares: Spares,
    /// The sequence of the next written entry.
    sequence: u64,
    /// All entries before it were reported stable, and survive any crash that the store's level covers.
    acknowledged: u64,
    syncs: u64,
    /// Whether the current segment has written entries that were not synced.
    unsynced: bool,
    sync_failed: bool,
    /// New segments that were not reported by [`take_begun`](Self::take_begun).
    begun: Vec<u32>,
}

/// The end of a recovered log.
pub(super) struct End {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) offset: u64,
    /// Whether a crash left batches behind it.
    pub(super) is_torn: bool,
}

/// The current segment.
struct Tail {
    header: SegmentHeader,
    file: Arc<dyn DiskFile>,
    offset: u64,
}

/// The position of a written batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) segment: u32,
    pub(super) offset: u64,
    /// Including its header and padding.
    pub(super) bytes: u64,
}

/// The progress of a commit.
#[derive(Default)]
struct Progress {
    written: Vec<Written>,
    /// The batches before this index are synced, and all of them are in older segments.
    synced: usize,
    /// The sequence of the first batch that is not.
    synced_sequence: u64,
}

impl Writer {
    /// Continues at the end of the log: in its last segment, or in a new one with this number.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        (level, segment_bytes): (Level, u64),
        mut spares: Spares,
        (end, number): (Option<End>, u32),
        sequence: u64,
    ) -> io::Result<Self> {
        let tail = match end {
            Some(end) => end.resume(level)?,
            None => new_tail(&*disk, level, &mut spares, (number, sequence))?,
        };
        Ok(Self {
            disk,
            level,
            segment_bytes,
            tail,
            spares,
            sequence,
            acknowledged: sequence,
            syncs: 0,
            unsynced: false,
            sync_failed: false,
            begun: Vec::new(),
        })
    }

    /// Writes batches and makes them stable. If the disk is full, continues in the reserve. After any other error, the
    /// writer must not be used again.
    pub(super) fn write(&mut self, taken: &mut Taken) -> io::Result<Vec<Written>> {
        let mut progress = Progress { synced_sequence: self.sequence, ..Progress::default() };
        let earlier_unsynced = self.unsynced;
        match self.write_rest(taken, &mut progress) {
            Err(error) if is_full(&error) => {
                if earlier_unsynced && progress.synced == 0 {
                    // Earlier commits are in the old segment only, and a failed sync must not be repeated.
                    if self.sync_failed {
                        return Err(error);
                    }
                    self.sync()?;
                }
                // The first sequence of the new segment cuts off what reached the old one.
                progress.written.truncate(progress.synced);
                self.sequence = progress.synced_sequence;
                let next = (next_number(&self.tail)?, self.sequence);
                self.tail = reserve_tail(&*self.disk, self.level, &mut self.spares, next)?;
                self.begun.push(next.0);
                self.write_rest(taken, &mut progress)?;
            }
            result => result?,
        }
        if !self.unsynced {
            self.acknowledged = self.sequence;
        }
        Ok(progress.written)
    }

    fn write_rest(&mut self, taken: &mut Taken, progress: &mut Progress) -> io::Result<()> {
        while let Some(batch) = taken.batches.get_mut(progress.written.len()) {
            let length = (batch.bytes.len() as u64).next_multiple_of(ALIGNMENT as u64);
            if !self.is_empty() && self.tail.offset + length > self.segment_bytes {
                self.sync()?;
                (progress.synced, progress.synced_sequence) = (progress.written.len(), self.sequence);
                let next = (next_number(&self.tail)?, self.sequence);
                self.tail = new_tail(&*self.disk, self.level, &mut self.spares, next)?;
                self.begun.push(next.0);
            }
            seal_batch(&self.tail.header, self.sequence, self.acknowledged, batch.entries, &mut batch.bytes)
                .ok_or_else(|| io::Error::other("a batch exceeds its length field"))?;
            self.tail.file.write_at(self.tail.offset, &batch.bytes)?;
            self.unsynced = self.level == Level::PowerLoss;
            let Tail { header, offset, .. } = self.tail;
            progress.written.push(Written { segment: header.number, offset, bytes: length });
            self.tail.offset += length;
            self.sequence += u64::from(batch.entries);
        }
        if taken.wants_sync { self.sync() } else { Ok(()) }
    }

    /// Ensures that everything written is stable at the store's level.
    pub(super) fn sync_rest(&mut self) -> io::Result<()> {
        if self.unsynced { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.level == Level::PowerLoss {
            self.syncs += 1;
            let result = self.tail.file.sync();
            self.sync_failed = result.is_err();
            self.unsynced = result.is_err();
            return result;
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.tail.offset == SEGMENT_HEADER_BYTES as u64
    }

    /// The current segment, and the offset of its end.
    pub(super) fn end(&self) -> (u32, u64) {
        (self.tail.header.number, self.tail.offset)
    }

    /// The remaining bytes of the current segment.
    pub(super) fn room(&self) -> u64 {
        self.segment_bytes.saturating_sub(self.tail.offset)
    }

    /// The segments that were started since the last call. They are part of the log, even if they are empty.
    pub(super) fn take_begun(&mut self) -> Vec<u32> {
        mem::take(&mut self.begun)
    }

    pub(super) fn syncs(&self) -> u64 {
        self.syncs
    }
}

impl End {
    /// Overwrites a torn end first, because behind new batches it could look like a part of the log.
    fn resume(self, level: Level) -> io::Result<Tail> {
        let Self { header, file, offset, is_torn } = self;
        let zeros = vec![0; WIPE_BYTES];
        let (mut at, end) = (offset, if is_torn { file.size()? } else { offset });
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(WIPE_BYTES).min(WIPE_BYTES);
            file.write_at(at, zeros.get(..length).unwrap_or_default())?;
            at += length as u64;
        }
        if is_torn && level == Level::PowerLoss {
            file.sync()?;
        }
        Ok(Tail { header, file, offset })
    }
}

/// Starts a segment in a spare file, or in a new one.
fn new_tail(disk: &dyn Disk, level: Level, spares: &mut Spares, header: (u32, u64)) -> io::Result<Tail> {
    let (name, file) = match spares.take() {
        Some(name) => (name.clone(), disk.open(&name)?),
        None => (NEW.to_owned(), disk.create(NEW)?),
    };
    begin_segment(disk, level, (&name, file), header).inspect_err(|_| {
        // If removing fails, the next start removes the file.
        let _ = disk.remove(&name);
    })
}

/// Starts a segment in the reserve for a full disk.
fn reserve_tail(disk: &dyn Disk, level: Level, spares: &mut Spares, header: (u32, u64)) -> io::Result<Tail> {
    let name = spares.take_reserve().ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
    let file = disk.open(&name)?;
    begin_segment(disk, level, (&name, file), header)
}

/// The header is synced before the file becomes part of the log, so a crash can't leave a segment with an invalid
/// header.
fn begin_segment(
    disk: &dyn Disk,
    level: Level,
    (name, file): (&str, Arc<dyn DiskFile>),
    (number, first_sequence): (u32, u64),
) -> io::Result<Tail> {
    let header = SegmentHeader { number, first_sequence, salt: disk.salt()? };
    file.write_at(0, &header.encode())?;
    if level == Level::PowerLoss {
        file.sync()?;
    }
    disk.rename(name, &segment_name(number))?;
    if level == Level::PowerLoss {
        disk.sync_names()?;
    }
    Ok(Tail { header, file, offset: SEGMENT_HEADER_BYTES as u64 })
}

fn next_number(tail: &Tail) -> io::Result<u32> {
    // The highest number marks unused elements in the index.
    let next = tail.header.number.checked_add(1).filter(|number| *number < u32::MAX);
    next.ok_or_else(|| io::Error::other("the segment numbers are exhausted"))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The name of a segment under construction.
pub(super) const NEW: &str = "new";

const WIPE_BYTES: usize = 1 << 20;
