//! Decisions of clients.

use std::num::{NonZeroU16, NonZeroU32};

use oncemq::codec::{ClientPacket, Connect, Disconnect, MessageProperties, ProtocolVersion, Qos, ReasonCode, Will};
use oncemq::topic::TopicName;

use crate::client::any_qos;
use crate::ledger::Message;
use crate::network::Leave;
use crate::presence::Attempt;
use crate::profile::Lifetime;
use crate::world::{Phase, Step, World};

impl World {
    pub(crate) fn decide(&mut self, number: usize) {
        let pace = match self.phase {
            Phase::Busy => self.clients[number].profile.pace,
            Phase::Settling => 200,
            Phase::Leaving => return,
        };
        let next = self.rng.between(1, pace);
        self.schedule(next, Step::Decide(number));
        match self.clients[number].connection {
            None if self.phase == Phase::Settling || number == 0 || self.rng.percent(40) => self.connect(number),
            None => {}
            Some(_) if self.phase == Phase::Busy && self.rng.percent(self.clients[number].profile.losses) => {
                self.lose(number);
            }
            Some(connection) if self.clients[number].connected => self.use_connection(number, connection),
            Some(_) => {}
        }
    }

    fn use_connection(&mut self, number: usize, connection: usize) {
        let client = &self.clients[number];
        if client.keep_alive > 0 && self.now - client.last_sent > client.keep_alive / 3 {
            self.send_up(connection, &ClientPacket::Pingreq);
        }
        self.decide_consumer(number);
        let profile = &self.clients[number].profile;
        let (publishes, churn, floods) = (profile.publishes, profile.churn, profile.floods);
        if self.phase == Phase::Settling {
            let published = self.clients.iter().all(|client| client.outgoing.is_empty() && client.waiting.is_empty());
            if number == 0 && self.mix.retained && published && self.now > self.settling_since + 6_000 {
                self.audit_retained();
            }
            return;
        }
        if floods && self.rng.percent(10) {
            self.flood(number, connection);
        }
        if publishes && self.rng.percent(60) {
            for _ in 0..self.rng.between(1, 3) {
                self.publish(number);
            }
        }
        if self.clients[number].reader.is_some() && self.rng.percent(3) {
            self.subscribe_reader(number);
        }
        if churn && self.rng.percent(20) {
            self.churn(number);
        }
    }

    /// Subscribes to all retained messages at the end.
    fn audit_retained(&mut self) {
        let watcher = &mut self.clients[0];
        if watcher.subscriptions.iter().all(|subscription| subscription.filter.to_string() != "r/#") {
            watcher.request("r/#", Qos::ExactlyOnce, false);
            self.send_requests(0);
        }
    }

