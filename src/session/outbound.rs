use std::collections::{BTreeMap, VecDeque};

use super::head::Head;
use super::link::Link;
use super::{Action, Delivery, DeliveryPlace, DropCause, Limits};
use crate::codec::{Ack, OutgoingPublish, PacketId, Qos, ReasonCode, ServerPacket};
use crate::timestamp::Timestamp;

/// The QoS 1 and 2 messages that a client is owed, in the order of their sequences: those in flight, and behind them those
/// that wait. What the store has of them is in memory only as far as it is about to be sent: see [`Head`].
///
/// The message with sequence *s* has the Packet Identifier `(s - 1) mod 65,535 + 1`: the same after a reconnect and after a
/// restart, and unique because the oldest and the newest in flight lie less than 65,535 apart. [MQTT-2.2.1-4]
#[derive(Debug)]
pub(super) struct Outbound {
    /// By sequence, with gaps only where messages were dropped.
    pub(super) queue: VecDeque<Entry>,
    /// The sequence of the next message to come.
    end: u64,
    /// The first sequence that this connection has not sent.
    pub(super) cursor: u64,
    /// The first sequence that no connection has sent.
    sent_until: u64,
    /// What came before its turn, because it took a shorter way here than its predecessor.
    early: BTreeMap<u64, Delivery>,
    early_bytes: usize,
    /// Sent on this connection and not done.
    in_flight: u32,
    /// Not done, wherever they are.
    messages: usize,
    bytes: usize,
    pub(super) head: Head,
}

/// The bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueLimits {
    pub(super) messages_max: usize,
    pub(super) bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    /// Given away once the client has it, and as long as the store alone has it.
    pub(super) delivery: Option<Box<Delivery>>,
    /// When its Message Expiry Interval runs out, or [`Timestamp::NEVER`].
    pub(super) expires_at: Timestamp,
    /// What it counts for in the queue.
    pub(super) bytes: u32,
    pub(super) state: State,
    /// Whether the store has it, so that it can be fetched from there.
    pub(super) recorded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Never sent.
    Queued,
    AwaitingPuback,
    AwaitingPubrec,
    /// PUBREL was sent, or is about to be.
    AwaitingPubcomp,
    Done,
}

/// A message of the last run.
#[derive(Debug)]
pub enum RestoredMessage {
    /// To be sent, perhaps again: the store has it.
    Queued {
        /// Of this delivery.
        qos: Qos,
        /// When it expires, or [`Timestamp::NEVER`].
        expires_at: Timestamp,
        /// The bytes of its topic, payload and properties.
        content: u32,
    },
    /// The same, of a Shared Subscription.
    Shared(Box<Delivery>),
    /// The client has it: PUBREL is to be sent again.
    Released,
}

impl State {
    /// What a message of this QoS waits for when it is sent.
    pub(super) const fn awaiting(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce | Qos::AtLeastOnce => Self::AwaitingPuback,
            Qos::ExactlyOnce => Self::AwaitingPubrec,
        }
    }
}

impl Outbound {
    /// An empty queue whose first message will have the sequence `first`.
    pub(super) fn new(first: u64, limits: &Limits) -> Self {
        Self {
            queue: VecDeque::new(),
            end: first,
            cursor: first,
            sent_until: first,
            early: BTreeMap::new(),
            early_bytes: 0,
            in_flight: 0,
            messages: 0,
            bytes: 0,
            head: Head::new(limits),
        }
    }

    /// The queue of the last run: messages before `sent_until` may have been sent, and go out with DUP.
    pub(super) fn restored(queue: BTreeMap<u64, RestoredMessage>, sent_until: u64, limits: &Limits) -> Self {
        let front = queue.first_key_value().map_or(1, |(first, _)| *first);
        let mut outbound = Self::new(front, limits);
        outbound.head.recorded = true;
        outbound.queue.reserve_exact(queue.len());
        for (sequence, message) in queue {
            let entry = Entry::restored(sequence, message, sequence < sent_until);
            if entry.state != State::Queued {
                outbound.sent_until = sequence + 1;
            }
            if entry.is_stored() {
                outbound.head.stored += 1;
            }
            outbound.messages += 1;
            outbound.bytes += entry.bytes as usize;
            outbound.end = sequence + 1;
            outbound.queue.push_back(entry);
        }
        outbound
    }

