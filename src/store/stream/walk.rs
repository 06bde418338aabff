use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::disk::DiskFile;
use super::super::format::{ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, SegmentHeader};
use super::super::reader::{SegmentReader, read_what_can_be_read};
use super::error::StreamReadError;
use super::format::{MESSAGE_BYTES, Messages, StreamMessage};
use super::index::BLOCK_BYTES;
use super::segments::Piece;

/// Reads messages of one segment in order.
pub(super) struct Walk {
    file: Arc<dyn DiskFile>,
    seal: SegmentHeader,
    piece: Piece,
    from: u64,
    /// Sequence of the next message.
    pub(super) next: u64,
    /// Offset of a batch at or before that message.
    pub(super) offset: u64,
    used: usize,
    max_bytes: usize,
    /// Whether a region does not match its checksum.
    pub(super) is_damaged: bool,
}

/// What the visitor of messages is.
pub(super) type Visit<'a> = dyn FnMut(StreamMessage<'_>) -> ControlFlow<()> + 'a;

/// Why the bytes that were read yield no further message.
enum Stop {
    /// The visitor has enough.
    Enough,
    /// The next batch needs this many bytes.
    Needs(usize),
    /// The next bytes are no batch of the segment.
    Damaged,
    /// The message at `next` is missing; the next one is this.
    Missing(u64),
}

impl Walk {
    pub(super) fn new(file: Arc<dyn DiskFile>, piece: Piece, from: u64, max_bytes: usize) -> Self {
        let (seal, offset) = (piece.header.seal(), piece.offset);
        Self { file, seal, piece, from, next: from, offset, used: 0, max_bytes, is_damaged: false }
    }

    /// Visits the messages of one read; of more reads only as long as none was found. Returns the sequence of the next message.
    pub(super) fn run(&mut self, visit: &mut Visit<'_>) -> Result<u64, StreamReadError> {
        let mut buffer = Buffer::take();
        let block = usize::try_from(BLOCK_BYTES).unwrap_or(READ_BYTES);
        let usual = self.max_bytes.saturating_add(block).min(READ_BYTES);
        let mut wanted = usual;
        loop {
            let left = self.piece.length.saturating_sub(self.offset);
            if left == 0 {
                return self.at_end();
            }
            wanted = wanted.min(usize::try_from(left).unwrap_or(wanted));
            let (bytes, failure) = buffer.read(&*self.file, self.offset, wanted);
            let is_short = bytes.len() < wanted;
            let stop = self.walk(bytes, visit);
            if self.next > self.from {
                return Ok(self.next);
            }
            match stop {
                Stop::Enough => return Ok(self.next),
                Stop::Needs(bytes) if !is_short && self.has(bytes) => wanted = bytes.max(usual),
                Stop::Missing(to) => return self.or_lost(to),
                Stop::Damaged | Stop::Needs(_) => {
                    let damaged_at = self.offset;
                    match (self.search(damaged_at + ALIGNMENT as u64)?, failure) {
                        (None, _) => {}
                        (Some(lost), None) => return self.or_lost(lost),
                        (Some(_), Some(error)) => {
                            // A later attempt may find it readable.
                            self.offset = damaged_at;
                            return Err(error.into());
                        }
                    }
                }
            }
        }
    }

    /// Goes on at the first readable batch at or behind an offset. If messages are missing before it: the first one that is not.
    pub(super) fn search(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        let mut reader = SegmentReader::new(self.seal, Arc::clone(&self.file))?;
        while let Some(at) = reader.find(offset).filter(|at| *at < self.piece.length) {
            let Some(found) = reader.batch_at(at) else { break };
            if found.header.end() > self.next {
                self.offset = at;
                let first = found.header.sequence.min(self.piece.end);
                return Ok((first > self.next).then_some(first));
            }
            offset = found.end;
        }
        self.offset = self.piece.length;
        Ok(Some(self.piece.end))
    }

