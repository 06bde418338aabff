//! A message in a Session's queue.

use super::delivery::{Delivery, DeliveryPlace, DropCause};
use super::link::Link;
use super::note::Noting;
use super::{Actions, QueueStep};
use crate::codec::{Message, OutgoingPublish, PacketId, Qos};
use crate::timestamp::Timestamp;

/// A message in a Session's queue.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) content: Content,
    /// The size that counts against the queue's bounds, in bytes.
    pub(super) bytes: u32,
    pub(super) state: State,
    /// Whether the store has the message, so that it can be fetched.
    pub(super) recorded: bool,
    noting: Noting,
}

/// The content of a queued message.
#[derive(Debug)]
pub(super) enum Content {
    /// In memory.
    Loaded(Delivery),
    /// Not in memory: only in the store, or already received by the client.
    Away {
        /// When its Message Expiry Interval ends, or [`Timestamp::NEVER`].
        expires_at: Timestamp,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Never sent.
    Queued,
    AwaitingPuback,
    AwaitingPubrec,
    /// PUBREL was sent, or will be when its record is stable.
    AwaitingPubcomp,
    Done,
}

/// A recovered message.
#[derive(Debug)]
pub enum RestoredMessage {
    /// To be sent, possibly again. The store has it.
    Queued {
        /// The QoS of the delivery.
        qos: Qos,
        /// When it expires, or [`Timestamp::NEVER`].
        expires_at: Timestamp,
        /// The size of topic, payload and properties in bytes.
        content: u32,
    },
    /// As above, for a Shared Subscription.
    Shared(Box<Delivery>),
    /// The client has received it; PUBREL must be sent again.
    Released,
}

impl RestoredMessage {
    /// Lets the message expire now if it has a Message Expiry Interval, and returns whether it has one.
    pub fn expire(&mut self) -> bool {
        let expires_at = match self {
            Self::Queued { expires_at, .. } => expires_at,
            Self::Shared(delivery) => &mut delivery.expires_at,
            Self::Released => return false,
        };
        let expires = *expires_at != Timestamp::NEVER;
        if expires {
            *expires_at = Timestamp(0);
        }
        expires
    }
}

impl State {
    /// The state after sending a message of this QoS.
    const fn awaiting(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce | Qos::AtLeastOnce => Self::AwaitingPuback,
            Qos::ExactlyOnce => Self::AwaitingPubrec,
        }
    }
}

impl Entry {
    /// A message that was never sent. Messages of Shared Subscriptions stay in memory, because they may move to another
    /// member.
    pub(super) fn new(sequence: u64, delivery: Delivery, recorded: bool) -> Self {
        Self {
            sequence,
            bytes: u32::try_from(delivery.queued_bytes()).unwrap_or(u32::MAX),
            recorded: recorded && delivery.place == DeliveryPlace::Record && delivery.share().is_none(),
            noting: if delivery.message.is_noted { Noting::Undecided } else { Noting::Off },
            content: Content::Loaded(delivery),
            state: State::Queued,
        }
    }

    pub(super) fn restored(sequence: u64, message: RestoredMessage, may_be_sent: bool) -> Self {
        let state = |qos| if may_be_sent { State::awaiting(qos) } else { State::Queued };
        let noting = Noting::Undecided;
        match message {
            RestoredMessage::Queued { qos, expires_at, content } => {
                let bytes = u32::try_from(queued_bytes(content as usize)).unwrap_or(u32::MAX);
                let (content, state) = (Content::Away { expires_at }, state(qos));
                Self { sequence, content, bytes, state, recorded: true, noting }
            }
            RestoredMessage::Shared(delivery) => {
                let state = state(delivery.qos);
                Self { state, ..Self::new(sequence, *delivery, true) }
            }
            RestoredMessage::Released => Self {
                sequence,
                content: Content::Away { expires_at: Timestamp::NEVER },
                bytes: 0,
                state: State::AwaitingPubcomp,
                recorded: true,
                noting,
            },
        }
    }

    /// A message that has left the queue but counts in its limits.
    pub(super) fn parked(
        (sequence, bytes, recorded): (u64, u32, bool),
        content: Option<Delivery>,
        expires_at: Timestamp,
    ) -> Self {
        let content = content.map_or(Content::Away { expires_at }, Content::Loaded);
        Self { sequence, content, bytes, state: State::Queued, recorded, noting: Noting::Off }
    }

