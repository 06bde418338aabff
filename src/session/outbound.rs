mod dropping;
mod empty;
mod end;
mod group;
mod received;
mod refused;
mod restored;
mod room;
mod settled;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) use self::empty::EmptyQueue;
use self::settled::end_of;
use super::entry::{Entry, State};
use super::head::Head;
use super::limits::{SHORT_BYTES_MAX, SHORT_MESSAGES_MAX};
use super::link::Link;
use super::parked::Redeliveries;
use super::rights::Recheck;
use super::{Actions, Delivery, DeliveryPlace, DropCause, Limits, QueueExit, QueueStep};
use crate::codec::{Ack, OutgoingPublish, PacketId, ReasonCode, ServerPacket};
use crate::timestamp::Timestamp;

/// The queue of QoS 1 and 2 messages for the client, in the order of their sequences: first those in flight, then those
/// that wait. If messages are in the store, only the [`Head`] is in memory.
///
/// The message with sequence *s* has the Packet Identifier `(s - 1) mod 65,535 + 1`. It is the same after a reconnect
/// and a restart, and unique because the oldest and the newest message in flight are less than 65,535 apart.
/// [MQTT-2.2.1-4]
#[derive(Debug)]
pub(super) struct Outbound {
    /// By sequence, with gaps where messages were dropped.
    pub(super) queue: VecDeque<Entry>,
    /// The sequence of the next message.
    end: u64,
    /// The first sequence that this connection has not sent.
    pub(super) cursor: u64,
    /// The first sequence that no connection has sent.
    sent_until: u64,
    /// Messages that arrived out of order, from another shard than their predecessors.
    #[expect(clippy::box_collection, reason = "it is rarely used, and every Session has this field")]
    early: Option<Box<BTreeMap<u64, Delivery>>>,
    /// The number of messages sent on this connection and not complete.
    in_flight: u32,
    /// The bytes of topic, properties and payload of those of them that wait for PUBACK or PUBREC.
    in_flight_bytes: usize,
    /// The number of all messages that are not complete.
    messages: u32,
    bytes: usize,
    pub(super) head: Head,
    /// While a part of the queue was accepted under other rights of the client.
    pub(super) recheck: Option<Box<Recheck>>,
    /// Whether messages of groups may be in the queue.
    has_group_messages: bool,
    /// Messages that the client has refused, if it gets such messages again.
    pub(super) redelivery: Option<Box<Redeliveries>>,
    pub(super) limits: Arc<Limits>,
}

impl Outbound {
    /// An empty queue. Its first message will have the sequence `first`.
    pub(super) fn new(first: u64, limits: Arc<Limits>) -> Self {
        Self {
            queue: VecDeque::new(),
            end: first,
            cursor: first,
            sent_until: first,
            early: None,
            in_flight: 0,
            in_flight_bytes: 0,
            messages: 0,
            bytes: 0,
            head: Head::default(),
            recheck: None,
            has_group_messages: false,
            redelivery: None,
            limits,
        }
    }

    /// The number of messages that are not complete, including those that arrived out of order, and their bytes.
    pub(super) const fn queued(&self) -> (usize, usize) {
        (self.messages as usize, self.bytes)
    }

    /// The sequence before which messages may have been sent.
    pub(super) const fn sent_until(&self) -> u64 {
        self.sent_until
    }

    /// The number of messages that were never sent.
    pub(super) fn unsent(&self) -> u64 {
        (self.queue.len() - self.place_from(self.sent_until)) as u64
    }

    /// The number of messages sent on this connection and not acknowledged.
    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The sequence of the next message.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Inserts a message at its sequence. If the queue is full and drops its oldest messages, the oldest one that was
    /// never sent is dropped; otherwise the caller must have checked for space.
    pub(super) fn enqueue(&mut self, sequence: u64, delivery: Delivery, actions: &mut impl Actions) {
        if sequence > self.end {
            let bytes = delivery.queued_bytes();
            if self.early.get_or_insert_default().insert(sequence, delivery).is_none() {
                self.messages += 1;
                self.bytes += bytes;
            }
        } else if sequence == self.end {
            self.append(delivery, actions);
            if self.early.is_some() {
                self.append_early(actions);
            }
        }
    }

