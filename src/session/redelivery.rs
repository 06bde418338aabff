//! Messages that the client refused and that it gets again.
//!
//! A message that the client refuses (PUBACK or PUBREC with a Reason Code of 0x80 or more) leaves the queue and is **parked**: it counts in
//! the queue's limits, but nothing waits behind it. When it is due, the owner of the Session appends it to the queue again, with a new
//! sequence and thus a new Packet Identifier. So it is a new PUBLISH for the client.
//!
//! If the messages of its topic are kept in order, later ones of this topic are parked behind it when it is their turn, until the client has
//! accepted it or the broker has given it up. One that was sent before, or may have been before a crash, is not taken back. `origin`, the sequence that a message had at first, tells which one is earlier.

use super::delivery::Delivery;
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// The state of a message that the client refused, or that waits behind one. The store has it under the sequence of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Redelivery {
    /// How often the client has refused it; 0: it only waits behind another one.
    pub attempts: u16,
    /// The Reason Code of the last refusal.
    pub reason_code: u8,
    /// When it is queued again; [`Timestamp::NEVER`]: when no earlier one of its topic is refused; 0: it is in the queue.
    pub due: Timestamp,
    /// The sequence that it had at first.
    pub origin: u64,
    /// The [number](topic_number) of its topic, if the messages of the topic are kept in order; otherwise 0.
    pub topic: u64,
}

impl Redelivery {
    /// A message that was never refused.
    pub(super) const fn first(sequence: u64) -> Self {
        Self { attempts: 0, reason_code: 0, due: Timestamp(0), origin: sequence, topic: 0 }
    }

    /// Whether it is not in the queue.
    pub const fn is_parked(&self) -> bool {
        self.due.0 > 0
    }

    /// Whether it is due because it waits behind no other message any more. It was not sent since it was in the queue.
    pub fn has_waited_behind(&self) -> bool {
        self.due == RELEASED
    }

    /// The state of this message in the queue.
    #[must_use]
    pub const fn queued(self) -> Self {
        Self { due: Timestamp(0), ..self }
    }
}

/// A message that the client refused, whose fate the owner of the Session decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedMessage {
    /// How often the client refused it before, with the Reason Code of this refusal.
    pub state: Redelivery,
    /// The message; `None`: only the store has it.
    pub delivery: Option<Delivery>,
    /// When it expires, or [`Timestamp::NEVER`]. A start may have shortened its deadline, which the record does not show.
    pub expires_at: Timestamp,
    /// Whether the store has it.
    pub is_stored: bool,
    /// Whether it is decided what becomes of it.
    pub is_decided: bool,
}

/// What the owner of a Session decided about parked messages.
#[derive(Debug)]
pub enum Parking {
    /// The refused message with this sequence is due later.
    Until(u64, Redelivery),
    /// The message with this sequence is on its way into the queue, with another sequence.
    Queued(u64),
    /// The message with this sequence became a dead letter, or was discarded.
    Ended(u64),
}

/// The number of a topic in the order of its messages: FNV-1a, never 0. Two topics of one number wait for each other, which does no harm.
pub fn topic_number(topic: &TopicName) -> u64 {
    let mix = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    topic.as_str().bytes().fold(0xCBF2_9CE4_8422_2325, mix).max(1)
}

/// When a message is due that waited behind another one: at once.
pub(super) const RELEASED: Timestamp = Timestamp(1);
