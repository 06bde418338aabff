use crate::timestamp::Timestamp;

/// Limits and features that apply to every client, or to those of some users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Receive Maximum of CONNACK.
    pub receive_maximum: u16,
    /// Whether a payload with Payload Format Indicator 1 must be valid UTF-8.
    pub validate_payload_format: bool,
    /// Maximum number of messages in a queue, including those in flight.
    pub queued_messages_max: usize,
    /// Maximum number of bytes in a queue.
    pub queued_bytes_max: usize,
    /// Maximum number of subscriptions; the caller enforces it.
    pub subscriptions_max: usize,
    /// From how many bytes of unacknowledged messages to a client on no further one is sent.
    pub inflight_bytes_max: usize,
    /// Whether a full queue drops its oldest message. Otherwise the caller must check for space before it delivers.
    pub drops_oldest: bool,
    /// The part of a queue that is in memory, if the store has all messages.
    pub queue_head: QueueHead,
    /// Whether dropped messages are published as dead letters, so they must be read first.
    pub has_dead_letters: bool,
    /// What becomes of messages that the client refuses.
    pub refused: RefusedMessages,
    /// Whether memory is so short that a queue takes no more messages that only memory has, beyond `SHORT_MESSAGES_MAX` messages or
    /// `SHORT_BYTES_MAX`.
    pub is_memory_short: bool,
    /// Whether messages are sent after their Message Expiry Interval, too: the receiver decides what that means.
    pub keeps_expired: bool,
}

impl Limits {
    /// Messages whose Message Expiry Interval has ended at this time or before are not sent any more at `now`.
    pub(super) const fn expired_by(&self, now: Timestamp) -> Timestamp {
        if self.keeps_expired { Timestamp(0) } else { now }
    }

    /// The same for a link to another cell: no message is dropped, also not one that has expired, or refused for a reason that its publisher does not know, and as many as there are
    /// Packet Identifiers are in flight.
    #[must_use]
    pub fn of_link(self) -> Self {
        Self {
            receive_maximum: u16::MAX,
            validate_payload_format: false,
            inflight_bytes_max: LINK_INFLIGHT_BYTES_MAX,
            drops_oldest: false,
            refused: RefusedMessages::Discarded,
            keeps_expired: true,
            ..self
        }
    }
}

/// What becomes of messages that a client refuses with a Reason Code of 0x80 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RefusedMessages {
    /// They are discarded. [MQTT-4.4.0-2]
    #[default]
    Discarded,
    /// The owner of the Session decides: some are sent again.
    SentAgain,
    /// The same, and the messages of some topics are kept in order.
    SentAgainInOrder,
}

impl RefusedMessages {
    /// Whether some are sent again.
    pub(super) const fn are_sent_again(self) -> bool {
        matches!(self, Self::SentAgain | Self::SentAgainInOrder)
    }

    /// Whether the messages of some topics are kept in order.
    pub(super) const fn keeps_order(self) -> bool {
        matches!(self, Self::SentAgainInOrder)
    }
}

/// The messages in a queue, and their bytes, from which on it takes no more of them while memory is short.
pub(super) const SHORT_MESSAGES_MAX: usize = 16;
pub(super) const SHORT_BYTES_MAX: usize = 64 * 1024;
/// The longest Topic Name that gets an alias while memory is short, in bytes.
pub(super) const SHORT_ALIAS_MAX: usize = 256;

/// The bytes of messages that another cell has not acknowledged, from which on it gets no further one.
const LINK_INFLIGHT_BYTES_MAX: usize = 16 << 20;

/// The head of a queue, which is in memory; the rest is only in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueHead {
    /// Maximum number of messages, at least 1.
    pub messages_max: usize,
    /// Maximum number of bytes. A single larger message is permitted.
    pub bytes_max: usize,
    /// By how much the head is smaller while the client is disconnected, a factor of at least 1.
    pub away_share: usize,
}

impl QueueHead {
    /// The head while the client is disconnected.
    pub(super) const fn away(self) -> Self {
        let share = self.away_share;
        Self { messages_max: self.messages_max.div_ceil(share), bytes_max: self.bytes_max.div_ceil(share), ..self }
    }
}

impl Default for QueueHead {
    fn default() -> Self {
        // Several times the messages that the fastest client receives during a read from the disk. There may be very
        // many disconnected clients, and most of them have few messages.
        Self { messages_max: 1_000, bytes_max: 1 << 20, away_share: 125 }
    }
}
