use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tracing::{error, info};

use super::Watched;
use crate::server::Status;
use crate::store::{OpenError, Store};

/// Copies of the running broker's store, one at a time, in a directory of the broker's own.
#[derive(Debug)]
pub(super) struct Backups {
    store: Option<Arc<Store>>,
    directory: PathBuf,
    status: Arc<Status>,
    progress: Mutex<Progress>,
}

/// How far the last backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nobody has asked for one.
    None,
    Running,
    /// It is in this directory.
    Done(PathBuf),
    Failed(String),
}

/// Why no backup is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotBegun {
    #[error("nothing is stored: server.durability is none")]
    NothingStored,
    #[error("a backup is under way")]
    Running,
    #[error("the system gives no thread")]
    NoThread,
}

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
enum BackupError {
    #[error("{} holds {BACKUPS_MAX} backups: move them away", directory.display())]
    TooMany { directory: PathBuf },
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Backups {
    pub(super) fn new(watched: &Watched) -> Self {
        Self {
            store: watched.store.clone(),
            directory: watched.data.join("backups"),
            status: Arc::clone(&watched.status),
            progress: Mutex::new(Progress::None),
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.lock().clone()
    }

    /// Begins a backup on a thread of its own, which a stop of the broker doesn't wait for.
    pub(super) fn begin(self: &Arc<Self>) -> Result<(), NotBegun> {
        let store = self.store.clone().ok_or(NotBegun::NothingStored)?;
        let mut progress = self.lock();
        if *progress == Progress::Running {
            return Err(NotBegun::Running);
        }
        let backups = Arc::clone(self);
        let work = move || {
            let made = backups.make(&store);
            *backups.lock() = match made {
                Ok(directory) => {
                    info!("a backup is in {}", directory.display());
                    Progress::Done(directory)
                }
                Err(cause) => {
                    error!("no backup was made: {cause}");
                    Progress::Failed(cause.to_string())
                }
            };
        };
        thread::Builder::new().name("backup".to_owned()).spawn(work).map_err(|_| NotBegun::NoThread)?;
        *progress = Progress::Running;
        Ok(())
    }

    /// A backup has its name only when it is whole.
    fn make(&self, store: &Store) -> Result<PathBuf, BackupError> {
        fs::create_dir_all(&self.directory)?;
        let directory = self.directory.canonicalize()?;
        if remove_unfinished(&directory)? >= BACKUPS_MAX {
            return Err(BackupError::TooMany { directory });
        }
        let name = self.status.now().0.to_string();
        let (unfinished, finished) = (directory.join(format!("{name}{UNFINISHED}")), directory.join(name));
        store.backup(&unfinished)?;
        fs::rename(&unfinished, &finished)?;
        File::open(&directory)?.sync_all()?;
        Ok(finished)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what a failure or the end of the process left half made, and says how many are whole.
fn remove_unfinished(directory: &Path) -> io::Result<usize> {
    let mut whole = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
            true => fs::remove_dir_all(entry.path())?,
            false => whole += 1,
        }
    }
    Ok(whole)
}

/// Who may ask may ask in a loop: without a bound they would fill the disk.
const BACKUPS_MAX: usize = 8;
/// How the name of a directory ends that a backup is being written to.
const UNFINISHED: &str = ".new";

/// The header by which who asks for a backup says which process it is to be of.
pub const PROCESS_HEADER: &str = "oncemq-process";
