use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::codec::ClientId;
use crate::routing::Access;
use crate::topic::TopicName;

/// The number of a shard, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// The number of a Session, unchanged for its lifetime, even if it moves to another shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SessionKey(pub u64);

/// The location of a Session: its shard, and its slot there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The shard that owns the Session or will own it.
    pub shard: ShardId,
    /// The slot in that shard, or [`Location::ARRIVING`].
    pub slot: u32,
}

impl Location {
    /// The slot of a Session in transit to its shard.
    pub const ARRIVING: u32 = u32::MAX;
    /// The slot of a Session that has ended.
    pub const ENDED: u32 = u32::MAX - 1;
}

/// Which limits bound a Session: those of all Sessions, or one of the exceptions that the caller numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitsClass(u16);

impl LimitsClass {
    /// The limits of all Sessions.
    pub const GENERAL: Self = Self(0);
    /// The greatest number of exceptions.
    pub const EXCEPTIONS_MAX: usize = CLASSES as usize - 2;
    /// The class of the Sessions whose queues have the messages for other cells.
    pub const LINK: Self = Self(CLASSES - 1);

    /// The exception with this index, from 0; one beyond [`EXCEPTIONS_MAX`](Self::EXCEPTIONS_MAX) is none.
    pub fn exception(index: usize) -> Self {
        let number = u16::try_from(index + 1).ok().filter(|number| *number < Self::LINK.0);
        number.map_or(Self::GENERAL, Self)
    }

    /// The index of the exception; `None`: the limits of all Sessions.
    pub fn index(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

/// What a publisher's shard needs to know of a Session that receives messages: one allocation that the index, the routes and the Session
/// share.
#[derive(Debug)]
pub struct Subscriber {
    /// The Session.
    pub key: SessionKey,
    /// Its Client Identifier.
    pub client_id: ClientId,
    /// From the lowest bits: the slot (32), the shard (16), [`CONNECTED`], [`DURABLE`], [`AWAITED`] and [`RESTRICTED`], the class of limits (12).
    state: AtomicU64,
    next_sequence: AtomicU64,
    in_flight: AtomicU32,
    charged: AtomicU32,
    charged_bytes: AtomicUsize,
    access: ArcSwap<Access>,
}

/// The bounds of a Session's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// Maximum number of messages.
    pub messages: usize,
    /// Maximum number of bytes.
    pub bytes: usize,
}

impl QueueBounds {
    /// Those of the messages for another cell. A message beyond them is refused, or its publisher waits, whatever the settings say of queues that are full.
    pub const LINK: Self = Self { messages: 16 << 20, bytes: 1 << 30 };
}

impl Subscriber {
    /// A Session at `location`, not connected, with nothing in flight.
    pub fn new(key: SessionKey, client_id: ClientId, location: Location, access: Arc<Access>) -> Self {
        let subscriber = Self {
            key,
            client_id,
            state: AtomicU64::new(if access.is_restricted() { RESTRICTED } else { 0 }),
            next_sequence: AtomicU64::new(1),
            in_flight: AtomicU32::new(0),
            charged: AtomicU32::new(0),
            charged_bytes: AtomicUsize::new(0),
            access: ArcSwap::new(access),
        };
        subscriber.set_location(location);
        subscriber
    }

    /// The current location of the Session.
    pub fn location(&self) -> Location {
        let [a, b, c, d, e, f, _, _] = self.state.load(Ordering::Acquire).to_le_bytes();
        Location { slot: u32::from_le_bytes([a, b, c, d]), shard: ShardId(u16::from_le_bytes([e, f])) }
    }

    /// Sets the location of the Session.
    pub fn set_location(&self, location: Location) {
        let number = u64::from(location.slot) | u64::from(location.shard.0) << 32;
        let moved = |state: u64| Some(state & FLAGS | number);
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
    }

    /// Whether the Session is connected; shares prefer connected members.
    pub fn is_connected(&self) -> bool {
        self.has(CONNECTED, Ordering::Relaxed)
    }

    /// Sets whether the Session is connected.
    pub fn set_connected(&self, connected: bool) {
        self.mark(CONNECTED, connected);
    }

    /// Whether the Session outlives its Network Connection; then its messages must be stable before they are delivered.
    pub fn is_durable(&self) -> bool {
        self.has(DURABLE, Ordering::Relaxed)
    }

    /// Sets whether the Session outlives its Network Connection.
    pub fn set_durable(&self, durable: bool) {
        self.mark(DURABLE, durable);
    }

    /// Which limits bound the Session. While a reload reaches one shard after the other, the number may be that of the other configuration.
    pub fn limits_class(&self) -> LimitsClass {
        let [.., low, high] = self.state.load(Ordering::Relaxed).to_le_bytes();
        LimitsClass(u16::from_le_bytes([low, high]) >> CLASS_SHIFT)
    }

    /// Sets which limits bound the Session.
    pub fn set_limits_class(&self, class: LimitsClass) {
        let number = u64::from(class.0) << (48 + CLASS_SHIFT);
        let changed = |state: u64| (state & CLASS != number).then_some(state & !CLASS | number);
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, changed);
    }

