//! Reactions of clients to received packets.

use std::collections::BTreeSet;

use oncemq::codec::{
    Ack, AliasUse, ClientPacket, Connack, EncodedUserProperties, OutgoingPublish, PacketId, Publish, Qos, ReasonCode,
    RetainHandling, ServerPacket, Subscribe, Subscription, SubscriptionOptions, TopicAlias, Unsubscribe,
};

use crate::client::{Outgoing, RequestedSubscription, any_qos};
use crate::network::Leave;
use crate::world::{Phase, World};

impl World {
    pub(crate) fn on_received(&mut self, connection: usize, packet: ServerPacket) {
        let number = self.connections[connection].client;
        let client = &mut self.clients[number];
        if client.connection != Some(connection) {
            return;
        }
        let is_connack = matches!(packet, ServerPacket::Connack(_));
        if client.connected == is_connack {
            return self.fail(Some(number), format!("unexpected {}", packet.packet_type()));
        }
        match packet {
            // A CONNECT of an earlier connection was read later and claimed the Session.
            ServerPacket::Connack(connack) if connack.reason_code == ReasonCode::ServerUnavailable => {
                self.put_up(connection, crate::network::Chunk::End);
                self.on_client_notices(connection);
            }
            ServerPacket::Connack(connack) => self.on_connack(number, connection, &connack),
            ServerPacket::Publish(publish) => self.on_publish(number, connection, &publish),
            ServerPacket::Puback(ack) => self.on_puback(number, &ack),
            ServerPacket::Pubrec(ack) => self.on_pubrec(number, connection, &ack),
            ServerPacket::Pubrel(ack) => {
                let code = match client.received.remove(&ack.packet_id.number()) {
                    Some(_) => ReasonCode::Success,
                    None => ReasonCode::PacketIdentifierNotFound,
                };
                self.send_up(connection, &ClientPacket::Pubcomp(Ack::new(ack.packet_id, code)));
            }
            ServerPacket::Pubcomp(ack) => {
                let id = ack.packet_id.number();
                let before = client.outgoing.len();
                client.outgoing.retain(|outgoing| !(outgoing.id == id && outgoing.released));
                if client.outgoing.len() == before {
                    return self.fail(Some(number), format!("PUBCOMP {id} without PUBREL"));
                }
                self.send_waiting(number);
            }
            ServerPacket::Suback(suback) => self.on_suback(number, suback.packet_id.number(), &suback.reason_codes),
            ServerPacket::Unsuback(unsuback) => self.on_unsuback(number, unsuback.packet_id.number()),
            ServerPacket::Pingresp => {}
            ServerPacket::Disconnect(_) => {
                self.put_up(connection, crate::network::Chunk::End);
                self.on_client_notices(connection);
            }
            ServerPacket::Auth(_) => self.fail(Some(number), "unexpected AUTH".to_owned()),
        }
    }

    fn on_connack(&mut self, number: usize, connection: usize, connack: &Connack) {
        let now = self.now;
        let client = &mut self.clients[number];
        if connack.reason_code.is_error() {
            return self.fail(Some(number), format!("CONNACK {:?}", connack.reason_code));
        }
        client.connected = true;
        client.clean_requested = false;
        let properties = &connack.properties;
        client.window = properties.receive_maximum.map_or(15, |maximum| usize::from(maximum.get()).min(15));
        client.alias_maximum = properties.topic_alias_maximum;
        if let Some(seconds) = properties.server_keep_alive {
            client.keep_alive = u64::from(seconds) * 1_000;
        }
        let unanswered = std::mem::take(&mut client.unanswered) && !client.has_one_session();
        client.uncertain = connack.session_present && (client.uncertain || unanswered);
        if client.uncertain {
            client
                .subscriptions
                .iter_mut()
                .for_each(|subscription| subscription.uncertain |= subscription.requested_at < now);
            for outgoing in &client.outgoing {
                self.checker.ledger.change(outgoing.message, |message| message.uncertain = true);
            }
        }
        if connack.session_present {
            for at in 0..client.outgoing.len() {
                let outgoing = &self.clients[number].outgoing[at];
                let packet = match PacketId::new(outgoing.id) {
                    Some(id) if outgoing.released => ClientPacket::Pubrel(Ack::new(id, ReasonCode::Success)),
                    _ => self.publish_packet(number, outgoing.message, Some(outgoing.id), true),
                };
                self.send_up(connection, &packet);
            }
        } else {
            client.received.clear();
            for outgoing in client.outgoing.drain(..) {
                self.checker.ledger.change(outgoing.message, |message| message.forgotten = true);
            }
            for subscription in &mut client.subscriptions {
                if subscription.until.is_none() && subscription.requested_at < now {
                    subscription.until = Some(now);
                    if !subscription.ending {
                        subscription.ending = true;
                    }
                }
            }
            let wanted = client.profile.filters.clone();
            for filter in wanted {
                let last = client.subscriptions.iter().rfind(|subscription| subscription.filter.to_string() == filter);
                if let Some(last) = last.cloned().filter(|last| last.until.is_some()) {
                    client.request(filter, last.qos, last.no_local);
                }
            }
        }
        self.send_requests(number);
        self.subscribe_reader(number);
        self.resume_consumer(number, connack.session_present);
        self.send_waiting(number);
    }

