use bytes::{Bytes, BytesMut};
use oncemq::broker::{ConnectionId, Event, Peer};
use oncemq::codec::client::encode_client;
use oncemq::codec::{ClientPacket, ServerPacket};

use crate::connection::{Connection, PACKET_SIZE_MAX, Transport};
use crate::world::{Phase, Step, World};

/// What a channel transports.
#[derive(Debug)]
pub(crate) enum Chunk {
    Bytes(Bytes),
    End,
}

/// How a client ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Sent packets still arrive, followed by the end.
    Close,
    /// The network breaks: data in transit is lost from some time on, and the broker notices later.
    Break,
}

impl World {
    /// A client opens a connection to a shard.
    pub(crate) fn open(&mut self, client: usize, shard: usize) -> usize {
        let slots = &mut self.shards[shard].slots;
        let slot = slots.iter().position(|(_, in_use)| !in_use).unwrap_or_else(|| {
            slots.push((0, false));
            slots.len() - 1
        });
        let (generation, in_use) = &mut slots[slot];
        *generation += 1;
        *in_use = true;
        let id = ConnectionId { slot: u32::try_from(slot).unwrap(), generation: *generation };
        let version = self.clients[client].profile.version;
        self.connections.push(Connection::new(client, shard, id, version));
        let number = self.connections.len() - 1;
        let delay = self.delay(self.mix.network_delay);
        let at = self.connections[number].up.arrival(self.now, delay);
        let at = self.clients[client].in_turn(at);
        self.connections[number].up.busy_until = at;
        self.schedule_at(at, Step::Accepted(number));
        self.trace.note(self.now, Some(client), || format!("opens connection {number} to shard {shard}"));
        number
    }

    pub(crate) fn on_accepted(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if connection.broker.state == Transport::Closed {
            return;
        }
        if self.restarting.is_some() {
            return self.refuse_connection(number);
        }
        connection.broker.state = Transport::Open;
        let peer = Peer {
            address: None,
            is_local: true,
            listener: "simulation".into(),
            certificate_identity: None,
            client_ids: Default::default(),
            maximum_packet_size: PACKET_SIZE_MAX,
            link: None,
        };
        let (shard, event) = (connection.shard, Event::Opened { connection: connection.id, peer: Box::new(peer) });
        self.handle(shard, event);
    }

    /// Sends a packet from a client, in fragments.
    pub(crate) fn send_up(&mut self, number: usize, packet: &ClientPacket) {
        let connection = &self.connections[number];
        let (client, version) = (connection.client, connection.version);
        self.trace.note(self.now, Some(client), || format!("→ {number}: {}", client_packet(packet)));
        self.clients[client].last_sent = self.now;
        let mut bytes = BytesMut::new();
        encode_client(&self.named_by(client, packet), version, &mut bytes);
        let mut bytes = bytes.freeze();
        while bytes.len() > 1 && self.rng.percent(15) {
            let length = self.rng.index(bytes.len() - 1) + 1;
            let piece = bytes.split_to(length);
            self.put_up(number, Chunk::Bytes(piece));
        }
        self.put_up(number, Chunk::Bytes(bytes));
        if matches!(packet, ClientPacket::Connect(_)) {
            let read_at = self.connections[number].up.busy_until;
            self.clients[client].in_turn(read_at);
        }
    }

    pub(crate) fn put_up(&mut self, number: usize, chunk: Chunk) {
        let delay = self.delay(self.mix.network_delay);
        let at = self.connections[number].up.arrival(self.now, delay);
        self.schedule_at(at, Step::Up(number, chunk));
    }

    pub(crate) fn put_down(&mut self, number: usize, chunk: Chunk) {
        let delay = self.delay(self.mix.network_delay);
        let at = self.connections[number].down.arrival(self.now, delay);
        self.schedule_at(at, Step::Down(number, chunk));
    }

    pub(crate) fn on_up(&mut self, number: usize, chunk: Chunk) {
        let now = self.now;
        let connection = &mut self.connections[number];
        if connection.up.is_cut(now) || !connection.is_open() {
            return;
        }
        match chunk {
            Chunk::Bytes(bytes) => connection.broker.input.extend_from_slice(&bytes),
            Chunk::End => connection.broker.input_ended = true,
        }
        self.pump(number);
    }

