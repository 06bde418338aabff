use std::ops::Add;

use bytes::Bytes;
use bytestring::ByteString;

use crate::codec::{PacketType, Qos, ServerPacket};

/// The counters and gauges of a shard since its start, published once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets from clients, by [`PacketType`] number.
    pub packets_received: [u64; 16],
    /// Packets to clients, by [`PacketType`] number.
    pub packets_sent: [u64; 16],
    /// PUBLISH packets from clients, by QoS.
    pub messages_received: [u64; 3],
    /// PUBLISH packets to clients, by QoS.
    pub messages_sent: [u64; 3],
    /// Payload bytes of PUBLISH packets from clients.
    pub payload_bytes_received: u64,
    /// Payload bytes of PUBLISH packets to clients.
    pub payload_bytes_sent: u64,
    /// Messages dropped, by [`DropReason`] number.
    pub dropped: [u64; DropReason::ALL.len()],
    /// Dropped messages that were published to the dead letter topic.
    pub dead_letters: u64,
    /// Dropped messages that could not be published there: no room, too many pending, or unreadable in the store.
    pub dead_letters_lost: u64,
    /// Refused messages that were scheduled to be sent again.
    pub redeliveries_scheduled: u64,
    /// Refused messages that were queued again.
    pub redelivered: u64,
    /// Messages that were refused too often and are kept as dead letters.
    pub dead_letters_kept: u64,
    /// Kept dead letters that operators put into their queues again.
    pub dead_letters_redriven: u64,
    /// Kept dead letters that were discarded for newer ones or because of their age.
    pub dead_letters_discarded: u64,
    /// Receipts that were published.
    pub receipts_published: u64,
    /// Receipts that were not published, because their originators may not publish to their topics any more.
    pub receipts_denied: u64,
    /// Messages that were not accepted, because of the receipts that they asked for.
    pub receipts_refused: u64,
    /// Messages accepted to be published later.
    pub delayed_accepted: u64,
    /// Delayed messages that were published.
    pub delayed_published: u64,
    /// Messages not accepted to be published later, because a limit was reached.
    pub delayed_refused: u64,
    /// Batches that were accepted.
    pub batches: u64,
    /// Their messages.
    pub batch_messages: u64,
    /// Batches that were refused: malformed, denied, or without room.
    pub batches_refused: u64,
    /// Messages recognized as duplicates by their `dedup-id`.
    pub duplicates: u64,
    /// Identifiers that expired from the deduplication window.
    pub deduplication_expired: u64,
    /// Identifiers evicted from the deduplication window for newer ones.
    pub deduplication_left: u64,
    /// CONNECTs accepted.
    pub connects_accepted: u64,
    /// CONNECTs refused.
    pub connects_refused: u64,
    /// CONNECTs refused because the Session belongs to someone else; counted as refused too.
    pub connects_of_others: u64,
    /// Connections ended by a protocol error of the client.
    pub protocol_errors: u64,
    /// Pauses of clients beyond their rate limits.
    pub rate_pauses: u64,
    /// PUBLISH and SUBSCRIBE packets denied by access rules, or beyond a limit of topics.
    pub denied: u64,
    /// Current Network Connections.
    pub connections: u64,
    /// Current Sessions, connected or not.
    pub sessions: u64,
    /// Current Sessions with a Network Connection.
    pub sessions_connected: u64,
    /// QoS 1 and 2 messages in the queues of Sessions, those in flight included.
    pub queued_messages: u64,
    /// Bytes of these messages.
    pub queued_bytes: u64,
    /// QoS 1 and 2 messages sent to connected clients and not acknowledged.
    pub in_flight_messages: u64,
    /// Sessions that ended by their Session Expiry Interval.
    pub sessions_expired: u64,
    /// Sessions taken over by another connection.
    pub sessions_taken_over: u64,
    /// Connections ended because they used too much of the memory.
    pub ended_for_memory: u64,
}

