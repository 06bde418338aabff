use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use crate::broker::delayed::quota::DelayedLimits;
use crate::broker::listener_terms::ListenerTerms;
use crate::broker::owner::AnonymousSessions;
use crate::broker::persistence::durability::{Durability, DurabilityRule};
use crate::broker::receipts::registry::ReceiptLimits;
use crate::broker::redelivery::kept::DeadLetterLimits;
use crate::broker::redelivery::rules::RedeliveryRules;
use crate::broker::user_limits::{RateLimits, UserLimits};
use crate::codec::{Qos, SubscriptionOptions};
use crate::rewrite::{RewriteRules, Template};
use crate::routing::{LimitsClass, QueueBounds, ShareStrategy};
use crate::session::{Limits, QueueHead};
use crate::topic::TopicName;

/// The configuration of a shard, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Maximum QoS announced and enforced.
    pub maximum_qos: Qos,
    /// Retain Available.
    pub retain_available: bool,
    /// Whether the log is replicated, so that another broker may become its owner. Then CONNACK, SUBACK and the
    /// acknowledgement of each message at QoS 1 or 2 wait for a record of their own.
    pub is_replicated: bool,
    /// Whether a retained message is sent to a new subscriber only if its publisher may still publish it.
    pub check_retain_source: bool,
    /// Receive Maximum announced to clients: the unacknowledged QoS 1 and 2 messages that one client may have sent.
    pub receive_maximum: NonZeroU16,
    /// Topic Alias Maximum announced to clients.
    pub topic_alias_maximum: u16,
    /// The greatest number of Topic Aliases that the broker assigns to one client; the client's Topic Alias Maximum may be lower.
    pub topic_alias_maximum_outgoing: u16,
    /// The greatest length of a Topic Name or Topic Filter, in bytes.
    pub topic_length_max: usize,
    /// The greatest number of levels of a Topic Name or Topic Filter.
    pub topic_levels_max: usize,
    /// The greatest number of subscriptions of one Session.
    pub subscriptions_per_session_max: usize,
    /// The greatest number of QoS 1 and 2 messages in the queue of one Session, those in flight included.
    pub queued_messages_max: usize,
    /// The greatest number of bytes of these messages.
    pub queued_bytes_max: usize,
    /// The part of the queue of a durable Session that is in memory; `None`: the whole queue, because there is no store.
    pub queue_head: Option<QueueHead>,
    /// What happens to a message for a Session whose queue is at one of these limits.
    pub queue_overflow: QueueOverflow,
    /// The dead letter topic: messages that a durable Session drops because of a full queue or of expiry are published to it. `None`: they are
    /// only counted.
    pub dead_letter_topic: Option<TopicName>,
    /// Which messages that a client refuses are sent again. Without a rule, they are discarded.
    pub redelivery: RedeliveryRules,
    /// The bounds of the dead letters of refused messages that are kept.
    pub dead_letter_limits: DeadLetterLimits,
    /// The bounds of receipts.
    pub receipts: ReceiptLimits,
    /// How long a `dedup-id` stays in the deduplication window; zero: no deduplication.
    pub deduplication_window: Duration,
    /// The greatest number of identifiers of one publisher in the window.
    pub deduplication_ids_max: usize,
    /// Whether a message to `$delayed/SECONDS/TOPIC` is published to TOPIC later.
    pub delayed_publish: bool,
    /// The greatest number of messages in a PUBLISH to `$batch`; 0: it is a topic like any other.
    pub batch_messages_max: usize,
    /// The bounds of delayed messages.
    pub delayed_limits: DelayedLimits,
    /// The greatest number of unacknowledged QoS 1 and 2 messages to one client; the client's Receive Maximum may be lower.
    pub inflight_messages_max: NonZeroU16,
    /// From how many bytes of unacknowledged QoS 1 and 2 messages to one client on no further one is sent; a single larger message is. `None`: no
    /// limit.
    pub inflight_bytes_max: Option<NonZeroUsize>,
    /// Bytes in the outgoing buffer of one connection. From half of it on, QoS 1 and 2 messages stay queued and publishers are paused; beyond
    /// it, QoS 0 messages are dropped.
    pub outgoing_bytes_max: usize,
    /// The time for which a slow receiver may pause its publishers before its QoS 0 messages are dropped instead.
    pub slow_receiver_grace: Duration,
    /// The greatest number of messages per second that is read from one client; the first second's are read at once. `None`: no limit.
    pub client_messages_per_second_max: Option<NonZeroU32>,
    /// The greatest number of bytes per second that is read from one client; the first second's are read at once. `None`: no limit.
    pub client_bytes_per_second_max: Option<NonZeroU32>,
    /// The longest Keep Alive, in seconds; a client that requests more, or 0, gets it as Server Keep Alive. `None`: no limit.
    pub keep_alive_max: Option<NonZeroU16>,
    /// The longest Session Expiry Interval, in seconds; `u32::MAX`: no limit.
    pub session_expiry_max: u32,
    /// The greatest number of Sessions in all shards together.
    pub sessions_max: usize,
    /// The longest time from accepting a connection to CONNACK.
    pub connect_timeout: Duration,
    /// The greatest length of a Client Identifier, in bytes.
    pub client_id_length_max: usize,
    /// The prefix of assigned Client Identifiers.
    pub assigned_client_id_prefix: ByteString,
    /// What happens to an anonymous Session when a verified user connects with its Client Identifier.
    pub anonymous_sessions: AnonymousSessions,
    /// Whether a payload with Payload Format Indicator 1 is checked to be UTF-8.
    pub validate_payload_format: bool,
    /// Whether clients may subscribe to `$exclusive/TOPIC`.
    pub exclusive_subscriptions: bool,
    /// How the member of a Shared Subscription that gets a message is chosen.
    pub share_strategy: ShareStrategy,
    /// Response Information, for clients that request it; the Client Identifier is appended.
    pub response_information: Option<ByteString>,
    /// If set, every CONNECT is answered with 0x9C Use another server and this Server Reference.
    pub server_reference: Option<ByteString>,
    /// Whether another server has the Sessions: every CONNECT is answered with 0x9C then, and with `server_reference` if there is one.
    pub is_standby: bool,
    /// The durability of messages that no rule matches; announced on `$SYS`, and to 5.0 clients that ask.
    pub durability: Durability,
    /// The durability by topic: the first rule that matches applies.
    pub durability_rules: Vec<DurabilityRule>,
    /// The rules that replace topics of packets.
    pub rewrite_rules: RewriteRules,
    /// The subscriptions that clients get when they connect.
    pub auto_subscriptions: Vec<AutoSubscription>,
    /// How often the `$SYS` topics are published; zero: never.
    pub sys_interval: Duration,
    /// The greatest number of steps of messages that are kept for operators, in all shards together; 0: none.
    pub journey_steps_max: usize,
    /// The messages in a million of which traces are made, if their publishers have not begun one themselves; `None`: there are no traces.
    pub traced_per_million: Option<u32>,
    /// Whether connects, ends of connections, refusals and changes of subscriptions are published below `$SYS/clients/`.
    pub client_events: bool,
    /// What applies to the clients of single listeners, in place of what is above.
    pub listeners: Vec<ListenerTerms>,
    /// Limits of the clients of single users, in place of those above.
    pub user_limits: UserLimits,
}

