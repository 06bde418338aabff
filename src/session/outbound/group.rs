//! Messages of groups, which leave the queue when the connection ends.

use super::Outbound;
use crate::session::DeliveryPlace;
use crate::session::entry::{Content, Entry, State};
use crate::timestamp::Timestamp;

impl Outbound {
    /// The connection has ended: messages of groups go to other clients.
    pub(in crate::session) fn withdraw_groups(&mut self) {
        // Messages before these are still to come, so their sequences must stay: they are dropped when it is their turn.
        for delivery in self.early.iter_mut().flat_map(|early| early.values_mut()) {
            if delivery.place == DeliveryPlace::Group {
                delivery.expires_at = Timestamp(0);
            }
        }
        if !std::mem::take(&mut self.has_group_messages) {
            return;
        }
        for place in 0..self.queue.len() {
            let is_withdrawn = |entry: &Entry| entry.state != State::Done && entry.is_of_group();
            if self.queue.get(place).is_some_and(is_withdrawn) {
                self.messages -= 1;
                self.take(place, State::Done);
            }
        }
        self.remove_done();
    }

    /// Whether the message at this index is of a group. One that the client refuses is not sent again.
    pub(in crate::session) fn is_of_group(&self, place: usize) -> bool {
        self.has_group_messages && self.queue.get(place).is_some_and(Entry::is_of_group)
    }
}

impl Entry {
    /// Whether its message is of a group.
    pub(in crate::session) const fn is_of_group(&self) -> bool {
        match &self.content {
            Content::Loaded(delivery) => matches!(delivery.place, DeliveryPlace::Group),
            Content::Away { .. } => false,
        }
    }
}
