//! Messages that can't be accepted yet, and can't be refused.

use std::sync::Arc;

use crate::broker::connection::pause::PauseReason;
use crate::routing::{Location, QueueBounds, SessionKey, Subscriber};
use crate::session::Application;

/// A message whose publisher waits, and is not read meanwhile.
#[derive(Debug)]
pub(in crate::broker) struct BlockedMessage {
    pub(in crate::broker) application: Application,
    pub(in crate::broker) waits_for: WaitsFor,
}

/// What lets it go on.
#[derive(Debug)]
pub(in crate::broker) enum WaitsFor {
    /// Room in the queue of a Session.
    Queue(AwaitedRoom),
    /// Room on the disk.
    Disk,
    /// The record of the first message with its `dedup-id`, which another shard made.
    Deduplication,
}

/// Room in the queue of a Session.
#[derive(Debug)]
pub(in crate::broker) struct AwaitedRoom {
    pub(in crate::broker) to: Arc<Subscriber>,
    /// How often the message goes there: once for itself, and once for each share.
    pub(in crate::broker) messages: usize,
    /// Of one of them.
    pub(in crate::broker) bytes: usize,
    /// Whether the message has Shared Subscriptions among its receivers: then another member may have room.
    pub(in crate::broker) is_shared: bool,
}

impl WaitsFor {
    pub(in crate::broker) const fn reason(&self) -> PauseReason {
        match self {
            Self::Queue(_) | Self::Disk => PauseReason::NoRoom,
            Self::Deduplication => PauseReason::DeduplicationPending,
        }
    }

    /// The Session in whose queue it wants room.
    pub(in crate::broker) fn queue(&self) -> Option<SessionKey> {
        match self {
            Self::Queue(room) => Some(room.to.key),
            Self::Disk | Self::Deduplication => None,
        }
    }
}

impl AwaitedRoom {
    /// Whether there is room at this moment, or no Session any more that wants the message.
    pub(in crate::broker) fn is_available(&self, bounds: QueueBounds) -> bool {
        self.to.location().slot == Location::ENDED || self.to.has_room(self.messages, self.bytes, bounds)
    }
}
