use std::io;

use smallvec::SmallVec;

use super::beside::is_unsettled;
use super::disk::{Disk, QUARANTINE};
use super::error::OpenError;
use super::format::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader, VERSION, segment_name, segment_number};
use super::index::Index;
use super::reader::{Found, SegmentReader, read_header};
use super::report::{Damage, Recovered, Report};
use super::writer::End;

/// The result of a scan: the state of the log.
pub(super) struct Scan {
    pub(super) index: Index,
    pub(super) report: Report,
    /// The headers of the segments, the oldest first. Their files are opened one at a time, because there may be more than descriptors.
    pub(super) segments: Vec<SegmentHeader>,
    /// Files with the name of a segment, but no valid header.
    pub(super) unreadable: Vec<String>,
    /// The sequence of the next entry.
    pub(super) sequence: u64,
    /// Where the log continues in the last segment, if that is readable.
    pub(super) end: Option<End>,
    /// The first unused segment number.
    pub(super) next_number: u32,
}

impl Scan {
    /// Where the log continues in the last segment. `None`: in a new segment, because the last one isn't readable, or has an older format.
    pub(super) fn take_end(&mut self) -> Option<End> {
        self.end.take().filter(|end| end.header.version == VERSION)
    }

    /// The number of the first segment of the current format version. Those of older versions are older.
    pub(super) fn first_current(&self) -> u32 {
        let current = self.segments.iter().find(|header| header.version == VERSION);
        current.map_or(self.next_number, |header| header.number)
    }
}

