//! Passes events to Sessions and performs the actions they return.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::connection::pause::PauseReason;
use crate::broker::counters::Counters;
use crate::broker::filter_request::FilterPacket;
use crate::broker::ids::ConnectionId;
use crate::broker::journey::{Journeys, Receiver};
use crate::broker::persistence::record::Record;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Ack, Message, ReasonCode, ServerPacket};
use crate::routing::SessionKey;
use crate::session::{self, Action as Step, QueueExit, QueueStep};
use crate::timestamp::Timestamp;

impl Shard {
    /// Passes an event to the Session in `slot` and performs its actions. For rare events: not inlined, to keep the binary small.
    pub(in crate::broker) fn drive(&mut self, slot: usize, event: session::Event, turn: &mut Turn<'_>) {
        self.drive_inlined(slot, event, turn);
    }

    /// The same for the path of a message: inlined, so that the compiler removes the branches for other kinds of events.
    #[inline(always)]
    pub(in crate::broker) fn drive_inlined(&mut self, slot: usize, event: session::Event, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let key = entry.subscriber.key;
        // Messages and bytes that the event adds to the queue. `None`: it neither changes the queue nor sends from it.
        let added = match &event {
            session::Event::Deliver(_, delivery) => Some((1, delivery.queued_bytes())),
            session::Event::Connected { .. }
            | session::Event::Packet(_)
            | session::Event::Fetched(..)
            | session::Event::Parking(_)
            | session::Event::Persisted(_)
            | session::Event::Room(_)
            | session::Event::RightsChanged(_)
            | session::Event::Expire
            | session::Event::LimitsChanged(_)
            | session::Event::Disconnected => Some((0, 0)),
            session::Event::Answered { .. }
            | session::Event::AnsweredInDetail { .. }
            | session::Event::Refused { .. }
            | session::Event::Withdrawn(_)
            | session::Event::Respond { .. }
            | session::Event::HoldLast(_)
            | session::Event::HoldEnded(_)
            | session::Event::DeliverQos0(_) => None,
        };
        let before = added.map(|_| (entry.session.queued(), entry.session.in_flight()));
        let notes = Notes { journeys: &mut self.journeys, key, slot, now: turn.now };
        let mut sink = ActionSink::new(entry.connection, &mut self.counters, (&mut self.spare, turn.actions), notes);
        entry.session.handle(turn.now, event, &mut sink);
        let ActionSink { mut steps, bytes, delivered, .. } = sink;
        entry.dropping &= delivered == 0;
        if bytes > 0
            && let Some(id) = entry.connection
        {
            self.add_unsent(id, bytes, delivered);
        }
        if let (Some((queued, in_flight)), Some(added)) = (before, added) {
            self.account(slot, (queued, in_flight), added, turn);
        }
        if !steps.is_empty() {
            for step in steps.drain(..) {
                if self.session(slot, key).is_none() {
                    break; // an earlier step ended the Session
                }
                self.perform(slot, step, turn);
            }
            self.spare.push(steps);
            if let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == key) {
                entry.dropping &= delivered == 0; // this event dropped messages before it delivered some
            }
        }
    }

    /// Counts the changes of the queue of the Session in `slot`, and credits the freed room. `before` and `added` are messages and bytes:
    /// those in the queue before the event, with the number of messages in flight, and those that the event added.
    fn account(
        &mut self,
        slot: usize,
        (before, in_flight): ((usize, usize), u32),
        added: (usize, usize),
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let after = entry.session.queued();
        self.counters.in_flight_changed(in_flight, entry.session.in_flight());
        if before == after && added.0 == 0 {
            return;
        }
        self.counters.queue_changed(before, after);
        self.queued_total += added.0 as u64 * ENTRY_BYTES;
        if entry.has_shares {
            entry.subscriber.set_in_flight(u32::try_from(after.0).unwrap_or(u32::MAX));
        }
        let freed = (before.0 + added.0 - after.0, before.1 + added.1 - after.1);
        if self.queue_room.credit(&entry.subscriber, freed) && entry.subscriber.is_awaited() {
            self.wake_for_freed(slot, freed.0, turn);
        }
    }

    #[cold]
    fn wake_for_freed(&mut self, slot: usize, messages: usize, turn: &mut Turn<'_>) {
        let Some(subscriber) = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber)) else { return };
        self.wake_for_room(&subscriber, messages, turn);
    }

    fn perform(&mut self, slot: usize, step: Step, turn: &mut Turn<'_>) {
        match step {
            Step::Send(packet) => self.send_deferred(slot, packet, turn),
            Step::Publish(application) => self.on_publish(slot, application, turn),
            Step::Release(packet_id) => {
                let is_of_link = self.is_link(slot);
                let released = |key| Record::ReceivedReleased { key, packet_id, is_of_link };
                let wait = self.persist_for(slot, released, turn);
                let packet = ServerPacket::Pubcomp(Ack::new(packet_id, SUCCESS));
                self.drive(slot, session::Event::Respond { packet, wait }, turn);
            }
            Step::Released(sequence, packet_id) => {
                let is_of_link = self.is_link(slot);
                let released = |key| Record::OutboundReleased { key, sequence, is_of_link };
                let wait = self.persist_for(slot, released, turn);
                let packet = ServerPacket::Pubrel(Ack::new(packet_id, SUCCESS));
                self.drive(slot, session::Event::Respond { packet, wait }, turn);
                if self.shared.cell.is_some() {
                    self.note_received(slot, sequence + 1, turn);
                }
            }
            Step::Repeated => self.hold_repeat(slot, turn),
            Step::Done(sequence, exit) => {
                self.persist_done(slot, sequence, exit.into(), turn);
                if self.shared.cell.is_some() && matches!(exit, QueueExit::Dropped(_)) {
                    self.note_dropped(slot, turn);
                }
            }
            Step::Settled(sequence, settlement) => self.on_settled(slot, (sequence, settlement), turn),
            Step::Dropped(cause, delivery) => self.on_dropped(slot, cause, delivery, turn),
            Step::Denied(sequence, delivery) => self.on_denied(slot, sequence, *delivery, turn),
            Step::DroppedStored(cause, sequence) => self.on_dropped_stored(slot, cause, sequence, turn),
            Step::Refused(sequence) => self.on_refused(slot, sequence, turn),
            Step::Parked(sequence, state) => self.persist_redelivery(slot, sequence, state, turn),
            Step::RedeliveryDue => self.arm_redelivery(slot, turn.now),
            Step::RedeliveryRemoved(sequence) => self.persist_redelivery_removed(slot, sequence, turn),
            Step::Fetch(number, sequences) => self.fetch(slot, number, sequences, turn),
            Step::Unreadable(sequence, cause) => self.on_unreadable(slot, sequence, cause, turn),
            Step::Subscribe(subscribe) => self.on_filters(slot, FilterPacket::Subscribe(subscribe), turn),
            Step::Unsubscribe(unsubscribe) => self.on_filters(slot, FilterPacket::Unsubscribe(unsubscribe), turn),
            Step::Reauthenticate(auth) => self.on_reauthenticate(slot, *auth, turn),
            Step::End(ended) => self.on_ended(slot, ended, turn),
        }
    }

    /// Sends CONNACK, or a packet that follows it in the same event, to the client of the Session in `slot`.
    fn send_deferred(&mut self, slot: usize, packet: ServerPacket, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let Some(connection) = entry.connection else { return };
        let is_publish = matches!(packet, ServerPacket::Publish(_));
        entry.dropping &= !is_publish;
        if let ServerPacket::Connack(_) = packet {
            self.resume(connection, PauseReason::Claiming, turn);
            if self.link_of(connection).is_some() {
                return; // the other cell expects none
            }
        }
        let bytes = self.counters.sending(&packet);
        self.add_unsent(connection, bytes, u32::from(is_publish));
        turn.actions.push(Action::Send { connection, packet });
    }
}

