//! A client that follows the standard: its Session state, its packets and its responses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use oncemq::broker::ConnectionId;
use oncemq::codec::{
    Ack, ClientPacket, Connack, Connect, Disconnect, EncodedUserProperties, MessageProperties, MessageProperty,
    OutgoingPublish, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, ServerPacket, Subscribe, Subscription,
    SubscriptionOptions, Unsubscribe, Will,
};
use oncemq::topic::{Filter, TopicName};

use crate::lab::Lab;
use crate::ledger::{Belief, Delivered, Sent};

#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    pub(crate) name: &'static str,
    /// Its user name, which the provider verifies; `None`: it is anonymous.
    pub(crate) user: Option<&'static str>,
    /// How often it was refused because the Session belongs to someone else. A client fails if it is refused for another cause.
    pub(crate) refused: u32,
    /// How many further messages it refuses.
    pub(crate) refusals: u32,
    /// Whether it withholds its acknowledgements, and the messages that it has not acknowledged.
    pub(crate) withholds: bool,
    pub(crate) withheld: Vec<OutgoingPublish>,
    pub(crate) version: ProtocolVersion,
    pub(crate) lifetime: Lifetime,
    /// Of a durable Session in 5.0, in seconds.
    pub(crate) session_expiry_interval: u32,
    pub(crate) will: Option<Will>,
    /// Its shard is this many numbers above the default one.
    pub(crate) moves: usize,
    connections: u32,
    is_online: bool,
    connected: bool,
    /// Whether the broker has paused it, and the packets it sent meanwhile.
    pub(crate) paused: bool,
    pub(crate) unread: VecDeque<ClientPacket>,
    /// CONNACK of its durable Session was received.
    has_session: bool,
    /// The number of its current Session.
    pub(crate) session: u32,
    /// Its QoS 1 and 2 messages in flight, in order.
    pub(crate) outgoing: Vec<Outgoing>,
    /// QoS 2 identifiers that wait for PUBREL.
    received: BTreeSet<u16>,
    /// What it knows about its subscriptions.
    pub(crate) subscriptions: BTreeMap<&'static str, Belief>,
    /// Unanswered SUBSCRIBE and UNSUBSCRIBE packets.
    pub(crate) requests: Vec<Request>,
}

/// The lifetime of its Session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Durable,
    Transient,
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    id: u16,
    /// Its number in the ledger.
    message: usize,
    retain: bool,
    is_sent: bool,
    /// PUBREC was received.
    released: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    id: u16,
    filter: &'static str,
    /// `None` for UNSUBSCRIBE.
    qos: Option<Qos>,
}

impl Client {
    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        let id = ConnectionId { slot: u32::try_from(self.number).unwrap(), generation: self.connections };
        self.is_online.then_some(id)
    }

    pub(crate) fn next_connection(&mut self) -> ConnectionId {
        self.connections += 1;
        self.is_online = true;
        self.connection().unwrap()
    }

    pub(crate) fn disconnected(&mut self) {
        (self.is_online, self.connected, self.paused) = (false, false, false);
        self.unread.clear();
        self.withheld.clear();
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// The lowest free identifier, so that identifiers are reused as soon as possible.
    fn free_id(&self) -> u16 {
        let is_free = |id: &u16| {
            self.outgoing.iter().all(|outgoing| outgoing.id != *id) && self.requests.iter().all(|asked| asked.id != *id)
        };
        (1..).find(is_free).unwrap()
    }

    fn on_pubrel(&mut self, id: PacketId) -> ClientPacket {
        let is_known = self.received.remove(&id.number());
        let code = if is_known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        ClientPacket::Pubcomp(Ack::new(id, code))
    }

    fn request_packet(&self, request: Request) -> ClientPacket {
        let packet_id = PacketId::new(request.id).unwrap();
        let filter = Filter::new(request.filter.into()).unwrap();
        let user_properties = EncodedUserProperties::new();
        match request.qos {
            Some(qos) => {
                let subscriptions = vec![Subscription { filter, options: SubscriptionOptions::new(qos) }];
                let subscribe = Subscribe { packet_id, subscription_id: None, user_properties, subscriptions };
                ClientPacket::Subscribe(Box::new(subscribe))
            }
            None => {
                let filters = vec![filter];
                ClientPacket::Unsubscribe(Box::new(Unsubscribe { packet_id, user_properties, filters }))
            }
        }
    }
}

