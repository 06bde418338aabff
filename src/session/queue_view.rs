//! The head of a queue, for operators.

use super::entry::{Content, Entry, State, content_bytes};
use super::{Delivery, Session};
use crate::timestamp::Timestamp;

/// A message in a queue.
#[derive(Debug)]
pub struct QueuedMessage<'a> {
    /// Its sequence.
    pub sequence: u64,
    /// How far its delivery is.
    pub state: QueuedState,
    /// The bytes of topic, payload and properties; `None`: not known any more.
    pub content: Option<usize>,
    /// When it expires, or [`Timestamp::NEVER`].
    pub expires_at: Timestamp,
    /// The message, if it is in memory.
    pub delivery: Option<&'a Delivery>,
    /// Whether it is to be sent, and only the store has it.
    pub is_stored: bool,
}

/// How far the delivery of a queued message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueuedState {
    /// It was never sent.
    Waiting,
    /// It was sent at QoS 1, perhaps on an earlier connection.
    AwaitingPuback,
    /// It was sent at QoS 2, perhaps on an earlier connection.
    AwaitingPubrec,
    /// The client has received it at QoS 2.
    AwaitingPubcomp,
}

impl Session {
    /// The first messages of the queue, at most `limit`. Looks at a bounded number of entries: complete messages between those in flight are
    /// skipped.
    pub fn queue_head(&self, limit: usize) -> impl Iterator<Item = QueuedMessage<'_>> {
        self.outgoing
            .queue()
            .into_iter()
            .flat_map(|outbound| outbound.queue.iter().take(LOOKED_AT_MAX))
            .filter_map(Entry::queued)
            .take(limit)
    }
}

impl Session {
    /// The messages of the queue from this sequence on.
    pub fn queue_from(&self, sequence: u64) -> impl Iterator<Item = QueuedMessage<'_>> {
        let queue = self.outgoing.queue().into_iter();
        queue.flat_map(move |queue| queue.queue.range(queue.place_from(sequence)..)).filter_map(Entry::queued)
    }
}

impl Entry {
    fn queued(&self) -> Option<QueuedMessage<'_>> {
        let state = match self.state {
            State::Queued => QueuedState::Waiting,
            State::AwaitingPuback => QueuedState::AwaitingPuback,
            State::AwaitingPubrec => QueuedState::AwaitingPubrec,
            State::AwaitingPubcomp => QueuedState::AwaitingPubcomp,
            State::Done => return None,
        };
        let (expires_at, delivery) = match &self.content {
            Content::Loaded(delivery) => (delivery.expires_at, Some(delivery)),
            Content::Away { expires_at } => (*expires_at, None),
        };
        let (sequence, content, is_stored) = (self.sequence, content_bytes(self.bytes), self.is_stored());
        Some(QueuedMessage { sequence, state, content, expires_at, delivery, is_stored })
    }
}

/// The entries that one query looks at.
const LOOKED_AT_MAX: usize = 4_096;
