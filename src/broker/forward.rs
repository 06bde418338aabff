//! What shards say to each other.

/// A message from one shard to another.
#[derive(Debug)]
pub struct ShardMessage {}
