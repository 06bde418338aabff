use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::{Problem, at_least};
use super::value::{duration, duration_or_never, size};

/// Limits every client is held to: `[limits]`.
///
/// None of them can be switched off: a bound that is never reached costs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections of all listeners together. Further ones are closed at once.
    pub connections_max: usize,
    /// Connections from one IP address. Unix sockets have none and are not counted.
    pub connections_per_address_max: usize,
    /// New connections in one second, of all listeners together. Further ones wait in the operating system's backlog.
    pub connections_per_second_max: NonZeroU32,
    /// How long a new connection may take to send the whole CONNECT, TLS and WebSocket handshakes included.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long a connection may take nothing of what is waiting for it before it is closed.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Largest packet a client may send, in bytes with its fixed header: Maximum Packet Size of CONNACK.
    #[serde(with = "size")]
    pub maximum_packet_size: u32,
    /// Bytes that may wait to be written to one connection. One packet larger than this still goes alone.
    #[serde(with = "size")]
    pub outgoing_bytes_max: usize,
    /// How long publishers wait for a receiver whose outgoing bytes are at half of their maximum, before QoS 0 messages to that
    /// receiver are dropped and counted: a tenth of it at a time, all of it once, and a fiftieth of all time later.
    #[serde(with = "duration")]
    pub slow_receiver_grace: Duration,
    /// Receive Maximum of CONNACK: QoS 1 and 2 messages a client may have sent without our acknowledgement.
    pub receive_maximum: NonZeroU16,
    /// QoS 1 and 2 messages sent to a client without its acknowledgement, if its Receive Maximum isn't lower.
    pub inflight_messages_max: NonZeroU16,
    /// Topic Alias Maximum of CONNACK: aliases a client may set. 0: none.
    pub topic_alias_maximum: u16,
    /// Aliases we set towards one client, if its Topic Alias Maximum isn't lower. 0: none.
    pub topic_alias_maximum_outgoing: u16,
    /// Longest Keep Alive: a 5.0 client that asks for a longer one, or for none, is told this as Server Keep Alive. A 3.1.1
    /// client can't be told and keeps its own.
    #[serde(with = "duration_or_never")]
    pub keep_alive_max: Option<Duration>,
    /// Longest Client Identifier, in bytes.
    pub client_id_length_max: u16,
    /// Longest Topic Name or Topic Filter, in bytes.
    pub topic_length_max: NonZeroU16,
    /// Most levels of a Topic Name or Topic Filter.
    pub topic_levels_max: NonZeroU16,
    /// Sessions, connected or not. A new client beyond them is refused.
    pub sessions_max: usize,
    /// Longest Session Expiry Interval; also that of a 3.1.1 client with Clean Session 0.
    #[serde(with = "duration_or_never")]
    pub session_expiry_max: Option<Duration>,
    /// Subscriptions of one session.
    pub subscriptions_per_session_max: usize,
    /// QoS 1 and 2 messages that may wait in one session, those in flight included.
    pub queued_messages_max: usize,
    /// Their bytes: topic, properties and payload.
    #[serde(with = "size")]
    pub queued_bytes_max: usize,
    /// What happens to a message for a session where these are reached.
    pub queue_overflow: QueueOverflow,
    /// Identifiers (`dedup-id`) remembered of one publisher in `mqtt.deduplication_window`. The oldest goes for a new one.
    pub deduplication_ids_max: usize,
    /// Retained messages. A new topic beyond them is not retained; replacing and deleting always work.
    pub retained_messages_max: usize,
    /// Bytes (topic, properties and payload) of all retained messages.
    #[serde(with = "size")]
    pub retained_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An idle connection costs a few KiB: so many fit a small machine. Mind the limit of open files.
            connections_max: 100_000,
            // More than the 28,232 ports Linux gives one host, so one gateway's fleet or one load test fits; a third of all.
            connections_per_address_max: 32_768,
            // Everyone is back ten seconds after a restart, and a storm of TLS handshakes can't starve those who are in.
            connections_per_second_max: const { NonZeroU32::new(10_000).unwrap() },
            // Three retransmissions on a bad mobile link; silent connections are gone before they pile up.
            connect_timeout: Duration::from_secs(10),
            // Longer than any stall of a link that lives, short enough to free what a dead one holds.
            write_timeout: Duration::from_secs(30),
            // Firmware images in one piece. The buffer grows with what has come, not with what is announced.
            maximum_packet_size: 16 << 20,
            // A second at 8 Mbit/s: bursts fit, and a thousand stalled connections hold no more than a GiB.
            outgoing_bytes_max: 1 << 20,
            // A receiver that is merely busy catches up in this time; one that is slow delays others for 2 % of all time.
            slow_receiver_grace: Duration::from_millis(250),
            // 100,000 messages a second from one client on a disk that syncs in 10 ms; it costs two bytes each.
            receive_maximum: const { NonZeroU16::new(1_024).unwrap() },
            // 5,000 messages a second at a 50 ms round trip, and what a small client has to keep.
            inflight_messages_max: const { NonZeroU16::new(256).unwrap() },
            // More than the topics of a usual device; each costs the connection one topic in memory.
            topic_alias_maximum: 64,
            // As above, for the way to the client.
            topic_alias_maximum_outgoing: 64,
            // Keep Alive is the client's choice: 0 means that it wants none.
            keep_alive_max: None,
            // The standard asks for 23 at least; names made of URLs and certificates fit.
            client_id_length_max: 1_024,
            // The standard's own limit; it is the levels that cost.
            topic_length_max: NonZeroU16::MAX,
            // Each level is a step of every search; real topics have fewer than twenty.
            topic_levels_max: const { NonZeroU16::new(128).unwrap() },
            // Ten offline sessions for each connection, at about a KiB each without their queues.
            sessions_max: 1_000_000,
            // Ending a session early loses acknowledged messages: that takes an operator's decision.
            session_expiry_max: None,
            // A bridge or dashboard that names each of its devices.
            subscriptions_per_session_max: 10_000,
            // A device that reports each second is away for a day.
            queued_messages_max: 100_000,
            // Ten thousand messages of 6 KiB; sixteen forgotten sessions hold a GiB of the disk.
            queued_bytes_max: 64 << 20,
            // A forgotten session must not stop the publishers of a fleet.
            queue_overflow: QueueOverflow::DropOldest,
            // Sixteen messages a second in the window; a million bytes or two.
            deduplication_ids_max: 10_000,
            // One for each of a million devices.
            retained_messages_max: 1_000_000,
            // 256 bytes each for as many.
            retained_bytes_max: 256 << 20,
        }
    }
}

