use crate::broker::owner::{AnonymousSessions, Owner, Succession};
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
    /// What it does to the Session.
    pub(in crate::broker) takes: Takes,
}

/// What a CONNECT does to the Session of the previous holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Takes {
    /// It resumes the Session.
    Session,
    /// The holder ends the Session: Clean Start.
    Nothing,
    /// The holder ends the Session: it belongs to someone else.
    NothingOfOthers,
}

/// A CONNECT that claims a Client Identifier.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct ClaimRequest<'a> {
    pub(in crate::broker) shard: ShardId,
    /// The client. It is known.
    pub(in crate::broker) owner: &'a Owner,
    pub(in crate::broker) anonymous_sessions: AnonymousSessions,
}

/// The claim of a CONNECT that is not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct Claimed {
    pub(in crate::broker) claim: Claim,
    /// The owner of the Client Identifier from now on.
    pub(in crate::broker) owner: Owner,
    pub(in crate::broker) prior: Option<Prior>,
}

/// The previous holder of a Client Identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct Prior {
    pub(in crate::broker) holder: Holder,
    /// The previous owner.
    pub(in crate::broker) owner: Owner,
    pub(in crate::broker) succession: Succession,
}

/// The holder of a Client Identifier, with the owner of its Session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct Held {
    pub(in crate::broker) holder: Holder,
    pub(in crate::broker) owner: Owner,
}

impl Held {
    /// Makes the claimant of `request` the holder, or returns the owner if the claim is refused: nothing is changed then.
    pub(in crate::broker) fn pass_to(&mut self, request: ClaimRequest<'_>, claim: Claim) -> Result<Claimed, Owner> {
        let succession = self.owner.succession(request.owner, request.anonymous_sessions);
        let before = self.clone();
        match succession {
            Succession::Refuse => return Err(before.owner),
            Succession::Keep => {}
            Succession::Adopt | Succession::End => self.owner = request.owner.clone(),
        }
        self.holder = Holder::new(request.shard, claim);
        let prior = Some(Prior { holder: before.holder, owner: before.owner, succession });
        Ok(Claimed { claim, owner: self.owner.clone(), prior })
    }
}

impl Takes {
    /// What a CONNECT takes of a Session.
    pub(in crate::broker) const fn of(clean_start: bool, succession: Succession) -> Self {
        match (succession, clean_start) {
            (Succession::End | Succession::Refuse, _) => Self::NothingOfOthers,
            (Succession::Keep | Succession::Adopt, true) => Self::Nothing,
            (Succession::Keep | Succession::Adopt, false) => Self::Session,
        }
    }

    /// Whether the holder ends the Session.
    pub(in crate::broker) const fn ends_session(self) -> bool {
        matches!(self, Self::Nothing | Self::NothingOfOthers)
    }
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