    /// Sends requests for unanswered subscriptions and unsubscriptions.
    pub(crate) fn send_requests(&mut self, number: usize) {
        let now = self.now;
        let Some(connection) = self.clients[number].connection.filter(|_| self.clients[number].connected) else {
            return;
        };
        for at in 0..self.clients[number].subscriptions.len() {
            let client = &mut self.clients[number];
            let subscription = client.subscriptions[at].clone();
            if subscription.until.is_some() || client.requests.values().any(|other| *other == at) {
                continue;
            }
            let replaced = client.subscriptions[at + 1..].iter().any(|later| later.filter == subscription.filter);
            if replaced || (subscription.since.is_some() && !subscription.ending) {
                continue;
            }
            let id = client.free_id();
            client.requests.insert(id, at);
            let packet_id = PacketId::new(id).unwrap();
            let packet = if subscription.ending {
                let filters = vec![subscription.filter];
                ClientPacket::Unsubscribe(Box::new(Unsubscribe {
                    packet_id,
                    user_properties: EncodedUserProperties::new(),
                    filters,
                }))
            } else {
                client.subscriptions[at].requested_at = subscription.requested_at.min(now);
                let options = SubscriptionOptions {
                    qos: subscription.qos,
                    no_local: subscription.no_local,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Send,
                };
                let subscriptions = vec![Subscription { filter: subscription.filter, options }];
                let (subscription_id, user_properties) = (None, EncodedUserProperties::new());
                ClientPacket::Subscribe(Box::new(Subscribe {
                    packet_id,
                    subscription_id,
                    user_properties,
                    subscriptions,
                }))
            };
            self.send_up(connection, &packet);
        }
    }

    fn on_suback(&mut self, number: usize, id: u16, codes: &[ReasonCode]) {
        if self.on_reader_suback(number, id, codes) || self.on_consumer_answer(number, id, Some(codes)) {
            return;
        }
        let now = self.now;
        let client = &mut self.clients[number];
        let Some(at) = client.requests.remove(&id).filter(|at| !client.subscriptions[*at].ending || codes.len() == 1)
        else {
            return self.fail(Some(number), format!("unexpected SUBACK {id}"));
        };
        let subscription = client.subscriptions[at].clone();
        if codes.len() != 1 || codes[0].number() != subscription.qos.level() {
            return self.fail(Some(number), format!("SUBACK {codes:?} for QoS {:?}", subscription.qos));
        }
        client.subscriptions[at].since = Some(now);
        for before in &mut client.subscriptions[..at] {
            if before.filter == subscription.filter && before.until.is_none() {
                before.until = Some(now);
            }
        }
        self.send_requests(number);
    }

    fn on_unsuback(&mut self, number: usize, id: u16) {
        if self.on_consumer_answer(number, id, None) {
            return;
        }
        let now = self.now;
        let client = &mut self.clients[number];
        let Some(at) = client.requests.remove(&id) else {
            return self.fail(Some(number), format!("unexpected UNSUBACK {id}"));
        };
        let filter = client.subscriptions[at].filter.clone();
        for before in &mut client.subscriptions[..=at] {
            if before.filter == filter && before.until.is_none() {
                before.until = Some(now);
            }
        }
        self.send_requests(number);
    }

    fn on_publish(&mut self, number: usize, connection: usize, publish: &OutgoingPublish) {
        if self.clients[number].reader.is_some() {
            self.on_stream_message(number, publish);
            if let Some(id) = publish.packet_id {
                self.send_up(connection, &ClientPacket::Puback(Ack::new(id, ReasonCode::Success)));
            }
            return;
        }
        if self.on_consumer_message(number, connection, publish) || self.refuse(number, connection, publish) {
            return;
        }
        let Some(id) = publish.packet_id else { return self.delivered(number, publish) };
        if publish.qos == Qos::AtLeastOnce {
            self.delivered(number, publish);
            return self.send_up(connection, &ClientPacket::Puback(Ack::new(id, ReasonCode::Success)));
        }
        let payload = publish.message.payload.clone();
        match self.clients[number].received.insert(id.number(), payload) {
            None => self.delivered(number, publish),
            Some(before) if before == publish.message.payload && publish.dup => {}
            Some(_) if self.clients[number].uncertain => self.delivered(number, publish),
            Some(_) => return self.fail(Some(number), format!("identifier {id:?} arrived again before PUBREL")),
        }
        self.send_up(connection, &ClientPacket::Pubrec(Ack::new(id, ReasonCode::Success)));
    }

