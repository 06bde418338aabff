use std::sync::Arc;
use std::{io, iter};

use super::disk::DiskFile;
use super::entry::{self, Decoded};
use super::format::{ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader, VERSION};
use super::version_1;

/// Reads the batches of a segment in order, in large pieces.
pub(super) struct SegmentReader {
    pub(super) header: SegmentHeader,
    file: Arc<dyn DiskFile>,
    /// The bytes of the file from `start`.
    window: Vec<u8>,
    start: u64,
    size: u64,
}

/// A batch with valid checksums.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) header: BatchHeader,
    /// The format version of its entries.
    version: u32,
    /// Offset of its entries in the segment.
    pub(super) entries_at: u64,
    /// Offset of the next batch.
    pub(super) end: u64,
    pub(super) body: &'a [u8],
}

impl<'a> Found<'a> {
    /// Its size in the segment in bytes, including padding.
    pub(super) fn bytes(&self) -> u64 {
        self.end - self.entries_at + BATCH_HEADER_BYTES as u64
    }

    /// Its entries with their offsets in the segment, up to the first that can't be decoded.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, Decoded<'a>)> + use<'a> {
        let (mut rest, mut at) = (self.body, self.entries_at);
        let decode = if self.version < VERSION { version_1::decode } else { entry::decode };
        iter::from_fn(move || {
            let entry = decode(rest)?;
            let offset = u32::try_from(at).ok()?;
            rest = rest.get(entry.length..)?;
            at += entry.length as u64;
            Some((offset, entry))
        })
    }
}

impl SegmentReader {
    pub(super) fn new(header: SegmentHeader, file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let size = file.size()?;
        Ok(Self { header, file, window: Vec::new(), start: 0, size })
    }

    pub(super) fn into_file(self) -> Arc<dyn DiskFile> {
        self.file
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The batch at an offset, if it is valid.
    pub(super) fn batch_at(&mut self, offset: u64) -> Option<Found<'_>> {
        let segment = self.header;
        let header = BatchHeader::decode(&segment, self.bytes(offset, BATCH_HEADER_BYTES)?)?;
        let body_bytes = usize::try_from(header.body_bytes).ok()?;
        let length = BATCH_HEADER_BYTES.checked_add(body_bytes)?;
        let body = self.bytes(offset, length)?.get(BATCH_HEADER_BYTES..)?;
        let end = offset + (length as u64).next_multiple_of(ALIGNMENT as u64);
        let found =
            Found { header, version: segment.version, entries_at: offset + BATCH_HEADER_BYTES as u64, end, body };
        (header.entries > 0 && header.is_of(&segment, body)).then_some(found)
    }

    /// The offset of the first valid batch at or behind `offset`.
    pub(super) fn find(&mut self, mut offset: u64) -> Option<u64> {
        let salt = self.header.salt.to_le_bytes();
        loop {
            let piece = usize::try_from(self.size.checked_sub(offset)?).unwrap_or(usize::MAX).min(WINDOW_BYTES);
            let bytes = self.bytes(offset, piece)?;
            match bytes.chunks_exact(ALIGNMENT).position(|chunk| chunk == salt) {
                Some(at) => {
                    offset += (at * ALIGNMENT) as u64;
                    if self.batch_at(offset).is_some() {
                        return Some(offset);
                    }
                    offset += ALIGNMENT as u64;
                }
                None if piece < ALIGNMENT => return None,
                None => offset += (piece / ALIGNMENT * ALIGNMENT) as u64,
            }
        }
    }

    /// The end of a batch that was started at an offset, whether or not it is complete.
    pub(super) fn begun_batch(&mut self, offset: u64) -> u64 {
        let segment = self.header;
        match self.bytes(offset, BATCH_HEADER_BYTES) {
            Some(bytes) if bytes.starts_with(&segment.salt.to_le_bytes()) => {
                let body = BatchHeader::decode(&segment, bytes).map_or(0, |header| u64::from(header.body_bytes));
                (offset + BATCH_HEADER_BYTES as u64 + body).min(self.size)
            }
            _ => offset,
        }
    }

    /// `length` bytes at an offset, if the file has them.
    fn bytes(&mut self, offset: u64, length: usize) -> Option<&[u8]> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.size)?;
        if offset < self.start || end > self.start + self.window.len() as u64 {
            let left = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
            self.window.resize(length.max(WINDOW_BYTES).min(left), 0);
            self.start = offset;
            let filled = read_what_can_be_read(&*self.file, offset, &mut self.window);
            self.window.truncate(filled);
        }
        let from = usize::try_from(offset - self.start).ok()?;
        self.window.get(from..)?.get(..length)
    }
}

/// Reads a range. If the disk fails, reads it page by page, so that a bad page doesn't affect the others; a bad page
/// reads as zeros, which have no valid checksum.
pub(super) fn read_what_can_be_read(file: &dyn DiskFile, offset: u64, buffer: &mut [u8]) -> usize {
    if let Ok(filled) = file.read_at(offset, buffer) {
        return filled;
    }
    let (mut at, length) = (offset, buffer.len());
    let mut rest = buffer;
    while !rest.is_empty() {
        let in_page = usize::try_from(at % PAGE_BYTES as u64).unwrap_or(0);
        let (page, behind) = rest.split_at_mut((PAGE_BYTES - in_page).min(rest.len()));
        page.fill(0);
        if file.read_at(at, page).is_err() {
            page.fill(0);
        }
        at += page.len() as u64;
        rest = behind;
    }
    length
}

/// Reads the header of a segment file.
pub(super) fn read_header(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
    let filled = read_what_can_be_read(file, 0, &mut bytes);
    bytes.truncate(filled);
    bytes
}

const WINDOW_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;
