//! The reasons for which the broker stops reading from a connection.

/// A reason for which a connection is not read. The table in [`flow_control`](super::flow_control) lists what ends each reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum PauseReason {
    /// A provider authenticates the client.
    Authenticating,
    /// Another shard is asked for the Session, or CONNACK waits for its record to be stable.
    Claiming,
    /// The client does not read the responses that it caused: its outgoing buffer is full.
    ResponsesUnsent,
    /// Too many responses to the client, or too many bytes of them, wait for a commit.
    ResponsesUnstable,
    /// Too many bytes of all clients wait for a commit.
    StoreCongested,
    /// The mailbox of a shard that the client publishes to is full.
    ShardFull,
    /// A message of the client waits for room in a queue or on the disk.
    NoRoom,
    /// A message of the client has the `dedup-id` of a message whose record on another shard is not stable yet.
    DeduplicationPending,
    /// The client has sent more than its rate limits allow.
    RateLimited,
    /// A part of a SUBSCRIBE or UNSUBSCRIBE packet with many filters is handled in each turn.
    ManyFilters,
    /// The other cells do not know the filters of its SUBSCRIBE packet yet.
    CellsToBeTold,
    /// A message of another cell is for a share without a member here, and it is not known which cells have some.
    CellsUnknown,
    /// A receiver does not read its messages as fast as the client publishes them. Counted: one reason for each such receiver.
    SlowReceiver,
}

/// The reasons for which one connection is not read. It is paused while the set is not empty.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct PauseReasons {
    /// In the lowest 12 bits, one for each reason except `SlowReceiver`; above them, the number of receivers that the connection is paused for
    /// (`SlowReceiver`), up to 1,048,575.
    bits: u32,
}

/// One receiver in [`PauseReasons`].
const ONE_RECEIVER: u32 = 1 << PauseReason::SlowReceiver as u8;

impl PauseReason {
    pub(in crate::broker) const ALL: [Self; 13] = [
        Self::Authenticating,
        Self::Claiming,
        Self::ResponsesUnsent,
        Self::ResponsesUnstable,
        Self::StoreCongested,
        Self::ShardFull,
        Self::NoRoom,
        Self::DeduplicationPending,
        Self::RateLimited,
        Self::ManyFilters,
        Self::CellsToBeTold,
        Self::CellsUnknown,
        Self::SlowReceiver,
    ];

    /// The text for log lines and for the client API.
    pub(in crate::broker) const fn name(self) -> &'static str {
        match self {
            Self::Authenticating => "waiting for authentication",
            Self::Claiming => "waiting for its session",
            Self::ResponsesUnsent => "outgoing buffer full",
            Self::ResponsesUnstable => "responses waiting for a commit",
            Self::StoreCongested => "store congested",
            Self::ShardFull => "mailbox of another shard full",
            Self::NoRoom => "no room for its message",
            Self::DeduplicationPending => "first message with its dedup-id not committed",
            Self::RateLimited => "rate limit of the client",
            Self::ManyFilters => "packet with many filters",
            Self::CellsToBeTold => "other cells not told of its filters",
            Self::CellsUnknown => "other cells not known yet",
            Self::SlowReceiver => "receiver slow",
        }
    }

    /// The bit of this reason; `None` for `SlowReceiver`, which is counted.
    const fn bit(self) -> Option<u32> {
        if matches!(self, Self::SlowReceiver) { None } else { Some(1 << self as u8) }
    }
}

impl PauseReasons {
    pub(in crate::broker) const fn is_empty(self) -> bool {
        self.bits == 0
    }

    pub(in crate::broker) const fn contains(self, reason: PauseReason) -> bool {
        match reason.bit() {
            Some(bit) => self.bits & bit != 0,
            None => self.bits >= ONE_RECEIVER,
        }
    }

    /// Adds a reason. Returns `true` if the set was empty.
    pub(super) const fn add(&mut self, reason: PauseReason) -> bool {
        let was_empty = self.is_empty();
        match reason.bit() {
            Some(bit) => self.bits |= bit,
            None if self.bits > u32::MAX - ONE_RECEIVER => {} // more than a shard's connections
            None => self.bits += ONE_RECEIVER,
        }
        was_empty
    }

    /// Removes a reason. Returns `true` if the set is empty now and was not before.
    pub(super) const fn remove(&mut self, reason: PauseReason) -> bool {
        let was_empty = self.is_empty();
        match reason.bit() {
            Some(bit) => self.bits &= !bit,
            None if self.bits < ONE_RECEIVER => {}
            None => self.bits -= ONE_RECEIVER,
        }
        !was_empty && self.is_empty()
    }

    /// The texts of all reasons, separated by commas.
    pub(in crate::broker) fn describe(self) -> String {
        PauseReason::ALL
            .into_iter()
            .filter(|reason| self.contains(*reason))
            .map(PauseReason::name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_reason_pauses_and_only_the_last_resumes() {
        let mut reasons = PauseReasons::default();
        assert!(reasons.add(PauseReason::SlowReceiver));
        assert!(!reasons.add(PauseReason::SlowReceiver));
        assert!(!reasons.add(PauseReason::NoRoom));
        assert!(!reasons.add(PauseReason::NoRoom), "only SlowReceiver is counted");
        assert!(!reasons.remove(PauseReason::NoRoom));
        assert!(!reasons.remove(PauseReason::SlowReceiver));
        assert!(reasons.contains(PauseReason::SlowReceiver), "the second receiver is still slow");
        assert!(reasons.remove(PauseReason::SlowReceiver));
        assert!(!reasons.remove(PauseReason::SlowReceiver), "the set was empty");
        assert!(reasons.is_empty());
    }

    #[test]
    fn each_reason_is_distinct() {
        for reason in PauseReason::ALL {
            let mut reasons = PauseReasons::default();
            reasons.add(reason);
            assert!(PauseReason::ALL.into_iter().all(|other| reasons.contains(other) == (other == reason)));
            assert_eq!(reasons.describe(), reason.name());
        }
    }
}
