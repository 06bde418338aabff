use bytestring::ByteString;

use crate::broker::ids::ConnectionId;
use crate::codec::{ClientId, ReasonCode};

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
