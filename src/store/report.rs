use std::fmt;

use super::format::segment_number;
use super::keys::Key;

/// An entry of the log, in the order of the log, including entries that later ones delete.
///
/// Live entries of old segments may have been copied behind newer entries, without their deletes and ends. So after the
/// whole log, each key has its right body, but a key may appear before another one that was put earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered<'a> {
    /// The body of all puts.
    pub body: &'a [u8],
    /// The keys that get this body.
    pub puts: &'a [Key],
    /// The part of each put, in the order of the puts; empty if it has none. No put of format version 1 has one.
    pub parts: &'a [&'a [u8]],
    /// The keys that are deleted (tombstones).
    pub deletes: &'a [Key],
    /// The group whose keys are all deleted.
    pub ends: Option<u64>,
}

/// The result of checking a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of segment files.
    pub segments: usize,
    /// Number of valid batches.
    pub batches: u64,
    /// Number of their entries.
    pub entries: u64,
    /// Size of the log in bytes.
    pub bytes: u64,
    /// Bytes of live entries.
    pub live_bytes: u64,
    /// Number of live keys.
    pub keys: u64,
    /// The sequence that the next entry would have.
    pub next: u64,
    /// Bytes of unacknowledged writes that a crash left at the end of the log.
    pub cut_bytes: u64,
    /// The streams, if their files were read.
    pub streams: Vec<StreamReport>,
    /// Unreadable regions.
    pub damages: Vec<Damage>,
}

/// The result of checking the files of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// Its number.
    pub number: u32,
    /// Its name, if the directory has it.
    pub name: Option<String>,
    /// Number of segment files.
    pub segments: usize,
    /// The sequence of the oldest message.
    pub oldest: u64,
    /// The sequence after the last message.
    pub next: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Bytes of unsynced writes that a crash left behind the end.
    pub cut_bytes: u64,
    /// Unreadable regions, and files that are missing or unreadable.
    pub damages: Vec<Damage>,
}

/// An unreadable region of the log whose entries had been acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Name of the segment file.
    pub name: String,
    /// Offset of the region.
    pub from: u64,
    /// Offset at which the log continues.
    pub to: u64,
    /// The number of missing entries; `None` if it is unknown.
    pub entries: Option<u64>,
    /// The file with a copy of the segment, if there is one.
    pub quarantined_as: Option<String>,
}

impl Damage {
    /// The number of the segment, if it is in one of the log.
    pub fn segment(&self) -> Option<u32> {
        segment_number(&self.name)
    }
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
