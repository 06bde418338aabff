use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::broker::cells::LinkPeer;
use crate::broker::client_ids::ClientIds;
use crate::broker::delayed::batch::DelayedBatch;
use crate::broker::detail::Detail;
use crate::broker::directory::message::ShardMessage;
use crate::broker::ids::ConnectionId;
use crate::broker::memory_level::MemoryLevel;
use crate::broker::owner::VerifiedUser;
use crate::broker::persistence::fetch::Fetched;
use crate::broker::query::{Query, QueryId};
use crate::broker::settings::Settings;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::read::StreamChunk;
use crate::codec::{AnswerTerms, ClientId, ClientPacket, DecodeError, ReasonCode};
use crate::routing::{Access, ShardId};
use crate::session::Ticket;
use crate::timestamp::Timestamp;

/// An input of a shard.
#[derive(Debug)]
pub enum Event {
    /// A Network Connection was accepted. CONNECT must follow within `connect_timeout`.
    Opened {
        /// An identifier that is not in use.
        connection: ConnectionId,
        /// The remote end.
        peer: Box<Peer>,
    },
    /// A packet was decoded.
    Packet {
        /// The connection.
        connection: ConnectionId,
        /// The packet.
        packet: ClientPacket,
    },
    /// The bytes of a connection cannot be decoded. The caller reads nothing more from it.
    Undecodable {
        /// The connection.
        connection: ConnectionId,
        /// The cause.
        error: DecodeError,
        /// For a malformed CONNECT whose protocol version was decoded: what its CONNACK may have.
        answer: Option<AnswerTerms>,
    },
    /// The first bytes of a connection are those of another protocol. The caller reads nothing more from it.
    NotMqtt {
        /// The connection.
        connection: ConnectionId,
        /// What they look like, and a hint, for the log.
        cause: ByteString,
    },
    /// The transport accepted bytes of the outgoing buffer, which [`Action::Send`](crate::broker::Action::Send) fills.
    Flushed {
        /// The connection.
        connection: ConnectionId,
        /// The bytes still in the outgoing buffer.
        remaining: usize,
    },
    /// The transport has ended. No later event refers to the connection; its slot may be used again with the next generation.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// The cause for the log: `end of stream`, `connection reset`, `write timeout`.
        cause: ByteString,
    },
    /// The transport has ended before the client sent anything, as that of a health check does. Otherwise like [`Event::Closed`].
    ClosedSilently {
        /// The connection.
        connection: ConnectionId,
        /// The cause for the log.
        cause: ByteString,
    },
    /// Bytes were read from a connection. Wanted only if [`Shard::limits_bytes`](crate::broker::Shard::limits_bytes).
    Received {
        /// The connection.
        connection: ConnectionId,
        /// Their number.
        bytes: usize,
    },
    /// The answer to [`Action::Authenticate`](crate::broker::Action::Authenticate).
    Authenticated {
        /// The connection.
        connection: ConnectionId,
        /// The answer.
        outcome: AuthenticationOutcome,
    },
    /// All records of this shard up to this ticket are stable at the configured durability.
    Persisted(Ticket),
    /// The shard did not run for a while: the machine was suspended, or the process was stopped. Nothing that the clients sent could be read
    /// meanwhile, so their Keep Alive intervals begin again.
    Stalled,
    /// The answer to [`Action::Fetch`](crate::broker::Action::Fetch). It may come after the Session moved or ended.
    Fetched(Box<Fetched>),
    /// The answer to [`Action::ReadStream`](crate::broker::Action::ReadStream). It may come after the Session ended. Each request must be answered.
    StreamRead(Box<StreamChunk>),
    /// Further messages of a stream can be read: see [`Shared::stream_advanced`](crate::broker::Shared::stream_advanced).
    StreamAdvanced(StreamNumber),
    /// The answer to [`Action::PrepareDelayed`](crate::broker::Action::PrepareDelayed).
    DelayedPrepared(Box<DelayedBatch>),
    /// A message from another shard. Messages between two shards arrive in the order in which they were sent.
    Forwarded(ShardMessage),
    /// The time of [`Shard::deadline`](crate::broker::Shard::deadline) has passed.
    DeadlinePassed,
    /// The access rules were reloaded: these are the rules of a connected client from now on.
    AccessChanged {
        /// The connection.
        connection: ConnectionId,
        /// The new rules.
        access: Arc<Access>,
    },
    /// The access rules were reloaded: these are the rules of the Session in a slot without connection from now on. See
    /// [`Shard::away`](crate::broker::Shard::away).
    AwayAccessChanged {
        /// The slot.
        slot: usize,
        /// The new rules.
        access: Arc<Access>,
    },
    /// After a reload, the client would not be accepted any more: its connection ends with 0x87 Not authorized.
    Revoked {
        /// The connection.
        connection: ConnectionId,
        /// The rules of its Session from now on.
        access: Arc<Access>,
        /// The cause.
        revocation: Revocation,
    },
    /// How short the memory is, when that has changed, and once a second while it is critical.
    Memory(MemoryLevel),
    /// The incomplete packet of a connection uses too much of the memory.
    InputRefused {
        /// The connection.
        connection: ConnectionId,
    },
    /// Whether the store has room for new messages. Without room, messages that need a record are refused.
    StoreRoom(StoreRoom),
    /// Whether too many bytes wait for a commit, so that publishers must be paused.
    StoreCongestion(bool),
    /// Whether the mailbox of another shard is full, so that publishers of messages for it must be paused.
    ShardCongestion {
        /// The other shard.
        shard: ShardId,
        /// Whether it is full, or has room again.
        congested: bool,
    },
    /// The peer of a paused connection has closed its end or is unreachable. Data that it sent before may be unread. Repeated about once a
    /// second while the connection is paused.
    PeerClosed {
        /// The connection.
        connection: ConnectionId,
    },
    /// The settings were reloaded: these apply from now on, and to a connected client as far as its CONNACK did not say otherwise.
    SettingsChanged(Arc<Settings>),
    /// The listener of a connection was removed from the configuration: the connection ends with 0x98 Administrative action.
    ListenerRemoved {
        /// The connection.
        connection: ConnectionId,
    },
    /// The details that the caller wants from now on, as [`Report`](crate::broker::Report)s; none at first.
    DetailChanged(Box<Detail>),
    /// A query; answered by [`Action::Answer`](crate::broker::Action::Answer): see [`query`](crate::broker::Query).
    Query(QueryId, Box<Query>),
    /// The broker shuts down: all connections are closed with 0x8B, and no new one is accepted.
    ShuttingDown,
    /// The same because another server serves the clients from now on: they are told with 0x9C.
    Farewell(Farewell),
}

