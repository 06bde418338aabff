//! What is left in a queue when its Session ends.

use super::Outbound;
use crate::session::entry::{Content, State};
use crate::session::{Delivery, Unreceived};

impl Outbound {
    /// The messages that another member of a share may receive when this Session ends: unacknowledged ones at QoS 1,
    /// and those never sent at QoS 2. [MQTT-4.8.2-5]
    pub(in crate::session) fn into_share_messages(self) -> impl Iterator<Item = (u64, Delivery)> {
        let queued = self.queue.into_iter().filter_map(|entry| match (entry.state, entry.content) {
            (State::Queued | State::AwaitingPuback, Content::Loaded(delivery)) => Some((entry.sequence, delivery)),
            _ => None,
        });
        let early = self.early.into_iter().flat_map(|early| *early);
        let parked = self.redelivery.into_iter().flat_map(|redelivery| redelivery.into_parked());
        let parked = parked.filter_map(|(sequence, delivery)| Some((sequence, delivery?)));
        let mut messages: Vec<_> = parked.chain(queued).chain(early).collect();
        messages.retain(|(_, delivery)| delivery.share().is_some());
        messages.sort_by_key(|(sequence, _)| *sequence);
        messages.into_iter()
    }

    /// The messages that the client has not received, as far as the broker knows, when this Session ends.
    pub(in crate::session) fn into_unreceived(self) -> impl Iterator<Item = Unreceived> {
        let queued = self.queue.into_iter().filter_map(|entry| {
            let is_movable = matches!(entry.state, State::Queued | State::AwaitingPuback);
            let delivery = match (entry.state, entry.content) {
                (State::AwaitingPubcomp | State::Done, _) => return None,
                (_, Content::Loaded(delivery)) => Some(delivery),
                (_, Content::Away { .. }) => None,
            };
            Some(Unreceived { sequence: entry.sequence, delivery, is_movable })
        });
        let early = self.early.into_iter().flat_map(|early| *early);
        let early = early.map(|(sequence, one)| Unreceived { sequence, delivery: Some(one), is_movable: true });
        let parked = self.redelivery.into_iter().flat_map(|redelivery| redelivery.into_parked());
        let parked = parked.map(|(sequence, delivery)| Unreceived { sequence, delivery, is_movable: true });
        let mut messages: Vec<_> = parked.chain(queued).chain(early).collect();
        messages.sort_by_key(|message| message.sequence);
        messages.into_iter()
    }

    /// The sequences of all messages, ascending.
    pub(in crate::session) fn queued_sequences(&self) -> Vec<u64> {
        let early = self.early.iter().flat_map(|early| early.keys().copied());
        let queued = self.queue.iter().map(|entry| entry.sequence).chain(early);
        let Some(redelivery) = &self.redelivery else { return queued.collect() };
        let mut sequences: Vec<u64> = queued.chain(redelivery.parked_sequences()).collect();
        sequences.sort_unstable();
        sequences
    }
}
