use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use super::super::disk::{Directory, Disk, DiskFile};
use super::super::error::OpenError;
use super::super::format::{ALIGNMENT, BATCH_HEADER_BYTES, seal_batch, segment_name};
use super::super::writer::wipe;
use super::format::{BODY_BYTES_MAX, HEADER_BYTES, MESSAGE_BYTES, StreamHeader, StreamMessage, put};
use super::index::{IndexFile, Indexed, index_name};
use super::options::{StreamOpened, StreamOptions};
use super::reader::StreamReader;
use super::recovery::{NEW, scan};
use super::segments::{Segment, Shared};

/// The writer of the files of one stream, owned by one thread.
///
/// # Errors
///
/// After an error of [`append`](Self::append), [`retain`](Self::retain), [`trim_below`](Self::trim_below) or
/// [`skip_to`](Self::skip_to), the stream is whole and can be used: what reached the disk of a failed write is overwritten
/// before the next one. The caller decides when to try again; [`Shortage::of`](crate::store::Shortage::of) tells whether a
/// resource ran out. After a failed **sync** nothing can be appended or synced any more, because the operating system may have
/// discarded the data; what was appended can be read.
pub struct StreamLog {
    pub(super) shared: Arc<Shared>,
    pub(super) reader: StreamReader,
    pub(super) options: StreamOptions,
    pub(super) tail: Option<Tail>,
    /// The sequence of the next message.
    pub(super) next: u64,
    /// All messages below are synced.
    synced: u64,
    next_number: u32,
    /// Whether the name of the current segment must be synced.
    has_unsynced_name: bool,
    failure: Option<String>,
    staged: Staged,
    /// The messages below are trimmed, which is stable.
    pub(super) mark: u64,
    /// The timestamp of the oldest message, if it is known.
    pub(super) oldest_timestamp: Option<(u64, u64)>,
}

/// The current segment.
pub(super) struct Tail {
    pub(super) header: StreamHeader,
    file: Arc<dyn DiskFile>,
    pub(super) offset: u64,
    /// Whether a failed write or a crash left something behind the offset.
    is_unclean: bool,
}

/// Batches that are not written yet.
#[derive(Default)]
struct Staged {
    bytes: Vec<u8>,
    batches: Vec<Indexed>,
    /// The sequence after their last message.
    end: u64,
    batch: Vec<u8>,
}

impl StreamLog {
    /// Opens the stream in a directory of its own, creating it if it does not exist. Waits for the end of another process that has it open.
    ///
    /// # Errors
    ///
    /// Another process has the directory open; a later version wrote the files; the operating system returned an error.
    pub fn open_directory(
        directory: &Path,
        options: &StreamOptions,
        lock_patience: Duration,
    ) -> Result<(Self, StreamOpened), OpenError> {
        let disk = Directory::open_within(directory, lock_patience)?;
        Ok(Self::open(Arc::new(disk), options)?)
    }

    /// Opens the stream on a disk that has nothing else. Cuts a torn end, and reports damage. The limits of
    /// [`retain`](Self::retain) should be applied before the first reader gets to it.
    ///
    /// # Errors
    ///
    /// A later version wrote the files ([`io::ErrorKind::Unsupported`]); the operating system returned an error.
    pub fn open(disk: Arc<dyn Disk>, options: &StreamOptions) -> io::Result<(Self, StreamOpened)> {
        let scan = scan(&*disk, options.number)?;
        let tail = scan.segments.back().zip(scan.tail).filter(|(segment, _)| segment.end == scan.next);
        let tail = tail.map(|(segment, file)| {
            let (header, offset) = (segment.header, segment.length);
            Ok::<_, io::Error>(Tail { header, offset, is_unclean: file.size()? != offset, file })
        });
        let first = scan.segments.front().map_or(scan.next, |segment| segment.header.first_sequence);
        let oldest = scan.mark.max(first).min(scan.next);
        let shared = Arc::new(Shared::new(disk, scan.segments, (oldest, scan.next)));
        let mut log = Self {
            reader: StreamReader::new(&shared),
            shared,
            options: *options,
            tail: tail.transpose()?,
            next: scan.next,
            synced: scan.next,
            next_number: scan.next_number,
            has_unsynced_name: false,
            failure: None,
            staged: Staged::default(),
            mark: scan.mark,
            oldest_timestamp: None,
        };
        for number in scan.stray_indexes {
            log.shared.disk.remove(&index_name(number))?;
        }
        for number in scan.without_index {
            log.write_index(number);
        }
        // Names that the last process had not synced are needed from now on.
        log.shared.disk.sync_names()?;
        log.remove_trimmed()?;
        Ok((log, scan.opened))
    }

