//! The position of a subscription to a stream, and what is stored of it if its Session is durable.

use std::ops::RangeInclusive;

use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::start::StreamStart;
use crate::codec::{Subscription, SubscriptionId};
use crate::session::Ticket;
use crate::timestamp::Timestamp;

/// Where a subscription is in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPlace {
    /// What is read next.
    pub next: StreamStart,
    /// Messages that were accepted before this time, in milliseconds of the wall clock, are skipped until one was not.
    pub since: Option<u64>,
    /// The last message that was sent, or put into the queue of the Session.
    pub previous: Option<u64>,
    /// Messages that the stream has no more. The next message says so.
    pub trimmed: Option<RangeInclusive<u64>>,
    /// Messages that cannot be read. The next message says so.
    pub unreadable: Option<RangeInclusive<u64>>,
}

/// A subscription of a durable Session to a stream, with its position: as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPosition {
    /// Its number in the Session.
    pub number: u64,
    /// The stream.
    pub stream: StreamNumber,
    /// What was subscribed, as the client named it, with the granted QoS.
    pub subscription: Subscription,
    /// Its Subscription Identifier.
    pub subscription_id: Option<SubscriptionId>,
    /// The messages before it are in the queue of the Session, or have left it.
    pub place: StreamPlace,
}

/// What is stored of a subscription, and when it continues.
#[derive(Debug)]
pub(in crate::broker) struct Kept {
    /// Its number in the Session.
    pub(in crate::broker) number: u64,
    /// The place that the store has, or is about to have.
    pub(in crate::broker) place: StreamPlace,
    /// The record with its last window, which is stable before the next window is taken.
    pub(in crate::broker) wait: Ticket,
    /// The time of its last timer.
    pub(in crate::broker) retry_at: Timestamp,
}

impl StreamPlace {
    /// The place of a new subscription.
    pub(in crate::broker) const fn at(start: StreamStart) -> Self {
        let since = if let StreamStart::Time(since) = start { Some(since) } else { None };
        Self { next: start, since, previous: None, trimmed: None, unreadable: None }
    }

    /// How many messages are between this place and a later one; it is at least 1 if the places differ.
    pub(in crate::broker) fn distance_to(&self, later: &Self) -> u64 {
        match (self.next, later.next) {
            _ if self == later => 0,
            (StreamStart::Sequence(from), StreamStart::Sequence(to)) => to.saturating_sub(from).max(1),
            _ => 1,
        }
    }
}

impl Kept {
    pub(in crate::broker) fn new(number: u64, place: StreamPlace) -> Self {
        Self { number, place, wait: Ticket::default(), retry_at: Timestamp::default() }
    }
}
