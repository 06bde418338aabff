//! A copy of a replicated log: follows the log of its owner.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::batch::Batch;
use super::beside;
use super::commit::apply;
use super::dead::DeadSegments;
use super::disk::{Directory, Disk};
use super::entry;
use super::error::OpenError;
use super::format::{SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, segment_name};
use super::index::Index;
use super::intact;
use super::level::Level;
use super::mark::{Mark, MarkFile};
use super::options::Options;
use super::resume::resume;
use super::shortage::Shortage;
use super::snapshot::{Pin, Snapshot};
use super::stream_copies::{StreamCopies, StreamTerms};
use super::stream_directories::StreamDirectories;
use super::writer::Writer;

/// A copy of a replicated log, in a directory of its own: the entries and sequences of the owner's log in segments of its own.
///
/// Each start of a node opens it, also that of a former owner, because only what is below the mark is certainly what the other copies have.
pub struct Follower {
    disk: Arc<dyn Disk>,
    index: Index,
    writer: Writer,
    mark: Option<MarkFile>,
    dead: DeadSegments,
    /// A segment that is out of the index, and could not be freed yet.
    dying: Option<u32>,
    /// After an error that leaves it unknown what the disk has.
    has_failed: bool,
    /// Memory for the next batch.
    buffer: Vec<u8>,
    held: Arc<AtomicBool>,
    streams: StreamCopies,
}

impl Follower {
    /// Removes an incomplete copy that is beside the log, or finishes the replacement by a whole one, cuts the log to its mark, and reads it. Without a mark, it is the log of a store that was not
    /// replicated, and stays as it is. Waits for the end of who has the directory open, as the options say. `terms` reads the definitions of its streams. `on_read` gets the number of
    /// segments read, and of all.
    ///
    /// # Errors
    /// [`OpenError::Damaged`]: entries below the mark are missing or unreadable, so this is no copy. Nothing was changed then, or only entries above
    /// the mark are gone. See [`OpenError`] for others.
    pub fn open(
        directory: &Path,
        options: &Options,
        terms: StreamTerms,
        on_read: &dyn Fn(usize, usize),
    ) -> Result<Self, OpenError> {
        let disk = Directory::open_within(directory, options.lock_patience)?;
        let streams = StreamDirectories::below(directory, options.lock_patience);
        Self::open_with(Arc::new(disk), options, (streams, terms), on_read)
    }

    /// The same on a disk of the caller, without streams.
    pub fn open_on(disk: Arc<dyn Disk>, options: &Options, on_read: &dyn Fn(usize, usize)) -> Result<Self, OpenError> {
        Self::open_with(disk, options, (StreamDirectories::none(), |_, _| None), on_read)
    }

    pub(super) fn open_with(
        disk: Arc<dyn Disk>,
        options: &Options,
        (directories, terms): (StreamDirectories, StreamTerms),
        on_read: &dyn Fn(usize, usize),
    ) -> Result<Self, OpenError> {
        let options = Options { level: Level::PowerLoss, ..options.clone() };
        beside::settle(&*disk, &directories)?;
        let (mark, mut scan) = intact::read(&*disk, on_read)?;
        let mut streams = StreamCopies::new(directories, terms, options.segment_bytes);
        if mark.is_some() {
            streams.open(&scan.index, &*disk)?;
        }
        let writer = resume(&disk, &options, &mut scan)?;
        Ok(Self {
            disk,
            index: scan.index,
            writer,
            mark,
            dead: DeadSegments::default(),
            dying: None,
            has_failed: false,
            buffer: Vec::new(),
            held: Arc::new(AtomicBool::new(true)),
            streams,
        })
    }

