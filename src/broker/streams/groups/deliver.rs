//! Passes the messages of groups to their members, at the rate at which these read them.

use std::sync::Arc;

use crate::broker::counters::DropReason;
use crate::broker::ids::ConnectionId;
use crate::broker::operator::drops::Lost;
use crate::broker::publish::plan::Admission;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::deliver::MESSAGES_PER_TURN;
use crate::broker::streams::groups::group::Group;
use crate::broker::streams::groups::ledger::Taken;
use crate::broker::streams::groups::memberships::InFlight;
use crate::codec::Qos;
use crate::routing::SessionKey;
use crate::session::{self, Settlement};

/// What a group had for a member in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GroupTurn {
    /// Nothing, so nothing follows from it.
    Nothing,
    /// [`Shard::end_group_turn`] follows.
    Ends,
}

impl Shard {
    /// Sends messages of its groups to the client of the Session in `slot`. Returns the number of messages that were handled, at most
    /// [`MESSAGES_PER_TURN`].
    pub(in crate::broker) fn send_groups(&mut self, slot: usize, turn: &mut Turn<'_>) -> usize {
        let Some(entry) = self.sessions.get(slot) else { return 0 };
        let (Some(id), Some(memberships)) = (entry.connection, entry.incidents.groups()) else { return 0 };
        if !entry.session.is_open() || !self.pipeline.is_stable(memberships.held_until()) {
            return 0; // CONNACK and SUBACK come first, and `replay` follows them
        }
        let (key, count) = (entry.subscriber.key, memberships.len());
        let (mut handled, mut is_left) = (0, false);
        for _ in 0..count {
            let Some((group, granted)) = self.next_group(slot, key) else { break };
            if self.send_of_group((slot, key, id), (&group, granted), &mut handled, turn) == GroupTurn::Nothing {
                continue;
            }
            let Some(has_more) = self.end_group_turn(&group, key, turn) else {
                self.end_for_group(slot, &group, turn);
                break;
            };
            is_left |= has_more;
        }
        // It could go on, or nothing that was sent will be flushed or acknowledged, so nothing else continues it.
        if is_left && (handled >= MESSAGES_PER_TURN || !self.is_awaited(slot, id)) {
            self.defer_stream((slot, key), turn);
        }
        handled
    }

    /// Does what follows from the turn of a member. Returns whether the group has more for it: what was not sent, and what another shard gave it since,
    /// of which nothing else tells it. `None`: the stream was removed.
    pub(in crate::broker) fn end_group_turn(
        &mut self,
        group: &Arc<Group>,
        member: SessionKey,
        turn: &mut Turn<'_>,
    ) -> Option<bool> {
        // It takes the news about the member, too.
        self.change_group(group, Some(member), |_| (), turn);
        let ledger = group.ledger();
        (!ledger.is_gone).then(|| ledger.next_qos(member).is_some())
    }

    /// The group whose turn it is, and the granted QoS.
    fn next_group(&mut self, slot: usize, key: SessionKey) -> Option<(Arc<Group>, Qos)> {
        let entry = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == key)?;
        let membership = entry.incidents.groups_mut()?.next_turn()?;
        Some((Arc::clone(&membership.group), membership.subscription.options.qos))
    }

    /// Sends messages of one group, as far as there is room for them in this turn and at the client.
    fn send_of_group(
        &mut self,
        (slot, key, id): (usize, SessionKey, ConnectionId),
        (group, granted): (&Arc<Group>, Qos),
        handled: &mut usize,
        turn: &mut Turn<'_>,
    ) -> GroupTurn {
        let before = *handled;
        loop {
            let taken = {
                let mut ledger = group.ledger();
                let Some(qos) = ledger.next_qos(key) else {
                    let is_over = *handled > before || ledger.is_gone;
                    return if is_over { GroupTurn::Ends } else { GroupTurn::Nothing };
                };
                if *handled >= MESSAGES_PER_TURN || !self.has_room_for_stream(slot, id, qos.min(granted)) {
                    return GroupTurn::Ends;
                }
                ledger.take(key, turn.now)
            };
            *handled += 1;
            if let Some(taken) = taken {
                self.send_taken((slot, key, id), group, &taken, turn);
            }
        }
    }

    /// Sends a message that the member has taken, unless the client may not receive it any more or takes no packets of this size.
    fn send_taken(
        &mut self,
        (slot, key, id): (usize, SessionKey, ConnectionId),
        group: &Arc<Group>,
        taken: &Taken,
        turn: &mut Turn<'_>,
    ) {
        let (sequence, number) = (taken.sequence, taken.delivery);
        let is_marked = self.connection(id).is_some_and(|connection| connection.version.has_properties());
        let entry = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == key);
        let Some(entry) = entry.filter(|entry| entry.subscriber.may_receive(&taken.message.topic)) else {
            return group.ledger().give_back(sequence, number);
        };
        let to = Arc::clone(&entry.subscriber);
        let membership = entry.incidents.groups_mut().and_then(|memberships| memberships.of(group.number));
        let Some(membership) = membership else { return group.ledger().give_back(sequence, number) };
        let delivery = membership.delivery(taken, is_marked);
        let before = membership.previous.replace(sequence);
        if !entry.session.takes(&delivery) {
            if let Some(membership) = entry.incidents.groups_mut().and_then(|memberships| memberships.of(group.number))
            {
                membership.previous = before;
            }
            let reason = DropReason::PacketTooLarge;
            self.note_lost(Lost::delivery(to.client_id.as_str(), &delivery, reason), turn);
            self.count_dropped(slot, key, reason, turn);
            group.ledger().settle(sequence, number);
            return;
        }
        self.counters.redelivered += u64::from(taken.refused > 0);
        if delivery.qos == Qos::AtMostOnce {
            self.drive(slot, session::Event::DeliverQos0(delivery), turn);
            group.ledger().settle(sequence, number);
            return;
        }
        let in_queue = to.take_sequence();
        if let Some(memberships) = entry.incidents.groups_mut() {
            let group = Arc::clone(group);
            memberships.sent(in_queue, InFlight { group, sequence, delivery: number });
        }
        self.queue_room.take(&Admission::Unchecked, &to, &delivery);
        self.drive(slot, session::Event::Deliver(in_queue, delivery), turn);
    }

    /// A message of a group has left the queue of the Session in `slot`.
    pub(in crate::broker) fn on_settled(
        &mut self,
        slot: usize,
        (in_queue, settlement): (u64, Settlement),
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let key = entry.subscriber.key;
        let Some(message) = entry.incidents.groups_mut().and_then(|memberships| memberships.take(in_queue)) else {
            return;
        };
        let InFlight { group, sequence, delivery } = &message;
        let (sequence, delivery) = (*sequence, *delivery);
        match settlement {
            Settlement::Acknowledged => self.change_group(group, Some(key), |it| it.settle(sequence, delivery), turn),
            Settlement::Refused(reason_code) => self.on_group_refused((slot, key), message, reason_code, turn),
            Settlement::Dropped => self.change_group(group, None, |it| it.give_back(sequence, delivery), turn),
        }
    }

    /// A stream was removed.
    fn end_for_group(&mut self, slot: usize, group: &Group, turn: &mut Turn<'_>) {
        let name = self.sessions.get(slot).and_then(|entry| {
            let mut memberships = entry.incidents.groups()?.iter();
            memberships.find(|membership| membership.group.number == group.number).map(|it| Arc::clone(&it.stream))
        });
        self.end_for_stream(slot, (&name.unwrap_or_default(), group.name.stream), turn);
    }
}
