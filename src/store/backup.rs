use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Store;
use super::disk::{Directory, Disk};
use super::error::OpenError;
use super::format::{segment_name, segment_number};
use super::recovery::{self, copy_file};
use super::removal::is_removed;
use super::report::{Recovered, Report};
use super::shared::Shared;
use super::stream::verify;
use super::stream_directories::{STREAMS, numbers_in};
use super::stream_files::StreamFiles;

impl Store {
    /// Copies the stable part of the log into an empty directory while the store is in use. No space is reclaimed
    /// meanwhile.
    ///
    /// The copy is a store directory.
    pub fn backup(&self, to: &Path) -> Result<(), OpenError> {
        let copy = Directory::open_empty(to)?;
        let _kept = StreamPin::new(Arc::clone(&self.shared.streams));
        let (hold, segments) = SegmentPin::new(&self.shared);
        for (segment, bytes) in segments {
            let name = segment_name(segment);
            copy_file(&*hold.0.disk, &name, &copy, &name, bytes)?;
        }
        // After the log, so that the files of the streams have what the copy of the log does not have.
        let streams = &self.shared.streams;
        for number in (streams.directories.numbers)()? {
            let to = to.join(STREAMS).join(number.to_string());
            let opening = streams.opening();
            if let Some(disk) = streams.open_disk(number) {
                drop(opening);
                copy_stream(&*disk, &to)?;
            } else {
                // The numbers of removed streams must not be given again either. It can't be opened meanwhile.
                copy_stream(&*(streams.directories.disk)(number)?, &to)?;
            }
        }
        Ok(copy.sync_names()?)
    }
}

/// Reads a store that no process has open, without changing it. Passes every entry of the log to `visitor`.
pub fn check(directory: &Path, visitor: &mut dyn FnMut(Recovered<'_>)) -> Result<Report, OpenError> {
    if !directory.is_dir() {
        return Err(OpenError::NoStore { directory: directory.to_owned() });
    }
    check_on(&Directory::open(directory)?, directory, visitor)
}

/// The same on a disk of the caller, which is that of this directory.
pub(super) fn check_on(
    disk: &dyn Disk,
    directory: &Path,
    visitor: &mut dyn FnMut(Recovered<'_>),
) -> Result<Report, OpenError> {
    let report = recovery::scan(disk, &|_, _| (), visitor)?.report;
    match report.segments {
        0 => Err(OpenError::NoStore { directory: directory.to_owned() }),
        _ => Ok(report),
    }
}

/// Reads a store that no process has open, with the files of its streams, without changing it. The damages of streams are among those of the
/// report, with the path below the directory as their name.
pub fn check_all(directory: &Path) -> Result<Report, OpenError> {
    let mut report = check(directory, &mut |_| {})?;
    let streams = directory.join(STREAMS);
    for number in numbers_in(&streams)? {
        let disk = Directory::open(&streams.join(number.to_string()))?;
        if is_removed(&disk)? {
            continue;
        }
        let mut stream = verify(&disk, number)?;
        for damage in &mut stream.damages {
            damage.name = format!("{STREAMS}/{number}/{}", damage.name);
        }
        report.damages.extend_from_slice(&stream.damages);
        report.streams.push(stream);
    }
    Ok(report)
}

/// Creates a store in an empty directory from a backup, which must be intact.
pub fn restore(from: &Path, to: &Path) -> Result<Report, OpenError> {
    let report = check_all(from)?;
    if let Some(first) = report.damages.first() {
        return Err(OpenError::Damaged { count: report.damages.len(), first: first.clone() });
    }
    let (source, copy) = (Directory::open(from)?, Directory::open_empty(to)?);
    let names = source.list()?;
    for name in names.iter().filter(|name| segment_number(name).is_some()) {
        copy_file(&source, name, &copy, name, u64::MAX)?;
    }
    for number in numbers_in(&from.join(STREAMS))? {
        let stream = Directory::open(&from.join(STREAMS).join(number.to_string()))?;
        copy_stream(&stream, &to.join(STREAMS).join(number.to_string()))?;
    }
    copy.sync_names()?;
    Ok(report)
}

/// Copies the files of a stream, which may be appended to meanwhile. What a copy has of a message that is being written is cut when it is opened.
fn copy_stream(from: &dyn Disk, to: &Path) -> Result<(), OpenError> {
    let copy = Directory::open_empty(to)?;
    for name in from.list()?.iter().filter(|name| !NOT_COPIED.contains(&&***name)) {
        copy_file(from, name, &copy, name, u64::MAX)?;
    }
    Ok(copy.sync_names()?)
}

/// Prevents that messages of streams are removed, until it is dropped.
pub(super) struct StreamPin(Arc<StreamFiles>);

impl StreamPin {
    pub(super) fn new(streams: Arc<StreamFiles>) -> Self {
        streams.pins.fetch_add(1, Ordering::SeqCst);
        // A removal that has begun ends first.
        drop(streams.logs());
        Self(streams)
    }
}

impl Drop for StreamPin {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Names in the directory of a stream that are not of its messages.
const NOT_COPIED: [&str; 6] = ["lock", "new", "oldest.new", "name.new", "compacted.new", "quarantine"];

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
