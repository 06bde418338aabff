//! Removes from complete segments the messages for whose key there is a later one, in steps of a bounded size.
//!
//! A pass has two phases. The first one reads the segments that were not compacted yet, and notes the last sequence of each key, up to
//! [`KEYS_MAX`] keys. The second one reads all segments up to there, the oldest first, and writes what is kept into a new file for each group of
//! segments, which then replaces them. A pass begins when the segments that were not compacted have as many bytes as the others, so
//! each byte is written as often as the stream has doubled.
//!
//! Each key that was noted has a message there, so a message is left out only if a later one with its key exists, whatever was not noted. If there
//! are more keys, a pass compares with fewer segments, and further passes with the rest.
//!
//! The new file is complete and synced before it gets the name of the first segment of its group; its header has the sequence up to which it stands
//! for all messages. So after a crash, the segments behind it that begin before that sequence are obsolete. A reader of an old
//! segment reads on in the old file.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::disk::DiskFile;
use super::super::format::{ALIGNMENT, BATCH_HEADER_BYTES, seal_batch, segment_name};
use super::error::StreamReadError;
use super::format::{HEADER_BYTES, MESSAGE_BYTES, StreamHeader, StreamMessage, put};
use super::index::{Indexed, index_name};
use super::log::{StreamLog, write_index};
use super::reader::StreamReader;
use super::recovery::NEW_COMPACTED;
use super::segments::{Segment, Shared};

/// The key of a message, by its body; `None`: it has none, and is kept.
pub type StreamKey = dyn Fn(&[u8]) -> Option<Cow<'_, [u8]>> + Send + Sync;

/// A pass over the complete segments of a stream. It reads beside the [`StreamLog`], and may be dropped at any time.
pub(in crate::store) struct Compaction {
    shared: Arc<Shared>,
    reader: StreamReader,
    segment_bytes: u64,
    /// The most sequences that a file stands for.
    pub(super) span_max: u64,
    key: Arc<StreamKey>,
    /// The last sequence of each key.
    keys: HashMap<KeyHash, u64>,
    phase: Phase,
}

/// So short that many fit into memory, and so long that nobody finds two keys with the same one.
type KeyHash = [u8; 16];

enum Phase {
    /// Notes keys, from the sequence on up to another one.
    Note { next: u64, end: u64 },
    /// Writes the groups that are left.
    Write { groups: VecDeque<Group>, output: Option<Box<Output>> },
}

/// Segments that one file will replace.
struct Group {
    headers: Vec<StreamHeader>,
    /// The sequence after their last message.
    end: u64,
    length: u64,
}

/// The file of a group under construction.
struct Output {
    group: Group,
    file: Arc<dyn DiskFile>,
    segment: Segment,
    /// The next message that is read.
    next: u64,
    /// Batches that are not written yet. The last one is open.
    bytes: Vec<u8>,
    batch: Vec<u8>,
    /// The sequences of the open batch.
    run: (u64, u32),
    newest: u64,
    unsynced: usize,
    is_complete: bool,
}

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Step {
    /// There is more to do.
    Again,
    /// A file is complete, and waits for [`Compaction::replace`].
    Complete,
    /// The pass has ended.
    Ended,
}

impl StreamLog {
    /// Begins a pass, if enough messages came since the last one.
    pub(in crate::store) fn compaction(&self, key: &Arc<StreamKey>) -> Option<Compaction> {
        let oldest = self.reader.oldest();
        let (next, end) = self.shared.with(|segments| {
            let complete = segments.list.len().saturating_sub(1);
            let complete = segments.list.range(..complete).filter(|segment| segment.end > oldest);
            let damaged = &segments.damaged;
            let usable = complete.filter(|segment| !segment.is_damaged && !damaged.contains(&segment.header.number));
            let (done, new): (Vec<&Segment>, Vec<_>) =
                usable.partition(|segment| segment.header.compacted_to.is_some());
            let bytes = |segments: &[&Segment]| segments.iter().map(|segment| segment.length).sum::<u64>();
            let first = new.first().filter(|_| bytes(&new) >= bytes(&done))?;
            let (mut end, mut keys) = (first.end, first.end - first.header.first_sequence);
            for segment in new.iter().skip(1) {
                keys += segment.end - segment.header.first_sequence;
                if keys > KEYS_MAX as u64 {
                    break;
                }
                end = segment.end;
            }
            Some((first.header.first_sequence.max(oldest), end))
        })?;
        Some(Compaction {
            shared: Arc::clone(&self.shared),
            reader: self.reader.clone(),
            segment_bytes: self.options.segment_bytes(),
            span_max: SPAN_MAX,
            key: Arc::clone(key),
            keys: HashMap::new(),
            phase: Phase::Note { next, end },
        })
    }
}

