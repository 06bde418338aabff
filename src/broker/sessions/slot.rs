use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::directory::state::Claim;
use crate::broker::event::ConnectionId;
use crate::codec::{Matched, Qos, Will};
use crate::routing::{Retained, Subscriber};
use crate::session::{Session, Ticket};
use crate::timestamp::Timestamp;
use crate::topic::Filter;

/// A Session and what its shard keeps beside it. It moves to another shard as it is.
#[derive(Debug)]
pub(in crate::broker) struct SessionSlot {
    pub(in crate::broker) session: Session,
    pub(in crate::broker) subscriber: Arc<Subscriber>,
    pub(in crate::broker) connection: Option<ConnectionId>,
    /// The CONNECT that made it ours.
    pub(in crate::broker) claim: Claim,
    /// In seconds; 0: it ends with its connection; `u32::MAX`: never.
    pub(in crate::broker) session_expiry_interval: u32,
    /// When its last connection ended.
    pub(in crate::broker) detached_at: Timestamp,
    /// To be published when its connection, or the Will Delay Interval behind it, ends.
    pub(in crate::broker) will: Option<Box<Will>>,
    /// Whether the store has records of it.
    pub(in crate::broker) stored: bool,
    /// The last record that concerns it.
    pub(in crate::broker) last_ticket: Ticket,
    /// The last record that all copies of a message of its client wait for.
    pub(in crate::broker) held_until: Ticket,
    /// Whether a report said that its messages are dropped, and nothing was delivered since.
    pub(in crate::broker) dropping: bool,
    /// Whether it has Shared Subscriptions, which want to know how much it has in flight.
    pub(in crate::broker) has_shares: bool,
    /// Retained messages that its subscriptions are still to get, as fast as it takes them.
    pub(in crate::broker) replays: Replays,
}

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

impl SessionSlot {
    /// Forgets the retained messages that a subscription is still to get: it is gone, or begins anew. [MQTT-3.10.4-2]
    pub(in crate::broker) fn forget_replays(&mut self, filter: &Filter) {
        self.replays.retain(|replay| *replay.filter != *filter);
    }

    /// When it ends, if it is not connected until then.
    pub(in crate::broker) fn ends_at(&self) -> Option<Timestamp> {
        let ends = self.connection.is_none() && self.session_expiry_interval != u32::MAX;
        ends.then(|| self.detached_at + seconds(self.session_expiry_interval))
    }

    /// When its Will is published, if it is not connected until then.
    pub(in crate::broker) fn will_at(&self) -> Option<Timestamp> {
        let will = self.will.as_ref().filter(|_| self.connection.is_none())?;
        Some(self.detached_at + seconds(will.will_delay_interval))
    }

    /// Whether it outlives its connection.
    pub(in crate::broker) const fn is_durable(&self) -> bool {
        self.session_expiry_interval > 0
    }
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
