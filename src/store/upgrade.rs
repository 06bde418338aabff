//! Rewrites segments of older format versions in the current one, while no process has the store open.
//!
//! A rewritten segment has the number, the sequences and the entries of the old one, and replaces it with one rename after it was synced and
//! read back. So a crash at any moment leaves a store that opens, with some segments rewritten. The youngest segment is rewritten first,
//! because segments of older formats must not be younger than those of the current one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use smallvec::SmallVec;

use super::disk::{Directory, Disk};
use super::entry::{Decoded, Entry, Room, encode};
use super::error::OpenError;
use super::format::{
    HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader, VERSION, seal_batch, segment_name, segment_number,
};
use super::level::Level;
use super::options::{Upgrade, Upgraded};
use super::pending::Batch;
use super::reader::{Found, SegmentReader, read_header};
use super::recovery;
use super::report::Report;
use super::writer::NEW;

/// The format versions of the segments of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    /// What has each version.
    pub versions: BTreeMap<u32, FormatUse>,
    /// The version of new segments, and the highest that can be read.
    pub current: u32,
    /// The name of a segment with a higher version, and its version.
    pub newer: Option<(String, u32)>,
    /// Files with the name of a segment and without a valid header.
    pub unreadable: Vec<String>,
}

/// The segments of one format version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FormatUse {
    /// Number of segments.
    pub segments: usize,
    /// The size of their files in bytes.
    pub bytes: u64,
}

impl Formats {
    /// The segments of older versions.
    pub fn older(&self) -> FormatUse {
        let older = self.versions.iter().filter(|(version, _)| **version < self.current);
        older.fold(FormatUse::default(), |sum, (_, of_version)| FormatUse {
            segments: sum.segments + of_version.segments,
            bytes: sum.bytes + of_version.bytes,
        })
    }
}

/// Reads the headers of all segments. Changes nothing, and works while a process has the store open.
///
/// # Errors
/// The directory can't be read, or contains no store.
pub fn formats(directory: &Path) -> Result<Formats, OpenError> {
    if !directory.is_dir() {
        return Err(OpenError::NoStore { directory: directory.to_owned() });
    }
    let formats = formats_on(&Directory::open_unlocked(directory)?)?;
    let is_empty = formats.versions.is_empty() && formats.newer.is_none() && formats.unreadable.is_empty();
    if is_empty { Err(OpenError::NoStore { directory: directory.to_owned() }) } else { Ok(formats) }
}

fn formats_on(disk: &dyn Disk) -> io::Result<Formats> {
    let mut formats = Formats { versions: BTreeMap::new(), current: VERSION, newer: None, unreadable: Vec::new() };
    let mut names: Vec<_> = disk.list()?.into_iter().filter(|name| segment_number(name).is_some()).collect();
    names.sort_unstable();
    for name in names {
        let file = match disk.open(&name) {
            Ok(file) => file,
            // The broker that has the store open has freed it since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match SegmentHeader::decode(&read_header(&*file)) {
            Ok(header) => {
                let of_version = formats.versions.entry(header.version).or_default();
                of_version.segments += 1;
                of_version.bytes += file.size()?;
            }
            Err(HeaderError::Newer(version)) => formats.newer = formats.newer.take().or(Some((name, version))),
            Err(HeaderError::Damaged) => formats.unreadable.push(name),
        }
    }
    Ok(formats)
}

/// Rewrites all segments of older format versions in a store that no process has open. `upgrade` is that of
/// [`Hooks`](super::Hooks), `on_rewritten` gets the name of each rewritten segment. Returns what the store contains.
///
/// # Errors
/// The store is in use, damaged, or has a newer format; or the operating system returned an error. The store can be opened
/// after any error, and the rest rewritten by another call.
pub fn upgrade(directory: &Path, upgrade: &Upgrade, on_rewritten: &mut dyn FnMut(&str)) -> Result<Report, OpenError> {
    if !directory.is_dir() {
        return Err(OpenError::NoStore { directory: directory.to_owned() });
    }
    let report = upgrade_on(&Directory::open(directory)?, upgrade, on_rewritten)?;
    match report.segments {
        0 => Err(OpenError::NoStore { directory: directory.to_owned() }),
        _ => Ok(report),
    }
}

pub(super) fn upgrade_on(
    disk: &dyn Disk,
    upgrade: &Upgrade,
    on_rewritten: &mut dyn FnMut(&str),
) -> Result<Report, OpenError> {
    let before = recovery::scan(disk, &|_, _| (), &mut |_| ())?;
    if let Some(first) = before.report.damages.first() {
        return Err(OpenError::Damaged { count: before.report.damages.len(), first: first.clone() });
    }
    for (at, header) in before.segments.iter().enumerate().rev() {
        if header.version == VERSION {
            continue;
        }
        let next = before.segments.get(at + 1).map(|next| next.first_sequence);
        let name = segment_name(header.number);
        rewrite(disk, (*header, next), upgrade).inspect_err(|_| {
            // If removing fails, the next start removes the file.
            let _ = disk.remove(NEW);
        })?;
        on_rewritten(&name);
    }
    let after = recovery::scan(disk, &|_, _| (), &mut |_| ())?;
    let figures = |report: &Report| (report.segments, report.batches, report.entries, report.keys);
    if figures(&before.report) != figures(&after.report) || !after.report.damages.is_empty() {
        return Err(OpenError::Io(io::Error::other("the store differs after it was rewritten")));
    }
    Ok(after.report)
}