    fn on_puback(&mut self, number: usize, ack: &Ack) {
        let id = ack.packet_id.number();
        let client = &mut self.clients[number];
        let place = client.outgoing.iter().position(|out| out.id == id && out.qos == Qos::AtLeastOnce);
        let Some(outgoing) = place.and_then(|place| client.outgoing.remove(place)) else {
            return self.fail(Some(number), format!("PUBACK {id} without PUBLISH"));
        };
        self.acknowledged(outgoing.message, ack.reason_code);
        self.send_waiting(number);
    }

    fn on_pubrec(&mut self, number: usize, connection: usize, ack: &Ack) {
        let id = ack.packet_id.number();
        let client = &mut self.clients[number];
        let place = client.outgoing.iter_mut().find(|out| out.id == id && out.qos == Qos::ExactlyOnce);
        let Some(outgoing) = place.filter(|outgoing| !outgoing.released) else {
            return self.fail(Some(number), format!("PUBREC {id} without PUBLISH"));
        };
        outgoing.released = true;
        let message = outgoing.message;
        self.acknowledged(message, ack.reason_code);
        if ack.reason_code.is_error() {
            self.clients[number].outgoing.retain(|outgoing| outgoing.id != id);
            return self.send_waiting(number); // no PUBREL follows a refusal [MQTT-4.3.3-4]
        }
        self.send_up(connection, &ClientPacket::Pubrel(Ack::new(ack.packet_id, ReasonCode::Success)));
    }

    fn acknowledged(&mut self, message: usize, code: ReasonCode) {
        self.checker.ledger.change(message, |message| {
            (message.acknowledged, message.refused) = (!code.is_error(), code.is_error());
        });
    }

    /// Sends as many messages as the window allows.
    pub(crate) fn send_waiting(&mut self, number: usize) {
        loop {
            let client = &mut self.clients[number];
            let Some(connection) = client.connection.filter(|_| client.connected) else { return };
            let Some(&message) = client.waiting.front().filter(|_| client.outgoing.len() < client.window) else {
                return;
            };
            client.waiting.pop_front();
            let qos = self.checker.ledger.messages[message].qos;
            let id = (qos > Qos::AtMostOnce).then(|| client.free_id());
            if let Some(id) = id {
                client.outgoing.push_back(Outgoing { id, message, qos, released: false });
            }
            let now = self.now;
            self.checker.ledger.change(message, |message| message.sent_at = Some((now, connection)));
            let packet = self.publish_packet(number, message, id, false);
            self.send_up(connection, &packet);
        }
    }

    fn publish_packet(&mut self, number: usize, message: usize, id: Option<u16>, dup: bool) -> ClientPacket {
        let (topic, payload) = self.checker.ledger.published(message);
        let message = &self.checker.ledger.messages[message];
        let mut publish = Publish::new(topic, payload);
        publish.dup = dup;
        publish.qos = message.qos;
        publish.retain = message.retain && message.companion.is_none();
        publish.packet_id = id.and_then(PacketId::new);
        if message.companion.is_some() {
            return ClientPacket::Publish(publish);
        }
        let client = &mut self.clients[number];
        if client.profile.is_v5() {
            publish = publish.with_properties(message.properties());
            publish.message_expiry_interval = message.expiry;
            let next = u16::try_from(client.aliases.len() + 1).unwrap();
            if message.clears {
                // The alias replaces the topic.
            } else if let Some(alias) = client.aliases.get(&message.topic) {
                publish.topic_alias = TopicAlias::new(*alias).map(|alias| (alias, AliasUse::Known));
            } else if next <= client.alias_maximum {
                client.aliases.insert(message.topic.clone(), next);
                publish.topic_alias = TopicAlias::new(next).map(|alias| (alias, AliasUse::Set));
            }
        }
        ClientPacket::Publish(publish)
    }

    /// Subscribes or unsubscribes.
    pub(crate) fn churn(&mut self, number: usize) {
        let filter = self.rng.pick(&["t/#", "t/+", "t/0", "t/1", "t/2", "t/3"]);
        let qos = any_qos(&mut self.rng);
        let (end, no_local) = (self.rng.percent(40), self.rng.percent(20));
        let client = &mut self.clients[number];
        let same = |subscription: &RequestedSubscription| {
            subscription.filter.to_string() == filter && subscription.until.is_none()
        };
        let open: BTreeSet<usize> =
            (0..client.subscriptions.len()).filter(|at| same(&client.subscriptions[*at])).collect();
        let busy = open.iter().any(|at| client.subscriptions[*at].ending || client.subscriptions[*at].since.is_none());
        if busy {
            return;
        }
        match open.first() {
            Some(at) if end => client.subscriptions[*at].ending = true,
            _ => client.request(filter, qos, no_local),
        }
        self.send_requests(number);
    }

    /// Disconnects all clients.
    pub(crate) fn leave(&mut self) {
        for number in 0..self.clients.len() {
            let Some(connection) = self.clients[number].connection else { continue };
            let disconnect = oncemq::codec::Disconnect::new(ReasonCode::NormalDisconnection);
            self.send_up(connection, &ClientPacket::Disconnect(Box::new(disconnect)));
            self.abandon(number, Leave::Close);
        }
        debug_assert!(self.phase == Phase::Leaving);
    }
}