    /// The mark on the disk; `None`: the log was never replicated.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref().map(MarkFile::mark)
    }

    /// The sequence of the next entry.
    pub fn sequence(&self) -> u64 {
        self.writer.sequence()
    }

    /// Whether the log never had an entry.
    pub fn is_empty(&self) -> bool {
        self.sequence() == FIRST_SEQUENCE
    }

    /// Size of the log in bytes.
    pub fn bytes(&self) -> u64 {
        self.index.bytes()
    }

    /// Appends a batch of the owner's log: `entries` entries from sequence `first` on. It is not synced. There must be a mark, so
    /// [`sync`](Self::sync) comes first in an empty log: without one, the next start would take what is there for a log that was never
    /// replicated.
    ///
    /// # Errors
    /// Nothing is appended. [`io::ErrorKind::InvalidInput`]: `first` is not the next sequence, or there is no mark.
    /// [`io::ErrorKind::InvalidData`]: the batch is damaged, or has another number of entries. If a [resource ran out](Shortage::of), it
    /// can be tried again. After any other error the copy [has failed](Self::has_failed).
    pub fn append(&mut self, first: u64, entries: u32, batch: &[u8]) -> io::Result<()> {
        self.check()?;
        if first != self.sequence() {
            let text = format!("the batch begins at {first}, and the log ends at {}", self.sequence());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if self.mark.is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the log has no mark yet"));
        }
        if !is_intact(batch, entries) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the batch is damaged"));
        }
        let mut copy = Batch::new(std::mem::take(&mut self.buffer));
        copy.bytes.extend_from_slice(batch);
        copy.entries = entries;
        let written = self.writer.append(&mut copy);
        for segment in self.writer.take_begun() {
            self.index.add_bytes(segment, SEGMENT_HEADER_BYTES as u64);
        }
        match written {
            Ok(written) => apply(&mut self.index, &copy, written, None),
            Err(error) => {
                self.has_failed |= !self.can_try_again(&error);
                return Err(error);
            }
        }
        if copy.bytes.capacity() <= BUFFER_BYTES_MAX {
            copy.bytes.clear();
            self.buffer = copy.bytes;
        }
        Ok(())
    }

    /// Whether an append can be repeated after this error: the log on the disk is what it was.
    fn can_try_again(&self, error: &io::Error) -> bool {
        let (tail, _) = self.writer.end();
        let next = tail.checked_add(1).map(|next| self.disk.open(&segment_name(next)));
        let is_absent = next.is_some_and(|next| next.is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
        Shortage::of(error).is_some() && is_absent && !self.writer.has_failed_sync()
    }

    /// Makes all entries stable, and then the mark: the log up to here, with this state. Frees segments without live entries.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`]: the state is too long. Otherwise the operating system returned an error. The mark is the old one or
    /// the new one, and it can be tried again, unless the copy [has failed](Self::has_failed).
    pub fn sync(&mut self, state: Vec<u8>) -> io::Result<()> {
        self.check()?;
        self.writer.sync_rest().inspect_err(|_| self.has_failed = true)?;
        // The streams of a log that was never replicated are those of its owner. The removal of one must be on the disk before its definition is gone.
        if self.mark.is_some() {
            self.streams.keep(&mut self.index, &*self.disk).inspect_err(|_| self.has_failed = true)?;
        }
        let mark = Mark { sequence: self.sequence(), state };
        let file = match &mut self.mark {
            Some(file) => {
                file.write(&mark)?;
                file
            }
            None => self.mark.insert(MarkFile::create(&*self.disk, &mark)?),
        };
        let marked = file.both();
        self.dead.find(&self.index, self.writer.end().0, mark.sequence);
        self.free_segments(marked)
    }

    /// The oldest message of a stream.
    #[cfg(test)]
    pub(super) fn streams_oldest(&self, number: u32) -> Option<u64> {
        self.streams.files.logs().get(&super::stream_files::group_of(number)).map(|stream| stream.log.reader().oldest())
    }

    /// Whether there are streams in the log.
    pub fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Removes what its streams should not keep any more, without a sync of the log.
    ///
    /// # Errors
    /// The operating system returned one, and the copy [has failed](Self::has_failed).
    pub fn tend_streams(&mut self) -> io::Result<()> {
        self.check()?;
        self.streams.tend(0).inspect_err(|_| self.has_failed = true)
    }

    fn free_segments(&mut self, marked: u64) -> io::Result<()> {
        while Arc::strong_count(&self.held) == 1 {
            let dead = &mut self.dead;
            let Some(segment) = self.dying.take().or_else(|| dead.take(&mut self.index, marked)) else { break };
            match self.writer.spares.free(&*self.disk, Level::PowerLoss, segment) {
                Err(error) if Shortage::of(&error).is_some() => {
                    self.dying = Some(segment);
                    break;
                }
                freed => freed.inspect_err(|_| self.has_failed = true)?,
            }
        }
        self.writer.spares.fill_reserve(&*self.disk);
        Ok(())
    }

    /// Whether an error left it unknown what the disk has: it must be closed and opened again.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    fn check(&self) -> io::Result<()> {
        if self.has_failed { Err(io::Error::other("the copy has failed, and must be opened again")) } else { Ok(()) }
    }

    /// A fixed state of the log, for a copy at another node. No segment is freed until it is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`]: there is no mark yet. Otherwise the files of its streams can't be listed.
    pub fn snapshot(&self) -> io::Result<Snapshot> {
        let mark = self.mark().ok_or(io::ErrorKind::Unsupported)?.clone();
        let files = self.index.segments().map(|(segment, usage)| (segment, usage.bytes)).collect();
        let (pin, streams) = (FollowerPin(Arc::clone(&self.held)), Arc::clone(&self.streams.files));
        Snapshot::new(Arc::clone(&self.disk), mark, (files, streams), Box::new(pin))
    }

    /// Ends it, so that a [`Store`](super::Store) or another one can open the directory. What is not [synced](Self::sync) may be lost.
    pub fn close(self) {}
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.held.store(false, Ordering::SeqCst);
        self.disk.release();
    }
}

struct FollowerPin(Arc<AtomicBool>);

impl Pin for FollowerPin {
    fn is_held(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Whether a batch has so many entries, and each of them is one with the right checksums.
fn is_intact(batch: &[u8], entries: u32) -> bool {
    let mut rest = batch;
    for _ in 0..entries {
        let Some(entry) = entry::decode(rest) else { return false };
        let parts = entry.parts.iter().map(|part| rest.get(usize::try_from(part.distance).unwrap_or(usize::MAX)..));
        let are_parts = parts.into_iter().all(|part| part.is_some_and(|part| entry::at_place(part).is_some()));
        if !are_parts || entry::body(rest).is_none() {
            return false;
        }
        rest = rest.get(entry.length..).unwrap_or_default();
    }
    entries > 0 && rest.is_empty() && batch.len() as u64 <= BATCH_BYTES_MAX
}

/// The sequence of the first entry of a log.
const FIRST_SEQUENCE: u64 = 1;

/// The largest batch: behind the last place in a segment at which a batch begins, all offsets fit 32 bits.
const BATCH_BYTES_MAX: u64 = u32::MAX as u64 - SEGMENT_BYTES_MAX - (1 << 20);

/// Memory that is kept for the next batch, in bytes.
const BUFFER_BYTES_MAX: usize = 8 << 20;
