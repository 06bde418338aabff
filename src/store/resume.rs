//! Continues a log that was read.

use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::format::{SEGMENT_BYTES_MAX, segment_name};
use super::level::Level;
use super::options::Options;
use super::recovery::Scan;
use super::spares::{self, Spares};
use super::writer::{NEW, Writer};

/// Syncs what was read, opens the spare files, and continues in the last segment or begins one.
pub(super) fn resume(disk: &Arc<dyn Disk>, options: &Options, scan: &mut Scan) -> io::Result<Writer> {
    if options.level == Level::PowerLoss {
        // The data read may not be synced, if the last process ended before its sync.
        scan.segments.iter().try_for_each(|header| disk.open(&segment_name(header.number))?.sync())?;
        disk.sync_names()?;
    }
    let segment_bytes = segment_bytes(options);
    let mut spares = Spares::new(&**disk, segment_bytes, spare_files(&**disk)?);
    // Without a reserve the disk counts as full.
    spares.fill_reserve(&**disk);
    let place = (scan.take_end(), scan.next_number);
    let resumes = place.0.is_some();
    let writer = Writer::new(Arc::clone(disk), (options.level, segment_bytes), spares, place, scan.sequence)?;
    let (tail, tail_end) = writer.end();
    scan.index.add_bytes(tail, if resumes { 0 } else { tail_end });
    Ok(writer)
}

/// The size of a segment.
pub(super) fn segment_bytes(options: &Options) -> u64 {
    options.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
}

/// Removes incomplete files of a crash, and returns the files that can be overwritten.
fn spare_files(disk: &dyn Disk) -> io::Result<Vec<String>> {
    let names = disk.list()?;
    if names.iter().any(|name| name == NEW) {
        disk.remove(NEW)?;
    }
    Ok(names.into_iter().filter(|name| name.ends_with(spares::SUFFIX)).collect())
}

/// Smaller segments would consist mostly of headers.
const SEGMENT_BYTES_MIN: u64 = 4096;
