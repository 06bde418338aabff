//! Shares stored messages that are in memory: many Sessions that read the same messages decode each of them once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::fast::RandomState;

use crate::broker::persistence::grant::StoredGrant;
use crate::codec::Message;
use crate::session::{Delivery, DeliveryPlace};
use crate::timestamp::Timestamp;

/// The stored messages that are in memory, by their position in the store. All shards use one.
///
/// It has a weak reference to each added message, so it finds a message as long as any Session holds it. It also holds the newest messages itself,
/// up to a number of bytes. A new message replaces the oldest one, which is read from the store again when it is needed and no Session holds it.
#[derive(Debug)]
pub struct MessageCache {
    state: Mutex<State>,
    /// Whether there has been no message, so that a look-up needs no lock.
    is_unused: AtomicBool,
}

#[derive(Debug)]
struct State {
    copies: HashMap<u64, Copy, RandomState>,
    messages: HashMap<u64, Shared, RandomState>,
    /// At this number of copies and messages, those that are not in memory any more are removed.
    sweep_at: usize,
    /// The last messages, the oldest first.
    kept: VecDeque<(Arc<Message>, usize)>,
    kept_bytes: usize,
    bytes_max: usize,
}

/// A message as some of its receivers get it.
#[derive(Debug)]
struct Copy {
    shared: Shared,
    grant: StoredGrant,
}

/// A message of all its receivers.
#[derive(Debug, Clone)]
struct Shared {
    message: Weak<Message>,
    expires_at: Timestamp,
}

/// Where a copy of a message is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyPlace {
    /// The position of what its receiver has for itself.
    pub copy: u64,
    /// The position of the message.
    pub message: u64,
}

impl MessageCache {
    /// Keeps up to `bytes_max` bytes of messages.
    pub fn new(bytes_max: usize) -> Self {
        let state = State {
            copies: HashMap::default(),
            messages: HashMap::default(),
            sweep_at: SWEEP_MIN,
            kept: VecDeque::new(),
            kept_bytes: 0,
            bytes_max,
        };
        Self { state: Mutex::new(state), is_unused: AtomicBool::new(true) }
    }

    /// Changes the number of bytes that it keeps.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        let mut state = self.lock();
        state.bytes_max = bytes_max;
        state.shrink();
    }

    /// The copies at these positions, if they are in memory.
    pub(in crate::broker) fn copies(&self, positions: impl Iterator<Item = Option<u64>>) -> Vec<Option<Delivery>> {
        if self.is_unused.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let state = self.lock();
        let copy = |position: Option<u64>| state.copies.get(&position?)?.delivery();
        positions.map(copy).collect()
    }

    /// The message at a position for a receiver with this grant, if it is in memory.
    pub(in crate::broker) fn message(&self, position: u64, grant: &StoredGrant) -> Option<Delivery> {
        if self.is_unused.load(Ordering::Relaxed) {
            return None;
        }
        self.lock().messages.get(&position)?.delivery(grant)
    }

    /// Adds copies that were read.
    pub(in crate::broker) fn add(&self, copies: impl IntoIterator<Item = (CopyPlace, Delivery)>) {
        let mut copies = copies.into_iter().peekable();
        if copies.peek().is_none() {
            return;
        }
        self.is_unused.store(false, Ordering::Relaxed);
        let mut state = self.lock();
        for (place, delivery) in copies {
            state.add(place, delivery);
        }
        state.shrink();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, place: CopyPlace, Delivery { message, qos, retain, expires_at, matched, .. }: Delivery) {
        let shared = Shared { message: Arc::downgrade(&message), expires_at };
        let before = self.messages.insert(place.message, shared.clone());
        if self.copies.len() >= COPIES_MAX {
            // Each is found again by its message.
            self.copies.clear();
        }
        self.copies.insert(place.copy, Copy { shared, grant: StoredGrant { qos, retain, matched } });
        if before.is_none_or(|before| before.message.as_ptr() != Arc::as_ptr(&message)) {
            let bytes = message.content_len() + MESSAGE_BYTES;
            self.kept.push_back((message, bytes));
            self.kept_bytes += bytes;
        }
        if self.copies.len() + self.messages.len() >= self.sweep_at {
            self.shrink();
            self.copies.retain(|_, copy| copy.shared.message.strong_count() > 0);
            self.messages.retain(|_, shared| shared.message.strong_count() > 0);
            self.sweep_at = (2 * (self.copies.len() + self.messages.len())).max(SWEEP_MIN);
        }
    }

    fn shrink(&mut self) {
        while self.kept_bytes > self.bytes_max {
            let Some((_, bytes)) = self.kept.pop_front() else { break };
            self.kept_bytes -= bytes;
        }
    }
}

