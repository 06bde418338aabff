//! Messages exchanged between shards.
//!
//! They hold data, neither closures nor channels. Between the shards of one process three parts are handed over by reference that a node
//! would have to write out:
//!
//! | part | between shards | between nodes |
//! | --- | --- | --- |
//! | `Message` | shared, never changed | its bytes, as in a record of the store |
//! | `Subscriber` | shared: the receiving shard reads its key, and its location in case the Session has moved on | `SessionKey` and Client Identifier, which the directory of the other node leads on |
//! | `Route` | shared, never changed: a group names its receivers by their index in it | the keys of those receivers, with what differs from one to another |
//!
//! | message | a node would send |
//! | --- | --- |
//! | `Deliver` | the key of the Session, the place in its queue, QoS, RETAIN, expiry and Subscription Identifiers, the message, the publisher's connection |
//! | `DeliverGroup` | the message once, and the rest for each Session |
//! | `Claimed` | both claims, the shard of the claimant and Clean Start |
//! | `Surrendered` | the claim, and the Session as the store has it: state, received Packet Identifiers, queue, Will, subscriptions |
//! | `DroppedNewest` | the key of the Session |
//! | `Pause`, `Resume` | the connection |
//! | `RoomFreed` | the key of the Session, the connection |
//!
//! The place in a queue is taken by the shard that routes the message, from a counter in `Subscriber` that all shards of a process share.
//! That doesn't reach beyond a process: between nodes the shard that has the Session would give it.

use std::sync::Arc;

use crate::broker::directory::claim::{Claim, Claimant};
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::publish::group::Group;
use crate::broker::sessions::slot::SessionSlot;
use crate::routing::Subscriber;

/// A message from one shard to another.
#[derive(Debug)]
pub struct ShardMessage(pub(in crate::broker) ShardMessageKind);

impl ShardMessage {
    /// A message for `receivers` receivers.
    #[cfg(test)]
    pub(crate) fn for_receivers(receivers: u32) -> Self {
        Self(ShardMessageKind::DeliverGroup(Box::new(Group::of(receivers))))
    }

    /// Who published what it carries.
    pub(in crate::broker) fn origin(&self) -> Option<Origin> {
        match &self.0 {
            ShardMessageKind::Deliver { origin, .. } => *origin,
            ShardMessageKind::DeliverGroup(group) => group.origin,
            ShardMessageKind::Claimed { .. }
            | ShardMessageKind::Surrendered { .. }
            | ShardMessageKind::DroppedNewest { .. }
            | ShardMessageKind::Pause(_)
            | ShardMessageKind::Resume(_)
            | ShardMessageKind::RoomFreed { .. } => None,
        }
    }

    /// How much it counts in a mailbox: the number of messages that the receiving shard delivers because of it, at least one.
    pub fn weight(&self) -> usize {
        if let ShardMessageKind::DeliverGroup(group) = &self.0 { group.weight() } else { 1 }
    }
}

#[derive(Debug)]
pub(in crate::broker) enum ShardMessageKind {
    /// A message for a Session that is, or was, with the receiving shard.
    Deliver {
        to: Arc<Subscriber>,
        sequenced: SequencedDelivery,
        /// The publisher's connection, which is paused if the receiver does not keep up.
        origin: Option<Origin>,
    },
    /// A message for several such Sessions.
    DeliverGroup(Box<Group>),
    /// A client has connected to the sending shard, which wants its Session.
    Claimed {
        /// The claim that the receiving shard has the Session for.
        prior: Claim,
        claimant: Claimant,
    },
    /// The answer: the Session, unless there was none or it has ended.
    Surrendered { claim: Claim, session: Option<Box<SessionSlot>> },
    /// A message for a Session that is with the receiving shard was dropped, because its queue is full.
    DroppedNewest { to: Arc<Subscriber> },
    /// A receiver does not keep up: do not read from this connection until [`Self::Resume`].
    Pause(ConnectionId),
    /// The receiver does not hold this connection any more.
    Resume(ConnectionId),
    /// There is room in the queue of a Session that a message of this connection waits for.
    RoomFreed { to: Arc<Subscriber>, publisher: ConnectionId },
}
