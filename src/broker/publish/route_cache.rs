use std::collections::HashMap;
use std::hash::BuildHasher;
use std::mem;
use std::sync::Arc;

use foldhash::{fast, quality};

use crate::broker::directory::state::Shared;
use crate::broker::memory_level::MemoryLevel;
use crate::broker::publish::resolved::Resolved;
use crate::broker::settings::Settings;
use crate::routing::{Route, RouteBuckets};
use crate::topic::TopicName;

/// One shard's cache of the receivers, the streams and the durability of recently used topics.
///
/// The first topics are cached at their first use, later ones at a repeated use. While the cache is full, few are, so that more topics in turn
/// than it can hold don't evict each other each time.
///
/// Invariants: a route that it returns is never older than the last change of subscriptions or access rules that affects it; see
/// [`RouteGenerations`](crate::routing::RouteGenerations). The cache takes no more bytes than its bound, except while a lower bound takes effect.
#[derive(Debug)]
pub(in crate::broker) struct Routes {
    /// The index of each topic in the two lists, by the hash of its name. Of topics with the same hash, one is cached.
    places: HashMap<u64, u32, fast::RandomState>,
    hasher: quality::RandomState,
    resolved: Vec<Resolved>,
    /// At the same indices; a separate list, because most look-ups do not need it.
    concerns: Vec<Option<Concern>>,
    /// The index of the route that was used last. Another one may be there now, or none.
    last: usize,
    /// The route of the last topic that is not cached.
    uncached: Resolved,
    /// The bytes of all cached routes.
    bytes: usize,
    bytes_max: usize,
    /// How many cached routes refer to each shared list of receivers.
    lists: HashMap<usize, u32, fast::RandomState>,
    /// Recently used topics that are not cached: a part of each hash, at the index that another part gives. Empty until it is needed.
    recent: Vec<u16>,
    /// Topics that were not cached because the cache was full, since the last that was.
    rejected: u32,
    /// The next index to check for eviction.
    next_evicted: usize,
    /// The next index to check for an invalid route.
    next_swept: usize,
}

/// The changes that affect a route. It is computed when a route is used again after a change.
#[derive(Debug)]
struct Concern {
    buckets: RouteBuckets,
    /// The number of these changes when the route was resolved.
    sum: u64,
}

/// What is found for a topic.
enum Found {
    Cached(usize),
    Uncached,
}

impl Routes {
    /// The receivers of `topic` and the durability of its messages.
    pub(in crate::broker) fn resolve(&mut self, shared: &Shared, settings: &Settings, topic: &TopicName) -> &Resolved {
        if self.is_last(shared, topic) {
            return self.resolved.get(self.last).unwrap_or(&self.uncached);
        }
        let hash = self.hasher.hash_one(topic.as_str());
        let found = match self.places.get(&hash).map(|place| *place as usize) {
            Some(place) => self.found(shared, settings, (place, topic)),
            None if self.admits(hash) => self.add(shared, settings, (hash, topic)),
            None => self.resolve_uncached(shared, settings, topic),
        };
        match found {
            Found::Cached(place) => {
                self.last = place;
                self.resolved.get(place).unwrap_or(&self.uncached)
            }
            Found::Uncached => &self.uncached,
        }
    }

    /// Whether `topic` is that of the last use of a cached route, and the route is valid: a publisher sends many messages to a topic in a row.
    #[inline]
    fn is_last(&mut self, shared: &Shared, topic: &TopicName) -> bool {
        let published = shared.route_generations.published();
        let last = self.resolved.get_mut(self.last).filter(|last| last.published == published);
        let Some(last) = last.filter(|last| last.topic.as_ref() == Some(topic)) else { return false };
        if !last.is_used {
            last.is_used = true;
        }
        true
    }

    /// Sets the bound of its bytes by the level of memory. A lower bound takes effect in steps, with [`sweep`](Self::sweep).
    pub(in crate::broker) fn limit(&mut self, level: MemoryLevel) {
        self.bytes_max = match level {
            MemoryLevel::Normal => BYTES_MAX,
            MemoryLevel::Elevated => BYTES_MAX / 4,
            MemoryLevel::High => BYTES_MAX / 16,
            MemoryLevel::Critical => BYTES_MAX / 64,
        };
        self.evict(EVICTED_MAX);
    }

    /// Removes invalid routes, which would otherwise keep ended Sessions alive until their topics are used again, and evicts routes above the
    /// bound. One call checks at most [`SWEPT_MAX`] routes; it is called every second.
    pub(in crate::broker) fn sweep(&mut self, shared: &Shared) {
        self.uncached = Resolved::default();
        self.evict(EVICTED_MAX);
        if self.resolved.capacity() > 4 * self.resolved.len() + ADMITTED_MIN {
            self.resolved.shrink_to(2 * self.resolved.len());
            self.concerns.shrink_to(2 * self.resolved.len());
            self.places.shrink_to(2 * self.resolved.len());
        }
        let published = shared.route_generations.published();
        for _ in 0..SWEPT_MAX.min(self.resolved.len()) {
            if self.next_swept >= self.resolved.len() {
                self.next_swept = 0;
            }
            if self.is_valid(shared, self.next_swept, published) {
                self.next_swept += 1;
            } else {
                self.remove(self.next_swept);
            }
        }
        self.check();
    }

