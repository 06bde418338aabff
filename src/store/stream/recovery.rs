use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use super::super::disk::{Disk, DiskFile, QUARANTINE};
use super::super::format::{HeaderError, segment_name, segment_number};
use super::super::reader::{SegmentReader, read_header};
use super::super::recovery::{copy_file, find_resume};
use super::super::report::Damage;
use super::format::{Messages, StreamHeader, VERSION, decode_mark};
use super::index::{INDEX_FILE_BYTES_MAX, IndexFile, Indexed, index_name, index_number};
use super::name::NEW_NAME;
use super::options::StreamOpened;
use super::segments::Segment;

/// What the files of a stream have.
pub(super) struct Scan {
    pub(super) segments: VecDeque<Segment>,
    pub(super) opened: StreamOpened,
    /// The file of the last segment, if the stream can go on in it.
    pub(super) tail: Option<Arc<dyn DiskFile>>,
    /// The sequence of the next message.
    pub(super) next: u64,
    /// The number of the next segment.
    pub(super) next_number: u32,
    /// The messages below are trimmed.
    pub(super) mark: u64,
    /// Numbers of segments that have no valid index file, and no damage.
    pub(super) without_index: Vec<u32>,
    /// Numbers of index files without a segment that uses them.
    pub(super) stray_indexes: Vec<u32>,
    /// Numbers of segments in place of which there is a compacted one.
    pub(super) obsolete: Vec<u32>,
}

/// Reads the headers and indexes of all segments, and the segments that have no index. Moves unreadable files to the quarantine.
pub(super) fn scan(disk: &dyn Disk, stream: u32) -> io::Result<Scan> {
    let names = disk.list()?;
    for name in names.iter().filter(|name| [NEW, NEW_MARK, NEW_NAME, NEW_COMPACTED].contains(&name.as_str())) {
        disk.remove(name)?;
    }
    let (mut scan, unreadable) = read(disk, stream, &names, Indexes::Used)?;
    if !scan.obsolete.is_empty() {
        // The name of the compacted segment may not be stable yet.
        disk.sync_names()?;
        scan.obsolete.iter().try_for_each(|number| disk.remove(&segment_name(*number)))?;
    }
    // The copies are for inspection only, so a failure doesn't prevent the start.
    let _ = scan.quarantine(disk, &unreadable);
    Ok(scan)
}

/// Whether a segment with a valid index is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indexes {
    /// It is not.
    Used,
    /// It is.
    Ignored,
}

/// Reads the files with these names without changing any. Also returns the names and sizes of segments without a valid header.
pub(super) fn read(
    disk: &dyn Disk,
    stream: u32,
    names: &[String],
    indexes: Indexes,
) -> io::Result<(Scan, BTreeMap<String, u64>)> {
    let mut opened = StreamOpened::default();
    let mark = read_mark(disk, names, stream, &mut opened)?;
    let mut found = Headers::read(disk, names, stream)?;
    let mut scan = Scan {
        segments: VecDeque::with_capacity(found.known.len()),
        opened,
        tail: None,
        next: 1,
        next_number: found.next_number,
        mark,
        without_index: Vec::new(),
        stray_indexes: Vec::new(),
        obsolete: std::mem::take(&mut found.obsolete),
    };
    let known = std::mem::take(&mut found.known);
    for (at, found_segment) in known.iter().enumerate() {
        scan.read_segment(disk, (found_segment, indexes), known.get(at + 1).map(|next| next.header))?;
    }
    let last = known.last().map(|last| last.header.number);
    let is_compacted = known.last().is_some_and(|last| last.header.compacted_to.is_some());
    if is_compacted || last.is_none_or(|last| last.saturating_add(1) != scan.next_number) {
        // A later segment existed, so the last readable one is complete.
        scan.tail = None;
    }
    let used: BTreeSet<u32> = scan.segments.iter().map(|segment| segment.header.number).collect();
    let indexes = names.iter().filter_map(|name| index_number(name));
    let current = last.filter(|_| scan.tail.is_some());
    scan.stray_indexes = indexes.filter(|number| !used.contains(number) || Some(*number) == current).collect();
    scan.report_unreadable(&found.unreadable);
    scan.opened.segments = scan.segments.len();
    scan.next = scan.next.max(scan.mark);
    Ok((scan, found.unreadable))
}

