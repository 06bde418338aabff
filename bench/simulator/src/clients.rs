//! What clients do.

use oncemq::codec::{
    Ack, ClientPacket, OutgoingPublish, PacketId, Publish, Qos, ReasonCode, ServerPacket, Subscribe, Subscription,
    SubscriptionOptions, Unsubscribe,
};
use oncemq::topic::{Filter, TopicName};

use crate::cell::{Input, ToClient};
use crate::fleet::{State, Target, topic_of};
use crate::links::Carried;
use crate::model::ns;
use crate::setup::Front;
use crate::world::{Step, World};

impl World {
    /// A client begins to connect after a delay.
    pub(crate) fn connect_after(&mut self, client: u32, delay: u64) {
        let place = &mut self.fleet.clients[client as usize];
        place.attempt += 1;
        let attempt = place.attempt;
        self.after(delay, Step::Connect { client, attempt });
    }

    pub(crate) fn connect(&mut self, client: u32, attempt: u32) {
        let now = self.now;
        let alive: Vec<usize> = (0..self.setup.nodes).filter(|node| self.is_alive[*node]).collect();
        let owner = self.cells[usize::from(self.fleet.clients[client as usize].cell)].node;
        let front = match self.setup.front {
            Front::Owner if self.is_alive[owner] => owner,
            Front::Other if self.is_alive[(owner + 1) % self.setup.nodes] => (owner + 1) % self.setup.nodes,
            Front::Owner | Front::Other | Front::Any => alive[self.rng.below(alive.len() as u64) as usize],
        };
        let place = &mut self.fleet.clients[client as usize];
        if place.attempt != attempt {
            return;
        }
        (place.state, place.since, place.front) = (State::Connecting, now, front as u8);
        self.after(ns(self.model.connecting), Step::ConnectArrives { client, attempt });
    }

    /// The front has CONNECT: it waits for an owner of the cell for a while.
    pub(crate) fn connect_arrives(&mut self, client: u32, attempt: u32) {
        let place = &self.fleet.clients[client as usize];
        if place.attempt != attempt {
            return;
        }
        let (cell, since, front) = (usize::from(place.cell), place.since, usize::from(place.front));
        if !self.is_alive[front] || self.now - since > HELD {
            let delay = self.reconnect_delay();
            self.leave(client, delay);
            return;
        }
        if !self.cells[cell].accepts_clients() {
            self.after(LOOK, Step::ConnectArrives { client, attempt });
            return;
        }
        let connect = Box::new(self.fleet.connect(client));
        self.send_to_cell(client, Input::Connect { client, attempt, connect });
    }

    pub(crate) fn reconnect_delay(&mut self) -> u64 {
        self.rng.between(0, ns(self.setup.reconnect * 1e6))
    }

    /// The connection of a client is gone. It connects again.
    pub(crate) fn leave(&mut self, client: u32, delay: u64) {
        let place = &mut self.fleet.clients[client as usize];
        if place.state == State::Connected {
            self.fleet.away += 1;
        }
        self.fleet.clients[client as usize].state = State::Away;
        self.connect_after(client, delay);
    }

    fn send_to_cell(&mut self, client: u32, input: Input) {
        let place = &self.fleet.clients[client as usize];
        let (cell, front) = (usize::from(place.cell), usize::from(place.front));
        let (epoch, node) = (self.cells[cell].epoch, self.cells[cell].node);
        let input = Box::new(input);
        if front == node {
            self.after(ns(self.model.hop), Step::Input { cell, epoch, input });
        } else {
            let bytes = self.setup.payload as u64 + 20;
            self.carry(front, node, Carried::ToCell { cell, epoch, input }, bytes);
        }
    }

    fn send(&mut self, client: u32, packet: ClientPacket) {
        let connection = self.fleet.clients[client as usize].connection;
        self.send_to_cell(client, Input::Packet { connection, packet });
    }

    pub(crate) fn tell_clients(&mut self, packets: Vec<(u32, u32, ToClient)>) {
        for (client, attempt, what) in packets {
            if self.fleet.clients[client as usize].attempt != attempt {
                continue;
            }
            match what {
                ToClient::Accepted(connection) => self.fleet.clients[client as usize].connection = connection,
                ToClient::Packet(packet) => self.on_packet(client, packet),
                ToClient::Closed => {
                    let delay = self.reconnect_delay();
                    self.leave(client, delay);
                }
            }
        }
    }

