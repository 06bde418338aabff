use crate::codec::Qos;

/// What every client is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Maximum QoS announced in CONNACK.
    pub maximum_qos: Qos,
    /// Retain Available announced in CONNACK.
    pub retain_available: bool,
    /// Receive Maximum announced in CONNACK.
    pub receive_maximum: u16,
    /// Whether a payload that says it is UTF-8 is checked.
    pub validate_payload_format: bool,
    /// Messages in the queue towards the client, in flight included.
    pub queued_messages_max: usize,
    /// Their bytes.
    pub queued_bytes_max: usize,
    /// Whether the oldest message goes when the queue is full; else whoever gives messages sees to it that there is room.
    pub drops_oldest: bool,
    /// What of the queue is in memory, where the store has all of it.
    pub queue_head: QueueHead,
    /// Whether something is made of messages that are dropped, which must be in memory for it.
    pub keeps_dropped: bool,
}

/// The head of a queue that is in memory, ahead of what the client takes; the rest is in the store alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueHead {
    /// Messages, at least 1.
    pub messages_max: usize,
    /// Their bytes. One message may have more.
    pub bytes_max: usize,
    /// How many times smaller it is while the client is away, at least 1.
    pub away_share: usize,
}

impl QueueHead {
    /// What of it is in memory while the client is away.
    pub(super) const fn away(self) -> Self {
        let share = self.away_share;
        Self { messages_max: self.messages_max.div_ceil(share), bytes_max: self.bytes_max.div_ceil(share), ..self }
    }
}

impl Default for QueueHead {
    fn default() -> Self {
        // Some milliseconds of what the fastest client takes, several times what a read from the disk needs.
        // Of clients that are away there may be very many, and most of them have little to get when they look in.
        Self { messages_max: 1_000, bytes_max: 1 << 20, away_share: 125 }
    }
}