    /// Whether the segment goes on with this many bytes, or ends here.
    fn has(&self, bytes: usize) -> bool {
        let left = self.piece.length.saturating_sub(self.offset);
        left == 0 || bytes as u64 <= left
    }

    /// The segment has no further batch.
    fn at_end(&mut self) -> Result<u64, StreamReadError> {
        if self.piece.header.compacted_to.is_some() {
            self.next = self.piece.end;
            return Ok(self.next);
        }
        self.or_lost(self.piece.end)
    }

    fn or_lost(&mut self, to: u64) -> Result<u64, StreamReadError> {
        let from = self.next;
        if self.next > self.from || to <= from {
            return Ok(from);
        }
        self.is_damaged = true;
        self.next = to;
        Err(StreamReadError::Lost { from, to })
    }

    /// Visits the messages of the batches in `bytes`, which begin at `offset`.
    fn walk(&mut self, bytes: &[u8], visit: &mut Visit<'_>) -> Stop {
        let mut rest = bytes;
        loop {
            if rest.len() < BATCH_HEADER_BYTES {
                return Stop::Needs(BATCH_HEADER_BYTES);
            }
            let Some(header) = BatchHeader::decode(&self.seal, rest) else { return Stop::Damaged };
            let size = BATCH_HEADER_BYTES + header.body_bytes as usize;
            let padded = size.next_multiple_of(ALIGNMENT);
            if self.offset + size as u64 > self.piece.length {
                return Stop::Damaged;
            }
            if header.end() > self.next {
                if header.sequence > self.next {
                    let first = header.sequence.min(self.piece.end);
                    if self.piece.header.compacted_to.is_none() {
                        return Stop::Missing(first);
                    }
                    self.next = first;
                }
                let Some(body) = rest.get(BATCH_HEADER_BYTES..size) else { return Stop::Needs(size) };
                if !header.is_of(&self.seal, body) {
                    return Stop::Damaged;
                }
                if self.visit(Messages::new(body, header.sequence, header.entries), visit).is_break() {
                    return Stop::Enough;
                }
                if self.next < header.end() {
                    return Stop::Missing(header.end().min(self.piece.end));
                }
            }
            self.offset += padded as u64;
            rest = rest.get(padded..).unwrap_or_default();
        }
    }

    fn visit(&mut self, messages: Messages<'_>, visit: &mut Visit<'_>) -> ControlFlow<()> {
        for message in messages {
            if message.sequence < self.next {
                continue;
            }
            if message.sequence >= self.piece.end {
                return ControlFlow::Break(());
            }
            self.next = message.sequence.saturating_add(1);
            self.used = self.used.saturating_add(MESSAGE_BYTES + message.body.len());
            visit(message)?;
            if self.used >= self.max_bytes {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// The buffer of this thread. So readers take no memory while they don't read, and reading needs no allocation.
struct Buffer(Vec<u8>);

impl Buffer {
    fn take() -> Self {
        Self(BUFFER.take())
    }

    /// Reads up to the end of the file. After an error, bytes that can't be read are zeros.
    fn read(&mut self, file: &dyn DiskFile, offset: u64, wanted: usize) -> (&[u8], Option<io::Error>) {
        if self.0.len() < wanted {
            self.0.resize(wanted, 0);
        }
        let bytes = self.0.get_mut(..wanted).unwrap_or_default();
        let (filled, failure) = match file.read_at(offset, bytes) {
            Ok(filled) => (filled, None),
            Err(error) => (read_what_can_be_read(file, offset, bytes), Some(error)),
        };
        (bytes.get(..filled).unwrap_or_default(), failure)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.len() <= BUFFER_BYTES_MAX {
            BUFFER.set(std::mem::take(&mut self.0));
        }
    }
}

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// A thread keeps a buffer of at most so many bytes. A larger one, for a longer message, is freed after the read.
const BUFFER_BYTES_MAX: usize = 1 << 20;