impl Lab {
    pub(crate) fn client(&mut self, name: &'static str, version: ProtocolVersion, lifetime: Lifetime) -> usize {
        let number = self.clients.len();
        self.clients.push(Client {
            number,
            name,
            user: None,
            refused: 0,
            refusals: 0,
            withholds: false,
            withheld: Vec::new(),
            version,
            lifetime,
            session_expiry_interval: 1_000,
            will: None,
            moves: 0,
            connections: 0,
            is_online: false,
            connected: false,
            paused: false,
            unread: VecDeque::new(),
            has_session: false,
            session: 0,
            outgoing: Vec::new(),
            received: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            requests: Vec::new(),
        });
        number
    }

    /// A connected 5.0 client.
    pub(crate) fn connected(&mut self, name: &'static str, lifetime: Lifetime) -> usize {
        let client = self.client(name, ProtocolVersion::V5, lifetime);
        self.connect(client);
        self.run();
        client
    }

    pub(crate) fn connect(&mut self, client: usize) {
        self.connect_with(client, false);
    }

    /// Connects with the existing Session, or with Clean Start.
    pub(crate) fn connect_with(&mut self, number: usize, clean_start: bool) {
        let client = &mut self.clients[number];
        let is_durable = client.lifetime == Lifetime::Durable;
        client.has_session &= !clean_start;
        let mut connect = Connect::new(client.version, client.name, !is_durable || clean_start);
        if is_durable && client.version == ProtocolVersion::V5 {
            connect.properties.session_expiry_interval = client.session_expiry_interval;
        }
        connect.user_name = client.user.map(Into::into);
        connect.will = client.will.clone();
        self.open(number, connect);
    }

    /// Sends DISCONNECT, with another Session Expiry Interval if there is one.
    pub(crate) fn disconnect(&mut self, client: usize, session_expiry_interval: Option<u32>) {
        let mut disconnect = Disconnect::new(ReasonCode::NormalDisconnection);
        disconnect.session_expiry_interval = session_expiry_interval;
        self.clients[client].has_session &= session_expiry_interval != Some(0);
        self.send(client, ClientPacket::Disconnect(Box::new(disconnect)));
    }

    pub(crate) fn subscribe(&mut self, client: usize, filter: &'static str, qos: Qos) {
        self.ask(client, filter, Some(qos));
    }

    pub(crate) fn unsubscribe(&mut self, client: usize, filter: &'static str) {
        self.ask(client, filter, None);
    }

    fn ask(&mut self, number: usize, filter: &'static str, qos: Option<Qos>) {
        let client = &mut self.clients[number];
        let request = Request { id: client.free_id(), filter, qos };
        client.requests.push(request);
        client.subscriptions.insert(filter, Belief::Open);
        let packet = client.request_packet(request);
        if client.connected {
            self.send(number, packet);
        }
    }

    pub(crate) fn publish(&mut self, client: usize, topic: &'static str, payload: &str, qos: Qos) {
        self.publish_as(client, topic, payload, (qos, false));
    }

    pub(crate) fn retain(&mut self, client: usize, topic: &'static str, payload: &str, qos: Qos) {
        self.publish_as(client, topic, payload, (qos, true));
    }

