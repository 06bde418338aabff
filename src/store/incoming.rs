//! Receives a copy of a log of another node, beside the log that is in the directory: see [`beside`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::beside::{self, Beside};
use super::disk::{Directory, Disk, DiskFile};
use super::error::OpenError;
use super::format::{SEGMENT_BYTES_MAX, segment_name};
use super::intact;
use super::mark::{Mark, MarkFile};
use super::stream_directories::StreamDirectories;
use super::stream_snapshot::StreamFile;

/// A copy that is being received. Until it is [finished](Self::finish), the log in the directory stays as it is.
pub struct Incoming {
    disk: Arc<dyn Disk>,
    mark: Mark,
    /// How long each segment is, and how much of it is there.
    files: BTreeMap<File, Received>,
    /// The file that was written last.
    open: Option<(File, Arc<dyn DiskFile>)>,
    streams: StreamDirectories,
    /// The directories of the streams of the copy.
    disks: BTreeMap<u32, Arc<dyn Disk>>,
    /// After a failed sync, which must not be repeated.
    has_failed: bool,
}

/// The logs for which a disk has space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceFor {
    /// The copy beside the log, as far as the operating system knows.
    Both,
    /// The copy in the place of the log: see [`Incoming::remove_former`].
    One,
    /// Not even that.
    None {
        /// The bytes of the copy.
        needed: u64,
        /// The free bytes, with those of the log.
        free: u64,
    },
}

/// A file of the copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum File {
    Segment(u32),
    Stream(u32, String),
}

struct Received {
    bytes: u64,
    received: u64,
}

impl Incoming {
    /// Receives a log with these files, each with its length in bytes, and the files of its streams. Removes what is there of another copy that was not finished.
    ///
    /// # Errors
    /// [`OpenError::Locked`]: the directory is in use. [`io::ErrorKind::InvalidInput`]: these are not the files of a log. Otherwise the
    /// operating system returned an error.
    pub fn begin(
        directory: &Path,
        mark: &Mark,
        files: &[(u32, u64)],
        of_streams: &[StreamFile],
    ) -> Result<Self, OpenError> {
        let streams = StreamDirectories::below(directory, LOCK_PATIENCE);
        Self::begin_with(Arc::new(Directory::open(directory)?), streams, mark, (files, of_streams))
    }

    /// The same on a disk of the caller, without streams.
    pub fn begin_on(disk: Arc<dyn Disk>, mark: &Mark, files: &[(u32, u64)]) -> Result<Self, OpenError> {
        Self::begin_with(disk, StreamDirectories::none(), mark, (files, &[]))
    }

    pub(super) fn begin_with(
        disk: Arc<dyn Disk>,
        streams: StreamDirectories,
        mark: &Mark,
        (files, of_streams): (&[(u32, u64)], &[StreamFile]),
    ) -> Result<Self, OpenError> {
        let is_named = |file: &StreamFile| file.has_valid_name() && file.bytes <= FILE_BYTES_MAX;
        if of_streams.len() > FILES_MAX || !of_streams.iter().all(is_named) {
            return Err(invalid("the files of the copy are not those of streams").into());
        }
        let is_file = |(number, bytes): &(u32, u64)| *number < u32::MAX && (1..=FILE_BYTES_MAX).contains(bytes);
        if files.len() > FILES_MAX || !files.is_sorted_by(|one, next| one.0 < next.0) || !files.iter().all(is_file) {
            return Err(invalid("the files of the copy are not those of a log").into());
        }
        beside::settle(&*disk, &streams)?;
        let mut disks = BTreeMap::new();
        for StreamFile { stream, .. } in of_streams {
            if !disks.contains_key(stream) {
                let disk = (streams.disk)(*stream)?;
                // The lock of the log's directory is held, and protects those of its streams, too.
                disk.release();
                disks.insert(*stream, disk);
            }
        }
        let files = files.iter().map(|(number, bytes)| (File::Segment(*number), *bytes));
        let of_streams = of_streams.iter().map(|file| (File::Stream(file.stream, file.name.clone()), file.bytes));
        let files = files.chain(of_streams).map(|(file, bytes)| (file, Received { bytes, received: 0 })).collect();
        Ok(Self { disk, mark: mark.clone(), files, open: None, streams, disks, has_failed: false })
    }