    fn publish(&mut self, number: usize) {
        let place = self.rng.below(4);
        let kind = match self.rng.below(10) {
            _ if self.clients[number].profile.mount.is_some() => {
                self.clients[number].profile.mount.unwrap().chars().next().unwrap()
            }
            0..=2 if self.mix.shares => 's',
            3..=4 if self.mix.retained => 'r',
            _ => 't',
        };
        let topic = TopicName::try_from(format!("{kind}/{place}").as_str()).unwrap();
        let mut qos = any_qos(&mut self.rng);
        let retain = kind == 'r' && self.rng.percent(60);
        let clears = retain && self.rng.percent(20) && !self.mix.streams;
        if clears {
            qos = self.rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce]);
        }
        let v5 = self.clients[number].profile.is_v5();
        let expiry = (self.mix.expiry && v5 && !retain && self.rng.percent(40)).then_some(1);
        let size = if self.rng.percent(10) { 200 } else { 8 };
        let message = Message::new(number, self.checker.ledger.messages.len(), topic, qos);
        self.clients[number].waiting.push_back(self.checker.ledger.messages.len());
        let (key, asks_receipt) = if clears { (None, false) } else { self.any_properties(v5) };
        let message = Message { retain, clears, expiry, size, key, asks_receipt, ..message };
        self.checker.ledger.messages.push(message);
        let is_mounted = self.clients[number].profile.mount.is_some();
        if qos > Qos::AtMostOnce && !clears && !is_mounted && self.rng.percent(15) {
            self.add_companion(number, qos);
        }
        self.send_waiting(number);
    }

    /// Puts another message into a batch with the last one.
    fn add_companion(&mut self, number: usize, qos: Qos) {
        let kind = match self.rng.below(3) {
            0 if self.mix.retained => 'r',
            1 if self.mix.shares => 's',
            _ => 't',
        };
        let topic = TopicName::try_from(format!("{kind}/{}", self.rng.below(4)).as_str()).unwrap();
        let retain = kind == 'r' && self.rng.percent(60);
        let (key, asks_receipt) = self.any_properties(self.clients[number].profile.is_v5());
        let messages = &mut self.checker.ledger.messages;
        let companion = messages.len();
        messages[companion - 1].companion = Some(companion);
        let message = Message::new(number, companion, topic, qos);
        messages.push(Message { retain, size: 8, key, asks_receipt, ..message });
    }

    /// The key of a message, and whether it asks for a receipt.
    fn any_properties(&mut self, has_properties: bool) -> (Option<u64>, bool) {
        let key = (self.mix.groups && has_properties && self.rng.percent(80)).then(|| self.rng.below(3));
        (key, self.mix.receipts && has_properties && self.rng.percent(50))
    }

    /// Ends the connection in one of several ways.
    fn lose(&mut self, number: usize) {
        let Some(connection) = self.clients[number].connection else { return };
        match self.rng.below(10) {
            0..=5 => self.abandon(number, Leave::Break),
            6..=7 => self.abandon(number, Leave::Close),
            _ if !self.clients[number].connected => self.abandon(number, Leave::Close),
            _ => {
                let mut disconnect = Disconnect::new(ReasonCode::NormalDisconnection);
                let profile = &self.clients[number].profile;
                if profile.is_v5() {
                    let keeps = profile.lifetime == Lifetime::WholeRun;
                    if self.rng.percent(30) {
                        disconnect.reason_code = ReasonCode::DisconnectWithWillMessage;
                    }
                    if !keeps && self.checker.presence.attempts[connection].expiry > 0 && self.rng.percent(30) {
                        disconnect.session_expiry_interval = Some(self.rng.pick(&[0, 1]));
                    }
                }
                self.send_up(connection, &ClientPacket::Disconnect(Box::new(disconnect)));
                self.abandon(number, Leave::Close);
            }
        }
        if self.rng.percent(50) {
            // The client doesn't wait for the end of the old connection.
            self.connections[connection].client_side.open = false;
            self.clients[number].disconnected();
            self.connect(number);
        }
    }

    fn connect(&mut self, number: usize) {
        let shard = self.rng.index(self.shards.len());
        let connection = self.open(number, shard);
        let profile = self.clients[number].profile.clone();
        let (clean, expiry) = self.lifetime(profile.lifetime, profile.version);
        let client = &mut self.clients[number];
        let clean = clean || client.clean_requested;
        let expiry = match profile.version {
            ProtocolVersion::V5 => expiry,
            ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 if clean => 0,
            ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 => u32::MAX,
        };
        if clean {
            client.clean_requested = true;
            client.received.clear();
            for outgoing in client.outgoing.drain(..) {
                self.checker.ledger.change(outgoing.message, |message| message.forgotten = true);
            }
        }
        client.connection = Some(connection);
        client.connected = false;
        client.keep_alive = u64::from(profile.keep_alive) * 1_000;
        let mut packet = Connect::new(profile.version, format!("c{number}"), clean);
        packet.keep_alive = profile.keep_alive;
        if profile.is_v5() {
            packet.properties.session_expiry_interval = expiry;
            packet.properties.receive_maximum = NonZeroU16::new(profile.receive_maximum).unwrap();
            packet.properties.maximum_packet_size = profile.maximum_packet_size.and_then(NonZeroU32::new);
            packet.properties.topic_alias_maximum = profile.topic_alias_maximum;
        }
        if profile.wills && self.rng.percent(70) {
            packet.will = Some(Will {
                topic: TopicName::try_from(format!("w/{number}").as_str()).unwrap(),
                payload: format!("w{connection}").into(),
                qos: self.rng.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce]),
                retain: false,
                will_delay_interval: if profile.is_v5() { self.rng.pick(&[0, 0, 1, 3]) } else { 0 },
                message_expiry_interval: None,
                properties: MessageProperties::default(),
            });
        }
        let will = packet.will.as_ref().map(|will| will.will_delay_interval);
        self.checker.on_connect(connection, Attempt::new(number, clean, expiry, will));
        self.send_up(connection, &ClientPacket::Connect(Box::new(packet)));
    }

    /// Clean Start and Session Expiry Interval of the next CONNECT.
    fn lifetime(&mut self, lifetime: Lifetime, version: ProtocolVersion) -> (bool, u32) {
        let trouble = self.phase == Phase::Busy;
        match lifetime {
            Lifetime::WholeRun => (false, self.rng.pick(&[u32::MAX, 1_000])),
            Lifetime::Transient => (version != ProtocolVersion::V5 || self.rng.percent(50), 0),
            Lifetime::Expiring(seconds) => (trouble && self.rng.percent(20), seconds),
            Lifetime::Random => (trouble && self.rng.percent(30), self.rng.pick(&[0, 1, 3, u32::MAX])),
        }
    }
}
