//! Where the contents of messages are read from.

use super::contents::{Content, MessagePlace};
use super::error::Fault;

/// A file of mosquitto that was read but for the contents of its messages.
pub(super) trait Source {
    /// Reads a message.
    fn content(&mut self, place: &MessagePlace) -> Result<Content, Fault>;

    /// The error for a message that can't be taken over.
    fn damaged(&self, place: &MessagePlace, what: &'static str) -> Fault {
        Fault::Damaged { offset: place.place, what }
    }
}