impl Compaction {
    /// Whether it compacts by this key.
    pub(in crate::store) fn has_key(&self, key: &Arc<StreamKey>) -> bool {
        Arc::ptr_eq(&self.key, key)
    }

    /// Removes a file that was not put into the place of its segments. Mostly there is none; if that fails, the next start removes it.
    pub(in crate::store) fn discard(&self) {
        let _ = self.shared.disk.remove(NEW_COMPACTED);
    }

    /// Reads at most 256 KiB or one message, and writes as much.
    ///
    /// # Errors
    ///
    /// The operating system returned an error. The stream is as it was; the pass cannot go on.
    pub(in crate::store) fn step(&mut self) -> io::Result<Step> {
        match &mut self.phase {
            Phase::Note { next, end } if *next < *end => {
                let (keys, key, end) = (&mut self.keys, &*self.key, *end);
                let read = self.reader.read(*next, STEP_BYTES, &mut |message| {
                    if message.sequence < end
                        && let Some(key) = key(message.body)
                    {
                        note(keys, hash(&key), message.sequence);
                    }
                    ControlFlow::Continue(())
                });
                *next = match read {
                    Ok(to) if to > *next => to,
                    Ok(_) => end,
                    // What is damaged stays where it is.
                    Err(StreamReadError::Trimmed { oldest: to } | StreamReadError::Lost { to, .. }) => to,
                    Err(StreamReadError::Io(error)) => return Err(error),
                };
                Ok(Step::Again)
            }
            Phase::Note { end, .. } => {
                let end = *end;
                let groups = self.groups(end);
                self.phase = Phase::Write { groups, output: None };
                Ok(Step::Again)
            }
            Phase::Write { output: Some(output), .. } if output.is_complete => Ok(Step::Complete),
            Phase::Write { groups, output } => {
                let Some(writing) = output else {
                    let Some(group) = groups.pop_front() else { return Ok(Step::Ended) };
                    *output = Output::begin(&self.shared, group)?.map(Box::new);
                    return Ok(Step::Again);
                };
                let (keys, key) = (&self.keys, &*self.key);
                let is_kept = |message: &StreamMessage<'_>| {
                    let last = key(message.body).and_then(|key| keys.get(&hash(&key)));
                    last.is_none_or(|last| *last <= message.sequence)
                };
                if !writing.copy(&self.reader, is_kept)? {
                    // A part of the group is damaged: it stays as it is.
                    *output = None;
                }
                Ok(Step::Again)
            }
        }
    }

    /// Puts the complete file in the place of its segments. Must not be called while they are copied.
    ///
    /// # Errors
    ///
    /// The operating system returned an error, and it is not known whether the change is stable.
    pub(in crate::store) fn replace(&mut self) -> io::Result<()> {
        let Phase::Write { output, .. } = &mut self.phase else { return Ok(()) };
        let Some(output) = output.take() else { return Ok(()) };
        let Output { group, segment, .. } = *output;
        let Group { headers, length, .. } = group;
        let disk = &self.shared.disk;
        let (number, is_unchanged) = (segment.header.number, headers.len() == 1 && segment.length >= length);
        let is_compacted = headers.iter().all(|header| header.compacted_to.is_some());
        if is_compacted && is_unchanged {
            return disk.remove(NEW_COMPACTED);
        }
        if !self.shared.replace(&headers, segment, || disk.rename(NEW_COMPACTED, &segment_name(number)))? {
            // They were trimmed meanwhile.
            return disk.remove(NEW_COMPACTED);
        }
        disk.sync_names()?;
        for header in headers.iter().skip(1) {
            disk.remove(&segment_name(header.number))?;
            // The next start removes it otherwise.
            let _ = disk.remove(&index_name(header.number));
        }
        write_index(&self.shared, number);
        Ok(())
    }

    /// The complete segments before a sequence, in groups that fit into one file. What is damaged is in none.
    fn groups(&self, end: u64) -> VecDeque<Group> {
        let oldest = self.reader.oldest();
        self.shared.with(|segments| {
            let complete = segments.list.len().saturating_sub(1);
            let damaged = segments.damaged.clone();
            let mut groups: VecDeque<Group> = VecDeque::new();
            for segment in segments.list.range(..complete) {
                let is_usable = !segment.is_damaged && !damaged.contains(&segment.header.number);
                if segment.end <= oldest || segment.end > end || !is_usable {
                    continue;
                }
                let header = segment.header;
                match groups.back_mut() {
                    // The sequences in between were skipped on purpose if it does not follow.
                    Some(last)
                        if last.end == header.first_sequence
                            && last.length + segment.length <= self.segment_bytes
                            && last
                                .headers
                                .first()
                                .is_none_or(|first| segment.end - first.first_sequence <= self.span_max) =>
                    {
                        last.headers.push(header);
                        (last.end, last.length) = (segment.end, last.length + segment.length);
                    }
                    _ => groups.push_back(Group { headers: vec![header], end: segment.end, length: segment.length }),
                }
            }
            groups
        })
    }
}