/// A subscription that clients get when they connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoSubscription {
    /// Its Topic Filter, with `%c` and `%u`.
    pub topic: Template,
    /// Its options.
    pub options: SubscriptionOptions,
    /// The verified users that get it; empty: all clients.
    pub users: Vec<Arc<str>>,
    /// The listeners whose clients get it; empty: all.
    pub listeners: Vec<Arc<str>>,
}

/// What happens when the queue of a Session is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueOverflow {
    /// The oldest message that was not sent yet is dropped.
    #[default]
    DropOldest,
    /// The new message is dropped for this Session.
    DropNewest,
    /// The new message is refused for all receivers. A 5.0 publisher gets 0x97 Quota exceeded; a 3.1.1 publisher is paused until there is room.
    Reject,
}

impl Settings {
    /// The limits of the Sessions of a class.
    pub(in crate::broker) fn session_limits(&self, class: LimitsClass) -> Limits {
        let own = self.user_limits.of(class);
        let bounds = self.queue_bounds(class);
        let inflight_bytes_max = own.and_then(|own| own.inflight_bytes_max).or(self.inflight_bytes_max);
        let of_all = |limits: Limits| if class == LimitsClass::LINK { limits.of_link() } else { limits };
        of_all(Limits {
            receive_maximum: own.and_then(|own| own.receive_maximum).unwrap_or(self.receive_maximum).get(),
            validate_payload_format: self.validate_payload_format,
            queued_messages_max: bounds.messages,
            queued_bytes_max: bounds.bytes,
            subscriptions_max: self.subscriptions_max(class),
            inflight_bytes_max: inflight_bytes_max.map_or(usize::MAX, NonZeroUsize::get),
            drops_oldest: self.queue_overflow == QueueOverflow::DropOldest,
            queue_head: self.queue_head.unwrap_or_default(),
            has_dead_letters: self.dead_letter_topic.is_some(),
            refused: self.redelivery.refused_messages(),
            is_memory_short: false,
            keeps_expired: false,
        })
    }

