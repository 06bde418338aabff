use std::collections::HashMap;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Limits;
use super::bridge_address::BridgeAddress;
use super::problem::{Problem, unreadable};
use super::protocol::MaximumQos;
use super::value::{duration, duration_or_never, optional_size};
use crate::codec::Qos;
use crate::topic::{TopicFilter, TopicName};

/// A connection to another broker that passes messages on: one `[[bridges]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bridge {
    /// Its name, which is a part of the name of its session here.
    pub name: String,
    /// Where the other broker is: `mqtt://`, `mqtts://`, `ws://` or `wss://`; see [`BridgeAddress`].
    pub addresses: Vec<String>,
    /// With which address an attempt begins.
    pub address_order: AddressOrder,
    /// The version that it speaks to the other broker.
    pub protocol_version: BridgeProtocol,
    /// Its Client Identifier there. Default: `oncemq-` and its name.
    pub client_id: Option<String>,
    /// Its user name there.
    pub user_name: Option<String>,
    /// File with its password there, of which the first line counts. Read at each connection.
    pub password_file: Option<PathBuf>,
    /// PEM file with the authorities that may certify the other broker; by default those of the operating system.
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate that it presents.
    pub certificate: Option<PathBuf>,
    /// PEM file with the key of `certificate`.
    pub key: Option<PathBuf>,
    /// The name that the certificate of the other broker must have; by default the host of the address.
    pub server_name: Option<String>,
    /// The protocol that TLS negotiates by ALPN; by default none.
    pub alpn: Option<String>,
    /// Whether the certificate of the other broker may have any name. Its signature is verified all the same.
    pub insecure_no_hostname: bool,
    /// Keep Alive of its connection there.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// Whether its session there begins anew with each connection.
    pub clean_start: bool,
    /// How long the other broker keeps its session without a connection, in 5.0; `None`: for ever.
    #[serde(with = "duration_or_never")]
    pub session_expiry: Option<Duration>,
    /// When it connects.
    pub start: BridgeStart,
    /// `lazy`: after this time without a message, it leaves.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// The number of queued messages at which a `lazy` bridge connects.
    pub lazy_threshold: u32,
    /// The shortest pause between two attempts to connect.
    #[serde(with = "duration")]
    pub backoff_min: Duration,
    /// The longest pause between two attempts to connect.
    #[serde(with = "duration")]
    pub backoff_max: Duration,
    /// Maximum number of unacknowledged QoS 1 and 2 messages in each direction.
    pub inflight_max: NonZeroU16,
    /// Maximum Packet Size from the other broker, in bytes; by default that of `limits`.
    #[serde(with = "optional_size", skip_serializing_if = "Option::is_none")]
    pub maximum_packet_size: Option<u32>,
    /// The user whose access rules apply to it here; by default its name.
    pub user: Option<String>,
    /// Whether it publishes its state, 1 or 0, as a retained message.
    pub notifications: bool,
    /// Where; by default `$SYS/broker/connection/CLIENT_ID/state`.
    pub notification_topic: Option<String>,
    /// Whether it publishes its state here only.
    pub notifications_local_only: bool,
    /// Whether the messages of QoS 1 and 2 that it sends have a `dedup-id`, in 5.0.
    pub dedup_id: bool,
    /// Whether it says by the bridge bit in 3.1.1 that it is a bridge.
    pub bridge_protocol: bool,
    /// What it passes on. The first that matches a message applies.
    pub topics: Vec<BridgeTopic>,
}

/// Some of the topics that a bridge passes on: one `[[bridges.topics]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeTopic {
    /// The topics, without the prefixes.
    pub filter: String,
    /// Where to.
    #[serde(default)]
    pub direction: BridgeDirection,
    /// The highest QoS of these messages.
    #[serde(default = "exactly_once")]
    pub qos: MaximumQos,
    /// What is in front of the topics here.
    #[serde(default)]
    pub local_prefix: String,
    /// What is in front of the topics at the other broker.
    #[serde(default)]
    pub remote_prefix: String,
    /// What becomes of the RETAIN flag.
    #[serde(default)]
    pub retain: BridgeRetain,
}

/// With which of its addresses a bridge begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressOrder {
    /// With the first, each time that it connects anew.
    #[default]
    FailOver,
    /// With the one after the last.
    RoundRobin,
}

/// The version that a bridge speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BridgeProtocol {
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V3_1_1,
    /// MQTT 5.0.
    #[default]
    #[serde(rename = "5.0")]
    V5,
}

/// When a bridge connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeStart {
    /// At the start, and whenever its connection ends.
    #[default]
    Automatic,
    /// When messages are queued.
    Lazy,
    /// At the start, until its connection ends.
    Once,
}

/// Where a bridge passes messages on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeDirection {
    /// From here to the other broker.
    #[default]
    Out,
    /// From the other broker to here.
    In,
    /// Both ways.
    Both,
}

