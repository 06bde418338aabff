use crate::routing::ShardId;

/// A Network Connection of this shard. The generation distinguishes it from earlier connections in the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The place in the shard's table of connections.
    pub slot: u32,
    /// The number of earlier connections in the slot.
    pub generation: u32,
}

/// A connection of any shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Origin {
    pub(in crate::broker) shard: ShardId,
    pub(in crate::broker) connection: ConnectionId,
}
