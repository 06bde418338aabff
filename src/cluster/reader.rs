use super::entry::{Commit, Entry, EntryError, Epoch};
use super::request::Found;

/// Where a copy of the log stands in the stream, and which entries belong to the log.
///
/// A copy keeps this with its log: what it has below `next` is what every copy has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    /// The position of the last entry that was read; 0: none.
    pub position: u64,
    /// The position of the last entry that belongs to the log, or of a later epoch entry; 0: none.
    pub last: u64,
    /// The highest epoch of the epoch entries up to there; 0: none.
    pub epoch: u64,
    /// The number that the next commit has.
    pub next: u64,
}

/// What an entry means for a copy of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The next commit.
    Commit(Commit),
    /// A node became the owner.
    Epoch(Epoch),
    /// It is not part of the log, and was not acknowledged to anybody: a former owner appended it behind the entry of its successor, or it was
    /// shipped to follow another one that was refused.
    LeftOut,
}

/// Why a copy cannot go on. It must not pass over any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Entries are missing: trimmed, or lost. Trimming removes the oldest entries alone, so whoever has read those below a position finds all above it.
    Gap {
        /// The position of the first missing entry.
        expected: u64,
        /// The position of the entry that was found.
        found: u64,
    },
    /// The entry cannot be read.
    Unreadable {
        /// Where it is.
        position: u64,
        /// Why.
        error: EntryError,
    },
    /// The commit follows the last one, and has not the next number.
    Number {
        /// Where it is.
        position: u64,
        /// Its number.
        number: u64,
    },
    /// The epochs do not follow each other: an epoch entry is missing, or out of place.
    Epochs {
        /// Where this was noticed.
        position: u64,
        /// The epoch of the entry that is there.
        epoch: u64,
    },
}

impl Reader {
    /// For a copy that has nothing yet.
    pub const fn new() -> Self {
        Self { position: 0, last: 0, epoch: 0, next: 1 }
    }

    /// Takes the next entry. If it fails, nothing has changed.
    ///
    /// # Errors
    /// The copy cannot go on with this entry: another replica of the stream, or another node, may have what is missing.
    pub fn step(&mut self, cell: u16, found: &Found) -> Result<Step, Trouble> {
        let position = found.position;
        if position != self.position + 1 {
            return Err(Trouble::Gap { expected: self.position + 1, found: position });
        }
        match Entry::decode(cell, &found.bytes).map_err(|error| Trouble::Unreadable { position, error })? {
            // Appended behind the latest that its author knew, so it is higher than all before it.
            Entry::Epoch(entry) if entry.epoch <= self.epoch => Err(Trouble::Epochs { position, epoch: entry.epoch }),
            Entry::Epoch(entry) => {
                *self = Self { position, last: position, epoch: entry.epoch, next: self.next };
                Ok(Step::Epoch(entry))
            }
            Entry::Commit(commit) => self.step_commit(position, commit),
        }
    }

    fn step_commit(&mut self, position: u64, commit: Commit) -> Result<Step, Trouble> {
        if commit.epoch > self.epoch {
            return Err(Trouble::Epochs { position, epoch: commit.epoch });
        }
        if commit.epoch < self.epoch || commit.previous != self.last {
            self.position = position;
            return Ok(Step::LeftOut);
        }
        if commit.number != self.next {
            return Err(Trouble::Number { position, number: commit.number });
        }
        *self = Self { position, last: position, epoch: self.epoch, next: self.next + 1 };
        Ok(Step::Commit(commit))
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}
