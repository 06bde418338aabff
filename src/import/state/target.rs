//! The new data directory: it gets its store when everything is stable, or nothing is left of it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use super::error::ImportError;
use crate::broker::{Record, RecordKey};
use crate::store::{self, Entry, Hooks, Key, Level, Options, Room, Store, Urgency, give_to_owner_of};

/// A data directory that is being written. Dropping it removes what was written, unless it was [finished](Self::finish).
pub(super) struct Target {
    data: PathBuf,
    /// Where the store is until it is complete.
    incomplete: PathBuf,
    /// Whether the data directory did not exist before.
    is_new: bool,
    store: Option<Store>,
    progress: Arc<Progress>,
    ticket: u64,
    /// The last ticket of the previous batch and the bytes of this one.
    batch: (u64, usize),
}

/// How far the store has got.
#[derive(Default)]
struct Progress {
    state: Mutex<(u64, Option<String>)>,
    changed: Condvar,
}

impl Target {
    /// Creates the directory, or uses an empty one.
    pub(super) fn create(data: &Path) -> Result<Self, ImportError> {
        let failed = |source| ImportError::Write { directory: data.to_owned(), source };
        let is_new = match fs::read_dir(data) {
            Ok(mut names) => match names.next() {
                None => false,
                Some(_) => return Err(ImportError::NotEmpty(data.to_owned())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(ImportError::NotEmpty(data.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(data).map_err(failed)?;
        let mut incomplete = data.join(STORE).into_os_string();
        incomplete.push(INCOMPLETE_SUFFIX);
        let (progress, data, incomplete) = (Arc::new(Progress::default()), data.to_owned(), PathBuf::from(incomplete));
        let mut target = Self { data, incomplete, is_new, store: None, progress, ticket: 0, batch: (0, 0) };
        target.store = Some(target.open()?);
        Ok(target)
    }

    fn open(&self) -> Result<Store, ImportError> {
        let directory = self.incomplete.clone();
        let failed = |source| ImportError::Write { directory: directory.clone(), source };
        fs::set_permissions(&self.data, fs::Permissions::from_mode(DIRECTORY_MODE)).map_err(failed)?;
        DirBuilder::new().mode(DIRECTORY_MODE).create(&directory).map_err(failed)?;
        let (stable, failure) = (Arc::clone(&self.progress), Arc::clone(&self.progress));
        let hooks = Hooks {
            on_stable: Box::new(move |_, ticket| stable.set(|state| state.0 = ticket)),
            on_failure: Arc::new(move |cause| failure.set(|state| state.1 = Some(cause.to_owned()))),
            ..Hooks::default()
        };
        let segment_bytes = store::fitting_segment_bytes(&self.data);
        let options = Options { level: Level::PowerLoss, segment_bytes, ..Options::default() };
        let opened = Store::open(&directory, &options, hooks, &mut |_| ());
        opened.map(|(store, _)| store).map_err(|source| ImportError::Create { directory, source })
    }

    /// Appends a record. Waits while much is not stable yet.
    pub(super) fn append(&mut self, record: &Record) -> Result<(), ImportError> {
        let Some(store) = &self.store else { return Ok(()) };
        let bytes = record.to_bytes();
        self.ticket += 1;
        let entry = Entry {
            body: &bytes.body,
            puts: &keys(&bytes.puts),
            parts: &bytes.parts.list(),
            deletes: &keys(&bytes.deletes),
            ends: bytes.ends,
            level: Level::PowerLoss,
            room: Room::Ordinary,
        };
        store
            .append_unannounced(0, self.ticket, Urgency::Awaited, &entry)
            .map_err(|source| ImportError::Refused { directory: self.data.clone(), source })?;
        self.batch.1 += bytes.body.len() + ENTRY_BYTES * (1 + bytes.puts.len());
        if self.batch.1 >= BATCH_BYTES {
            store.announce(Urgency::Awaited);
            // The next batch is made while this one is written.
            self.progress.wait(self.batch.0, store, &self.data)?;
            self.batch = (self.ticket, 0);
        }
        Ok(())
    }

    /// Makes everything stable and gives the store its name.
    pub(super) fn finish(mut self) -> Result<(), ImportError> {
        let Some(store) = self.store.take() else { return Ok(()) };
        store.announce(Urgency::Awaited);
        self.progress.wait(self.ticket, &store, &self.data)?;
        store.close();
        if let Some(cause) = store.poisoned() {
            self.store = Some(store);
            return Err(ImportError::Failed { directory: self.data.clone(), cause });
        }
        drop(store);
        let renamed = self.rename();
        if renamed.is_ok() {
            self.is_new = false;
            self.incomplete = PathBuf::new();
        }
        renamed.map_err(|source| ImportError::Write { directory: self.data.clone(), source })
    }

    fn rename(&self) -> io::Result<()> {
        give_to_owner_of(&self.data, &self.incomplete)?;
        fs::rename(&self.incomplete, self.data.join(STORE))?;
        File::open(&self.data)?.sync_all()?;
        match self.data.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            store.close();
        }
        if self.incomplete.as_os_str().is_empty() {
            return;
        }
        // The error that led here is reported. The directory was empty, so a store in it is this one.
        let _ = fs::remove_dir_all(&self.incomplete);
        let _ = fs::remove_dir_all(self.data.join(STORE));
        if self.is_new {
            let _ = fs::remove_dir(&self.data);
        }
    }
}

impl Progress {
    fn set(&self, change: impl FnOnce(&mut (u64, Option<String>))) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until this ticket is stable.
    fn wait(&self, ticket: u64, store: &Store, directory: &Path) -> Result<(), ImportError> {
        loop {
            // Not under the lock: the thread of the store takes it, and may hold locks of its own.
            if let Some(cause) =
                store.poisoned().or_else(|| store.has_ended().then(|| "its thread has ended".to_owned()))
            {
                return Err(ImportError::Failed { directory: directory.to_owned(), cause });
            }
            let state = self.lock();
            if let Some(cause) = state.1.clone() {
                return Err(ImportError::Failed { directory: directory.to_owned(), cause });
            }
            if state.0 >= ticket {
                return Ok(());
            }
            drop(self.changed.wait_timeout(state, CHECK_INTERVAL));
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Option<String>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys(keys: &[RecordKey]) -> SmallVec<[Key; 8]> {
    keys.iter().map(|key| Key { group: key.group, kind: key.kind, id: key.id }).collect()
}

/// The directory of the store in a data directory, for which the server looks.
const STORE: &str = "log";
const DIRECTORY_MODE: u32 = 0o700;
/// As that of incomplete copies of `oncemq store`.
const INCOMPLETE_SUFFIX: &str = ".new";
/// What is written and synced at once.
const BATCH_BYTES: usize = 8 << 20;
/// About what an entry and each of its keys take beside the body.
const ENTRY_BYTES: usize = 32;
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
