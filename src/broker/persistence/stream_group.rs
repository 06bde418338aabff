use std::sync::Arc;

use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::start::StreamStart;
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

/// A group of subscribers of a stream, and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamGroup {
    /// Its number, which no other group of any stream has.
    pub number: u64,
    /// Its stream.
    pub stream: StreamNumber,
    /// Its name, that of the share.
    pub name: Arc<str>,
    /// The full topics that it gets; `None`: all of the stream.
    pub filter: Option<TopicFilter>,
    /// What it has acknowledged.
    pub position: GroupPosition,
}

/// Which messages of a stream a group has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPosition {
    /// The first message that is not acknowledged. If it is not a sequence, no message was read yet.
    pub from: StreamStart,
    /// The messages behind it and before this sequence are acknowledged, except for those in `open`.
    pub until: u64,
    /// Messages from `from` on and before `until` that are not acknowledged, in ascending order; at most [`OPEN_MAX`](Self::OPEN_MAX) are stored.
    pub open: Vec<u64>,
    /// Those of `open` that members have refused, in ascending order.
    pub refused: Vec<GroupRefusal>,
}

/// A message that members of a group have refused, and that is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRefusal {
    /// Its sequence.
    pub sequence: u64,
    /// How often it was refused.
    pub attempts: u16,
    /// When it is sent again.
    pub due: Timestamp,
}

impl GroupPosition {
    /// The greatest number of messages in `open` that are stored. Those behind them are read again after a restart, whether they were
    /// acknowledged or not.
    pub const OPEN_MAX: usize = 1_024;

    /// The position of a group that begins here.
    pub const fn new(from: StreamStart) -> Self {
        Self { from, until: 0, open: Vec::new(), refused: Vec::new() }
    }

    /// The same with at most [`OPEN_MAX`](Self::OPEN_MAX) open messages. Those behind them count as not read.
    pub(in crate::broker) fn shortened(mut self) -> Self {
        if let Some(next) = self.open.get(Self::OPEN_MAX).copied() {
            self.open.truncate(Self::OPEN_MAX);
            self.until = next;
            self.refused.retain(|refusal| refusal.sequence < next);
        }
        self
    }
}