    fn on_packet(&mut self, client: u32, packet: ServerPacket) {
        match packet {
            ServerPacket::Connack(connack) => self.on_connack(client, connack.reason_code, connack.session_present),
            ServerPacket::Suback(suback) => self.on_suback(client, suback.packet_id.number(), &suback.reason_codes),
            ServerPacket::Publish(publish) => self.on_publish(client, &publish),
            ServerPacket::Puback(ack) | ServerPacket::Pubcomp(ack) => self.on_acknowledged(client, &ack),
            ServerPacket::Pubrec(ack) => self.on_pubrec(client, &ack),
            ServerPacket::Pubrel(ack) => {
                if let Some(ids) = self.fleet.unreleased.get_mut(&client) {
                    ids.retain(|id| *id != ack.packet_id.number());
                    if ids.is_empty() {
                        self.fleet.unreleased.remove(&client);
                    }
                }
                self.send(client, ClientPacket::Pubcomp(Ack::new(ack.packet_id, ReasonCode::Success)));
            }
            ServerPacket::Unsuback(_)
            | ServerPacket::Pingresp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => {}
        }
    }

    fn on_connack(&mut self, client: u32, reason_code: ReasonCode, session_present: bool) {
        if reason_code != ReasonCode::Success {
            self.figures.complain(format!("CONNACK with {reason_code:?}"));
            return;
        }
        let now = self.now;
        let place = &mut self.fleet.clients[client as usize];
        place.state = State::Connected;
        self.figures.connect_us.saturating_record((now - place.since) / 1_000);
        self.fleet.away -= 1;
        if place.has_session && !session_present {
            self.figures.sessions_lost += 1;
            place.is_subscribed = false;
        }
        place.has_session = true;
        if !place.is_subscribed {
            place.since = now;
            let filters = self.fleet.filters(client);
            self.subscribe(client, SUBSCRIBE_ID, filters);
        }
        self.send_again(client);
        self.note_back();
    }

    /// Sends what is not acknowledged once more.
    fn send_again(&mut self, client: u32) {
        let place = &mut self.fleet.clients[client as usize];
        let (acknowledged, received, sent) = (place.acknowledged, place.received, place.sent);
        if self.fleet.qos == Qos::AtMostOnce {
            return;
        }
        if sent > acknowledged {
            place.sent_again = sent;
        }
        for number in acknowledged..received.max(acknowledged) {
            self.send(client, ClientPacket::Pubrel(Ack::new(packet_id(number), ReasonCode::Success)));
        }
        for number in received.max(acknowledged)..sent {
            self.send_message(client, number, self.now, true);
        }
        self.publish_due(client);
    }

    fn subscribe(&mut self, client: u32, id: u16, filters: Vec<String>) {
        let Some(packet_id) = PacketId::new(id) else { return };
        let options = SubscriptionOptions::new(self.fleet.qos);
        let filter = |filter: String| Filter::new(filter.into()).ok().map(|filter| Subscription { filter, options });
        let subscriptions = filters.into_iter().filter_map(filter).collect();
        let subscribe =
            Subscribe { packet_id, subscription_id: None, user_properties: Default::default(), subscriptions };
        self.send(client, ClientPacket::Subscribe(Box::new(subscribe)));
    }

    fn on_suback(&mut self, client: u32, id: u16, reason_codes: &[ReasonCode]) {
        if reason_codes.iter().any(|code| code.number() >= 0x80) {
            self.figures.complain(format!("SUBACK with {reason_codes:?}"));
            return;
        }
        let now = self.now;
        let all_owned = self.cells.iter().all(|cell| cell.owner.is_some());
        if id == SUBSCRIBE_ID {
            let place = &mut self.fleet.clients[client as usize];
            place.is_subscribed = true;
            self.figures.subscribed += 1;
            return;
        }
        if let Some((since, was_whole)) = self.figures.subscribing.remove(&client) {
            let whole = was_whole && all_owned;
            let waits = if whole { &mut self.figures.suback_us } else { &mut self.figures.suback_in_deaths_us };
            waits.saturating_record((now - since) / 1_000);
        }
    }

