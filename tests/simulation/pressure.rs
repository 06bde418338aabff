//! Congestion: a full store, full shards, clients that flood, and peers that close while they are paused.

use bytes::BytesMut;
use oncemq::broker::Event;
use oncemq::codec::ClientPacket;
use oncemq::codec::client::encode_client;
use oncemq::routing::ShardId;

use crate::network::Chunk;
use crate::world::{Phase, Step, World};

impl World {
    /// Schedules the first event of each kind.
    pub(crate) fn begin_pressure(&mut self) {
        self.schedule(PEER_CHECK_INTERVAL, Step::CheckPeers);
        if !self.mix.pressure {
            return;
        }
        for shard in 0..self.shards.len() {
            let delay = self.rng.between(1, CHANGE_MAX);
            self.schedule(delay, Step::StoreCongestion(shard, true));
            for other in (0..self.shards.len()).filter(|other| *other != shard) {
                let delay = self.rng.between(1, CHANGE_MAX);
                self.schedule(delay, Step::ShardCongestion(shard, other, true));
            }
        }
    }

    /// A shard is notified that the store is congested, or no longer congested.
    pub(crate) fn on_store_congestion(&mut self, shard: usize, congested: bool) {
        if congested && self.phase != Phase::Busy {
            return;
        }
        self.trace.note(self.now, None, || format!("shard {shard} is notified of store congestion: {congested}"));
        let delay = self.next_pressure(congested);
        self.schedule(delay, Step::StoreCongestion(shard, !congested));
        self.handle(shard, Event::StoreCongestion(congested));
    }

    /// A shard is notified that another one is full, or no longer full.
    pub(crate) fn on_shard_congestion(&mut self, shard: usize, other: usize, congested: bool) {
        if congested && self.phase != Phase::Busy {
            return;
        }
        self.trace
            .note(self.now, None, || format!("shard {shard} is notified that shard {other} is full: {congested}"));
        let delay = self.next_pressure(congested);
        self.schedule(delay, Step::ShardCongestion(shard, other, !congested));
        let event = Event::ShardCongestion { shard: ShardId(u16::try_from(other).unwrap()), congested };
        self.handle(shard, event);
    }

    /// The time until the next change; sometimes longer than a short Keep Alive.
    fn next_pressure(&mut self, congested: bool) -> u64 {
        let long = self.rng.percent(20);
        self.rng.between(1, if congested && long { LONG_CHANGE_MAX } else { CHANGE_MAX })
    }

    /// The driver reports paused connections whose peer has closed.
    pub(crate) fn on_check_peers(&mut self) {
        self.schedule(PEER_CHECK_INTERVAL, Step::CheckPeers);
        for number in 0..self.connections.len() {
            let connection = &self.connections[number];
            if connection.is_open() && connection.broker.paused && connection.broker.input_ended {
                let (shard, id) = (connection.shard, connection.id);
                let gives_up = self.shards[shard].shard.gives_up(id, self.time());
                match if gives_up { self.unread_disconnect(number) } else { None } {
                    Some(packet) => {
                        self.on_read(number, &packet);
                        self.handle(shard, Event::Packet { connection: id, packet });
                    }
                    None => self.handle(shard, Event::PeerClosed { connection: id }),
                }
            }
        }
    }

    /// The DISCONNECT in the unread input of a connection. The packets before it are discarded.
    fn unread_disconnect(&mut self, number: usize) -> Option<ClientPacket> {
        let broker = &mut self.connections[number].broker;
        let mut bytes = broker.input.split().freeze();
        loop {
            let packet = broker.decoder.decode(&mut bytes).ok()??;
            if let ClientPacket::Disconnect(_) = packet {
                return Some(packet);
            }
        }
    }

    /// A client sends more requests than it reads responses.
    pub(crate) fn flood(&mut self, client: usize, number: usize) {
        let version = self.clients[client].profile.version;
        self.trace.note(self.now, Some(client), || format!("→ {number}: {FLOOD} times PINGREQ"));
        let mut bytes = BytesMut::new();
        for _ in 0..FLOOD {
            encode_client(&ClientPacket::Pingreq, version, &mut bytes);
        }
        self.clients[client].last_sent = self.now;
        self.put_up(number, Chunk::Bytes(bytes.freeze()));
    }

    /// Checks the bound of unsent bytes: QoS 0 messages up to the bound, other messages up to half of it, plus all
    /// responses that waited for the store.
    pub(crate) fn check_unsent(&mut self, number: usize) {
        let connection = &self.connections[number];
        let (unsent, client) = (connection.broker.output.len(), connection.client);
        let bound = 3 * self.settings.outgoing_bytes_max + UNSENT_SLACK;
        if unsent > bound {
            self.fail(Some(client), format!("{unsent} unsent bytes exceed the bound of {bound}"));
        }
    }

    /// Checks that without congestion every connection is read.
    pub(crate) fn check_all_read(&self) -> Result<(), String> {
        let paused = self.connections.iter().position(|connection| connection.is_open() && connection.broker.paused);
        paused.map_or(Ok(()), |number| Err(format!("connection {number} stays paused")))
    }
}

/// Interval in milliseconds at which the driver checks the peers of paused connections.
const PEER_CHECK_INTERVAL: u64 = 1_000;
/// Longest usual time between two changes of a congestion, in milliseconds.
const CHANGE_MAX: u64 = 400;
/// Longest duration of a long congestion, in milliseconds.
const LONG_CHANGE_MAX: u64 = 6_000;
/// Number of PINGREQ packets in a flood.
const FLOOD: usize = 500;
/// A packet of each kind beyond the bound, and bytes that the broker's estimate omits.
const UNSENT_SLACK: usize = 1_000;
