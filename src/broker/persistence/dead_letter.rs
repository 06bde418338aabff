//! Kept dead letters: messages that were refused too often, in the store until an operator takes them.

use std::sync::Arc;

use crate::broker::owner::Owner;
use crate::codec::ClientId;
use crate::routing::SessionKey;
use crate::session::Delivery;
use crate::timestamp::Timestamp;

/// A dead letter, as it came from the queue of a Session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number among the dead letters, ascending.
    pub number: u64,
    /// What is known of it without its content.
    pub info: DeadLetterInfo,
    /// The message, as the Session had it.
    pub delivery: Delivery,
}

/// What is in memory of a kept dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterInfo {
    /// The Session from whose queue it came.
    pub session: SessionKey,
    /// Its Client Identifier.
    pub client_id: ClientId,
    /// Whose the Session was.
    pub owner: Owner,
    /// How often the client refused it.
    pub attempts: u16,
    /// The Reason Code of the last refusal.
    pub reason_code: u8,
    /// When it became a dead letter.
    pub at: Timestamp,
    /// Its topic.
    pub topic: Arc<str>,
    /// What it counts for, in bytes.
    pub bytes: u32,
}
