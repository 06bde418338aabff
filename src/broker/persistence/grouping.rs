//! Begins and ends the [group](super::group) of a batch.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::counters::DropReason;
use crate::broker::ids::Origin;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::group::RecordGroup;
use crate::broker::persistence::pipeline::{HeldCopies, Outstanding};
use crate::broker::shard::{Shard, Turn};
use crate::routing::Subscriber;
use crate::session::{Delivery, Ticket};

impl Shard {
    /// Begins a group of records. The caller ends it within the same turn.
    pub(in crate::broker) fn begin_group(&mut self) {
        self.group = Some(Box::default());
    }

    /// Whether copies of accepted messages wait for the end of a group.
    #[inline]
    pub(in crate::broker) const fn is_grouping(&self) -> bool {
        self.group.is_some()
    }

    /// Ends the group: passes its records to the store as one change with this durability, and returns their ticket. Without records, the copies
    /// are delivered when `after` is stable: a ticket that earlier messages of the publisher wait for.
    pub(in crate::broker) fn end_group(
        &mut self,
        durability: Durability,
        after: Ticket,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let RecordGroup { ticket, records, outstanding, dropped } = *self.group.take()?;
        if let Some(ticket) = ticket {
            turn.actions.push(Action::PersistTogether { ticket, durability, records });
        }
        for copies in outstanding {
            match ticket {
                Some(ticket) => self.pipeline.defer(Outstanding { ticket, ..copies }),
                None if self.pipeline.is_stable(after) => self.deliver_outstanding(copies, turn),
                None => _ = self.pipeline.defer_behind(after, copies.origin, copies.held),
            }
        }
        let receivers = self.receivers;
        for (to, delivery) in dropped {
            self.publish_dead_letter(&to, DropReason::QueueFull, &delivery, turn);
        }
        self.receivers = receivers;
        ticket
    }

    /// Publishes the dead letter of a copy that a full queue has dropped; while a group is open, at its end.
    pub(in crate::broker) fn dead_letter_of_dropped(
        &mut self,
        to: &Arc<Subscriber>,
        delivery: &Delivery,
        turn: &mut Turn<'_>,
    ) {
        match &mut self.group {
            None => self.publish_dead_letter(to, DropReason::QueueFull, delivery, turn),
            Some(group) => group.dropped.push((Arc::clone(to), delivery.clone())),
        }
    }

    /// Holds the copies of a message back until its record is stable.
    #[inline]
    pub(in crate::broker) fn defer(&mut self, outstanding: Outstanding) {
        match &mut self.group {
            None => self.pipeline.defer(outstanding),
            Some(group) => group.outstanding.push(outstanding),
        }
    }

    /// Holds copies without a record back until the ticket `after` and those of all deferred messages are stable. Returns the ticket they wait for;
    /// `None`: that of the open group.
    pub(in crate::broker) fn defer_behind(
        &mut self,
        after: Ticket,
        origin: Option<Origin>,
        held: HeldCopies,
    ) -> Option<Ticket> {
        let Some(group) = &mut self.group else { return Some(self.pipeline.defer_behind(after, origin, held)) };
        let (ticket, deliveries) = Default::default();
        group.outstanding.push(Outstanding { ticket, origin, deliveries, held, routed: 0 });
        None
    }
}
