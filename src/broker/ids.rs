use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

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

/// Generates the Client Identifiers and message identities that a shard assigns. No two are the same in the broker.
#[derive(Debug)]
pub(in crate::broker) struct IdentifierSource {
    shard: ShardId,
    /// Its seed is random, so that a client cannot guess the assigned identifiers of other clients.
    client_ids: Box<ChaCha20Rng>,
    /// The number of this run of the broker.
    run: u64,
    messages: u64,
}

impl IdentifierSource {
    /// `client_id_seed` must be random. Each shard has a stream of its own.
    pub(in crate::broker) fn new(shard: ShardId, client_id_seed: [u8; 32], run: u64) -> Self {
        let mut client_ids = Box::new(ChaCha20Rng::from_seed(client_id_seed));
        client_ids.set_stream(u64::from(shard.0));
        Self { shard, client_ids, run, messages: 0 }
    }

    /// A new Client Identifier: `prefix`, and 128 random bits of its own. Other identifiers cannot be derived from it.
    /// [MQTT-3.1.3-6] [MQTT-3.2.2-16]
    pub(in crate::broker) fn next_client_id(&mut self, prefix: &str) -> ClientId {
        let (high, low) = (self.client_ids.next_u64(), self.client_ids.next_u64());
        let text = format!("{prefix}{high:016x}{low:016x}");
        ClientId::from(text.as_str())
    }

    /// A random number.
    pub(in crate::broker) fn random(&mut self) -> u64 {
        self.client_ids.next_u64()
    }

    /// The identity that [`next_message_id`](Self::next_message_id) returns next.
    pub(in crate::broker) const fn following_message_id(&self) -> MessageId {
        MessageId { run: self.run, number: (self.shard.0 as u64) << 48 | (self.messages + 1) }
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
        let mut sources = [0, 1, u16::MAX].map(|shard| IdentifierSource::new(ShardId(shard), [7; 32], 1));
        let (mut client_ids, mut messages) = (HashSet::new(), HashSet::new());
        for _ in 0..100 {
            for source in &mut sources {
                let client_id = source.next_client_id("auto-");
                let number = client_id.as_str().strip_prefix("auto-").unwrap();
                assert!(number.len() == 32 && u128::from_str_radix(number, 16).is_ok(), "{client_id}");
                assert!(client_ids.insert(client_id) && messages.insert(source.next_message_id()));
            }
        }
    }

    /// A simple statistical test: the bits of consecutive identifiers are set half of the time, and they differ in half of them.
    #[test]
    fn bits_of_assigned_identifiers_do_not_depend_on_each_other() {
        let mut source = IdentifierSource::new(ShardId(0), [7; 32], 1);
        let mut next = || u128::from_str_radix(source.next_client_id("").as_str(), 16).unwrap();
        let (mut set, mut differing) = ([0_u32; 128], 0_u32);
        let mut before = next();
        for _ in 0..1_000 {
            let number = next();
            differing += (number ^ before).count_ones();
            (0..128).for_each(|bit| set[bit] += u32::from(number >> bit & 1 == 1));
            before = number;
        }
        assert!(set.iter().all(|count| (400..600).contains(count)), "{set:?}");
        assert!((62_000..66_000).contains(&differing), "{differing}");
    }
}
