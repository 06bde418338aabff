//! What is left of a Session when it ends.

use super::Session;
use crate::session::outbound::Outbound;
use crate::session::outgoing::Outgoing;
use crate::session::{Delivery, Unreceived};

impl Session {
    /// The sequences of all messages in its queue, ascending.
    pub fn queued_sequences(&self) -> Vec<u64> {
        self.outgoing.queue().map(Outbound::queued_sequences).unwrap_or_default()
    }

    /// Ends the Session. Returns the messages that may move to another member of a Shared Subscription, with their
    /// sequences.
    pub fn into_share_messages(self) -> impl Iterator<Item = (u64, Delivery)> {
        self.into_queue().into_iter().flat_map(Outbound::into_share_messages)
    }

    /// Ends the Session. Returns the messages that its client has not received, as far as the broker knows.
    pub fn into_unreceived(self) -> impl Iterator<Item = Unreceived> {
        self.into_queue().into_iter().flat_map(Outbound::into_unreceived)
    }

    fn into_queue(self) -> Option<Outbound> {
        match self.outgoing {
            Outgoing::Empty(_) => None,
            Outgoing::Queue(queue) => Some(*queue),
        }
    }
}
