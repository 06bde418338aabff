use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::{Problem, at_least};
use super::value::{duration, duration_or_never, optional_size, size, size_or_auto};

/// Limits that apply to all clients: `[limits]`. None of them can be disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How much memory the broker may use. Before it does, buffers shrink, QoS 0 messages are dropped, and new clients, subscriptions and
    /// retained messages are refused. `None`: three quarters of the memory of the control group or the machine.
    #[serde(with = "size_or_auto")]
    pub memory_max: Option<u64>,
    /// Maximum number of connections of all listeners. The broker closes further ones at once.
    pub connections_max: usize,
    /// Maximum number of connections from one IP address. Unix sockets are not counted.
    pub connections_per_address_max: usize,
    /// Maximum number of new connections per second, of all listeners. Further ones wait in the operating system's
    /// backlog.
    pub connections_per_second_max: NonZeroU32,
    /// Time limit from accepting a connection until CONNECT has arrived, including TLS and WebSocket handshakes.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Time limit for a client to read data that waits for it; then the broker closes the connection.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Maximum size of a packet from a client, in bytes with its fixed header: Maximum Packet Size of CONNACK.
    #[serde(with = "size")]
    pub maximum_packet_size: u32,
    /// Maximum number of bytes that wait to be written to one connection. A single larger packet is sent alone.
    #[serde(with = "size")]
    pub outgoing_bytes_max: usize,
    /// How long a slow receiver may pause its publishers before QoS 0 messages to it are dropped and counted: a budget. One pause
    /// takes at most a tenth of it, and it is refilled at 2 % of the elapsed time.
    #[serde(with = "duration")]
    pub slow_receiver_grace: Duration,
    /// Maximum number of messages per second that the broker reads from one client: its PUBLISH packets. A client may send those of one
    /// second at once. Default: no limit.
    pub client_messages_per_second_max: Option<NonZeroU32>,
    /// Maximum number of bytes per second that the broker reads from one client, of all packets after CONNECT. A client may send those of
    /// one second at once. Default: no limit.
    pub client_bytes_per_second_max: Option<NonZeroU32>,
    /// Receive Maximum of CONNACK: QoS 1 and 2 messages that a client may send without an acknowledgement.
    pub receive_maximum: NonZeroU16,
    /// Maximum number of QoS 1 and 2 messages sent to a client without its acknowledgement; its Receive Maximum may be
    /// lower.
    pub inflight_messages_max: NonZeroU16,
    /// From how many bytes (topic, properties and payload) of QoS 1 and 2 messages without an acknowledgement on no further one is sent to a
    /// client. A single larger message is sent alone. Default: no limit.
    #[serde(with = "optional_size", skip_serializing_if = "Option::is_none")]
    pub inflight_bytes_max: Option<u32>,
    /// Topic Alias Maximum of CONNACK. 0 disables aliases from clients.
    pub topic_alias_maximum: u16,
    /// Maximum number of aliases that the broker uses towards a client; its Topic Alias Maximum may be lower. 0
    /// disables them.
    pub topic_alias_maximum_outgoing: u16,
    /// Longest Keep Alive. A 5.0 client that requests a longer one, or 0, gets this value as Server Keep Alive. A 3.1.1
    /// client keeps its own.
    #[serde(with = "duration_or_never")]
    pub keep_alive_max: Option<Duration>,
    /// Maximum length of a Client Identifier, in bytes.
    pub client_id_length_max: u16,
    /// Maximum length of a Topic Name or Topic Filter, in bytes.
    pub topic_length_max: NonZeroU16,
    /// Maximum number of levels of a Topic Name or Topic Filter. A 5.0 client gets 0x90 for a PUBLISH beyond it. The
    /// connection of a 3.1 or 3.1.1 client is closed at QoS 1 and 2, because an acknowledgement would be untrue.
    pub topic_levels_max: NonZeroU16,
    /// Maximum number of sessions, connected or not. The broker refuses a new client beyond it.
    pub sessions_max: usize,
    /// Longest Session Expiry Interval; also the one of 3.1.1 clients with Clean Session 0. `None` means no limit.
    #[serde(with = "duration_or_never")]
    pub session_expiry_max: Option<Duration>,
    /// Maximum number of subscriptions of a session.
    pub subscriptions_per_session_max: usize,
    /// Maximum number of QoS 1 and 2 messages queued for a session, including those in flight.
    pub queued_messages_max: usize,
    /// Maximum number of bytes (topic, properties and payload) queued for a session.
    #[serde(with = "size")]
    pub queued_bytes_max: usize,
    /// What happens to a message for a session whose queue is full.
    pub queue_overflow: QueueOverflow,
    /// Maximum number of `dedup-id` values remembered for a publisher within `mqtt.deduplication_window`.
    pub deduplication_ids_max: usize,
    /// Maximum number of delayed messages: those to `$delayed/SECONDS/TOPIC` whose time has not come. A 5.0 client gets 0x97 beyond it; the
    /// connection of a 3.1 or 3.1.1 client is closed at QoS 1 and 2.
    pub delayed_messages_max: usize,
    /// Maximum number of bytes (topic, properties and payload) of all delayed messages.
    #[serde(with = "size")]
    pub delayed_bytes_max: usize,
    /// Maximum number of delayed messages of one user, or of one Client Identifier without a verified user.
    pub delayed_messages_per_client_max: usize,
    /// Maximum number of their bytes.
    #[serde(with = "size")]
    pub delayed_bytes_per_client_max: usize,
    /// Maximum number of dead letters of refused messages that are kept; beyond it, the oldest are discarded. 0: none is kept.
    pub dead_letters_max: usize,
    /// Maximum number of bytes of these dead letters.
    #[serde(with = "size")]
    pub dead_letters_bytes_max: usize,
    /// How long such a dead letter is kept.
    #[serde(with = "duration")]
    pub dead_letters_age_max: Duration,
    /// Maximum number of retained messages. Beyond it, a message on a new topic is not retained; replacing and deleting
    /// work.
    pub retained_messages_max: usize,
    /// Maximum number of bytes (topic, properties and payload) of all retained messages.
    #[serde(with = "size")]
    pub retained_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The rest is for the operating system, its buffers of connections, and its cache of the store.
            memory_max: None,
            // An idle connection uses a few KiB, so 100,000 fit a small machine.
            connections_max: 100_000,
            // A Linux host has 28,232 ports for outgoing connections, so a gateway or a load generator fits.
            connections_per_address_max: 32_768,
            // 100,000 clients reconnect within ten seconds, and TLS handshakes can't starve connected clients.
            connections_per_second_max: const { NonZeroU32::new(10_000).unwrap() },
            // It allows three retransmissions on a bad mobile link, and silent connections don't accumulate.
            connect_timeout: Duration::from_secs(10),
            // Longer than a temporary stall, and short enough to free the memory of a dead connection soon.
            write_timeout: Duration::from_secs(30),
            // A firmware image fits one message. The buffer grows with the bytes received, not with the announced size.
            maximum_packet_size: 16 << 20,
            // One second at 8 Mbit/s; a thousand stalled connections use at most 1 GiB.
            outgoing_bytes_max: 1 << 20,
            // A busy receiver catches up in this time; one that is always slow delays publishers for 2 % of the time.
            slow_receiver_grace: Duration::from_millis(250),
            // A client may use what the others leave: each turn of a connection is bounded, so it can't starve them.
            client_messages_per_second_max: None,
            // As above.
            client_bytes_per_second_max: None,
            // 100,000 messages per second from one client on a disk that syncs in 10 ms, for two bytes of memory each.
            receive_maximum: const { NonZeroU16::new(1_024).unwrap() },
            // 5,000 messages per second at a round trip of 50 ms, and a small client can track as many.
            inflight_messages_max: const { NonZeroU16::new(256).unwrap() },
            // The messages are bounded, and `outgoing_bytes_max` bounds what a client has not read.
            inflight_bytes_max: None,
            // More than the topics of a typical device. Each alias keeps one topic name in memory.
            topic_alias_maximum: 64,
            // As above, for topics sent to the client.
            topic_alias_maximum_outgoing: 64,
            // The client chooses its Keep Alive, and may disable it with 0.
            keep_alive_max: None,
            // The standard requires 23 and permits 65,535. Identifiers made of URLs or certificate names fit. A session
            // keeps its identifier in memory and in its records: at most 1 GiB for a million sessions, instead of 64 GiB.
            client_id_length_max: 1_024,
            // The standard's own limit. The cost depends on the levels, which `topic_levels_max` bounds.
            topic_length_max: NonZeroU16::MAX,
            // Each level is one step of a lookup. Real topics have fewer than twenty, and other brokers permit 200.
            topic_levels_max: const { NonZeroU16::new(200).unwrap() },
            // Ten offline sessions for each connection, at about 1 KiB each without their queues.
            sessions_max: 1_000_000,
            // Ending a session early loses acknowledged messages, so the operator decides.
            session_expiry_max: None,
            // A bridge or a dashboard can subscribe to each of 10,000 devices.
            subscriptions_per_session_max: 10_000,
            // A day of one message per second.
            queued_messages_max: 100_000,
            // Ten thousand messages of 6 KiB; sixteen abandoned sessions use 1 GiB of disk.
            queued_bytes_max: 64 << 20,
            // An abandoned session must not stop the publishers.
            queue_overflow: QueueOverflow::DropOldest,
            // 16 messages per second within the window; it uses one to two megabytes.
            deduplication_ids_max: 10_000,
            // One for each of a million devices, at about 60 bytes of memory each; the contents are on the disk.
            delayed_messages_max: 1_000_000,
            // A kilobyte for each of them.
            delayed_bytes_max: 1 << 30,
            // No client can take more than a tenth of all.
            delayed_messages_per_client_max: 100_000,
            // As above.
            delayed_bytes_per_client_max: 100 << 20,
            // What an operator can look through; about 300 bytes of memory each, the contents are on the disk.
            dead_letters_max: 10_000,
            // Six kilobytes for each of them.
            dead_letters_bytes_max: 64 << 20,
            // A long weekend, and time to repair the receiver.
            dead_letters_age_max: Duration::from_secs(7 * 24 * 3_600),
            // One for each of a million devices.
            retained_messages_max: 1_000_000,
            // 256 bytes for each of a million messages.
            retained_bytes_max: 256 << 20,
        }
    }
}

