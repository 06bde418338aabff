use std::fmt;
use std::sync::Arc;

use super::entry::{Content, Entry, State};
use crate::topic::TopicName;

/// What a client may receive.
pub trait Rights: fmt::Debug + Send + Sync {
    /// Whether the client may receive messages of `topic`.
    fn may_receive(&self, topic: &TopicName) -> bool;
}

/// The rights of a client have changed since a part of its queue was accepted: each message of that part is checked before it is sent for
/// the first time. A message that was sent before is completed. [MQTT-4.4.0-1]
#[derive(Debug)]
pub(super) struct Recheck {
    /// Messages before this sequence are checked.
    pub(super) before: u64,
    pub(super) rights: Arc<dyn Rights>,
}

impl Recheck {
    /// Whether the client may not receive this message. A message that only the store has is checked when it is in memory.
    pub(super) fn denies(&self, entry: &Entry) -> bool {
        if entry.sequence >= self.before || entry.state != State::Queued {
            return false;
        }
        match &entry.content {
            Content::Loaded(delivery) => !self.rights.may_receive(&delivery.message.topic),
            Content::Away { .. } => false,
        }
    }

    /// Whether it denies this message, which another member of its share may receive.
    pub(super) fn denies_shared(&self, entry: &Entry) -> bool {
        let is_shared = matches!(&entry.content, Content::Loaded(delivery) if delivery.share().is_some());
        is_shared && self.denies(entry)
    }
}
