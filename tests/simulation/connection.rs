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

/// The transport, as the broker's driver has it.
pub(crate) struct BrokerSide {
    pub(crate) state: Transport,
    pub(crate) decoder: Decoder,
    /// Read, not decoded.
    pub(crate) input: BytesMut,
    /// Nothing more will come.
    pub(crate) input_ended: bool,
    pub(crate) paused: bool,
    /// Encoded, not taken by the transport.
    pub(crate) output: BytesMut,
    pub(crate) flushing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Not accepted yet.
    Coming,
    Open,
    /// The broker said so, or was told.
    Closed,
}

/// One direction: what is put in comes out in order.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// When the last that was put in comes out.
    pub(crate) busy_until: u64,
    /// From then on nothing comes out.
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
    /// When something comes out that is put in now and takes so long.
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

/// What the listener announces.
pub(crate) const PACKET_SIZE_MAX: u32 = 100_000;
