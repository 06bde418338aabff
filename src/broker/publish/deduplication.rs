//! The deduplication windows: recently accepted messages by their `dedup-id`. A publisher that lost its Session state may publish a
//! message again, and it is routed once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytestring::ByteString;
use foldhash::quality::RandomState;

use crate::broker::cells::{DedupName, PermitMessage};
use crate::broker::ids::Origin;
use crate::broker::persistence::record::Deduplicated;
use crate::broker::publish::permit_requests::{Permit, PermitRequests};
use crate::routing::{CellId, ShardId};
use crate::session::Ticket;
use crate::timestamp::Timestamp;

/// The windows of all publishers, shared among shards.
#[derive(Debug, Default)]
pub(in crate::broker) struct Deduplication(Mutex<Windows>);

#[derive(Debug, Default)]
pub(super) struct Windows {
    publishers: HashMap<ByteString, Window, RandomState>,
    /// The publishers by the number of their identifiers.
    sizes: BTreeSet<(usize, ByteString)>,
    /// All entries by number, which is the order of acceptance.
    pub(super) all: BTreeMap<u64, WindowEntry>,
    last: u64,
    /// For users whose home is another cell.
    pub(super) requests: PermitRequests,
    /// What is to be sent to each other cell: at most [`OUTGOING_MAX`] of all.
    pub(super) outgoing: BTreeMap<CellId, Vec<PermitMessage>>,
}

/// The window of one publisher.
#[derive(Debug, Default)]
struct Window {
    numbers: HashMap<ByteString, u64, RandomState>,
    order: BTreeSet<u64>,
}

#[derive(Debug)]
pub(super) struct WindowEntry {
    publisher: ByteString,
    id: ByteString,
    at: Timestamp,
    pub(super) holder: Holder,
}

/// Who has accepted the message of an entry, or may accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// This cell, with this shard and record; `None` while it is being accepted.
    Here(Option<(ShardId, Ticket)>),
    /// This cell is the home of the publisher, and another one has the permit.
    Cell(CellId, Outcome),
}

/// What is known of a message that another cell may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Unknown,
    /// The cell was asked at this time.
    Asked(Timestamp),
    Accepted,
    /// The cell has not accepted it, and does not.
    Released,
}

/// What a window has of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// An entry that does not count any more.
    Left(u64),
    /// It is accepted here: by this shard with this record, if that is known yet.
    Here(Option<(ShardId, Ticket)>),
    /// Another cell has the permit, by the entry with this number.
    Permitted(u64, CellId),
    AcceptedElsewhere,
}

/// Whose message is looked up.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Claimant {
    /// The other cell whose permit is needed.
    pub(in crate::broker) home: Option<CellId>,
    /// The connection of the message.
    pub(in crate::broker) origin: Option<Origin>,
}

/// The bounds of a window.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct WindowBounds {
    pub(in crate::broker) time: Duration,
    /// The greatest number of identifiers of one publisher.
    pub(in crate::broker) ids_max: usize,
    /// The number of identifiers of all publishers together from which on each new one evicts the oldest of the publisher with the most:
    /// one publisher can't evict the identifiers of another that has fewer.
    pub(in crate::broker) all_max: usize,
}

/// The result of looking up a `dedup-id`.
#[derive(Debug)]
pub(in crate::broker) enum WindowLookup {
    /// New: the entry must be [confirmed](Deduplication::confirm) or [withdrawn](Deduplication::withdraw).
    New(Deduplicated),
    /// A message with this identifier is being accepted.
    Pending,
    /// A message with this identifier was accepted by this shard with this record; ticket 0: in another cell, where it is stable.
    Repeat(ShardId, Ticket),
    /// Another cell is to be asked, and the caller tries again later. What is to be sent is [there](Deduplication::take_outgoing).
    Elsewhere,
}

