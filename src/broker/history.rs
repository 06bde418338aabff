//! What happened to the clients of one shard lately: connects, disconnects, refusals, the begin of drops, the end of Sessions.
//!
//! The oldest events are forgotten when a number of bytes is reached: [`CONNECTIONS_BYTES_MAX`] for events of clients that were accepted,
//! [`REFUSALS_BYTES_MAX`] for refusals, so that clients that are refused do not displace the others; a quarter of each while memory is short. An
//! event of a client refers to the one before it, so the events of one Client Identifier are found without a search. Nothing is stored.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::net::SocketAddr;

use foldhash::quality::RandomState;

use crate::broker::connection::last_end::{DisconnectKind, ReasonText};
use crate::broker::memory_level::MemoryLevel;
use crate::codec::{ClientId, ReasonCode};
use crate::timestamp::Timestamp;

/// The events of the clients of a shard.
#[derive(Debug, Default)]
pub(in crate::broker) struct History {
    hasher: RandomState,
    connections: Ring,
    refusals: Ring,
    is_short: bool,
}

/// An event of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct ClientEvent {
    pub(in crate::broker) client_id: ClientId,
    /// The last time, if it was repeated.
    pub(in crate::broker) at: Timestamp,
    pub(in crate::broker) kind: EventKind,
    pub(in crate::broker) address: Option<SocketAddr>,
    pub(in crate::broker) reason_code: Option<ReasonCode>,
    pub(in crate::broker) reason: Option<ReasonText>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// CONNECT was accepted.
    Connected,
    /// The connection ended.
    Disconnected(DisconnectKind),
    /// CONNECT was refused, or the connection ended before CONNACK.
    Refused,
    /// Messages to the client are being dropped: the first of a series.
    Dropping,
    /// The Session ended, although its client is not connected.
    SessionEnded,
}

impl EventKind {
    /// Its name in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected(DisconnectKind::Takeover) => "taken-over",
            Self::Disconnected(_) => "disconnected",
            Self::Refused => "refused",
            Self::Dropping => "dropping",
            Self::SessionEnded => "session-ended",
        }
    }

    /// Whether an event that is the same as the client's last one is counted with that.
    const fn is_counted(self) -> bool {
        matches!(self, Self::Refused | Self::Dropping)
    }
}

/// An event, and how often it was repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct CountedEvent {
    pub(in crate::broker) event: ClientEvent,
    pub(in crate::broker) count: u32,
    /// The hash of the Client Identifier.
    hash: u64,
    /// The number of the last event before with this hash; 0: there was none.
    previous: u64,
}

/// Events, the oldest first, numbered from 1.
///
/// Invariant: `newest` has the hash of each event's Client Identifier, with the number of the last event that has this hash.
#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<CountedEvent>,
    /// The number of the last event that was forgotten.
    forgotten: u64,
    newest: HashMap<u64, u64, RandomState>,
    bytes: usize,
}

impl History {
    /// Adds an event.
    pub(in crate::broker) fn add(&mut self, event: ClientEvent) {
        let hash = self.hasher.hash_one(&event.client_id);
        let share = if self.is_short { SHORT_SHARE } else { 1 };
        match event.kind {
            EventKind::Refused => self.refusals.add(hash, event, REFUSALS_BYTES_MAX / share),
            EventKind::Connected | EventKind::Disconnected(_) | EventKind::Dropping | EventKind::SessionEnded => {
                self.connections.add(hash, event, CONNECTIONS_BYTES_MAX / share);
            }
        }
    }

    /// The last events of a client, at most `limit`, the newest last.
    pub(in crate::broker) fn of(&self, client_id: &ClientId, limit: usize) -> Vec<CountedEvent> {
        let hash = self.hasher.hash_one(client_id);
        let both = [&self.connections, &self.refusals];
        let mut events: Vec<_> = both.iter().flat_map(|ring| ring.of(hash, client_id).take(limit)).cloned().collect();
        events.sort_by_key(|counted| std::cmp::Reverse(counted.event.at));
        events.truncate(limit);
        events.reverse();
        events
    }