    /// Messages not done, and their bytes.
    pub(super) const fn queued(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }

    /// The same, with those that came before their turn.
    pub(super) fn given(&self) -> (usize, usize) {
        (self.messages + self.early.len(), self.bytes + self.early_bytes)
    }

    /// The place before which messages may have been sent.
    pub(super) const fn sent_until(&self) -> u64 {
        self.sent_until
    }

    /// Messages that were never sent.
    pub(super) fn unsent(&self) -> u64 {
        (self.queue.len() - self.place_from(self.sent_until)) as u64
    }

    /// Messages sent and not acknowledged on this connection.
    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The sequence of the next message to come.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Puts a message at its place. When the queue is full, the oldest message that was never sent goes; without limits it is for
    /// whoever gives messages to see that there is room.
    pub(super) fn enqueue(
        &mut self,
        sequence: u64,
        delivery: Delivery,
        limits: Option<QueueLimits>,
        actions: &mut Vec<Action>,
    ) {
        if sequence != self.end {
            if sequence > self.end {
                let bytes = delivery.queued_bytes();
                if self.early.insert(sequence, delivery).is_none() {
                    self.early_bytes += bytes;
                }
            }
            return;
        }
        self.append(delivery, limits, actions);
        while let Some(delivery) = self.early.remove(&self.end) {
            self.early_bytes -= delivery.queued_bytes();
            self.append(delivery, limits, actions);
        }
    }

    fn append(&mut self, delivery: Delivery, limits: Option<QueueLimits>, actions: &mut Vec<Action>) {
        let entry = Entry::new(self.end, delivery, self.head.recorded);
        self.end += 1;
        self.messages += 1;
        self.bytes += entry.bytes as usize;
        self.head.joined(&entry);
        self.queue.push_back(entry);
        let is_full = |messages, bytes| limits.is_some_and(|max| messages > max.messages_max || bytes > max.bytes_max);
        while is_full(self.messages, self.bytes) {
            let oldest = self.place_from(self.sent_until);
            let Some(sequence) = self.queue.get(oldest).map(|entry| entry.sequence) else {
                break; // all that is left is in flight
            };
            self.drop_message(sequence, DropCause::QueueFull, actions);
            // Few are before it, those in flight: a client that is away must not gather what it doesn't get.
            self.queue.remove(oldest);
        }
        self.remove_done();
    }

    /// A connection begins or ends: on the next one everything in flight is to be sent again, in its order. [MQTT-4.4.0-1]
    pub(super) fn restart(&mut self, is_connected: bool) {
        self.cursor = self.front();
        self.in_flight = 0;
        self.restart_head(is_connected);
    }

    /// Sends what the client's Receive Maximum and `room` allow: what this connection has to repeat, then what is new. What is
    /// not in memory is asked for.
    pub(super) fn send(&mut self, now: Timestamp, link: &mut Link, room: &mut usize, actions: &mut Vec<Action>) {
        let front = self.front();
        let mut place = self.place_from(self.cursor);
        while let Some(entry) = self.queue.get_mut(place) {
            let sequence = entry.sequence;
            let packet_id = packet_id(sequence);
            match entry.state {
                State::Done => {}
                State::AwaitingPubcomp => {
                    actions.push(Action::Send(ServerPacket::Pubrel(Ack::new(packet_id, ReasonCode::Success))));
                    self.in_flight += 1;
                }
                State::Queued | State::AwaitingPuback | State::AwaitingPubrec => {
                    // [MQTT-3.3.4-9], and the window in which Packet Identifiers are unique.
                    let full = self.in_flight >= u32::from(link.send_maximum.get())
                        || sequence - front >= PACKET_IDS
                        || *room == 0;
                    if full || (entry.is_stored() && (self.head.keeps_dropped || !entry.is_expired(now))) {
                        break;
                    }
                    match entry.publish(now, packet_id, link) {
                        Ok(publish) => {
                            *room = room.saturating_sub(publish_bytes(&publish));
                            actions.push(Action::Send(ServerPacket::Publish(publish)));
                            self.in_flight += 1;
                            self.head.sent(entry);
                        }
                        Err(cause) => self.drop_message(sequence, cause, actions),
                    }
                    self.sent_until = self.sent_until.max(sequence + 1);
                }
            }
            self.cursor = sequence + 1;
            place += 1;
        }
        self.remove_done();
        self.fetch(actions);
    }

