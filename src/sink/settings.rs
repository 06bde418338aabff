use std::time::Duration;

use crate::topic::TopicName;

/// The bounds and pauses of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which messages wait for each other.
    pub order: Order,
    /// The messages of one request; at least 1.
    pub batch_max: usize,
    /// The bytes of one request with several messages.
    pub batch_bytes_max: usize,
    /// How long a message waits for others of its request.
    pub batch_wait: Duration,
    /// The requests under way at the same time.
    pub requests_max: usize,
    /// The messages of QoS 0 that may be here.
    pub unacknowledged_max: usize,
    /// The pause after the first failure; each further one is twice as long.
    pub retry_min: Duration,
    /// The longest pause.
    pub retry_max: Duration,
    /// How often a request is tried again.
    pub retries_max: u32,
    /// Where dead letters are published; `None`: there are none.
    pub dead_letter_topic: Option<TopicName>,
}

/// Which messages wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Those of the same topic.
    Topic,
    /// None of them.
    None,
    /// All of them.
    All,
}
