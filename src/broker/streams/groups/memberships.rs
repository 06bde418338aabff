//! The groups of which a Session is a member.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::broker::query::SubscriptionView;
use crate::broker::streams::groups::group::Group;
use crate::broker::streams::groups::ledger::Taken;
use crate::broker::streams::marks::Marks;
use crate::broker::streams::number::StreamNumber;
use crate::codec::{Matched, Subscription, SubscriptionId};
use crate::session::{Delivery, DeliveryPlace, Ticket};

/// The memberships of a Session, each group once, and the messages of the groups that were sent to its client.
#[derive(Debug, Default)]
pub(in crate::broker) struct Memberships {
    list: Vec<Membership>,
    /// By sequence in the queue of the Session.
    in_flight: HashMap<u64, InFlight, RandomState>,
    /// The membership whose turn it is.
    turn: usize,
    /// The record that the answer to SUBSCRIBE waits for, until it is taken.
    wait: Option<Ticket>,
    /// The same: no messages are sent before that answer.
    held_until: Ticket,
}

/// A subscription `$share/GROUP/$stream/NAME`.
#[derive(Debug)]
pub(in crate::broker) struct Membership {
    pub(in crate::broker) group: Arc<Group>,
    /// What was subscribed, as the client named it but without an offset, with the granted QoS.
    pub(in crate::broker) subscription: Subscription,
    pub(in crate::broker) subscription_id: Option<SubscriptionId>,
    pub(in crate::broker) stream: Arc<str>,
    /// The last message that was sent to this member.
    pub(in crate::broker) previous: Option<u64>,
}

/// A message of a group that a client has not acknowledged.
#[derive(Debug)]
pub(in crate::broker) struct InFlight {
    pub(in crate::broker) group: Arc<Group>,
    /// Its sequence in the stream.
    pub(in crate::broker) sequence: u64,
    pub(in crate::broker) delivery: u64,
}

impl Memberships {
    pub(in crate::broker) const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no membership, and no message of a former one.
    pub(in crate::broker) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.in_flight.is_empty()
    }

    pub(in crate::broker) fn iter(&self) -> impl Iterator<Item = &Membership> {
        self.list.iter()
    }

    pub(in crate::broker) fn has(&self, group: &Group) -> bool {
        self.list.iter().any(|membership| membership.group.number == group.number)
    }

    /// Adds a membership; it replaces an earlier one of the same group.
    pub(in crate::broker) fn set(&mut self, membership: Membership) {
        let is_same = |before: &&mut Membership| {
            before.group.number == membership.group.number
                || before.subscription.filter == membership.subscription.filter // of a group that was removed
        };
        match self.list.iter_mut().find(is_same) {
            Some(before) if before.group.number == membership.group.number => {
                *before = Membership { previous: before.previous, ..membership };
            }
            Some(before) => *before = membership,
            None => self.list.push(membership),
        }
    }

    /// Removes the membership with this number.
    pub(in crate::broker) fn remove(&mut self, group: u64) -> Option<Membership> {
        let place = self.list.iter().position(|membership| membership.group.number == group)?;
        Some(self.list.remove(place))
    }

    /// Removes the memberships in groups of a stream.
    pub(in crate::broker) fn remove_all_of(&mut self, stream: StreamNumber) -> Vec<Membership> {
        self.list.extract_if(.., |membership| membership.group.name.stream == stream).collect()
    }

    /// The memberships behind the first `skipped`, for operators.
    pub(in crate::broker) fn views(&self, skipped: usize) -> impl Iterator<Item = SubscriptionView> + '_ {
        let view = |membership: &Membership| {
            let Membership { subscription, subscription_id, .. } = membership;
            SubscriptionView { subscription: subscription.clone(), id: *subscription_id, progress: None }
        };
        self.list.iter().skip(skipped).map(view)
    }

    /// The membership whose turn it is, for the next of [`len`](Self::len) turns.
    pub(in crate::broker) fn next_turn(&mut self) -> Option<&mut Membership> {
        self.turn = if self.turn + 1 < self.list.len() { self.turn + 1 } else { 0 };
        self.list.get_mut(self.turn)
    }

    /// A message with this sequence in the queue of the Session is sent.
    pub(in crate::broker) fn sent(&mut self, sequence: u64, message: InFlight) {
        self.in_flight.insert(sequence, message);
    }

    /// Takes the message of a group with this sequence in the queue of the Session.
    pub(in crate::broker) fn take(&mut self, sequence: u64) -> Option<InFlight> {
        self.in_flight.remove(&sequence)
    }

    /// The membership of the group with this number.
    pub(in crate::broker) fn of(&mut self, group: u64) -> Option<&mut Membership> {
        self.list.iter_mut().find(|membership| membership.group.number == group)
    }

    /// The connection has ended: nothing is awaited of the client any more. Returns the groups that are concerned, also those of which it has ceased
    /// to be a member.
    pub(in crate::broker) fn disconnected(&mut self) -> Vec<Arc<Group>> {
        (self.wait, self.held_until) = (None, Ticket::default());
        let mut groups: Vec<_> = self.list.iter().map(|membership| Arc::clone(&membership.group)).collect();
        for (_, InFlight { group, .. }) in std::mem::take(&mut self.in_flight) {
            if !groups.iter().any(|other| other.number == group.number) {
                groups.push(group);
            }
        }
        groups.sort_by_key(|group| group.number); // the order of a map must not reach an action
        groups
    }

    pub(in crate::broker) fn wait_for(&mut self, ticket: Ticket) {
        self.wait = self.wait.max(Some(ticket));
        self.held_until = self.held_until.max(ticket);
    }

    /// The record that must be stable before messages are sent.
    pub(in crate::broker) const fn held_until(&self) -> Ticket {
        self.held_until
    }

    /// Takes the record that the answer to SUBSCRIBE waits for.
    pub(in crate::broker) const fn take_wait(&mut self) -> Option<Ticket> {
        self.wait.take()
    }
}

impl Membership {
    /// The delivery of a message. `is_marked`: whether the client's version has properties.
    pub(in crate::broker) fn delivery(&self, taken: &Taken, is_marked: bool) -> Delivery {
        let Taken { sequence, timestamp, message, expires_at, lost, refused, .. } = taken;
        let (mut message, expires_at) = (Arc::clone(message), *expires_at);
        let qos = message.qos.min(self.subscription.options.qos);
        let marks = is_marked.then(|| Marks {
            stream: &self.stream,
            sequence: *sequence,
            timestamp: *timestamp,
            previous: self.previous,
            trimmed: lost.trimmed(),
            unreadable: lost.unreadable(),
            attempt: if *refused > 0 { u64::from(*refused) + 1 } else { 0 },
        });
        let properties = marks.map(|marks| marks.before(&message.properties));
        if let Some(properties) = properties {
            Arc::make_mut(&mut message).properties = properties;
        }
        let matched = Matched::new(self.subscription_id.into_iter().collect(), None);
        Delivery { message, qos, retain: false, expires_at, matched, place: DeliveryPlace::Group }
    }
}