    /// What another member of a share may get when this Session ends: QoS 1 that is not acknowledged, and QoS 2 that was
    /// never sent. [MQTT-4.8.2-5]
    pub(super) fn into_leftovers(self) -> impl Iterator<Item = (u64, Delivery)> {
        let queued = self.queue.into_iter().filter_map(|entry| match entry.state {
            State::Queued | State::AwaitingPuback => Some((entry.sequence, *entry.delivery?)),
            State::AwaitingPubrec | State::AwaitingPubcomp | State::Done => None,
        });
        queued.chain(self.early).filter(|(_, delivery)| delivery.share.is_some())
    }

    /// The sequence of the oldest message, or of the next to come.
    fn front(&self) -> u64 {
        self.queue.front().map_or(self.end, |entry| entry.sequence)
    }

    /// The place of the message with this sequence, or of the next behind it.
    pub(super) fn place_from(&self, sequence: u64) -> usize {
        // Without gaps its distance from the front is its place.
        let distance = usize::try_from(sequence.saturating_sub(self.front())).unwrap_or(usize::MAX);
        if self.queue.get(distance).is_some_and(|entry| entry.sequence == sequence) {
            return distance;
        }
        self.queue.partition_point(|entry| entry.sequence < sequence)
    }

    pub(super) fn place(&self, sequence: u64) -> Option<usize> {
        let place = self.place_from(sequence);
        self.queue.get(place).filter(|entry| entry.sequence == sequence).map(|_| place)
    }

    pub(super) fn state_of(&self, id: PacketId) -> Option<(u64, State)> {
        let front = self.front();
        let ahead = (u64::from(id.number()) + PACKET_IDS - u64::from(packet_id(front).number())) % PACKET_IDS;
        let sequence = front + ahead;
        let entry = self.queue.get(self.place(sequence)?)?;
        (sequence < self.sent_until).then_some((sequence, entry.state))
    }

    /// The client has the message: only its identifier is kept until PUBCOMP.
    pub(super) fn release(&mut self, sequence: u64) {
        if let Some(place) = self.place(sequence) {
            self.take(place, State::AwaitingPubcomp);
        }
    }

    pub(super) fn complete(&mut self, sequence: u64, actions: &mut Vec<Action>) {
        if sequence < self.cursor {
            self.in_flight -= 1;
        }
        self.finish(sequence, actions);
        self.remove_done();
    }

    fn finish(&mut self, sequence: u64, actions: &mut Vec<Action>) {
        if let Some(place) = self.live_entry(sequence) {
            self.messages -= 1;
            let delivery = self.take(place, State::Done);
            actions.extend(done(sequence, delivery.as_deref()));
        }
    }

    /// The message goes without having come to the client. What is made of it is there before its record goes.
    fn drop_message(&mut self, sequence: u64, cause: DropCause, actions: &mut Vec<Action>) {
        let Some(place) = self.live_entry(sequence) else { return };
        let is_stored = self.queue.get(place).is_some_and(Entry::is_stored);
        self.messages -= 1;
        let delivery = self.take(place, State::Done);
        if is_stored && self.head.keeps_dropped {
            return actions.push(Action::DroppedStored(cause, sequence));
        }
        let done = done(sequence, delivery.as_deref());
        actions.push(Action::Dropped(cause, delivery));
        actions.extend(done);
    }

