//! A message in a queue.

use super::link::Link;
use super::outbound::{Entry, RestoredMessage, State};
use super::{Delivery, DeliveryPlace, DropCause, queued_bytes};
use crate::codec::{OutgoingPublish, PacketId};
use crate::timestamp::Timestamp;

impl Entry {
    /// A message that was never sent. Those of Shared Subscriptions stay in memory: another member may get them.
    pub(super) fn new(sequence: u64, delivery: Delivery, recorded: bool) -> Self {
        Self {
            sequence,
            expires_at: delivery.expires_at.unwrap_or(Timestamp::NEVER),
            bytes: u32::try_from(delivery.queued_bytes()).unwrap_or(u32::MAX),
            recorded: recorded && delivery.place == DeliveryPlace::Record && delivery.share.is_none(),
            delivery: Some(Box::new(delivery)),
            state: State::Queued,
        }
    }

    pub(super) fn restored(sequence: u64, message: RestoredMessage, may_be_sent: bool) -> Self {
        let state = |qos| if may_be_sent { State::awaiting(qos) } else { State::Queued };
        match message {
            RestoredMessage::Queued { qos, expires_at, content } => {
                let bytes = u32::try_from(queued_bytes(content as usize)).unwrap_or(u32::MAX);
                Self { sequence, delivery: None, expires_at, bytes, state: state(qos), recorded: true }
            }
            RestoredMessage::Shared(delivery) => {
                let state = state(delivery.qos);
                Self { state, ..Self::new(sequence, *delivery, true) }
            }
            RestoredMessage::Released => Self {
                sequence,
                delivery: None,
                expires_at: Timestamp::NEVER,
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
        let Some(delivery) = &self.delivery else { return Err(DropCause::Expired) };
        let dup = self.state != State::Queued;
        let publish = delivery.publish(now, Some(packet_id), dup, link)?;
        self.state = State::awaiting(delivery.qos);
        Ok(publish)
    }

    /// Whether it is not to be sent any more, because it never was in time.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.state == State::Queued && self.expires_at <= now
    }

    /// Whether it is still to be sent, perhaps again, and the store alone has it.
    pub(super) const fn is_stored(&self) -> bool {
        self.delivery.is_none() && matches!(self.state, State::Queued | State::AwaitingPuback | State::AwaitingPubrec)
    }
}

/// What a queued message costs beside its content, in memory or not: it must count for the same.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<Delivery>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_of_a_message_in_the_store_is_small() {
        assert_eq!(size_of::<Entry>(), 32);
        assert_eq!(size_of::<RestoredMessage>(), 16);
    }
}
