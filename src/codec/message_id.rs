use std::fmt;

/// The identity of a message accepted at QoS 1 or 2. It is the same in every delivery and retransmission, also after a
/// restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// A random number of the broker's run that accepted the message.
    pub run: u64,
    /// The number of the message within that run.
    pub number: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}-{:016x}", self.run, self.number)
    }
}

/// The length of its text in bytes.
pub(super) const MESSAGE_ID_LENGTH: usize = 33;