/// A segment with a valid header, or else a valid index that has its header.
struct FoundSegment {
    header: StreamHeader,
    index: Option<IndexFile>,
    has_damaged_header: bool,
}

/// The headers of all segments.
struct Headers {
    known: Vec<FoundSegment>,
    /// Names of segments without a valid header.
    unreadable: BTreeMap<String, u64>,
    /// See [`Scan::obsolete`].
    obsolete: Vec<u32>,
    next_number: u32,
}

impl Headers {
    fn read(disk: &dyn Disk, names: &[String], stream: u32) -> io::Result<Self> {
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let next_number = numbers.last().map_or(1, |number| number.saturating_add(1));
        let mut found = Self {
            known: Vec::with_capacity(numbers.len()),
            unreadable: BTreeMap::new(),
            obsolete: Vec::new(),
            next_number,
        };
        for number in numbers {
            let name = segment_name(number);
            let file = disk.open(&name)?;
            let belongs = |header: &StreamHeader| header.number == number && header.stream == stream;
            let header = match StreamHeader::decode(&read_header(&*file)) {
                Ok(header) => Some(header).filter(belongs),
                Err(HeaderError::Damaged) => None,
                Err(HeaderError::Newer(version)) => return Err(newer(&name, version)),
            };
            let index = if number.saturating_add(1) == next_number { None } else { read_index(disk, number)? };
            let is_of = |of: &StreamHeader| belongs(of) && header.as_ref().is_none_or(|header| header == of);
            let index = index.filter(|index| is_of(&index.header));
            let follows = |header: &StreamHeader| {
                found.known.last().is_none_or(|last| last.header.first_sequence <= header.first_sequence)
            };
            let last = found.known.last().and_then(|last| last.header.compacted_to);
            match header.or(index.as_ref().map(|index| index.header)).filter(follows) {
                Some(known) if last.is_some_and(|to| known.first_sequence < to) => found.obsolete.push(number),
                Some(known) => {
                    found.known.push(FoundSegment { header: known, index, has_damaged_header: header.is_none() })
                }
                None => drop(found.unreadable.insert(name, file.size()?)),
            }
        }
        Ok(found)
    }
}

