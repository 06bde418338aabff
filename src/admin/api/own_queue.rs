use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::queues::OwnQueue;

/// The queue of the Session of a bridge or a sink, at most a few seconds old.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnQueue)]
pub(super) struct OwnQueueJson {
    /// QoS 1 and 2 messages, those in flight included.
    messages: usize,
    bytes: usize,
    /// How full it is: 1 is its limit of messages or of bytes.
    used: f64,
    /// What was dropped from it since the broker started, by reason.
    dropped: BTreeMap<&'static str, u32>,
}

impl From<OwnQueue> for OwnQueueJson {
    fn from(queue: OwnQueue) -> Self {
        Self {
            messages: queue.messages,
            bytes: queue.bytes,
            used: queue.used(),
            dropped: queue.dropped.iter().map(|(reason, count)| (reason.name(), *count)).collect(),
        }
    }
}
