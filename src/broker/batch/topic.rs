//! The topic of batches.

use crate::topic::TopicName;

/// Whether a PUBLISH to this topic is a batch.
#[inline]
pub(in crate::broker) fn is_batch(topic: &TopicName) -> bool {
    topic.as_str() == "$batch"
}

/// Why nothing else is published to the topic of batches.
pub(in crate::broker) const ONLY_BATCHES: &str =
    "$batch is for batches of clients: they are not nested, delayed, rewritten, Wills or messages of operators";
