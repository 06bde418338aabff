use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use super::action::ClientLabel;
use super::event::{ConnectionId, Peer};
use super::forward::Origin;
use super::shard::Shard;
use crate::codec::{ClientId, Connect, ProtocolVersion, ServerPacket};
use crate::routing::Access;
use crate::session::Application;
use crate::timestamp::Timestamp;

/// What a shard knows of a Network Connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) caller: Box<Caller>,
    pub(super) phase: Phase,
    /// Fixed by CONNECT.
    pub(super) version: ProtocolVersion,
    /// What its client takes; `None`: everything.
    pub(super) maximum_packet_size: Option<NonZeroU32>,
    /// What the client may do.
    pub(super) access: Arc<Access>,
    pub(super) client_id: Option<ClientId>,
    /// What the client is held to, in seconds; 0: off.
    pub(super) keep_alive: u16,
    pub(super) last_packet: Timestamp,
    /// Reasons not to read from it.
    pub(super) holds: u32,
    /// Whether one of them is that too many responses wait for the store.
    pub(super) held_by_store: bool,
    /// Bytes that wait for the transport, nearly.
    pub(super) buffered: usize,
    pub(super) congestion: Congestion,
    /// A message of it that waits for room in a queue.
    pub(super) blocked: Option<Box<Application>>,
}

/// Where a connection comes from, and by whose name: wanted when it begins, and for the log.
///
/// Boxed, it has the size of what the allocator leaves between a socket's registration and the next, which are aligned: it costs nothing.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    /// The name that the client is known by.
    pub(super) user: Option<Arc<str>>,
    /// Whether that name was proved.
    pub(super) is_verified: bool,
    pub(super) authentication_method: Option<Box<ByteString>>,
}

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// CONNECT must come.
    AwaitingConnect,
    /// The provider is asked.
    Authenticating(Box<Connecting>),
    /// The client must answer our AUTH.
    AwaitingAuth(Box<Connecting>),
    /// Another shard is asked for the Session.
    Claiming,
    /// It has the Session in this slot.
    Connected(usize),
}

/// A CONNECT on its way.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) connect: Connect,
    pub(super) client_id: ClientId,
    /// Whether the Client Identifier is ours.
    pub(super) assigned: bool,
    /// For CONNACK, from the provider.
    pub(super) authentication_data: Option<bytes::Bytes>,
}

/// Whether a receiver keeps up with what it is sent.
#[derive(Debug, Default)]
pub(super) enum Congestion {
    /// It does.
    #[default]
    None,
    /// Its buffer is full: these publishers wait for it, but not longer than until then. Boxed: it is rare.
    HoldingUp(Box<HoldUp>),
    /// It stayed full: nobody waits any more, and what is too much is dropped until it has caught up.
    Slow,
}

/// Who waits for a receiver.
#[derive(Debug)]
pub(super) struct HoldUp {
    pub(super) publishers: Vec<Origin>,
    pub(super) until: Timestamp,
}

impl Connection {
    /// A connection that has said nothing yet.
    pub(super) fn new(id: ConnectionId, peer: Peer, now: Timestamp, access: Arc<Access>) -> Self {
        Self {
            id,
            caller: Box::new(Caller { peer, user: None, is_verified: false, authentication_method: None }),
            phase: Phase::AwaitingConnect,
            version: ProtocolVersion::V3_1_1,
            maximum_packet_size: None,
            access,
            client_id: None,
            keep_alive: 0,
            last_packet: now,
            holds: 0,
            held_by_store: false,
            buffered: 0,
            congestion: Congestion::None,
            blocked: None,
        }
    }

    /// Whether a packet is within the client's Maximum Packet Size. [MQTT-3.1.2-24]
    pub(super) fn takes(&self, packet: &ServerPacket) -> bool {
        self.maximum_packet_size.is_none_or(|maximum| packet.encoded_len(self.version) <= maximum.get() as usize)
    }

    /// The name it is known by, if it was proved.
    pub(super) fn verified_user(&self) -> Option<&Arc<str>> {
        self.caller.user.as_ref().filter(|_| self.caller.is_verified)
    }

    /// How long its client may be silent. [MQTT-3.1.2-22]
    pub(super) fn silence_max(&self) -> Duration {
        Duration::from_millis(u64::from(self.keep_alive) * 1_500)
    }

    /// Who a line of the log speaks of.
    pub(super) fn label(&self) -> ClientLabel {
        ClientLabel {
            client_id: self.client_id.clone(),
            user: self.caller.user.clone(),
            address: self.caller.peer.address,
            listener: Some(Arc::clone(&self.caller.peer.listener)),
        }
    }

    /// The slot of its Session, if CONNECT was accepted.
    pub(super) const fn session(&self) -> Option<usize> {
        match self.phase {
            Phase::Connected(slot) => Some(slot),
            Phase::AwaitingConnect | Phase::Authenticating(_) | Phase::AwaitingAuth(_) | Phase::Claiming => None,
        }
    }
}

impl Shard {
    /// Where a connection comes from.
    pub fn peer(&self, id: ConnectionId) -> Option<&Peer> {
        Some(&self.connection(id)?.caller.peer)
    }

    /// What the client of a connection is called, once it has said so, and the user that it proved to be.
    pub fn identity(&self, id: ConnectionId) -> Option<(&ClientId, Option<&str>)> {
        let connection = self.connection(id)?;
        Some((connection.client_id.as_ref()?, connection.verified_user().map(|user| &**user)))
    }
}
