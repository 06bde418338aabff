//! How Sessions become members of groups, and how they cease to be.
//!
//! A Session is a member by its subscription, and gets messages while its client is connected. The subscription of a durable Session is stored with its
//! others.

use std::sync::Arc;

use crate::broker::owner::Owner;
use crate::broker::persistence::record::Record;
use crate::broker::persistence::stream_group::GroupPosition;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::cursor::Granted;
use crate::broker::streams::groups::group::{Group, GroupName};
use crate::broker::streams::groups::ledger::Ledger;
use crate::broker::streams::groups::memberships::{Membership, Memberships};
use crate::broker::streams::name::{StreamTarget, is_stream};
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::start::StreamStart;
use crate::broker::streams::subscriptions::{STREAMS_PER_SESSION_MAX, mounted_filter, stream_subscriptions};
use crate::codec::{EncodedUserProperties, Qos, ReasonCode, Subscription, SubscriptionId};
use crate::session::Ticket;
use crate::topic::{Filter, TopicFilter};

impl Shard {
    /// Makes the Session in `slot` a member of a group, which is made if there is none. Returns the Reason Code of SUBACK.
    pub(in crate::broker) fn subscribe_group(
        &mut self,
        slot: usize,
        granted: Granted,
        turn: &mut Turn<'_>,
    ) -> ReasonCode {
        let Granted { subscription, subscription_id, stream, name, wanted, filter, start, goes_on: _ } = granted;
        let Some(share) = &subscription.filter.share else { return ReasonCode::UnspecifiedError };
        let group_name = GroupName { stream, name: share.as_str().into(), filter };
        let subscription =
            Subscription { filter: without_offset(share.as_str(), &name, wanted.as_ref()), ..subscription };
        let known = self.shared.groups.named(&group_name);
        let Some(entry) = self.sessions.get(slot) else { return ReasonCode::UnspecifiedError };
        let of_groups = entry.incidents.groups();
        if !known.is_some_and(|group| of_groups.is_some_and(|memberships| memberships.has(&group))) {
            let of_streams = stream_subscriptions(entry);
            let others = self.shared.directory.subscription_count_of(entry.subscriber.key);
            if others + of_streams >= entry.session.limits().subscriptions_max || of_streams >= STREAMS_PER_SESSION_MAX
            {
                return ReasonCode::QuotaExceeded;
            }
        }
        let Ok(group) = self.shared.groups.need(group_name, GroupPosition::new(start)) else {
            return ReasonCode::QuotaExceeded;
        };
        let qos = subscription.options.qos;
        if let Some(ticket) = self.save_new(&group, turn) {
            self.wait_for(slot, ticket);
            self.answer_after(slot, ticket);
        }
        let subscriptions = vec![subscription.clone()];
        let record = |key| Record::Subscribed { key, subscriptions, subscription_id, message_id: false };
        if let Some(ticket) = self.persist_for(slot, record, turn) {
            self.answer_after(slot, ticket);
        }
        let Some(entry) = self.sessions.get_mut(slot) else { return ReasonCode::UnspecifiedError };
        let group_of = Arc::clone(&group);
        let membership = Membership { group: group_of, subscription, subscription_id, stream: name, previous: None };
        entry.incidents.need_groups().set(membership);
        self.join_group(slot, &group, turn);
        if qos == Qos::AtMostOnce { ReasonCode::GrantedQos0 } else { ReasonCode::GrantedQos1 }
    }

