//! Congestion: a store that takes no more, shards that are full, clients that flood, and peers that close while they are not read.

use bytes::BytesMut;
use oncemq::broker::Event;
use oncemq::codec::ClientPacket;
use oncemq::codec::client::encode_client;
use oncemq::routing::ShardId;

use crate::network::Chunk;
use crate::world::{Phase, Step, World};

impl World {
    /// Schedules the first of each kind.
    pub(crate) fn begin_pressure(&mut self) {
        self.schedule(LOOK, Step::LookAtPeers);
        if !self.mix.pressure {
            return;
        }
        for shard in 0..self.shards.len() {
            let delay = self.rng.between(1, CALM);
            self.schedule(delay, Step::StoreCongestion(shard, true));
            for other in (0..self.shards.len()).filter(|other| *other != shard) {
                let delay = self.rng.between(1, CALM);
                self.schedule(delay, Step::ShardCongestion(shard, other, true));
            }
        }
    }

    /// A shard hears that the store is congested, or not any more.
    pub(crate) fn on_store_congestion(&mut self, shard: usize, congested: bool) {
        if congested && self.phase != Phase::Busy {
            return;
        }
        self.trace.note(self.now, None, || format!("for shard {shard} the store is congested: {congested}"));
        let delay = self.next_pressure(congested);
        self.schedule(delay, Step::StoreCongestion(shard, !congested));
        self.handle(shard, Event::StoreCongestion(congested));
    }

    /// A shard hears that another is full, or has room again.
    pub(crate) fn on_shard_congestion(&mut self, shard: usize, other: usize, congested: bool) {
        if congested && self.phase != Phase::Busy {
            return;
        }
        self.trace.note(self.now, None, || format!("for shard {shard} shard {other} is full: {congested}"));
        let delay = self.next_pressure(congested);
        self.schedule(delay, Step::ShardCongestion(shard, other, !congested));
        let event = Event::ShardCongestion { shard: ShardId(u16::try_from(other).unwrap()), congested };
        self.handle(shard, event);
    }

    /// Longer than a short Keep Alive allows a client to be silent, now and then.
    fn next_pressure(&mut self, congested: bool) -> u64 {
        let long = self.rng.percent(20);
        self.rng.between(1, if congested && long { LONG } else { CALM })
    }

    /// The driver looks whether the peers of paused connections are still there.
    pub(crate) fn on_look_at_peers(&mut self) {
        self.schedule(LOOK, Step::LookAtPeers);
        for number in 0..self.connections.len() {
            let connection = &self.connections[number];
            if connection.is_open() && connection.broker.paused && connection.broker.input_ended {
                let (shard, id) = (connection.shard, connection.id);
                self.handle(shard, Event::PeerClosed { connection: id });
            }
        }
    }

    /// A client asks more than it reads.
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

    /// What is not sent is bounded: messages at QoS 0 up to the bound, others up to half of it, and all responses that had waited for the
    /// store.
    pub(crate) fn check_unsent(&mut self, number: usize) {
        let connection = &self.connections[number];
        let (unsent, client) = (connection.broker.output.len(), connection.client);
        let bound = 3 * self.settings.outgoing_bytes_max + UNSENT_SLACK;
        if unsent > bound {
            self.fail(Some(client), format!("{unsent} bytes wait for it, and not {bound} at the most"));
        }
    }

    /// Nothing is congested any more: everybody is read.
    pub(crate) fn check_all_read(&self) -> Result<(), String> {
        let paused = self.connections.iter().position(|connection| connection.is_open() && connection.broker.paused);
        paused.map_or(Ok(()), |number| Err(format!("connection {number} is not read any more")))
    }
}

/// How often the driver looks at the peers of paused connections.
const LOOK: u64 = 1_000;
const CALM: u64 = 400;
const LONG: u64 = 6_000;
/// PINGREQ in one flood.
const FLOOD: usize = 500;
/// A packet of each kind beyond the bound, and what the broker's estimate leaves out.
const UNSENT_SLACK: usize = 1_000;
