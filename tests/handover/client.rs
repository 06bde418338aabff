//! A client with a durable Session that follows the standard through every end of its connection. It reconnects at once.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::select;
use tokio::time::{MissedTickBehavior, interval, sleep};
use wire::{
    CONNACK, Connect, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet, Publish, SUBACK,
    Version, acknowledge,
};

use crate::world::World;

/// Both sides of its Session.
pub(crate) struct Client {
    world: Rc<World>,
    number: usize,
    version: Version,
    /// Its messages in flight, in the order they were sent.
    outgoing: VecDeque<Outgoing>,
    last_id: u16,
    /// QoS 2 messages without PUBREL.
    received: BTreeMap<u16, usize>,
    is_subscribed: bool,
    has_session: bool,
}

struct Outgoing {
    id: u16,
    message: usize,
    qos: u8,
    is_released: bool,
}

impl Client {
    /// Even numbers use 5.0, odd ones 3.1.1.
    pub(crate) fn new(world: Rc<World>, number: usize) -> Self {
        let version = if number.is_multiple_of(2) { Version::V5 } else { Version::V311 };
        let (outgoing, received) = (VecDeque::new(), BTreeMap::new());
        Self { world, number, version, outgoing, last_id: 0, received, is_subscribed: false, has_session: false }
    }

    /// Connects again and again.
    pub(crate) async fn run(mut self) {
        loop {
            match TcpStream::connect(self.world.address).await {
                Ok(stream) => {
                    // The end of a connection is what this is about.
                    let _ = self.converse(stream).await;
                    self.world.left(self.number);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.world.add_refused();
                    sleep(Duration::from_millis(5)).await;
                }
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Until the end of the connection.
    async fn converse(&mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.write_all(&self.connect()).await?;
        let publishes = self.world.publishes(self.number);
        let mut ticks = interval(self.world.pause());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut bytes, mut buffer, mut is_connected) = (Vec::new(), [0; 2048], false);
        loop {
            let mut output = Vec::new();
            select! {
                read = stream.read(&mut buffer) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    bytes.extend_from_slice(&buffer[..read]);
                    while let Some(packet) = Packet::take(&mut bytes) {
                        is_connected |= packet.kind() == CONNACK;
                        self.take(&packet, &mut output);
                    }
                }
                _ = ticks.tick(), if publishes && is_connected && self.is_subscribed => self.publish(&mut output),
            }
            stream.write_all(&output).await?;
        }
    }

    fn connect(&self) -> Vec<u8> {
        Connect { keep_alive: 0, ..Connect::durable(self.version, &format!("client-{}", self.number)) }.bytes()
    }

    fn publish(&mut self, output: &mut Vec<u8>) {
        if self.outgoing.len() < WINDOW
            && let Some((message, target, qos)) = self.world.send(self.number)
        {
            self.last_id = self.last_id % 60_000 + 1;
            self.outgoing.push_back(Outgoing { id: self.last_id, message, qos, is_released: false });
            output.extend(self.packet(self.last_id, (message, target), qos, false));
        }
    }

    fn packet(&self, packet_id: u16, (message, target): (usize, usize), qos: u8, dup: bool) -> Vec<u8> {
        let publish = Publish::new(&format!("to/{target}"), message.to_string());
        Publish { qos, packet_id, dup, ..publish }.bytes(self.version)
    }

    fn take(&mut self, packet: &Packet, output: &mut Vec<u8>) {
        let id = packet.packet_id();
        match packet.kind() {
            CONNACK => self.on_connack(packet, output),
            SUBACK => {
                assert!(packet.reason_code() <= 2);
                self.is_subscribed = true;
                self.world.served(self.number);
            }
            PUBACK | PUBCOMP => self.on_last_acknowledgement(packet),
            PUBREC => {
                assert!(packet.reason_code() < 0x80, "{packet:?}");
                if let Some(outgoing) = self.outgoing.iter_mut().find(|outgoing| outgoing.id == id) {
                    outgoing.is_released = true;
                    self.world.acknowledged(outgoing.message);
                }
                output.extend(acknowledge(PUBREL, id));
            }
            PUBLISH => self.on_publish(packet, output),
            PUBREL_KIND => {
                self.received.remove(&id);
                output.extend(acknowledge(PUBCOMP, id));
            }
            DISCONNECT => self.world.told(packet.reason_code()),
            kind => panic!("did not expect {kind:x}"),
        }
    }

    fn on_connack(&mut self, packet: &Packet, output: &mut Vec<u8>) {
        if packet.reason_code() != 0 {
            // The broker is about to stop; the connection ends.
            return;
        }
        assert!(!self.has_session || packet.body[0] == 1, "client {}: its Session is lost", self.number);
        self.has_session = true;
        if self.is_subscribed {
            self.world.served(self.number);
        } else {
            output.extend(self.version.subscribe(SUBSCRIBE_ID, &format!("to/{}", self.number), 2));
        }
        for Outgoing { id, message, qos, is_released } in &self.outgoing {
            let target = self.world.target(*message);
            output.extend(match is_released {
                true => acknowledge(PUBREL, *id),
                false => self.packet(*id, (*message, target), *qos, true),
            });
        }
    }

    fn on_last_acknowledgement(&mut self, packet: &Packet) {
        assert!(packet.kind() == PUBCOMP || packet.reason_code() < 0x80, "{packet:?}");
        let is_it = |outgoing: &Outgoing| outgoing.id == packet.packet_id();
        if let Some(at) = self.outgoing.iter().position(is_it)
            && let Some(outgoing) = self.outgoing.remove(at)
        {
            self.world.acknowledged(outgoing.message);
            self.world.finished();
        }
    }

    fn on_publish(&mut self, packet: &Packet, output: &mut Vec<u8>) {
        let publish = Publish::parse(self.version, packet).unwrap();
        let message = std::str::from_utf8(&publish.payload).unwrap().parse().unwrap();
        match publish.qos {
            1 => {
                self.world.received(self.number, message);
                output.extend(acknowledge(PUBACK, publish.packet_id));
            }
            2 => {
                match self.received.insert(publish.packet_id, message) {
                    // A repeat of the same message. [MQTT-4.3.3-10]
                    Some(before) => assert!(before == message && publish.dup, "{publish:?}, before: {before}"),
                    None => self.world.received(self.number, message),
                }
                output.extend(acknowledge(PUBREC, publish.packet_id));
            }
            qos => panic!("QoS {qos}"),
        }
    }
}

/// Messages in flight of one client.
const WINDOW: usize = 8;
/// Far from the identifiers of messages.
const SUBSCRIBE_ID: u16 = 65_000;