/// Writes the log's part of a segment in the current format to a new file, reads it back, and replaces the segment. `next` is the first
/// sequence of the next segment.
fn rewrite(disk: &dyn Disk, (old, next): (SegmentHeader, Option<u64>), upgrade: &Upgrade) -> Result<(), OpenError> {
    let name = segment_name(old.number);
    let not_upgraded = |cause: &str| OpenError::NotUpgraded { name: name.clone(), cause: cause.to_owned() };
    let header = SegmentHeader { version: VERSION, salt: disk.salt()?, ..old };
    let (source, target) = (disk.open(&name)?, disk.create(NEW)?);
    target.write_at(0, &header.encode())?;
    let mut end = SEGMENT_HEADER_BYTES as u64;
    let mut from = LogReader::new(SegmentReader::new(old, source)?, next);
    while let Some(found) = from.next() {
        let batch = rewritten(&found, upgrade).ok_or_else(|| not_upgraded("an entry is too large"))?;
        let (sequence, acknowledged) = (found.header.sequence, found.header.acknowledged);
        let Batch { mut bytes, entries } = batch;
        seal_batch(&header, sequence, acknowledged, entries, &mut bytes)
            .filter(|()| entries == found.header.entries)
            .ok_or_else(|| not_upgraded("a batch is too large, or has an entry that can't be decoded"))?;
        target.write_at(end, &bytes)?;
        end += bytes.len() as u64;
    }
    if u32::try_from(end).is_err() {
        return Err(not_upgraded("the segment would be too large"));
    }
    target.sync()?;
    let original = LogReader::new(SegmentReader::new(old, disk.open(&name)?)?, next);
    let copy = LogReader::new(SegmentReader::new(header, disk.open(NEW)?)?, next);
    if !is_same(original, copy) {
        return Err(not_upgraded("what was written reads back differently"));
    }
    disk.rename(NEW, &name)?;
    Ok(disk.sync_names()?)
}

/// A batch with the same entries in the current format.
fn rewritten(found: &Found<'_>, upgrade: &Upgrade) -> Option<Batch> {
    let mut batch = Batch::new(Vec::new());
    for (_, Decoded { body, puts, deletes, ends, .. }) in found.entries() {
        let upgraded = upgrade(body, &puts);
        let Upgraded { body, parts } = upgraded.unwrap_or_else(|| Upgraded { body: body.to_vec(), parts: Vec::new() });
        let parts: SmallVec<[&[u8]; 4]> = parts.iter().map(Vec::as_slice).collect();
        let (level, room) = (Level::PowerLoss, Room::Reserve);
        let entry = Entry { body: &body, puts: &puts, parts: &parts, deletes: &deletes, ends, level, room };
        batch.add(&encode(&entry).ok()?, &body);
    }
    Some(batch)
}

/// Whether both have the same batches, with the same keys.
fn is_same(mut original: LogReader, mut copy: LogReader) -> bool {
    loop {
        match (original.next(), copy.next()) {
            (None, None) => return true,
            (Some(original), Some(copy)) => {
                let place =
                    |found: &Found<'_>| (found.header.sequence, found.header.acknowledged, found.header.entries);
                let keys = |(_, entry): (u32, Decoded<'_>)| (entry.puts, entry.deletes, entry.ends);
                if place(&original) != place(&copy) || !original.entries().map(keys).eq(copy.entries().map(keys)) {
                    return false;
                }
            }
            (None, Some(_)) | (Some(_), None) => return false,
        }
    }
}

/// Reads the batches of a segment that belong to the log, in order.
pub(super) struct LogReader {
    reader: SegmentReader,
    offset: u64,
    sequence: u64,
    /// The first sequence of the next segment.
    end: u64,
}

impl LogReader {
    pub(super) fn new(reader: SegmentReader, next: Option<u64>) -> Self {
        let (offset, sequence) = (SEGMENT_HEADER_BYTES as u64, reader.header.first_sequence);
        Self { reader, offset, sequence, end: next.unwrap_or(u64::MAX) }
    }

    pub(super) fn next(&mut self) -> Option<Found<'_>> {
        let (sequence, end) = (self.sequence, self.end);
        let is_next = |found: &Found<'_>| found.header.sequence == sequence && found.header.end() <= end;
        let found = self.reader.batch_at(self.offset).filter(is_next)?;
        (self.offset, self.sequence) = (found.end, found.header.end());
        Some(found)
    }
}
