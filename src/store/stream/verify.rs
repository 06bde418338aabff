//! Reads all files of a stream, without changing any.

use std::io;

use super::super::disk::Disk;
use super::super::report::StreamReport;
use super::name::read_name;
use super::recovery::{Indexes, read};

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
