use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::value::duration;
use crate::codec::Qos;
use crate::topic::TopicName;

/// MQTT features, and choices that the standard leaves to the server: `[mqtt]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Maximum QoS of CONNACK: 0, 1 or 2.
    #[serde(with = "qos")]
    pub maximum_qos: Qos,
    /// Retain Available of CONNACK.
    pub retain_available: bool,
    /// How the member of a Shared Subscription that receives a message is selected.
    pub shared_subscription_strategy: SharedSubscriptionStrategy,
    /// Whether a payload with Payload Format Indicator 1 must be valid UTF-8; the broker refuses it otherwise.
    pub validate_payload_format: bool,
    /// Prefix of the Client Identifiers that the broker assigns.
    pub assigned_client_id_prefix: String,
    /// Prefix of the Response Information that is sent on request; the Client Identifier follows it.
    pub response_information: Option<String>,
    /// If set, the broker refuses every CONNECT with 0x9C Use another server and sends this Server Reference to 5.0
    /// clients.
    pub server_reference: Option<String>,
    /// If set, QoS 1 and 2 messages that a durable session drops because its queue is full, or because they expired,
    /// are published to this topic, with the User Properties `reason`, `topic` and `client-id` before their own.
    pub dead_letter_topic: Option<String>,
    /// How long a `dedup-id` is remembered; within this time, only the first QoS 1 or 2 message with the same value of
    /// this User Property is routed. 0 disables deduplication.
    #[serde(with = "duration")]
    pub deduplication_window: Duration,
    /// Whether a message to `$delayed/SECONDS/TOPIC` is published to TOPIC after so many seconds.
    pub delayed_publish: bool,
    /// The greatest number of messages in a PUBLISH to `$batch`, which are published together or not at all. 0 disables batches.
    pub batch_messages_max: usize,
    /// Whether clients may subscribe to `$exclusive/TOPIC`, of which there is one subscription at a time.
    pub exclusive_subscriptions: bool,
    /// What happens to stored messages with a Message Expiry Interval at a start at which the time that has passed is unknown.
    pub message_expiry_after_unknown_time: AfterUnknownTime,
    /// Interval at which the `$SYS` topics are published. 0 disables them.
    #[serde(with = "duration")]
    pub sys_interval: Duration,
    /// Whether connects, disconnects, refusals and changes of subscriptions are published below `$SYS/clients/`.
    pub client_events: bool,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            // All of MQTT is available unless the operator restricts it.
            maximum_qos: Qos::ExactlyOnce,
            // Many clients need retained messages, and the limits bound their memory.
            retain_available: true,
            // It shares the load evenly among equal members.
            shared_subscription_strategy: SharedSubscriptionStrategy::RoundRobin,
            // The error is reported to the publisher that made it; other payloads are not checked.
            validate_payload_format: true,
            // It marks assigned identifiers in the log.
            assigned_client_id_prefix: "auto-".to_owned(),
            // No prefix suits every topic layout.
            response_information: None,
            // By default, the broker serves its clients itself.
            server_reference: None,
            // Dead letters are useful only if a client subscribes to them.
            dead_letter_topic: None,
            // A device that was reset reconnects within this time. Each identifier keeps its message on the disk as
            // long.
            deduplication_window: Duration::from_secs(600),
            // As in EMQX. Other clients don't notice: a `$` begins only topics of the broker.
            delayed_publish: true,
            // A batch is handled in one turn of its shard, about a millisecond for so many messages of one receiver.
            batch_messages_max: 1_000,
            // As in EMQX: a client that is away for long keeps the others from the topic.
            exclusive_subscriptions: false,
            // Otherwise a device without a battery clock would lose acknowledged messages at each boot.
            message_expiry_after_unknown_time: AfterUnknownTime::Keep,
            // mosquitto uses the same interval, and dashboards for it expect it.
            sys_interval: Duration::from_secs(10),
            // They say which clients there are, to every client that may read these topics: without an ACL file, to all.
            client_events: false,
        }
    }
}

/// What happens to stored messages with a Message Expiry Interval at a start at which the time that has passed is unknown: the machine was
/// booted, and its wall clock was not synchronized at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterUnknownTime {
    /// No time counts: they live on.
    Keep,
    /// They expire, unless they may have been sent before: for commands that must not come late.
    Expire,
}

/// How the member of a Shared Subscription that receives a message is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharedSubscriptionStrategy {
    /// Each in turn.
    RoundRobin,
    /// Of the next 64 connected members, that with the fewest unacknowledged messages.
    LeastInFlight,
    /// The same member until it leaves.
    Sticky,
    /// One member for all messages of a publisher.
    HashPublisher,
    /// One member for all messages of a topic.
    HashTopic,
}

impl Mqtt {
    /// Checks what the types do not express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let texts = [
            ("mqtt.assigned_client_id_prefix", Some(&self.assigned_client_id_prefix)),
            ("mqtt.response_information", self.response_information.as_ref()),
            ("mqtt.server_reference", self.server_reference.as_ref()),
        ];
        let dead_letter_topic = self.dead_letter_topic.as_ref().and_then(|topic| self.why_no_dead_letter_topic(topic));
        let dead_letter_topic = dead_letter_topic.map(|text| Problem::new("mqtt.dead_letter_topic", text));
        texts
            .into_iter()
            .filter(|(_, text)| text.is_some_and(|text| is_unfit(text)))
            .map(|(key, _)| Problem::new(key, UNFIT))
            .chain(dead_letter_topic)
            .collect()
    }

    /// Why dead letters cannot be published to a topic; `None`: they can.
    pub(super) fn why_no_dead_letter_topic(&self, topic: &str) -> Option<&'static str> {
        if topic.starts_with("$SYS/") || TopicName::try_from(topic).is_err() {
            return Some("must be a topic: not empty, without + and #, and not below $SYS/");
        }
        self.why_no_message_has(topic)
    }

    /// Why no message has a topic, or one that a filter matches, although clients publish to it; `None`: messages may have it.
    pub(super) fn why_no_message_has(&self, topic: &str) -> Option<&'static str> {
        if topic == "$batch" && self.batch_messages_max > 0 {
            Some("can't be $batch: it is for batches, whose messages have topics of their own")
        } else if topic.starts_with("$delayed/") && self.delayed_publish {
            Some(
                "can't begin with $delayed/: it is for delayed messages, which have the topic behind $delayed/SECONDS/",
            )
        } else {
            None
        }
    }
}

/// Whether a text can't be a part of Client Identifiers or of what clients are told.
pub(super) fn is_unfit(text: &str) -> bool {
    text.contains(['\0', '+', '#']) || text.len() > TEXT_LENGTH_MAX
}

/// What such a text must be.
pub(super) const UNFIT: &str = "must have at most 256 bytes, and neither +, # nor U+0000";

/// Represents `maximum_qos` as the number that the standard uses.
pub(super) mod qos {
    use serde::de::{self, Deserialize, Deserializer};
    use serde::ser::Serializer;

    use crate::codec::Qos;

    pub(in crate::config) fn serialize<S: Serializer>(qos: &Qos, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
            Qos::ExactlyOnce => 2,
        })
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Qos, D::Error> {
        match i64::deserialize(deserializer)? {
            0 => Ok(Qos::AtMostOnce),
            1 => Ok(Qos::AtLeastOnce),
            2 => Ok(Qos::ExactlyOnce),
            other => Err(de::Error::invalid_value(de::Unexpected::Signed(other), &"0, 1 or 2")),
        }
    }
}

/// Maximum length of a prefix in bytes; a Client Identifier still fits behind it.
const TEXT_LENGTH_MAX: usize = 256;
