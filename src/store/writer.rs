use std::sync::Arc;
use std::{io, mem};

use super::disk::{Disk, DiskFile};
use super::format::{ALIGNMENT, SEGMENT_HEADER_BYTES, SegmentHeader, VERSION, seal_batch, segment_name};
use super::level::Level;
use super::pending::{Batch, Taken};
use super::shortage::Shortage;
use super::spares::{SpareFile, Spares};
use super::timing::now;
use crate::histogram::LatencyHistogram;

/// Writes batches at the end of the log.
///
/// # Why a file grows in steps
///
/// A sync is `fdatasync`, whose manual page says what it costs: it "does not flush modified metadata unless that metadata
/// is needed in order to allow a subsequent data retrieval to be correctly handled", and "a change to the file size […]
/// would require a metadata flush". So the sync of an append waits for the file's inode too, or for a commit of the file
/// system's journal, and the sync of an overwrite does not. Therefore a small commit that makes the file longer also
/// writes zeros behind itself ([`prepare`](Self::prepare)), and the same sync makes them and the new size stable. The
/// commits that follow overwrite them. Recycled files have their size already.
///
/// This depends on nothing that the sync of an append does not depend on: each commit ends with an `fdatasync` of the
/// whole file, so if a file system has to allocate a block or to record a block as written, that `fdatasync` makes this
/// stable. `pwritev2` with `RWF_DSYNC` is not used: it syncs only the range that it writes, not earlier unsynced writes,
/// and costs the same. Zeros are no batch, so recovery ends in front of them, as in front of the old content of a
/// recycled file.
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
    sync_latency: LatencyHistogram,
    /// Whether the current segment has written entries that were not synced.
    unsynced: bool,
    sync_failed: bool,
    /// Why the last sync failed, if the commit could not continue in another segment yet.
    failed_sync: Option<Shortage>,
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
    /// The file is at least this long, so commits up to here only overwrite.
    prepared: u64,
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
pub(super) struct Commit {
    /// The places of the batches that are written.
    pub(super) written: Vec<Written>,
    /// The batches before this index are synced, and all of them are in older segments.
    synced: usize,
    /// The sequence of the first batch that is not.
    synced_sequence: u64,
    /// Whether the segment in which it began has entries of earlier commits that are not synced.
    earlier_unsynced: bool,
}

