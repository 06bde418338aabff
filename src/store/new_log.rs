use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::Directory;
use super::entry::{Entry, Refused, Room};
use super::error::OpenError;
use super::keys::Key;
use super::level::Level;
use super::options::{Hooks, Options};
use super::pending::Urgency;
use super::{Committer, Progress, Store};

/// A log that is written by the caller's thread before anybody opens it.
pub struct NewLog {
    committer: Committer,
    store: Store,
    /// That of the last entry.
    ticket: u64,
}

impl NewLog {
    /// Begins a log in a directory that is empty or does not exist. What is committed is synced, whatever the options say.
    ///
    /// # Errors
    /// The directory is in use, is not empty, or has no room.
    pub fn create(directory: &Path, options: &Options) -> Result<Self, OpenError> {
        let (disk, options) =
            (Directory::open_empty(directory)?, Options { level: Level::PowerLoss, ..options.clone() });
        let (store, committer, _) = Store::open_on(Arc::new(disk), &options, Hooks::default(), &mut |_| ())?;
        if store.is_full() {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        Ok(Self { committer, store, ticket: 0 })
    }

    /// Appends an entry, which stays in memory until the next [`commit`](Self::commit).
    ///
    /// # Errors
    /// The disk is full, or the entry is too large.
    pub fn append(&mut self, body: &[u8], puts: &[Key], parts: &[&[u8]]) -> io::Result<()> {
        self.ticket += 1;
        let (level, room) = (Level::PowerLoss, Room::Ordinary);
        let entry = Entry { body, puts, parts, deletes: &[], ends: None, level, room };
        let appended = self.store.append_unannounced(0, self.ticket, Urgency::Awaited, &entry);
        appended.map_err(|refused| match refused {
            Refused::Full => io::ErrorKind::StorageFull.into(),
            Refused::Failed | Refused::Closed | Refused::TooLarge | Refused::NoStream => io::Error::other(refused),
        })
    }

    /// Writes and syncs what was appended.
    ///
    /// # Errors
    /// A write or a sync failed, or there is no room: the log is of no use any more.
    pub fn commit(&mut self) -> io::Result<()> {
        match self.committer.commit() {
            Progress::Worked | Progress::Idle if self.store.is_full() => Err(io::ErrorKind::StorageFull.into()),
            Progress::Worked | Progress::Idle => Ok(()),
            Progress::Blocked => Err(io::ErrorKind::StorageFull.into()),
            Progress::Failed => Err(io::Error::other(self.store.poisoned().unwrap_or_default())),
        }
    }
}