    /// A client subscribes to a new filter, and soon the next one does.
    pub(crate) fn churn(&mut self) {
        if !self.is_busy {
            return;
        }
        self.after(ns(1e6 / self.setup.churn), Step::Churn);
        let client = self.rng.below(self.fleet.clients.len() as u64) as u32;
        if !self.fleet.clients[client as usize].is_connected() || self.figures.subscribing.contains_key(&client) {
            return;
        }
        self.figures.churned += 1;
        let number = self.figures.churned;
        let whole = self.cells.iter().all(|cell| cell.owner.is_some());
        self.figures.subscribing.insert(client, (self.now, whole));
        self.subscribe(client, CHURN_ID, vec![format!("x/{number}")]);
        self.after(CHURN_LASTS, Step::Unsubscribe { client, number });
    }

    pub(crate) fn unsubscribe(&mut self, client: u32, number: u64) {
        self.figures.subscribing.remove(&client);
        let (Some(packet_id), Ok(filter)) = (PacketId::new(CHURN_ID), Filter::new(format!("x/{number}").into())) else {
            return;
        };
        if self.fleet.clients[client as usize].is_connected() {
            let unsubscribe = Unsubscribe { packet_id, user_properties: Default::default(), filters: vec![filter] };
            self.send(client, ClientPacket::Unsubscribe(Box::new(unsubscribe)));
        }
    }

    /// The next publisher has a message, and soon the next one has.
    pub(crate) fn publish_next(&mut self) {
        if !self.is_busy {
            return;
        }
        self.after(ns(1e6 / self.setup.rate), Step::Publish);
        let client = self.rng.below(self.setup.publishers().into()) as u32;
        let now = self.now;
        self.fleet.clients[client as usize].due.get_or_insert_default().push_back(now);
        self.publish_due(client);
    }

    /// Sends what is due and has room in the window.
    pub(crate) fn publish_due(&mut self, client: u32) {
        let is_closed_loop = self.setup.rate == 0.0;
        // A message at QoS 0 may be lost, so on a schedule nothing waits for it.
        let has_window = is_closed_loop || self.fleet.qos > Qos::AtMostOnce;
        while self.fleet.clients[client as usize].is_connected()
            && (!has_window || self.fleet.in_flight(client) < self.setup.window)
        {
            let now = self.now;
            let place = &mut self.fleet.clients[client as usize];
            let due = match place.due.as_mut().and_then(|due| due.pop_front()) {
                Some(due) => due,
                None if is_closed_loop && self.is_busy && client < self.setup.publishers() => now,
                None => {
                    place.due = None;
                    return;
                }
            };
            let number = place.sent;
            place.sent += 1;
            if self.fleet.qos > Qos::AtMostOnce {
                place.in_flight.get_or_insert_default().push_back(due);
            }
            self.figures.published += 1;
            if let Target::Share(share) = self.fleet.target(client) {
                self.fleet.shares_sent[share as usize].add(client, number);
            }
            self.send_message(client, number, due, false);
        }
    }

    fn send_message(&mut self, client: u32, number: u32, due: u64, dup: bool) {
        let mut payload = Vec::with_capacity(self.setup.payload);
        payload.extend_from_slice(&client.to_le_bytes());
        payload.extend_from_slice(&number.to_le_bytes());
        payload.extend_from_slice(&due.to_le_bytes());
        payload.resize(self.setup.payload, b'.');
        let Ok(topic) = TopicName::new(topic_of(self.fleet.target(client)).into()) else { return };
        let qos = self.fleet.qos;
        let packet_id = (qos > Qos::AtMostOnce).then(|| packet_id(number));
        let publish = Publish { qos, packet_id, dup, ..Publish::new(topic, payload) };
        self.send(client, ClientPacket::Publish(publish));
    }

    fn on_pubrec(&mut self, client: u32, ack: &Ack) {
        let place = &mut self.fleet.clients[client as usize];
        let is_next = ack.packet_id == packet_id(place.received.max(place.acknowledged));
        if ack.reason_code.number() >= 0x80 || !is_next {
            let id = ack.packet_id.number();
            self.figures.complain(format!("PUBREC {id} with {:?}, in order: {is_next}", ack.reason_code));
            return;
        }
        place.received = place.received.max(place.acknowledged) + 1;
        self.send(client, ClientPacket::Pubrel(Ack::new(ack.packet_id, ReasonCode::Success)));
    }

