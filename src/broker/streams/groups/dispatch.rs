//! Which member of a group gets a message.

use std::sync::Arc;

use crate::codec::{Message, MessageProperty};
use crate::routing::SessionKey;

/// How the messages of a stream are distributed among the members of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GroupDispatch {
    /// To the members in turn, as far as they have room.
    #[default]
    RoundRobin,
    /// The messages of a topic to the same member, in order.
    HashTopic,
    /// The messages with the same value of this User Property to the same member, in order; those without it by their topic.
    HashKey(Arc<str>),
}

impl GroupDispatch {
    /// The key whose messages keep their order; `None`: there is none.
    pub(in crate::broker) fn key_of(&self, message: &Message) -> Option<u64> {
        match self {
            Self::RoundRobin => None,
            Self::HashTopic => Some(hash(TOPIC, message.topic.as_str())),
            Self::HashKey(name) => {
                let value = message.properties.iter().find_map(|property| match property {
                    MessageProperty::UserProperty(found, value) if *found == **name => Some(value),
                    MessageProperty::UserProperty(..)
                    | MessageProperty::PayloadFormatIndicator(_)
                    | MessageProperty::ContentType(_)
                    | MessageProperty::ResponseTopic(_)
                    | MessageProperty::CorrelationData(_) => None,
                });
                Some(value.map_or_else(|| hash(TOPIC, message.topic.as_str()), |value| hash(PROPERTY, &value)))
            }
        }
    }
}

/// The place of a member for a key: the member with the highest one gets its messages. When a member comes or goes, only the keys change
/// that it gets or had.
pub(in crate::broker) fn rank(key: u64, member: SessionKey) -> u64 {
    // The finalizer of SplitMix64.
    let mut rank = key ^ member.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    rank = (rank ^ (rank >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    rank = (rank ^ (rank >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    rank ^ (rank >> 31)
}

/// FNV-1a.
fn hash(kind: u64, text: &str) -> u64 {
    text.bytes().fold(kind, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

const TOPIC: u64 = 0xCBF2_9CE4_8422_2325;
/// So that a topic and a value with the same text are two keys.
const PROPERTY: u64 = !TOPIC;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::codec::MessageProperties;
    use crate::topic::TopicName;

    fn message(topic: &'static str, key: Option<&'static str>) -> Message {
        let property = key.map(|key| MessageProperty::UserProperty("customer".into(), key.into()));
        let properties = MessageProperties::from_properties(property);
        Message { properties, ..Message::new(TopicName::try_from(topic).unwrap(), "x") }
    }

    #[test]
    fn keys_follow_the_topic_or_the_property() {
        let by_key = GroupDispatch::HashKey("customer".into());
        let (a, b) = (message("a", Some("7")), message("b", Some("7")));
        assert_eq!(by_key.key_of(&a), by_key.key_of(&b));
        assert_ne!(GroupDispatch::HashTopic.key_of(&a), GroupDispatch::HashTopic.key_of(&b));
        assert_ne!(by_key.key_of(&a), by_key.key_of(&message("a", Some("8"))));
        assert_eq!(by_key.key_of(&message("a", None)), GroupDispatch::HashTopic.key_of(&a));
        assert_ne!(by_key.key_of(&message("a", Some("a"))), GroupDispatch::HashTopic.key_of(&a));
        assert_eq!(GroupDispatch::RoundRobin.key_of(&a), None);
    }

    #[test]
    fn keys_are_spread_and_few_move_when_a_member_goes() {
        let best =
            |members: &[u64], key: u64| *members.iter().max_by_key(|member| rank(key, SessionKey(**member))).unwrap();
        let (all, fewer): (Vec<u64>, Vec<u64>) = ((1..=10).collect(), (1..=9).collect());
        let mut counts = BTreeMap::<u64, u32>::new();
        for number in 0..10_000 {
            let key = hash(TOPIC, &format!("device/{number}"));
            let before = best(&all, key);
            *counts.entry(before).or_default() += 1;
            assert!(before == 10 || best(&fewer, key) == before);
        }
        assert!(counts.len() == 10 && counts.values().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
