//! Room in the queues of Sessions, as publishers and receivers count it.

use crate::broker::publish::plan::Admission;
use crate::broker::settings::{QueueOverflow, Settings};
use crate::routing::{QueueBounds, Subscriber};
use crate::session::Delivery;

/// Counts room in the queues of Sessions: the shard of a publisher takes it, the shard of the Session gives it back.
///
/// With `drop-oldest` a Session makes room itself, and nobody counts, unless there is a dead letter topic: a dead letter must not push
/// out another message, which would become a dead letter in its turn.
#[derive(Debug)]
pub(in crate::broker) struct QueueRoom {
    bounds: QueueBounds,
    is_counted: bool,
}

impl QueueRoom {
    pub(in crate::broker) fn new(settings: &Settings) -> Self {
        let bounds = QueueBounds { messages: settings.queued_messages_max, bytes: settings.queued_bytes_max };
        let is_counted = settings.queue_overflow != QueueOverflow::DropOldest || settings.dead_letter_topic.is_some();
        Self { bounds, is_counted }
    }

    /// Takes room for one message of so many bytes, if there is any.
    pub(in crate::broker) fn reserve(&self, to: &Subscriber, bytes: usize) -> bool {
        to.reserve(bytes, self.bounds)
    }

    /// Takes room for a message on its way to one receiver, unless that was done before. `false` if there is none.
    #[inline]
    pub(in crate::broker) fn take(&self, admission: &Admission, to: &Subscriber, delivery: &Delivery) -> bool {
        match admission {
            Admission::Reserved { .. } => true,
            Admission::BestEffort => self.reserve(to, delivery.queued_bytes()),
            Admission::Unchecked => {
                if self.is_counted {
                    to.give(delivery.queued_bytes());
                }
                true
            }
        }
    }

    /// Gives back what messages and bytes took that left the queue of a Session. `true` if that freed room.
    #[inline]
    pub(in crate::broker) fn give_back(&self, of: &Subscriber, (messages, bytes): (usize, usize)) -> bool {
        let frees = self.is_counted && (messages, bytes) != (0, 0);
        if frees {
            of.free(messages, bytes);
        }
        frees
    }

    /// What the queue of a Session may hold.
    pub(in crate::broker) const fn bounds(&self) -> QueueBounds {
        self.bounds
    }
}
