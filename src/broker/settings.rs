use std::num::NonZeroU16;
use std::time::Duration;

use bytestring::ByteString;

use crate::broker::persistence::durability::{Durability, DurabilityRule};
use crate::codec::Qos;
use crate::routing::ShareStrategy;
use crate::session::{Limits, QueueHead};
use crate::topic::TopicName;

/// The configuration of a shard, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Maximum QoS announced and enforced.
    pub maximum_qos: Qos,
    /// Retain Available.
    pub retain_available: bool,
    /// Receive Maximum announced to clients: the unacknowledged QoS 1 and 2 messages that one client may have sent.
    pub receive_maximum: NonZeroU16,
    /// Topic Alias Maximum announced to clients.
    pub topic_alias_maximum: u16,
    /// The most Topic Aliases that the broker assigns to one client; its own Topic Alias Maximum may be lower.
    pub topic_alias_maximum_outgoing: u16,
    /// Bytes of a Topic Name or Topic Filter.
    pub topic_length_max: usize,
    /// Levels of a Topic Name or Topic Filter.
    pub topic_levels_max: usize,
    /// Subscriptions of one Session.
    pub subscriptions_per_session_max: usize,
    /// QoS 1 and 2 messages in the queue of one Session, those in flight included.
    pub queued_messages_max: usize,
    /// Their bytes.
    pub queued_bytes_max: usize,
    /// How much of the queue of a durable Session is in memory; `None`: all of it, because nothing is stored.
    pub queue_head: Option<QueueHead>,
    /// What happens to a message for a Session whose queue is at one of these limits.
    pub queue_overflow: QueueOverflow,
    /// The topic of messages that a durable Session loses to a full queue or to their expiry; `None`: they are dropped.
    pub dead_letter_topic: Option<TopicName>,
    /// How long a `dedup-id` is remembered; zero: not at all.
    pub deduplication_window: Duration,
    /// Identifiers remembered of one publisher.
    pub deduplication_ids_max: usize,
    /// The most unacknowledged QoS 1 and 2 messages towards one client; its Receive Maximum may be lower.
    pub inflight_messages_max: NonZeroU16,
    /// Bytes in the outgoing buffer of one connection. From half of it on, queued messages wait and publishers are paused; beyond it, QoS 0 messages are dropped.
    pub outgoing_bytes_max: usize,
    /// The budget of time that a slow receiver may pause its publishers before its QoS 0 messages are dropped instead.
    pub slow_receiver_grace: Duration,
    /// The longest Keep Alive, in seconds; a client that asks for more, or for none, gets this as Server Keep Alive. `None`: no limit.
    pub keep_alive_max: Option<NonZeroU16>,
    /// The longest Session Expiry Interval, in seconds; `u32::MAX`: no limit.
    pub session_expiry_max: u32,
    /// Sessions in all shards together.
    pub sessions_max: usize,
    /// Time from accepting a connection to its CONNECT.
    pub connect_timeout: Duration,
    /// Bytes of a Client Identifier.
    pub client_id_length_max: usize,
    /// The prefix of assigned Client Identifiers.
    pub assigned_client_id_prefix: ByteString,
    /// Whether the payload of a message with Payload Format Indicator 1 is checked.
    pub validate_payload_format: bool,
    /// Which member of a Shared Subscription gets a message.
    pub share_strategy: ShareStrategy,
    /// Response Information, for clients that request it; the Client Identifier is appended.
    pub response_information: Option<ByteString>,
    /// If set, every CONNECT is answered with 0x9C Use another server and this Server Reference.
    pub server_reference: Option<ByteString>,
    /// The durability of messages that no rule matches, announced to 5.0 clients as a User Property of CONNACK and on `$SYS`.
    pub durability: Durability,
    /// The durability by topic: the first rule that matches applies.
    pub durability_rules: Vec<DurabilityRule>,
    /// How often the `$SYS` topics are published; zero: never.
    pub sys_interval: Duration,
}

/// What happens when the queue of a Session is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueOverflow {
    /// The oldest message that was never sent is dropped.
    #[default]
    DropOldest,
    /// The new message is dropped for this Session.
    DropNewest,
    /// No receiver gets the new message. A 5.0 publisher gets 0x97 Quota exceeded; a 3.1.1 publisher is paused until there is room.
    Reject,
}

impl Settings {
    /// What the Sessions of all clients are held to.
    pub(in crate::broker) fn session_limits(&self) -> Limits {
        Limits {
            maximum_qos: self.maximum_qos,
            retain_available: self.retain_available,
            receive_maximum: self.receive_maximum.get(),
            validate_payload_format: self.validate_payload_format,
            queued_messages_max: self.queued_messages_max,
            queued_bytes_max: self.queued_bytes_max,
            drops_oldest: self.queue_overflow == QueueOverflow::DropOldest,
            queue_head: self.queue_head.unwrap_or_default(),
            keeps_dropped: self.dead_letter_topic.is_some(),
        }
    }

    /// The durability of the messages of a topic: that of the first rule that matches. Without rules it is the strongest, and the store applies its own.
    pub(in crate::broker) fn durability_of(&self, topic: &TopicName) -> Durability {
        if self.durability_rules.is_empty() {
            return Durability::PowerLoss;
        }
        let rule = self.durability_rules.iter().find(|rule| rule.topic_filter.matches(topic));
        rule.map_or(self.durability, |rule| rule.level)
    }
}