/// What becomes of the RETAIN flag of the messages that a bridge passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeRetain {
    /// It stays.
    #[default]
    Keep,
    /// It is cleared.
    Clear,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            // Both must be set.
            name: String::new(),
            addresses: Vec::new(),
            // The first address is the one that the operator prefers.
            address_order: AddressOrder::FailOver,
            // It has No Local, Receive Maximum and reasons.
            protocol_version: BridgeProtocol::V5,
            client_id: None,
            user_name: None,
            password_file: None,
            ca: None,
            certificate: None,
            key: None,
            server_name: None,
            // Most brokers ignore it.
            alpn: None,
            insecure_no_hostname: false,
            // As mosquitto's: a firewall forgets an idle connection after minutes.
            keep_alive: Duration::from_secs(60),
            // The session there has what was not delivered, and the identifiers that QoS 2 needs.
            clean_start: false,
            // The other broker may be away for any time, so its session does not expire by default.
            session_expiry: None,
            start: BridgeStart::Automatic,
            // As mosquitto's.
            idle_timeout: Duration::from_secs(60),
            lazy_threshold: 10,
            // As mosquitto's; with jitter, so that many bridges don't come back at the same moment.
            backoff_min: Duration::from_secs(5),
            backoff_max: Duration::from_secs(60),
            // 1,000 messages per second at a round trip of 100 ms.
            inflight_max: const { NonZeroU16::new(100).unwrap() },
            maximum_packet_size: None,
            user: None,
            // As mosquitto's.
            notifications: true,
            notification_topic: None,
            notifications_local_only: false,
            // It costs an entry in the deduplication window there for each message.
            dedup_id: false,
            // A broker that doesn't know the bit refuses the connection, and is asked again without it.
            bridge_protocol: true,
            topics: Vec::new(),
        }
    }
}

impl Bridge {
    /// Its Client Identifier at the other broker.
    pub fn remote_client_id(&self) -> String {
        self.client_id.clone().unwrap_or_else(|| format!("oncemq-{}", self.name))
    }

    /// The user whose access rules apply to it here.
    pub fn local_user(&self) -> &str {
        self.user.as_deref().unwrap_or(&self.name)
    }

    /// Where its state is published; `None`: nowhere.
    pub fn state_topic(&self) -> Option<String> {
        let default = || format!("$SYS/broker/connection/{}/state", self.remote_client_id());
        self.notifications.then(|| self.notification_topic.clone().unwrap_or_else(default))
    }

    /// Its addresses, those that are valid.
    pub fn parsed_addresses(&self) -> Vec<BridgeAddress> {
        self.addresses.iter().filter_map(|address| address.parse().ok()).collect()
    }

    /// Checks what the types do not express. `key` is the path of this bridge, such as `bridges[0]`.
    fn problems(&self, key: &str, limits: &Limits) -> Vec<Problem> {
        let problem = |setting: &str, text: &str| Problem::new(&format!("{key}.{setting}"), text);
        let mut problems = Vec::new();
        if !is_name(&self.name) {
            problems.push(problem("name", "must have 1 to 64 letters, digits, `-` or `_`"));
        }
        if self.addresses.is_empty() || self.addresses.len() > ADDRESSES_MAX {
            problems.push(problem("addresses", &format!("must have from 1 to {ADDRESSES_MAX} addresses")));
        }
        let wrong = self.addresses.iter().find_map(|address| address.parse::<BridgeAddress>().err());
        problems.extend(wrong.map(|error| problem("addresses", &error.to_string())));
        if self.topics.is_empty() || self.topics.len() > TOPICS_MAX {
            problems.push(problem("topics", &format!("must have from 1 to {TOPICS_MAX} entries")));
        }
        let (of_tls, of_session) = (self.tls_problem(), self.session_problem(limits));
        problems.extend([of_tls, of_session].into_iter().flatten().map(|(setting, text)| problem(setting, text)));
        problems.extend(self.time_problems().into_iter().map(|(setting, text)| problem(setting, text)));
        let files = [
            ("password_file", &self.password_file),
            ("ca", &self.ca),
            ("certificate", &self.certificate),
            ("key", &self.key),
        ];
        let paths = files.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
        problems.extend(paths.filter_map(|(name, path)| unreadable(&format!("{key}.{name}"), path)));
        let topics = self.topics.iter().enumerate();
        problems.extend(topics.flat_map(|(index, topic)| topic.problems(&format!("{key}.topics[{index}]"))));
        problems
    }

    fn tls_problem(&self) -> Option<(&'static str, &'static str)> {
        let addresses = self.parsed_addresses();
        let is_encrypted = addresses.iter().any(|address| address.transport.is_encrypted());
        let set = [
            ("ca", self.ca.is_some()),
            ("certificate", self.certificate.is_some()),
            ("server_name", self.server_name.is_some()),
            ("alpn", self.alpn.is_some()),
            ("insecure_no_hostname", self.insecure_no_hostname),
        ];
        let useless = set.into_iter().find(|(_, is_set)| *is_set && !is_encrypted && !addresses.is_empty());
        match useless {
            Some((setting, _)) => Some((setting, "has no effect: no address is one of TLS (mqtts:// or wss://)")),
            None if self.certificate.is_some() != self.key.is_some() => {
                Some(("certificate", "must be set together with key"))
            }
            None if self.alpn.as_ref().is_some_and(|name| !(1..=255).contains(&name.len())) => {
                Some(("alpn", "must have from 1 byte to 255 bytes"))
            }
            None => None,
        }
    }

