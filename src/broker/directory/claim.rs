use crate::routing::ShardId;

/// The number of a CONNECT that claimed a Client Identifier, ascending over all shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::broker) struct Claim(pub(in crate::broker) u64);

/// The holder of a Client Identifier: the last claim, and its shard in the lowest 16 bits. At 100,000 claims a second, 48 bits last for 89
/// years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Holder(u64);

impl Holder {
    pub(in crate::broker) fn new(shard: ShardId, claim: Claim) -> Self {
        Self(claim.0 << 16 | u64::from(shard.0))
    }

    pub(in crate::broker) const fn shard(self) -> ShardId {
        let [low, high, ..] = self.0.to_le_bytes();
        ShardId(u16::from_le_bytes([low, high]))
    }

    pub(in crate::broker) const fn claim(self) -> Claim {
        Claim(self.0 >> 16)
    }
}

/// A CONNECT that requests a Session from its holder.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Claimant {
    pub(in crate::broker) claim: Claim,
    pub(in crate::broker) shard: ShardId,
    /// Clean Start: the holder ends the Session instead of surrendering it.
    pub(in crate::broker) clean_start: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_returns_its_claim_and_shard() {
        for (shard, claim) in [(0, 0), (0, 1), (1, 0), (u16::MAX, 7), (3, (1 << 48) - 1)] {
            let holder = Holder::new(ShardId(shard), Claim(claim));
            assert_eq!((holder.shard(), holder.claim()), (ShardId(shard), Claim(claim)));
        }
    }
}
