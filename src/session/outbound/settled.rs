//! What the owner of a Session is told of a message that is complete.

use crate::session::{Action, Delivery, DeliveryPlace, QueueExit, QueueStep, Settlement};

/// What the owner of the Session is told of a complete message, with its last step and how it left the queue.
pub(super) fn end_of(
    delivery: Option<&Delivery>,
    sequence: u64,
    (step, exit): (QueueStep, QueueExit),
) -> Option<Action> {
    if is_recorded(delivery) {
        Some(Action::Done(sequence, exit))
    } else if is_of_group(delivery) {
        Some(Action::Settled(sequence, Settlement::of(step)))
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
    /// What the last step of a message means to its group.
    pub(super) const fn of(step: QueueStep) -> Self {
        match step {
            QueueStep::Refused => Self::Refused,
            QueueStep::Dropped(_) | QueueStep::Unreadable => Self::Dropped,
            QueueStep::Queued
            | QueueStep::Sent
            | QueueStep::Resent
            | QueueStep::Acknowledged
            | QueueStep::Released
            | QueueStep::Completed => Self::Acknowledged,
        }
    }
}
