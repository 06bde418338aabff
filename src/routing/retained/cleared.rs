//! Topics that have no retained message any more, among several brokers that change the same topics.

use std::collections::{HashMap, VecDeque};

use foldhash::quality::RandomState;

use crate::codec::MessageId;
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// The last changes of topics that have no retained message since. An earlier change by another broker that arrives later does not take effect.
#[derive(Debug, Default)]
pub(super) struct ClearedTopics {
    pub(super) topics: HashMap<TopicName, Cleared, RandomState>,
    /// In the order in which they were noted. Those of a topic that has another number now, or none, have no meaning.
    pub(super) ages: VecDeque<(Timestamp, u64, TopicName)>,
}

/// A change after which a topic has no retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleared {
    /// Its place in the order of all changes.
    pub id: MessageId,
    /// The number of its record.
    pub number: u64,
}

impl ClearedTopics {
    /// Notes the last change of a topic. Returns the numbers of those that are forgotten instead.
    pub(super) fn note(&mut self, topic: &TopicName, cleared: Cleared, now: Timestamp) -> Vec<u64> {
        let before = self.topics.insert(topic.clone(), cleared);
        self.ages.push_back((now, cleared.number, topic.clone()));
        let mut forgotten: Vec<u64> = before.map(|before| before.number).into_iter().collect();
        while self.topics.len() > CLEARED_MAX || self.ages.len() > 2 * CLEARED_MAX {
            forgotten.extend(self.forget_oldest());
        }
        forgotten
    }

    /// Forgets the oldest one, or what has no meaning any more. Returns its number if it was still there.
    pub(super) fn forget_oldest(&mut self) -> Option<u64> {
        let (_, number, topic) = self.ages.pop_front()?;
        let is_current = self.topics.get(&topic).is_some_and(|cleared| cleared.number == number);
        is_current.then(|| self.topics.remove(&topic))?;
        Some(number)
    }
}

/// Topics that are noted at a time.
pub(super) const CLEARED_MAX: usize = 50_000;
