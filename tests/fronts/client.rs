//! A client that knows one address.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use wire::{
    CONNACK, Connect, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet, Publish, Received,
    SUBACK, Version, Wire, acknowledge, packet,
};

pub(crate) struct Client {
    wire: Wire,
    version: Version,
    /// Messages that came while it waited for something else.
    came: Vec<Publish>,
    is_gone: bool,
}

/// Connects until it is accepted, as clients do.
#[track_caller]
pub(crate) fn connected(address: SocketAddr, connect: &Connect) -> Client {
    let deadline = now() + PATIENCE;
    loop {
        if let Ok(wire) = Wire::open(address, Duration::from_secs(10)) {
            let mut client = Client { wire, version: connect.version, came: Vec::new(), is_gone: false };
            client.wire.send(&connect.bytes());
            let answer = client.wire.receive(Duration::from_secs(10));
            if let Received::Packet(packet) = &answer
                && packet.kind() == CONNACK
                && packet.body[1] == 0
            {
                return client;
            }
        }
        assert!(now() < deadline, "{} is not accepted at {address}", connect.client_id);
        thread::sleep(Duration::from_millis(200));
    }
}

impl Client {
    pub(crate) fn local_address(&mut self) -> SocketAddr {
        self.wire.stream().local_addr().unwrap()
    }

    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.wire.send(&self.version.subscribe(9, filter, qos));
        assert!(self.wait_for(SUBACK, PATIENCE).is_some(), "no SUBACK for {filter}");
    }

    #[track_caller]
    pub(crate) fn publish(&mut self, publish: &Publish) {
        assert!(self.try_publish(publish), "{} is not acknowledged", publish.topic);
    }

    /// Publishes, and waits for what acknowledges it. Returns whether it came.
    pub(crate) fn try_publish(&mut self, publish: &Publish) -> bool {
        let packet_id = if publish.qos > 0 { 7 } else { 0 };
        self.wire.send(&Publish { packet_id, ..publish.clone() }.bytes(self.version));
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
        if self.came.is_empty() {
            self.wait_for(PUBLISH, within)?;
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
        while !self.is_gone {
            match self.wire.receive(deadline.saturating_duration_since(now())) {
                Received::Packet(packet) => {
                    self.on_packet(&packet);
                    if packet.kind() == kind {
                        return Some(packet);
                    }
                }
                Received::Nothing => return None,
                Received::Closed => self.is_gone = true,
            }
        }
        None
    }

    fn on_packet(&mut self, packet: &Packet) {
        match packet.kind() {
            PUBLISH => {
                let publish = Publish::parse(self.version, packet).expect("a whole message");
                match publish.qos {
                    0 => {}
                    1 => self.wire.send(&acknowledge(PUBACK, publish.packet_id)),
                    _ => self.wire.send(&acknowledge(PUBREC, publish.packet_id)),
                }
                self.came.push(publish);
            }
            PUBREL_KIND => self.wire.send(&acknowledge(PUBCOMP, packet.packet_id())),
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