    /// A cached topic with the hash of `topic`: makes its route valid.
    #[inline]
    fn found(&mut self, shared: &Shared, settings: &Settings, (place, topic): (usize, &TopicName)) -> Found {
        let published = shared.route_generations.published();
        match self.resolved.get_mut(place) {
            Some(resolved) if resolved.topic.as_ref() == Some(topic) => {
                if !resolved.is_used {
                    resolved.is_used = true;
                }
                if resolved.published == published {
                    Found::Cached(place)
                } else {
                    self.renew(shared, place, published)
                }
            }
            Some(_) | None => self.resolve_uncached(shared, settings, topic),
        }
    }

    /// Whether to cache a topic.
    fn admits(&mut self, hash: u64) -> bool {
        if self.resolved.len() < ADMITTED_MIN && self.bytes < self.bytes_max {
            return true;
        }
        if self.recent.is_empty() {
            self.recent = vec![0; RECENT_MAX];
        }
        let [a, b, c, d, ..] = hash.to_le_bytes();
        let Some(recent) = self.recent.get_mut(usize::from(u16::from_le_bytes([a, b]))) else { return false };
        let is_recent = mem::replace(recent, u16::from_le_bytes([c, d])) == *recent;
        if !is_recent {
            return false;
        }
        let is_full = self.bytes + FULL_MARGIN > self.bytes_max;
        self.rejected = if is_full { self.rejected.wrapping_add(1) } else { 0 };
        self.rejected.is_multiple_of(ADMITTED_SHARE)
    }

    /// Resolves a topic that is not cached, and does not cache it.
    fn resolve_uncached(&mut self, shared: &Shared, settings: &Settings, topic: &TopicName) -> Found {
        let uncached = &mut self.uncached;
        // Read before the subscriptions.
        uncached.published = shared.route_generations.published();
        uncached.level = settings.durability_of(topic);
        uncached.streams = shared.streams_of(topic);
        if Arc::get_mut(&mut uncached.route).is_none() {
            uncached.route = Arc::default(); // a group that is being forwarded has the last one
        }
        if let Some(route) = Arc::get_mut(&mut uncached.route) {
            shared.directory.matching(topic, route);
        }
        Found::Uncached
    }

    /// Resolves a topic that is not cached, and caches it if there is room.
    #[cold]
    fn add(&mut self, shared: &Shared, settings: &Settings, (hash, topic): (u64, &TopicName)) -> Found {
        let topic = topic.detached();
        // Read before the subscriptions, so that a concurrent change is noticed at the next use.
        let published = shared.route_generations.published();
        let mut route = Route::default();
        shared.directory.matching(&topic, &mut route);
        let level = settings.durability_of(&topic);
        let streams = shared.streams_of(&topic);
        let added = Resolved { topic: Some(topic), route: Arc::new(route), published, level, streams, is_used: false };
        let bytes = bytes_of(&added) + self.bytes_of_new_lists(&added.route);
        for _ in 0..SPARED_MAX {
            if self.bytes + bytes <= self.bytes_max || self.resolved.is_empty() {
                break;
            }
            let place = self.least_used();
            self.remove(place);
        }
        let place = self.resolved.len();
        let (true, Ok(number)) = (self.bytes + bytes <= self.bytes_max, u32::try_from(place)) else {
            self.uncached = Resolved { topic: None, ..added };
            return Found::Uncached;
        };
        self.charge(&added);
        self.resolved.push(added);
        self.concerns.push(None);
        self.places.insert(hash, number);
        self.check();
        Found::Cached(place)
    }

    /// Resolves a route again if a change before `published` affects it. It leaves the cache if its bytes exceed the bound then.
    #[cold]
    fn renew(&mut self, shared: &Shared, place: usize, published: u64) -> Found {
        let (Some(resolved), Some(concern)) = (self.resolved.get_mut(place), self.concerns.get_mut(place)) else {
            return Found::Uncached;
        };
        resolved.published = published;
        let Some(topic) = &resolved.topic else { return Found::Uncached };
        let generations = &shared.route_generations;
        let before = concern.as_ref().map(|concern| concern.sum);
        let concern = concern.get_or_insert_with(|| Concern { buckets: generations.buckets(topic), sum: 0 });
        concern.sum = generations.sum(&concern.buckets);
        if before == Some(concern.sum) {
            return Found::Cached(place);
        }
        let mut route = Route::default();
        shared.directory.matching(topic, &mut route);
        let (topic, route) = (Some(topic.clone()), Arc::new(route));
        let (level, streams) = (resolved.level, topic.as_ref().and_then(|topic| shared.streams_of(topic)));
        let renewed = Resolved { topic, route, published, level, streams, is_used: true };
        if self.bytes + bytes_of(&renewed) + self.bytes_of_new_lists(&renewed.route) > self.bytes_max {
            self.remove(place);
            self.uncached = Resolved { topic: None, ..renewed };
            return Found::Uncached;
        }
        self.charge(&renewed);
        let replaced = self.resolved.get_mut(place).map(|resolved| mem::replace(resolved, renewed));
        self.discharge(replaced.as_ref());
        Found::Cached(place)
    }

