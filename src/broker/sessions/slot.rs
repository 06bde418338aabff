use std::sync::Arc;
use std::time::Duration;

use crate::broker::connection::last_end::LastEnd;
use crate::broker::directory::claim::Claim;
use crate::broker::ids::ConnectionId;
use crate::broker::owner::Owner;
use crate::broker::publish::refusal::Refusal;
use crate::broker::retained::replay::Replays;
use crate::broker::sessions::incidents::Incidents;
use crate::codec::Will;
use crate::routing::Subscriber;
use crate::session::{Session, Ticket};
use crate::timestamp::Timestamp;

/// A Session and the shard's state for it. The whole slot moves to another shard when the client connects there.
#[derive(Debug)]
pub(in crate::broker) struct SessionSlot {
    pub(in crate::broker) session: Session,
    pub(in crate::broker) subscriber: Arc<Subscriber>,
    pub(in crate::broker) connection: Option<ConnectionId>,
    /// The claim by which this shard has the Session.
    pub(in crate::broker) claim: Claim,
    /// Whose it is.
    pub(in crate::broker) owner: Owner,
    /// When the access rules last changed, as the number of published changes of routes. Messages that were routed before are checked
    /// again.
    pub(in crate::broker) access_since: u64,
    /// In seconds; 0: it ends with its connection; `u32::MAX`: never.
    pub(in crate::broker) session_expiry_interval: u32,
    /// When its last connection ended.
    pub(in crate::broker) detached_at: Timestamp,
    /// How its last connection ended; `None`: it has had no other than the present one.
    pub(in crate::broker) last_end: Option<LastEnd>,
    /// What few Sessions have.
    pub(in crate::broker) incidents: Incidents,
    /// The Will, published when the connection has ended and the Will Delay Interval has passed.
    pub(in crate::broker) will: Option<Box<Will>>,
    /// Why `will` is not published: it is below `$SYS`. Then it is not stored either.
    pub(in crate::broker) will_refusal: Option<Box<Refusal>>,
    /// Whether the store has records of the Session.
    pub(in crate::broker) stored: bool,
    /// Whether the store has the Session as connected, with its owner and expiry, and without a Will.
    pub(in crate::broker) recorded_as_connected: bool,
    /// The last record that must be stable before the Session moves to another shard.
    pub(in crate::broker) last_ticket: Ticket,
    /// The last record that all copies of its client's messages wait for.
    pub(in crate::broker) copies_held_until: Ticket,
    /// Whether a drop was reported and no message was delivered since.
    pub(in crate::broker) dropping: bool,
    /// Whether it has Shared Subscriptions. Its number of queued messages is then published for the choice of share members.
    pub(in crate::broker) has_shares: bool,
    /// Unfinished replays of retained messages to its subscriptions.
    pub(in crate::broker) replays: Replays,
}

impl SessionSlot {
    /// A Session without connection, Will and records.
    pub(in crate::broker) fn new(claim: Claim, session: Session, subscriber: Arc<Subscriber>) -> Self {
        Self {
            session,
            subscriber,
            connection: None,
            claim,
            owner: Owner::Anonymous,
            access_since: 0,
            session_expiry_interval: 0,
            detached_at: Timestamp::default(),
            last_end: None,
            incidents: Incidents::default(),
            will: None,
            will_refusal: None,
            stored: false,
            recorded_as_connected: false,
            last_ticket: Ticket::default(),
            copies_held_until: Ticket::default(),
            dropping: false,
            has_shares: false,
            replays: Replays::default(),
        }
    }

    /// Resets the tickets when the Session moves to another shard, which issues its own. All of them are stable by then.
    pub(in crate::broker) fn reset_shard_state(&mut self) {
        self.session.forget_shard();
        self.replays.reset_shard_state();
        self.incidents.reset_shard_state();
        self.last_ticket = Ticket::default();
        self.copies_held_until = Ticket::default();
    }

    /// When the Session expires if its client does not connect before; `None`: never.
    pub(in crate::broker) fn ends_at(&self) -> Option<Timestamp> {
        let ends = self.connection.is_none() && self.session_expiry_interval != u32::MAX;
        ends.then(|| self.detached_at + seconds(self.session_expiry_interval))
    }

    /// When its Will is published if its client does not connect before.
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

const _: () = assert!(size_of::<SessionSlot>() == 192);