    fn session_problem(&self, limits: &Limits) -> Option<(&'static str, &'static str)> {
        let client_id = self.remote_client_id();
        let topic = self.notification_topic.as_deref();
        let is_topic = |topic: &str| TopicName::new(topic.into()).is_ok();
        let is_5 = self.protocol_version == BridgeProtocol::V5;
        if client_id.is_empty() || client_id.len() > usize::from(u16::MAX) || client_id.contains('\0') {
            Some(("client_id", "must have from 1 byte to 65535 bytes"))
        } else if self.password_file.is_some() && self.user_name.is_none() {
            Some(("user_name", "must be set with password_file"))
        } else if topic.is_some_and(|topic| !is_topic(topic)) {
            Some(("notification_topic", "must be a Topic Name"))
        } else if self.user.as_deref().is_some_and(str::is_empty) {
            Some(("user", "must have at least one byte"))
        } else if self.dedup_id && !is_5 {
            Some(("dedup_id", "needs protocol_version = \"5.0\": 3.1.1 has no properties"))
        } else if self.session_expiry.is_some() && !is_5 {
            Some(("session_expiry", "needs protocol_version = \"5.0\": a session of 3.1.1 does not expire"))
        } else if self.maximum_packet_size.is_some_and(|size| size < 256 || size > limits.maximum_packet_size) {
            Some(("maximum_packet_size", "must be from \"256B\" to limits.maximum_packet_size"))
        } else {
            None
        }
    }

    fn time_problems(&self) -> Vec<(&'static str, &'static str)> {
        let seconds = Duration::from_secs;
        let is_between = |value: Duration, least: Duration, most: Duration| value >= least && value <= most;
        let day = seconds(86_400);
        [
            (!is_between(self.keep_alive, seconds(5), seconds(65_535)))
                .then_some(("keep_alive", "must be from \"5s\" to \"65535s\"")),
            (!is_between(self.backoff_min, Duration::from_millis(100), self.backoff_max))
                .then_some(("backoff_min", "must be from \"100ms\" to backoff_max")),
            (self.backoff_max > day).then_some(("backoff_max", "must be at most \"1d\"")),
            (!is_between(self.idle_timeout, seconds(1), day))
                .then_some(("idle_timeout", "must be from \"1s\" to \"1d\"")),
            (self.lazy_threshold == 0).then_some(("lazy_threshold", "must be at least 1")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl BridgeTopic {
    /// The filter here.
    pub fn local_filter(&self) -> String {
        format!("{}{}", self.local_prefix, self.filter)
    }

    /// The filter at the other broker.
    pub fn remote_filter(&self) -> String {
        format!("{}{}", self.remote_prefix, self.filter)
    }

    fn problems(&self, key: &str) -> Option<Problem> {
        let is_prefix = |prefix: &str| !prefix.contains(['+', '#', '\0']);
        if !is_prefix(&self.local_prefix) || !is_prefix(&self.remote_prefix) {
            let setting = if is_prefix(&self.local_prefix) { "remote_prefix" } else { "local_prefix" };
            return Some(Problem::new(&format!("{key}.{setting}"), "must be without wildcards"));
        }
        let error = |filter: String| TopicFilter::new(filter.into()).err();
        let error = error(self.local_filter()).or_else(|| error(self.remote_filter()))?;
        Some(Problem::new(&format!("{key}.filter"), &format!("is not a valid topic filter with its prefix: {error}")))
    }
}

const fn exactly_once() -> MaximumQos {
    MaximumQos(Qos::ExactlyOnce)
}

/// Checks all bridges: what each of them says, and their names.
pub(super) fn problems(bridges: &[Bridge], limits: &Limits) -> Vec<Problem> {
    let own = |(index, bridge): (usize, &Bridge)| bridge.problems(&format!("bridges[{index}]"), limits);
    let mut problems: Vec<Problem> = bridges.iter().enumerate().flat_map(own).collect();
    if bridges.len() > BRIDGES_MAX {
        problems.push(Problem::new("bridges", &format!("must be at most {BRIDGES_MAX}")));
    }
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, bridge) in bridges.iter().enumerate() {
        if let Some(first) = names.get(bridge.name.as_str()) {
            let text = format!("is {}, which bridges[{first}].name already uses", bridge.name);
            problems.push(Problem::new(&format!("bridges[{index}].name"), &text));
        } else {
            names.insert(&bridge.name, index);
        }
    }
    problems
}

/// Whether a bridge may have this name: it is a part of a Client Identifier, of topics and of metrics.
fn is_name(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(is_fit)
}

/// Each has two connections and a session.
const BRIDGES_MAX: usize = 1_000;
const ADDRESSES_MAX: usize = 64;
/// Each message is compared with them.
const TOPICS_MAX: usize = 1_000;

#[cfg(test)]
mod tests;
