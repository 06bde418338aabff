use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::right::PublishRight;
use super::sequences::StreamSequences;
use crate::codec::{ClientId, Message, Qos};
use crate::routing::user::User;
use crate::timestamp::Timestamp;

/// A retained message: the last one of its topic, for later subscribers. [MQTT-3.3.1-5]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// The message, detached from the read buffer.
    pub message: Arc<Message>,
    /// The QoS at which it was published.
    pub qos: Qos,
    /// When it expires, if it has a Message Expiry Interval.
    pub expires_at: Option<Timestamp>,
    /// The publisher's Client Identifier; `None` for the broker.
    pub publisher: Option<ClientId>,
    /// The publisher's verified user, if it has one and [`right`](Self::right) is judged. The messages of a user share it.
    pub user: Option<Arc<User>>,
    /// Whether the publisher may still publish to the topic.
    pub right: PublishRight,
    /// A number that increases with every retained message of the broker.
    pub number: u64,
    /// Its sequences in streams; `None`: no stream keeps it.
    pub sequences: Option<Arc<StreamSequences>>,
    /// Whether it is the retained message of its topic now.
    pub current: Current,
}

impl RetainedMessage {
    /// The memory that counts for `retained_bytes_max`, in bytes: at most this, because messages share the names of their upper levels,
    /// and those of a user share the user.
    pub fn memory(&self) -> usize {
        let Message { topic, payload, properties, .. } = &*self.message;
        let (length, levels) = (topic.as_str().len(), topic.levels().count());
        // The last level gets its name from the message.
        let names = length - self.last_level().len() + (levels - 1) * NAME_BYTES;
        let user = self.user.as_ref().map_or(0, |user| user.name.len() + USER_BYTES);
        length + payload.len() + properties.encoded_len() + levels * LEVEL_BYTES + names + user + MESSAGE_BYTES
    }

    pub(super) fn last_level(&self) -> &str {
        let topic = self.message.topic.as_str();
        topic.rsplit_once('/').map_or(topic, |(_, level)| level)
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// Whether a message is still the retained one of its topic, without a look-up. It is not a part of the message's value: a copy is current,
/// and comparing two messages ignores it.
#[derive(Debug)]
pub struct Current(AtomicBool);

impl Current {
    /// Whether the message was the retained one of its topic at the time of the call.
    pub fn is(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Default for Current {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Clone for Current {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Current {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Current {}

/// Maximum memory of a node, its edge and its place in the index of names in bytes, right after their tables have grown.
const LEVEL_BYTES: usize = 168;

/// Maximum overhead of a name's allocation in bytes.
const NAME_BYTES: usize = 32;

/// Approximate overhead of a message in bytes: the two structures, and an entry in the expiries.
const MESSAGE_BYTES: usize = 288;

/// Maximum memory of a user without its name in bytes: the structure, the overhead of two allocations, and its places in the set of users.
const USER_BYTES: usize = 144;