    /// The last end of a connection of a client, among its last events.
    pub(in crate::broker) fn last_end<'a>(
        &'a self,
        client_id: &'a ClientId,
    ) -> Option<(&'a ClientEvent, DisconnectKind)> {
        let mut events = self.connections.of(self.hasher.hash_one(client_id), client_id).take(LOOKED_AT_MAX);
        events.find_map(|CountedEvent { event, .. }| match event.kind {
            EventKind::Disconnected(kind) => Some((event, kind)),
            EventKind::Connected | EventKind::Refused | EventKind::Dropping | EventKind::SessionEnded => None,
        })
    }

    /// Forgets three quarters while memory is short.
    pub(in crate::broker) fn limit(&mut self, level: MemoryLevel) {
        self.is_short = level >= MemoryLevel::High;
        if self.is_short {
            self.connections.shrink(CONNECTIONS_BYTES_MAX / SHORT_SHARE);
            self.refusals.shrink(REFUSALS_BYTES_MAX / SHORT_SHARE);
        }
    }
}

impl Ring {
    fn add(&mut self, hash: u64, event: ClientEvent, bytes_max: usize) {
        let previous = self.newest.get(&hash).copied().unwrap_or_default();
        if event.kind.is_counted()
            && let Some(last) = self.get_mut(previous).filter(|last| is_repeated(&last.event, &event))
        {
            last.event.at = event.at;
            last.count = last.count.saturating_add(1);
            return;
        }
        self.bytes += bytes(&event);
        self.events.push_back(CountedEvent { event, count: 1, hash, previous });
        self.newest.insert(hash, self.forgotten + self.events.len() as u64);
        self.drop_oldest(bytes_max);
    }

    /// The events of a client, the newest first.
    fn of<'a>(&'a self, hash: u64, client_id: &'a ClientId) -> impl Iterator<Item = &'a CountedEvent> {
        let newest = self.newest.get(&hash).and_then(|number| self.get(*number));
        let all = std::iter::successors(newest, |counted| self.get(counted.previous));
        all.filter(move |counted| counted.event.client_id == *client_id)
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.forgotten + 1)?).ok()
    }

    fn get(&self, number: u64) -> Option<&CountedEvent> {
        self.events.get(self.place(number)?)
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut CountedEvent> {
        let place = self.place(number)?;
        self.events.get_mut(place)
    }

    fn drop_oldest(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some(CountedEvent { event, hash, .. }) = self.events.pop_front()
        {
            self.bytes -= bytes(&event);
            self.forgotten += 1;
            if self.newest.get(&hash) == Some(&self.forgotten) {
                self.newest.remove(&hash);
            }
        }
    }

    /// Forgets the oldest events, and frees their memory.
    fn shrink(&mut self, bytes_max: usize) {
        self.drop_oldest(bytes_max);
        self.events.shrink_to_fit();
        self.newest.shrink_to_fit();
    }
}

fn is_repeated(last: &ClientEvent, event: &ClientEvent) -> bool {
    let ClientEvent { client_id, at: _, kind, address, reason_code, reason } = event;
    let ip = |address: &Option<SocketAddr>| address.map(|address| address.ip());
    last.client_id == *client_id
        && last.kind == *kind
        && ip(&last.address) == ip(address)
        && (last.reason_code, &last.reason) == (*reason_code, reason)
}

/// What an event uses.
fn bytes(event: &ClientEvent) -> usize {
    EVENT_BYTES + event.client_id.as_str().len() + event.reason.as_ref().map_or(0, ReasonText::heap_bytes)
}

