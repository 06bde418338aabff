/// Where a subscription to a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStart {
    /// With the oldest message that is kept.
    Earliest,
    /// With the next message.
    Latest,
    /// With the message of this sequence.
    Sequence(u64),
    /// With the first message that was accepted at this time or later: milliseconds of the wall clock since the Unix epoch.
    Time(u64),
}
