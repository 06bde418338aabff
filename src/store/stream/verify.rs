//! Reads all files of a stream, without changing any.

use std::io;

use super::super::disk::Disk;
use super::super::report::Damage;
use super::name::read_name;
use super::recovery::{Indexes, read};

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

/// Reads the segments of a stream completely.
pub(in crate::store) fn verify(disk: &dyn Disk, number: u32) -> io::Result<StreamReport> {
    let names = disk.list()?;
    let (scan, _) = read(disk, number, &names, Indexes::Ignored)?;
    let first = scan.segments.front().map_or(scan.next, |segment| segment.header.first_sequence);
    Ok(StreamReport {
        number,
        name: read_name(disk, number)?,
        segments: scan.opened.segments,
        oldest: scan.mark.max(first).min(scan.next),
        next: scan.next,
        bytes: scan.segments.iter().map(|segment| segment.length).sum(),
        cut_bytes: scan.opened.cut_bytes,
        damages: scan.opened.damages,
    })
}
