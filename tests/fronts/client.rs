//! A client that knows one address.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use wire::{
    CONNACK, Connect, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet, Publish, Received,
    SUBACK, Wire, acknowledge, packet,
};

pub(crate) struct Client {
    connect: Connect,
    wire: Wire,
    /// Messages that came while it waited for something else.
    came: Vec<Publish>,
    /// Of messages at QoS 2 that came: one that comes again with such a Packet Identifier is no other.
    unreleased: BTreeSet<u16>,
    is_gone: bool,
}

/// Connects until it is accepted, as clients do.
#[track_caller]
pub(crate) fn connected(address: SocketAddr, connect: &Connect) -> Client {
    let (wire, _) = accepted(&[address], connect);
    Client { connect: connect.clone(), wire, came: Vec::new(), unreleased: BTreeSet::new(), is_gone: false }
}

/// Connects to each of these addresses in turn until it is accepted. Returns whether it has a Session, too.
#[track_caller]
fn accepted(addresses: &[SocketAddr], connect: &Connect) -> (Wire, bool) {
    let deadline = now() + PATIENCE;
    let mut turn = addresses.iter().cycle();
    loop {
        if let Ok(mut wire) = Wire::open(*turn.next().unwrap(), Duration::from_secs(10)) {
            wire.send(&connect.bytes());
            if let Received::Packet(answer) = wire.receive(Duration::from_secs(10))
                && answer.kind() == CONNACK
                && answer.reason_code() == 0
            {
                return (wire, answer.body[0] == 1);
            }
        }
        assert!(now() < deadline, "{} is not accepted at {addresses:?}", connect.client_id);
        thread::sleep(Duration::from_millis(200));
    }
}

impl Client {
    /// Connects to one of these addresses, and finds its Session.
    #[track_caller]
    pub(crate) fn connect_again(&mut self, addresses: &[SocketAddr]) {
        let (wire, is_present) = accepted(addresses, &self.connect);
        assert!(is_present, "the Session of {} is lost", self.connect.client_id);
        (self.wire, self.is_gone) = (wire, false);
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.wire.send(bytes);
    }

    /// Ends the connection without DISCONNECT.
    pub(crate) fn cut(&mut self) {
        self.wire.cut();
    }

    pub(crate) fn local_address(&mut self) -> SocketAddr {
        self.wire.stream().local_addr().unwrap()
    }

    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.wire.send(&self.connect.version.subscribe(9, filter, qos));
        assert!(self.wait_for(SUBACK, PATIENCE).is_some(), "no SUBACK for {filter}");
    }

    #[track_caller]
    pub(crate) fn publish(&mut self, publish: &Publish) {
        assert!(self.try_publish(publish), "{} is not acknowledged", publish.topic);
    }

    /// Publishes, and waits for what acknowledges it. Returns whether it came.
    pub(crate) fn try_publish(&mut self, publish: &Publish) -> bool {
        let packet_id = if publish.qos > 0 { 7 } else { 0 };
        self.wire.send(&Publish { packet_id, ..publish.clone() }.bytes(self.connect.version));
        match publish.qos {
            0 => !self.is_gone,
            1 => self.wait_for(PUBACK, PATIENCE).is_some(),
            _ => {
                let is_received = self.wait_for(PUBREC, PATIENCE).is_some();
                self.wire.send(&acknowledge(PUBREL, packet_id));
                is_received && self.wait_for(PUBCOMP, PATIENCE).is_some()
            }
        }
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Publish {
        self.next_message(PATIENCE).expect("a message")
    }

    pub(crate) fn next_message(&mut self, within: Duration) -> Option<Publish> {
        let deadline = now() + within;
        while self.came.is_empty() {
            self.receive(deadline.saturating_duration_since(now()))?;
        }
        Some(self.came.remove(0))
    }

    /// The messages that have come.
    pub(crate) fn messages_there(&mut self) -> Vec<Publish> {
        while self.wait_for(PUBLISH, Duration::from_millis(1)).is_some() {}
        std::mem::take(&mut self.came)
    }

    /// Whether the connection has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    pub(crate) fn disconnect(&mut self) {
        self.wire.send(&packet(DISCONNECT, &[]));
    }

    /// Waits for the end of the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.wire.receive(PATIENCE) == Received::Closed
    }

    /// Waits for a packet of this kind; acknowledges and keeps messages that come before.
    fn wait_for(&mut self, kind: u8, within: Duration) -> Option<Packet> {
        let deadline = now() + within;
        loop {
            let packet = self.receive(deadline.saturating_duration_since(now()))?;
            if packet.kind() == kind {
                return Some(packet);
            }
        }
    }

    /// The next packet. Acknowledges a message, and keeps it.
    pub(crate) fn receive(&mut self, within: Duration) -> Option<Packet> {
        if self.is_gone {
            return None;
        }
        match self.wire.receive(within) {
            Received::Packet(packet) => {
                self.on_packet(&packet);
                return Some(packet);
            }
            Received::Nothing => {}
            Received::Closed => self.is_gone = true,
        }
        None
    }

    fn on_packet(&mut self, packet: &Packet) {
        match packet.kind() {
            PUBLISH => {
                let publish = Publish::parse(self.connect.version, packet).expect("a whole message");
                match publish.qos {
                    0 => {}
                    1 => self.wire.send(&acknowledge(PUBACK, publish.packet_id)),
                    _ => self.wire.send(&acknowledge(PUBREC, publish.packet_id)),
                }
                if publish.qos < 2 || self.unreleased.insert(publish.packet_id) {
                    self.came.push(publish);
                }
            }
            PUBREL_KIND => {
                self.unreleased.remove(&packet.packet_id());
                self.wire.send(&acknowledge(PUBCOMP, packet.packet_id()));
            }
            _ => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Longer than any fail-over on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
