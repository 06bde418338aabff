use std::collections::VecDeque;
use std::sync::Arc;

use crate::codec::{Matched, Qos};
use crate::routing::Retained;
use crate::session::Ticket;
use crate::topic::Filter;

/// Those of one Session, in order. Most have none at most times, and then they own no memory.
#[derive(Debug, Default)]
pub(in crate::broker) struct Replays(Option<Box<WaitingReplays>>);

#[derive(Debug, Default)]
struct WaitingReplays {
    queue: VecDeque<Replay>,
    /// They go on when this record is stable: the subscription, or the last of them that needed one.
    after: Ticket,
}

/// A retained message on its way to a new subscription.
#[derive(Debug)]
pub(in crate::broker) struct Replay {
    /// The subscription's.
    pub(in crate::broker) filter: Arc<Filter>,
    pub(in crate::broker) retained: Arc<Retained>,
    pub(in crate::broker) qos: Qos,
    pub(in crate::broker) matched: Option<Arc<Matched>>,
}

impl Replays {
    pub(in crate::broker) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds those of a new subscription, which wait for its record.
    pub(in crate::broker) fn extend(&mut self, replays: Vec<Replay>, after: Ticket) {
        if !replays.is_empty() {
            self.0.get_or_insert_default().queue.extend(replays);
        }
        self.wait_for(after);
    }

    /// The rest goes on when this record is stable.
    pub(in crate::broker) fn wait_for(&mut self, ticket: Ticket) {
        if let Some(waiting) = &mut self.0 {
            waiting.after = waiting.after.max(ticket);
        }
    }

    /// What they wait for.
    pub(in crate::broker) fn after(&self) -> Ticket {
        self.0.as_ref().map_or(Ticket::default(), |waiting| waiting.after)
    }

    /// Everything they wait for is stable, and another shard counts other tickets.
    pub(in crate::broker) fn forget_shard(&mut self) {
        if let Some(waiting) = &mut self.0 {
            waiting.after = Ticket::default();
        }
    }

    pub(in crate::broker) fn pop_front(&mut self) -> Option<Replay> {
        let replay = self.0.as_mut()?.queue.pop_front();
        self.free_if_empty();
        replay
    }

    pub(in crate::broker) fn retain(&mut self, wanted: impl Fn(&Replay) -> bool) {
        if let Some(waiting) = &mut self.0 {
            waiting.queue.retain(wanted);
        }
        self.free_if_empty();
    }

    fn free_if_empty(&mut self) {
        if self.0.as_ref().is_some_and(|waiting| waiting.queue.is_empty()) {
            self.0 = None;
        }
    }
}
