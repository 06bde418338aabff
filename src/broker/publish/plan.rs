use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::ids::Origin;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::record::{Addressed, InsteadOf, RetainedChange};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::blocked::{BlockedMessage, WaitsFor};
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::publish::group::Groups;
use crate::broker::publish::publisher::Publisher;
use crate::codec::{Qos, ReasonCode};
use crate::routing::{Receiver, Route, SessionKey, Subscriber};
use crate::session::{Application, Ticket};
use crate::topic::TopicName;

/// One message on its way to all its receivers.
pub(in crate::broker) struct Distribution {
    pub(in crate::broker) origin: Option<Origin>,
    pub(in crate::broker) room: Admission,
    /// That of the record; without one nobody waits.
    pub(in crate::broker) level: Durability,
    /// Whether all of it waits for the record.
    pub(in crate::broker) holds: bool,
    pub(in crate::broker) copies: Copies,
    /// Those for other shards that wait for nothing.
    pub(in crate::broker) groups: Groups,
    /// Which receiver of the route comes next, if it is one.
    pub(in crate::broker) place: Option<u32>,
    pub(in crate::broker) receivers: usize,
}

/// The copies of a message that wait for its record.
#[derive(Debug, Default)]
pub(in crate::broker) struct Copies {
    /// Those that are in it.
    pub(in crate::broker) durable: Vec<Addressed>,
    /// The others.
    pub(in crate::broker) held: Vec<(Arc<Subscriber>, SequencedDelivery)>,
}

/// What becomes of a message.
#[derive(Debug)]
pub(in crate::broker) enum Verdict {
    /// Its acknowledgement is this, when that is stable.
    Answer { reason_code: ReasonCode, wait: Option<Ticket> },
    /// A receiver or the disk has no room for it, and nobody gets it: here it is again.
    Full(Box<BlockedMessage>),
    /// Whether it is a repeat turns out in a moment.
    Later(Box<BlockedMessage>),
}

/// The members of shares that get a message.
pub(in crate::broker) type Chosen<'a> = SmallVec<[&'a Receiver; 2]>;

impl Distribution {
    pub(in crate::broker) fn new(origin: Option<Origin>, room: Admission, level: Durability, holds: bool) -> Self {
        let (copies, groups) = (Copies::default(), Groups::default());
        Self { origin, room, level, holds, copies, groups, place: None, receivers: 0 }
    }

    /// A message that was accepted before, on its way to one more receiver: it must not be lost for want of room.
    pub(in crate::broker) fn again(level: Durability, instead_of: Option<InsteadOf>) -> Self {
        Self::new(None, Admission::Unchecked, level, instead_of.is_some())
    }

    pub(in crate::broker) const fn reason_code(&self) -> ReasonCode {
        if self.receivers == 0 { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success }
    }
}

impl Verdict {
    pub(in crate::broker) fn full(application: Application, waits_for: WaitsFor) -> Self {
        Self::Full(Box::new(BlockedMessage { application, waits_for }))
    }

    pub(in crate::broker) const fn refused(reason_code: ReasonCode) -> Self {
        Self::Answer { reason_code, wait: None }
    }
}

/// Whether an accepted message may be of concern to the store, whoever receives it.
pub(in crate::broker) fn concerns_store(publisher: &Publisher, accepted: &AcceptedMessage) -> bool {
    let is_received = accepted.qos == Qos::ExactlyOnce && publisher.received.is_some();
    is_received
        || publisher.once.is_some()
        || publisher.instead_of.is_some()
        || accepted.retained != RetainedChange::None
}

/// Who gets a message, if nobody else does, and as whose.
pub(in crate::broker) fn lone_receiver<'a>(
    publisher: &Publisher,
    route: &'a Route,
    chosen: &Chosen<'a>,
) -> Option<(&'a Receiver, Option<SessionKey>)> {
    match (&*route.receivers, &**chosen) {
        ([receiver], []) => Some((receiver, publisher.key)),
        ([], [receiver]) => Some((receiver, None)),
        _ => None,
    }
}

/// Which member of each share gets a message.
pub(in crate::broker) fn choose_members<'a>(route: &'a Route, publisher: &Publisher, topic: &TopicName) -> Chosen<'a> {
    route.shares.iter().filter_map(|share| share.choose(publisher.key, topic, None)).collect()
}

/// How a message gets its room in the queues of its receivers.
#[derive(Debug)]
pub(in crate::broker) enum Admission {
    /// It has it, whatever is there.
    Unchecked,
    /// Where there is any.
    BestEffort,
    /// It has taken so many bytes from each of those that queue it.
    Reserved { bytes: usize },
}

/// Who puts a message at QoS 1 or 2 into its queue.
pub(in crate::broker) fn queueing<'a>(
    publisher: &Publisher,
    route: &'a Route,
    chosen: &Chosen<'a>,
) -> impl Iterator<Item = &'a Arc<Subscriber>> {
    let of_shares = chosen.iter().map(|receiver| (*receiver, None));
    let receivers = route.receivers.iter().map(|receiver| (receiver, publisher.key)).chain(of_shares);
    receivers.filter_map(|(receiver, publisher)| {
        let granted = receiver.delivery(publisher)?;
        (granted.qos > Qos::AtMostOnce).then_some(&receiver.subscriber)
    })
}
