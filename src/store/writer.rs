use std::sync::Arc;
use std::{io, mem};

use super::disk::{Disk, DiskFile};
use super::format::{ALIGNMENT, SEGMENT_HEADER_BYTES, SegmentHeader, seal_batch, segment_name};
use super::gathering::Taken;
use super::level::Level;
use super::spares::Spares;

/// The end of the log, where batches are written.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    level: Level,
    segment_bytes: u64,
    tail: Tail,
    pub(super) spares: Spares,
    /// The sequence of the next entry that is written.
    sequence: u64,
    /// All entries before it were reported stable, and can't have been lost since by a crash that the store's level survives.
    acknowledged: u64,
    syncs: u64,
    /// Whether the segment that is written to has entries that wanted no sync and got none yet.
    unsynced: bool,
    sync_failed: bool,
    /// Segments that were begun and not yet told.
    begun: Vec<u32>,
}

/// Where a log ends that was read.
pub(super) struct End {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) offset: u64,
    /// Whether a crash left batches behind it.
    pub(super) is_torn: bool,
}

/// The segment that is written to.
struct Tail {
    header: SegmentHeader,
    file: Arc<dyn DiskFile>,
    offset: u64,
}

/// Where a batch was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) segment: u32,
    pub(super) offset: u64,
    /// With its header and what fills it up.
    pub(super) bytes: u64,
}

/// How far a commit has come.
#[derive(Default)]
struct Progress {
    written: Vec<Written>,
    /// The batches before it are synced, and all of them are in older segments.
    synced: usize,
    /// The sequence of the first that is not.
    synced_sequence: u64,
}

impl Writer {
    /// Goes on where the log ends: in its last segment, or in a new one of this number.
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

    /// Writes batches and makes them stable. When the disk is full it goes on in the reserve; after any other error the
    /// writer must not be used again.
    pub(super) fn write(&mut self, taken: &mut Taken) -> io::Result<Vec<Written>> {
        let mut progress = Progress { synced_sequence: self.sequence, ..Progress::default() };
        let earlier_unsynced = self.unsynced;
        match self.write_rest(taken, &mut progress) {
            Err(error) if is_full(&error) => {
                if earlier_unsynced && progress.synced == 0 {
                    // Earlier commits are only in the segment that is left now, and a sync is never tried again.
                    if self.sync_failed {
                        return Err(error);
                    }
                    self.sync()?;
                }
                // Whatever of them reached the old segment is cut by the sequence that the new one begins with.
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
                .ok_or_else(|| io::Error::other("a batch is larger than its length can tell"))?;
            self.tail.file.write_at(self.tail.offset, &batch.bytes)?;
            self.unsynced = self.level == Level::PowerLoss;
            let Tail { header, offset, .. } = self.tail;
            progress.written.push(Written { segment: header.number, offset, bytes: length });
            self.tail.offset += length;
            self.sequence += u64::from(batch.entries);
        }
        if taken.wants_sync { self.sync() } else { Ok(()) }
    }

    /// Makes sure that everything written is stable at the store's level.
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

    /// The segment that is written to, and where it ends.
    pub(super) fn end(&self) -> (u32, u64) {
        (self.tail.header.number, self.tail.offset)
    }

    /// What the segment that is written to has left.
    pub(super) fn room(&self) -> u64 {
        self.segment_bytes.saturating_sub(self.tail.offset)
    }

    /// The segments that were begun since this was asked last: they are part of the log, also those that stayed empty.
    pub(super) fn take_begun(&mut self) -> Vec<u32> {
        mem::take(&mut self.begun)
    }

    pub(super) fn syncs(&self) -> u64 {
        self.syncs
    }
}

impl End {
    /// What was torn is wiped first: behind new batches it could pass for a part of the log.
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

/// Begins a segment in a spare file, or in a new one.
fn new_tail(disk: &dyn Disk, level: Level, spares: &mut Spares, header: (u32, u64)) -> io::Result<Tail> {
    let (name, file) = match spares.take() {
        Some(name) => (name.clone(), disk.open(&name)?),
        None => (NEW.to_owned(), disk.create(NEW)?),
    };
    begin_segment(disk, level, (&name, file), header).inspect_err(|_| {
        // The next start removes it if this doesn't.
        let _ = disk.remove(&name);
    })
}

/// Begins a segment in the space that is kept for a full disk.
fn reserve_tail(disk: &dyn Disk, level: Level, spares: &mut Spares, header: (u32, u64)) -> io::Result<Tail> {
    let name = spares.take_reserve().ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
    let file = disk.open(&name)?;
    begin_segment(disk, level, (&name, file), header)
}

/// The header is stable before the file is part of the log, so that a segment never has a bad one from a crash.
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
    // The last number stands for nowhere in the index.
    let next = tail.header.number.checked_add(1).filter(|number| *number < u32::MAX);
    next.ok_or_else(|| io::Error::other("there are no segment numbers left"))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A segment that is being made.
pub(super) const NEW: &str = "new";

const WIPE_BYTES: usize = 1 << 20;
