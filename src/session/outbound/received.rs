use super::Outbound;
use crate::session::entry::{Entry, State};

impl Outbound {
    /// The number of messages that this connection has not sent.
    pub(in crate::session) fn waiting(&self) -> usize {
        self.queue.len() - self.place_from(self.cursor)
    }

    /// The sequence of the first message that the client is not known to have, or of the next one.
    pub(in crate::session) fn first_unreceived(&self) -> u64 {
        let is_received = |entry: &&Entry| matches!(entry.state, State::Done | State::AwaitingPubcomp);
        self.queue.iter().find(|entry| !is_received(entry)).map_or(self.end, |entry| entry.sequence)
    }
}
