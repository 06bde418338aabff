use crate::broker::directory::message::ShardMessage;
use crate::broker::event::AuthenticationRequest;
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::fetch::Fetch;
use crate::broker::persistence::record::Record;
use crate::broker::query::{Answer, QueryId};
use crate::broker::report::Report;
use crate::codec::ServerPacket;
use crate::routing::ShardId;
use crate::session::Ticket;

/// What the caller of [`Shard::handle`](crate::broker::Shard::handle) must do, all of it and in order, before the next event.
#[derive(Debug)]
pub enum Action {
    /// Encode the packet into the outgoing buffer of the connection, and flush it soon. Report what the transport takes as
    /// [`Event::Flushed`](crate::broker::Event::Flushed).
    Send {
        /// To this connection.
        connection: ConnectionId,
        /// This packet.
        packet: ServerPacket,
    },
    /// Send what is in the outgoing buffer, within a bounded time, and close. Read nothing more; no later action names the connection.
    /// An [`Event::Closed`](crate::broker::Event::Closed) that follows is ignored.
    Close {
        /// This connection.
        connection: ConnectionId,
    },
    /// Stop decoding packets of this connection until [`Action::Resume`], including bytes that were read before.
    Pause {
        /// This connection.
        connection: ConnectionId,
    },
    /// Decode and read again.
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
    /// Read messages from the store on another thread; answered by [`Event::Fetched`](crate::broker::Event::Fetched). Until then the Session
    /// sends nothing behind them.
    Fetch(Box<Fetch>),
    /// Send a message to another shard; messages between two shards keep their order.
    Forward {
        /// To this shard.
        shard: ShardId,
        /// The message.
        message: ShardMessage,
    },
    /// Give the answer to [`Event::Query`](crate::broker::Event::Query) to who asked.
    Answer(QueryId, Box<Answer>),
    /// Tell the operator.
    Report(Box<Report>),
}
