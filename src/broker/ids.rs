use crate::codec::{ClientId, MessageId};
use crate::routing::ShardId;

/// A Network Connection of one shard. The generation distinguishes it from earlier connections in the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The index in the shard's table of connections.
    pub slot: u32,
    /// The number of earlier connections in the slot.
    pub generation: u32,
}

/// The connection of a publisher, on any shard.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Origin {
    pub(in crate::broker) shard: ShardId,
    pub(in crate::broker) connection: ConnectionId,
    /// Whether the receiver of this message has been its only receiver for more than a second. Ignored by equality.
    pub(in crate::broker) is_sole: bool,
}

impl Origin {
    pub(in crate::broker) const fn new(shard: ShardId, connection: ConnectionId) -> Self {
        Self { shard, connection, is_sole: false }
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        (self.shard, self.connection) == (other.shard, other.connection)
    }
}

impl Eq for Origin {}

/// Generates the Client Identifiers and message identities that a shard assigns. Each is unique in the broker.
#[derive(Debug)]
pub(in crate::broker) struct IdentifierSource {
    shard: ShardId,
    /// Random, so that a client cannot guess the assigned identifiers of other clients.
    client_id_seed: u64,
    client_ids: u64,
    /// The number of this run of the broker.
    run: u64,
    messages: u64,
}

impl IdentifierSource {
    pub(in crate::broker) const fn new(shard: ShardId, client_id_seed: u64, run: u64) -> Self {
        Self { shard, client_id_seed, client_ids: 0, run, messages: 0 }
    }

    /// A new Client Identifier that begins with `prefix`. [MQTT-3.1.3-6] [MQTT-3.2.2-16]
    pub(in crate::broker) fn next_client_id(&mut self, prefix: &str) -> ClientId {
        self.client_ids += 1;
        let text = format!("{prefix}{:016x}-{}-{}", self.client_id_seed, self.shard.0, self.client_ids);
        ClientId::from(text.as_str())
    }

    /// The identity of the next message: the shard in the upper 16 bits, its message count in the lower 48 bits.
    #[inline]
    pub(in crate::broker) const fn next_message_id(&mut self) -> MessageId {
        self.messages += 1;
        MessageId { run: self.run, number: (self.shard.0 as u64) << 48 | self.messages }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn identifiers_of_all_shards_differ() {
        let mut sources = [0, 1, u16::MAX].map(|shard| IdentifierSource::new(ShardId(shard), 7, 1));
        let (mut client_ids, mut messages) = (HashSet::new(), HashSet::new());
        for _ in 0..100 {
            for source in &mut sources {
                let client_id = source.next_client_id("auto-");
                assert!(client_id.as_str().starts_with("auto-0000000000000007-"), "{client_id}");
                assert!(client_ids.insert(client_id) && messages.insert(source.next_message_id()));
            }
        }
    }
}