/// Collects the actions of a Session. Packets are sent at once; other steps are performed after the Session has returned.
struct ActionSink<'a> {
    connection: Option<ConnectionId>,
    counters: &'a mut Counters,
    spare: &'a mut Vec<Vec<Step>>,
    actions: &'a mut Vec<Action>,
    steps: Vec<Step>,
    /// Whether CONNACK is among the steps. Packets after it are then steps as well, to keep their order.
    defers_packets: bool,
    /// An estimate of the bytes of the sent packets.
    bytes: usize,
    /// The number of PUBLISH packets among the sent packets.
    delivered: u32,
    notes: Notes<'a>,
}

/// Where the steps of the messages in the queue of the Session are noted.
struct Notes<'a> {
    journeys: &'a mut Journeys,
    key: SessionKey,
    slot: usize,
    now: Timestamp,
}

impl<'a> ActionSink<'a> {
    const fn new(
        connection: Option<ConnectionId>,
        counters: &'a mut Counters,
        (spare, actions): (&'a mut Vec<Vec<Step>>, &'a mut Vec<Action>),
        notes: Notes<'a>,
    ) -> Self {
        let steps = Vec::new();
        Self { connection, counters, spare, actions, steps, defers_packets: false, bytes: 0, delivered: 0, notes }
    }
}

impl session::Actions for ActionSink<'_> {
    fn send(&mut self, packet: ServerPacket) {
        self.defers_packets |= matches!(packet, ServerPacket::Connack(_));
        if self.defers_packets {
            return self.push(Step::Send(packet));
        }
        let Some(connection) = self.connection else { return };
        self.delivered += u32::from(matches!(packet, ServerPacket::Publish(_)));
        self.bytes += self.counters.sending(&packet);
        self.actions.push(Action::Send { connection, packet });
    }

    fn push(&mut self, action: Step) {
        if self.steps.capacity() == 0 {
            self.steps = self.spare.pop().unwrap_or_default();
        }
        self.steps.push(action);
    }

    fn begin_notes(&mut self, sequence: u64, message: &Message, step: QueueStep) -> bool {
        if !message.is_noted {
            return false;
        }
        let Notes { journeys, key, slot, now } = &mut self.notes;
        message.id.is_some_and(|id| journeys.begin(id, Receiver { key: *key, slot: *slot, sequence }, step, *now))
    }

    fn note(&mut self, sequence: u64, step: QueueStep) {
        let Notes { journeys, key, slot, now } = &mut self.notes;
        journeys.note(Receiver { key: *key, slot: *slot, sequence }, step, *now);
    }
}

/// What a queued message uses beside its content, which its receivers share, in bytes: an estimate.
const ENTRY_BYTES: u64 = 256;
const SUCCESS: ReasonCode = ReasonCode::Success;
