//! Messages of streams on their way to groups, before they are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::read::StoredStreamMessage;
use crate::codec::{Message, Qos};
use crate::routing::StreamSequences;
use crate::session::Ticket;
use crate::timestamp::{Stamp, Timestamp};

/// A message that entered streams, until its record is stable.
#[derive(Debug)]
pub(in crate::broker) struct Entering {
    pub(in crate::broker) ticket: Ticket,
    pub(in crate::broker) message: Arc<Message>,
    pub(in crate::broker) expires_at: Timestamp,
    pub(in crate::broker) sequences: Arc<StreamSequences>,
}

/// A message of a stream, for a group.
#[derive(Debug, Clone)]
pub(in crate::broker) struct FreshMessage {
    pub(in crate::broker) sequence: u64,
    /// When it was accepted, in milliseconds of the wall clock since 1970.
    pub(in crate::broker) timestamp: u64,
    pub(in crate::broker) expires_at: Timestamp,
    pub(in crate::broker) message: Arc<Message>,
}

/// Fresh messages by stream.
pub(in crate::broker) type FreshOfStreams = SmallVec<[(StreamNumber, Vec<FreshMessage>); 1]>;

impl FreshMessage {
    pub(in crate::broker) fn from_read(stored: &StoredStreamMessage) -> Self {
        let mut stored = stored.clone();
        // A few messages that are not acknowledged must not keep all that was read.
        stored.message.detach();
        stored.message.topic = stored.message.topic.detached();
        let (sequence, timestamp, expires_at) = (stored.sequence, stored.timestamp, stored.expires_at);
        Self { sequence, timestamp, expires_at, message: stored.into_message() }
    }
}

/// Messages of a group behind the next one, which comes from another shard, or for which there is no room yet: at most [`FRESH_MESSAGES_MAX`], and
/// [`FRESH_BYTES_MAX`] bytes. When it is full, later ones are read.
#[derive(Debug, Default)]
pub(in crate::broker) struct Fresh {
    /// By sequence; `None`: the group does not want its topic.
    pub(in crate::broker) messages: BTreeMap<u64, Option<FreshMessage>>,
    bytes: usize,
    /// Whether the last message that was added was not read.
    pub(in crate::broker) is_followed: bool,
    /// The next message when the group last waited for it.
    pub(in crate::broker) awaited: Option<u64>,
}

impl Fresh {
    /// Keeps the message with this sequence, if there is room. Each comes once.
    pub(in crate::broker) fn insert(&mut self, sequence: u64, message: Option<FreshMessage>) {
        let bytes = message.as_ref().map_or(0, |fresh| fresh.message.content_len());
        if self.messages.len() < FRESH_MESSAGES_MAX && self.bytes + bytes <= FRESH_BYTES_MAX {
            self.bytes += bytes;
            self.messages.insert(sequence, message);
        }
    }

    /// Removes the messages before `next`, and takes that with this sequence.
    pub(in crate::broker) fn take(&mut self, next: u64) -> Option<Option<FreshMessage>> {
        while let Some(first) = self.messages.first_entry().filter(|first| *first.key() <= next) {
            let (sequence, message) = first.remove_entry();
            self.bytes -= message.as_ref().map_or(0, |fresh| fresh.message.content_len());
            if sequence == next {
                return Some(message);
            }
        }
        None
    }

    /// Messages were read.
    pub(in crate::broker) const fn end_following(&mut self) {
        self.is_followed = false;
    }

    pub(in crate::broker) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Entering {
    /// Adds the message to those of each of its streams.
    pub(in crate::broker) fn add_to(mut self, streams: &mut FreshOfStreams) {
        // Its record was refused, which ends the broker.
        let (Some(given), Some(accepted)) = (self.sequences.get(), self.sequences.accepted()) else { return };
        // It is copied only if it has other receivers, too.
        let message = Arc::make_mut(&mut self.message);
        // It may be sent any number of times, so it has no journey.
        (message.is_noted, message.received) = (false, Stamp::NONE);
        if message.qos == Qos::AtMostOnce {
            message.detach(); // the content of others is copied when they are decoded
            message.topic = message.topic.detached();
        }
        for (number, sequence) in given {
            let (number, message) = (StreamNumber(*number), Arc::clone(&self.message));
            let (timestamp, expires_at) = (accepted.0, self.expires_at);
            let fresh = FreshMessage { sequence: *sequence, timestamp, expires_at, message };
            match streams.iter_mut().find(|(stream, _)| *stream == number) {
                Some((_, messages)) => messages.push(fresh),
                None => streams.push((number, vec![fresh])),
            }
        }
    }
}

/// The greatest number of messages that a group has besides its window.
pub(in crate::broker) const FRESH_MESSAGES_MAX: usize = 4_096;
/// The same for their topics, payloads and properties, in bytes.
const FRESH_BYTES_MAX: usize = 1 << 20;
