use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::cells::{CellReceivers, ChosenShares};
use crate::broker::ids::Origin;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::pipeline::HeldCopies;
use crate::broker::persistence::record::{Addressed, InsteadOf, RetainedChange};
use crate::broker::publish::accepted::AcceptedMessage;
use crate::broker::publish::blocked::{BlockedMessage, WaitsFor};
use crate::broker::publish::group::Groups;
use crate::broker::publish::publisher::Publisher;
use crate::codec::{Qos, ReasonCode};
use crate::routing::{ChosenMember, Receiver, Route, SessionKey, ShareViews, Subscriber};
use crate::session::{Application, Ticket};
use crate::topic::TopicName;

/// The state of one message during fan-out.
pub(in crate::broker) struct Distribution {
    pub(in crate::broker) room: Admission,
    /// The durability of its record. At `None` there is no record, and no copy waits.
    pub(in crate::broker) level: Durability,
    /// Whether copies that are not part of the record wait for its commit.
    pub(in crate::broker) copies_wait: bool,
    pub(in crate::broker) copies: Copies,
    /// Copies for other shards that do not wait for a commit.
    pub(in crate::broker) groups: Groups,
    /// The index of the current receiver in the route; `None`: it is a member of a share.
    pub(in crate::broker) place: Option<u32>,
    pub(in crate::broker) receivers: usize,
}

/// The copies of a message that wait for the commit of its record.
#[derive(Debug, Default)]
pub(in crate::broker) struct Copies {
    /// The publisher's connection, which is paused when a receiver is slow.
    pub(in crate::broker) origin: Option<Origin>,
    /// When the receivers were chosen: see [`SequencedDelivery::routed`](super::delivery::SequencedDelivery::routed).
    pub(in crate::broker) routed: u64,
    /// Copies that are part of the record.
    pub(in crate::broker) durable: Vec<Addressed>,
    /// Copies that are not part of the record.
    pub(in crate::broker) held: HeldCopies,
    /// The copies for durable Sessions whose queues had no room.
    pub(in crate::broker) left_out: u32,
}

/// The outcome of a publish.
#[derive(Debug)]
pub(in crate::broker) enum Verdict {
    /// Acknowledge it with `reason_code` when `wait` is stable.
    Answer { reason_code: ReasonCode, wait: Option<Ticket> },
    /// A receiver's queue or the disk has no room. The message was delivered to no Session, and is returned.
    Full(Box<BlockedMessage>),
    /// It has the `dedup-id` of a message that is not stable yet: the caller tries again later.
    Pending(Box<BlockedMessage>),
}

/// The chosen member of each share.
pub(in crate::broker) type Chosen<'a> = SmallVec<[ChosenMember<'a>; 2]>;

impl Distribution {
    pub(in crate::broker) fn new(
        origin: Option<Origin>,
        room: Admission,
        level: Durability,
        copies_wait: bool,
        routed: u64,
    ) -> Self {
        let (copies, groups) = (Copies { origin, routed, ..Copies::default() }, Groups::default());
        Self { room, level, copies_wait, copies, groups, place: None, receivers: 0 }
    }

    /// A message that was accepted before and is delivered to one more receiver. It is admitted unconditionally.
    pub(in crate::broker) fn redelivery(level: Durability, instead_of: Option<InsteadOf>, routed: u64) -> Self {
        Self::new(None, Admission::Unchecked, level, instead_of.is_some(), routed)
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

/// Whether an accepted message may need a record although no receiver is durable.
pub(in crate::broker) fn may_need_record(publisher: &Publisher, accepted: &AcceptedMessage) -> bool {
    publisher.resends(accepted.qos)
        || publisher.deduplicated.is_some()
        || publisher.receipt.is_some()
        || publisher.instead_of.is_some()
        || accepted.retained != RetainedChange::None
}

/// The only receiver of a message, if there is one, and the publisher's key for No Local.
pub(in crate::broker) fn only_receiver<'a>(
    publisher: &Publisher,
    route: &'a Route,
    chosen: &'a Chosen<'_>,
) -> Option<(&'a Receiver, Option<SessionKey>)> {
    match &**chosen {
        [] => route.receivers.only().map(|receiver| (receiver, publisher.key)),
        [receiver] if route.receivers.is_empty() => Some((&**receiver, None)),
        _ => None,
    }
}

/// Chooses the member of each share that gets a message, except for those for which that is done. The other cells that get it, too, come behind them.
pub(in crate::broker) fn choose_members<'a>(
    views: &'a mut ShareViews,
    (route, are_chosen, cells): (&Route, &ChosenShares, CellReceivers),
    publisher: &Publisher,
    topic: &TopicName,
) -> Chosen<'a> {
    for share in &route.shares {
        views.refresh(share);
    }
    let views = &*views;
    let shares = route.shares.iter().enumerate().filter(|(place, _)| !are_chosen.contains(place));
    let members = shares.filter_map(|(_, share)| views.choose(share, publisher.key, topic));
    members.chain(cells.into_iter().map(ChosenMember::Locked)).collect()
}

/// How a message gets room in the queues of its receivers.
#[derive(Debug)]
pub(in crate::broker) enum Admission {
    /// Admitted unconditionally: charged against the capacity, not checked.
    Unchecked,
    /// Admitted to each queue that has room.
    BestEffort,
    /// Room for one message of `bytes` bytes is reserved in each queue.
    Reserved { bytes: usize },
    /// It is part of a batch.
    Whole(Arc<BatchAdmission>),
}

/// How the messages of a batch get room: each queue gets all of them that are for it, or none.
#[derive(Debug)]
pub(in crate::broker) struct BatchAdmission {
    /// The Sessions whose queues get none.
    pub(in crate::broker) full: BTreeSet<SessionKey>,
    /// Whether room is reserved in the others. Otherwise they admit the messages unconditionally.
    pub(in crate::broker) is_reserved: bool,
}

/// The receivers that queue a message: those that get it at QoS 1 or 2.
pub(in crate::broker) fn queueing_receivers<'a>(
    publisher: &Publisher,
    route: &'a Route,
    chosen: &'a Chosen<'_>,
) -> impl Iterator<Item = &'a Arc<Subscriber>> {
    let of_shares = chosen.iter().map(|receiver| (&**receiver, None));
    let receivers = route.receivers.iter().map(|receiver| (receiver, publisher.key)).chain(of_shares);
    receivers.filter_map(|(receiver, publisher)| {
        let granted = receiver.delivery(publisher)?;
        (granted.qos > Qos::AtMostOnce).then_some(&receiver.subscriber)
    })
}
