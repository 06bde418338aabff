//! Receives a copy of a log of another node.
//!
//! While the copy is incomplete, the directory has the file `incoming`. Whoever finds it removes all of it ([`remove_incomplete`]), and the
//! recovery of a store refuses the directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Directory, Disk, DiskFile};
use super::error::OpenError;
use super::format::{SEGMENT_BYTES_MAX, segment_name, segment_number};
use super::mark::{self, Mark, MarkFile};
use super::spares::SUFFIX;
use super::writer::NEW;

/// A copy that is being received.
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

struct Received {
    bytes: u64,
    received: u64,
}

impl Incoming {
    /// Removes the log that is in the directory, and receives another one with these files, each with its length in bytes. Whoever wants to keep
    /// the old one calls [`set_aside`] before.
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
        disk.create(MARKER)?.sync()?;
        disk.sync_names()?;
        remove_log(&*disk)?;
        let files = files.iter().map(|(number, bytes)| (*number, Received { bytes: *bytes, received: 0 }));
        Ok(Self { disk, mark: mark.clone(), files: files.collect(), open: None, has_failed: false })
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
                let name = segment_name(segment);
                let file = if offset == 0 { self.disk.create(&name)? } else { self.disk.open(&name)? };
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

    /// Makes the copy stable. Opening it verifies its contents.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`]: it is not complete. Otherwise the operating system returned an error.
    pub fn finish(self) -> io::Result<()> {
        if self.has_failed || self.files.values().any(|file| file.received < file.bytes) {
            return Err(invalid("the copy is not complete"));
        }
        self.disk.sync_names()?;
        MarkFile::create(&*self.disk, &self.mark)?;
        self.disk.remove(MARKER)?;
        self.disk.sync_names()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.disk.release();
    }
}

/// Removes what a crash left of a copy, if there is something.
pub(super) fn remove_incomplete(disk: &dyn Disk) -> io::Result<()> {
    if !is_incomplete(disk)? {
        return Ok(());
    }
    remove_log(disk)?;
    disk.remove(MARKER)?;
    disk.sync_names()
}

/// Whether a directory has an incomplete copy.
pub(super) fn is_incomplete(disk: &dyn Disk) -> io::Result<bool> {
    match disk.open(MARKER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        opened => opened.map(|_| true),
    }
}

fn remove_log(disk: &dyn Disk) -> io::Result<()> {
    let is_of_log = |name: &str| {
        segment_number(name).is_some() || name.ends_with(SUFFIX) || [NEW, mark::NAME, mark::NEW].contains(&name)
    };
    disk.list()?.iter().filter(|name| is_of_log(name)).try_for_each(|name| disk.remove(name))?;
    disk.sync_names()
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

/// The file that says that the copy is not complete.
const MARKER: &str = "incoming";

/// More than a log of 64 TiB has.
const FILES_MAX: usize = 1 << 20;

/// A segment with the largest entry behind its last place.
const FILE_BYTES_MAX: u64 = SEGMENT_BYTES_MAX + (1 << 31);