    /// A message that can't be fetched goes; its record stays, as it may be read by another run.
    pub(super) fn give_up(&mut self, place: usize) {
        self.messages -= 1;
        self.take(place, State::Done);
    }

    /// The place in the queue of a message that is not done.
    fn live_entry(&self, sequence: u64) -> Option<usize> {
        let place = self.place(sequence)?;
        self.queue.get(place).filter(|entry| entry.state != State::Done).map(|_| place)
    }

    /// The message at this place is not to be sent any more.
    fn take(&mut self, place: usize, state: State) -> Option<Box<Delivery>> {
        let entry = self.queue.get_mut(place)?;
        if entry.delivery.is_some() || entry.is_stored() {
            self.bytes -= entry.bytes as usize;
            self.head.left(entry, entry.sequence < self.cursor);
        }
        entry.state = state;
        entry.delivery.take()
    }

    pub(super) fn remove_done(&mut self) {
        while self.queue.front().is_some_and(|entry| entry.state == State::Done) {
            self.queue.pop_front();
        }
        let front = self.front();
        self.cursor = self.cursor.max(front);
        self.sent_until = self.sent_until.max(front);
        if self.queue.is_empty() && self.queue.capacity() > QUEUE_KEPT {
            self.queue = VecDeque::new();
        }
    }
}

/// What ends the record of a message that is done with, if it may have one: what the client has already is not here any more.
fn done(sequence: u64, delivery: Option<&Delivery>) -> Option<Action> {
    let is_recorded = delivery.is_none_or(|delivery| delivery.place == DeliveryPlace::Record);
    is_recorded.then_some(Action::Done(sequence))
}

/// The Packet Identifier of the message with this sequence, which counts from 1.
fn packet_id(sequence: u64) -> PacketId {
    let number = u16::try_from((sequence - 1) % PACKET_IDS + 1).unwrap_or(u16::MAX);
    PacketId::new(number).unwrap_or(PacketId(std::num::NonZeroU16::MAX))
}

/// What a packet takes in the outgoing buffer, nearly: the transport's own count corrects it.
fn publish_bytes(publish: &OutgoingPublish) -> usize {
    let message = &publish.message;
    message.topic.as_str().len() + message.payload.len() + message.properties.encoded_len() + HEADER_BYTES
}

/// How many Packet Identifiers there are.
const PACKET_IDS: u64 = 65_535;
/// A queue that has run empty keeps so many places; more are given back.
const QUEUE_KEPT: usize = 32;
/// Fixed header, lengths, Packet Identifier.
const HEADER_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::{delivery, limits};

    #[test]
    fn client_that_is_away_gathers_nothing_beyond_its_queue() {
        let queue_limits = Some(QueueLimits { messages_max: 10, bytes_max: usize::MAX });
        let (mut outbound, mut actions) = (Outbound::new(1, &limits()), Vec::new());
        let mut link = Link::new(crate::codec::ProtocolVersion::V5, std::num::NonZeroU16::MIN);
        for sequence in 1..=200_000 {
            outbound.enqueue(sequence, delivery(Qos::AtLeastOnce), queue_limits, &mut actions);
            outbound.send(Timestamp(0), &mut link, &mut 1, &mut actions); // the first alone
            actions.clear();
        }
        assert_eq!((outbound.queue.len(), outbound.queued().0, outbound.unsent()), (10, 10, 9));
        outbound.on_puback(packet_id(1), &mut actions).unwrap();
        outbound.send(Timestamp(0), &mut link, &mut 1, &mut actions);
        assert_eq!(outbound.state_of(packet_id(199_992)), Some((199_992, State::AwaitingPuback)));
    }
}