/// What happens when the queue of a session is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueOverflow {
    /// The session drops its oldest message that was never sent.
    DropOldest,
    /// The session drops the new message.
    DropNewest,
    /// No receiver gets the new message: a 5.0 publisher gets 0x97 Quota exceeded, a 3.1.1 publisher is paused.
    Reject,
}

impl Limits {
    /// Checks what the types do not express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let millisecond = Duration::from_millis(1);
        let second = Duration::from_secs(1);
        let keep_alive = self.keep_alive_max.unwrap_or(second);
        [
            self.memory_max
                .is_some_and(|bytes| bytes < MEMORY_MIN)
                .then(|| Problem::new("limits.memory_max", "must be at least \"32MiB\", or \"auto\"")),
            at_least("limits.connections_max", self.connections_max, 1),
            at_least("limits.connections_per_address_max", self.connections_per_address_max, 1),
            (self.connect_timeout < millisecond).then(|| Problem::new("limits.connect_timeout", "must not be zero")),
            (self.write_timeout < millisecond).then(|| Problem::new("limits.write_timeout", "must not be zero")),
            at_least("limits.maximum_packet_size", self.maximum_packet_size as usize, PACKET_SIZE_MIN),
            (self.maximum_packet_size > PACKET_SIZE_MAX).then(|| {
                Problem::new("limits.maximum_packet_size", "must be at most 268435460 bytes: MQTT has no larger packet")
            }),
            at_least("limits.outgoing_bytes_max", self.outgoing_bytes_max, PACKET_SIZE_MIN),
            u32::try_from(self.outgoing_bytes_max)
                .is_err()
                .then(|| Problem::new("limits.outgoing_bytes_max", "must be less than \"4GiB\"")),
            (self.inflight_bytes_max == Some(0))
                .then(|| Problem::new("limits.inflight_bytes_max", "must be at least 1: without it there is no limit")),
            // [MQTT-3.1.3-5]
            at_least("limits.client_id_length_max", usize::from(self.client_id_length_max), 23),
            (keep_alive < second || keep_alive > Duration::from_secs(u64::from(u16::MAX)))
                .then(|| Problem::new("limits.keep_alive_max", "must be from \"1s\" to 65535 seconds, or \"never\"")),
            at_least("limits.sessions_max", self.sessions_max, 1),
            at_least("limits.subscriptions_per_session_max", self.subscriptions_per_session_max, 1),
            at_least("limits.queued_messages_max", self.queued_messages_max, 1),
            at_least("limits.deduplication_ids_max", self.deduplication_ids_max, 1),
            at_least("limits.queued_bytes_max", self.queued_bytes_max, PACKET_SIZE_MIN),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The smallest budget that leaves room for a few clients, in bytes.
const MEMORY_MIN: u64 = 32 << 20;

/// The smallest Maximum Packet Size that leaves room for a typical CONNECT, in bytes.
pub(super) const PACKET_SIZE_MIN: usize = 256;

/// The largest Remaining Length, 268,435,455, plus the five bytes of the fixed header.
pub(super) const PACKET_SIZE_MAX: u32 = 268_435_460;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_max_is_a_size_or_auto() {
        let limits = |text: &str| toml::from_str::<Limits>(&format!("memory_max = {text}"));
        assert_eq!(limits("\"auto\"").unwrap().memory_max, None);
        assert_eq!(limits("\"64MiB\"").unwrap().memory_max, Some(64 << 20));
        assert_eq!(limits("67108864").unwrap().memory_max, Some(64 << 20));
        assert!(limits("\"most\"").unwrap_err().to_string().contains("\"auto\""));
        assert_eq!(limits("\"31MiB\"").unwrap().problems().len(), 1);
        assert!(Limits::default().problems().is_empty());
        let text = toml::to_string(&Limits::default()).unwrap();
        assert!(text.contains("memory_max = \"auto\""), "{text}");
    }
}