    fn on_acknowledged(&mut self, client: u32, ack: &Ack) {
        let now = self.now;
        let place = &mut self.fleet.clients[client as usize];
        let is_next = ack.packet_id == packet_id(place.acknowledged);
        // After a start the broker may have forgotten a Packet Identifier that was released.
        if ack.reason_code.number() >= 0x80 && ack.reason_code != ReasonCode::PacketIdentifierNotFound || !is_next {
            let id = ack.packet_id.number();
            self.figures.complain(format!("PUBACK or PUBCOMP {id} with {:?}, in order: {is_next}", ack.reason_code));
            return;
        }
        place.acknowledged += 1;
        let due = place.in_flight.as_mut().and_then(|due| due.pop_front());
        if place.in_flight.as_ref().is_some_and(|due| due.is_empty()) {
            place.in_flight = None;
        }
        self.figures.acknowledged += 1;
        if let Some(due) = due {
            self.figures.acknowledged_us.saturating_record((now - due) / 1_000);
        }
        self.publish_due(client);
    }

    fn on_publish(&mut self, client: u32, publish: &OutgoingPublish) {
        let id = publish.packet_id.map_or(0, PacketId::number);
        let is_known = match publish.qos {
            Qos::AtMostOnce => false,
            Qos::AtLeastOnce => {
                self.acknowledge(client, ClientPacket::Puback, publish.packet_id);
                false
            }
            Qos::ExactlyOnce => {
                self.acknowledge(client, ClientPacket::Pubrec, publish.packet_id);
                let ids = self.fleet.unreleased.entry(client).or_default();
                let is_known = ids.contains(&id);
                if !is_known {
                    ids.push(id);
                }
                is_known
            }
        };
        if !is_known {
            self.on_message(client, publish);
        }
    }

    fn acknowledge(&mut self, client: u32, packet: fn(Ack) -> ClientPacket, id: Option<PacketId>) {
        if let Some(id) = id {
            self.send(client, packet(Ack::new(id, ReasonCode::Success)));
        }
    }

    /// A message arrives, with what the ledger knows of it.
    fn on_message(&mut self, client: u32, publish: &OutgoingPublish) {
        let payload = &publish.message.payload;
        let read = |from: usize, to: usize| payload.get(from..to).and_then(|bytes| bytes.try_into().ok());
        let publisher = read(0, 4).map_or(u32::MAX, u32::from_le_bytes);
        let number = read(4, 8).map_or(u32::MAX, u32::from_le_bytes);
        let due = payload.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        self.figures.delivered += 1;
        if self.is_busy {
            self.figures.latency_us.saturating_record((self.now - due.min(self.now)) / 1_000);
        }
        if let Target::Share(share) = self.fleet.target(publisher) {
            self.fleet.shares_received[share as usize].add(publisher, number);
            return;
        }
        let qos = self.fleet.qos;
        let sent_again = self.fleet.clients.get(publisher as usize).map_or(0, |publisher| publisher.sent_again);
        let is_expected_from = publisher == self.fleet.source(client);
        let place = &mut self.fleet.clients[client as usize];
        if !is_expected_from {
            self.figures.complain(format!("{client} got a message of {publisher}"));
        } else if number < place.expected {
            let may_repeat = qos == Qos::AtLeastOnce && (publish.dup || number < sent_again);
            if may_repeat {
                self.figures.repeated += 1;
            } else {
                self.figures.doubled += 1;
            }
        } else {
            let missing = u64::from(number - place.expected);
            place.expected = number + 1;
            if qos == Qos::AtMostOnce {
                self.figures.missed_at_qos0 += missing;
            } else {
                self.figures.lost += missing;
            }
            self.publish_due(publisher);
        }
    }
}

/// The identifiers of messages in flight differ, and from those of other packets.
fn packet_id(number: u32) -> PacketId {
    let id = (number % 65_000 + 1) as u16;
    PacketId::new(id).unwrap_or(const { PacketId::new(1).unwrap() })
}

const SUBSCRIBE_ID: u16 = 65_500;
const CHURN_ID: u16 = 65_400;
/// How long a front keeps a client whose cell has no owner.
const HELD: u64 = 6_000_000_000;
const LOOK: u64 = 100_000_000;
const CHURN_LASTS: u64 = 60_000_000_000;
