use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::format::segment_name;
use super::level::Level;
use super::shortage::Shortage;

/// Files of freed segments that can be overwritten. Their blocks are allocated, so syncs are cheaper. One of them is
/// the reserve, whose space is available even if the disk is full.
///
/// All of them are open, so the next segment and the reserve need no file descriptor at a moment when none is left.
pub(super) struct Spares {
    segment_bytes: u64,
    reserve: Option<SpareFile>,
    files: Vec<SpareFile>,
    /// Why there is no reserve.
    lack: Shortage,
}

/// An open file that is not part of the log.
pub(super) struct SpareFile {
    pub(super) name: String,
    pub(super) file: Arc<dyn DiskFile>,
}

impl Spares {
    /// Opens the existing spare files with these names, and removes those that are too many, too large or can't be opened.
    pub(super) fn new(disk: &dyn Disk, segment_bytes: u64, names: Vec<String>) -> Self {
        let mut spares = Self { segment_bytes, reserve: None, files: Vec::new(), lack: Shortage::Space };
        for name in names {
            match spares.keep(disk, &name) {
                Some(file) => spares.files.push(SpareFile { name, file }),
                // If removing fails, the next start tries again.
                None => _ = disk.remove(&name),
            }
        }
        spares
    }

    /// Takes a file for a new segment.
    pub(super) fn take(&mut self) -> Option<SpareFile> {
        self.files.pop()
    }

    /// Takes the reserve, because of a shortage.
    pub(super) fn take_reserve(&mut self, shortage: Shortage) -> Option<SpareFile> {
        self.lack = shortage;
        self.reserve.take()
    }

    /// Why there is no reserve; `None` if there is one.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        if self.reserve.is_some() { None } else { Some(self.lack) }
    }

    pub(super) fn has_reserve(&self) -> bool {
        self.reserve.is_some()
    }

    /// Creates the reserve if it is missing and the disk has space. If that fails, [`shortage`](Self::shortage) says why.
    pub(super) fn fill_reserve(&mut self, disk: &dyn Disk) {
        if self.reserve.is_some() {
            return;
        }
        match self.new_reserve(disk) {
            Ok(reserve) => self.reserve = Some(reserve),
            Err(error) => self.lack = Shortage::of(&error).unwrap_or(Shortage::Space),
        }
    }

    fn new_reserve(&mut self, disk: &dyn Disk) -> io::Result<SpareFile> {
        let spare = match self.files.pop() {
            Some(spare) => spare,
            None => SpareFile { name: RESERVE.to_owned(), file: disk.create(RESERVE)? },
        };
        // On a full disk, a slightly smaller file is better than none.
        let size = spare.file.size()?;
        let bytes = if size >= self.segment_bytes / 4 * 3 { size } else { self.segment_bytes };
        spare.file.allocate(bytes).and_then(|()| spare.file.sync()).inspect_err(|_| {
            // The allocated part is released for other files.
            let _ = disk.remove(&spare.name);
        })?;
        Ok(spare)
    }

    /// Permanently removes a segment without live entries from the log; the next segment may be freed only after that
    /// is stable.
    pub(super) fn free(&mut self, disk: &dyn Disk, level: Level, segment: u32) -> io::Result<()> {
        let name = segment_name(segment);
        let kept = self.keep(disk, &name);
        let spare = format!("{segment:010}{SUFFIX}");
        disk.rename(&name, &spare)?;
        if level == Level::PowerLoss {
            disk.sync_names()?;
        }
        match kept {
            Some(file) => self.files.push(SpareFile { name: spare, file }),
            // If removing fails, the file is a spare file at the next start.
            None => _ = disk.remove(&spare),
        }
        Ok(())
    }

    /// Opens a file that can become a spare file; `None` if there are enough, it is too large, or it can't be opened.
    fn keep(&self, disk: &dyn Disk, name: &str) -> Option<Arc<dyn DiskFile>> {
        let is_wanted = self.files.len() < FILES_MAX;
        let file = is_wanted.then(|| disk.open(name).ok()).flatten()?;
        let is_small = file.size().is_ok_and(|size| size <= 2 * self.segment_bytes);
        is_small.then_some(file)
    }
}

/// The suffix of the names of spare files.
pub(super) const SUFFIX: &str = ".free";

/// The name of the reserve, if no segment was freed yet.
const RESERVE: &str = "reserve.free";

/// One for the next segment, one for the reserve, and one more.
const FILES_MAX: usize = 3;