    /// The sequence that the next message must have; 1 at first. After an error of [`append`](Self::append), the messages below
    /// it are in the stream.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Its configuration.
    pub(in crate::store) const fn options(&self) -> &StreamOptions {
        &self.options
    }

    /// All messages below are synced.
    pub const fn synced(&self) -> u64 {
        self.synced
    }

    /// Changes the size of the segments that begin from now on.
    pub const fn set_segment_bytes(&mut self, segment_bytes: u64) {
        self.options.segment_bytes = segment_bytes;
    }

    /// A reader. It can be cloned, and outlives the log.
    pub fn reader(&self) -> StreamReader {
        self.reader.clone()
    }

    /// Appends messages whose sequences begin at [`next`](Self::next) and have no gap, in checksummed batches of up to 64 KiB or one
    /// message, without a sync. Readers find them at once. If the segment is full, it is synced, and the next one begins.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`]: a sequence is another one, or a body is too long. Otherwise see [`StreamLog`].
    pub fn append(&mut self, messages: &[StreamMessage<'_>]) -> io::Result<()> {
        self.check()?;
        let end = self.next.checked_add(messages.len() as u64);
        let follow = || messages.iter().zip(self.next..).all(|(message, next)| message.sequence == next);
        if end.is_none() || !follow() || messages.iter().any(|message| message.body.len() > BODY_BYTES_MAX as usize) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.staged.clear(self.next);
        self.stage(messages).and_then(|()| self.write()).inspect_err(|_| self.staged.clear(self.next))
    }

    /// Syncs what was appended. All messages below the returned sequence are on the disk.
    ///
    /// # Errors
    ///
    /// See [`StreamLog`].
    pub fn sync(&mut self) -> io::Result<u64> {
        self.check()?;
        if let Some(tail) = self.tail.as_ref().filter(|_| self.synced < self.next) {
            tail.file.sync().inspect_err(|error| self.failure = Some(format!("a sync failed: {error}")))?;
        }
        if self.has_unsynced_name {
            self.shared.disk.sync_names()?;
            self.has_unsynced_name = false;
        }
        self.synced = self.next;
        Ok(self.synced)
    }

    /// Goes on with a higher sequence, in a new segment. Readers are told that the messages in between are lost. For a stream whose end
    /// was damaged, if it is known from elsewhere which sequences were given.
    ///
    /// # Errors
    ///
    /// See [`StreamLog`].
    pub fn skip_to(&mut self, sequence: u64) -> io::Result<()> {
        self.check()?;
        if sequence > self.next { self.begin_segment(sequence) } else { Ok(()) }
    }

    /// Lets another process open the directory. This log, which must be synced, and its readers must not be used any more.
    pub fn release(&self) {
        self.shared.disk.release();
    }

    fn check(&self) -> io::Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(io::Error::other(failure.clone())))
    }

    /// Encodes messages, and writes them when there are many.
    fn stage(&mut self, mut messages: &[StreamMessage<'_>]) -> io::Result<()> {
        while !messages.is_empty() {
            let (count, newest) = self.staged.fill_batch(messages)?;
            let length = (self.staged.batch.len() as u64).next_multiple_of(ALIGNMENT as u64);
            if !self.has_room(length) {
                self.write()?;
                self.begin_segment(self.next)?;
            }
            let Some(tail) = &self.tail else { return Err(io::ErrorKind::NotFound.into()) };
            let sequence = self.staged.end;
            let entries = u32::try_from(count).map_err(io::Error::other)?;
            seal_batch(&tail.header.seal(), sequence, self.synced, entries, &mut self.staged.batch)
                .ok_or(io::ErrorKind::InvalidInput)?;
            let offset = tail.offset + self.staged.bytes.len() as u64;
            self.staged.batches.push(Indexed { offset, sequence, newest });
            self.staged.end = sequence + u64::from(entries);
            self.staged.bytes.extend_from_slice(&self.staged.batch);
            messages = messages.get(count..).unwrap_or_default();
            if self.staged.bytes.len() >= WRITE_BYTES {
                self.write()?;
            }
        }
        Ok(())
    }

    fn has_room(&self, length: u64) -> bool {
        self.tail.as_ref().is_some_and(|tail| {
            let offset = tail.offset + self.staged.bytes.len() as u64;
            offset == HEADER_BYTES as u64 || offset + length <= self.options.segment_bytes()
        })
    }

    /// Writes the staged batches, and publishes them.
    fn write(&mut self) -> io::Result<()> {
        let Some(tail) = self.tail.as_mut().filter(|_| !self.staged.batches.is_empty()) else { return Ok(()) };
        if tail.is_unclean {
            // Behind new batches it could look like a part of the stream, if the power fails before the next sync.
            wipe(&*tail.file, tail.offset, tail.file.size()?)?;
            tail.file.sync().inspect_err(|error| self.failure = Some(format!("a sync failed: {error}")))?;
            tail.is_unclean = false;
        }
        tail.file.write_at(tail.offset, &self.staged.bytes).inspect_err(|_| tail.is_unclean = true)?;
        tail.offset += self.staged.bytes.len() as u64;
        self.next = self.staged.end;
        let (header, length, batches) = (tail.header, tail.offset, &self.staged.batches);
        self.shared.extend(self.next, |segment| {
            batches.iter().for_each(|batch| segment.index.add(&header, batch));
            (segment.end, segment.length) = (self.next, length);
        });
        self.staged.clear(self.next);
        Ok(())
    }

    /// Begins the next segment, after a sync of the current one.
    pub(super) fn begin_segment(&mut self, first_sequence: u64) -> io::Result<()> {
        self.sync()?;
        let number = self.next_number;
        let following = number.checked_add(1).ok_or_else(|| io::Error::other("the segment numbers are exhausted"))?;
        let disk = &*self.shared.disk;
        let (stream, previous_end, salt) = (self.options.number, self.next, disk.salt()?);
        let header = StreamHeader { number, stream, first_sequence, previous_end, salt, compacted_to: None };
        let file = disk.create(NEW)?;
        let begun = file.write_at(0, &header.encode()).and_then(|()| file.sync());
        begun.and_then(|()| disk.rename(NEW, &segment_name(number))).inspect_err(|_| {
            // If removing fails, the next start removes the file.
            let _ = disk.remove(NEW);
        })?;
        self.next_number = following;
        self.has_unsynced_name = true;
        let completed = self.tail.replace(Tail { header, file, offset: HEADER_BYTES as u64, is_unclean: false });
        self.next = first_sequence;
        self.shared.change(|segments| {
            segments.list.back_mut().into_iter().for_each(|segment| segment.index.complete());
            segments.list.push_back(Segment::new(header));
        });
        self.shared.extend(first_sequence, |_| ());
        if let Some(completed) = completed {
            // Only now: the current segment must not have an index, because it would be incomplete.
            self.write_index(completed.header.number);
        }
        self.sync().map(|_| ())
    }

    /// Writes the file of the index of a complete segment. Without it, the next start reads the segment, so an error is none; and so it is not
    /// synced either.
    fn write_index(&self, number: u32) {
        write_index(&self.shared, number);
    }
}

