//! A fixed state of a replicated log, for a copy at another node.

use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use super::mark::Mark;
use super::reader::{SegmentReader, read_header};
use super::stream_files::StreamFiles;
use super::stream_snapshot::{StreamFile, StreamSnapshot};

/// The files of a log up to a stable end, and a mark at or below it. No segment is freed until it is dropped.
///
/// Who receives them with [`Incoming`](super::Incoming) cuts the log to the mark, and verifies all checksums, when it opens the copy.
pub struct Snapshot {
    disk: Arc<dyn Disk>,
    mark: Mark,
    files: Vec<(u32, u64)>,
    pin: Box<dyn Pin>,
    streams: StreamSnapshot,
}

/// Prevents that segments are freed, until it is dropped.
pub(super) trait Pin: Send + Sync {
    /// Whether the directory still belongs to the one who made the snapshot.
    fn is_held(&self) -> bool;
}

impl Snapshot {
    /// `streams`: those of the log, which are looked at now.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        mark: Mark,
        (files, streams): (Vec<(u32, u64)>, Arc<StreamFiles>),
        pin: Box<dyn Pin>,
    ) -> io::Result<Self> {
        // After the log, so that the files of the streams have what those of the log do not have.
        let streams = StreamSnapshot::new(streams)?;
        Ok(Self { disk, mark, files, pin, streams })
    }

    /// The mark.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The segments, in ascending order, each with its length in bytes.
    pub fn files(&self) -> &[(u32, u64)] {
        &self.files
    }

    /// Reads at most `length` bytes of a segment from an offset on; fewer at its end, none behind it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`]: there is no such segment. [`io::ErrorKind::BrokenPipe`]: the store was closed or fenced meanwhile. Otherwise
    /// the operating system returned an error, or the file is too short.
    pub fn read(&self, segment: u32, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let found = self.files.iter().find(|(number, _)| *number == segment);
        let (_, bytes) = *found.ok_or(io::ErrorKind::NotFound)?;
        let length = usize::try_from(bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
        let read = self.read_all(segment, offset, length);
        // Otherwise somebody else may have overwritten the file meanwhile.
        if self.pin.is_held() { read } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// The files of the streams.
    pub fn stream_files(&self) -> &[StreamFile] {
        self.streams.files()
    }

    /// Reads at most `length` bytes of a file of a stream from an offset on; fewer at its end, none behind it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_stream(&self, stream: u32, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let read = self.streams.read((stream, name), offset, length);
        if self.pin.is_held() { read } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Verifies the checksums of a segment, as far as the mark or the next segment.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]: entries are missing or unreadable. Otherwise those of [`read`](Self::read).
    pub fn verify(&self, segment: u32) -> io::Result<()> {
        let at = self.files.iter().position(|(number, _)| *number == segment).ok_or(io::ErrorKind::NotFound)?;
        let next = self.files.get(at + 1).map(|(next, _)| self.header(*next));
        let end = match next {
            Some(next) => next?.map_or(self.mark.sequence, |next| next.first_sequence.min(self.mark.sequence)),
            None => self.mark.sequence,
        };
        let is_intact = match self.header(segment)? {
            Some(header) => is_intact(SegmentReader::new(header, self.disk.open(&segment_name(segment))?)?, end),
            None => false,
        };
        match (self.pin.is_held(), is_intact) {
            (false, _) => Err(io::ErrorKind::BrokenPipe.into()),
            (true, true) => Ok(()),
            (true, false) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The header of a segment, if it is readable.
    fn header(&self, segment: u32) -> io::Result<Option<SegmentHeader>> {
        let file = self.disk.open(&segment_name(segment))?;
        Ok(SegmentHeader::decode(&read_header(&*file)).ok().filter(|header| header.number == segment))
    }

    fn read_all(&self, segment: u32, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = self.disk.open(&segment_name(segment))?.read_at(offset, &mut bytes)?;
        if read == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Whether all batches below a sequence are there.
fn is_intact(mut reader: SegmentReader, end: u64) -> bool {
    let (mut offset, mut next) = (SEGMENT_HEADER_BYTES as u64, reader.header.first_sequence);
    while next < end {
        let Some(found) = reader.batch_at(offset).filter(|found| found.header.sequence == next) else { return false };
        (offset, next) = (found.end, found.header.end());
    }
    true
}
