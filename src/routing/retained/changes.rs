//! Changes of a topic by several brokers.

use super::RetainedStore;
use super::cleared::Cleared;
use crate::codec::MessageId;
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

impl RetainedStore {
    /// The place of the last change of a topic in the order of all changes, as far as it is known.
    pub fn last_change(&self, topic: &TopicName) -> Option<MessageId> {
        let cleared = || self.cleared.topics.get(topic).map(|cleared| cleared.id);
        self.get(topic).map_or_else(cleared, |retained| retained.message.id)
    }

    /// Notes that a topic has no retained message since a change. Returns the numbers of the records that are obsolete now: of an earlier such change
    /// of the topic, and of the oldest ones of other topics if there are more than 50,000.
    pub fn note_cleared(&mut self, topic: &TopicName, cleared: Cleared, now: Timestamp) -> Vec<u64> {
        self.cleared.note(topic, cleared, now)
    }

    /// A topic has a retained message again. Returns the number of the change since which it had none.
    pub fn forget_cleared(&mut self, topic: &TopicName) -> Option<u64> {
        self.cleared.topics.remove(topic).map(|cleared| cleared.number)
    }

    /// Forgets up to `limit` topics that have no retained message since this time or longer. Returns the numbers of these changes.
    pub fn forget_cleared_until(&mut self, time: Timestamp, limit: usize) -> Vec<u64> {
        let mut forgotten = Vec::new();
        while forgotten.len() < limit && self.cleared.ages.front().is_some_and(|(noted, ..)| *noted <= time) {
            forgotten.extend(self.cleared.forget_oldest());
        }
        forgotten
    }

    /// Removes up to `limit` messages that have expired at `now`, and notes that their topics have none since. Returns the numbers of records that are
    /// obsolete for that, which those of the expired messages are not.
    pub fn clear_expired(&mut self, now: Timestamp, limit: usize) -> Vec<u64> {
        let mut forgotten = Vec::new();
        for _ in 0..limit {
            let Some((_, topic)) = self.expiries.first().filter(|(expires_at, _)| *expires_at <= now) else { break };
            let topic = topic.clone();
            let Some(expired) = self.get(&topic).map(|retained| (retained.message.id, retained.number)) else { break };
            self.clear(&topic);
            match expired {
                (Some(id), number) => forgotten.extend(self.note_cleared(&topic, Cleared { id, number }, now)),
                (None, number) => forgotten.push(number),
            }
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::super::cleared::CLEARED_MAX;
    use super::*;
    use crate::routing::RetainedLimits;

    fn topic(number: usize) -> TopicName {
        TopicName::try_from(number.to_string().as_str()).unwrap()
    }

    fn cleared(number: u64) -> Cleared {
        Cleared { id: MessageId { run: number, number: 0 }, number }
    }

    #[test]
    fn the_topics_cleared_last_are_known_for_a_time() {
        let limits = RetainedLimits { retained_messages_max: 1, retained_bytes_max: 1_000 };
        let mut store = RetainedStore::new(limits);
        for number in 1..=CLEARED_MAX {
            assert!(store.note_cleared(&topic(number), cleared(number as u64), Timestamp(number as u64)).is_empty());
        }
        assert_eq!(store.note_cleared(&topic(2), cleared(60_000), Timestamp(60_000)), [2]);
        assert_eq!(store.note_cleared(&topic(0), cleared(60_001), Timestamp(60_001)), [1], "the oldest one");
        assert_eq!(store.last_change(&topic(1)), None);
        assert_eq!(store.last_change(&topic(2)), Some(MessageId { run: 60_000, number: 0 }));
        assert_eq!(store.forget_cleared(&topic(3)), Some(3));
        assert_eq!(store.forget_cleared_until(Timestamp(5), 10), [4, 5]);
        assert_eq!(store.forget_cleared_until(Timestamp(9), 2), [6, 7]);
        for time in 0..3 * CLEARED_MAX {
            store.note_cleared(&topic(2), cleared(70_000 + time as u64), Timestamp(70_000 + time as u64));
        }
        assert!(store.cleared.ages.len() <= 2 * CLEARED_MAX);
        assert!(store.last_change(&topic(2)).is_some());
    }
}