impl Deduplication {
    pub(super) fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up an identifier, and adds an entry if it is new. The new entry lists the entries that were evicted for it.
    pub(in crate::broker) fn claim(
        &self,
        now: Timestamp,
        bounds: WindowBounds,
        name: DedupName,
        Claimant { home, origin }: Claimant,
    ) -> WindowLookup {
        let mut windows = self.lock();
        let mut left = Vec::new();
        match windows.find(&name, now, bounds.time) {
            Found::Nothing => {}
            Found::Left(number) => left.extend(windows.remove(number)),
            Found::Here(None) => return WindowLookup::Pending,
            Found::Here(Some((shard, ticket))) => return WindowLookup::Repeat(shard, ticket),
            Found::Permitted(number, _) => {
                windows.ask_holder(number, now);
                return WindowLookup::Elsewhere;
            }
            Found::AcceptedElsewhere => return WindowLookup::Repeat(ShardId(0), Ticket::default()),
        }
        if let Some(home) = home {
            match windows.requests.take(&name, home, origin, now) {
                Permit::Granted => {}
                Permit::Duplicate => return WindowLookup::Repeat(ShardId(0), Ticket::default()),
                Permit::Awaited(number) => {
                    let message = number.map(|number| PermitMessage::Request { number, name });
                    message.into_iter().for_each(|message| windows.send(home, message));
                    return WindowLookup::Elsewhere;
                }
            }
        }
        WindowLookup::New(windows.enter((name, now, bounds, left), Holder::Here(None)))
    }

    /// The message of this entry was accepted.
    pub(in crate::broker) fn confirm(&self, number: u64, shard: ShardId, ticket: Ticket) {
        if let Some(entry) = self.lock().all.get_mut(&number) {
            entry.holder = Holder::Here(Some((shard, ticket)));
        }
    }

    /// The message of this entry was not accepted: removes the entry.
    pub(in crate::broker) fn withdraw(&self, number: u64) {
        self.lock().remove(number);
    }

    /// Removes up to `max` entries that are older than `time`, and returns their numbers.
    pub(in crate::broker) fn expire(&self, now: Timestamp, time: Duration, max: usize) -> Vec<u64> {
        let mut windows = self.lock();
        windows.requests.expire(now);
        let old = windows.all.iter().take_while(|(_, entry)| entry.at + time <= now);
        let is_settled = |entry: &WindowEntry| entry.holder != Holder::Here(None);
        let numbers: Vec<u64> = old.filter(|(_, entry)| is_settled(entry)).take(max).map(|(n, _)| *n).collect();
        numbers.iter().for_each(|number| _ = windows.remove(*number));
        numbers
    }

    /// Restores the entries of the previous run.
    pub(in crate::broker) fn restore(&self, entries: &[Deduplicated]) {
        let mut windows = self.lock();
        for entry in entries {
            let here = Holder::Here(Some((ShardId(0), Ticket::default())));
            windows.insert(entry, entry.holder.map_or(here, |cell| Holder::Cell(cell, Outcome::Unknown)));
        }
    }
}

impl Windows {
    /// What there is of a message.
    pub(super) fn find(&self, DedupName { publisher, id }: &DedupName, now: Timestamp, time: Duration) -> Found {
        let known = self.publishers.get(publisher).and_then(|window| window.numbers.get(id)).copied();
        let Some((number, entry)) = known.and_then(|number| Some((number, self.all.get(&number)?))) else {
            return Found::Nothing;
        };
        match entry.holder {
            _ if entry.at + time <= now => Found::Left(number),
            Holder::Here(accepted) => Found::Here(accepted),
            Holder::Cell(_, Outcome::Released) => Found::Left(number),
            Holder::Cell(_, Outcome::Accepted) => Found::AcceptedElsewhere,
            Holder::Cell(cell, Outcome::Unknown | Outcome::Asked(_)) => Found::Permitted(number, cell),
        }
    }

    /// Adds an entry for a message, of which there is none. `left`: the entries that have left for it.
    pub(super) fn enter(
        &mut self,
        (name, now, bounds, mut left): (DedupName, Timestamp, WindowBounds, Vec<u64>),
        holder: Holder,
    ) -> Deduplicated {
        let DedupName { publisher, id } = name;
        if let Some(window) = self.publishers.get(&publisher).filter(|window| window.order.len() >= bounds.ids_max) {
            let oldest = window.order.first().copied();
            left.extend(oldest.and_then(|number| self.remove(number)));
        }
        if self.all.len() >= bounds.all_max {
            let oldest = self.oldest_of_largest();
            left.extend(oldest.and_then(|number| self.remove(number)));
        }
        let number = self.last + 1;
        let cell = match holder {
            Holder::Here(_) => None,
            Holder::Cell(cell, _) => Some(cell),
        };
        let entry = Deduplicated { number, publisher, id, at: now, holder: cell, left };
        self.insert(&entry, holder);
        entry
    }

