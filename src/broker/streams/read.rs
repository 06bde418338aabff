//! What a shard asks of the streams, and what it is answered.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::BytesMut;

use crate::broker::persistence::body::Body;
use crate::broker::persistence::head::StoredHead;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::start::StreamStart;
use crate::codec::Message;
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

/// The read of one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCursorId {
    pub(in crate::broker) slot: usize,
    pub(in crate::broker) session: SessionKey,
    /// The number of the read. No two reads of a shard have the same.
    pub(in crate::broker) read: u64,
}

/// A request to read the next messages of a stream, for one subscription.
#[derive(Debug)]
pub struct StreamRequest {
    /// Whose it is.
    pub cursor: StreamCursorId,
    /// The stream.
    pub stream: StreamNumber,
    /// Where to begin.
    pub from: StreamStart,
    /// The wanted topics; `None`: all.
    pub filter: Option<TopicFilter>,
    /// The greatest number of messages.
    pub messages_max: usize,
    /// No further message is wanted after this number of bytes.
    pub bytes_max: usize,
}

/// The answer to a [`StreamRequest`].
#[derive(Debug)]
pub struct StreamChunk {
    pub(in crate::broker) request: StreamRequest,
    /// The messages, in order.
    messages: Vec<StoredStreamMessage>,
    /// When those that expire were accepted, with their indexes.
    accepted: Vec<(usize, Timestamp)>,
    /// The first sequence that was not looked at; 0: none was.
    next: u64,
    /// The first sequence that the stream has.
    oldest: u64,
    /// Messages that cannot be read, before all others of the chunk.
    unreadable: Option<RangeInclusive<u64>>,
    /// Why nothing was read.
    pub(in crate::broker) error: Option<StreamReadError>,
    /// The bytes of the messages, and of all that were looked at.
    bytes: usize,
    visited: usize,
    /// Whether no further message is wanted.
    is_complete: bool,
    /// Their contents.
    buffer: BytesMut,
}

/// What was read, for all subscriptions that waited for it.
#[derive(Debug, Clone)]
pub struct ReadMessages {
    /// In order.
    pub messages: Arc<Vec<StoredStreamMessage>>,
    /// The first sequence that was not looked at; 0: none was.
    pub next: u64,
    /// The first sequence that the stream has.
    pub oldest: u64,
    /// Messages that cannot be read, before all others.
    pub unreadable: Option<RangeInclusive<u64>>,
}

/// Why a stream was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamReadError {
    /// There is no such stream any more.
    Gone,
    /// It may be read later.
    Temporary,
}

/// A message of a stream.
#[derive(Debug, Clone)]
pub struct StoredStreamMessage {
    /// Its number.
    pub sequence: u64,
    /// When it was accepted, in milliseconds of the wall clock since 1970.
    pub timestamp: u64,
    /// The message.
    pub message: Message,
    /// When it expires, or [`Timestamp::NEVER`].
    pub expires_at: Timestamp,
}

impl StreamRequest {
    /// The request of an operator: of `messages_max` messages whose topics match `filter`, and of about `bytes_max` bytes.
    pub const fn of_operator(
        (stream, from): (StreamNumber, StreamStart),
        filter: Option<TopicFilter>,
        (messages_max, bytes_max): (usize, usize),
    ) -> Self {
        // No Session waits for the answer.
        let cursor = StreamCursorId { slot: usize::MAX, session: SessionKey(0), read: 0 };
        Self { cursor, stream, from, filter, messages_max, bytes_max }
    }

    /// The answer, without messages.
    pub fn answer(self) -> StreamChunk {
        StreamChunk {
            request: self,
            messages: Vec::new(),
            accepted: Vec::new(),
            next: 0,
            oldest: 0,
            unreadable: None,
            error: None,
            bytes: 0,
            visited: 0,
            is_complete: false,
            buffer: BytesMut::new(),
        }
    }
}

impl StreamChunk {
    /// The request.
    pub const fn request(&self) -> &StreamRequest {
        &self.request
    }

