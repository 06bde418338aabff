//! Reads a copy of a replicated log, which must have all that its mark says.

use super::cut::cut;
use super::disk::Disk;
use super::error::OpenError;
use super::mark::MarkFile;
use super::recovery::{self, Scan};

/// Cuts a log to its mark, and reads all of it. Without a mark, it is the log of a store that was not replicated.
///
/// # Errors
/// Entries below the mark are missing or unreadable, or the operating system returned an error.
pub(super) fn read(disk: &dyn Disk, on_read: &dyn Fn(usize, usize)) -> Result<(Option<MarkFile>, Scan), OpenError> {
    let mark = MarkFile::open(disk)?;
    if let Some(mark) = &mark {
        cut(disk, mark.mark().sequence)?;
    }
    let scan = recovery::scan(disk, on_read, &mut |_| ())?;
    if let Some(first) = scan.report.damages.first() {
        return Err(OpenError::Damaged { count: scan.report.damages.len(), first: first.clone() });
    }
    if let Some(mark) = mark.as_ref().map(MarkFile::mark).filter(|mark| mark.sequence != scan.sequence) {
        return Err(OpenError::OffMark { log: scan.sequence, mark: mark.sequence });
    }
    Ok((mark, scan))
}
