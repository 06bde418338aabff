use crate::routing::ShardId;

/// A Network Connection of this shard. The generation tells it from those that had the slot before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The place in the shard's table of connections.
    pub slot: u32,
    /// How many connections had the slot before.
    pub generation: u32,
}

/// A connection, wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Origin {
    pub(in crate::broker) shard: ShardId,
    pub(in crate::broker) connection: ConnectionId,
}
