use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt as _, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::error::OpenError;
use super::shortage::Shortage;

/// The directory of a store. Tests implement it with a disk that crashes.
pub trait Disk: Send + Sync {
    /// Creates an empty file, replacing an existing one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Renames a file, replacing an existing one.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Syncs the directory, so that changes of names are stable.
    fn sync_names(&self) -> io::Result<()>;
    /// Lets another store use the directory. This one must change nothing any more.
    fn release(&self) {}
    /// A random number that can't be predicted.
    fn salt(&self) -> io::Result<u64>;
    /// Bytes that new files can have; `None`: not known.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// One file of a [`Disk`].
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads into `buffer` up to the end of the file, and returns the number of bytes read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Syncs written data.
    fn sync(&self) -> io::Result<()>;
    /// Allocates disk space for this many bytes from the start of the file, whether or not they are written.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// The length in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// A directory of the file system, locked against use by another store. What it creates is for the owner only, whatever the umask.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    entries: File,
    /// The lock ends when this file is closed, or with the process.
    lock: Mutex<Option<File>>,
}

impl Directory {
    /// Opens a directory, creating it if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_within(path, Duration::ZERO)
    }

    /// The same; waits this long for the end of a process that has locked it.
    pub(super) fn open_within(path: &Path, patience: Duration) -> Result<Self, OpenError> {
        make_stable(path)?;
        let path = path.canonicalize()?;
        let entries = File::open(&path)?;
        let mut attempts = patience.as_millis() / LOCK_POLL.as_millis();
        let lock = loop {
            match lock(&path) {
                Err(OpenError::Locked { .. }) if attempts > 0 => {
                    attempts -= 1;
                    thread::sleep(LOCK_POLL);
                }
                locked => break locked?,
            }
        };
        Ok(Self { path, entries, lock: Mutex::new(Some(lock)) })
    }

    /// Opens an existing directory that a store may have open, for reading headers.
    pub(super) fn open_unlocked(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        Ok(Self { entries: File::open(&path)?, path, lock: Mutex::default() })
    }

    /// Opens a directory that must be empty.
    pub(super) fn open_empty(path: &Path) -> Result<Self, OpenError> {
        let directory = Self::open(path)?;
        match directory.list()?.iter().any(|name| name != LOCK) {
            true => Err(OpenError::NotEmpty { directory: path.to_owned() }),
            false => Ok(directory),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Disk for Directory {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(name);
        let parent = path.parent().filter(|parent| *parent != self.path);
        parent.map(|parent| private().recursive(true).create(parent)).transpose()?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(OWNER_FILE).open(&path)?;
        parent.map(File::open).transpose()?.map(|parent| parent.sync_all()).transpose()?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path(name))?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.entries.sync_all()
    }

    fn release(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn salt(&self) -> io::Result<u64> {
        getrandom::u64().map_err(|error| io::Error::other(error.to_string()))
    }

    fn free_bytes(&self) -> Option<u64> {
        let found = rustix::fs::fstatvfs(&self.entries).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl DiskFile for File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => fill(self, bytes),
            result => Ok(result?),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        fill(self, bytes)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// A disk without files, for level `None`.
#[derive(Debug)]
pub(super) struct NoDisk;

impl Disk for NoDisk {
    fn create(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn open(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn salt(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Creates a directory and its missing parents, and syncs their names.
fn make_stable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return private().create(path),
    };
    make_stable(parent)?;
    private().create(path)?;
    File::open(parent)?.sync_all()
}

/// Creates directories that only their owner can enter.
fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(OWNER_DIRECTORY);
    builder
}

/// Allocates space by writing zeros, for file systems without `fallocate`.
fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut offset = file.metadata()?.len();
    while offset < bytes {
        let length = usize::try_from(bytes - offset).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all_at(zeros.get(..length).unwrap_or(&zeros), offset)?;
        offset += length as u64;
    }
    file.sync_data()
}

/// Gives a directory and all that is in it to the owner of another one: if root fills a data directory that a package has made for its service, the service
/// can read what is in it.
///
/// # Errors
/// The operating system returned one.
pub fn give_to_owner_of(owned: &Path, directory: &Path) -> io::Result<()> {
    let (owner, made) = (fs::metadata(owned)?, fs::metadata(directory)?);
    if (owner.uid(), owner.gid()) == (made.uid(), made.gid()) {
        return Ok(());
    }
    give(directory, owner.uid(), owner.gid())
}

fn give(directory: &Path, user: u32, group: u32) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => give(&entry.path(), user, group)?,
            false => chown(entry.path(), Some(user), Some(group))?,
        }
    }
    chown(directory, Some(user), Some(group))
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).mode(OWNER_FILE).open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            file.take(20).read_to_string(&mut process)?;
            return Err(OpenError::Locked { directory: directory.to_owned(), process: process.trim().to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    match writeln!(file, "{}", std::process::id()) {
        // The process id is for messages only.
        Err(error) if Shortage::of(&error).is_some() => {}
        written => written?,
    }
    Ok(file)
}

pub(super) const LOCK: &str = "lock";

/// The prefix of the names of quarantined files.
pub(super) const QUARANTINE: &str = "quarantine/";
/// Between two attempts to lock a directory.
const LOCK_POLL: Duration = Duration::from_millis(2);
/// Queued and retained messages are as secret as their topics.
const OWNER_FILE: u32 = 0o600;
const OWNER_DIRECTORY: u32 = 0o700;