    /// Whether it has no message.
    pub const fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The first sequence that was not looked at, once the chunk is complete.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Looks at the next message of the stream, with the body of its record, and adds it if its topic is wanted. Returns whether the next one is
    /// wanted as well.
    pub fn add(&mut self, sequence: u64, timestamp: u64, body: &[u8]) -> bool {
        let StreamRequest { filter, messages_max, bytes_max, .. } = &self.request;
        if self.buffer.capacity() < body.len() {
            self.buffer = BytesMut::with_capacity(body.len().max(BUFFER_BYTES));
        }
        match read(body, filter.as_ref(), &mut self.buffer) {
            None => return self.skip_unreadable(sequence..=sequence),
            Some(None) => {}
            Some(Some((message, StoredHead { expires_at, at, .. }))) => {
                self.accepted.extend(at.map(|at| (self.messages.len(), at)));
                let expires_at = expires_at.unwrap_or(Timestamp::NEVER);
                self.messages.push(StoredStreamMessage { sequence, timestamp, message, expires_at });
                self.bytes += body.len();
            }
        }
        self.next = sequence.saturating_add(1);
        self.visited += body.len().max(VISIT_BYTES);
        self.is_complete =
            self.messages.len() >= *messages_max || self.bytes >= *bytes_max || self.visited >= VISITED_MAX;
        !self.is_complete
    }

    /// Passes over messages that cannot be read. If there are messages before them, the next read comes upon them again. Returns whether further
    /// messages are wanted.
    pub fn skip_unreadable(&mut self, range: RangeInclusive<u64>) -> bool {
        self.is_complete |= !self.messages.is_empty();
        if self.is_complete {
            return false;
        }
        self.next = range.end().saturating_add(1);
        let start = self.unreadable.as_ref().map_or(*range.start(), |before| *before.start());
        self.unreadable = Some(start..=*range.end());
        true
    }

    /// Completes the chunk: the messages before `next` were looked at, unless one was not wanted any more, and the stream has those from `oldest` on.
    pub fn finish(&mut self, next: u64, oldest: u64) {
        if !self.is_complete {
            self.next = self.next.max(next);
        }
        self.oldest = oldest;
    }

    /// What was read. If the broker's time is before that of an acceptance, no time has passed since: a loss of power may take the record of the
    /// time, and the log has forgotten the message, which would tell it.
    pub(in crate::broker) fn into_messages(self, now: Timestamp) -> ReadMessages {
        let Self { mut messages, accepted, next, oldest, unreadable, .. } = self;
        for (place, at) in accepted.into_iter().filter(|(_, at)| *at > now) {
            if let Some(stored) = messages.get_mut(place) {
                stored.expires_at = now + stored.expires_at.since(at);
            }
        }
        ReadMessages { messages: Arc::new(messages), next, oldest, unreadable }
    }

    /// What was read, or why nothing was.
    ///
    /// # Errors
    ///
    /// See [`StreamReadError`].
    pub fn into_result(self) -> Result<ReadMessages, StreamReadError> {
        // An operator is shown when a message expires, not how long that is from now.
        self.error.map_or_else(|| Ok(self.into_messages(Timestamp::NEVER)), Err)
    }

    /// Completes the chunk with the reason why it is not longer.
    pub fn fail(&mut self, error: StreamReadError) {
        self.error = Some(error);
    }
}

/// Decodes the body of an accepted message. `Some(None)`: its topic is not wanted. The content is copied into `buffer`.
fn read(body: &[u8], filter: Option<&TopicFilter>, buffer: &mut BytesMut) -> Option<Option<(Message, StoredHead)>> {
    let body = &mut Body(body);
    let head = StoredHead::read(body)?;
    body.option(Body::bytes)?;
    if let Some(filter) = filter
        && !filter.matches_text(Body(body.0).str()?)
    {
        return Some(None);
    }
    let message = body.message_in(head.qos, buffer)?;
    Some(Some((message, head)))
}

impl StoredStreamMessage {
    /// The bytes that a copy of it has in a queue, at most.
    pub(in crate::broker) fn queued_bytes_max(&self) -> usize {
        let Message { topic, properties, payload, .. } = &self.message;
        topic.as_str().len() + properties.as_bytes().len() + payload.len() + COPY_BYTES
    }

    /// The message as it is sent: it has no journey, because it may be sent any number of times.
    pub(in crate::broker) fn into_message(self) -> Arc<Message> {
        Arc::new(Message { is_noted: false, ..self.message })
    }
}

