use std::io;

use super::disk::Disk;
use super::format::segment_name;
use super::level::Level;

/// Files of freed segments that can be overwritten. Their blocks are allocated, so syncs are cheaper. One of them is
/// the reserve, whose space is available even if the disk is full.
#[derive(Debug)]
pub(super) struct Spares {
    segment_bytes: u64,
    reserve: Option<String>,
    files: Vec<String>,
}

impl Spares {
    /// Initialized with the existing spare files.
    pub(super) fn new(segment_bytes: u64, files: Vec<String>) -> Self {
        Self { segment_bytes, reserve: None, files }
    }

    /// Takes a file for a new segment.
    pub(super) fn take(&mut self) -> Option<String> {
        self.files.pop()
    }

    /// Takes the reserve.
    pub(super) fn take_reserve(&mut self) -> Option<String> {
        self.reserve.take()
    }

    pub(super) fn has_reserve(&self) -> bool {
        self.reserve.is_some()
    }

    /// Creates the reserve if it is missing and the disk has space.
    pub(super) fn fill_reserve(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.reserve.is_some() {
            return Ok(());
        }
        let (name, file) = match self.files.pop() {
            Some(name) => (name.clone(), disk.open(&name)?),
            None => (RESERVE.to_owned(), disk.create(RESERVE)?),
        };
        // On a full disk, a slightly smaller file is better than none.
        let size = file.size()?;
        let bytes = if size >= self.segment_bytes / 4 * 3 { size } else { self.segment_bytes };
        match file.allocate(bytes).and_then(|()| file.sync()) {
            Ok(()) => {
                self.reserve = Some(name);
                Ok(())
            }
            Err(error) => {
                // The allocated part is released for other files.
                let _ = disk.remove(&name);
                Err(error)
            }
        }
    }

    /// Permanently removes a segment without live entries from the log; the next segment may be freed only after that
    /// is stable.
    pub(super) fn free(&mut self, disk: &dyn Disk, level: Level, segment: u32) -> io::Result<()> {
        let name = segment_name(segment);
        let is_kept = self.files.len() < FILES_MAX && disk.open(&name)?.size()? <= 2 * self.segment_bytes;
        let spare = format!("{segment:010}{SUFFIX}");
        disk.rename(&name, &spare)?;
        if level == Level::PowerLoss {
            disk.sync_names()?;
        }
        if is_kept {
            self.files.push(spare);
        } else {
            // If removing fails, the file is a spare file at the next start.
            let _ = disk.remove(&spare);
        }
        Ok(())
    }
}

/// The suffix of the names of spare files.
pub(super) const SUFFIX: &str = ".free";

/// The name of the reserve, if no segment was freed yet.
const RESERVE: &str = "reserve.free";

/// One for the next segment, one for the reserve, and one more.
const FILES_MAX: usize = 3;
