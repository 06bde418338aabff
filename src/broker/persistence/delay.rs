//! What is stored of a delayed message beside its content.

use crate::broker::owner::Owner;
use crate::codec::ClientId;
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

/// A message that was accepted and is published later: its number, its time and its originator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// Its number among the delayed messages, ascending in the order of acceptance.
    pub number: u64,
    /// When it is published.
    pub due: Timestamp,
    /// When it was accepted.
    pub at: Timestamp,
    /// RETAIN.
    pub retain: bool,
    /// The Session of its originator, for No Local.
    pub session: SessionKey,
    /// The Client Identifier of its originator.
    pub client_id: ClientId,
    /// Whose the Session was. By the user name, the access rules are found when the message is published.
    pub owner: Owner,
}

impl Delay {
    /// The [name](Owner::publisher_name) under which the messages of its originator are counted.
    pub(in crate::broker) fn counted_for(&self) -> String {
        self.owner.publisher_name(self.client_id.as_str())
    }
}
