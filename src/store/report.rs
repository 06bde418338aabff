use std::fmt;

use super::entry::Key;

/// One entry of the log, as recovery reads it: in the order of the log, and also those that later ones undo.
///
/// What stood in the oldest segments and was live has been copied behind younger entries, without what it deleted or ended.
/// So a key has its right body when all is read, but one key may come before another that was put earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered<'a> {
    /// What the puts stand for.
    pub body: &'a [u8],
    /// The keys that have this body from now on.
    pub puts: &'a [Key],
    /// The keys that have no body any more.
    pub deletes: &'a [Key],
    /// The group of which no key has a body any more.
    pub ends: Option<u64>,
}

/// What a store holds, and what became of what is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files of the log.
    pub segments: usize,
    /// Good batches.
    pub batches: u64,
    /// Their entries.
    pub entries: u64,
    /// Bytes of the log.
    pub bytes: u64,
    /// Of them, those that live entries have.
    pub live_bytes: u64,
    /// Keys that have a body.
    pub keys: u64,
    /// What a crash left at the end of the log of writes that were never acknowledged.
    pub cut_bytes: u64,
    /// What should be there and can't be read.
    pub damages: Vec<Damage>,
}

/// A region of the log that can't be read, though what was in it had been acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub name: String,
    /// Where the region begins.
    pub from: u64,
    /// Where the log goes on.
    pub to: u64,
    /// How many entries are missing; `None` if nobody knows.
    pub entries: Option<u64>,
    /// The file that a copy of the whole segment was put aside in, if that was done.
    pub quarantined_as: Option<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, from, to, .. } = self;
        write!(f, "bytes {from} to {to} of {name}")?;
        match self.entries {
            Some(entries) => write!(f, " ({entries} entries)"),
            None => Ok(()),
        }
    }
}