/// Why a message was not delivered to one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum DropReason {
    /// The Session's queue was full (QoS 1 and 2).
    QueueFull = 0,
    /// The outgoing buffer of the receiver was full (QoS 0).
    SlowReceiver = 1,
    /// The receiver has no connection (QoS 0).
    NotConnected = 2,
    /// The Message Expiry Interval has passed.
    Expired = 3,
    /// Larger than the client's Maximum Packet Size.
    PacketTooLarge = 4,
    /// The Session ended before it was delivered.
    SessionEnded = 5,
    /// A retained message that exceeds the limits.
    RetainedFull = 6,
    /// A Will could not be published: the retained messages reached a limit, a queue or the disk is full, or it is below `$SYS`.
    WillRefused = 7,
    /// The store could not read it before it was sent (QoS 1 and 2).
    Unreadable = 8,
    /// The Session was anonymous and ended, because a verified user connected with its Client Identifier (QoS 1 and 2).
    OwnerChanged = 9,
    /// The receiver may not receive it any more, or the client may not publish its Will any more.
    NotAuthorized = 10,
    /// The client refused it with an error in PUBACK or PUBREC, as often as its rule permits (QoS 1 and 2).
    Refused = 11,
}

impl DropReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::QueueFull,
        Self::SlowReceiver,
        Self::NotConnected,
        Self::Expired,
        Self::PacketTooLarge,
        Self::SessionEnded,
        Self::RetainedFull,
        Self::WillRefused,
        Self::Unreadable,
        Self::OwnerChanged,
        Self::NotAuthorized,
        Self::Refused,
    ];

    /// Its name in metrics and log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SlowReceiver => "slow_receiver",
            Self::NotConnected => "not_connected",
            Self::Expired => "expired",
            Self::PacketTooLarge => "packet_too_large",
            Self::SessionEnded => "session_ended",
            Self::RetainedFull => "retained_full",
            Self::WillRefused => "will_refused",
            Self::Unreadable => "unreadable",
            Self::OwnerChanged => "owner_changed",
            Self::NotAuthorized => "not_authorized",
            Self::Refused => "refused",
        }
    }
}

impl Counters {
    /// Counts a packet from a client.
    pub fn received(&mut self, packet_type: PacketType) {
        if let Some(count) = self.packets_received.get_mut(packet_type as usize) {
            *count += 1;
        }
    }

    /// Counts a change of the queue of a Session: messages and bytes before and after.
    pub(super) fn queue_changed(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.queued_messages = self.queued_messages + after.0 as u64 - before.0 as u64;
        self.queued_bytes = self.queued_bytes + after.1 as u64 - before.1 as u64;
    }

    /// Counts a change of the messages in flight to the client of a Session.
    #[inline]
    pub(super) const fn in_flight_changed(&mut self, before: u32, after: u32) {
        self.in_flight_messages = self.in_flight_messages + after as u64 - before as u64;
    }

    /// Counts a packet to a client, and returns an estimate of its encoded bytes.
    pub(super) fn sending(&mut self, packet: &ServerPacket) -> usize {
        self.sent(packet.packet_type());
        let ServerPacket::Publish(publish) = packet else { return response_bytes(packet) };
        self.message_sent(publish.qos, publish.message.payload.len());
        publish.content_len_max() + PACKET_BYTES
    }

    /// Counts a packet to a client.
    pub(super) fn sent(&mut self, packet_type: PacketType) {
        if let Some(count) = self.packets_sent.get_mut(packet_type as usize) {
            *count += 1;
        }
    }

    /// Counts a PUBLISH from a client.
    pub fn message_received(&mut self, qos: Qos, payload_bytes: usize) {
        if let Some(count) = self.messages_received.get_mut(usize::from(qos.level())) {
            *count += 1;
        }
        self.payload_bytes_received += payload_bytes as u64;
    }

    /// Counts a PUBLISH to a client.
    pub fn message_sent(&mut self, qos: Qos, payload_bytes: usize) {
        if let Some(count) = self.messages_sent.get_mut(usize::from(qos.level())) {
            *count += 1;
        }
        self.payload_bytes_sent += payload_bytes as u64;
    }

