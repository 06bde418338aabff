use std::io;

use super::disk::Disk;
use super::format::segment_name;
use super::level::Level;

/// Files of freed segments, to be overwritten: their blocks are taken already, so that a sync has less to do. And one whose
/// space is there even when the disk is full.
#[derive(Debug)]
pub(super) struct Spares {
    segment_bytes: u64,
    reserve: Option<String>,
    files: Vec<String>,
}

impl Spares {
    /// Of the spare files that are there.
    pub(super) fn new(segment_bytes: u64, files: Vec<String>) -> Self {
        Self { segment_bytes, reserve: None, files }
    }

    /// One to begin a segment in.
    pub(super) fn take(&mut self) -> Option<String> {
        self.files.pop()
    }

    /// The one for a full disk.
    pub(super) fn take_reserve(&mut self) -> Option<String> {
        self.reserve.take()
    }

    pub(super) fn has_reserve(&self) -> bool {
        self.reserve.is_some()
    }

    /// Makes sure that there is a reserve, if the disk has the space.
    pub(super) fn fill_reserve(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.reserve.is_some() {
            return Ok(());
        }
        let (name, file) = match self.files.pop() {
            Some(name) => (name.clone(), disk.open(&name)?),
            None => (RESERVE.to_owned(), disk.create(RESERVE)?),
        };
        // On a full disk, a file that is nearly as large is worth more than one that can't be had.
        let size = file.size()?;
        let bytes = if size >= self.segment_bytes / 4 * 3 { size } else { self.segment_bytes };
        match file.allocate(bytes).and_then(|()| file.sync()) {
            Ok(()) => {
                self.reserve = Some(name);
                Ok(())
            }
            Err(error) => {
                // What little it took is worth more to the others.
                let _ = disk.remove(&name);
                Err(error)
            }
        }
    }

    /// Takes a segment of which nothing is live out of the log, for good: the next older one must not come back after it.
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
            // What can't be removed is a spare file at the next start.
            let _ = disk.remove(&spare);
        }
        Ok(())
    }
}

/// What the names of spare files end with.
pub(super) const SUFFIX: &str = ".free";

/// The reserve, where no segment was freed yet.
const RESERVE: &str = "reserve.free";

/// One to be written next, one for the reserve, one in hand.
const FILES_MAX: usize = 3;