    /// Asks the cell with a permit what has become of it, unless that was done lately.
    pub(super) fn ask_holder(&mut self, number: u64, now: Timestamp) {
        let Some(entry) = self.all.get_mut(&number) else { return };
        let Holder::Cell(cell, outcome) = &mut entry.holder else { return };
        if matches!(outcome, Outcome::Asked(at) if *at + ASK_AGAIN > now) {
            return;
        }
        *outcome = Outcome::Asked(now);
        let (cell, name) = (*cell, DedupName { publisher: entry.publisher.clone(), id: entry.id.clone() });
        self.send(cell, PermitMessage::Question { number, name });
    }

    /// Keeps a message until it can be sent. One too many is forgotten: it is made again later.
    fn send(&mut self, to: CellId, message: PermitMessage) {
        if self.outgoing.values().map(Vec::len).sum::<usize>() < OUTGOING_MAX {
            self.outgoing.entry(to).or_default().push(message);
        }
    }

    fn insert(&mut self, entry: &Deduplicated, holder: Holder) {
        let Deduplicated { number, publisher, id, at, .. } = entry.clone();
        self.last = self.last.max(number);
        let window = self.publishers.entry(publisher.clone()).or_default();
        self.sizes.remove(&(window.order.len(), publisher.clone()));
        window.order.insert(number);
        window.numbers.insert(id.clone(), number);
        self.sizes.insert((window.order.len(), publisher.clone()));
        self.all.insert(number, WindowEntry { publisher, id, at, holder });
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<u64> {
        let entry = self.all.remove(&number)?;
        let window = self.publishers.get_mut(&entry.publisher)?;
        self.sizes.remove(&(window.order.len(), entry.publisher.clone()));
        window.order.remove(&number);
        window.numbers.remove(&entry.id);
        if window.order.is_empty() {
            self.publishers.remove(&entry.publisher);
        } else {
            self.sizes.insert((window.order.len(), entry.publisher));
        }
        Some(number)
    }

    /// The oldest entry of the publisher with the most entries.
    fn oldest_of_largest(&self) -> Option<u64> {
        let (_, publisher) = self.sizes.last()?;
        self.publishers.get(publisher)?.order.first().copied()
    }
}

/// After this time a cell with a permit is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// Messages for other cells that wait for connections to them.
const OUTGOING_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: WindowBounds = WindowBounds { time: Duration::from_secs(60), ids_max: 100, all_max: 12 };

    fn claim(windows: &Deduplication, publisher: &str, id: usize) -> WindowLookup {
        let name = DedupName { publisher: publisher.into(), id: id.to_string().into() };
        windows.claim(Timestamp(1_000), BOUNDS, name, Claimant { home: None, origin: None })
    }

    #[test]
    fn a_publisher_with_many_identifiers_evicts_only_its_own() {
        let windows = Deduplication::default();
        for id in 0..5 {
            assert!(matches!(claim(&windows, "few", id), WindowLookup::New(_)));
        }
        for id in 0..1_000 {
            let WindowLookup::New(entry) = claim(&windows, "many", id) else { panic!("{id}") };
            assert_eq!(entry.left.len(), usize::from(id >= 7), "{id}");
        }
        for id in 0..5 {
            assert!(matches!(claim(&windows, "few", id), WindowLookup::Pending), "{id}");
        }
        assert!(matches!(claim(&windows, "many", 999), WindowLookup::Pending));
        assert!(matches!(claim(&windows, "third", 0), WindowLookup::New(_)), "there is a share for a new publisher");
        assert!(matches!(claim(&windows, "many", 993), WindowLookup::New(_)), "it was evicted for the third");
        let windows = windows.lock();
        assert_eq!(windows.all.len(), BOUNDS.all_max);
        let sizes: Vec<_> = windows.sizes.iter().map(|(size, name)| (*size, &**name)).collect();
        assert_eq!(sizes, [(1, "third"), (5, "few"), (6, "many")]);
    }

    #[test]
    fn an_entry_that_is_removed_leaves_nothing() {
        let windows = Deduplication::default();
        let WindowLookup::New(entry) = claim(&windows, "p", 1) else { panic!() };
        windows.withdraw(entry.number);
        let windows = windows.lock();
        assert!(windows.all.is_empty() && windows.sizes.is_empty() && windows.publishers.is_empty());
    }
}
