use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::event::ConnectionId;
use super::shared::Claim;
use crate::codec::{Matched, Qos, Will};
use crate::routing::{Retained, Subscriber};
use crate::session::{Session, Ticket};
use crate::timestamp::Timestamp;
use crate::topic::Filter;

/// A Session and what its shard keeps beside it. It moves to another shard as it is.
#[derive(Debug)]
pub(super) struct SessionSlot {
    pub(super) session: Session,
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) connection: Option<ConnectionId>,
    /// The CONNECT that made it ours.
    pub(super) claim: Claim,
    /// In seconds; 0: it ends with its connection; `u32::MAX`: never.
    pub(super) session_expiry_interval: u32,
    /// When its last connection ended.
    pub(super) detached_at: Timestamp,
    /// To be published when its connection, or the Will Delay Interval behind it, ends.
    pub(super) will: Option<Box<Will>>,
    /// Whether the store has records of it.
    pub(super) stored: bool,
    /// The last record that concerns it.
    pub(super) last_ticket: Ticket,
    /// The last record that all copies of a message of its client wait for.
    pub(super) held_until: Ticket,
    /// Whether a report said that its messages are dropped, and nothing was delivered since.
    pub(super) dropping: bool,
    /// Whether it has Shared Subscriptions, which want to know how much it has in flight.
    pub(super) has_shares: bool,
    /// Retained messages that its subscriptions are still to get, as fast as it takes them.
    pub(super) replays: Replays,
}

/// Those of one Session, in order. Most have none at most times, and then they own no memory.
#[derive(Debug, Default)]
pub(super) struct Replays(Option<Box<WaitingReplays>>);

#[derive(Debug, Default)]
struct WaitingReplays {
    queue: VecDeque<Replay>,
    /// They go on when this record is stable: the subscription, or the last of them that needed one.
    after: Ticket,
}

/// A retained message on its way to a new subscription.
#[derive(Debug)]
pub(super) struct Replay {
    /// The subscription's.
    pub(super) filter: Arc<Filter>,
    pub(super) retained: Arc<Retained>,
    pub(super) qos: Qos,
    pub(super) matched: Option<Arc<Matched>>,
}

impl SessionSlot {
    /// Forgets the retained messages that a subscription is still to get: it is gone, or begins anew. [MQTT-3.10.4-2]
    pub(super) fn forget_replays(&mut self, filter: &Filter) {
        self.replays.retain(|replay| *replay.filter != *filter);
    }

    /// When it ends, if it is not connected until then.
    pub(super) fn ends_at(&self) -> Option<Timestamp> {
        let ends = self.connection.is_none() && self.session_expiry_interval != u32::MAX;
        ends.then(|| self.detached_at + seconds(self.session_expiry_interval))
    }

    /// When its Will is published, if it is not connected until then.
    pub(super) fn will_at(&self) -> Option<Timestamp> {
        let will = self.will.as_ref().filter(|_| self.connection.is_none())?;
        Some(self.detached_at + seconds(will.will_delay_interval))
    }

    /// Whether it outlives its connection.
    pub(super) const fn is_durable(&self) -> bool {
        self.session_expiry_interval > 0
    }
}

impl Replays {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds those of a new subscription, which wait for its record.
    pub(super) fn extend(&mut self, replays: Vec<Replay>, after: Ticket) {
        if !replays.is_empty() {
            self.0.get_or_insert_default().queue.extend(replays);
        }
        self.wait_for(after);
    }

    /// The rest goes on when this record is stable.
    pub(super) fn wait_for(&mut self, ticket: Ticket) {
        if let Some(waiting) = &mut self.0 {
            waiting.after = waiting.after.max(ticket);
        }
    }

    /// What they wait for.
    pub(super) fn after(&self) -> Ticket {
        self.0.as_ref().map_or(Ticket::default(), |waiting| waiting.after)
    }

    /// Everything they wait for is stable, and another shard counts other tickets.
    pub(super) fn forget_shard(&mut self) {
        if let Some(waiting) = &mut self.0 {
            waiting.after = Ticket::default();
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Replay> {
        let replay = self.0.as_mut()?.queue.pop_front();
        self.free_if_empty();
        replay
    }

    fn retain(&mut self, wanted: impl Fn(&Replay) -> bool) {
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

const fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds as u64)
}
