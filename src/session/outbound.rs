use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::entry::{Content, Entry, RestoredMessage, State};
use super::head::Head;
use super::link::Link;
use super::{Action, Actions, Delivery, DeliveryPlace, DropCause, Limits};
use crate::codec::{Ack, OutgoingPublish, PacketId, ReasonCode, ServerPacket};
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
    #[expect(clippy::box_collection, reason = "it is rare, and every Session has one of these")]
    early: Option<Box<BTreeMap<u64, Delivery>>>,
    /// Sent on this connection and not done.
    in_flight: u32,
    /// Not done, wherever they are.
    messages: usize,
    bytes: usize,
    pub(super) head: Head,
    pub(super) limits: Arc<Limits>,
}

impl Outbound {
    /// An empty queue whose first message will have the sequence `first`.
    pub(super) fn new(first: u64, limits: Arc<Limits>) -> Self {
        Self {
            queue: VecDeque::new(),
            end: first,
            cursor: first,
            sent_until: first,
            early: None,
            in_flight: 0,
            messages: 0,
            bytes: 0,
            head: Head::default(),
            limits,
        }
    }

    /// The queue of the last run: messages before `sent_until` may have been sent, and go out with DUP.
    pub(super) fn restored(queue: BTreeMap<u64, RestoredMessage>, sent_until: u64, limits: Arc<Limits>) -> Self {
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

    /// Messages not done, those that came before their turn included, and their bytes.
    pub(super) const fn queued(&self) -> (usize, usize) {
        (self.messages, self.bytes)
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

    /// Puts a message at its place. When the queue is full and the oldest are to be dropped, the oldest that was never sent goes; else it is
    /// for whoever gives messages to see that there is room.
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

    /// Appends what came early, as far as it is its turn now.
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
        let entry = Entry::new(self.end, delivery, self.head.recorded);
        self.end += 1;
        self.messages += 1;
        self.bytes += entry.bytes as usize;
        self.head.joined(&entry);
        self.queue.push_back(entry);
        if self.limits.drops_oldest {
            self.drop_oldest(actions);
        }
    }

    /// Drops as many of the oldest messages that were never sent as are beyond the bounds.
    fn drop_oldest(&mut self, actions: &mut impl Actions) {
        while self.messages > self.limits.queued_messages_max || self.bytes > self.limits.queued_bytes_max {
            let oldest = self.place_from(self.sent_until);
            if self.queue.get(oldest).is_none() {
                break; // all that is left is in flight
            }
            self.drop_message(oldest, DropCause::QueueFull, actions);
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

    /// Whether everything was sent that is there.
    pub(super) const fn is_all_sent(&self) -> bool {
        self.cursor == self.end
    }

    /// Sends what the client's Receive Maximum and `room` allow: what this connection has to repeat, then what is new. What is
    /// not in memory is asked for.
    pub(super) fn send(&mut self, now: Timestamp, link: &mut Link, room: &mut usize, actions: &mut impl Actions) {
        let front = self.front();
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
                        || sequence - front >= PACKET_IDS
                        || *room == 0;
                    if full || (entry.is_stored() && (self.limits.keeps_dropped || !entry.is_expired(now))) {
                        break;
                    }
                    match entry.publish(now, packet_id, link) {
                        Ok(publish) => {
                            *room = room.saturating_sub(publish_bytes(&publish));
                            actions.send(ServerPacket::Publish(publish));
                            self.in_flight += 1;
                            self.head.sent(entry);
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
        if self.head.stored > 0 {
            self.fetch(actions);
        }
    }

    /// What another member of a share may get when this Session ends: QoS 1 that is not acknowledged, and QoS 2 that was
    /// never sent. [MQTT-4.8.2-5]
    pub(super) fn into_leftovers(self) -> impl Iterator<Item = (u64, Delivery)> {
        let queued = self.queue.into_iter().filter_map(|entry| match (entry.state, entry.content) {
            (State::Queued | State::AwaitingPuback, Content::Loaded(delivery)) => Some((entry.sequence, delivery)),
            _ => None,
        });
        let early = self.early.into_iter().flat_map(|early| *early);
        queued.chain(early).filter(|(_, delivery)| delivery.share().is_some())
    }

    /// The sequence of the oldest message, or of the next to come.
    fn front(&self) -> u64 {
        self.queue.front().map_or(self.end, |entry| entry.sequence)
    }

    /// The place of the message with this sequence, or of the next behind it.
    pub(super) fn place_from(&self, sequence: u64) -> usize {
        let front = self.front();
        // Without gaps the distance from the front is the place.
        let distance = usize::try_from(sequence.saturating_sub(front)).unwrap_or(usize::MAX);
        if self.end - front == self.queue.len() as u64 {
            return distance.min(self.queue.len());
        }
        self.queue.partition_point(|entry| entry.sequence < sequence)
    }

    /// The place of the message with this sequence.
    pub(super) fn place(&self, sequence: u64) -> Option<usize> {
        let place = self.place_from(sequence);
        self.queue.get(place).filter(|entry| entry.sequence == sequence).map(|_| place)
    }

    /// The message with this Packet Identifier, if it was ever sent: its place, its sequence and how far it has come.
    pub(super) fn find(&self, id: PacketId) -> Option<(usize, u64, State)> {
        let front = self.front();
        let (sought, first) = (u64::from(id.number()), u64::from(packet_id(front).number()));
        let sequence = front + if sought < first { sought + PACKET_IDS - first } else { sought - first };
        let place = self.place_from(sequence);
        let entry = self.queue.get(place).filter(|entry| entry.sequence == sequence)?;
        (sequence < self.sent_until).then_some((place, sequence, entry.state))
    }

    /// The client has the message at this place: only its identifier is kept until PUBCOMP.
    pub(super) fn release(&mut self, place: usize) {
        self.take(place, State::AwaitingPubcomp);
    }

    /// The client is done with the message at this place, which was sent.
    pub(super) fn complete(&mut self, place: usize, actions: &mut impl Actions) {
        let Some(sequence) = self.queue.get(place).map(|entry| entry.sequence) else { return };
        if sequence < self.cursor {
            self.in_flight -= 1;
        }
        self.messages -= 1;
        let delivery = self.take(place, State::Done);
        let is_recorded = is_recorded(delivery.as_ref());
        drop(delivery);
        if is_recorded {
            actions.push(Action::Done(sequence));
        }
        if place == 0 {
            self.queue.pop_front();
            self.remove_done();
        }
    }

    /// The message goes without having come to the client. What is made of it is there before its record goes.
    fn drop_message(&mut self, place: usize, cause: DropCause, actions: &mut impl Actions) {
        let Some(entry) = self.queue.get(place).filter(|entry| entry.state != State::Done) else { return };
        let (sequence, is_stored) = (entry.sequence, entry.is_stored());
        self.messages -= 1;
        let delivery = self.take(place, State::Done);
        if is_stored && self.limits.keeps_dropped {
            return actions.push(Action::DroppedStored(cause, sequence));
        }
        let is_recorded = is_recorded(delivery.as_ref());
        actions.push(Action::Dropped(cause, delivery.map(Box::new)));
        if is_recorded {
            actions.push(Action::Done(sequence));
        }
    }

    /// A message that can't be fetched goes; its record stays, as it may be read by another run.
    pub(super) fn give_up(&mut self, place: usize) {
        self.messages -= 1;
        self.take(place, State::Done);
    }

    /// The message at this place is not to be sent any more.
    fn take(&mut self, place: usize, state: State) -> Option<Delivery> {
        let entry = self.queue.get_mut(place)?;
        if entry.is_loaded() || entry.is_stored() {
            self.bytes -= entry.bytes as usize;
            self.head.left(entry, entry.sequence < self.cursor);
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

/// Whether a message that is done with may have a record: what the client has already is not here any more.
fn is_recorded(delivery: Option<&Delivery>) -> bool {
    delivery.is_none_or(|delivery| delivery.place == DeliveryPlace::Record)
}

/// The Packet Identifier of the message with this sequence, which counts from 1.
fn packet_id(sequence: u64) -> PacketId {
    let number = u16::try_from((sequence - 1) % PACKET_IDS + 1).unwrap_or(u16::MAX);
    PacketId::new(number).unwrap_or(PacketId(std::num::NonZeroU16::MAX))
}

/// What a packet takes in the outgoing buffer, nearly: the transport's own count corrects it.
fn publish_bytes(publish: &OutgoingPublish) -> usize {
    publish.message.content_len() + HEADER_BYTES
}

/// How many Packet Identifiers there are.
const PACKET_IDS: u64 = 65_535;
/// A queue that has run empty keeps so many places; more are given back.
const QUEUE_KEPT: usize = 64;
/// Fixed header, lengths, Packet Identifier.
const HEADER_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Qos;
    use crate::session::tests::{delivery, limits};

    #[test]
    fn client_that_is_away_gathers_nothing_beyond_its_queue() {
        let limits = Arc::new(Limits { queued_messages_max: 10, ..Limits::clone(&limits()) });
        let (mut outbound, mut actions) = (Outbound::new(1, limits), Vec::new());
        let mut link = Link::new(crate::codec::ProtocolVersion::V5, std::num::NonZeroU16::MIN);
        for sequence in 1..=200_000 {
            outbound.enqueue(sequence, delivery(Qos::AtLeastOnce), &mut actions);
            outbound.send(Timestamp(0), &mut link, &mut 1, &mut actions); // the first alone
            actions.clear();
        }
        assert_eq!((outbound.queue.len(), outbound.queued().0, outbound.unsent()), (10, 10, 9));
        outbound.on_puback(packet_id(1), &mut actions).unwrap();
        outbound.send(Timestamp(0), &mut link, &mut 1, &mut actions);
        assert_eq!(outbound.find(packet_id(199_992)), Some((0, 199_992, State::AwaitingPuback)));
    }
}
