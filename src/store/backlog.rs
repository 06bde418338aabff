//! Stable messages that are not in the files of their streams yet.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::entry::decode;
use super::format::BATCH_HEADER_BYTES;
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
    closed: bool,
}

/// The messages of one commit, ordered by stream and sequence.
#[derive(Default)]
pub(super) struct Chunk {
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

    /// Takes the oldest chunk; waits for one, but not longer than `patience`.
    pub(super) fn take(&self, patience: Duration) -> Option<Chunk> {
        let state = self.lock();
        let waits = |state: &mut State| state.chunks.is_empty() && !state.closed;
        let woken = self.wake.wait_timeout_while(state, patience, waits);
        woken.unwrap_or_else(PoisonError::into_inner).0.chunks.pop_front()
    }

    /// Puts back a chunk that was taken.
    pub(super) fn put_back(&self, chunk: Chunk) {
        self.lock().chunks.push_front(chunk);
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
    /// The messages of streams in these batches.
    pub(super) fn of<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Self {
        let mut chunk = Self::default();
        for batch in batches {
            let mut at = BATCH_HEADER_BYTES;
            for _ in 0..batch.entries {
                let Some(entry) = batch.bytes.get(at..).and_then(decode) else { break };
                at += entry.length;
                let from = chunk.bytes.len();
                for (put, key) in entry.puts.iter().enumerate().filter(|(_, key)| key.kind == NUMBERED) {
                    if chunk.bytes.len() == from {
                        chunk.bytes.extend_from_slice(entry.body);
                    }
                    let (timestamp, to) = (timestamp(entry.part(put)), from + entry.body.len());
                    chunk.messages.push(Message { group: key.group, sequence: key.id, timestamp, from, to });
                }
            }
        }
        // Few chunks have several streams. The sort is stable, and the sequences of each stream ascend.
        if !chunk.messages.is_sorted_by_key(|message| message.group) {
            chunk.messages.sort_by_key(|message| message.group);
        }
        chunk
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
