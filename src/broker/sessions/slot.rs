use std::sync::Arc;
use std::time::Duration;

use crate::broker::directory::claim::Claim;
use crate::broker::ids::ConnectionId;
use crate::broker::retained::replay::Replays;
use crate::codec::Will;
use crate::routing::Subscriber;
use crate::session::{Session, Ticket};
use crate::timestamp::Timestamp;

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

impl SessionSlot {
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

const fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds as u64)
}