    /// Publishes a batch: topic, payload and QoS of each message, and whether it is retained.
    pub(crate) fn publish_batch(&mut self, number: usize, messages: &[(&'static str, &str, Qos, bool)], qos: Qos) {
        let mut json = Vec::new();
        let first = self.ledger.messages.len();
        for (topic, payload, own, retain) in messages {
            let own_qos = own.level();
            json.push(format!(r#"{{"topic":"{topic}","payload":"{payload}","qos":{own_qos},"retain":{retain}}}"#));
            // A batch at QoS 1 may be published again, whatever the QoS of its messages is.
            self.note_sent(number, topic, payload, qos.min(*own));
        }
        self.publish_as(number, "$batch", &format!("[{}]", json.join(",")), (qos, false));
        let batch = first + messages.len();
        self.ledger.messages[batch].members = (first..batch).collect();
    }

    /// Notes a message in the ledger, with those who are subscribed to its topic. Returns its number.
    fn note_sent(&mut self, number: usize, topic: &str, payload: &str, qos: Qos) -> usize {
        let delayed = topic.strip_prefix("$delayed/").and_then(|rest| rest.split_once('/'));
        let target = delayed.map_or(topic, |(_, target)| target);
        let belief = |client: &Client| client.subscriptions.get(target).copied().unwrap_or(Belief::Gone);
        let receivers = self.clients.iter().map(|client| (client.number, belief(client))).collect();
        let (topic, payload) = (topic.to_owned(), payload.to_owned());
        let (acknowledged, members) = (false, Vec::new());
        self.ledger.messages.push(Sent { publisher: number, topic, payload, qos, acknowledged, receivers, members });
        self.ledger.messages.len() - 1
    }

    fn publish_as(&mut self, number: usize, topic: &'static str, payload: &str, (qos, retain): (Qos, bool)) {
        let message = self.note_sent(number, topic, payload, qos);
        if qos > Qos::AtMostOnce {
            let client = &mut self.clients[number];
            let id = client.free_id();
            client.outgoing.push(Outgoing { id, message, retain, is_sent: false, released: false });
            self.send_outgoing(number, |outgoing| !outgoing.is_sent);
        } else {
            let packet = self.publish_packet(message, None, retain, false);
            self.send(number, packet);
        }
    }

    /// Sends the selected messages if it is connected; with DUP, if they were sent before.
    fn send_outgoing(&mut self, number: usize, which: fn(&Outgoing) -> bool) {
        if !self.clients[number].connected {
            return;
        }
        for at in 0..self.clients[number].outgoing.len() {
            let outgoing = &mut self.clients[number].outgoing[at];
            if !which(outgoing) {
                continue;
            }
            let Outgoing { id, message, retain, released, .. } = *outgoing;
            let dup = std::mem::replace(&mut outgoing.is_sent, true);
            let packet = if released {
                ClientPacket::Pubrel(Ack::new(PacketId::new(id).unwrap(), ReasonCode::Success))
            } else {
                self.publish_packet(message, PacketId::new(id), retain, dup)
            };
            self.send(number, packet);
        }
    }

    fn publish_packet(&self, message: usize, packet_id: Option<PacketId>, retain: bool, dup: bool) -> ClientPacket {
        let Sent { topic, payload, qos, .. } = &self.ledger.messages[message];
        let topic = TopicName::new(topic.as_str().into()).unwrap();
        let mut publish = Publish::new(topic, payload.clone());
        if payload.starts_with("receipt: ") {
            let receipt = MessageProperty::UserProperty("receipt-to".into(), "receipts".into());
            publish = publish.with_properties(MessageProperties::from_properties([receipt]));
        }
        ClientPacket::Publish(Publish { qos: *qos, retain, dup, packet_id, ..publish })
    }

    /// Handles a received packet.
    pub(crate) fn receive(&mut self, number: usize, packet: ServerPacket) {
        match packet {
            ServerPacket::Connack(connack) => self.on_connack(number, &connack),
            ServerPacket::Publish(publish) => self.on_publish(number, &publish),
            ServerPacket::Puback(ack) => {
                let message = self.done(number, ack.packet_id, "PUBACK");
                self.acknowledged(message, ack.reason_code);
            }
            ServerPacket::Pubrec(ack) => self.on_pubrec(number, &ack),
            ServerPacket::Pubrel(ack) => {
                let pubcomp = self.clients[number].on_pubrel(ack.packet_id);
                self.send(number, pubcomp);
            }
            ServerPacket::Pubcomp(ack) => _ = self.done(number, ack.packet_id, "PUBCOMP"),
            ServerPacket::Suback(suback) => self.on_answered(number, suback.packet_id),
            ServerPacket::Unsuback(unsuback) => self.on_answered(number, unsuback.packet_id),
            ServerPacket::Disconnect(_) => self.clients[number].disconnected(),
            ServerPacket::Pingresp | ServerPacket::Auth(_) => self.fail("unexpected packet"),
        }
    }

    fn on_connack(&mut self, number: usize, connack: &Connack) {
        if connack.reason_code == ReasonCode::ClientIdentifierNotValid {
            self.clients[number].refused += 1;
            return self.clients[number].disconnected();
        }
        if connack.reason_code.is_error() {
            self.fail("CONNACK says no");
        }
        let client = &mut self.clients[number];
        client.connected = true;
        let expected = std::mem::replace(&mut client.has_session, client.lifetime == Lifetime::Durable);
        if expected && !connack.session_present {
            let text = format!("the Session of {} is missing, although CONNACK had confirmed it", client.name);
            self.fail(&text);
        }
        if !connack.session_present {
            client.session += 1;
            client.received.clear();
            // The application doesn't know the result of sent messages, and publishes unsent ones.
            client.outgoing.retain(|outgoing| !outgoing.is_sent);
            let lost: Vec<_> = client.subscriptions.iter().map(|(filter, belief)| (*filter, *belief)).collect();
            for (filter, belief) in lost {
                if let Belief::There(qos) = belief {
                    self.ask_later(number, filter, qos);
                }
            }
        }
        self.send_outgoing(number, |_| true);
        for request in self.clients[number].requests.clone() {
            let packet = self.clients[number].request_packet(request);
            self.send(number, packet);
        }
    }

    fn ask_later(&mut self, number: usize, filter: &'static str, qos: Qos) {
        let client = &mut self.clients[number];
        client.requests.push(Request { id: client.free_id(), filter, qos: Some(qos) });
        client.subscriptions.insert(filter, Belief::Open);
    }

    /// The client handles and acknowledges what it has withheld, and what comes.
    pub(crate) fn release(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.withholds = false;
        for publish in std::mem::take(&mut client.withheld) {
            self.on_publish(number, &publish);
        }
    }

    fn on_publish(&mut self, number: usize, publish: &OutgoingPublish) {
        self.check_withheld(number, publish);
        let client = &mut self.clients[number];
        if let Some(id) = publish.packet_id.filter(|_| client.refusals > 0) {
            client.refusals -= 1;
            let ack = Ack::new(id, ReasonCode::UnspecifiedError);
            let is_once = publish.qos == Qos::ExactlyOnce;
            return self.send(number, if is_once { ClientPacket::Pubrec(ack) } else { ClientPacket::Puback(ack) });
        }
        if client.withholds && publish.packet_id.is_some() {
            return client.withheld.push(publish.clone());
        }
        let is_new = match (publish.qos, publish.packet_id) {
            (Qos::ExactlyOnce, Some(id)) => client.received.insert(id.number()),
            _ => true,
        };
        let session = client.session;
        if is_new {
            let payload = String::from_utf8(publish.message.payload.to_vec()).unwrap();
            let (dup, retain) = (publish.dup, publish.retain);
            let sequence = publish.message.properties.iter().find_map(|property| {
                let MessageProperty::UserProperty(name, value) = property else { return None };
                (*name == *"stream-sequence").then(|| value.parse().unwrap())
            });
            self.ledger.deliveries.push(Delivered { client: number, session, payload, dup, retain, sequence });
        }
        let Some(id) = publish.packet_id else { return };
        let ack = Ack::new(id, ReasonCode::Success);
        let is_once = publish.qos == Qos::ExactlyOnce;
        self.send(number, if is_once { ClientPacket::Pubrec(ack) } else { ClientPacket::Puback(ack) });
    }

    fn on_pubrec(&mut self, number: usize, ack: &Ack) {
        let id = ack.packet_id.number();
        let place = self.clients[number].outgoing.iter().position(|outgoing| outgoing.id == id);
        let Some(place) = place else { self.fail("unexpected PUBREC") };
        let outgoing = &mut self.clients[number].outgoing[place];
        outgoing.released = true;
        let message = outgoing.message;
        self.acknowledged(message, ack.reason_code);
        self.send(number, ClientPacket::Pubrel(Ack::new(ack.packet_id, ReasonCode::Success)));
    }

    fn done(&mut self, number: usize, id: PacketId, packet: &str) -> usize {
        let outgoing = &mut self.clients[number].outgoing;
        match outgoing.iter().position(|outgoing| outgoing.id == id.number()) {
            Some(place) => outgoing.remove(place).message,
            None => self.fail(&format!("unexpected {packet}")),
        }
    }

    fn acknowledged(&mut self, message: usize, code: ReasonCode) {
        if code.is_error() {
            self.fail("a message was refused");
        }
        self.ledger.messages[message].acknowledged = true;
        for member in self.ledger.messages[message].members.clone() {
            self.ledger.messages[member].acknowledged = true;
        }
    }

    fn on_answered(&mut self, number: usize, id: PacketId) {
        let client = &mut self.clients[number];
        let Some(place) = client.requests.iter().position(|request| request.id == id.number()) else {
            self.fail("unexpected SUBACK or UNSUBACK");
        };
        let Request { filter, qos, .. } = client.requests.remove(place);
        client.subscriptions.insert(filter, qos.map_or(Belief::Gone, Belief::There));
    }
}