    /// Appends messages that arrived early and are next in order now.
    fn append_early(&mut self, actions: &mut impl Actions) {
        while let Some(early) = &mut self.early {
            let Some(delivery) = early.remove(&self.end) else { return };
            if early.is_empty() {
                self.early = None;
            }
            self.messages -= 1;
            self.bytes -= delivery.queued_bytes();
            self.append(delivery, actions);
        }
    }

    fn append(&mut self, delivery: Delivery, actions: &mut impl Actions) {
        let is_short = self.limits.is_memory_short && self.is_refused_when_short(&delivery);
        if is_short {
            return self.skip(delivery, actions);
        }
        self.has_group_messages |= delivery.place == DeliveryPlace::Group;
        let entry = Entry::new(self.end, delivery, self.head.recorded);
        self.end += 1;
        self.messages += 1;
        self.bytes += entry.bytes as usize;
        self.head.added(&entry);
        self.queue.push_back(entry);
        if self.recheck.is_some() {
            self.drop_denied_shares(self.queue.len() - 1, actions);
        }
        if self.limits.drops_oldest {
            self.drop_oldest(actions);
        }
    }

    /// Whether the queue doesn't take a message while memory is short. A message that the store has is always taken.
    const fn is_refused_when_short(&self, delivery: &Delivery) -> bool {
        matches!(delivery.place, DeliveryPlace::Memory)
            && (self.messages as usize >= SHORT_MESSAGES_MAX || self.bytes >= SHORT_BYTES_MAX)
    }

    /// Handles the start or the end of a connection: the next one sends all messages in flight again, in order.
    /// [MQTT-4.4.0-1]
    pub(super) fn restart(&mut self, is_connected: bool) {
        self.cursor = self.front();
        self.in_flight = 0;
        self.in_flight_bytes = 0;
        self.restart_head(is_connected);
    }

    /// Whether all messages were sent.
    pub(super) const fn is_all_sent(&self) -> bool {
        self.cursor == self.end
    }

    /// Sends as many messages as the client's Receive Maximum and `room` permit: first retransmissions, then new
    /// messages. Fetches those that are not in memory.
    pub(super) fn send(&mut self, now: Timestamp, link: &mut Link, room: &mut usize, actions: &mut impl Actions) {
        let (front, times) = (self.front(), (now, self.limits.expired_by(now)));
        let mut place = self.place_from(self.cursor);
        let mut has_dropped = false;
        while let Some(entry) = self.queue.get_mut(place) {
            let sequence = entry.sequence;
            let packet_id = packet_id(sequence);
            match entry.state {
                State::Done => {}
                State::AwaitingPubcomp => {
                    actions.send(ServerPacket::Pubrel(Ack::new(packet_id, ReasonCode::Success)));
                    self.in_flight += 1;
                }
                State::Queued | State::AwaitingPuback | State::AwaitingPubrec => {
                    // [MQTT-3.3.4-9], and the window in which Packet Identifiers are unique.
                    let full = self.in_flight >= u32::from(link.send_maximum.get())
                        || self.in_flight_bytes >= self.limits.inflight_bytes_max
                        || sequence - front >= PACKET_IDS
                        || *room == 0;
                    let topic = match self.redelivery.as_deref() {
                        Some(refused) if refused.is_undecided() && self.limits.refused.keeps_order() => break,
                        Some(refused) => refused.waits_behind(entry),
                        None => None,
                    };
                    if full || (entry.is_stored() && (self.limits.has_dead_letters || !entry.is_expired(times.1))) {
                        break;
                    }
                    if let Some(topic) = topic {
                        self.park_behind(place, topic, actions);
                        has_dropped = true;
                        self.sent_until = self.sent_until.max(sequence + 1);
                        self.cursor = sequence + 1;
                        place += 1;
                        continue;
                    }
                    let step = if entry.state == State::Queued { QueueStep::Sent } else { QueueStep::Resent };
                    let denied = self.recheck.as_ref().is_some_and(|recheck| recheck.denies(entry));
                    let publish =
                        if denied { Err(DropCause::NotAuthorized) } else { entry.publish(times, packet_id, link) };
                    match publish {
                        Ok(publish) => {
                            *room = room.saturating_sub(publish_bytes(&publish));
                            entry.note(step, actions);
                            actions.send(ServerPacket::Publish(publish));
                            self.in_flight += 1;
                            self.in_flight_bytes += content_bytes(entry.bytes);
                            self.head.sent(entry);
                            if let Some(redelivery) = &mut self.redelivery {
                                redelivery.sent(sequence);
                            }
                        }
                        Err(cause) => {
                            self.drop_message(place, cause, actions);
                            has_dropped = true;
                        }
                    }
                    self.sent_until = self.sent_until.max(sequence + 1);
                }
            }
            self.cursor = sequence + 1;
            place += 1;
        }
        if has_dropped {
            self.remove_done();
        }
        if self.recheck.as_ref().is_some_and(|recheck| self.sent_until >= recheck.before) {
            self.recheck = None;
        }
        if self.head.stored > 0 {
            self.fetch(actions);
        }
    }

