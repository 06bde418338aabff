//! A message in a queue.

use super::delivery::{Delivery, DeliveryPlace, DropCause};
use super::link::Link;
use crate::codec::{Message, OutgoingPublish, PacketId, Qos};
use crate::timestamp::Timestamp;

/// A message in a queue.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) content: Content,
    /// What it counts for in the queue.
    pub(super) bytes: u32,
    pub(super) state: State,
    /// Whether the store has it, so that it can be fetched from there.
    pub(super) recorded: bool,
}

/// Where a message of a queue is.
#[derive(Debug)]
pub(super) enum Content {
    /// In memory.
    Loaded(Delivery),
    /// In the store alone, or with the client.
    Away {
        /// When its Message Expiry Interval runs out, or [`Timestamp::NEVER`].
        expires_at: Timestamp,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Never sent.
    Queued,
    AwaitingPuback,
    AwaitingPubrec,
    /// PUBREL was sent, or is about to be.
    AwaitingPubcomp,
    Done,
}

/// A message of the last run.
#[derive(Debug)]
pub enum RestoredMessage {
    /// To be sent, perhaps again: the store has it.
    Queued {
        /// Of this delivery.
        qos: Qos,
        /// When it expires, or [`Timestamp::NEVER`].
        expires_at: Timestamp,
        /// The bytes of its topic, payload and properties.
        content: u32,
    },
    /// The same, of a Shared Subscription.
    Shared(Box<Delivery>),
    /// The client has it: PUBREL is to be sent again.
    Released,
}

impl State {
    /// What a message of this QoS waits for when it is sent.
    const fn awaiting(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce | Qos::AtLeastOnce => Self::AwaitingPuback,
            Qos::ExactlyOnce => Self::AwaitingPubrec,
        }
    }
}

impl Entry {
    /// A message that was never sent. Those of Shared Subscriptions stay in memory: another member may get them.
    pub(super) fn new(sequence: u64, delivery: Delivery, recorded: bool) -> Self {
        Self {
            sequence,
            bytes: u32::try_from(delivery.queued_bytes()).unwrap_or(u32::MAX),
            recorded: recorded && delivery.place == DeliveryPlace::Record && delivery.share().is_none(),
            content: Content::Loaded(delivery),
            state: State::Queued,
        }
    }

    pub(super) fn restored(sequence: u64, message: RestoredMessage, may_be_sent: bool) -> Self {
        let state = |qos| if may_be_sent { State::awaiting(qos) } else { State::Queued };
        match message {
            RestoredMessage::Queued { qos, expires_at, content } => {
                let bytes = u32::try_from(queued_bytes(content as usize)).unwrap_or(u32::MAX);
                Self { sequence, content: Content::Away { expires_at }, bytes, state: state(qos), recorded: true }
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
            },
        }
    }

    /// The PUBLISH of this entry, or why it is not to be sent. What was sent before is sent again even if it has expired since. [MQTT-4.3.3-7]
    pub(super) fn publish(
        &mut self,
        now: Timestamp,
        packet_id: PacketId,
        link: &mut Link,
    ) -> Result<OutgoingPublish, DropCause> {
        if self.is_expired(now) {
            return Err(DropCause::Expired); // [MQTT-3.3.2-5]
        }
        let Content::Loaded(delivery) = &self.content else { return Err(DropCause::Expired) };
        let dup = self.state != State::Queued;
        let publish = delivery.publish(now, Some(packet_id), dup, link)?;
        self.state = State::awaiting(delivery.qos);
        Ok(publish)
    }

    /// Whether it is not to be sent any more, because it never was in time.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        let expires_at = match &self.content {
            Content::Loaded(delivery) => delivery.expires_at,
            Content::Away { expires_at } => *expires_at,
        };
        self.state == State::Queued && expires_at <= now
    }

    /// Whether its message is in memory.
    pub(super) const fn is_loaded(&self) -> bool {
        matches!(self.content, Content::Loaded(_))
    }

    /// Whether it is still to be sent, perhaps again, and the store alone has it.
    pub(super) const fn is_stored(&self) -> bool {
        !self.is_loaded() && matches!(self.state, State::Queued | State::AwaitingPuback | State::AwaitingPubrec)
    }

    /// Takes its message out of memory.
    pub(super) fn unload(&mut self) -> Option<Delivery> {
        let Content::Loaded(Delivery { expires_at, .. }) = self.content else { return None };
        match std::mem::replace(&mut self.content, Content::Away { expires_at }) {
            Content::Loaded(delivery) => Some(delivery),
            Content::Away { .. } => None,
        }
    }
}

impl Delivery {
    /// What it counts for in a queue.
    pub fn queued_bytes(&self) -> usize {
        queued_bytes(self.message.content_len())
    }
}

/// What a message with so many bytes of topic, payload and properties counts for in a queue: these, and what we keep beside them.
pub const fn queued_bytes(content: usize) -> usize {
    content + ENTRY_BYTES
}

/// What a queued message costs beside its content, in memory or not: it must count for the same.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<Message>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_of_a_message_in_the_store_is_small() {
        assert_eq!(size_of::<Entry>(), 48);
        assert_eq!(size_of::<RestoredMessage>(), 16);
    }
}