    /// Decodes received bytes while the broker reads.
    pub(crate) fn pump(&mut self, number: usize) {
        loop {
            let connection = &mut self.connections[number];
            if !connection.is_open() || connection.broker.paused || self.failure.is_some() {
                return;
            }
            let mut bytes = connection.broker.input.split().freeze();
            let decoded = connection.broker.decoder.decode(&mut bytes);
            connection.broker.input = BytesMut::from(&bytes[..]);
            let (client, shard, id) = (connection.client, connection.shard, connection.id);
            match decoded {
                Ok(Some(packet)) => {
                    self.trace.note(self.now, Some(client), || format!("    broker reads {}", client_packet(&packet)));
                    self.on_read(number, &packet);
                    self.handle(shard, Event::Packet { connection: id, packet });
                }
                Ok(None) if connection.broker.input_ended => return self.close_transport(number, "end of stream"),
                Ok(None) => return,
                Err(error) => return self.fail(Some(client), format!("the client's bytes can't be decoded: {error}")),
            }
        }
    }

    pub(crate) fn on_broker_notices(&mut self, number: usize) {
        if self.connections[number].broker.state == Transport::Coming {
            return self.schedule(50, Step::BrokerNotices(number));
        }
        self.close_transport(number, "connection reset");
    }

    fn close_transport(&mut self, number: usize, cause: &'static str) {
        // The driver looks at the store while it still has the connection.
        self.notice_room(self.connections[number].shard);
        let connection = &self.connections[number];
        if !connection.is_open() {
            return;
        }
        let (shard, id, client) = (connection.shard, connection.id, connection.client);
        self.trace.note(self.now, Some(client), || format!("    broker sees the end of {number}: {cause}"));
        self.on_transport_end(number);
        self.handle(shard, Event::Closed { connection: id, cause: cause.into() });
    }

    /// The broker's end of a connection is closed, and its slot is free.
    pub(crate) fn on_transport_end(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.broker.state = Transport::Closed;
        let slot = usize::try_from(connection.id.slot).unwrap();
        self.shards[connection.shard].slots[slot].1 = false;
        self.checker.presence.ended(number, self.now);
    }

    /// Writes as much as the transport accepts.
    pub(crate) fn on_flush(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.broker.flushing = false;
        if !connection.is_open() {
            return;
        }
        let waiting = connection.broker.output.len();
        let slow = self.clients[connection.client].profile.slow && self.phase == Phase::Busy;
        let taken = if slow { self.rng.index(waiting.min(300)) + 1 } else { waiting };
        let connection = &mut self.connections[number];
        let bytes = connection.broker.output.split_to(taken.min(waiting)).freeze();
        let remaining = connection.broker.output.len();
        let (shard, id) = (connection.shard, connection.id);
        if !bytes.is_empty() {
            self.put_down(number, Chunk::Bytes(bytes));
        }
        if remaining > 0 {
            self.flush_soon(number);
        }
        self.handle(shard, Event::Flushed { connection: id, remaining });
    }

    pub(crate) fn flush_soon(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if std::mem::replace(&mut connection.broker.flushing, true) {
            return;
        }
        let slow = self.clients[connection.client].profile.slow;
        let delay = self.delay(if slow { 400 } else { 5 });
        self.schedule(delay, Step::Flush(number));
    }

    /// Performs [`Action::Close`](oncemq::broker::Action::Close): unsent output is sent, completely or partly.
    pub(crate) fn close(&mut self, number: usize) {
        self.on_transport_end(number);
        let mut rest = self.connections[number].broker.output.split().freeze();
        if self.phase == Phase::Busy && self.rng.percent(20) {
            let kept = self.rng.index(rest.len() + 1);
            rest.truncate(kept);
        }
        if !rest.is_empty() {
            self.put_down(number, Chunk::Bytes(rest));
        }
        self.put_down(number, Chunk::End);
    }

    pub(crate) fn on_down(&mut self, number: usize, chunk: Chunk) {
        let now = self.now;
        let connection = &mut self.connections[number];
        if connection.down.is_cut(now) || !connection.client_side.open {
            return;
        }
        let client = connection.client;
        match chunk {
            Chunk::Bytes(bytes) => connection.client_side.input.extend_from_slice(&bytes),
            Chunk::End => return self.on_client_notices(number),
        }
        loop {
            let side = &mut self.connections[number].client_side;
            if !side.open {
                return;
            }
            let mut bytes = side.input.split().freeze();
            let decoded = side.decoder.decode(&mut bytes);
            side.input = BytesMut::from(&bytes[..]);
            match decoded {
                Ok(Some(packet)) => {
                    self.trace.note(now, Some(client), || format!("← {number}: {}", server_packet(&packet)));
                    let packet = self.with_full_topics(client, packet);
                    self.on_received(number, packet);
                }
                Ok(None) => return,
                Err(error) => return self.fail(Some(client), format!("the broker's bytes can't be decoded: {error}")),
            }
        }
    }

