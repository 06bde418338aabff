//! Copies for several receivers on another shard, forwarded as one shard message.

use std::num::NonZeroU64;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::ids::Origin;
use crate::broker::publish::accepted::AcceptedMessage;
use crate::routing::{Route, SessionKey, ShardId};

/// The copies of a message for its receivers on one shard. They share one reference to the message and one to the route.
#[derive(Debug)]
pub(in crate::broker) struct Group {
    pub(in crate::broker) route: Arc<Route>,
    pub(in crate::broker) accepted: AcceptedMessage,
    pub(in crate::broker) publisher: Option<SessionKey>,
    pub(in crate::broker) origin: Option<Origin>,
    pub(in crate::broker) members: Vec<Member>,
    /// When the receivers were chosen: see [`SequencedDelivery::routed`](super::delivery::SequencedDelivery::routed).
    pub(in crate::broker) routed: u64,
}

/// A receiver of a group.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Member {
    /// Its index among the receivers of the route.
    pub(in crate::broker) place: u32,
    /// The sequence of the copy in the receiver's queue, at QoS 1 and 2.
    pub(in crate::broker) sequence: Option<NonZeroU64>,
}

/// The groups of a message during fan-out.
#[derive(Debug, Default)]
pub(in crate::broker) struct Groups(SmallVec<[(ShardId, Vec<Member>); 1]>);

impl Group {
    /// A group with this number of receivers and an empty route, so nothing is delivered.
    #[cfg(test)]
    pub(in crate::broker) fn with_receivers(receivers: u32) -> Self {
        let message = Arc::new(crate::codec::Message::new(crate::topic::TopicName::new("t".into()).unwrap(), ""));
        let delivery = crate::session::Delivery {
            message,
            qos: crate::codec::Qos::AtMostOnce,
            retain: false,
            expires_at: crate::timestamp::Timestamp::NEVER,
            matched: None,
            place: crate::session::DeliveryPlace::Memory,
        };
        let members = (0..receivers).map(|place| Member { place, sequence: None }).collect();
        Self {
            route: Arc::default(),
            accepted: AcceptedMessage::of_delivery(&delivery),
            publisher: None,
            origin: None,
            members,
            routed: 0,
        }
    }

    /// The number of copies that the receiving shard delivers.
    pub(in crate::broker) fn weight(&self) -> usize {
        self.members.len()
    }
}

impl Groups {
    /// Adds the receiver at index `place` of the route, whose Session is on `shard`.
    pub(in crate::broker) fn add(&mut self, shard: ShardId, place: u32, sequence: Option<u64>) {
        let member = Member { place, sequence: sequence.and_then(NonZeroU64::new) };
        match self.0.iter_mut().find(|(other, _)| *other == shard) {
            Some((_, members)) => members.push(member),
            None => self.0.push((shard, vec![member])),
        }
    }

    /// Takes the groups, one for each shard that has receivers.
    pub(in crate::broker) fn drain(&mut self) -> impl Iterator<Item = (ShardId, Vec<Member>)> + '_ {
        self.0.drain(..)
    }
}
