//! Messages exchanged between shards.
//!
//! They contain plain data, neither closures nor channels. Within one process, three parts are passed by reference, because anything else
//! would cost each message that crosses shards; between nodes they would be serialized:
//!
//! | part | between shards | instead, it would cost | between nodes |
//! | --- | --- | --- | --- |
//! | `Message` in `Deliver`, `DeliverGroup` | shared, immutable | a copy of topic, payload and properties for each shard | its bytes, as in a record of the store |
//! | `Subscriber` in `Deliver`, `DeliverRun` | shared: the receiving shard reads the slot of the Session, or where it has moved or whether it has ended | a look-up by `SessionKey` for each copy, and a table of the Sessions that have moved on or ended while copies were on their way | `SessionKey` and Client Identifier, which the directory of the other node resolves |
//! | `Route` in `DeliverGroup` | shared, immutable: a group refers to its receivers by index | key, granted QoS, options and Subscription Identifiers of every receiver in every message, and a look-up for each | the keys and the granted options of those receivers |
//! | `SessionSlot` in `Surrendered` | moved, with the messages in its queue | a copy of the queue | the Session as stored |
//!
//! | message | contents between nodes |
//! | --- | --- |
//! | `Deliver` | the key of the Session, the sequence in its queue, QoS, RETAIN, expiry and Subscription Identifiers, the message, the publisher's connection |
//! | `DeliverRun` | the key of the Session, the publisher's connection and the topic once, and each payload |
//! | `DeliverGroup` | the message once, and the other fields for each Session |
//! | `Claimed` | as it is: both claims, the shard of the claimant and Clean Start |
//! | `Surrendered` | the claim, and the Session as stored: state, received Packet Identifiers, queue, Will, subscriptions |
//! | `DroppedNewest`, `Pause`, `Resume`, `RoomFreed`, `StreamsReady`, `InterestChanged`, `InterestNoted`, `CellsReceived`, `PermitsToSend`, `PermitKnown` | as they are |
//!
//! The shard that routes a message assigns its sequence, from a counter in `Subscriber` that all shards of a process share. Between nodes,
//! the shard that has the Session would assign it.

use std::sync::Arc;

use crate::broker::directory::claim::{Claim, Claimant};
use crate::broker::directory::run::Run;
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::publish::group::Group;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::streams::state::Place;
use crate::routing::{SessionKey, Subscriber};

/// A message from one shard to another.
#[derive(Debug)]
pub struct ShardMessage(pub(in crate::broker) ShardMessageKind);

impl ShardMessage {
    /// A group with `receivers` receivers.
    #[cfg(test)]
    pub(crate) fn for_receivers(receivers: u32) -> Self {
        Self(ShardMessageKind::DeliverGroup(Box::new(Group::with_receivers(receivers))))
    }

    /// The connection that published the message in it.
    pub(in crate::broker) fn origin(&self) -> Option<Origin> {
        match &self.0 {
            ShardMessageKind::Deliver { origin, .. } => *origin,
            ShardMessageKind::DeliverRun(run) => run.origin(),
            ShardMessageKind::DeliverGroup(group) => group.origin,
            ShardMessageKind::Claimed { .. }
            | ShardMessageKind::Surrendered { .. }
            | ShardMessageKind::DroppedNewest { .. }
            | ShardMessageKind::Pause(_)
            | ShardMessageKind::Resume(_)
            | ShardMessageKind::RoomFreed { .. }
            | ShardMessageKind::StreamsReady(_)
            | ShardMessageKind::InterestChanged
            | ShardMessageKind::InterestNoted
            | ShardMessageKind::CellsReceived
            | ShardMessageKind::PermitsToSend
            | ShardMessageKind::PermitKnown(_) => None,
        }
    }

    /// Its weight in a mailbox: the number of copies that the receiving shard delivers, at least 1.
    pub fn weight(&self) -> usize {
        match &self.0 {
            ShardMessageKind::DeliverRun(run) => run.messages(),
            ShardMessageKind::DeliverGroup(group) => group.weight(),
            ShardMessageKind::Deliver { .. }
            | ShardMessageKind::Claimed { .. }
            | ShardMessageKind::Surrendered { .. }
            | ShardMessageKind::DroppedNewest { .. }
            | ShardMessageKind::Pause(_)
            | ShardMessageKind::Resume(_)
            | ShardMessageKind::RoomFreed { .. }
            | ShardMessageKind::StreamsReady(_)
            | ShardMessageKind::InterestChanged
            | ShardMessageKind::InterestNoted
            | ShardMessageKind::CellsReceived
            | ShardMessageKind::PermitsToSend
            | ShardMessageKind::PermitKnown(_) => 1,
        }
    }
}

#[derive(Debug)]
pub(in crate::broker) enum ShardMessageKind {
    /// A copy for a Session that is, or was, on the receiving shard.
    Deliver {
        to: Arc<Subscriber>,
        sequenced: SequencedDelivery,
        /// The publisher's connection, which is paused if the receiver is slow.
        origin: Option<Origin>,
    },
    /// Copies of several messages for such a Session, from one publisher.
    DeliverRun(Box<Run>),
    /// Copies of a message for several such Sessions.
    DeliverGroup(Box<Group>),
    /// A client has connected to the sending shard, which requests its Session.
    Claimed {
        /// The claim by which the receiving shard has the Session.
        prior: Claim,
        claimant: Claimant,
    },
    /// The answer to `Claimed`: the Session, or `None` if there is none or it has ended.
    Surrendered { claim: Claim, session: Option<Box<SessionSlot>> },
    /// A message for a Session on the receiving shard was dropped because its queue is full.
    DroppedNewest {
        to: SessionKey,
        /// Its slot when the message was dropped.
        slot: u32,
    },
    /// A receiver is full: pause this connection until [`Self::Resume`].
    Pause(ConnectionId),
    /// The receiver that caused [`Self::Pause`] no longer does.
    Resume(ConnectionId),
    /// The queue that a message of this connection waits for has room.
    RoomFreed { to: SessionKey, publisher: ConnectionId },
    /// Messages of streams were given to these Sessions, as members of groups.
    StreamsReady(Vec<Place>),
    /// Subscriptions have changed: the receiving shard has connections at which other cells are to be told.
    InterestChanged,
    /// The other cells know more of the subscriptions than before: answers of the receiving shard wait for that.
    InterestNoted,
    /// Other cells have more messages of this one than before.
    CellsReceived,
    /// Other cells are to be asked about messages with a `dedup-id`, and the receiving shard has connections to them.
    PermitsToSend,
    /// Another cell has answered about the blocked message of this connection.
    PermitKnown(ConnectionId),
}
