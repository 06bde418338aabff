//! Streams in memory, which shards read as those in files.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use super::harness::Harness;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::record::RetainedChange;
use crate::broker::{
    Event, Record, Stream, StreamChunk, StreamNumber, StreamReadError, StreamRequest, StreamStart, StreamTable,
    TrimmedOffset,
};
use crate::codec::{Message, OutgoingPublish, Qos};
use crate::timestamp::Timestamp;
use crate::topic::{TopicFilter, TopicName};

/// What each stream has.
#[derive(Debug, Clone, Default)]
pub(in crate::broker::tests) struct FakeStreams {
    streams: BTreeMap<StreamNumber, FakeStream>,
    /// The next reads fail for this reason.
    pub(in crate::broker::tests) failure: Option<StreamReadError>,
    /// The number of reads, and of messages that were looked at.
    pub(in crate::broker::tests) reads: usize,
    pub(in crate::broker::tests) visited: usize,
}

#[derive(Debug, Clone)]
struct FakeStream {
    oldest: u64,
    end: u64,
    /// Timestamp and body of each message, by sequence.
    messages: BTreeMap<u64, (u64, Vec<u8>)>,
}

pub(in crate::broker::tests) const STREAM: StreamNumber = StreamNumber(5);

/// A message for a stream.
pub(in crate::broker::tests) fn stored(topic: &str, payload: String, qos: Qos) -> (Message, Timestamp) {
    let message = Message::new(TopicName::try_from(topic).unwrap(), payload);
    (Message { qos, ..message }, Timestamp::NEVER)
}

impl FakeStreams {
    pub(in crate::broker::tests) fn read(&mut self, request: StreamRequest) -> StreamChunk {
        self.reads += 1;
        let mut chunk = request.answer();
        if let Some(failure) = self.failure {
            chunk.fail(failure);
            return chunk;
        }
        let stream = self.stream(chunk.request().stream);
        let from = match chunk.request().from {
            StreamStart::Earliest => stream.oldest,
            StreamStart::Latest => stream.end,
            StreamStart::Sequence(sequence) => sequence,
            StreamStart::Time(time) => {
                let found = stream.messages.iter().find(|(_, (timestamp, _))| *timestamp >= time);
                found.map_or(stream.end, |(sequence, _)| *sequence)
            }
        };
        let (oldest, end, mut visited) = (stream.oldest, stream.end, 0);
        for sequence in from.max(oldest)..end {
            visited += 1;
            let is_wanted = match stream.messages.get(&sequence) {
                Some((timestamp, body)) => chunk.add(sequence, *timestamp, body),
                None => chunk.skip_unreadable(sequence..=sequence),
            };
            if !is_wanted {
                break;
            }
        }
        chunk.finish(end, oldest);
        self.visited += visited;
        chunk
    }

    fn stream(&mut self, number: StreamNumber) -> &mut FakeStream {
        self.streams.entry(number).or_insert_with(|| FakeStream { oldest: 1, end: 1, messages: BTreeMap::new() })
    }
}

impl Harness {
    /// Makes a stream of `#`.
    pub(in crate::broker::tests) fn add_stream(&mut self, name: &str, number: StreamNumber, trimmed: TrimmedOffset) {
        let shared = Arc::clone(&self.shards[0].shared);
        let table = shared.streams();
        let new = Stream {
            number,
            name: name.into(),
            topic: TopicFilter::try_from("#").unwrap(),
            is_open: true,
            trimmed_offset: trimmed,
            group_dispatch: self.group_dispatch.clone(),
        };
        shared.set_streams(StreamTable::new(table.iter().map(|stream| Stream::clone(stream)).chain([new])));
    }

    /// Appends messages to a stream; each has the time of its sequence in seconds.
    pub(in crate::broker::tests) fn append_to(
        &mut self,
        number: StreamNumber,
        messages: impl IntoIterator<Item = (Message, Timestamp)>,
    ) {
        let now = self.now;
        let stream = self.streams.stream(number);
        for (message, expires_at) in messages {
            let (qos, expires_at) = (message.qos, (expires_at != Timestamp::NEVER).then_some(expires_at));
            let record = Record::Accepted {
                publisher: None,
                message: Arc::new(message),
                qos,
                at: now,
                expires_at,
                retained: RetainedChange::None,
                deduplicated: None,
                receivers: Arc::default(),
                streams: Default::default(),
                sequences: None,
                durability: Durability::PowerLoss,
                is_awaited: false,
                instead_of: None,
                delayed: None,
                receipt: None,
            };
            stream.messages.insert(stream.end, (stream.end * 1_000, record.to_bytes().body));
            stream.end += 1;
        }
        self.publish_progress(number);
    }

    /// Removes the messages before `oldest`.
    pub(in crate::broker::tests) fn trim(&mut self, number: StreamNumber, oldest: u64) {
        let stream = self.streams.stream(number);
        stream.messages = stream.messages.split_off(&oldest);
        stream.oldest = oldest;
        stream.end = stream.end.max(oldest);
        self.publish_progress(number);
    }

    /// Takes the streams of a broker that has ended.
    pub(super) fn take_streams_of(&mut self, before: &Self) {
        self.streams = before.streams.clone();
        let (shared, table) = (Arc::clone(&self.shards[0].shared), before.shards[0].shared.streams());
        shared.set_streams(StreamTable::new(table.iter().map(|stream| Stream::clone(stream))));
        for (number, stream) in &self.streams.streams {
            shared.stream_advanced(*number, stream.oldest..stream.end, |_| ());
        }
    }

    /// Makes messages unreadable.
    pub(in crate::broker::tests) fn damage(&mut self, number: StreamNumber, range: Range<u64>) {
        self.streams.stream(number).messages.retain(|sequence, _| !range.contains(sequence));
    }

    fn publish_progress(&mut self, number: StreamNumber) {
        let (shared, mut woken) = (Arc::clone(&self.shards[0].shared), Vec::new());
        let stream = self.streams.stream(number);
        shared.stream_advanced(number, stream.oldest..stream.end, |shard| woken.push(shard));
        for shard in woken {
            self.event(usize::from(shard.0), Event::StreamAdvanced(number));
        }
    }
}

/// What a PUBLISH says about its place in the stream.
pub(in crate::broker::tests) struct StreamMarks {
    pub(in crate::broker::tests) sequence: u64,
    pub(in crate::broker::tests) previous: Option<u64>,
    pub(in crate::broker::tests) trimmed: Option<RangeInclusive<u64>>,
}

impl StreamMarks {
    pub(in crate::broker::tests) fn of(publish: &OutgoingPublish) -> Self {
        let mark = |name| publish.message.properties.user_property(name);
        let trimmed = mark("stream-trimmed").and_then(|range| range.split_once('-'));
        Self {
            sequence: mark("stream-sequence").unwrap().parse().unwrap(),
            previous: mark("stream-previous").unwrap().parse().ok(),
            trimmed: trimmed.map(|(first, last)| first.parse().unwrap()..=last.parse().unwrap()),
        }
    }
}
