//! Stable messages that are not in the files of their streams yet.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::entry::Decoded;
use super::keys::NUMBERED;
use super::pending::Batch;

/// The messages of the last commits, the oldest first. The committing thread adds them, another thread takes them.
#[derive(Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// An empty one with room, for the next commit.
    spare: Option<Chunk>,
    /// The segment of the log in which those begin that were taken since the last sync of the streams.
    unsynced_from: Option<u32>,
    closed: bool,
}

/// The messages of one commit, ordered by stream and sequence.
#[derive(Default)]
pub(super) struct Chunk {
    /// The segment of the log in which it begins.
    pub(super) segment: u32,
    /// The log sequence behind it.
    pub(super) end: u64,
    /// The bodies. The body of a message of several streams is here once.
    bytes: Vec<u8>,
    messages: Vec<Message>,
}

/// A message of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) group: u64,
    pub(super) sequence: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) timestamp: u64,
    /// Where its body is in the bytes.
    from: usize,
    to: usize,
}

impl Backlog {
    /// Adds a chunk.
    pub(super) fn push(&self, chunk: Chunk) {
        self.lock().chunks.push_back(chunk);
        self.wake.notify_one();
    }

    /// Takes the oldest chunk, if it ends at or below the log sequence that `stable` returns; waits for one, but not longer than `patience`. When that
    /// sequence has changed, [`advanced`](Self::advanced) must be called.
    pub(super) fn take(&self, patience: Duration, stable: impl Fn() -> u64) -> Option<Chunk> {
        let state = self.lock();
        let is_stable = |state: &State| state.chunks.front().is_some_and(|chunk| chunk.end <= stable());
        let waits = |state: &mut State| !is_stable(state) && !state.closed;
        let woken = self.wake.wait_timeout_while(state, patience, waits);
        let state = &mut *woken.unwrap_or_else(PoisonError::into_inner).0;
        let chunk = if is_stable(state) { state.chunks.pop_front() } else { None }?;
        state.unsynced_from.get_or_insert(chunk.segment);
        Some(chunk)
    }

    /// More of the log is stable.
    pub(super) fn advanced(&self) {
        // With the lock, so that it does not happen between the look and the wait of who takes.
        if !self.lock().chunks.is_empty() {
            self.wake.notify_one();
        }
    }

    /// All chunks that were taken are in the files of their streams, which are synced: the log has forgotten their messages.
    pub(super) fn synced(&self) {
        self.lock().unsynced_from = None;
    }

    /// The segment of the log from which on it has messages that it will forget at the next sync of the streams.
    pub(super) fn unsynced_from(&self) -> Option<u32> {
        let state = self.lock();
        state.unsynced_from.or_else(|| Some(state.chunks.front()?.segment))
    }

    /// Puts back a chunk that was taken.
    pub(super) fn put_back(&self, chunk: Chunk) {
        self.lock().chunks.push_front(chunk);
    }

