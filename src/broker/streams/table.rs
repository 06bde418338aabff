use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::streams::groups::dispatch::GroupDispatch;
use crate::broker::streams::number::StreamNumber;
use crate::topic::{TopicFilter, TopicName};

/// A stream, as shards know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its number.
    pub number: StreamNumber,
    /// Its name.
    pub name: Arc<str>,
    /// The topics whose messages it keeps.
    pub topic: TopicFilter,
    /// Whether it takes new messages; if not, it can be read only.
    pub is_open: bool,
    /// What a subscription gets that begins with a message that is not kept any more.
    pub trimmed_offset: TrimmedOffset,
    /// How its messages are distributed among the members of a group.
    pub group_dispatch: GroupDispatch,
}

/// What happens to a subscription that begins with a message that a stream does not keep any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrimmedOffset {
    /// It is refused, and the oldest sequence is named.
    #[default]
    Refuse,
    /// It begins with the oldest message.
    Oldest,
}

/// All streams. Shards share it; a new one replaces it when the configuration changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamTable {
    /// In the order of their names.
    streams: Vec<Arc<Stream>>,
}

/// The streams that keep the messages of a topic.
pub type TopicStreams = SmallVec<[StreamNumber; 2]>;

impl StreamTable {
    /// A table of these streams. Their names and numbers must differ.
    pub fn new(streams: impl IntoIterator<Item = Stream>) -> Self {
        let mut streams: Vec<_> = streams.into_iter().map(Arc::new).collect();
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        Self { streams }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// The stream with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Stream>> {
        let place = self.streams.binary_search_by(|stream| (*stream.name).cmp(name)).ok()?;
        self.streams.get(place)
    }

    /// The stream with this number.
    pub fn get(&self, number: StreamNumber) -> Option<&Arc<Stream>> {
        self.streams.iter().find(|stream| stream.number == number)
    }

    /// All streams, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Stream>> {
        self.streams.iter()
    }

    /// The streams that keep the messages of a topic. A filter that begins with a wildcard does not match a topic that begins with `$`.
    /// [MQTT-4.7.2-1]
    pub(in crate::broker) fn matching(&self, topic: &TopicName) -> TopicStreams {
        let open = self.streams.iter().filter(|stream| stream.is_open);
        open.filter(|stream| stream.topic.matches(topic)).map(|stream| stream.number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(number: u32, name: &str, topic: &'static str, is_open: bool) -> Stream {
        let topic = TopicFilter::new(topic.into()).unwrap();
        let trimmed_offset = TrimmedOffset::Refuse;
        Stream {
            number: StreamNumber(number),
            name: name.into(),
            topic,
            is_open,
            trimmed_offset,
            group_dispatch: GroupDispatch::default(),
        }
    }

    fn matching(table: &StreamTable, topic: &'static str) -> Vec<u32> {
        table.matching(&TopicName::new(topic.into()).unwrap()).iter().map(|number| number.0).collect()
    }

    #[test]
    fn a_topic_is_in_the_open_streams_whose_filters_match() {
        let table = StreamTable::new([
            stream(3, "b", "a/+", true),
            stream(1, "a", "#", true),
            stream(2, "c", "a/#", false),
            stream(4, "d", "$SYS/#", true),
        ]);
        assert_eq!(matching(&table, "a/b"), [1, 3]);
        assert_eq!(matching(&table, "b"), [1]);
        assert_eq!(matching(&table, "$SYS/broker/load"), [4]);
        assert_eq!(table.named("c").map(|stream| stream.number), Some(StreamNumber(2)));
        assert_eq!(table.named("e"), None);
        assert_eq!(table.get(StreamNumber(3)).map(|stream| &*stream.name), Some("b"));
        assert_eq!(table.get(StreamNumber(5)), None);
    }
}
