use std::sync::Arc;
use std::{io, mem};

use smallvec::SmallVec;

use super::disk::Disk;
use super::entry::{Entry, Room, encode};
use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader, VERSION, segment_name};
use super::index::Index;
use super::keys::{Key, Keys, NUMBERED};
use super::level::Level;
use super::options::{Upgrade, Upgraded};
use super::pending::Batch;
use super::reader::{Found, SegmentReader, read_header};
use super::shared::{Log, Shared};
use super::shortage::Shortage;

/// Copies the live entries of the oldest segment to the end of the log, a part per commit.
pub(super) struct Reclaim {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    garbage_share: f64,
    under_way: Option<SegmentCopy>,
    /// A segment that can't be read completely. It prevents that younger segments are freed until the next start, which
    /// quarantines it.
    unreadable: Option<u32>,
}

struct SegmentCopy {
    reader: SegmentReader,
    offset: u64,
}

/// The space available for copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// The free space of the disk.
    Free,
    /// The rest of the reserve, in bytes.
    Reserve(u64),
}

impl Reclaim {
    pub(super) fn new(disk: Arc<dyn Disk>, segment_bytes: u64, garbage_share: f64) -> Self {
        Self { disk, segment_bytes, garbage_share, under_way: None, unreadable: None }
    }

    /// The next part of the copies, if space should be reclaimed.
    pub(super) fn slice(
        &mut self,
        shared: &Shared,
        upgrade: &Upgrade,
        budget: u64,
        space: Space,
    ) -> io::Result<Vec<Batch>> {
        let unsynced_from = shared.streams.backlog.unsynced_from();
        let Some(oldest) = self.next_segment(&shared.log(), (space, unsynced_from)) else { return Ok(Vec::new()) };
        if self.under_way.as_ref().is_none_or(|under_way| under_way.reader.header.number != oldest) {
            self.under_way = match self.start(oldest) {
                // The next commit tries again.
                Err(error) if Shortage::of(&error).is_some() => return Ok(Vec::new()),
                started => Some(started?),
            };
        }
        let copies =
            self.under_way.as_mut().map(|under_way| under_way.copy(shared, upgrade, budget)).unwrap_or_default();
        if copies.is_empty() {
            self.under_way = None;
            self.unreadable = Some(oldest);
        }
        Ok(copies)
    }

    /// The oldest segment, if it is being copied or should be. `unsynced_from`: from this one on, segments have messages that the log forgets at the next sync of
    /// the streams, which is soon. So copies would be for nothing.
    fn next_segment(&self, log: &Log, (space, unsynced_from): (Space, Option<u32>)) -> Option<u32> {
        // Those in front of it are only waiting to be freed.
        let (oldest, usage) = log.index.segments().nth(log.dead.len())?;
        if oldest == log.end.0 || usage.live_keys == 0 || self.unreadable == Some(oldest) {
            return None;
        }
        let is_under_way = self.under_way.as_ref().is_some_and(|under_way| under_way.reader.header.number == oldest);
        let waits = space == Space::Free && unsynced_from.is_some_and(|from| from <= oldest);
        (is_under_way || !waits && self.is_worth_it(log, space, usage.live_bytes)).then_some(oldest)
    }

    /// The segment that could not be read completely, if there is one.
    pub(super) fn unreadable(&self) -> Option<u32> {
        self.unreadable
    }

    fn is_worth_it(&self, Log { index, dead, .. }: &Log, space: Space, live_bytes: u64) -> bool {
        if let Space::Reserve(room) = space {
            return live_bytes <= room / 4;
        }
        let garbage = index.bytes().saturating_sub(index.live_bytes()).saturating_sub(dead.bytes(index));
        #[expect(clippy::cast_precision_loss, reason = "the precision suffices for a share of bytes")]
        let is_too_much = garbage as f64 > index.bytes() as f64 * self.garbage_share;
        is_too_much && garbage > self.segment_bytes
    }

    fn start(&self, segment: u32) -> io::Result<SegmentCopy> {
        let file = self.disk.open(&segment_name(segment))?;
        let header = SegmentHeader::decode(&read_header(&*file))
            .map_err(|_| io::Error::other(format!("the header of segment {segment} changed")))?;
        Ok(SegmentCopy { reader: SegmentReader::new(header, file)?, offset: SEGMENT_HEADER_BYTES as u64 })
    }
}

impl SegmentCopy {
    /// Copies the live entries of about `budget` bytes; empty at the end of the segment.
    fn copy(&mut self, shared: &Shared, upgrade: &Upgrade, budget: u64) -> Vec<Batch> {
        let SegmentHeader { number: segment, version, .. } = self.reader.header;
        let upgrade = (version < VERSION).then_some(upgrade);
        let mut copies = Vec::new();
        let mut copy = Batch::new(Vec::new());
        let end = self.offset.saturating_add(budget);
        while self.offset < end || (copies.is_empty() && copy.entries == 0) {
            match self.reader.batch_at(self.offset) {
                Some(found) => {
                    copy_live(&shared.log().index, (segment, upgrade), &found, &mut copy);
                    self.offset = found.end;
                }
                None => match self.reader.find(self.offset) {
                    Some(next) => self.offset = next,
                    None => break,
                },
            }
            if copy.bytes.len() > COPY_BYTES {
                copies.push(mem::replace(&mut copy, Batch::new(Vec::new())));
            }
        }
        copies.extend(Some(copy).filter(|copy| copy.entries > 0));
        copies
    }
}

/// Copies the live entries of a batch: bodies with those of their keys that are still live, and the parts of these keys.
fn copy_live(index: &Index, (segment, upgrade): (u32, Option<&Upgrade>), found: &Found<'_>, copies: &mut Batch) {
    for (offset, entry) in found.entries() {
        let place = |put| (segment, offset.saturating_add(entry.distance(put)));
        let (mut puts, mut parts, mut has_live) = (Keys::new(), SmallVec::<[&[u8]; 4]>::new(), false);
        for (put, &key) in entry.puts.iter().enumerate() {
            let is_live = index.get(key).is_some_and(|current| (current.segment, current.offset) == place(put));
            has_live |= is_live;
            // The sequence of a message in a stream stays with the message: a retained message is sent with it.
            if is_live || key.kind == NUMBERED {
                puts.push(key);
                parts.push(entry.part(put));
            }
        }
        if !has_live {
            continue;
        }
        match upgrade.and_then(|upgrade| upgrade(entry.body, &puts)) {
            None => add_copy(entry.body, &puts, &parts, copies),
            Some(Upgraded { body, parts }) => {
                let parts: SmallVec<[&[u8]; 4]> = parts.iter().map(Vec::as_slice).collect();
                add_copy(&body, &puts, &parts, copies);
            }
        }
    }
}

fn add_copy(body: &[u8], puts: &[Key], parts: &[&[u8]], copies: &mut Batch) {
    let (level, room) = (Level::PowerLoss, Room::Reserve);
    let copy = Entry { body, puts, parts, deletes: &[], ends: None, level, room };
    // A part of an entry is never larger than the entry.
    if let Ok(encoded) = encode(&copy) {
        copies.add(&encoded, body);
    }
}

/// Size in bytes at which a batch of copies is complete.
const COPY_BYTES: usize = 1 << 20;
