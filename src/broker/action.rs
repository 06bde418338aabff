use crate::broker::delayed::batch::DelayedBatch;
use crate::broker::directory::message::ShardMessage;
use crate::broker::event::AuthenticationRequest;
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::fetch::Fetch;
use crate::broker::persistence::record::Record;
use crate::broker::publish::sampled_message::SampledMessage;
use crate::broker::query::{Answer, QueryId};
use crate::broker::report::Report;
use crate::broker::streams::read::StreamRequest;
use crate::codec::ServerPacket;
use crate::routing::ShardId;
use crate::session::Ticket;

/// An action for the caller of [`Shard::handle`](crate::broker::Shard::handle). It must perform all actions in order before the next event.
#[derive(Debug)]
pub enum Action {
    /// Encode the packet into the outgoing buffer of the connection, and flush it soon. Report the bytes that the transport accepts as
    /// [`Event::Flushed`](crate::broker::Event::Flushed).
    Send {
        /// The connection.
        connection: ConnectionId,
        /// The packet.
        packet: ServerPacket,
    },
    /// Flush the outgoing buffer within a bounded time, and close. Read nothing more; no later action refers to the connection.
    /// An [`Event::Closed`](crate::broker::Event::Closed) that follows is ignored.
    Close {
        /// The connection.
        connection: ConnectionId,
    },
    /// Reset the connection at once, so that its client does not take the end for a regular one. No later action refers to it. An
    /// [`Event::Closed`](crate::broker::Event::Closed) that follows is ignored.
    Reset {
        /// The connection.
        connection: ConnectionId,
    },
    /// Stop decoding packets of this connection until [`Action::Resume`], including bytes that were read before.
    Pause {
        /// The connection.
        connection: ConnectionId,
    },
    /// Read and decode packets of this connection again.
    Resume {
        /// The connection.
        connection: ConnectionId,
    },
    /// Ask whether a client may connect; answered by [`Event::Authenticated`](crate::broker::Event::Authenticated). The connection is paused meanwhile.
    Authenticate {
        /// The connection of the client.
        connection: ConnectionId,
        /// The request to the provider.
        request: Box<AuthenticationRequest>,
    },
    /// Make a record stable; answered by [`Event::Persisted`](crate::broker::Event::Persisted) with this ticket or a later one.
    Persist {
        /// The ticket of the record.
        ticket: Ticket,
        /// The record.
        record: Box<Record>,
    },
    /// Make records stable that are recovered together or not at all: those of a batch. They share the ticket, which is answered as that of
    /// [`Action::Persist`], and an answer to a client waits for it.
    PersistTogether {
        /// Their ticket.
        ticket: Ticket,
        /// The durability that makes all of them stable.
        durability: Durability,
        /// The records, at least one, in their order.
        records: Vec<Record>,
    },
    /// Read messages from the store on another thread; answered by [`Event::Fetched`](crate::broker::Event::Fetched). Until then the Session
    /// sends no later message.
    Fetch(Box<Fetch>),
    /// Read messages of a stream on another thread; answered by [`Event::StreamRead`](crate::broker::Event::StreamRead). The number of requests
    /// without an answer is bounded.
    ReadStream(Box<StreamRequest>),
    /// Make soon stable what was persisted for streams: a subscriber waits for the next message.
    Hurry,
    /// Read delayed messages that are due from the store on another thread, and look up what their originators may do; answered by
    /// [`Event::DelayedPrepared`](crate::broker::Event::DelayedPrepared). A shard requests the next only after the answer.
    PrepareDelayed(Box<DelayedBatch>),
    /// Send a message to another shard; messages between two shards keep their order.
    Forward {
        /// The receiving shard.
        shard: ShardId,
        /// The message.
        message: ShardMessage,
    },
    /// Pass the answer to the sender of [`Event::Query`](crate::broker::Event::Query).
    Answer(QueryId, Box<Answer>),
    /// Make a trace of an accepted message.
    Sampled(Box<SampledMessage>),
    /// Write a log line.
    Report(Box<Report>),
}