/// The result of a call of [`Writer::write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All batches are written, and stable if they need a sync.
    Done,
    /// A resource ran out and the reserve is used: the same commit must be continued later.
    Blocked(Shortage),
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
            sync_latency: LatencyHistogram::default(),
            unsynced: false,
            sync_failed: false,
            failed_sync: None,
            begun: Vec::new(),
        })
    }

    /// Begins a commit. The previous one must be done.
    pub(super) fn begin(&self) -> Commit {
        let synced_sequence = self.sequence;
        Commit { written: Vec::new(), synced: 0, synced_sequence, earlier_unsynced: self.unsynced }
    }

    /// Writes batches and makes them stable. If a resource runs out, continues in the reserve. After an error, the
    /// writer must not be used again.
    pub(super) fn write(&mut self, taken: &mut Taken, commit: &mut Commit) -> io::Result<Outcome> {
        // A failed sync must not be repeated, so a commit that was blocked after one continues in another segment.
        let written = match self.failed_sync.take() {
            Some(shortage) => Err(shortage),
            None => self
                .write_rest(taken, commit)
                .map_or_else(|error| Shortage::of(&error).ok_or(error).map(Err), |()| Ok(Ok(())))?,
        };
        if let Err(shortage) = written {
            let sync_failed = std::mem::take(&mut self.sync_failed);
            if commit.earlier_unsynced && commit.synced == 0 {
                // Earlier commits are in the old segment only.
                if sync_failed {
                    return Err(io::Error::other(format!("a sync failed: {}", shortage.sentence())));
                }
                self.sync()?;
                commit.earlier_unsynced = false;
            }
            if !self.enter_reserve(commit, shortage)? {
                self.failed_sync = sync_failed.then_some(shortage);
                return Ok(Outcome::Blocked(shortage));
            }
            self.write_rest(taken, commit)?;
        }
        if !self.unsynced {
            self.acknowledged = self.sequence;
        }
        Ok(Outcome::Done)
    }

    /// Starts a segment in the reserve, from the first batch on that is not synced in an older segment. Returns `false` if that must be
    /// tried again later.
    fn enter_reserve(&mut self, commit: &mut Commit, shortage: Shortage) -> io::Result<bool> {
        let Some(SpareFile { name, file }) = self.spares.take_reserve(shortage) else {
            return if shortage == Shortage::Space { Err(io::ErrorKind::StorageFull.into()) } else { Ok(false) };
        };
        // The first sequence of the new segment cuts off what reached the old one.
        let next = (next_number(&self.tail)?, commit.synced_sequence);
        self.tail = begin_segment(&*self.disk, self.level, (&name, file), next)?;
        self.begun.push(next.0);
        commit.written.truncate(commit.synced);
        self.sequence = commit.synced_sequence;
        Ok(true)
    }

    fn write_rest(&mut self, taken: &mut Taken, commit: &mut Commit) -> io::Result<()> {
        while let Some(batch) = taken.batches.get_mut(commit.written.len()) {
            if self.needs_segment(batch) {
                self.sync()?;
                (commit.synced, commit.synced_sequence) = (commit.written.len(), self.sequence);
                self.begin_next()?;
            }
            commit.written.push(self.write_batch(batch)?);
        }
        if taken.wants_sync {
            self.prepare()?;
            return self.sync();
        }
        Ok(())
    }

    /// Writes a batch without the reserve, and does not sync it. After an error it is not a part of the log.
    pub(super) fn append(&mut self, batch: &mut Batch) -> io::Result<Written> {
        if self.needs_segment(batch) {
            self.sync()?;
            self.begin_next()?;
        }
        self.write_batch(batch)
    }

    fn needs_segment(&self, batch: &Batch) -> bool {
        !self.is_empty() && self.tail.offset + length(batch) > self.segment_bytes
    }

    fn begin_next(&mut self) -> io::Result<()> {
        let next = (next_number(&self.tail)?, self.sequence);
        self.tail = new_tail(&*self.disk, self.level, &mut self.spares, next)?;
        self.begun.push(next.0);
        Ok(())
    }

    fn write_batch(&mut self, batch: &mut Batch) -> io::Result<Written> {
        let bytes = length(batch);
        seal_batch(&self.tail.header, self.sequence, self.acknowledged, batch.entries, &mut batch.bytes)
            .ok_or_else(|| io::Error::other("a batch exceeds its length field"))?;
        self.tail.file.write_at(self.tail.offset, &batch.bytes)?;
        self.unsynced = self.level == Level::PowerLoss;
        let Tail { header, offset, .. } = self.tail;
        self.tail.offset += bytes;
        self.sequence += u64::from(batch.entries);
        Ok(Written { segment: header.number, offset, bytes })
    }

    /// If the commit made the file a little longer, makes it longer by [`PREPARED_BYTES`] more, before the sync. After a
    /// large commit this is not worth it: it would write each byte twice, to save a small part of the cost.
    ///
    /// It is only an optimization, so a full disk, which the next commit may not even notice, is no error.
    fn prepare(&mut self) -> io::Result<()> {
        let Tail { offset, prepared, .. } = self.tail;
        let grown = offset.saturating_sub(prepared);
        if grown == 0 || self.level != Level::PowerLoss {
            return Ok(());
        }
        self.tail.prepared = offset;
        let bytes = PREPARED_BYTES.min(self.segment_bytes / PREPARED_SHARE).min(self.room());
        if grown > GROWN_MAX || bytes == 0 {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(bytes).unwrap_or(0)];
        match self.tail.file.write_at(offset, &zeros) {
            Err(error) if Shortage::of(&error).is_none() => return Err(error),
            Err(_) | Ok(()) => self.tail.prepared += bytes,
        }
        Ok(())
    }

    /// Ensures that everything written is stable at the store's level.
    pub(super) fn sync_rest(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.sync()?;
        }
        self.acknowledged = self.sequence;
        Ok(())
    }

    /// The sequence of the next entry.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether a sync has failed, which must not be repeated.
    pub(super) fn has_failed_sync(&self) -> bool {
        self.sync_failed
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.level == Level::PowerLoss {
            self.syncs += 1;
            let begun = now();
            let result = self.tail.file.sync();
            self.sync_latency.record(begun.elapsed());
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

    /// How long these syncs took.
    pub(super) fn sync_latency(&self) -> &LatencyHistogram {
        &self.sync_latency
    }
}

impl End {
    /// Overwrites a torn end first, because behind new batches it could look like a part of the log.
    fn resume(self, level: Level) -> io::Result<Tail> {
        let Self { header, file, offset, is_torn } = self;
        if is_torn {
            wipe(&*file, offset, file.size()?)?;
        }
        if is_torn && level == Level::PowerLoss {
            file.sync()?;
        }
        let prepared = file.size()?;
        Ok(Tail { header, file, offset, prepared })
    }
}

/// Overwrites a range with zeros.
pub(super) fn wipe(file: &dyn DiskFile, mut from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; WIPE_BYTES];
    while from < to {
        let length = usize::try_from(to - from).unwrap_or(WIPE_BYTES).min(WIPE_BYTES);
        file.write_at(from, zeros.get(..length).unwrap_or_default())?;
        from += length as u64;
    }
    Ok(())
}