/// What happens when the queue of a session is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueOverflow {
    /// The oldest message that was never sent is dropped.
    DropOldest,
    /// The new message is dropped for this session.
    DropNewest,
    /// Nobody gets the new message: a 5.0 publisher is told 0x97 Quota exceeded, a 3.1.1 publisher is held up.
    Reject,
}

impl Limits {
    /// What the types can't rule out.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let millisecond = Duration::from_millis(1);
        let second = Duration::from_secs(1);
        let keep_alive = self.keep_alive_max.unwrap_or(second);
        [
            at_least("limits.connections_max", self.connections_max, 1),
            at_least("limits.connections_per_address_max", self.connections_per_address_max, 1),
            (self.connect_timeout < millisecond).then(|| Problem::new("limits.connect_timeout", "must not be zero")),
            (self.write_timeout < millisecond).then(|| Problem::new("limits.write_timeout", "must not be zero")),
            at_least("limits.maximum_packet_size", self.maximum_packet_size as usize, PACKET_SIZE_MIN),
            (self.maximum_packet_size > PACKET_SIZE_MAX).then(|| {
                Problem::new("limits.maximum_packet_size", "must be at most 268435460 bytes: MQTT has no larger packet")
            }),
            at_least("limits.outgoing_bytes_max", self.outgoing_bytes_max, PACKET_SIZE_MIN),
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

/// Below it not even a modest CONNECT fits.
pub(super) const PACKET_SIZE_MIN: usize = 256;

/// The largest Remaining Length, 268,435,455, and the five bytes before its end.
pub(super) const PACKET_SIZE_MAX: u32 = 268_435_460;
