use std::fmt;

/// The identity of a message that was accepted at QoS 1 or 2: the same on every delivery, repeat and restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The run of the broker that accepted it: random.
    pub run: u64,
    /// Which of that run's messages it is.
    pub number: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}-{:016x}", self.run, self.number)
    }
}

/// The length of its text.
pub(super) const MESSAGE_ID_LENGTH: usize = 33;
