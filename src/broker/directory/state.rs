use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::quality::RandomState;

use crate::broker::counters::Counters;
use crate::broker::directory::claim::{Claim, Holder};
use crate::broker::directory::index_change::{IndexChange, change_all_of};
use crate::broker::directory::room_waiters::RoomWaiters;
use crate::broker::publish::deduplication::Deduplication;
use crate::broker::retained::order::RetainedOrder;
use crate::codec::ClientId;
use crate::routing::{RetainedLimits, RetainedStore, RouteGenerations, SessionKey, ShardId, SubscriptionIndex};
use crate::session::Ticket;

/// What all shards share: the holders of Client Identifiers, the subscriptions, the retained messages, and counts. It is read often and changed
/// rarely.
#[derive(Debug)]
pub struct Shared {
    /// The first part of the identities of this run's messages.
    pub(in crate::broker) run: u64,
    holders: DashMap<ClientId, Holder, RandomState>,
    index: RwLock<SubscriptionIndex>,
    retained: RwLock<RetainedStore>,
    pub(in crate::broker) retained_order: RetainedOrder,
    /// Which cached routes the changes of the index concern.
    pub(in crate::broker) route_generations: RouteGenerations,
    keys: AtomicU64,
    claims: AtomicU64,
    sessions: AtomicUsize,
    pub(in crate::broker) deduplication: Deduplication,
    pub(in crate::broker) room_waiters: RoomWaiters,
    /// The last ticket of each shard that is stable.
    stable: Vec<AtomicU64>,
    counters: Mutex<Vec<Counters>>,
    /// Bytes from and to all clients.
    traffic: [AtomicU64; 2],
    /// The most clients that were connected at a time.
    connected_max: AtomicU64,
}

impl Shared {
    /// The empty state of `shards` shards.
    pub fn new(shards: usize, retained_limits: RetainedLimits) -> Self {
        Self {
            run: 0,
            holders: DashMap::default(),
            index: RwLock::new(SubscriptionIndex::new()),
            retained: RwLock::new(RetainedStore::new(retained_limits)),
            retained_order: RetainedOrder::new(shards),
            route_generations: RouteGenerations::new(),
            keys: AtomicU64::new(1),
            claims: AtomicU64::new(1),
            sessions: AtomicUsize::new(0),
            deduplication: Deduplication::default(),
            room_waiters: RoomWaiters::default(),
            stable: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            counters: Mutex::new(vec![Counters::default(); shards]),
            traffic: [AtomicU64::new(0), AtomicU64::new(0)],
            connected_max: AtomicU64::new(0),
        }
    }

    /// Sets a number that no other run has, with which the identities of its messages begin.
    pub fn of_run(self, run: u64) -> Self {
        Self { run, ..self }
    }

    /// Retained messages and their bytes.
    pub fn retained_len(&self) -> (usize, usize) {
        let retained = self.retained();
        (retained.len(), retained.bytes())
    }

    /// Subscriptions, and how many of them are shared.
    pub fn subscriptions_len(&self) -> (usize, usize) {
        let index = self.index();
        (index.subscription_count(), index.shared_subscription_count())
    }

    /// The counters of all shards added up, as of their last second.
    pub fn counters(&self) -> Counters {
        let shards = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        shards.iter().fold(Counters::default(), |sum, shard| sum + *shard)
    }

