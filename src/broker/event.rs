use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::broker::directory::message::ShardMessage;
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::fetch::Fetched;
use crate::codec::{ClientId, ClientPacket, DecodeError, ProtocolVersion, ReasonCode};
use crate::routing::Access;
use crate::session::Ticket;

/// What happens to a shard.
#[derive(Debug)]
pub enum Event {
    /// A Network Connection was accepted. Its first packet must be CONNECT, within the CONNECT timeout.
    Opened {
        /// Not in use.
        connection: ConnectionId,
        /// Where it comes from.
        peer: Box<Peer>,
    },
    /// A packet was decoded.
    Packet {
        /// On this connection.
        connection: ConnectionId,
        /// The packet.
        packet: ClientPacket,
    },
    /// The bytes of a connection can't be decoded: nothing more will be read from it.
    Undecodable {
        /// On this connection.
        connection: ConnectionId,
        /// Why not.
        error: DecodeError,
        /// If it is CONNECT that can't be decoded: the version to say so in, as far as it came to light.
        connect_version: Option<ProtocolVersion>,
    },
    /// The transport took bytes that [`Action::Send`](crate::broker::Action::Send) had given.
    Flushed {
        /// On this connection.
        connection: ConnectionId,
        /// How many bytes still wait.
        remaining: usize,
    },
    /// The transport ended. No further event names the connection; its slot may be used again with the next generation.
    Closed {
        /// This connection.
        connection: ConnectionId,
        /// Why, in a word or two for the log: `end of stream`, `connection reset`, `write timeout`.
        cause: ByteString,
    },
    /// The answer to [`Action::Authenticate`](crate::broker::Action::Authenticate).
    Authenticated {
        /// Of this connection.
        connection: ConnectionId,
        /// The answer.
        outcome: AuthenticationOutcome,
    },
    /// Everything up to and including this ticket of this shard is stable at the configured durability level.
    Persisted(Ticket),
    /// The answer to [`Action::Fetch`](crate::broker::Action::Fetch), at any time.
    Fetched(Box<Fetched>),
    /// Another shard sent this. Messages of one shard to another arrive in the order they were sent.
    Forwarded(ShardMessage),
    /// The time that [`Shard::deadline`](crate::broker::Shard::deadline) named has come.
    DeadlinePassed,
    /// What a connected client may do has changed: the access rules were reloaded.
    AccessChanged {
        /// Of this connection.
        connection: ConnectionId,
        /// From now on.
        access: Arc<Access>,
    },
    /// Whether the store has room for new messages. While it has not, what would need it is refused.
    StoreRoom(StoreRoom),
    /// The broker stops: every client is told 0x8B and closed; nothing new is accepted.
    ShuttingDown,
}

/// Whether the store has room for new messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreRoom {
    /// It has.
    #[default]
    Some,
    /// The disk is full.
    None,
}

/// Where a Network Connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The remote address; `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The identity that the client certificate proved, if one was asked for.
    pub certificate_identity: Option<Arc<str>>,
    /// Maximum Packet Size of this listener, in bytes: announced in CONNACK; the decoder enforces it.
    pub maximum_packet_size: u32,
}

/// What a provider said of a client.
#[derive(Debug, Clone)]
pub enum AuthenticationOutcome {
    /// It may connect.
    Granted {
        /// What it may publish and receive.
        access: Arc<Access>,
        /// The name it is known by: its User Name, or the identity of its certificate.
        user: Option<Arc<str>>,
        /// That name if it was proved, and not merely said.
        verified_user: Option<Arc<str>>,
        /// The last data of an enhanced authentication, for CONNACK or AUTH.
        authentication_data: Option<Bytes>,
    },
    /// It has to say more first: sent as AUTH 0x18, answered by the client's AUTH.
    Continue {
        /// Opaque to all but the method.
        authentication_data: Option<Bytes>,
    },
    /// It may not connect.
    Refused {
        /// 0x80 or above.
        reason_code: ReasonCode,
        /// Why, for the log: not told to the client.
        cause: ByteString,
    },
}

/// What a provider is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationRequest {
    /// The Client Identifier, the assigned one if the client sent none.
    pub client_id: ClientId,
    /// User Name.
    pub user_name: Option<ByteString>,
    /// Password.
    pub password: Option<Bytes>,
    /// Authentication Method; `None`: by User Name, Password and certificate alone.
    pub method: Option<ByteString>,
    /// Authentication Data.
    pub data: Option<Bytes>,
    /// Whether it begins, goes on after [`AuthenticationOutcome::Continue`], or is a re-authentication.
    pub step: AuthenticationStep,
}

/// How far an authentication has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticationStep {
    /// At CONNECT.
    Connect,
    /// With an AUTH that answers ours.
    Continue,
    /// With an AUTH 0x19 on an established connection.
    Reauthenticate,
}
