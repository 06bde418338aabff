//! Accounting of the room in the queues of Sessions.

use crate::broker::publish::plan::Admission;
use crate::broker::settings::{QueueOverflow, Settings};
use crate::routing::{LimitsClass, QueueBounds, Subscriber};
use crate::session::Delivery;

/// Accounts for the room in queues: the shard of the publisher charges it, the shard of the Session credits it.
///
/// With `drop-oldest` the Session drops its oldest message instead, and room is charged only if there is a dead letter topic: a dead letter
/// must not displace another message, which would become a dead letter again.
#[derive(Debug)]
pub(in crate::broker) struct QueueRoom {
    bounds: QueueBounds,
    /// Those of the Sessions of other classes, by the index of the class.
    exceptions: Vec<QueueBounds>,
    is_counted: bool,
}

impl QueueRoom {
    pub(in crate::broker) fn new(settings: &Settings) -> Self {
        let bounds = settings.queue_bounds(LimitsClass::GENERAL);
        let exceptions = settings.user_limits.classes().map(|class| settings.queue_bounds(class)).collect();
        let is_counted = settings.queue_overflow != QueueOverflow::DropOldest || settings.dead_letter_topic.is_some();
        Self { bounds, exceptions, is_counted }
    }

    /// Charges one message of `bytes` bytes to a queue. Returns `false` if the queue has no room.
    pub(in crate::broker) fn reserve(&self, to: &Subscriber, bytes: usize) -> bool {
        to.reserve(bytes, self.bounds_of(to))
    }

    /// Admits a message to the queue of one receiver. Returns `false` if the queue has no room.
    #[inline]
    pub(in crate::broker) fn take(&self, admission: &Admission, to: &Subscriber, delivery: &Delivery) -> bool {
        match admission {
            Admission::Reserved { .. } => true,
            // Whether there is room was looked up before.
            Admission::BestEffort if to.is_link() => {
                to.charge(delivery.queued_bytes());
                true
            }
            Admission::BestEffort => self.reserve(to, delivery.queued_bytes()),
            Admission::Whole(batch) if batch.full.contains(&to.key) => false,
            Admission::Whole(batch) if batch.is_reserved => true,
            Admission::Unchecked | Admission::Whole(_) => {
                if self.is_counted || to.is_link() {
                    to.charge(delivery.queued_bytes());
                }
                true
            }
        }
    }

    /// Credits messages and bytes that left the queue of a Session. Returns `true` if that freed room.
    #[inline]
    pub(in crate::broker) fn credit(&self, of: &Subscriber, (messages, bytes): (usize, usize)) -> bool {
        let frees = (messages, bytes) != (0, 0) && (self.is_counted || of.is_link());
        if frees {
            of.free(messages, bytes);
        }
        frees
    }

    /// The bounds of the queue of a Session.
    pub(in crate::broker) fn bounds_of(&self, session: &Subscriber) -> QueueBounds {
        if session.is_link() {
            return QueueBounds::LINK;
        }
        if self.exceptions.is_empty() {
            return self.bounds;
        }
        let own = session.limits_class().index().and_then(|index| self.exceptions.get(index));
        own.copied().unwrap_or(self.bounds)
    }
}
