//! Messages that can be neither accepted nor refused yet.

use std::sync::Arc;

use crate::broker::connection::pause::PauseReason;
use crate::routing::{Location, QueueBounds, SessionKey, Subscriber};
use crate::session::Application;

/// A message whose publisher is paused until the message is accepted.
#[derive(Debug)]
pub(in crate::broker) struct BlockedMessage {
    pub(in crate::broker) application: Application,
    pub(in crate::broker) waits_for: WaitsFor,
}

/// What a blocked message waits for.
#[derive(Debug)]
pub(in crate::broker) enum WaitsFor {
    /// Room in the queue of a Session.
    Queue(AwaitedRoom),
    /// Room on the disk.
    Disk,
    /// The commit of the first message with its `dedup-id`, which another shard accepted, or what another cell says about that.
    Deduplication,
    /// What the other cells want, of a message for a share that has no member here.
    Cells,
}

/// Room in the queue of a Session.
#[derive(Debug)]
pub(in crate::broker) struct AwaitedRoom {
    pub(in crate::broker) to: Arc<Subscriber>,
    /// Copies of the message for this queue: several if the Session also gets it as a member of shares.
    pub(in crate::broker) messages: usize,
    /// Bytes of one copy.
    pub(in crate::broker) bytes: usize,
    /// Whether a receiver is a member of a Shared Subscription, of which another member may have room.
    pub(in crate::broker) is_shared: bool,
}

impl WaitsFor {
    pub(in crate::broker) const fn reason(&self) -> PauseReason {
        match self {
            Self::Queue(_) | Self::Disk => PauseReason::NoRoom,
            Self::Deduplication => PauseReason::DeduplicationPending,
            Self::Cells => PauseReason::CellsUnknown,
        }
    }

    /// Why the message has no room, for its publisher.
    pub(in crate::broker) const fn reason_text(&self) -> &'static str {
        match self {
            Self::Queue(_) => "the queue of a receiver is full; send the message again later",
            Self::Disk => "the store of the broker is full; send the message again later",
            Self::Deduplication => "a message with the same dedup-id is not stored yet",
            Self::Cells => "the other cells are not known yet",
        }
    }

    /// The Session whose queue has no room for the message.
    pub(in crate::broker) fn queue(&self) -> Option<SessionKey> {
        match self {
            Self::Queue(room) => Some(room.to.key),
            Self::Disk | Self::Deduplication | Self::Cells => None,
        }
    }
}

impl AwaitedRoom {
    /// Whether the queue has room now, or the Session has ended.
    pub(in crate::broker) fn is_available(&self, bounds: QueueBounds) -> bool {
        self.to.location().slot == Location::ENDED || self.to.has_room(self.messages, self.bytes, bounds)
    }
}
