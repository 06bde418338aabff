//! What the owner of a Session is told of a message that is complete.

use crate::session::{Action, Delivery, DeliveryPlace, QueueExit, Settlement};

/// What the owner of the Session is told of a complete message, with how it left the queue.
pub(super) fn end_of(delivery: Option<&Delivery>, sequence: u64, exit: QueueExit) -> Option<Action> {
    if is_recorded(delivery) {
        Some(Action::Done(sequence, exit))
    } else if is_of_group(delivery) {
        Some(Action::Settled(sequence, Settlement::of(exit)))
    } else {
        None
    }
}

/// Whether a complete message may have a record. A message that the client has received is not in memory, so its place
/// is unknown.
pub(super) fn is_recorded(delivery: Option<&Delivery>) -> bool {
    delivery.is_none_or(|delivery| delivery.place == DeliveryPlace::Record)
}

/// Whether it is of a group.
pub(super) fn is_of_group(delivery: Option<&Delivery>) -> bool {
    delivery.is_some_and(|delivery| delivery.place == DeliveryPlace::Group)
}

impl Settlement {
    /// What it means to the group of a message how it left the queue.
    pub(super) const fn of(exit: QueueExit) -> Self {
        match exit {
            QueueExit::Acknowledged => Self::Acknowledged,
            QueueExit::Refused(reason_code) => Self::Refused(reason_code),
            QueueExit::Dropped(_) => Self::Dropped,
        }
    }
}