    /// An empty chunk with room for the messages of these batches, which begin in a segment.
    pub(super) fn chunk_for<'a>(&self, segment: u32, batches: impl Iterator<Item = &'a Batch>) -> Chunk {
        let mut chunk = self.lock().spare.take().unwrap_or_default();
        chunk.segment = segment;
        let sizes = batches.map(|batch| (batch.bytes.len(), batch.entries as usize));
        let (bytes, entries) = sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        chunk.bytes.reserve(bytes);
        chunk.messages.reserve(entries);
        chunk
    }

    /// Takes back a chunk whose messages are written: fresh memory would cost page faults in each commit.
    pub(super) fn recycle(&self, mut chunk: Chunk) {
        if chunk.bytes.capacity() + chunk.messages.capacity() * size_of::<Message>() <= SPARE_BYTES_MAX {
            chunk.bytes.clear();
            chunk.messages.clear();
            self.lock().spare = Some(chunk);
        }
    }

    /// No chunk will be added any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Whether no chunk will be added any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunk {
    /// Adds the message of an entry, if it is of streams.
    pub(super) fn add(&mut self, entry: &Decoded<'_>) {
        let from = self.bytes.len();
        for (put, key) in entry.puts.iter().enumerate().filter(|(_, key)| key.kind == NUMBERED) {
            if self.bytes.len() == from {
                self.bytes.extend_from_slice(entry.body);
            }
            let (timestamp, to) = (timestamp(entry.part(put)), from + entry.body.len());
            self.messages.push(Message { group: key.group, sequence: key.id, timestamp, from, to });
        }
    }

    /// Orders the messages by stream.
    pub(super) fn finish(&mut self) {
        // Few chunks have several streams. The sort is stable, and the sequences of each stream ascend.
        if !self.messages.is_sorted_by_key(|message| message.group) {
            self.messages.sort_by_key(|message| message.group);
        }
    }

    /// The messages of each stream, with its group.
    pub(super) fn streams(&self) -> impl Iterator<Item = (u64, &[Message])> {
        let streams = self.messages.chunk_by(|one, next| one.group == next.group);
        streams.filter_map(|messages| Some((messages.first()?.group, messages)))
    }

    /// The body of a message.
    pub(super) fn body(&self, message: &Message) -> &[u8] {
        self.bytes.get(message.from..message.to).unwrap_or_default()
    }

    /// The bytes that it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.messages.len() * size_of::<Message>()
    }
}

/// The timestamp in the part of a numbered key: milliseconds since the Unix epoch. A later version may append to the part.
pub(super) fn timestamp(part: &[u8]) -> u64 {
    part.first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default()
}

/// The memory of a chunk that is kept for the next commit.
const SPARE_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::super::entry::{Entry, Numbered, Room, decode, encode_numbered};
    use super::super::keys::Key;
    use super::super::level::Level;
    use super::*;

    fn encoded(body: &[u8], streams: &[(u64, u64)]) -> Vec<u8> {
        let puts = [Key { group: 1, kind: 2, id: 3 }];
        let (level, room) = (Level::PowerLoss, Room::Ordinary);
        let entry = Entry { body, puts: &puts, parts: &[], deletes: &[], ends: None, level, room };
        let part = 77_u64.to_le_bytes();
        let numbered: Vec<_> = streams.iter().map(|(group, _)| Numbered { group: *group, part: &part }).collect();
        let mut encoded = encode_numbered(&entry, &numbered).unwrap();
        encoded.set_numbers(&streams.iter().map(|(_, id)| *id).collect::<Vec<_>>());
        let mut batch = Batch::new(Vec::new());
        let from = batch.bytes.len();
        batch.add(&encoded, body);
        batch.bytes.split_off(from)
    }

    #[test]
    fn a_chunk_has_the_messages_of_each_stream_in_order_also_if_its_memory_was_used_before() {
        let (one, two) = (1 << 63 | 1, 1 << 63 | 2);
        let backlog = Backlog::default();
        for _ in 0..3 {
            let mut chunk = backlog.chunk_for(0, [].into_iter());
            for entry in [
                encoded(b"first", &[(two, 5)]),
                encoded(b"none", &[]),
                encoded(b"both", &[(one, 9), (two, 6)]),
                encoded(b"", &[(one, 10)]),
            ] {
                chunk.add(&decode(&entry).unwrap());
            }
            chunk.finish();
            let streams: Vec<_> = chunk
                .streams()
                .map(|(group, messages)| {
                    let messages = messages.iter().map(|message| (message.sequence, chunk.body(message)));
                    (group, messages.collect::<Vec<_>>())
                })
                .collect();
            let expected = [(one, vec![(9, &b"both"[..]), (10, b"")]), (two, vec![(5, b"first"), (6, b"both")])];
            assert_eq!(streams, expected);
            assert!(chunk.messages.iter().all(|message| message.timestamp == 77));
            backlog.recycle(chunk);
        }
    }
}
