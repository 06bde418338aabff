//! A message for many receivers on another shard: one thing that is said, not one for each.

use std::num::NonZeroU64;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::directory::message::{Origin, Said, ShardMessage};
use crate::broker::publish::accepted::Kept;
use crate::broker::publish::ingress::{Parcel, Publisher};
use crate::broker::shard::Turn;
use crate::broker::{Action, Shard};
use crate::routing::{Location, Route, SessionKey, ShardId, Subscriber};

/// Copies of a message for the receivers that are with one shard. What is counted by reference in it is the message's own or
/// the route's, once for all of them.
#[derive(Debug)]
pub(in crate::broker) struct Group {
    route: Arc<Route>,
    kept: Kept,
    publisher: Option<SessionKey>,
    origin: Option<Origin>,
    members: Vec<Member>,
}

/// A receiver of a group.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// Where it is in the route.
    place: u32,
    /// Its copy's place in its queue, at QoS 1 and 2.
    sequence: Option<NonZeroU64>,
}

/// The groups of a message, while it is distributed.
#[derive(Debug, Default)]
pub(in crate::broker) struct Groups(SmallVec<[(ShardId, Vec<Member>); 1]>);

impl Group {
    /// One of so many receivers, which gives nobody anything.
    #[cfg(test)]
    pub(in crate::broker) fn of(receivers: u32) -> Self {
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
        Self { route: Arc::default(), kept: Kept::again(&delivery), publisher: None, origin: None, members }
    }

    /// How many messages it is.
    pub(in crate::broker) fn weight(&self) -> usize {
        self.members.len()
    }
}

impl Groups {
    /// Adds the receiver at this place of the route, which is with `shard`.
    pub(in crate::broker) fn add(&mut self, shard: ShardId, place: u32, sequence: Option<u64>) {
        let member = Member { place, sequence: sequence.and_then(NonZeroU64::new) };
        match self.0.iter_mut().find(|(other, _)| *other == shard) {
            Some((_, members)) => members.push(member),
            None => self.0.push((shard, vec![member])),
        }
    }

    /// Says each to its shard. What is said later is behind it, so that each receiver gets the messages of a publisher in their order.
    pub(in crate::broker) fn forward(
        &mut self,
        route: &Arc<Route>,
        kept: &Kept,
        publisher: &Publisher,
        turn: &mut Turn<'_>,
    ) {
        for (shard, members) in self.0.drain(..) {
            let (publisher, origin) = (publisher.key, publisher.origin);
            let group = Group { route: Arc::clone(route), kept: kept.apart(), publisher, origin, members };
            let message = ShardMessage(Said::DeliverGroup(Box::new(group)));
            turn.actions.push(Action::Forward { shard, message });
        }
    }
}

impl Shard {
    /// The other shard that a Session is with, or comes to.
    pub(in crate::broker) fn elsewhere(&self, subscriber: &Subscriber) -> Option<ShardId> {
        let location = subscriber.location();
        (location.shard != self.id && location.slot != Location::ENDED).then_some(location.shard)
    }

    /// Delivers a message to the receivers that another shard found here.
    pub(in crate::broker) fn on_group_forwarded(&mut self, group: Group, turn: &mut Turn<'_>) {
        let Group { route, kept, publisher, origin, members } = group;
        for Member { place, sequence } in members {
            // It is the route in which the places were found, and each was granted the message there: nothing is left out, and so no
            // queue has a gap.
            let Some(receiver) = route.receivers.get(place as usize) else { continue };
            let Some(granted) = receiver.delivery(publisher) else { continue };
            let parcel = Parcel { sequence: sequence.map(NonZeroU64::get), delivery: kept.delivery(granted) };
            self.on_delivery_forwarded(&receiver.subscriber, parcel, origin, turn);
        }
    }
}