/// The size of a buffer that the messages of a chunk share.
const BUFFER_BYTES: usize = 32 << 10;
/// What a copy of a message has in a queue in addition: the properties that say where it is, and the entry of the queue.
const COPY_BYTES: usize = 768;
/// No further message is looked at in one read after this number of bytes, also if none was wanted.
const VISITED_MAX: usize = 4 << 20;
/// What a message counts at least, in bytes.
const VISIT_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::persistence::body::put_message;
    use crate::broker::persistence::head::put_head;
    use crate::codec::Qos;
    use crate::topic::TopicName;

    fn request(filter: Option<&str>, messages_max: usize) -> StreamChunk {
        let request = StreamRequest {
            cursor: StreamCursorId { slot: 1, session: SessionKey(1), read: 1 },
            stream: StreamNumber(1),
            from: StreamStart::Sequence(1),
            filter: filter.map(|filter| TopicFilter::try_from(filter).unwrap()),
            messages_max,
            bytes_max: 10_000,
        };
        request.answer()
    }

    fn body(topic: &str, payload: &'static str) -> Vec<u8> {
        let mut body = Vec::new();
        put_head(&mut body, Qos::AtLeastOnce, None, Timestamp(5));
        body.push(0); // no retainer
        put_message(&mut body, &Message::new(TopicName::try_from(topic).unwrap(), payload));
        body
    }

    fn sequences(read: &ReadMessages) -> Vec<u64> {
        read.messages.iter().map(|stored| stored.sequence).collect()
    }

    #[test]
    fn only_wanted_topics_are_added_and_all_that_was_looked_at_counts() {
        let mut chunk = request(Some("a/+"), 2);
        assert!(chunk.add(1, 10, &body("a/x", "1")));
        assert!(chunk.add(2, 20, &body("b/x", "2")));
        assert!(!chunk.add(3, 30, &body("a/y", "3")), "that were two");
        chunk.finish(9, 1);
        let read = chunk.into_messages(Timestamp(5));
        assert_eq!((sequences(&read), read.next, read.oldest), (vec![1, 3], 4, 1));
        assert_eq!((&*read.messages[1].message.payload, read.messages[1].timestamp), (b"3".as_slice(), 30));
        let mut chunk = request(Some("c"), 2);
        assert!(chunk.add(1, 10, &body("a/x", "1")));
        chunk.finish(9, 1);
        assert_eq!(chunk.into_messages(Timestamp(5)).next, 9);
    }

    #[test]
    fn time_that_was_lost_makes_no_interval_longer() {
        let mut expiring = Vec::new();
        put_head(&mut expiring, Qos::AtLeastOnce, Some(Timestamp(1_500)), Timestamp(500));
        expiring.extend_from_slice(&body("a", "1")[2..]);
        for (now, expires_at) in [(500, 1_500), (900, 1_500), (2_000, 1_500), (499, 1_499), (100, 1_100)] {
            let mut chunk = request(None, 9);
            assert!(chunk.add(1, 1, &body("a", "0")) && chunk.add(2, 1, &expiring));
            let messages = chunk.into_messages(Timestamp(now)).messages;
            let times: Vec<_> = messages.iter().map(|stored| stored.expires_at).collect();
            assert_eq!(times, [Timestamp::NEVER, Timestamp(expires_at)], "at {now}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_before_the_messages_behind_it() {
        let mut chunk = request(None, 9);
        assert!(chunk.skip_unreadable(1..=3) && chunk.add(4, 1, b"no record"));
        assert!(chunk.add(5, 1, &body("a", "5")));
        assert!(!chunk.add(6, 1, b""), "the messages before it are sent first");
        chunk.finish(9, 1);
        let read = chunk.into_messages(Timestamp(5));
        assert_eq!((sequences(&read), read.next, read.unreadable), (vec![5], 6, Some(1..=4)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_unreadable(bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0_usize..60) {
            for body in [bytes, body("a/b", "payload").split_off(cut.min(20)), body("a/b", "payload")] {
                let mut chunk = request(Some("a/#"), 9);
                chunk.add(1, 1, &body);
                chunk.finish(2, 1);
                prop_assert_eq!(chunk.into_messages(Timestamp(5)).next, 2);
            }
        }
    }
}
