use std::fmt;

use crate::codec::prefix_within;
use crate::topic::TopicName;

/// Why a payload is no batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Which message is malformed, counted from 1, and its topic if that is known. `None`: the payload as a whole is.
    pub message: Option<(usize, Option<TopicName>)>,
    /// What is wrong.
    pub cause: String,
}

impl Malformed {
    pub(super) fn whole(cause: impl Into<String>) -> Self {
        Self { message: None, cause: cause.into() }
    }

    /// The message at this place, counted from 0, is malformed.
    pub(super) fn at(place: usize, topic: Option<TopicName>, cause: impl fmt::Display) -> Self {
        Self { message: Some((place + 1, topic)), cause: cause.to_string() }
    }

    pub(super) fn too_many(messages_max: usize) -> Self {
        Self::whole(format!("it has more than {messages_max} messages"))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            None => write!(f, "the batch: {}", self.cause),
            Some((number, None)) => write!(f, "message {number}: {}", self.cause),
            Some((number, Some(topic))) => write!(f, "{}: {}", name_of(*number, topic), self.cause),
        }
    }
}

/// How a message is named to its publisher: by its number, counted from 1, and the first bytes of its topic.
pub fn name_of(number: usize, topic: &TopicName) -> String {
    format!("message {number} ({})", prefix_within(topic.as_str(), TOPIC_BYTES_MAX))
}

/// The bytes of a topic that are named.
const TOPIC_BYTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_names_the_message_and_its_topic() {
        let topic = TopicName::try_from("é".repeat(80).as_str()).unwrap();
        let malformed = Malformed::at(2, Some(topic), "no");
        assert_eq!(malformed.to_string(), format!("message 3 ({}): no", "é".repeat(50)));
        assert_eq!(Malformed::at(0, None, "no").to_string(), "message 1: no");
        assert_eq!(Malformed::too_many(3).to_string(), "the batch: it has more than 3 messages");
    }
}
