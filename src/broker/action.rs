use crate::broker::directory::message::ShardMessage;
use crate::broker::event::AuthenticationRequest;
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::fetch::Fetch;
use crate::broker::persistence::record::Record;
use crate::broker::report::Report;
use crate::codec::ServerPacket;
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