/// Starts a segment in a spare file, or in a new one.
fn new_tail(disk: &dyn Disk, level: Level, spares: &mut Spares, header: (u32, u64)) -> io::Result<Tail> {
    let SpareFile { name, file } = match spares.take() {
        Some(spare) => spare,
        None => SpareFile { name: NEW.to_owned(), file: disk.create(NEW)? },
    };
    begin_segment(disk, level, (&name, file), header).inspect_err(|_| {
        // If removing fails, the next start removes the file.
        let _ = disk.remove(&name);
    })
}

/// The header is synced before the file becomes part of the log, so a crash can't leave a segment with an invalid
/// header.
fn begin_segment(
    disk: &dyn Disk,
    level: Level,
    (name, file): (&str, Arc<dyn DiskFile>),
    (number, first_sequence): (u32, u64),
) -> io::Result<Tail> {
    let header = SegmentHeader { version: VERSION, number, first_sequence, salt: disk.salt()? };
    file.write_at(0, &header.encode())?;
    if level == Level::PowerLoss {
        file.sync()?;
    }
    disk.rename(name, &segment_name(number))?;
    if level == Level::PowerLoss {
        disk.sync_names()?;
    }
    let prepared = file.size()?;
    Ok(Tail { header, file, offset: SEGMENT_HEADER_BYTES as u64, prepared })
}

/// The bytes that a batch takes in a segment.
fn length(batch: &Batch) -> u64 {
    (batch.bytes.len() as u64).next_multiple_of(ALIGNMENT as u64)
}

fn next_number(tail: &Tail) -> io::Result<u32> {
    // The highest number marks unused elements in the index.
    let next = tail.header.number.checked_add(1).filter(|number| *number < u32::MAX);
    next.ok_or_else(|| io::Error::other("the segment numbers are exhausted"))
}

/// The name of a segment under construction.
pub(super) const NEW: &str = "new";

const WIPE_BYTES: usize = 1 << 20;

/// How much longer a file is made at a time: room for some hundred small commits. More would delay the commit that writes it
/// noticeably on an SD card (64 KiB take it about 6 ms).
const PREPARED_BYTES: u64 = 64 << 10;

/// At most this part of a segment is prepared at a time.
const PREPARED_SHARE: u64 = 16;

/// A commit that makes a file longer by more than this does not prepare.
const GROWN_MAX: u64 = 16 << 10;