/// Reads all segments in order and verifies every checksum, without changing anything. Reports its progress.
pub(super) fn scan(
    disk: &dyn Disk,
    on_read: &dyn Fn(usize, usize),
    visitor: &mut dyn FnMut(Recovered<'_>),
) -> Result<Scan, OpenError> {
    let mut scan = Scan {
        index: Index::default(),
        report: Report::default(),
        segments: Vec::new(),
        unreadable: Vec::new(),
        sequence: 1,
        end: None,
        next_number: 1,
    };
    if is_unsettled(disk)? {
        return Err(OpenError::IncompleteCopy);
    }
    scan.read_headers(disk)?;
    let segments = scan.segments.clone();
    scan.sequence = segments.first().map_or(1, |header| header.first_sequence);
    for (at, header) in segments.iter().enumerate() {
        let next = segments.get(at + 1).copied();
        let reader = SegmentReader::new(*header, disk.open(&segment_name(header.number))?)?;
        scan.read_segment(reader, next, visitor);
        on_read(at + 1, segments.len());
    }
    let is_last = |end: &End| end.header.number.saturating_add(1) == scan.next_number;
    scan.end = scan.end.take().filter(is_last);
    let Scan { index, report, sequence, .. } = &mut scan;
    (report.segments, report.next) = (segments.len(), *sequence);
    (report.bytes, report.live_bytes, report.keys) = (index.bytes(), index.live_bytes(), index.keys());
    Ok(scan)
}

impl Scan {
    fn read_headers(&mut self, disk: &dyn Disk) -> Result<(), OpenError> {
        let mut names: Vec<_> =
            disk.list()?.into_iter().filter_map(|name| Some((segment_number(&name)?, name))).collect();
        names.sort_unstable();
        self.next_number = names.last().map_or(1, |(number, _)| number.saturating_add(1));
        for (number, name) in names {
            let file = disk.open(&name)?;
            match SegmentHeader::decode(&read_header(&*file)) {
                Ok(header) if header.number == number => self.segments.push(header),
                Ok(_) | Err(HeaderError::Damaged) => {
                    let to = file.size()?;
                    self.unreadable.push(name.clone());
                    self.report.damages.push(Damage { name, from: 0, to, entries: None, quarantined_as: None });
                }
                Err(HeaderError::Newer(version)) => return Err(OpenError::Newer { name, version }),
            }
        }
        Ok(())
    }

    /// Reads a segment up to the first sequence of the next one, and the last segment up to the end of the log.
    fn read_segment(
        &mut self,
        mut reader: SegmentReader,
        following: Option<SegmentHeader>,
        visitor: &mut dyn FnMut(Recovered<'_>),
    ) {
        let next = following.map(|header| header.first_sequence);
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        let number = reader.header.number;
        self.index.add_bytes(number, offset);
        while next.is_none_or(|next| self.sequence < next) {
            let sequence = self.sequence;
            let read = reader.batch_at(offset).filter(|found| found.header.sequence == sequence);
            if let Some(found) = read.filter(|found| next.is_none_or(|next| found.header.end() <= next)) {
                offset = found.end;
                self.read_batch(number, &found, visitor);
                continue;
            }
            let Some((resume, resumed)) = find_resume(&mut reader, offset, sequence, next) else { break };
            self.damaged(&reader, (offset, resume), Some(resumed - sequence));
            (offset, self.sequence) = (resume, resumed);
        }
        match following {
            Some(next) if self.sequence < next.first_sequence => {
                let entries = Some(next.first_sequence - self.sequence);
                match number.checked_add(1) {
                    Some(missing) if missing < next.number => self.missing(missing, entries),
                    _ => self.damaged(&reader, (offset, reader.size()), entries),
                }
                self.sequence = next.first_sequence;
            }
            Some(_) => {}
            None => {
                self.report.cut_bytes = torn_bytes(&mut reader, offset);
                let (header, is_torn) = (reader.header, self.report.cut_bytes > 0);
                self.end = Some(End { header, file: reader.into_file(), offset, is_torn });
            }
        }
    }

    fn read_batch(&mut self, segment: u32, found: &Found<'_>, visitor: &mut dyn FnMut(Recovered<'_>)) {
        self.sequence = found.header.end();
        self.report.batches += 1;
        self.index.add_bytes(segment, found.bytes());
        for (offset, entry) in found.entries() {
            self.report.entries += 1;
            self.index.apply(&entry, segment, offset);
            let parts: SmallVec<[&[u8]; 4]> = (0..entry.puts.len()).map(|put| entry.part(put)).collect();
            let (puts, deletes, ends) = (&entry.puts, &entry.deletes, entry.ends);
            visitor(Recovered { body: entry.body, puts, parts: &parts, deletes, ends });
        }
    }

    /// Records that a whole segment is missing or unreadable.
    fn missing(&mut self, segment: u32, entries: Option<u64>) {
        let name = segment_name(segment);
        match self.report.damages.iter_mut().find(|damage| damage.name == name) {
            Some(damage) => damage.entries = entries,
            None => self.report.damages.push(Damage { name, from: 0, to: 0, entries, quarantined_as: None }),
        }
    }

    fn damaged(&mut self, reader: &SegmentReader, (from, to): (u64, u64), entries: Option<u64>) {
        let name = segment_name(reader.header.number);
        self.index.add_bytes(reader.header.number, to.saturating_sub(from));
        self.report.damages.push(Damage { name, from, to, entries, quarantined_as: None });
    }
}

/// The offset and the sequence at which the log continues behind an unreadable region.
///
/// In a segment that isn't the last, everything before the next segment was acknowledged. In the last one, a later
/// batch proves whether the region was acknowledged; otherwise the log ends here, and the rest was left by a crash.
pub(super) fn find_resume(
    reader: &mut SegmentReader,
    from: u64,
    sequence: u64,
    next: Option<u64>,
) -> Option<(u64, u64)> {
    let mut offset = from;
    let mut resume = None;
    loop {
        offset = reader.find(offset)?;
        let found = reader.batch_at(offset)?;
        if found.header.sequence > sequence && next.is_none_or(|next| found.header.end() <= next) {
            let resume = *resume.get_or_insert((offset, found.header.sequence));
            if next.is_some() || found.header.acknowledged > sequence {
                return Some(resume);
            }
        }
        offset = found.end;
    }
}

/// The number of bytes that a crash left behind the end of the log; old data of a recycled file doesn't count.
pub(super) fn torn_bytes(reader: &mut SegmentReader, end: u64) -> u64 {
    let mut torn_to = end;
    while let Some(found) = reader.find(torn_to).and_then(|offset| reader.batch_at(offset)) {
        torn_to = found.end;
    }
    torn_to.max(reader.begun_batch(end)) - end
}

/// Copies damaged segments to the quarantine, and moves files without a valid header there.
pub(super) fn quarantine(disk: &dyn Disk, scan: &mut Scan) -> io::Result<()> {
    for damage in &mut scan.report.damages {
        if scan.unreadable.contains(&damage.name) {
            let salt = disk.salt()?;
            let aside = format!("{QUARANTINE}{}.{salt:016x}", damage.name);
            copy_file(disk, &damage.name, disk, &aside, u64::MAX)?;
            disk.remove(&damage.name)?;
            damage.quarantined_as = Some(aside);
            continue;
        }
        let Some(header) = scan.segments.iter().find(|header| segment_name(header.number) == damage.name) else {
            continue;
        };
        let aside = format!("{QUARANTINE}{}.{:016x}", damage.name, header.salt);
        // The segment stays in the log until it is reclaimed, so later starts find the same damage.
        if disk.open(&aside).is_err() {
            copy_file(disk, &damage.name, disk, &aside, u64::MAX)?;
        }
        damage.quarantined_as = Some(aside);
    }
    Ok(())
}

/// Copies the first `bytes` bytes of a file, and syncs the copy.
pub(super) fn copy_file(from: &dyn Disk, name: &str, to: &dyn Disk, copy: &str, bytes: u64) -> io::Result<()> {
    let (source, target) = (from.open(name)?, to.create(copy)?);
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let wanted = usize::try_from(bytes - offset).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let read = source.read_at(offset, buffer.get_mut(..wanted).unwrap_or_default())?;
        if read == 0 {
            break;
        }
        target.write_at(offset, buffer.get(..read).unwrap_or_default())?;
        offset += read as u64;
    }
    target.sync()
}

const COPY_BYTES: usize = 1 << 20;
