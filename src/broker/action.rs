use bytestring::ByteString;

use crate::broker::directory::message::ShardMessage;
use crate::broker::event::{AuthenticationRequest, ConnectionId};
use crate::broker::persistence::fetch::Fetch;
use crate::broker::persistence::record::Record;
use crate::codec::{ClientId, ReasonCode, ServerPacket};
use crate::routing::ShardId;
use crate::session::Ticket;

/// What the caller of [`Shard::handle`](crate::broker::Shard::handle) must do, all of it and in order, before the next event.
#[derive(Debug)]
pub enum Action {
    /// Encode the packet behind what the connection has to send, and flush it soon. Report what the transport takes as
    /// [`Event::Flushed`](crate::broker::Event::Flushed).
    Send {
        /// To this connection.
        connection: ConnectionId,
        /// This packet.
        packet: ServerPacket,
    },
    /// Send what was given before, within a bounded time, and close. Nothing more is read from it, and no other action will name it;
    /// [`Event::Closed`](crate::broker::Event::Closed) may follow and is then ignored.
    Close {
        /// This connection.
        connection: ConnectionId,
    },
    /// Decode nothing more of this connection until [`Action::Resume`], not even what was read already.
    Pause {
        /// This connection.
        connection: ConnectionId,
    },
    /// Read again.
    Resume {
        /// This connection.
        connection: ConnectionId,
    },
    /// Ask whether a client may connect; answered by [`Event::Authenticated`](crate::broker::Event::Authenticated). The connection is paused meanwhile.
    Authenticate {
        /// For this connection.
        connection: ConnectionId,
        /// The question.
        request: Box<AuthenticationRequest>,
    },
    /// Make a record stable; answered by [`Event::Persisted`](crate::broker::Event::Persisted) with this ticket or a later one.
    Persist {
        /// The number of the record.
        ticket: Ticket,
        /// The record.
        record: Box<Record>,
    },
    /// Read messages from the store, elsewhere; answered by [`Event::Fetched`](crate::broker::Event::Fetched). What waits for them is the
    /// Session's turn to send.
    Fetch(Box<Fetch>),
    /// Give a message to another shard, in order.
    Forward {
        /// To this shard.
        shard: ShardId,
        /// The message.
        message: ShardMessage,
    },
    /// Tell the operator.
    Report(Box<Report>),
}

/// What an operator wants to read in the log, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A client is connected.
    Connected {
        /// The client.
        client: ClientLabel,
        /// Its connection.
        connection: ConnectionId,
        /// `3.1`, `3.1.1` or `5.0`.
        version: &'static str,
        /// Clean Start.
        clean_start: bool,
        /// Whether it goes on with a stored Session.
        session_present: bool,
        /// Keep Alive in seconds.
        keep_alive: u16,
    },
    /// A CONNECT was refused, or the connection broke off before one.
    Refused {
        /// As far as it is known.
        client: ClientLabel,
        /// What it was told.
        reason_code: ReasonCode,
        /// Why.
        cause: ByteString,
    },
    /// A connection ended.
    Disconnected {
        /// The client.
        client: ClientLabel,
        /// What it said, or was told.
        reason_code: ReasonCode,
        /// Who ended it and why.
        cause: ByteString,
    },
    /// A PUBLISH or SUBSCRIBE was denied.
    Denied {
        /// The client.
        client: ClientLabel,
        /// `PUBLISH` or `SUBSCRIBE`, or `CONNECT` for its Will.
        packet: &'static str,
        /// The Topic Name or Topic Filter.
        topic: ByteString,
        /// What it was told.
        reason_code: ReasonCode,
        /// The access rule, or the limit.
        rule: ByteString,
    },
    /// A message can't be read from the store, and is not delivered by this run.
    Unreadable {
        /// Whose it is.
        client: ClientLabel,
        /// Its place in the queue.
        sequence: u64,
        /// Why.
        cause: ByteString,
    },
    /// Messages to a client begin to be dropped: once per episode, until something is delivered again.
    Dropping {
        /// The client.
        client: ClientLabel,
        /// Why.
        reason: crate::broker::DropReason,
    },
}

/// Who a line of the log speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientLabel {
    /// Client Identifier, if a CONNECT came.
    pub client_id: Option<ClientId>,
    /// The name it is known by.
    pub user: Option<std::sync::Arc<str>>,
    /// Remote address.
    pub address: Option<std::net::SocketAddr>,
    /// The listener.
    pub listener: Option<std::sync::Arc<str>>,
}
