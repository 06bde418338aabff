//! Why a connection is not read.

/// A reason not to read from a connection. The table in [`flow_control`](super::flow_control) says who takes each of them away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum PauseReason {
    /// A provider is asked who the client is.
    Authenticating,
    /// Its Session is asked for, or CONNACK waits to be stable.
    Claiming,
    /// It doesn't take what it is answered.
    ResponsesUnsent,
    /// Too many responses, or too many bytes of them, wait for the store.
    ResponsesUnstable,
    /// Too many bytes of all clients wait for the store.
    StoreCongested,
    /// The mailbox of a shard that its messages go to is full.
    ShardFull,
    /// Its message waits for room in a queue or on the disk.
    NoRoom,
    /// Whether its message is a repeat turns out when a record of another shard is stable.
    DeduplicationPending,
    /// A receiver of its messages doesn't take them as fast as they come. Counted: one reason for each such receiver.
    SlowReceiver,
}

/// The reasons not to read from one connection. It is paused while there is any.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct PauseReasons {
    /// A bit for each of them but `SlowReceiver`.
    single: u8,
    /// How many receivers hold it.
    receivers: u32,
}

impl PauseReason {
    pub(in crate::broker) const ALL: [Self; 9] = [
        Self::Authenticating,
        Self::Claiming,
        Self::ResponsesUnsent,
        Self::ResponsesUnstable,
        Self::StoreCongested,
        Self::ShardFull,
        Self::NoRoom,
        Self::DeduplicationPending,
        Self::SlowReceiver,
    ];

    /// In words, for the log.
    pub(in crate::broker) const fn name(self) -> &'static str {
        match self {
            Self::Authenticating => "its authentication is not answered",
            Self::Claiming => "its session is not here yet",
            Self::ResponsesUnsent => "it does not take its responses",
            Self::ResponsesUnstable => "its responses wait for the store",
            Self::StoreCongested => "the store is congested",
            Self::ShardFull => "a shard is overloaded",
            Self::NoRoom => "there is no room for its message",
            Self::DeduplicationPending => "the first of its repeated message is not stable",
            Self::SlowReceiver => "a receiver is slow",
        }
    }

    /// `None` for the one that is counted.
    const fn bit(self) -> Option<u8> {
        if matches!(self, Self::SlowReceiver) { None } else { Some(1 << self as u8) }
    }
}

impl PauseReasons {
    pub(in crate::broker) const fn is_empty(self) -> bool {
        self.single == 0 && self.receivers == 0
    }

    pub(in crate::broker) const fn contains(self, reason: PauseReason) -> bool {
        match reason.bit() {
            Some(bit) => self.single & bit != 0,
            None => self.receivers > 0,
        }
    }

    /// Adds a reason. `true` if it is the first of all.
    pub(super) const fn add(&mut self, reason: PauseReason) -> bool {
        let was_empty = self.is_empty();
        match reason.bit() {
            Some(bit) => self.single |= bit,
            None => self.receivers = self.receivers.saturating_add(1),
        }
        was_empty
    }

    /// Takes a reason away. `true` if it was the last of all.
    pub(super) const fn remove(&mut self, reason: PauseReason) -> bool {
        let was_empty = self.is_empty();
        match reason.bit() {
            Some(bit) => self.single &= !bit,
            None => self.receivers = self.receivers.saturating_sub(1),
        }
        !was_empty && self.is_empty()
    }

    /// All of them in words, for the log.
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
        assert!(!reasons.add(PauseReason::NoRoom), "a single reason is there once");
        assert!(!reasons.remove(PauseReason::NoRoom));
        assert!(!reasons.remove(PauseReason::SlowReceiver));
        assert!(reasons.contains(PauseReason::SlowReceiver), "the other receiver still holds it");
        assert!(reasons.remove(PauseReason::SlowReceiver));
        assert!(!reasons.remove(PauseReason::SlowReceiver), "it was not paused");
        assert!(reasons.is_empty());
    }

    #[test]
    fn each_reason_is_told_from_the_others() {
        for reason in PauseReason::ALL {
            let mut reasons = PauseReasons::default();
            reasons.add(reason);
            assert!(PauseReason::ALL.into_iter().all(|other| reasons.contains(other) == (other == reason)));
            assert_eq!(reasons.describe(), reason.name());
        }
    }
}
