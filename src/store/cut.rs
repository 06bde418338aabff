//! Cuts a replicated log to its mark.
//!
//! What is above the mark may be part of no other copy: it was not acknowledged to anybody because of it, and another owner may have written
//! something else there. What is below the mark is not changed, and a crash at any moment leaves a log that ends at or above the mark and has no
//! unreadable region.

use std::io;

use super::disk::Disk;
use super::error::OpenError;
use super::format::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, segment_number};
use super::reader::{SegmentReader, read_header};
use super::recovery::{copy_file, torn_bytes};
use super::report::Damage;
use super::shortage::Shortage;
use super::spares::SUFFIX;
use super::writer::NEW;

/// Removes all entries from a sequence on, which must be behind a batch or in front of the first.
///
/// # Errors
/// [`OpenError::Damaged`]: an entry below is missing or unreadable in the segment with the end. Nothing is changed then. Otherwise the log
/// is partly cut, and it can be tried again.
pub(super) fn cut(disk: &dyn Disk, sequence: u64) -> Result<(), OpenError> {
    let segments = headers(disk)?;
    let last = segments.iter().rposition(|header| header.first_sequence < sequence).unwrap_or(0);
    let Some((kept, above)) = segments.get(last..).and_then(<[_]>::split_first) else { return Ok(()) };
    // Nothing is removed before it is known that what is below is there.
    let mut reader = SegmentReader::new(*kept, disk.open(&segment_name(kept.number))?)?;
    let end = end_of(&mut reader, sequence)?;
    // From the last one on, so that a crash leaves no gap. Without a younger segment, what a failed write left at the end of the one before
    // becomes a part of the log. It is above the end, too.
    for header in above.iter().rev() {
        disk.remove(&segment_name(header.number))?;
        disk.sync_names()?;
    }
    // If it was overwritten in place, a crash could leave later batches without earlier ones, as if these were damaged.
    if torn_bytes(&mut reader, end) > 0 {
        shorten(disk, &segment_name(kept.number), end)?;
    }
    Ok(())
}

/// The headers of all segments, the oldest first.
fn headers(disk: &dyn Disk) -> Result<Vec<SegmentHeader>, OpenError> {
    let names = disk.list()?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let header = |number| {
        let name = segment_name(number);
        let file = disk.open(&name)?;
        match SegmentHeader::decode(&read_header(&*file)) {
            Ok(header) if header.number == number => Ok(header),
            Ok(_) | Err(HeaderError::Damaged) => Err(damaged(name, (0, file.size()?), None)),
            Err(HeaderError::Newer(version)) => Err(OpenError::Newer { name, version }),
        }
    };
    numbers.into_iter().map(header).collect()
}

/// The offset behind the last batch below a sequence. All between must be there.
fn end_of(reader: &mut SegmentReader, sequence: u64) -> Result<u64, OpenError> {
    let (mut offset, mut next) = (SEGMENT_HEADER_BYTES as u64, reader.header.first_sequence);
    while next < sequence {
        let found = reader.batch_at(offset).filter(|found| found.header.sequence == next);
        let Some(found) = found.filter(|found| found.header.end() <= sequence) else { break };
        (offset, next) = (found.end, found.header.end());
    }
    if next == sequence {
        return Ok(offset);
    }
    let entries = sequence.checked_sub(next);
    Err(damaged(segment_name(reader.header.number), (offset, reader.size()), entries))
}

fn damaged(name: String, (from, to): (u64, u64), entries: Option<u64>) -> OpenError {
    OpenError::Damaged { count: 1, first: Damage { name, from, to, entries, quarantined_as: None } }
}

/// Replaces a file by its first bytes. If the disk is full, gives up the spare files, which the store makes again.
fn shorten(disk: &dyn Disk, name: &str, bytes: u64) -> io::Result<()> {
    match copy_file(disk, name, disk, NEW, bytes) {
        Err(error) if Shortage::of(&error) == Some(Shortage::Space) => {
            let names = disk.list()?;
            names.iter().filter(|name| name.ends_with(SUFFIX)).try_for_each(|name| disk.remove(name))?;
            copy_file(disk, name, disk, NEW, bytes)
        }
        copied => copied,
    }?;
    disk.rename(NEW, name)?;
    disk.sync_names()
}