    /// Counts bytes that came from clients and went to them.
    pub fn add_traffic(&self, received: u64, sent: u64) {
        let [all_received, all_sent] = &self.traffic;
        all_received.fetch_add(received, Ordering::Relaxed);
        all_sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Bytes from and to all clients.
    pub(in crate::broker) fn traffic(&self) -> (u64, u64) {
        let [received, sent] = &self.traffic;
        (received.load(Ordering::Relaxed), sent.load(Ordering::Relaxed))
    }

    /// The most clients that were connected at a time, of which there are `connected` now.
    pub(in crate::broker) fn connected_max(&self, connected: u64) -> u64 {
        self.connected_max.fetch_max(connected, Ordering::Relaxed).max(connected)
    }

    /// The last ticket of a shard that is stable.
    pub(in crate::broker) fn stable(&self, shard: ShardId) -> Ticket {
        Ticket(self.stable.get(usize::from(shard.0)).map_or(0, |stable| stable.load(Ordering::Acquire)))
    }

    pub(in crate::broker) fn set_stable(&self, shard: ShardId, ticket: Ticket) {
        if let Some(stable) = self.stable.get(usize::from(shard.0)) {
            stable.store(ticket.0, Ordering::Release);
        }
    }

    pub(in crate::broker) fn publish_counters(&self, shard: ShardId, counters: Counters) {
        let mut shards: MutexGuard<'_, _> = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shards.get_mut(usize::from(shard.0)) {
            *place = counters;
        }
    }

    pub(in crate::broker) fn index(&self) -> RwLockReadGuard<'_, SubscriptionIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index for changes: cached routes that one concerns are void when it is dropped.
    pub(in crate::broker) fn index_mut(&self) -> IndexChange<'_> {
        let index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        IndexChange::new(index, &self.route_generations)
    }

    /// What a Session may receive has changed, which is part of the routes: those that its subscriptions concern are void.
    pub(in crate::broker) fn access_changed(&self, key: SessionKey) {
        let index = self.index();
        if index.subscription_count_of(key) > 0 {
            change_all_of(key, &index, &self.route_generations);
            self.route_generations.publish();
        }
    }

    pub(in crate::broker) fn retained(&self) -> RwLockReadGuard<'_, RetainedStore> {
        self.retained.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::broker) fn retained_mut(&self) -> RwLockWriteGuard<'_, RetainedStore> {
        self.retained.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::broker) fn next_key(&self) -> SessionKey {
        SessionKey(self.keys.fetch_add(1, Ordering::Relaxed))
    }

    /// Numbers new Sessions behind this one.
    pub(in crate::broker) fn number_behind(&self, session: Option<SessionKey>) {
        self.keys.fetch_max(session.map_or(1, |key| key.0 + 1), Ordering::Relaxed);
    }

    /// Makes `shard` the holder of a Client Identifier. Returns its claim, and the holder before it.
    pub(in crate::broker) fn claim(&self, client_id: &ClientId, shard: ShardId) -> (Claim, Option<Holder>) {
        // The number is taken under the entry's lock: claims of one identifier are in the order of their numbers.
        let entry = self.holders.entry(client_id.clone());
        let claim = Claim(self.claims.fetch_add(1, Ordering::Relaxed));
        let holder = Holder::new(shard, claim);
        match entry {
            Entry::Occupied(mut place) => (claim, Some(place.insert(holder))),
            Entry::Vacant(place) => {
                place.insert(holder);
                (claim, None)
            }
        }
    }

    /// Who holds a Client Identifier. Its Session may still be on the way to that shard.
    pub(in crate::broker) fn holder(&self, client_id: &ClientId) -> Option<Holder> {
        self.holders.get(client_id).map(|holder| *holder)
    }

    /// The shard that answers for a Client Identifier, if any does.
    pub fn shard_of(&self, client_id: &ClientId) -> Option<ShardId> {
        self.holder(client_id).map(Holder::shard)
    }

    /// The Session of this claim is gone: nobody holds the Client Identifier, unless somebody claimed it since.
    pub(in crate::broker) fn unclaim(&self, client_id: &ClientId, claim: Claim) {
        self.holders.remove_if(client_id, |_, holder| holder.claim() == claim);
    }

    /// Counts a new Session, unless there are `sessions_max` already.
    pub(in crate::broker) fn admit_session(&self, sessions_max: usize) -> bool {
        let admit = |sessions| (sessions < sessions_max).then_some(sessions + 1);
        self.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_ok()
    }

    /// A Session has ended.
    pub(in crate::broker) fn session_ended(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
