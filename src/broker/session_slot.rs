use std::collections::VecDeque;
use std::sync::Arc;

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
    /// When it ends, while it is not connected.
    pub(super) ends_at: Option<Timestamp>,
    pub(super) will: Option<Box<Will>>,
    /// When the Will is published, while it is not connected.
    pub(super) will_at: Option<Timestamp>,
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
    pub(super) replays: VecDeque<Replay>,
    /// They go on when this record is stable: the subscription, or the last of them that needed one.
    pub(super) replay_after: Ticket,
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

    /// Whether it outlives its connection.
    pub(super) const fn is_durable(&self) -> bool {
        self.session_expiry_interval > 0
    }
}