    /// The sequence of the oldest message, or of the next one if the queue is empty.
    fn front(&self) -> u64 {
        self.queue.front().map_or(self.end, |entry| entry.sequence)
    }

    /// The index of the message with this sequence, or of the first one behind it.
    #[inline]
    pub(super) fn place_from(&self, sequence: u64) -> usize {
        let front = self.front();
        // Without gaps, the distance from the front is the index.
        let distance = usize::try_from(sequence.saturating_sub(front)).unwrap_or(usize::MAX);
        if self.end - front == self.queue.len() as u64 {
            return distance.min(self.queue.len());
        }
        self.queue.partition_point(|entry| entry.sequence < sequence)
    }

    /// The index of the message with this sequence.
    pub(super) fn place(&self, sequence: u64) -> Option<usize> {
        let place = self.place_from(sequence);
        self.queue.get(place).filter(|entry| entry.sequence == sequence).map(|_| place)
    }

    /// The sent message with this Packet Identifier: its index, sequence and state.
    #[inline]
    pub(super) fn find(&self, id: PacketId) -> Option<(usize, u64, State)> {
        let front = self.front();
        let (sought, first) = (u64::from(id.number()), u64::from(packet_id(front).number()));
        let sequence = front + if sought < first { sought + PACKET_IDS - first } else { sought - first };
        let place = self.place_from(sequence);
        let entry = self.queue.get(place).filter(|entry| entry.sequence == sequence)?;
        (sequence < self.sent_until).then_some((place, sequence, entry.state))
    }

    /// Notes that a message that was delivered just now waits, if it does.
    #[inline]
    pub(super) fn note_waiting(&mut self, sequence: u64, actions: &mut impl Actions) {
        if let Some(entry) = self.queue.back_mut().filter(|entry| entry.sequence == sequence) {
            entry.note_waiting(actions);
        }
    }

    /// The client has received the message at this index: only its identifier is kept, until PUBCOMP.
    pub(super) fn release(&mut self, place: usize, actions: &mut impl Actions) {
        if let Some(entry) = self.queue.get_mut(place) {
            entry.note(QueueStep::Released, actions);
        }
        self.take(place, State::AwaitingPubcomp);
    }

    /// Completes the message at this index, which was sent, in this way.
    pub(super) fn complete(&mut self, place: usize, (step, exit): (QueueStep, QueueExit), actions: &mut impl Actions) {
        let Some(entry) = self.queue.get_mut(place) else { return };
        entry.note(step, actions);
        let sequence = entry.sequence;
        if sequence < self.cursor {
            self.in_flight -= 1;
        }
        self.messages -= 1;
        let delivery = self.take(place, State::Done);
        let end = end_of(delivery.as_ref(), sequence, exit);
        drop(delivery);
        end.into_iter().for_each(|action| actions.push(action));
        self.forget_redelivery(sequence, actions);
        if place == 0 {
            self.queue.pop_front();
            self.remove_done();
        }
    }