    /// The bounds of the queue of each Session of a class.
    pub(in crate::broker) fn queue_bounds(&self, class: LimitsClass) -> QueueBounds {
        if class == LimitsClass::LINK {
            return QueueBounds::LINK;
        }
        let own = self.user_limits.of(class);
        QueueBounds {
            messages: own.and_then(|own| own.queued_messages_max).unwrap_or(self.queued_messages_max),
            bytes: own.and_then(|own| own.queued_bytes_max).unwrap_or(self.queued_bytes_max),
        }
    }

    /// The greatest number of subscriptions of one Session of a class.
    pub(in crate::broker) fn subscriptions_max(&self, class: LimitsClass) -> usize {
        let own = self.user_limits.of(class).and_then(|own| own.subscriptions_per_session_max);
        own.unwrap_or(self.subscriptions_per_session_max)
    }

    /// What is read per second from one client of a class.
    pub(in crate::broker) fn rate_limits(&self, class: LimitsClass) -> RateLimits {
        if class == LimitsClass::LINK {
            return RateLimits::default();
        }
        let own = self.user_limits.of(class);
        RateLimits {
            messages: own.and_then(|own| own.messages_per_second_max).or(self.client_messages_per_second_max),
            bytes: own.and_then(|own| own.bytes_per_second_max).or(self.client_bytes_per_second_max),
        }
    }

    /// The greatest number of unacknowledged QoS 1 and 2 messages to one client of a class.
    pub(in crate::broker) fn send_window(&self, class: LimitsClass) -> NonZeroU16 {
        if class == LimitsClass::LINK {
            return NonZeroU16::MAX;
        }
        let own = self.user_limits.of(class).and_then(|own| own.inflight_messages_max);
        own.unwrap_or(self.inflight_messages_max)
    }

    /// The strongest durability of any message: that of the store.
    pub(in crate::broker) fn strongest_durability(&self) -> Durability {
        self.durability_rules.iter().map(|rule| rule.level).fold(self.durability, Ord::max)
    }

    /// The durability of the messages of a topic, by the first rule that matches. Without rules it is the highest level, and the store applies
    /// the configured one.
    pub(in crate::broker) fn durability_of(&self, topic: &TopicName) -> Durability {
        if self.durability_rules.is_empty() {
            return Durability::PowerLoss;
        }
        let rule = self.durability_rules.iter().find(|rule| rule.topic_filter.matches(topic));
        rule.map_or(self.durability, |rule| rule.level)
    }
}