    /// The client's end is closed.
    pub(crate) fn on_client_notices(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        connection.client_side.open = false;
        let client = connection.client;
        if self.clients[client].connection == Some(number) {
            self.trace.note(self.now, Some(client), || format!("has lost {number}"));
            self.clients[client].disconnected();
        }
    }

    /// The client ends its connection.
    pub(crate) fn abandon(&mut self, client: usize, leave: Leave) {
        let Some(number) = self.clients[client].connection else { return };
        self.trace.note(self.now, Some(client), || format!("leaves {number}: {leave:?}"));
        match leave {
            Leave::Close => self.put_up(number, Chunk::End),
            Leave::Break => {
                let (up, down) = (self.rng.between(0, 30), self.rng.between(0, 30));
                let now = self.now;
                let connection = &mut self.connections[number];
                connection.up.cut(now + up);
                connection.down.cut(now + down);
                let noticed = if self.rng.percent(30) { self.rng.between(0, 6_000) } else { self.rng.between(0, 60) };
                self.schedule(noticed, Step::BrokerNotices(number));
            }
        }
        if leave == Leave::Close || self.rng.percent(50) {
            self.connections[number].client_side.open = false;
            self.clients[client].disconnected();
        } else {
            let noticed = self.rng.between(0, 300);
            self.schedule(noticed, Step::ClientNotices(number));
        }
    }
}

fn client_packet(packet: &ClientPacket) -> String {
    match packet {
        ClientPacket::Publish(publish) => format!(
            "PUBLISH {:?} qos {} dup {} retain {} {:?} {:?}",
            publish.packet_id.map(|id| id.number()),
            publish.qos.level(),
            u8::from(publish.dup),
            u8::from(publish.retain),
            publish.message.topic.as_str(),
            String::from_utf8_lossy(&publish.message.payload[..publish.message.payload.len().min(20)]),
        ),
        ClientPacket::Connect(connect) => format!(
            "CONNECT {} clean {} expiry {} will {:?}",
            connect.client_id, connect.clean_start, connect.properties.session_expiry_interval, connect.will
        ),
        ClientPacket::Puback(ack)
        | ClientPacket::Pubrec(ack)
        | ClientPacket::Pubrel(ack)
        | ClientPacket::Pubcomp(ack) => {
            format!("{} {} {:?}", packet.packet_type(), ack.packet_id.number(), ack.reason_code)
        }
        ClientPacket::Subscribe(_)
        | ClientPacket::Unsubscribe(_)
        | ClientPacket::Pingreq
        | ClientPacket::Disconnect(_)
        | ClientPacket::Auth(_) => format!("{packet:?}"),
    }
}

pub(crate) fn server_packet(packet: &ServerPacket) -> String {
    match packet {
        ServerPacket::Publish(publish) => format!(
            "PUBLISH {:?} qos {} dup {} retain {} {} {:?}",
            publish.packet_id.map(|id| id.number()),
            publish.qos.level(),
            u8::from(publish.dup),
            u8::from(publish.retain),
            publish.message.topic,
            String::from_utf8_lossy(&publish.message.payload[..publish.message.payload.len().min(20)]),
        ),
        ServerPacket::Connack(connack) => {
            format!("CONNACK present {} {:?}", connack.session_present, connack.reason_code)
        }
        ServerPacket::Puback(ack)
        | ServerPacket::Pubrec(ack)
        | ServerPacket::Pubrel(ack)
        | ServerPacket::Pubcomp(ack) => {
            format!("{} {} {:?}", packet.packet_type(), ack.packet_id.number(), ack.reason_code)
        }
        ServerPacket::Suback(_)
        | ServerPacket::Unsuback(_)
        | ServerPacket::Pingresp
        | ServerPacket::Disconnect(_)
        | ServerPacket::Auth(_) => format!("{packet:?}"),
    }
}