    fn answer_after(&mut self, slot: usize, ticket: Ticket) {
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.incidents.need_groups().wait_for(ticket);
        }
    }

    /// The record of a group that SUBACK waits for.
    pub(in crate::broker) fn take_group_wait(&mut self, slot: usize) -> Option<Ticket> {
        self.sessions.get_mut(slot)?.incidents.groups_mut()?.take_wait()
    }

    /// The client of the Session in `slot` gets messages of a group from now on.
    fn join_group(&mut self, slot: usize, group: &Arc<Group>, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get(slot).filter(|entry| entry.connection.is_some()) else { return };
        let subscriber = Arc::clone(&entry.subscriber);
        let limit = usize::from(entry.session.send_maximum()).min(MEMBER_MESSAGES_MAX);
        self.change_group(group, None, |ledger| ledger.join(subscriber, limit), turn);
    }

    /// The client of the Session in `slot` has connected.
    pub(in crate::broker) fn join_groups(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(memberships) = self.sessions.get(slot).and_then(|entry| entry.incidents.groups()) else { return };
        let groups: Vec<Arc<Group>> = memberships.iter().map(|membership| Arc::clone(&membership.group)).collect();
        for mut group in groups {
            if self.shared.groups.get(group.number).is_none() {
                if self.shared.streams().get(group.name.stream).is_none() {
                    continue; // `replay` follows, and tells the client after CONNACK
                }
                // An operator has removed it while the client was away.
                let Some(again) = self.group_again(slot, &group, turn) else { continue };
                group = again;
            }
            self.join_group(slot, &group, turn);
        }
    }

    /// Ends the memberships in the groups of a stream if it was removed.
    pub(in crate::broker) fn forget_memberships(&mut self, slot: usize, stream: StreamNumber, turn: &mut Turn<'_>) {
        if self.shared.streams().get(stream).is_some() {
            return; // a group alone was removed
        }
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let (key, memberships) = (entry.subscriber.key, entry.incidents.groups_mut());
        let ended = memberships.map(|memberships| memberships.remove_all_of(stream)).unwrap_or_default();
        for Membership { group, subscription, .. } in ended {
            let leave = |ledger: &mut Ledger| {
                ledger.leave(key);
                ledger.is_gone |= ledger.members() == (0, 0); // nobody reads for it any more
                ledger.is_gone
            };
            if self.change_group(&group, None, leave, turn) && self.shared.groups.get(group.number).is_some() {
                self.shared.groups.remove(group.number);
                self.persist(Record::GroupRemoved { stream, number: group.number }, turn);
            }
            let filters = vec![subscription.filter];
            self.persist_unawaited(slot, |key| Record::Unsubscribed { key, filters }, turn);
        }
    }

    /// Makes a group again that was removed.
    fn group_again(&mut self, slot: usize, removed: &Group, turn: &mut Turn<'_>) -> Option<Arc<Group>> {
        self.shared.streams().get(removed.name.stream)?;
        let end = self.shared.stream_board.range(removed.name.stream).end;
        let position = GroupPosition::new(StreamStart::Sequence(end));
        let group = self.shared.groups.need(removed.name.clone(), position).ok()?;
        self.save_new(&group, turn);
        let memberships = self.sessions.get_mut(slot)?.incidents.groups_mut()?;
        memberships.of(removed.number)?.group = Arc::clone(&group);
        Some(group)
    }

    /// The connection of the Session in `slot` has ended: other members get its messages.
    pub(in crate::broker) fn leave_groups(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let key = entry.subscriber.key;
        let Some(memberships) = entry.incidents.groups_mut() else { return };
        for group in memberships.disconnected() {
            self.change_group(&group, None, |ledger| ledger.leave(key), turn);
            self.save_at_rest(&group, turn);
        }
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.incidents.forget_no_groups();
        }
    }

    /// Ends the memberships among `filters`, and sets whether they existed. What was sent to the client is awaited. [MQTT-3.10.4-3]
    pub(in crate::broker) fn unsubscribe_groups(
        &mut self,
        slot: usize,
        filters: &[Filter],
        existed: &mut [bool],
        turn: &mut Turn<'_>,
    ) {
        for (filter, existed) in filters.iter().zip(existed) {
            let Some(share) = filter.share.as_ref().filter(|_| is_stream(filter)) else { continue };
            let Some(entry) = self.sessions.get_mut(slot) else { return };
            let Some(memberships) = entry.incidents.groups_mut() else { return };
            let Ok(target) = StreamTarget::parse(filter, &EncodedUserProperties::new()) else { continue };
            let named = without_offset(share.as_str(), target.name, target.filter.as_ref());
            let number = memberships.iter().find(|membership| membership.subscription.filter == named);
            let Some(number) = number.map(|membership| membership.group.number) else { continue };
            let Some(Membership { group, .. }) = memberships.remove(number) else { continue };
            *existed = true;
            let key = entry.subscriber.key;
            self.change_group(&group, None, |ledger| ledger.retire(key), turn);
            self.save_at_rest(&group, turn);
            self.persist_for(slot, |key| Record::Unsubscribed { key, filters: vec![named] }, turn);
        }
    }

    /// The memberships of a recovered Session, by its stored subscriptions. A group that there is no more begins with the next message; if there is no
    /// stream, the client is told when it connects.
    pub(in crate::broker) fn restored_memberships(
        &self,
        subscriptions: Vec<(Subscription, Option<SubscriptionId>)>,
        owner: &Owner,
    ) -> Memberships {
        let (table, mut memberships) = (self.shared.streams(), Memberships::default());
        for (subscription, subscription_id) in subscriptions {
            let Ok(target) = StreamTarget::parse(&subscription.filter, &EncodedUserProperties::new()) else { continue };
            let Some(share) = &subscription.filter.share else { continue };
            let Ok(filter) = mounted_filter(owner.mount_point(), target.filter.as_ref()) else { continue };
            let (share, stream) = (Arc::from(share.as_str()), Arc::from(target.name));
            let group = if let Some(known) = table.named(target.name) {
                let name = GroupName { stream: known.number, name: share, filter };
                let end = self.shared.stream_board.range(known.number).end;
                let position = GroupPosition::new(StreamStart::Sequence(end));
                let Ok(group) = self.shared.groups.need(name, position) else { continue };
                group
            } else {
                self.shared.groups.removed(share, filter)
            };
            memberships.set(Membership { group, subscription, subscription_id, stream, previous: None });
        }
        memberships
    }
}

/// The Topic Filter of a membership: `$share/GROUP/$stream/NAME[/FILTER]`.
fn without_offset(share: &str, stream: &str, wanted: Option<&TopicFilter>) -> Filter {
    let wanted = wanted.map_or_else(String::new, |wanted| format!("/{}", wanted.as_str()));
    let text = format!("$share/{share}/$stream/{stream}{wanted}");
    // It is shorter than the filter that the client sent.
    Filter::try_from(&*text).unwrap_or_else(|_| Filter::from(TopicFilter::reserved()))
}

/// The greatest number of messages that a member is given and has not acknowledged, if its Receive Maximum is not lower. Messages that have no key
/// do not wait longer for a slow member than these take.
const MEMBER_MESSAGES_MAX: usize = 128;
