use bytestring::ByteString;

use crate::broker::ids::ConnectionId;
use crate::codec::{ClientId, ReasonCode};

/// An event for the log: one line each.
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
        /// Whether it resumes a Session.
        session_present: bool,
        /// Keep Alive in seconds.
        keep_alive: u16,
    },
    /// A CONNECT was refused, or the connection ended before one.
    Refused {
        /// The client, as far as CONNECT was decoded.
        client: ClientLabel,
        /// The Reason Code of the response.
        reason_code: ReasonCode,
        /// The cause.
        cause: ByteString,
    },
    /// A connection ended before the client sent anything.
    Silent {
        /// The client: its address and listener.
        client: ClientLabel,
        /// The cause.
        cause: ByteString,
    },
    /// A connection ended.
    Disconnected {
        /// The client.
        client: ClientLabel,
        /// The Reason Code of its DISCONNECT, or of that of the broker.
        reason_code: ReasonCode,
        /// The cause, which also tells which side ended it.
        cause: ByteString,
    },
    /// A PUBLISH, SUBSCRIBE or Will was denied.
    Denied {
        /// The client.
        client: ClientLabel,
        /// `PUBLISH` or `SUBSCRIBE`; `CONNECT` if it is refused for its Will; `Will` for one that is dropped when it is due.
        packet: &'static str,
        /// The Topic Name or Topic Filter.
        topic: ByteString,
        /// The Reason Code of the response.
        reason_code: ReasonCode,
        /// The access rule, or the limit.
        rule: ByteString,
    },
    /// A message cannot be read from the store. It is not delivered before a restart.
    Unreadable {
        /// The receiver.
        client: ClientLabel,
        /// The sequence of the message in the queue.
        sequence: u64,
        /// The cause.
        cause: ByteString,
    },
    /// The first of a series of dropped messages to a client; the next delivery ends the series.
    Dropping {
        /// The client.
        client: ClientLabel,
        /// Why the messages are dropped.
        reason: crate::broker::DropReason,
    },
}

/// The client that a log line is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientLabel {
    /// Client Identifier, once CONNECT has been read.
    pub client_id: Option<ClientId>,
    /// Its user name.
    pub user: Option<std::sync::Arc<str>>,
    /// Remote address.
    pub address: Option<std::net::SocketAddr>,
    /// The listener.
    pub listener: Option<std::sync::Arc<str>>,
}