    /// Whether there is space for the rest of the copy.
    ///
    /// # Errors
    /// The operating system returned an error.
    pub fn space(&self) -> io::Result<SpaceFor> {
        let needed: u64 = self.files.values().map(|file| file.bytes - file.received).sum();
        let Some(free) = self.disk.free_bytes().filter(|free| *free < needed.saturating_add(MARGIN_BYTES)) else {
            return Ok(SpaceFor::Both);
        };
        let free = free.saturating_add(beside::log_bytes(&*self.disk, &self.streams)?);
        Ok(if free < needed.saturating_add(MARGIN_BYTES) { SpaceFor::None { needed, free } } else { SpaceFor::One })
    }

    /// Removes the log in the directory before the copy is there, for its space: if the copy fails then, there is none. Must be called before the
    /// first [`write`](Self::write).
    ///
    /// # Errors
    /// The operating system returned an error. The next start finishes what has begun.
    pub fn remove_former(&self) -> io::Result<()> {
        beside::replace(&*self.disk, &self.streams)
    }

    /// Writes the next bytes of a segment: those from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`]: they are not the next ones, or more than it has. Otherwise the operating system returned an error;
    /// unless that was of a sync, it can be tried again.
    pub fn write(&mut self, segment: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_to(&File::Segment(segment), offset, bytes)
    }

    /// Writes the next bytes of a file of a stream: those from `offset` on.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_stream(&mut self, stream: u32, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_to(&File::Stream(stream, name.to_owned()), offset, bytes)
    }

    fn write_to(&mut self, to: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Received { bytes: length, received } =
            self.files.get_mut(to).ok_or_else(|| invalid("the copy has no such file"))?;
        let end = offset.saturating_add(bytes.len() as u64);
        if offset != *received || end > *length {
            return Err(invalid("the bytes are not the next ones of the file"));
        }
        let file = match &self.open {
            Some((open, file)) if open == to => Arc::clone(file),
            _ => {
                let (disk, name) = match to {
                    File::Segment(number) => (&self.disk, segment_name(*number)),
                    File::Stream(number, name) => {
                        (self.disks.get(number).ok_or(io::ErrorKind::NotFound)?, name.clone())
                    }
                };
                let disk = Beside(Arc::clone(disk));
                let file = if offset == 0 { disk.create(&name)? } else { disk.open(&name)? };
                self.open.insert((to.clone(), file)).1.clone()
            }
        };
        file.write_at(offset, bytes)?;
        *received = end;
        if end == *length {
            file.sync().inspect_err(|_| self.has_failed = true)?;
        }
        Ok(())
    }

    /// Verifies the copy, makes it stable, and replaces the log by it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`]: it is not complete. [`OpenError::Damaged`] and [`OpenError::OffMark`]: the log from which it was made is
    /// damaged, or bytes changed on their way. Otherwise the operating system returned an error. The log is as it was, or the next start
    /// finishes what has begun.
    pub fn finish(mut self) -> Result<(), OpenError> {
        let empty = self.files.iter().filter(|(_, file)| file.bytes == 0);
        for file in empty.map(|(file, _)| file.clone()).collect::<Vec<_>>() {
            self.write_to(&file, 0, &[])?;
        }
        if self.has_failed || self.files.values().any(|file| file.received < file.bytes) {
            return Err(invalid("the copy is not complete").into());
        }
        let copy = Beside(Arc::clone(&self.disk));
        MarkFile::create(&copy, &self.mark)?;
        intact::read(&copy, &|_, _| ())?;
        self.disks.values().try_for_each(|disk| disk.sync_names())?;
        Ok(beside::replace(&*self.disk, &self.streams)?)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.disk.release();
    }
}

/// Moves the directory of a store that no process has open aside, for inspection. Returns where it is.
///
/// # Errors
/// [`OpenError::Locked`]: it is in use. Otherwise the operating system returned an error.
pub fn set_aside(directory: &Path) -> Result<PathBuf, OpenError> {
    let lock = Directory::open(directory)?;
    let path = directory.canonicalize()?;
    let aside = path.with_extension(format!("{:016x}.aside", lock.salt()?));
    std::fs::rename(&path, &aside)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(parent)?.sync_all()?;
    Ok(aside)
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// How long to wait for who reads the directory of a stream.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// What names of files and the mark need, and what others write meanwhile.
const MARGIN_BYTES: u64 = if cfg!(test) { 8 << 10 } else { 16 << 20 };

/// More than a log of 64 TiB has.
const FILES_MAX: usize = 1 << 20;

/// A segment with the largest entry behind its last place.
const FILE_BYTES_MAX: u64 = SEGMENT_BYTES_MAX + (1 << 31);