/// See [`StreamLog::write_index`].
pub(super) fn write_index(shared: &Shared, number: u32) {
    let encoded = shared.with(|segments| {
        let segment = segments.list.iter().rev().find(|segment| segment.header.number == number)?;
        let Segment { header, end, length, index, is_damaged } = segment.clone();
        (!is_damaged).then(|| IndexFile { header, end, length, index }.encode())
    });
    let Some(bytes) = encoded else { return };
    let disk = &*shared.disk;
    if let Err(_error) = disk.create(&index_name(number)).and_then(|file| file.write_at(0, &bytes)) {
        let _ = disk.remove(&index_name(number));
    }
}

impl Staged {
    fn clear(&mut self, next: u64) {
        self.batches.clear();
        self.bytes.clear();
        self.bytes.shrink_to(2 * WRITE_BYTES);
        self.batch.shrink_to(2 * WRITE_BYTES);
        self.end = next;
    }

    /// Encodes messages that fit a batch; at least one. Returns how many, and their latest timestamp.
    fn fill_batch(&mut self, messages: &[StreamMessage<'_>]) -> io::Result<(usize, u64)> {
        self.batch.clear();
        self.batch.resize(BATCH_HEADER_BYTES, 0);
        let (mut count, mut newest) = (0, 0);
        for message in messages {
            if count > 0 && self.batch.len() + MESSAGE_BYTES + message.body.len() > BATCH_BYTES {
                break;
            }
            put(message, &mut self.batch).ok_or(io::ErrorKind::InvalidInput)?;
            (count, newest) = (count + 1, message.timestamp.max(newest));
        }
        Ok((count, newest))
    }
}

impl fmt::Debug for StreamLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, next, synced, failure, .. } = self;
        f.debug_struct("StreamLog")
            .field("options", options)
            .field("next", next)
            .field("synced", synced)
            .field("failure", failure)
            .finish_non_exhaustive()
    }
}

/// A batch of several messages has at most so many bytes, because a reader needs the whole batch for each of them.
const BATCH_BYTES: usize = 64 << 10;
/// Batches are written when they have so many bytes together.
const WRITE_BYTES: usize = 1 << 20;
