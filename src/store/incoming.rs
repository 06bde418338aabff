//! Receives a copy of a log of another node, beside the log that is in the directory: see [`beside`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::beside::{self, Beside};
use super::disk::{Directory, Disk, DiskFile};
use super::error::OpenError;
use super::format::{SEGMENT_BYTES_MAX, segment_name};
use super::intact;
use super::mark::{Mark, MarkFile};

/// A copy that is being received. Until it is [finished](Self::finish), the log in the directory stays as it is.
pub struct Incoming {
    disk: Arc<dyn Disk>,
    mark: Mark,
    /// How long each segment is, and how much of it is there.
    files: BTreeMap<u32, Received>,
    /// The segment that was written last.
    open: Option<(u32, Arc<dyn DiskFile>)>,
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

struct Received {
    bytes: u64,
    received: u64,
}

impl Incoming {
    /// Receives a log with these files, each with its length in bytes. Removes what is there of another copy that was not finished.
    ///
    /// # Errors
    /// [`OpenError::Locked`]: the directory is in use. [`io::ErrorKind::InvalidInput`]: these are not the files of a log. Otherwise the
    /// operating system returned an error.
    pub fn begin(directory: &Path, mark: &Mark, files: &[(u32, u64)]) -> Result<Self, OpenError> {
        Self::begin_on(Arc::new(Directory::open(directory)?), mark, files)
    }

    /// The same on a disk of the caller.
    pub fn begin_on(disk: Arc<dyn Disk>, mark: &Mark, files: &[(u32, u64)]) -> Result<Self, OpenError> {
        let is_file = |(number, bytes): &(u32, u64)| *number < u32::MAX && (1..=FILE_BYTES_MAX).contains(bytes);
        if files.len() > FILES_MAX || !files.is_sorted_by(|one, next| one.0 < next.0) || !files.iter().all(is_file) {
            return Err(invalid("the files of the copy are not those of a log").into());
        }
        beside::settle(&*disk)?;
        let files = files.iter().map(|(number, bytes)| (*number, Received { bytes: *bytes, received: 0 }));
        Ok(Self { disk, mark: mark.clone(), files: files.collect(), open: None, has_failed: false })
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
        let free = free.saturating_add(beside::log_bytes(&*self.disk)?);
        Ok(if free < needed.saturating_add(MARGIN_BYTES) { SpaceFor::None { needed, free } } else { SpaceFor::One })
    }

    /// Removes the log in the directory before the copy is there, for its space: if the copy fails then, there is none. Must be called before the
    /// first [`write`](Self::write).
    ///
    /// # Errors
    /// The operating system returned an error. The next start finishes what has begun.
    pub fn remove_former(&self) -> io::Result<()> {
        beside::replace(&*self.disk)
    }

    /// Writes the next bytes of a segment: those from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`]: they are not the next ones, or more than it has. Otherwise the operating system returned an error;
    /// unless that was of a sync, it can be tried again.
    pub fn write(&mut self, segment: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Received { bytes: length, received } =
            self.files.get_mut(&segment).ok_or_else(|| invalid("the copy has no such segment"))?;
        let end = offset.saturating_add(bytes.len() as u64);
        if offset != *received || end > *length {
            return Err(invalid("the bytes are not the next ones of the segment"));
        }
        let file = match &self.open {
            Some((number, file)) if *number == segment => Arc::clone(file),
            _ => {
                let (disk, name) = (Beside(Arc::clone(&self.disk)), segment_name(segment));
                let file = if offset == 0 { disk.create(&name)? } else { disk.open(&name)? };
                self.open.insert((segment, file)).1.clone()
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
    pub fn finish(self) -> Result<(), OpenError> {
        if self.has_failed || self.files.values().any(|file| file.received < file.bytes) {
            return Err(invalid("the copy is not complete").into());
        }
        let copy = Beside(Arc::clone(&self.disk));
        MarkFile::create(&copy, &self.mark)?;
        intact::read(&copy, &|_, _| ())?;
        Ok(beside::replace(&*self.disk)?)
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

/// What names of files and the mark need, and what others write meanwhile.
const MARGIN_BYTES: u64 = if cfg!(test) { 8 << 10 } else { 16 << 20 };

/// More than a log of 64 TiB has.
const FILES_MAX: usize = 1 << 20;

/// A segment with the largest entry behind its last place.
const FILE_BYTES_MAX: u64 = SEGMENT_BYTES_MAX + (1 << 31);
