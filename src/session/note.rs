//! What a Session tells its owner about the way of a queued message.

use super::DropCause;
use crate::codec::ReasonCode;

/// A step of a queued message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueStep {
    /// It waits in the queue.
    Queued,
    /// It was sent for the first time.
    Sent,
    /// It was sent again, with DUP.
    Resent,
    /// PUBACK completed it.
    Acknowledged,
    /// PUBREC: the client has it.
    Released,
    /// PUBCOMP completed it.
    Completed,
    /// The client refused it with an error in PUBACK or PUBREC.
    Refused,
    /// It was dropped from the queue.
    Dropped(DropCause),
    /// It could not be read from the store.
    Unreadable,
}

/// How a message left a queue for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueExit {
    /// PUBACK or PUBCOMP completed it.
    Acknowledged,
    /// The client refused it with this error in PUBACK or PUBREC.
    Refused(ReasonCode),
    /// It was dropped from the queue.
    Dropped(DropCause),
}

/// Whether the steps of a queued message are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noting {
    /// No step was noted yet.
    Undecided,
    /// All further ones are.
    On,
    /// None is.
    Off,
}
