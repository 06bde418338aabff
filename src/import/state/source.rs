//! Where the contents of messages are read from.

use super::contents::{Content, MessagePlace};
use super::error::Fault;

/// A file of mosquitto that was read but for the contents of its messages.
pub(super) trait Source {
    /// Reads a message.
    fn content(&mut self, place: &MessagePlace) -> Result<Content, Fault>;
}
