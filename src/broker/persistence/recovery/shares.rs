//! What other members of a share may get.

use super::Stored;
use crate::session::{Delivery, RestoredMessage};

impl Stored {
    /// The messages of shares in the queue.
    pub(super) fn share_messages(self) -> Vec<(u64, Delivery)> {
        let shared = |(sequence, message)| match message {
            RestoredMessage::Shared(delivery) => Some((sequence, *delivery)),
            RestoredMessage::Queued { .. } | RestoredMessage::Released => None,
        };
        self.queue.into_iter().filter_map(shared).collect()
    }
}