impl Scan {
    /// Takes over a segment from its index, or reads it up to the first sequence of the next one; the last segment up to its end.
    fn read_segment(
        &mut self,
        disk: &dyn Disk,
        (found, indexes): (&FoundSegment, Indexes),
        following: Option<StreamHeader>,
    ) -> io::Result<()> {
        let header = found.header;
        self.missing_before(&header);
        self.next = header.first_sequence;
        let cap = header.compacted_to.or(following.map(|next| next.first_sequence));
        let mut segment = Segment::new(header);
        if let Some(cap) = cap.filter(|cap| *cap <= self.mark) {
            // It is trimmed, and about to be removed.
            (self.next, segment.end, segment.is_damaged) = (cap, cap, true);
            self.segments.push_back(segment);
            return Ok(());
        }
        match &found.index {
            Some(IndexFile { end, length, index, .. })
                if indexes == Indexes::Used && cap.is_none_or(|cap| *end <= cap) =>
            {
                (segment.end, segment.length, segment.index) = (*end, *length, index.clone());
                self.next = *end;
            }
            _ => self.scan_segment(disk, &mut segment, cap)?,
        }
        if found.has_damaged_header {
            let (name, to) = (segment_name(header.number), super::format::HEADER_BYTES as u64);
            self.opened.damages.push(Damage { name, from: 0, to, entries: Some(0), quarantined_as: None });
        }
        if let Some(following) = following.filter(|next| next.number == header.number.saturating_add(1)) {
            let lost = following.previous_end.min(following.first_sequence).saturating_sub(self.next);
            if lost > 0 {
                let (name, from) = (segment_name(header.number), segment.length);
                let to = disk.open(&name)?.size()?.max(from);
                self.opened.damages.push(Damage { name, from, to, entries: Some(lost), quarantined_as: None });
                segment.is_damaged = true;
                self.next = following.previous_end.min(following.first_sequence);
            }
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Segments between the last one and this one are missing, with what they had.
    fn missing_before(&mut self, header: &StreamHeader) {
        let Some(last) = self.segments.back() else { return };
        let missing = last.header.number.saturating_add(1);
        if missing < header.number {
            let entries = header.previous_end.min(header.first_sequence).saturating_sub(self.next);
            if entries == 0 {
                return; // It had nothing, or an earlier start reported it.
            }
            let name = segment_name(missing);
            self.opened.damages.push(Damage { name, from: 0, to: 0, entries: Some(entries), quarantined_as: None });
        }
    }

    fn scan_segment(&mut self, disk: &dyn Disk, segment: &mut Segment, cap: Option<u64>) -> io::Result<()> {
        let header = segment.header;
        let file = disk.open(&segment_name(header.number))?;
        let mut reader = SegmentReader::new(header.seal(), file)?;
        self.opened.scanned += 1;
        while cap.is_none_or(|cap| segment.end < cap) {
            let (offset, sequence) = (segment.length, segment.end);
            let follows = |found: u64| found == sequence || header.compacted_to.is_some() && found > sequence;
            let read = reader.batch_at(offset).filter(|found| follows(found.header.sequence));
            if let Some(found) = read.filter(|found| cap.is_none_or(|cap| found.header.end() <= cap)) {
                let sequence = found.header.sequence;
                let messages = Messages::new(found.body, sequence, found.header.entries);
                let newest = messages.map(|message| message.timestamp).max().unwrap_or(0);
                segment.index.add(&header, &Indexed { offset, sequence, newest });
                (segment.length, segment.end) = (found.end, found.header.end());
                continue;
            }
            let Some((resume, resumed)) = find_resume(&mut reader, offset, sequence, cap) else { break };
            let (name, entries) = (segment_name(header.number), Some(resumed - sequence));
            self.opened.damages.push(Damage { name, from: offset, to: resume, entries, quarantined_as: None });
            segment.is_damaged = true;
            (segment.length, segment.end) = (resume, resumed);
        }
        if let Some(to) = header.compacted_to {
            // It had its name only when it was complete.
            if segment.length < reader.size() {
                let (name, from) = (segment_name(header.number), segment.length);
                self.opened.damages.push(Damage { name, from, to: reader.size(), entries: None, quarantined_as: None });
                segment.is_damaged = true;
            }
            segment.end = to;
        }
        self.next = segment.end;
        if cap.is_some() {
            if !segment.is_damaged {
                self.without_index.push(header.number);
            }
            segment.index.complete();
            return reader.into_file().sync();
        }
        let size = reader.size();
        let file = reader.into_file();
        self.opened.cut_bytes = torn_bytes(&*file, segment.length, size)?;
        // The last process may have ended before its sync.
        file.sync()?;
        self.tail = Some(file);
        Ok(())
    }

    /// Reports files without a valid header, unless they are reported already as what is missing between two segments.
    fn report_unreadable(&mut self, unreadable: &BTreeMap<String, u64>) {
        for (name, size) in unreadable {
            let reported = self.opened.damages.iter_mut().find(|damage| damage.name == *name);
            match reported {
                Some(damage) => damage.to = *size,
                None => {
                    let (name, to) = (name.clone(), *size);
                    self.opened.damages.push(Damage { name, from: 0, to, entries: None, quarantined_as: None });
                }
            }
        }
    }

    /// Copies damaged segments to the quarantine, and moves those without a valid header there.
    fn quarantine(&mut self, disk: &dyn Disk, unreadable: &BTreeMap<String, u64>) -> io::Result<()> {
        let salts: BTreeMap<String, u64> =
            self.segments.iter().map(|segment| (segment_name(segment.header.number), segment.header.salt)).collect();
        for damage in &mut self.opened.damages {
            let is_unreadable = unreadable.contains_key(&damage.name);
            let salt = match salts.get(&damage.name) {
                Some(salt) => *salt,
                None if is_unreadable => disk.salt()?,
                None => continue,
            };
            let aside = format!("{QUARANTINE}{}.{salt:016x}", damage.name);
            // A damaged segment stays until it is trimmed, so later starts find the same damage.
            if is_unreadable || disk.open(&aside).is_err() {
                copy_file(disk, &damage.name, disk, &aside, u64::MAX)?;
            }
            if is_unreadable {
                disk.remove(&damage.name)?;
            }
            damage.quarantined_as = Some(aside);
        }
        Ok(())
    }
}

/// The number of bytes behind the end of the stream up to the last one that is not 0.
fn torn_bytes(file: &dyn DiskFile, end: u64, size: u64) -> io::Result<u64> {
    let mut piece = vec![0; 64 << 10];
    let (mut at, mut torn_to) = (end, end);
    while at < size {
        let filled = file.read_at(at, &mut piece)?;
        let bytes = piece.get(..filled).filter(|bytes| !bytes.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
        torn_to = bytes.iter().rposition(|byte| *byte != 0).map_or(torn_to, |last| at + last as u64 + 1);
        at += filled as u64;
    }
    Ok(torn_to - end)
}

/// The index of a segment, if its file is valid.
fn read_index(disk: &dyn Disk, number: u32) -> io::Result<Option<IndexFile>> {
    let file = match disk.open(&index_name(number)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let Some(size) = usize::try_from(file.size()?).ok().filter(|size| *size as u64 <= INDEX_FILE_BYTES_MAX) else {
        return Ok(None);
    };
    let mut bytes = vec![0; size];
    // One that can't be read is as good as none.
    let filled = file.read_at(0, &mut bytes).unwrap_or(0);
    Ok(bytes.get(..filled).and_then(|bytes| IndexFile::decode(bytes).ok()))
}

/// The sequence below which messages were trimmed.
fn read_mark(disk: &dyn Disk, names: &[String], stream: u32, opened: &mut StreamOpened) -> io::Result<u64> {
    if !names.iter().any(|name| name == MARK) {
        return Ok(1);
    }
    let mut bytes = vec![0; 64];
    let file = disk.open(MARK)?;
    let filled = file.read_at(0, &mut bytes).unwrap_or(0);
    bytes.truncate(filled);
    match decode_mark(stream, &bytes) {
        Ok(mark) => Ok(mark.max(1)),
        Err(HeaderError::Newer(version)) => Err(newer(MARK, version)),
        Err(HeaderError::Damaged) => {
            let (name, to) = (MARK.to_owned(), file.size()?);
            opened.damages.push(Damage { name, from: 0, to, entries: Some(0), quarantined_as: None });
            Ok(1)
        }
    }
}

fn newer(name: &str, version: u32) -> io::Error {
    let text = format!("{name} has stream format version {version}, and this version reads up to {VERSION}");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The name of a segment under construction.
pub(super) const NEW: &str = "new";
/// The same for a compacted one.
pub(super) const NEW_COMPACTED: &str = "compacted.new";
/// The file that says which messages were trimmed, and its name under construction.
pub(in crate::store) const MARK: &str = "oldest";
pub(super) const NEW_MARK: &str = "oldest.new";