    /// The PUBLISH of this entry, or why it must not be sent. It is not sent if it has [expired by](Limits::expired_by) a time, unless it was sent before.
    /// [MQTT-4.3.3-7]
    pub(super) fn publish(
        &mut self,
        (now, expired_by): (Timestamp, Timestamp),
        packet_id: PacketId,
        link: &mut Link,
    ) -> Result<OutgoingPublish, DropCause> {
        if self.is_expired(expired_by) {
            return Err(DropCause::Expired); // [MQTT-3.3.2-5]
        }
        let Content::Loaded(delivery) = &self.content else { return Err(DropCause::Expired) };
        let dup = self.state != State::Queued;
        let publish = delivery.publish(now, Some(packet_id), dup, link)?;
        self.state = State::awaiting(delivery.qos);
        Ok(publish)
    }

    /// Notes a step, if the steps of this message are noted. Which message it is must be known at the first one.
    #[inline]
    pub(super) fn note(&mut self, step: QueueStep, actions: &mut impl Actions) {
        if self.noting != Noting::Off {
            self.note_step(step, actions);
        }
    }

    #[inline(never)]
    fn note_step(&mut self, step: QueueStep, actions: &mut impl Actions) {
        match (self.noting, &self.content) {
            (Noting::On, _) => actions.note(self.sequence, step),
            (Noting::Undecided, Content::Loaded(delivery)) => {
                let is_noted = actions.begin_notes(self.sequence, &delivery.message, step);
                self.noting = if is_noted { Noting::On } else { Noting::Off };
            }
            (Noting::Undecided, Content::Away { .. }) | (Noting::Off, _) => {}
        }
    }

    /// Notes that it waits, unless it was sent at once.
    #[inline]
    pub(super) fn note_waiting(&mut self, actions: &mut impl Actions) {
        if self.state == State::Queued && self.noting == Noting::Undecided {
            self.note(QueueStep::Queued, actions);
        }
    }

    /// Whether it has expired by a time without having been sent.
    pub(super) fn is_expired(&self, time: Timestamp) -> bool {
        self.state == State::Queued && self.expires_at() <= time
    }

    /// When its Message Expiry Interval ends, or [`Timestamp::NEVER`].
    pub(super) const fn expires_at(&self) -> Timestamp {
        match &self.content {
            Content::Loaded(delivery) => delivery.expires_at,
            Content::Away { expires_at } => *expires_at,
        }
    }

    /// Whether its message is in memory.
    pub(super) const fn is_loaded(&self) -> bool {
        matches!(self.content, Content::Loaded(_))
    }

    /// Whether it must still be sent, possibly again, and only the store has it.
    pub(super) const fn is_stored(&self) -> bool {
        !self.is_loaded() && matches!(self.state, State::Queued | State::AwaitingPuback | State::AwaitingPubrec)
    }

    /// Removes its message from memory.
    pub(super) fn unload(&mut self) -> Option<Delivery> {
        let Content::Loaded(Delivery { expires_at, .. }) = self.content else { return None };
        match std::mem::replace(&mut self.content, Content::Away { expires_at }) {
            Content::Loaded(delivery) => Some(delivery),
            Content::Away { .. } => None,
        }
    }
}

impl Delivery {
    /// The size that counts against a queue's bounds, in bytes.
    pub fn queued_bytes(&self) -> usize {
        queued_bytes(self.message.content_len())
    }
}

/// The size that counts against a queue's bounds for a message with `content` bytes of topic, payload and properties,
/// including our overhead.
pub const fn queued_bytes(content: usize) -> usize {
    content + ENTRY_BYTES
}

/// The bytes of topic, payload and properties of a message that counts for `bytes`; `None`: they are not known.
pub(super) const fn content_bytes(bytes: u32) -> Option<usize> {
    (bytes as usize).checked_sub(ENTRY_BYTES)
}

/// Overhead of a queued message in bytes; it counts the same whether the message is in memory or not.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<Message>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_the_store_uses_little_memory() {
        assert_eq!(size_of::<Entry>(), 48);
        assert_eq!(size_of::<RestoredMessage>(), 16);
    }
}