/// Which server serves the clients from now on, and what this one leaves to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Farewell {
    /// It begins with all that this broker stores until its end. The Server Reference, if it is known.
    Moved(Option<ByteString>),
    /// It has begun: what this broker would store does not count any more. So nothing more is stored or acknowledged, and no Will is published:
    /// that is for the other server to do. The Server Reference, if it is known.
    Fenced(Option<ByteString>),
}

/// Whether the store has room for new messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreRoom {
    /// It has room.
    #[default]
    Some,
    /// The disk is full.
    None,
}

/// Why a client that was accepted would not be accepted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The password file has its user no longer.
    User,
    /// Its user has another password.
    Password,
    /// A revocation list names its certificate.
    Certificate,
    /// No authority that is trusted has signed its certificate any more.
    Authority,
    /// It is anonymous, and its listener accepts no such clients any more.
    Anonymous,
    /// Its token was verified with a key, or by settings, that are not in force any more.
    Token,
    /// The service that accepted it is asked by other settings.
    Service,
    /// Its listener has no provider any more that verifies it.
    Provider,
    /// Its listener has another name, and listeners have rules of their own.
    Listener,
    /// It would have another mount point if it connected again.
    MountPoint,
}

impl Revocation {
    /// The cause for the log.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::User => "its user was removed from the password file",
            Self::Password => "the password of its user has changed",
            Self::Certificate => "its certificate is revoked",
            Self::Token => "the key or the settings that verified its token have changed",
            Self::Service => "the settings of the service that accepted it have changed",
            Self::Listener => "its listener has another name, and the rules of listeners differ",
            Self::Provider => "what verified it was removed from the configuration",
            Self::MountPoint => "its mount point has changed",
            Self::Anonymous => "anonymous clients are not accepted any more",
            Self::Authority => "its certificate is not valid any more, since an authority was removed",
        }
    }
}

/// The remote end of a Network Connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The remote address; `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// Whether it is certainly on this machine: connected from a loopback address or over a Unix socket, not through a proxy, and not by
    /// a website's page in a browser.
    pub is_local: bool,
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The identity in the verified client certificate, if the listener uses it.
    pub certificate_identity: Option<Arc<str>>,
    /// How its Client Identifier depends on its user name.
    pub client_ids: ClientIds,
    /// Maximum Packet Size of this listener, in bytes: announced in CONNACK; the decoder enforces it.
    pub maximum_packet_size: u32,
    /// It is no client, but the owner of another cell.
    pub link: Option<LinkPeer>,
}

/// The outcome of an authentication step.
#[derive(Debug, Clone)]
pub enum AuthenticationOutcome {
    /// The client may connect.
    Granted {
        /// The access rules of the client.
        access: Arc<Access>,
        /// The user name for the log: the User Name, or the identity in the client certificate.
        user: Option<Arc<str>>,
        /// The user name, if the provider verified it.
        verified_user: Option<VerifiedUser>,
        /// When its credentials expire: its connection ends then with 0x87 Not authorized. `None`: never.
        expires_at: Option<Timestamp>,
        /// Authentication Data for CONNACK or AUTH, at the end of an enhanced authentication.
        authentication_data: Option<Bytes>,
    },
    /// The authentication continues: the broker sends AUTH 0x18, which the client answers with AUTH.
    Continue {
        /// Authentication Data, whose format the Authentication Method defines.
        authentication_data: Option<Bytes>,
    },
    /// The client may not connect.
    Refused {
        /// 0x80 or above.
        reason_code: ReasonCode,
        /// The cause for the log, which is not sent to the client.
        cause: ByteString,
    },
}

/// A request to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationRequest {
    /// The Client Identifier, the assigned one if the client sent none.
    pub client_id: ClientId,
    /// User Name.
    pub user_name: Option<ByteString>,
    /// Password.
    pub password: Option<Bytes>,
    /// Authentication Method; `None`: basic authentication by User Name, Password and certificate.
    pub method: Option<ByteString>,
    /// Authentication Data.
    pub data: Option<Bytes>,
    /// The step of the authentication.
    pub step: AuthenticationStep,
}

/// A step of an authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticationStep {
    /// CONNECT.
    Connect,
    /// The client's AUTH that answers [`AuthenticationOutcome::Continue`].
    Continue,
    /// AUTH 0x19 on an established connection.
    Reauthenticate,
}