    /// Counts messages dropped.
    pub fn dropped(&mut self, reason: DropReason, messages: u64) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += messages;
        }
    }
}

impl Counters {
    /// Without what is no count of what has happened, but a state.
    #[must_use]
    pub const fn counts(self) -> Self {
        Self {
            connections: 0,
            sessions: 0,
            sessions_connected: 0,
            queued_messages: 0,
            queued_bytes: 0,
            in_flight_messages: 0,
            ..self
        }
    }
}

impl Add for Counters {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        fn each<const N: usize>(sum: &mut [u64; N], other: [u64; N]) {
            for (sum, other) in sum.iter_mut().zip(other) {
                *sum += other;
            }
        }
        each(&mut self.packets_received, other.packets_received);
        each(&mut self.packets_sent, other.packets_sent);
        each(&mut self.messages_received, other.messages_received);
        each(&mut self.messages_sent, other.messages_sent);
        each(&mut self.dropped, other.dropped);
        self.payload_bytes_received += other.payload_bytes_received;
        self.payload_bytes_sent += other.payload_bytes_sent;
        self.dead_letters += other.dead_letters;
        self.dead_letters_lost += other.dead_letters_lost;
        self.redeliveries_scheduled += other.redeliveries_scheduled;
        self.redelivered += other.redelivered;
        self.dead_letters_kept += other.dead_letters_kept;
        self.dead_letters_redriven += other.dead_letters_redriven;
        self.dead_letters_discarded += other.dead_letters_discarded;
        self.receipts_published += other.receipts_published;
        self.receipts_denied += other.receipts_denied;
        self.receipts_refused += other.receipts_refused;
        self.delayed_accepted += other.delayed_accepted;
        self.delayed_published += other.delayed_published;
        self.delayed_refused += other.delayed_refused;
        self.batches += other.batches;
        self.batch_messages += other.batch_messages;
        self.batches_refused += other.batches_refused;
        self.duplicates += other.duplicates;
        self.deduplication_expired += other.deduplication_expired;
        self.deduplication_left += other.deduplication_left;
        self.connects_accepted += other.connects_accepted;
        self.connects_refused += other.connects_refused;
        self.connects_of_others += other.connects_of_others;
        self.protocol_errors += other.protocol_errors;
        self.rate_pauses += other.rate_pauses;
        self.denied += other.denied;
        self.connections += other.connections;
        self.sessions += other.sessions;
        self.sessions_connected += other.sessions_connected;
        self.queued_messages += other.queued_messages;
        self.queued_bytes += other.queued_bytes;
        self.in_flight_messages += other.in_flight_messages;
        self.sessions_expired += other.sessions_expired;
        self.sessions_taken_over += other.sessions_taken_over;
        self.ended_for_memory += other.ended_for_memory;
        self
    }
}

/// An estimate of the encoded bytes of a packet without its content.
const PACKET_BYTES: usize = 10;

/// An estimate of the encoded bytes of a packet other than PUBLISH.
fn response_bytes(packet: &ServerPacket) -> usize {
    let text = |text: &Option<ByteString>| text.as_ref().map_or(0, |text| text.len());
    let content = match packet {
        ServerPacket::Puback(ack)
        | ServerPacket::Pubrec(ack)
        | ServerPacket::Pubrel(ack)
        | ServerPacket::Pubcomp(ack) => ack.details.as_ref().map_or(0, |details| details.encoded_len_max()),
        ServerPacket::Suback(suback) => suback.reason_codes.len() + text(&suback.reason_string),
        ServerPacket::Unsuback(unsuback) => unsuback.reason_codes.len() + text(&unsuback.reason_string),
        ServerPacket::Auth(auth) => auth.authentication_data.as_ref().map_or(0, Bytes::len) + text(&auth.reason_string),
        // The others are sent once, or have no content.
        ServerPacket::Connack(_) | ServerPacket::Publish(_) | ServerPacket::Pingresp | ServerPacket::Disconnect(_) => 0,
    };
    content + PACKET_BYTES
}