    /// Whether a route is known to be valid as of `published`.
    fn is_valid(&self, shared: &Shared, place: usize, published: u64) -> bool {
        let is_concerned = |concern: &Concern| shared.route_generations.sum(&concern.buckets) != concern.sum;
        match self.concerns.get(place) {
            Some(Some(concern)) => !is_concerned(concern),
            Some(None) | None => self.resolved.get(place).is_none_or(|resolved| resolved.published == published),
        }
    }

    /// Evicts routes while they take more bytes than the bound, at most `max`.
    fn evict(&mut self, max: usize) {
        for _ in 0..max {
            if self.bytes <= self.bytes_max {
                break;
            }
            let place = self.least_used();
            self.remove(place);
        }
    }

    /// The index of a route that was not used recently (second chance).
    fn least_used(&mut self) -> usize {
        for _ in 0..SPARED_MAX {
            if self.next_evicted >= self.resolved.len() {
                self.next_evicted = 0;
            }
            match self.resolved.get_mut(self.next_evicted) {
                Some(resolved) if resolved.is_used => resolved.is_used = false,
                Some(_) | None => break,
            }
            self.next_evicted += 1;
        }
        if self.next_evicted >= self.resolved.len() {
            self.next_evicted = 0;
        }
        self.next_evicted
    }

    /// Removes the route at this index; the last route of the list moves there.
    fn remove(&mut self, place: usize) {
        if place >= self.resolved.len() {
            return;
        }
        let removed = self.resolved.swap_remove(place);
        self.concerns.swap_remove(place);
        self.places.remove(&self.hash_of(&removed));
        self.discharge(Some(&removed));
        if let Some(moved) = self.resolved.get(place)
            && let Ok(number) = u32::try_from(place)
        {
            self.places.insert(self.hash_of(moved), number);
        }
    }

    fn hash_of(&self, resolved: &Resolved) -> u64 {
        self.hasher.hash_one(resolved.topic.as_ref().map_or("", TopicName::as_str))
    }

    /// The bytes of the lists that this route alone would refer to.
    fn bytes_of_new_lists(&self, route: &Route) -> usize {
        let lists = route.receivers.shared_lists();
        lists.filter(|(number, _)| !self.lists.contains_key(number)).map(|(_, bytes)| bytes).sum()
    }

    fn charge(&mut self, added: &Resolved) {
        self.bytes += bytes_of(added);
        for (number, bytes) in added.route.receivers.shared_lists() {
            let uses = self.lists.entry(number).or_default();
            if *uses == 0 {
                self.bytes += bytes;
            }
            *uses += 1;
        }
    }

    fn discharge(&mut self, removed: Option<&Resolved>) {
        let Some(removed) = removed else { return };
        self.bytes -= bytes_of(removed);
        for (number, bytes) in removed.route.receivers.shared_lists() {
            let Some(uses) = self.lists.get_mut(&number) else { continue };
            *uses -= 1;
            if *uses == 0 {
                self.lists.remove(&number);
                self.bytes -= bytes;
            }
        }
    }

    fn check(&self) {
        debug_assert_eq!(self.places.len(), self.resolved.len());
        debug_assert_eq!(self.concerns.len(), self.resolved.len());
    }
}

/// The bytes of a cached route, without those of shared lists of receivers.
fn bytes_of(resolved: &Resolved) -> usize {
    TOPIC_BYTES + resolved.outer_bytes()
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            places: HashMap::default(),
            hasher: quality::RandomState::default(),
            resolved: Vec::new(),
            concerns: Vec::new(),
            last: 0,
            uncached: Resolved::default(),
            bytes: 0,
            bytes_max: BYTES_MAX,
            lists: HashMap::default(),
            recent: Vec::new(),
            rejected: 0,
            next_evicted: 0,
            next_swept: 0,
        }
    }
}

/// Maximum size of all cached routes in bytes, including an estimate of the allocator's overhead: room for about 100,000 topics with a receiver each.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// The bytes of a cached topic beside its text and its route: its entries in the map and the lists, and four allocations.
const TOPIC_BYTES: usize = 4 * size_of::<u64>() + size_of::<Resolved>() + size_of::<Option<Concern>>() + 64;
/// The cache is full if it has no room for a route of this size.
const FULL_MARGIN: usize = 4 * 1024;
/// The number of topics that are cached at their first use.
const ADMITTED_MIN: usize = 1_024;
/// While the cache is full, one in this many topics is cached.
const ADMITTED_SHARE: u32 = 8;
/// The number of topics that are remembered.
const RECENT_MAX: usize = 1 << u16::BITS;
/// Recently used routes that one eviction skips at most, and routes that are evicted for a new one at most.
const SPARED_MAX: usize = 16;
/// Routes that one sweep checks.
const SWEPT_MAX: usize = 1_024;
/// Routes that are evicted at once when the bound gets lower: about two milliseconds.
const EVICTED_MAX: usize = 8 * 1_024;

#[cfg(test)]
mod tests;
