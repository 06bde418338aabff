use bytes::BytesMut;
use oncemq::broker::ConnectionId;
use oncemq::codec::client::ServerDecoder;
use oncemq::codec::{Decoder, ProtocolVersion};

/// A Network Connection: the broker's transport, the wire, and the client's end.
pub(crate) struct Connection {
    pub(crate) client: usize,
    pub(crate) shard: usize,
    pub(crate) id: ConnectionId,
    pub(crate) version: ProtocolVersion,
    pub(crate) broker: BrokerSide,
    pub(crate) up: Channel,
    pub(crate) down: Channel,
    pub(crate) client_side: ClientSide,
}

/// The transport as the broker's driver sees it.
pub(crate) struct BrokerSide {
    pub(crate) state: Transport,
    pub(crate) decoder: Decoder,
    /// Read, but not decoded.
    pub(crate) input: BytesMut,
    /// The client's end is closed.
    pub(crate) input_ended: bool,
    pub(crate) paused: bool,
    /// Encoded, but not written to the transport.
    pub(crate) output: BytesMut,
    pub(crate) flushing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Not accepted yet.
    Coming,
    Open,
    /// Closed by the broker, or closed by the client and noticed.
    Closed,
}

/// One direction of the wire, which preserves the order.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// When the last chunk arrives.
    pub(crate) busy_until: u64,
    /// Nothing arrives from then on.
    cut_at: Option<u64>,
}

pub(crate) struct ClientSide {
    pub(crate) open: bool,
    pub(crate) decoder: ServerDecoder,
    pub(crate) input: BytesMut,
}

impl Connection {
    pub(crate) fn new(client: usize, shard: usize, id: ConnectionId, version: ProtocolVersion) -> Self {
        Self {
            client,
            shard,
            id,
            version,
            broker: BrokerSide {
                state: Transport::Coming,
                decoder: Decoder::new(PACKET_SIZE_MAX),
                input: BytesMut::new(),
                input_ended: false,
                paused: false,
                output: BytesMut::new(),
                flushing: false,
            },
            up: Channel::default(),
            down: Channel::default(),
            client_side: ClientSide {
                open: true,
                decoder: ServerDecoder::new(version, u32::MAX, u16::MAX),
                input: BytesMut::new(),
            },
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.broker.state == Transport::Open
    }
}

impl Channel {
    /// The arrival time of a chunk that is sent now with this delay.
    pub(crate) fn arrival(&mut self, now: u64, delay: u64) -> u64 {
        self.busy_until = self.busy_until.max(now + delay);
        self.busy_until
    }

    pub(crate) fn cut(&mut self, at: u64) {
        self.cut_at = Some(self.cut_at.map_or(at, |before| before.min(at)));
    }

    pub(crate) fn is_cut(&self, now: u64) -> bool {
        self.cut_at.is_some_and(|at| at <= now)
    }
}

/// The listener's Maximum Packet Size.
pub(crate) const PACKET_SIZE_MAX: u32 = 100_000;