/// An event with its place in the index, and what an allocation of its own adds.
const EVENT_BYTES: usize = size_of::<CountedEvent>() + 40;
/// Events of clients that were accepted: about 12,000 for each shard.
const CONNECTIONS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Refusals: about 3,000 for each shard.
const REFUSALS_BYTES_MAX: usize = 512 * 1024;
/// While memory is short, this part of both is left.
const SHORT_SHARE: usize = 4;
/// The last events of a client among which [`History::last_end`] looks.
const LOOKED_AT_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(client_id: &str, at: u64, kind: EventKind) -> ClientEvent {
        let client_id = ClientId::from(client_id);
        ClientEvent { client_id, at: Timestamp(at), kind, address: None, reason_code: None, reason: None }
    }

    fn times(history: &History, client_id: &str, limit: usize) -> Vec<u64> {
        history.of(&ClientId::from(client_id), limit).iter().map(|counted| counted.event.at.0).collect()
    }

    #[test]
    fn the_events_of_one_client_are_found_among_all() {
        let mut history = History::default();
        for (at, client_id) in (0..100).zip(["a", "b", "c"].iter().cycle()) {
            history.add(event(client_id, at, EventKind::Connected));
        }
        history.add(event("a", 100, EventKind::Refused));
        assert_eq!(times(&history, "a", 3), [96, 99, 100]);
        assert_eq!(times(&history, "b", 2), [94, 97]);
        assert_eq!(times(&history, "d", 2), [0; 0]);
        assert_eq!(times(&history, "a", 1_000).len(), 35);
    }

    #[test]
    fn the_oldest_events_are_forgotten_at_a_number_of_bytes_and_refusals_displace_no_others() {
        let mut history = History::default();
        history.add(event("first", 0, EventKind::Connected));
        let text = ReasonText::of(&"x".repeat(100));
        for at in 1..20_000 {
            let refused = event(&format!("c{at}"), at, EventKind::Refused);
            history.add(ClientEvent { reason: Some(text.clone()), ..refused });
            assert!(history.refusals.bytes <= REFUSALS_BYTES_MAX);
        }
        assert_eq!(times(&history, "first", 9), [0]);
        assert_eq!((times(&history, "c1", 9), times(&history, "c19999", 9)), (vec![], vec![19_999]));
        assert_eq!(history.refusals.newest.len(), history.refusals.events.len());
        for at in 20_000..60_000 {
            history.add(event(&format!("c{at}"), at, EventKind::Connected));
            assert!(history.connections.bytes <= CONNECTIONS_BYTES_MAX);
        }
        assert_eq!(times(&history, "first", 9), [0; 0]);
        let kept = history.connections.events.len();
        assert!((8_000..20_000).contains(&kept), "{kept}");
        history.limit(MemoryLevel::High);
        assert!(history.connections.events.len() <= kept / 4 + 1 && history.connections.events.len() > kept / 5);
        assert_eq!(times(&history, "c59999", 9), [59_999]);
        history.add(event("c59999", 60_000, EventKind::Connected));
        assert_eq!(times(&history, "c59999", 9), [59_999, 60_000]);
        assert!(history.connections.bytes <= CONNECTIONS_BYTES_MAX / 4);
    }

    #[test]
    fn a_repeated_refusal_or_drop_is_counted_and_a_connect_is_not() {
        let mut history = History::default();
        for at in 0..5 {
            history.add(event("a", at, EventKind::Refused));
            history.add(event("a", at, EventKind::Dropping));
        }
        history.add(ClientEvent { reason_code: Some(ReasonCode::Banned), ..event("a", 5, EventKind::Refused) });
        let counts: Vec<_> =
            history.of(&ClientId::from("a"), 9).iter().map(|counted| (counted.event.at.0, counted.count)).collect();
        assert_eq!(counts.len(), 3);
        assert_eq!(counts.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [5, 5, 1]);
        history.add(event("a", 6, EventKind::Connected));
        history.add(event("a", 7, EventKind::Connected));
        assert_eq!(times(&history, "a", 2), [6, 7]);
    }

    #[test]
    fn the_last_end_is_that_of_the_client() {
        let mut history = History::default();
        let end = EventKind::Disconnected(DisconnectKind::Closed);
        history.add(event("a", 1, end));
        history.add(event("a", 2, EventKind::Connected));
        history.add(event("b", 3, end));
        let last = history.last_end(&ClientId::from("a")).map(|(event, kind)| (event.at.0, kind));
        assert_eq!(last, Some((1, DisconnectKind::Closed)));
        assert_eq!(history.last_end(&ClientId::from("c")), None);
    }
}
