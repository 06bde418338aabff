use std::cell::Cell;

use smallvec::SmallVec;

use crate::broker::StreamNumber;
use crate::server::clock::wall_time;
use crate::store::{Entry, Numbered, Refused, Store, Urgency};
use crate::timestamp::WallTime;

/// The wall clock, read once in a turn of a shard, when it first accepts a message of a stream.
#[derive(Debug, Default)]
pub(super) struct TurnTime(Cell<Option<WallTime>>);

impl TurnTime {
    /// The time of this turn.
    pub(super) fn get(&self) -> WallTime {
        let time = self.0.get().unwrap_or_else(wall_time);
        self.0.set(Some(time));
        time
    }

    pub(super) fn end_turn(&self) {
        self.0.set(None);
    }
}

/// Appends an entry, and puts its body into these streams with the time of its turn. Returns its sequences in them.
pub(super) fn append(
    store: &Store,
    (source, ticket, urgency): (usize, u64, Urgency),
    entry: &Entry<'_>,
    streams: &[StreamNumber],
    accepted: &TurnTime,
) -> Result<SmallVec<[u64; 2]>, Refused> {
    if streams.is_empty() {
        return store.append_unannounced(source, ticket, urgency, entry).map(|()| SmallVec::new());
    }
    let part = accepted.get().0.to_le_bytes();
    let (source, numbered) = ((source, ticket, urgency), |stream: &StreamNumber| numbered(*stream, &part));
    match streams {
        [only] => store.append_numbered(source, entry, &[numbered(only)]),
        _ => store.append_numbered(source, entry, &streams.iter().map(numbered).collect::<SmallVec<[_; 2]>>()),
    }
}

/// The same for the entries of a group, which is recovered as a whole or not at all; `streams` has those of each entry.
pub(super) fn append_together<'a>(
    store: &Store,
    (source, ticket, urgency): (usize, u64, Urgency),
    entries: &[Entry<'_>],
    streams: impl Iterator<Item = &'a [StreamNumber]>,
    accepted: &TurnTime,
) -> Result<Vec<SmallVec<[u64; 2]>>, Refused> {
    let part = accepted.get().0.to_le_bytes();
    let numbered = |stream: &StreamNumber| numbered(*stream, &part);
    let puts: Vec<SmallVec<[_; 2]>> = streams.map(|streams| streams.iter().map(numbered).collect()).collect();
    let puts: Vec<_> = puts.iter().map(|puts| &puts[..]).collect();
    store.append_together((source, ticket, urgency), entries, &puts)
}

const fn numbered(stream: StreamNumber, part: &[u8]) -> Numbered<'_> {
    Numbered { group: stream.group(), part }
}
