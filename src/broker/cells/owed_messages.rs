use std::collections::{HashMap, VecDeque};

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use crate::broker::cells::state::CellState;
use crate::broker::ids::ConnectionId;
use crate::routing::CellId;
use crate::topic::TopicName;

/// Messages of a shard that other cells do not have yet, and for which something waits, in the order in which they were accepted. Each is in the queue of a
/// link, which bounds them.
#[derive(Debug, Default)]
pub(in crate::broker) struct OwedMessages {
    pub(super) queue: VecDeque<OwedMessage>,
    /// The number of the last one.
    last: u64,
    /// The topics of those at QoS 0, and how many each has.
    topics: HashMap<TopicName, usize, RandomState>,
}

#[derive(Debug)]
pub(super) struct OwedMessage {
    pub(super) number: u64,
    /// Its sequence in the queue for each other cell.
    pub(super) sequences: SmallVec<[(CellId, u64); 5]>,
    /// The connection of its publisher, whose answers wait: see [`HoldLast`](crate::session::Event::HoldLast).
    pub(super) publisher: Option<ConnectionId>,
    /// Its topic, at QoS 0: later messages to it take the same way.
    pub(super) topic: Option<TopicName>,
}

impl OwedMessages {
    /// Whether messages to a topic at QoS 0 are on their way in the queues of links.
    pub(in crate::broker) fn has_topic(&self, topic: &TopicName) -> bool {
        !self.topics.is_empty() && self.topics.contains_key(topic)
    }

    #[cfg(test)]
    pub(in crate::broker) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.topics.is_empty()
    }

    pub(super) fn push(&mut self, mut message: OwedMessage) -> u64 {
        self.last += 1;
        message.number = self.last;
        if let Some(topic) = &message.topic {
            *self.topics.entry(topic.detached()).or_default() += 1;
        }
        self.queue.push_back(message);
        self.last
    }

    /// Removes the first one if all other cells have it.
    pub(super) fn pop(&mut self, cell: &CellState) -> Option<OwedMessage> {
        let has = |(other, sequence): &(CellId, u64)| cell.has_received(*other, *sequence);
        self.queue.front().filter(|message| message.sequences.iter().all(has))?;
        let message = self.queue.pop_front()?;
        if let Some(topic) = &message.topic
            && let Some(count) = self.topics.get_mut(topic)
        {
            *count -= 1;
            if *count == 0 {
                self.topics.remove(topic);
            }
        }
        Some(message)
    }
}
