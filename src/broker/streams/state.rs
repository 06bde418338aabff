//! The state of one shard for the subscriptions of its Sessions to streams: reads in progress, and who waits.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use foldhash::quality::RandomState;

use crate::broker::streams::groups::fresh::Entering;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::read::{StreamCursorId, StreamRequest};
use crate::broker::streams::start::StreamStart;
use crate::routing::SessionKey;
use crate::session::Ticket;
use crate::topic::TopicFilter;

/// The reads of a shard, and the Sessions whose subscriptions wait.
///
/// Invariants: at most [`READS_MAX`] reads are in progress, no two of the same messages. A Session is in `ready` and in `starved` once at
/// most, and in `waiting` once for each stream.
#[derive(Debug, Default)]
pub(in crate::broker) struct Streams {
    /// Reads in progress.
    reads: Vec<Read>,
    /// The number of the last read.
    last_read: u64,
    /// The Sessions that have all messages of a stream.
    waiting: BTreeMap<StreamNumber, BTreeSet<Place>>,
    /// The Sessions that continue in the next turns, in that order.
    ready: PlaceQueue,
    /// The Sessions that continue when a read has ended, in that order.
    starved: PlaceQueue,
    /// The groups whose positions are to be stored.
    saves: Vec<u64>,
    /// Messages that wait for their records and go to groups, ascending by ticket.
    entering: VecDeque<Entering>,
}

/// A Session, by its slot and its key, or a [group](super::groups::group::Group::place).
pub(in crate::broker) type Place = (usize, SessionKey);

/// Sessions in their order, each once.
#[derive(Debug, Default)]
struct PlaceQueue {
    order: VecDeque<Place>,
    known: HashSet<Place, RandomState>,
}

impl PlaceQueue {
    fn push(&mut self, place: Place) {
        if self.known.insert(place) {
            self.order.push_back(place);
        }
    }

    fn pop(&mut self) -> Option<Place> {
        let place = self.order.pop_front()?;
        self.known.remove(&place);
        Some(place)
    }
}

/// A read in progress.
#[derive(Debug)]
struct Read {
    number: u64,
    key: ReadKey,
    /// The Sessions that wait for it.
    places: Vec<Place>,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct ReadKey {
    pub(in crate::broker) stream: StreamNumber,
    pub(in crate::broker) from: StreamStart,
    /// The wanted topics; `None`: all.
    pub(in crate::broker) filter: Option<TopicFilter>,
    pub(in crate::broker) messages_max: usize,
    pub(in crate::broker) bytes_max: usize,
}

impl Streams {
    /// Begins a read for a Session, or joins one of the same messages: all who wait for the next message of a stream share one read. Returns its
    /// number, and the request for the caller; `None`: too many reads are in progress, and the Session continues when one has ended.
    pub(in crate::broker) fn begin_read(
        &mut self,
        (slot, session): Place,
        key: ReadKey,
    ) -> Option<(u64, Option<StreamRequest>)> {
        if let Some(read) = self.reads.iter_mut().find(|read| read.key == key) {
            read.places.push((slot, session));
            return Some((read.number, None));
        }
        if self.reads.len() >= READS_MAX {
            self.starved.push((slot, session));
            return None;
        }
        self.last_read += 1;
        let number = self.last_read;
        let ReadKey { stream, from, filter, messages_max, bytes_max } = key.clone();
        self.reads.push(Read { number, key, places: vec![(slot, session)] });
        let cursor = StreamCursorId { slot, session, read: number };
        Some((number, Some(StreamRequest { cursor, stream, from, filter, messages_max, bytes_max })))
    }

    /// A read has ended. Returns the Sessions that wait for it.
    pub(in crate::broker) fn end_read(&mut self, number: u64) -> Vec<Place> {
        let place = self.reads.iter().position(|read| read.number == number);
        debug_assert!(place.is_some(), "an answer that nobody asked for");
        place.map(|place| self.reads.swap_remove(place).places).unwrap_or_default()
    }

    /// A Session has all messages of a stream.
    pub(in crate::broker) fn wait(&mut self, stream: StreamNumber, place: Place) {
        self.waiting.entry(stream).or_default().insert(place);
    }

    /// There are further messages of a stream: those who wait are ready.
    pub(in crate::broker) fn wake(&mut self, stream: StreamNumber) {
        for place in self.waiting.remove(&stream).unwrap_or_default() {
            self.defer(place);
        }
    }

    /// A Session continues in one of the next turns.
    pub(in crate::broker) fn defer(&mut self, place: Place) {
        self.ready.push(place);
    }

    /// The next Session that continues.
    pub(in crate::broker) fn next_ready(&mut self) -> Option<Place> {
        let may_read = self.reads.len() < READS_MAX;
        self.ready.pop().or_else(|| if may_read { self.starved.pop() } else { None })
    }