    /// Whether its queue has the messages for another cell.
    pub fn is_link(&self) -> bool {
        self.limits_class() == LimitsClass::LINK
    }

    /// Takes the next sequence of the Session's queue of QoS 1 and 2 messages, from 1. A message must be delivered with
    /// it.
    pub fn take_sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// The sequence that is taken next.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence.load(Ordering::Relaxed)
    }

    /// Sets the next sequence of a restored Session, before any message is delivered to it.
    pub fn set_next_sequence(&self, sequence: u64) {
        self.next_sequence.store(sequence, Ordering::Relaxed);
    }

    /// The number of messages that the Session has not acknowledged; maintained only for Sessions with a Shared
    /// Subscription.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Sets the number of unacknowledged messages.
    pub fn set_in_flight(&self, messages: u32) {
        self.in_flight.store(messages, Ordering::Relaxed);
    }

    /// Reserves space for one message, if the bounds permit it. A single message larger than the queue is permitted.
    pub fn reserve(&self, bytes: usize, bounds: QueueBounds) -> bool {
        let one_more =
            |messages: u32| ((messages as usize) < bounds.messages).then(|| messages.checked_add(1)).flatten();
        let Ok(before) = self.charged.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more) else { return false };
        let more = |total: usize| (total + bytes <= bounds.bytes || before == 0).then_some(total + bytes);
        let fits = self.charged_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok();
        if !fits {
            self.charged.fetch_sub(1, Ordering::SeqCst);
        }
        fits
    }

    /// Whether the queue has space for `messages` messages of `bytes` bytes each.
    pub fn has_room(&self, messages: usize, bytes: usize, bounds: QueueBounds) -> bool {
        let charged = self.charged.load(Ordering::SeqCst) as usize;
        let total = self.charged_bytes.load(Ordering::SeqCst) + messages * bytes;
        charged + messages <= bounds.messages && (total <= bounds.bytes || charged == 0 && messages == 1)
    }

    /// The messages that use space in the queue, and their bytes.
    pub fn charged(&self) -> (usize, usize) {
        (self.charged.load(Ordering::Relaxed) as usize, self.charged_bytes.load(Ordering::Relaxed))
    }

    /// Whether a publisher waits for space in the queue. Then the code that releases space must resume it.
    pub fn is_awaited(&self) -> bool {
        self.has(AWAITED, Ordering::SeqCst)
    }

    /// Sets whether a publisher waits for space in the queue.
    pub fn set_awaited(&self, awaited: bool) {
        self.mark(AWAITED, awaited);
    }

    /// Reserves space for one message unconditionally: it counts against the bounds, but is not checked.
    pub fn charge(&self, bytes: usize) {
        self.charged.fetch_add(1, Ordering::Relaxed);
        self.charged_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Releases space. The caller must then resume waiting publishers: see [`is_awaited`](Self::is_awaited).
    pub fn free(&self, messages: usize, bytes: usize) {
        self.charged_bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.charged.fetch_sub(u32::try_from(messages).unwrap_or(u32::MAX), Ordering::SeqCst);
    }

    /// Sets the used space of a restored Session.
    pub fn set_charged(&self, messages: usize, bytes: usize) {
        self.charged.store(u32::try_from(messages).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.charged_bytes.store(bytes, Ordering::Relaxed);
    }

    fn has(&self, flag: u64, ordering: Ordering) -> bool {
        self.state.load(ordering) & flag != 0
    }

    fn mark(&self, flag: u64, is_set: bool) {
        if is_set {
            self.state.fetch_or(flag, Ordering::SeqCst);
        } else {
            self.state.fetch_and(!flag, Ordering::SeqCst);
        }
    }

    /// Whether its access rules allow to receive messages of `topic`.
    pub fn may_receive(&self, topic: &TopicName) -> bool {
        !self.has(RESTRICTED, Ordering::Acquire) || self.access().receive(topic)
    }

    /// The Session's access rules for receiving messages.
    pub fn access(&self) -> Arc<Access> {
        self.access.load_full()
    }

    /// Replaces the access rules. The caller must then count a change of the Session's subscriptions, to invalidate
    /// cached routes.
    pub fn set_access(&self, access: Arc<Access>) {
        let is_restricted = access.is_restricted();
        self.access.store(access);
        self.mark(RESTRICTED, is_restricted);
    }
}

/// Whether the Session is connected.
const CONNECTED: u64 = 1 << 48;
/// Whether the Session outlives its Network Connection.
const DURABLE: u64 = 1 << 49;
/// Whether a publisher waits for space in the queue.
const AWAITED: u64 = 1 << 50;
/// Whether access rules or a mount point restrict what it may receive: without them, no lock is needed.
const RESTRICTED: u64 = 1 << 51;
/// The class of limits: the highest 12 bits.
const CLASS: u64 = 0xFFF << (48 + CLASS_SHIFT);
/// Where the class begins in the highest 16 bits.
const CLASS_SHIFT: u32 = 4;
/// The number of classes.
const CLASSES: u16 = 1 << 12;
/// What a change of the location keeps.
const FLAGS: u64 = CONNECTED | DURABLE | AWAITED | RESTRICTED | CLASS;

const _: () = assert!(size_of::<Subscriber>() == 64);

#[cfg(test)]
mod tests;