    /// Sets the state of a message that won't be sent again, and removes it from memory.
    fn take(&mut self, place: usize, state: State) -> Option<Delivery> {
        let entry = self.queue.get_mut(place)?;
        if entry.is_loaded() || entry.is_stored() {
            self.bytes -= entry.bytes as usize;
            let is_sent = entry.sequence < self.cursor;
            if is_sent {
                self.in_flight_bytes -= content_bytes(entry.bytes);
            }
            self.head.removed(entry, is_sent);
        }
        entry.state = state;
        entry.unload()
    }

    pub(super) fn remove_done(&mut self) {
        loop {
            let Some(entry) = self.queue.front() else {
                self.cursor = self.end;
                self.sent_until = self.end;
                if self.queue.capacity() > QUEUE_KEPT {
                    self.queue = VecDeque::new();
                }
                return;
            };
            if entry.state != State::Done {
                self.cursor = self.cursor.max(entry.sequence);
                self.sent_until = self.sent_until.max(entry.sequence);
                return;
            }
            self.queue.pop_front();
        }
    }
}

/// The Packet Identifier of the message with this sequence.
fn packet_id(sequence: u64) -> PacketId {
    let number = u16::try_from((sequence - 1) % PACKET_IDS + 1).unwrap_or(u16::MAX);
    PacketId::new(number).unwrap_or(PacketId(std::num::NonZeroU16::MAX))
}

/// An estimate of a packet's bytes in the outgoing buffer; the transport reports the exact number later.
fn publish_bytes(publish: &OutgoingPublish) -> usize {
    publish.content_len_max() + HEADER_BYTES
}

/// The bytes of an entry that a client gets.
fn content_bytes(bytes: u32) -> usize {
    super::entry::content_bytes(bytes).unwrap_or_default()
}

/// The number of Packet Identifiers.
const PACKET_IDS: u64 = 65_535;
/// The capacity that an empty queue keeps; more is released.
const QUEUE_KEPT: usize = 64;
/// Fixed header, lengths and Packet Identifier, in bytes.
const HEADER_BYTES: usize = 10;

#[cfg(test)]
impl Outbound {
    pub(super) const fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// The bytes of the messages that were sent on this connection and that the client has not received, counted one by one.
    pub(super) fn awaited_bytes(&self) -> usize {
        let is_awaited = |entry: &&Entry| {
            entry.sequence < self.cursor && matches!(entry.state, State::AwaitingPuback | State::AwaitingPubrec)
        };
        self.queue.iter().filter(is_awaited).map(|entry| content_bytes(entry.bytes)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Qos;
    use crate::session::tests::{delivery, limits};

    #[test]
    fn the_queue_of_a_disconnected_client_stays_within_its_bounds() {
        let limits = Arc::new(Limits { queued_messages_max: 10, ..Limits::clone(&limits()) });
        let (mut outbound, mut actions) = (Outbound::new(1, limits), Vec::new());
        let mut link = Link::new(crate::codec::ProtocolVersion::V5, std::num::NonZeroU16::MIN);
        for sequence in 1..=200_000 {
            outbound.enqueue(sequence, delivery(Qos::AtLeastOnce), &mut actions);
            outbound.send(Timestamp(0), &mut link, &mut 1, &mut actions); // the first one only
            actions.clear();
        }
        assert_eq!((outbound.queue.len(), outbound.queued().0, outbound.unsent()), (10, 10, 9));
        outbound.on_puback(&Ack::new(packet_id(1), ReasonCode::Success), &mut actions).unwrap();
        outbound.send(Timestamp(0), &mut link, &mut 1, &mut actions);
        assert_eq!(outbound.find(packet_id(199_992)), Some((0, 199_992, State::AwaitingPuback)));
    }
}