    /// Whether a Session continues in one of the next turns.
    pub(in crate::broker) fn has_ready(&self) -> bool {
        let may_read = self.reads.len() < READS_MAX;
        !self.ready.order.is_empty() || may_read && !self.starved.order.is_empty()
    }

    /// A Session has no subscriptions any more, or has left the shard. The answers to its reads will be ignored.
    pub(in crate::broker) fn forget(&mut self, place: Place) {
        self.waiting.values_mut().for_each(|waiting| _ = waiting.remove(&place));
    }

    /// The groups whose positions are to be stored, each once.
    pub(in crate::broker) const fn saves(&mut self) -> &mut Vec<u64> {
        &mut self.saves
    }

    /// A message waits for its record, and goes to groups then. They are as bounded as the records.
    pub(in crate::broker) fn enter(&mut self, message: Entering) {
        self.entering.push_back(message);
    }

    pub(in crate::broker) fn has_entering(&self) -> bool {
        !self.entering.is_empty()
    }

    /// The next message for groups; all records up to `stable` are.
    pub(in crate::broker) fn next_entered(&mut self, stable: Ticket) -> Option<Entering> {
        self.entering.front().filter(|next| next.ticket <= stable)?;
        self.entering.pop_front()
    }

    /// Whether a Session waits for further messages of a stream.
    #[cfg(test)]
    pub(in crate::broker) fn waits(&self, stream: StreamNumber, place: Place) -> bool {
        self.waiting.get(&stream).is_some_and(|waiting| waiting.contains(&place))
    }

    /// Whether a Session continues in one of the next turns.
    #[cfg(test)]
    pub(in crate::broker) fn is_ready(&self, place: Place) -> bool {
        let may_read = self.reads.len() < READS_MAX;
        self.ready.known.contains(&place) || may_read && self.starved.known.contains(&place)
    }

    /// Whether a Session continues when a read has ended.
    #[cfg(test)]
    pub(in crate::broker) fn is_starved(&self, place: Place) -> bool {
        self.starved.known.contains(&place) && self.reads.len() == READS_MAX
    }

    /// The Sessions that wait.
    #[cfg(test)]
    pub(in crate::broker) fn waiting(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }
}

/// The greatest number of reads of one shard at a time. Each occupies a thread that waits for the disk, and the memory of a chunk. The shard has
/// one thread more, for the queues of its Sessions.
pub(in crate::broker) const READS_MAX: usize = 3;
/// The greatest number of messages of one chunk for a subscription of a Session.
pub(in crate::broker) const CHUNK_MESSAGES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(from: u64) -> ReadKey {
        let from = StreamStart::Sequence(from);
        ReadKey { stream: StreamNumber(1), from, filter: None, messages_max: 1, bytes_max: 1 }
    }

    #[test]
    fn reads_are_bounded_and_numbered_and_the_same_one_is_shared() {
        let mut streams = Streams::default();
        let place = (3, SessionKey(9));
        for number in 1..=READS_MAX as u64 {
            let (read, request) = streams.begin_read(place, key(number)).unwrap();
            assert_eq!((read, request.unwrap().cursor.read), (number, number));
        }
        let starved = (5, SessionKey(11));
        assert!(streams.begin_read(starved, key(1_000)).is_none() && streams.is_starved(starved));
        let other = (4, SessionKey(10));
        assert!(matches!(streams.begin_read(other, key(2)), Some((2, None))));
        assert_eq!(streams.end_read(2), [place, other]);
        assert_eq!(streams.next_ready(), Some(starved));
        let filter = TopicFilter::try_from("a").ok();
        let (read, request) = streams.begin_read(place, ReadKey { filter, ..key(8) }).unwrap();
        assert!(read == READS_MAX as u64 + 1 && request.is_some());
    }

    #[test]
    fn a_session_is_ready_once_and_in_order() {
        let mut streams = Streams::default();
        let (a, b) = ((1, SessionKey(1)), (2, SessionKey(2)));
        streams.wait(StreamNumber(1), b);
        streams.defer(a);
        streams.defer(a);
        streams.wake(StreamNumber(2));
        assert_eq!(streams.waiting(), 1);
        streams.wake(StreamNumber(1));
        streams.wake(StreamNumber(1));
        assert_eq!((streams.next_ready(), streams.next_ready(), streams.next_ready()), (Some(a), Some(b), None));
        assert!(!streams.has_ready() && streams.waiting() == 0);
        // The order of a hash map must not reach an action.
        let places = (0..50).map(|slot| (slot, SessionKey(7)));
        places.clone().rev().for_each(|place| streams.wait(StreamNumber(1), place));
        streams.wake(StreamNumber(1));
        assert!(places.eq(std::iter::from_fn(|| streams.next_ready())));
    }
}