impl Copy {
    fn delivery(&self) -> Option<Delivery> {
        self.shared.delivery(&self.grant)
    }
}

impl Shared {
    fn delivery(&self, StoredGrant { qos, retain, matched }: &StoredGrant) -> Option<Delivery> {
        let message = self.message.upgrade()?;
        let (expires_at, matched, place) = (self.expires_at, matched.clone(), DeliveryPlace::Record);
        Some(Delivery { message, qos: *qos, retain: *retain, expires_at, matched, place })
    }
}

/// The bytes of a message in memory in addition to its content, with its entries in the tables.
const MESSAGE_BYTES: usize = 400;

const SWEEP_MIN: usize = 1_000;

/// About 5 MiB, for receivers that all get their messages in a different way.
const COPIES_MAX: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Qos;
    use crate::topic::TopicName;

    fn delivery(payload: &'static str, qos: Qos) -> Delivery {
        let message = Arc::new(Message::new(TopicName::new("t".into()).unwrap(), payload));
        let (expires_at, place) = (Timestamp(7), DeliveryPlace::Record);
        Delivery { message, qos, retain: false, expires_at, matched: None, place }
    }

    fn place(copy: u64, message: u64) -> CopyPlace {
        CopyPlace { copy, message }
    }

    fn copies(cache: &MessageCache, positions: &[u64]) -> Vec<Option<Delivery>> {
        cache.copies(positions.iter().map(|position| Some(*position)))
    }

    #[test]
    fn copies_of_one_message_share_it() {
        let cache = MessageCache::new(1_000_000);
        assert_eq!(copies(&cache, &[1]).len(), 0, "nothing is known");
        let first = delivery("x", Qos::AtLeastOnce);
        cache.add([(place(1, 10), first.clone())]);
        let grant = StoredGrant { qos: Qos::ExactlyOnce, retain: true, matched: None };
        let second = cache.message(10, &grant).unwrap();
        assert!(Arc::ptr_eq(&first.message, &second.message));
        assert_eq!((second.qos, second.retain, second.expires_at), (Qos::ExactlyOnce, true, Timestamp(7)));
        assert_eq!(cache.message(1, &grant), None);
        cache.add([(place(2, 10), second.clone())]);
        let known = [Some(first), None, Some(second)];
        assert_eq!(copies(&cache, &[1, 10, 2]), known);
        assert_eq!(cache.lock().kept.len(), 1);
    }

    #[test]
    fn the_oldest_messages_leave_first_unless_somebody_has_them() {
        let cache = MessageCache::new(3 * (MESSAGE_BYTES + 2));
        let held = delivery("0", Qos::AtLeastOnce);
        cache.add([(place(0, 100), held.clone())]);
        cache.add((1..=4).map(|at| (place(at, 100 + at), delivery("x", Qos::AtLeastOnce))));
        let known: Vec<_> = copies(&cache, &[0, 1, 2, 3, 4]).iter().map(Option::is_some).collect();
        assert_eq!(known, [true, false, true, true, true]);
        drop(held);
        assert_eq!(copies(&cache, &[0]), [None]);
        cache.set_bytes_max(0);
        assert_eq!(copies(&cache, &[2, 3, 4]), [None, None, None]);
    }

    #[test]
    fn different_copies_of_a_message_are_bounded() {
        let cache = MessageCache::new(1_000_000);
        let held = delivery("x", Qos::AtLeastOnce);
        cache.add((0..COPIES_MAX as u64 + 10).map(|at| (place(at, 1_000_000), held.clone())));
        let state = cache.lock();
        assert_eq!((state.copies.len(), state.messages.len(), state.kept.len()), (10, 1, 1));
    }

    #[test]
    fn the_tables_do_not_grow_with_messages_that_left() {
        let cache = MessageCache::new(10 * MESSAGE_BYTES);
        for at in 0..20_000 {
            cache.add([(place(at, 100_000 + at), delivery("x", Qos::AtLeastOnce))]);
        }
        let state = cache.lock();
        assert!(state.copies.len() + state.messages.len() <= SWEEP_MIN);
        assert_eq!(state.kept_bytes, state.kept.iter().map(|(_, bytes)| bytes).sum::<usize>());
    }
}
