use std::sync::Arc;

use crate::broker::streams::start::StreamStart;
use crate::topic::TopicFilter;

/// A change of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupQuery {
    /// The group with this number goes on from here. What its members have not acknowledged is not awaited any more.
    Reset(u64, StreamStart),
    /// The group with this number is removed. It must not have connected members.
    Remove(u64),
}

/// Whether a group was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupAnswer {
    /// It was, and that is stable.
    Done,
    /// There is none with this number.
    Unknown,
    /// The sequence is below this one, the oldest that the stream keeps.
    Trimmed(u64),
    /// Another shard is storing its position: the caller tries again.
    Busy,
    /// It has connected members.
    HasMembers,
}

/// A group, and what it has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: Arc<str>,
    /// The topics that it gets; `None`: all of the stream.
    pub filter: Option<TopicFilter>,
    /// The first sequence that it has not acknowledged; `None`: nothing was read for it yet.
    pub position: Option<u64>,
    /// The messages that it has not acknowledged. Those that it has not read yet count, whether they match its filter or not.
    pub lag: u64,
    /// The number of connected members.
    pub members: usize,
    /// Messages that were sent to members and are not acknowledged.
    pub in_flight: usize,
}
