use std::collections::BTreeMap;
use std::path::Path;

use super::Store;
use super::disk::{Directory, Disk};
use super::error::OpenError;
use super::format::{segment_name, segment_number};
use super::recovery::{self, copy_file};
use super::report::{Recovered, Report};
use super::shared::Shared;

impl Store {
    /// Copies the stable part of the log into an empty directory while the store is in use. No space is reclaimed
    /// meanwhile.
    ///
    /// The copy is a store directory.
    pub fn backup(&self, to: &Path) -> Result<(), OpenError> {
        let to = Directory::open_empty(to)?;
        let (hold, segments) = SegmentPin::new(&self.shared);
        for (segment, bytes) in segments {
            let name = segment_name(segment);
            copy_file(&*hold.0.disk, &name, &to, &name, bytes)?;
        }
        Ok(to.sync_names()?)
    }
}

/// Reads a store that no process has open, without changing it. Passes every entry of the log to `visitor`.
pub fn check(directory: &Path, visitor: &mut dyn FnMut(Recovered<'_>)) -> Result<Report, OpenError> {
    if !directory.is_dir() {
        return Err(OpenError::NoStore { directory: directory.to_owned() });
    }
    let disk = Directory::open(directory)?;
    let report = recovery::scan(&disk, &|_, _| (), visitor)?.report;
    match report.segments {
        0 => Err(OpenError::NoStore { directory: directory.to_owned() }),
        _ => Ok(report),
    }
}

/// Creates a store in an empty directory from a backup, which must be intact.
pub fn restore(from: &Path, to: &Path) -> Result<Report, OpenError> {
    let report = check(from, &mut |_| {})?;
    if let Some(first) = report.damages.first() {
        return Err(OpenError::Damaged { count: report.damages.len(), first: first.clone() });
    }
    let (from, to) = (Directory::open(from)?, Directory::open_empty(to)?);
    let names = from.list()?;
    for name in names.iter().filter(|name| segment_number(name).is_some()) {
        copy_file(&from, name, &to, name, u64::MAX)?;
    }
    to.sync_names()?;
    Ok(report)
}

/// Prevents that segments are freed, until it is dropped.
pub(super) struct SegmentPin<'a>(&'a Shared);

impl<'a> SegmentPin<'a> {
    /// Also returns all segments, each with the offset up to which it is stable.
    pub(super) fn new(shared: &'a Shared) -> (Self, BTreeMap<u32, u64>) {
        let mut log = shared.log();
        log.pins += 1;
        let (tail, tail_end) = log.end;
        let end = |segment| if segment == tail { tail_end } else { u64::MAX };
        let segments = log.index.segments().map(|(segment, _)| (segment, end(segment))).collect();
        (Self(shared), segments)
    }
}

impl Drop for SegmentPin<'_> {
    fn drop(&mut self) {
        self.0.log().pins -= 1;
    }
}
