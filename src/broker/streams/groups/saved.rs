use std::collections::BTreeMap;

use crate::routing::ShardId;
use crate::session::Ticket;

/// How far the position of a group is stored.
#[derive(Debug, Default)]
pub(in crate::broker) struct Saved {
    /// Whether the store had the group at the start.
    pub(in crate::broker) is_restored: bool,
    /// The record that made the group, and the shard that wrote it.
    pub(in crate::broker) made: Option<(ShardId, Ticket)>,
    /// Whether the position has changed since the last record.
    pub(in crate::broker) is_outdated: bool,
    /// Whether a shard will store it.
    pub(in crate::broker) is_scheduled: bool,
    /// The last record, and the shard that wrote it.
    pub(in crate::broker) last: Option<(ShardId, Ticket)>,
    /// The last record of each shard that the position must follow in the log: that of a dead letter.
    pub(in crate::broker) behind: BTreeMap<ShardId, Ticket>,
}
