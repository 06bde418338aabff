use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::value::duration;
use crate::codec::Qos;
use crate::topic::TopicName;

/// What the broker offers of MQTT, and the choices the standard leaves to it: `[mqtt]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Maximum QoS of CONNACK: 0, 1 or 2.
    #[serde(with = "qos")]
    pub maximum_qos: Qos,
    /// Retain Available of CONNACK.
    pub retain_available: bool,
    /// Which member of a Shared Subscription gets a message.
    pub shared_subscription_strategy: SharedSubscriptionStrategy,
    /// Whether a payload that is said to be UTF-8 (Payload Format Indicator 1) is checked, and refused if it isn't.
    pub validate_payload_format: bool,
    /// What a Client Identifier assigned to a client that brought none begins with.
    pub assigned_client_id_prefix: String,
    /// Response Information for a client that requests it: this, followed by its Client Identifier.
    pub response_information: Option<String>,
    /// If set, every CONNECT is refused with 0x9C Use another server, and 5.0 clients are told this Server Reference: for a
    /// broker that is being replaced.
    pub server_reference: Option<String>,
    /// If set, QoS 1 and 2 messages that a durable session loses to its full queue or to their expiry are published to this topic,
    /// with User Properties `reason`, `topic` and `client-id`.
    pub dead_letter_topic: Option<String>,
    /// How long a `dedup-id` is remembered: a message that is published at QoS 1 or 2 with this User Property is accepted once in that
    /// time. 0: not at all.
    #[serde(with = "duration")]
    pub deduplication_window: Duration,
    /// How often the `$SYS` topics are published. 0: never.
    #[serde(with = "duration")]
    pub sys_interval: Duration,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            // Exactly once is what this broker is for.
            maximum_qos: Qos::ExactlyOnce,
            // Clients count on it, and the limits bound what it costs.
            retain_available: true,
            // Everyone's expectation, and fair to members of equal strength.
            shared_subscription_strategy: SharedSubscriptionStrategy::RoundRobin,
            // A false promise is best found where it is made; only messages that make it are checked.
            validate_payload_format: true,
            // It tells assigned names from chosen ones in the log.
            assigned_client_id_prefix: "auto-".to_owned(),
            // There is no prefix that fits everyone's topics.
            response_information: None,
            // There is no other broker to send everyone to.
            server_reference: None,
            // Nobody reads it until somebody says so.
            dead_letter_topic: None,
            // A device that was reset is back by then; each identifier keeps its message on the disk as long.
            deduplication_window: Duration::from_secs(600),
            // What mosquitto does, and its dashboards expect.
            sys_interval: Duration::from_secs(10),
        }
    }
}

/// Which member of a Shared Subscription gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharedSubscriptionStrategy {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest messages it hasn't acknowledged.
    LeastInFlight,
    /// Always the same, until it leaves.
    Sticky,
    /// The same for all messages of one publisher.
    HashPublisher,
    /// The same for all messages of one topic.
    HashTopic,
}

impl Mqtt {
    /// What the types can't rule out.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let texts = [
            ("mqtt.assigned_client_id_prefix", Some(&self.assigned_client_id_prefix)),
            ("mqtt.response_information", self.response_information.as_ref()),
            ("mqtt.server_reference", self.server_reference.as_ref()),
        ];
        let unfit = |text: &&String| text.contains(['\0', '+', '#']) || text.len() > TEXT_LENGTH_MAX;
        let is_fit = |topic: &String| !topic.starts_with("$SYS/") && TopicName::try_from(topic.as_str()).is_ok();
        let dead_letter_topic = self.dead_letter_topic.as_ref().filter(|topic| !is_fit(topic)).map(|_| {
            Problem::new("mqtt.dead_letter_topic", "must be a topic: not empty, without + and #, and not below $SYS/")
        });
        texts
            .into_iter()
            .filter(|(_, text)| text.as_ref().is_some_and(unfit))
            .map(|(key, _)| Problem::new(key, "must have at most 256 bytes, and neither +, # nor U+0000"))
            .chain(dead_letter_topic)
            .collect()
    }
}

/// `maximum_qos` is the number that the standard uses.
mod qos {
    use serde::de::{self, Deserialize, Deserializer};
    use serde::ser::Serializer;

    use crate::codec::Qos;

    pub(super) fn serialize<S: Serializer>(qos: &Qos, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
            Qos::ExactlyOnce => 2,
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Qos, D::Error> {
        match i64::deserialize(deserializer)? {
            0 => Ok(Qos::AtMostOnce),
            1 => Ok(Qos::AtLeastOnce),
            2 => Ok(Qos::ExactlyOnce),
            other => Err(de::Error::invalid_value(de::Unexpected::Signed(other), &"0, 1 or 2")),
        }
    }
}

/// It leaves room for a Client Identifier behind it.
const TEXT_LENGTH_MAX: usize = 256;