impl Output {
    fn begin(shared: &Shared, group: Group) -> io::Result<Option<Self>> {
        let Some(first) = group.headers.first() else { return Ok(None) };
        let header = StreamHeader { salt: shared.disk.salt()?, compacted_to: Some(group.end), ..*first };
        let file = shared.disk.create(NEW_COMPACTED)?;
        file.write_at(0, &header.encode())?;
        let segment = Segment { end: group.end, ..Segment::new(header) };
        Ok(Some(Self {
            next: header.first_sequence,
            group,
            file,
            segment,
            bytes: Vec::new(),
            batch: Vec::new(),
            run: (0, 0),
            newest: 0,
            unsynced: 0,
            is_complete: false,
        }))
    }

    /// Copies what is kept of one read. Returns `false` if a part cannot be read.
    fn copy(&mut self, reader: &StreamReader, is_kept: impl Fn(&StreamMessage<'_>) -> bool) -> io::Result<bool> {
        let (mut failure, end) = (None, self.group.end);
        let read = reader.read(self.next, STEP_BYTES, &mut |message| {
            if message.sequence < end && is_kept(&message) && self.put(&message).is_none() {
                failure = Some(io::ErrorKind::InvalidData);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        self.next = match read {
            Ok(to) if to > self.next => to,
            Ok(_) => end,
            Err(StreamReadError::Trimmed { oldest }) => oldest,
            Err(StreamReadError::Lost { .. }) => return Ok(false),
            Err(StreamReadError::Io(error)) => return Err(error),
        };
        self.is_complete = self.next >= end;
        if self.is_complete {
            self.seal().ok_or(io::ErrorKind::InvalidData)?;
        }
        self.write()?;
        if self.is_complete {
            self.segment.index.complete();
        }
        Ok(true)
    }

    /// Adds a message.
    fn put(&mut self, message: &StreamMessage<'_>) -> Option<()> {
        let (first, count) = self.run;
        let follows = count > 0 && first + u64::from(count) == message.sequence;
        if !follows || self.batch.len() + MESSAGE_BYTES + message.body.len() > BATCH_BYTES {
            self.seal()?;
            self.batch.resize(BATCH_HEADER_BYTES, 0);
            self.run = (message.sequence, 0);
        }
        put(message, &mut self.batch)?;
        self.run.1 += 1;
        self.newest = self.newest.max(message.timestamp);
        Some(())
    }

    /// Completes the open batch.
    fn seal(&mut self) -> Option<()> {
        let (sequence, count) = std::mem::take(&mut self.run);
        if count > 0 {
            seal_batch(&self.segment.header.seal(), sequence, sequence, count, &mut self.batch)?;
            let offset = self.segment.length + self.bytes.len() as u64;
            self.segment.index.add(&self.segment.header, &Indexed { offset, sequence, newest: self.newest });
            self.bytes.append(&mut self.batch);
        }
        self.newest = 0;
        Some(())
    }

    /// Writes the complete batches.
    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(self.segment.length, &self.bytes)?;
        self.segment.length += self.bytes.len() as u64;
        self.unsynced += self.bytes.len();
        self.bytes.clear();
        if self.is_complete || self.unsynced >= UNSYNCED_BYTES_MAX {
            self.file.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

/// Notes the last message of a key. If there are too many keys, only those that are known are noted.
fn note(keys: &mut HashMap<KeyHash, u64>, key: KeyHash, sequence: u64) {
    if keys.len() < KEYS_MAX {
        keys.insert(key, sequence);
    } else if let Some(last) = keys.get_mut(&key) {
        *last = sequence;
    }
}

fn hash(key: &[u8]) -> KeyHash {
    let mut hash = KeyHash::default();
    hash.iter_mut().zip(Sha256::digest(key)).for_each(|(to, from)| *to = from);
    hash
}

const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT));

/// The most keys of a pass. They fill a hash table of 2^20 places, which has 25 MiB, and 40 MiB while it grows.
const KEYS_MAX: usize = if cfg!(test) { 20 } else { (1 << 20) / 8 * 7 };
/// An index has the sequences of a file in 32 bits.
const SPAN_MAX: u64 = u32::MAX as u64;
/// What one step reads.
const STEP_BYTES: usize = 256 << 10;
/// As in [`StreamLog`].
const BATCH_BYTES: usize = 64 << 10;
/// What one sync writes at most.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;
