use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::BrokerHandles;
use crate::server::{Status, log_line};
use crate::store::{OpenError, Store};

/// Makes backups of the running broker's store in its data directory, one at a time.
#[derive(Debug)]
pub(super) struct Backups {
    store: Option<Arc<Store>>,
    directory: PathBuf,
    status: Arc<Status>,
    progress: Mutex<Progress>,
}

/// State of the latest backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// No backup was requested.
    None,
    Running,
    /// The backup is in this directory.
    Done(PathBuf),
    Failed(String),
}

/// Why no backup was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotStarted {
    #[error("there is no store: server.durability is none")]
    NoStore,
    #[error("this node is a standby: ask the owner of the cluster")]
    Standby,
    #[error("a backup is already running")]
    Running,
    #[error("the operating system refused a new thread")]
    NoThread,
}

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
enum BackupError {
    #[error("{} contains {BACKUPS_MAX} backups, the maximum: move them elsewhere", directory.display())]
    TooMany { directory: PathBuf },
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Backups {
    pub(super) fn new(handles: &BrokerHandles) -> Self {
        Self {
            store: handles.store.clone(),
            directory: handles.data.join("backups"),
            status: Arc::clone(&handles.status),
            progress: Mutex::new(Progress::None),
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.lock().clone()
    }

    /// Starts a backup on its own thread. A shutdown of the broker doesn't wait for it.
    pub(super) fn start(self: &Arc<Self>) -> Result<(), NotStarted> {
        let no_store = || if self.status.is_standby() { NotStarted::Standby } else { NotStarted::NoStore };
        let store = self.store.clone().ok_or_else(no_store)?;
        let mut progress = self.lock();
        if *progress == Progress::Running {
            return Err(NotStarted::Running);
        }
        let backups = Arc::clone(self);
        let work = move || {
            let made = backups.make(&store);
            *backups.lock() = match made {
                Ok(directory) => {
                    let place = directory.display().to_string();
                    log_line!(BackupCompleted { directory = &*place }, "backup completed: {place}");
                    Progress::Done(directory)
                }
                Err(cause) => {
                    let reason = cause.to_string();
                    log_line!(BackupFailed { reason = &*reason }, "backup failed: {reason}");
                    Progress::Failed(reason)
                }
            };
        };
        thread::Builder::new().name("backup".to_owned()).spawn(work).map_err(|_| NotStarted::NoThread)?;
        *progress = Progress::Running;
        Ok(())
    }

    /// Writes a backup and renames it to its final name when it is complete.
    fn make(&self, store: &Store) -> Result<PathBuf, BackupError> {
        DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(&self.directory)?;
        let directory = self.directory.canonicalize()?;
        if remove_incomplete(&directory)? >= BACKUPS_MAX {
            return Err(BackupError::TooMany { directory });
        }
        let name = self.status.wall_now().0.to_string();
        let (incomplete, finished) = (directory.join(format!("{name}{INCOMPLETE_SUFFIX}")), directory.join(name));
        store.backup(&incomplete)?;
        fs::rename(&incomplete, &finished)?;
        File::open(&directory)?.sync_all()?;
        Ok(finished)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes incomplete backups, which a failure or the end of the process left, and counts the complete ones.
fn remove_incomplete(directory: &Path) -> io::Result<usize> {
    let mut whole = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_name().to_string_lossy().ends_with(INCOMPLETE_SUFFIX) {
            true => fs::remove_dir_all(entry.path())?,
            false => whole += 1,
        }
    }
    Ok(whole)
}

/// Bounds the disk space that repeated requests can use.
const BACKUPS_MAX: usize = 8;
/// The mode of the directory of backups: what they contain is for the owner only, as in the store.
const OWNER_ONLY: u32 = 0o700;
/// Suffix of the directory of an incomplete backup.
const INCOMPLETE_SUFFIX: &str = ".new";

/// The request header with the process id that the backup must come from.
pub const PROCESS_HEADER: &str = "oncemq-process";
