//! Queries of operators about kept dead letters, and their answers.

use crate::broker::persistence::dead_letter::{DeadLetter, DeadLetterInfo};
use crate::topic::TopicFilter;

/// A query about kept dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterQuery {
    /// Those with higher numbers than `after` whose topics the filter matches, at most `limit`; any shard answers.
    List {
        /// 0, or the last number of the previous page.
        after: u64,
        /// The shard limits it to 1 to `PAGE_MAX`.
        limit: usize,
        /// Which topics; `None`: all.
        filter: Option<TopicFilter>,
    },
    /// The one with this number, with its content; any shard answers.
    Show(u64),
    /// Put the one with this number into the queue that it came from. The shard of that Session answers when this is stable.
    Redrive(u64),
    /// Delete the one with this number. Any shard answers when this is stable.
    Discard(u64),
}

/// The answer to a [`DeadLetterQuery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterAnswer {
    /// A part of the list, and after which number it continues; `None`: it is complete.
    List(Vec<(u64, DeadLetterInfo)>, Option<u64>),
    /// The dead letter.
    Show(Result<Box<DeadLetter>, DeadLetterFailure>),
    /// Whether it was put into the queue, or deleted.
    Done(Result<(), DeadLetterFailure>),
}

/// Why a request about a dead letter is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterFailure {
    /// There is none with this number.
    Unknown,
    /// Its record is not stable yet, or another request is about it.
    Busy,
    /// Its Session is on another shard now.
    NotHere,
    /// Its Session has ended: there is no queue to put it into.
    SessionEnded,
    /// Its Session does not outlive its connection any more.
    SessionTransient,
    /// The queue is full.
    QueueFull,
    /// The client may not receive messages of its topic any more.
    NotAuthorized,
    /// Its Message Expiry Interval has passed.
    Expired,
    /// The store can't read it. Contains the cause.
    Unreadable(String),
}
