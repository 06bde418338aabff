//! A group of subscribers of a stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::persistence::stream_group::{GroupPosition, StreamGroup};
use crate::broker::streams::groups::ledger::Ledger;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::state::Place;
use crate::routing::SessionKey;
use crate::topic::TopicFilter;

/// Which group a client means: its stream, its name, and the full topics that it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct GroupName {
    pub(in crate::broker) stream: StreamNumber,
    pub(in crate::broker) name: Arc<str>,
    pub(in crate::broker) filter: Option<TopicFilter>,
}

/// A group. All shards that have members share it.
#[derive(Debug)]
pub(in crate::broker) struct Group {
    pub(in crate::broker) number: u64,
    pub(in crate::broker) name: GroupName,
    ledger: Mutex<Ledger>,
}

impl Group {
    pub(in crate::broker) fn new(number: u64, name: GroupName, position: GroupPosition) -> Self {
        Self { number, name, ledger: Mutex::new(Ledger::new(position)) }
    }

    /// Its messages. Held for a few microseconds, and while no other lock is taken but that of the board of streams.
    pub(in crate::broker) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store has of it.
    pub(in crate::broker) fn stored(&self, position: GroupPosition) -> StreamGroup {
        let GroupName { stream, name, filter } = self.name.clone();
        StreamGroup { number: self.number, stream, name, filter, position: position.shortened() }
    }

    /// The place by which it waits among the Sessions of a shard.
    pub(in crate::broker) const fn place(&self) -> Place {
        (GROUP_SLOT, SessionKey(self.number))
    }

    /// The number of the group at a place; `None`: a Session is there.
    pub(in crate::broker) fn at((slot, key): Place) -> Option<u64> {
        (slot == GROUP_SLOT).then_some(key.0)
    }
}

/// No Session has this slot.
const GROUP_SLOT: usize = usize::MAX;
