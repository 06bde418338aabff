use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::disk::DiskFile;
use super::error::StreamReadError;
use super::format::StreamHeader;
use super::segments::{Piece, Place, Shared};
use super::walk::{Visit, Walk};

/// Reads the messages of a stream, on any thread, while the [`StreamLog`](super::StreamLog) appends and trims.
///
/// It remembers where its last read ended, so each position in the stream should have a clone of its own: about 100 bytes.
/// Reading takes a buffer of 256 KiB per thread, which is kept for the next read on that thread.
pub struct StreamReader {
    shared: Arc<Shared>,
    resume: Mutex<Resume>,
}

/// Where the last read ended: the offset of the batch with this sequence, in the segment with this header.
#[derive(Debug, Clone, Copy, Default)]
struct Resume {
    header: Option<StreamHeader>,
    sequence: u64,
    offset: u64,
}

impl StreamReader {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), resume: Mutex::default() }
    }

    /// The sequence of the oldest message that is kept; [`end`](Self::end), if there is none.
    pub fn oldest(&self) -> u64 {
        self.shared.oldest()
    }

    /// The sequence after the last message that was appended.
    pub fn end(&self) -> u64 {
        self.shared.end()
    }

    /// The size of the segments in bytes, including trimmed messages whose space is not free yet.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes()
    }

    /// Visits the messages from `from` on, in order, until `visit` breaks, or `max_bytes` of bodies (with 12 bytes for each) were
    /// visited, or 256 KiB were read; but at least one message. Returns the sequence to go on with, which is `from` only if there is
    /// no such message yet. It skips no message: lost ones are an error, before which those in front of them are visited.
    ///
    /// # Errors
    ///
    /// See [`StreamReadError`]. No message was visited then.
    pub fn read(&self, from: u64, max_bytes: usize, visit: &mut Visit<'_>) -> Result<u64, StreamReadError> {
        loop {
            let piece = match self.shared.locate(from) {
                Place::At(piece) => self.resumed(piece, from),
                Place::Gap(to) => return Err(StreamReadError::Lost { from, to }),
                Place::End => return Ok(from),
                Place::Trimmed(oldest) => return Err(StreamReadError::Trimmed { oldest }),
            };
            let read = self.read_piece(piece, from, max_bytes, visit);
            // The segment was compacted after it was located, so that its file was another one.
            let is_replaced = read.is_err() && from >= self.oldest() && !self.shared.has(&piece.header);
            if !is_replaced {
                return read;
            }
        }
    }

    fn read_piece(
        &self,
        piece: Piece,
        from: u64,
        max_bytes: usize,
        visit: &mut Visit<'_>,
    ) -> Result<u64, StreamReadError> {
        let file = self.file(&piece, from)?;
        let mut walk = Walk::new(file, piece, from, max_bytes);
        let result = walk.run(visit);
        let (sequence, offset, header) = (walk.next, walk.offset, Some(piece.header));
        *self.resume.lock().unwrap_or_else(PoisonError::into_inner) = Resume { header, sequence, offset };
        if walk.is_damaged && self.shared.has(&piece.header) {
            self.shared.with(|segments| segments.damaged.insert(piece.header.number));
        }
        result
    }

    /// The sequence of the first message at or behind `from` that can be read; [`end`](Self::end), if there is none. For messages whose
    /// [`read`](Self::read) fails again and again with an error of the operating system: unreadable pages count as damaged.
    ///
    /// # Errors
    ///
    /// The file can't be opened, for want of a file descriptor, or `from` is not kept any more.
    pub fn skip_unreadable(&self, from: u64) -> Result<u64, StreamReadError> {
        let piece = match self.shared.locate(from) {
            Place::At(piece) => piece,
            Place::Gap(to) => return Ok(to),
            Place::End => return Ok(from),
            Place::Trimmed(oldest) => return Err(StreamReadError::Trimmed { oldest }),
        };
        let found = match self.file(&piece, from) {
            Ok(file) => Walk::new(file, piece, from, 0).search(piece.offset)?.unwrap_or(from),
            Err(StreamReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => piece.end,
            Err(error) => return Err(error),
        };
        // In a segment that was compacted meanwhile, the next read finds what there is.
        Ok(if self.shared.has(&piece.header) { found } else { from })
    }

    /// The sequence of the first message that is kept, can be read, and has a timestamp of at least `timestamp`;
    /// [`end`](Self::end), if there is none. If clocks were set back, messages behind it may have earlier timestamps.
    ///
    /// Usually it costs one or two reads. It reads a whole segment only if its oldest messages were trimmed and one of
    /// these has a later timestamp than those behind it.
    ///
    /// # Errors
    ///
    /// A file can't be opened or read.
    pub fn sequence_at(&self, timestamp: u64) -> io::Result<u64> {
        let mut number = 0;
        while let Some((segment, from, end)) = self.shared.with(|segments| segments.since(timestamp, number)) {
            if let Some((found, _)) = self.first_since(timestamp, from, end)? {
                return Ok(found);
            }
            number = segment.saturating_add(1);
        }
        Ok(self.end())
    }

    /// The first message that is kept, at or behind `from` and before `end`, with a timestamp of at least `timestamp`: its sequence and
    /// its timestamp.
    pub(super) fn first_since(&self, timestamp: u64, mut from: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
        let mut found = None;
        from = from.max(self.oldest());
        while from < end && found.is_none() {
            let read = self.read(from, usize::MAX, &mut |message| {
                if message.timestamp < timestamp || message.sequence >= end {
                    return ControlFlow::Continue(());
                }
                found = Some((message.sequence, message.timestamp));
                ControlFlow::Break(())
            });
            from = match read {
                Ok(next) if next == from => break,
                Ok(next) | Err(StreamReadError::Trimmed { oldest: next } | StreamReadError::Lost { to: next, .. }) => {
                    next
                }
                Err(StreamReadError::Io(error)) => return Err(error),
            };
        }
        Ok(found)
    }

    fn resumed(&self, piece: Piece, from: u64) -> Piece {
        let resume = *self.resume.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = resume.header == Some(piece.header) && resume.sequence == from;
        Piece { offset: if is_known { resume.offset } else { piece.offset }, ..piece }
    }

    /// The writer may have removed the segment meanwhile.
    fn file(&self, piece: &Piece, from: u64) -> Result<Arc<dyn DiskFile>, StreamReadError> {
        self.shared.file(piece.header.number).map_err(|error| match self.oldest() {
            oldest if from < oldest => StreamReadError::Trimmed { oldest },
            _ => error.into(),
        })
    }
}

impl Clone for StreamReader {
    fn clone(&self) -> Self {
        Self::new(&self.shared)
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader").field("oldest", &self.oldest()).field("end", &self.end()).finish_non_exhaustive()
    }
}
