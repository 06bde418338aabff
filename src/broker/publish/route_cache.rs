use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::broker::directory::state::Shared;
use crate::broker::persistence::durability::Durability;
use crate::broker::settings::Settings;
use crate::routing::{Route, RouteBuckets};
use crate::topic::TopicName;

/// One shard's cache of the receivers and the durability of recently used topics.
///
/// Invariant: a route that it returns is never older than the last change of subscriptions or access rules that affects it; see
/// [`RouteGenerations`](crate::routing::RouteGenerations).
#[derive(Debug, Default)]
pub(in crate::broker) struct Routes {
    /// The index of each topic in the two lists.
    places: HashMap<TopicName, usize, RandomState>,
    resolved: Vec<Resolved>,
    /// At the same indices; a separate list, because most look-ups do not need it.
    concerns: Vec<Option<Concern>>,
    /// The number of receivers in all routes.
    receivers: usize,
    /// The next index to check for eviction.
    next_evicted: usize,
    /// The next index to check for an invalid route.
    next_swept: usize,
}

/// The cached values of a topic.
#[derive(Debug)]
pub(in crate::broker) struct Resolved {
    /// Its text is not a part of a read buffer, so that stored messages can share it.
    pub(in crate::broker) topic: TopicName,
    /// Shared with the groups that are forwarded to other shards.
    pub(in crate::broker) route: Arc<Route>,
    /// The number of published changes when the route was last known to be valid.
    published: u64,
    pub(in crate::broker) level: Durability,
    /// Whether it was used since the last check for eviction.
    is_used: bool,
}

/// The changes that affect a route. It is computed when a route is used again after a change.
#[derive(Debug)]
struct Concern {
    buckets: RouteBuckets,
    /// The number of these changes when the route was resolved.
    sum: u64,
}

impl Routes {
    /// The receivers of `topic` and the durability of its messages.
    #[expect(clippy::indexing_slicing, reason = "the map contains valid indices only")]
    pub(in crate::broker) fn resolve(&mut self, shared: &Shared, settings: &Settings, topic: &TopicName) -> &Resolved {
        let place = match self.places.get(topic) {
            Some(place) => *place,
            None => self.add(shared, settings, topic),
        };
        let published = shared.route_generations.published();
        if self.resolved[place].published != published {
            self.renew(shared, place, published);
        }
        let resolved = &mut self.resolved[place];
        if !resolved.is_used {
            resolved.is_used = true;
        }
        &self.resolved[place]
    }

    /// Removes invalid routes, which would otherwise keep ended Sessions alive until their topics are used again, and evicts routes while there
    /// are more than [`RECEIVERS_MAX`] receivers. One call checks at most [`SWEPT_MAX`] routes; it is called every second.
    pub(in crate::broker) fn sweep(&mut self, shared: &Shared) {
        while self.receivers > RECEIVERS_MAX && self.resolved.len() > 1 {
            let place = self.least_used();
            self.remove(place);
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

    /// Resolves a topic that is not cached, and returns its index.
    #[cold]
    fn add(&mut self, shared: &Shared, settings: &Settings, topic: &TopicName) -> usize {
        while self.receivers >= RECEIVERS_MAX && !self.resolved.is_empty() {
            let place = self.least_used();
            self.remove(place);
        }
        let topic = topic.detached();
        // Read before the subscriptions, so that a concurrent change is noticed at the next use.
        let published = shared.route_generations.published();
        let route = Arc::new(shared.directory.matching(&topic));
        let level = settings.durability_of(&topic);
        let added = Resolved { topic: topic.clone(), route, published, level, is_used: false };
        self.receivers += added.receivers();
        let mut place = self.resolved.len();
        if place >= ROUTES_MAX {
            place = self.least_used();
            self.next_evicted = place + 1;
        }
        if let (Some(resolved), Some(concern)) = (self.resolved.get_mut(place), self.concerns.get_mut(place)) {
            let evicted = mem::replace(resolved, added);
            *concern = None;
            self.receivers -= evicted.receivers();
            self.places.remove(&evicted.topic);
        } else {
            self.resolved.push(added);
            self.concerns.push(None);
        }
        self.places.insert(topic, place);
        self.check();
        place
    }

    /// Resolves a route again if a change before `published` affects it.
    #[cold]
    fn renew(&mut self, shared: &Shared, place: usize, published: u64) {
        let (Some(resolved), Some(concern)) = (self.resolved.get_mut(place), self.concerns.get_mut(place)) else {
            return;
        };
        let generations = &shared.route_generations;
        let before = concern.as_ref().map(|concern| concern.sum);
        let concern = concern.get_or_insert_with(|| Concern { buckets: generations.buckets(&resolved.topic), sum: 0 });
        concern.sum = generations.sum(&concern.buckets);
        if before != Some(concern.sum) {
            self.receivers -= resolved.receivers();
            resolved.route = Arc::new(shared.directory.matching(&resolved.topic));
            self.receivers += resolved.receivers();
        }
        resolved.published = published;
    }

    /// Whether a route is known to be valid as of `published`.
    fn is_valid(&self, shared: &Shared, place: usize, published: u64) -> bool {
        let is_concerned = |concern: &Concern| shared.route_generations.sum(&concern.buckets) != concern.sum;
        match self.concerns.get(place) {
            Some(Some(concern)) => !is_concerned(concern),
            Some(None) | None => self.resolved.get(place).is_none_or(|resolved| resolved.published == published),
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
        self.receivers -= removed.receivers();
        self.places.remove(&removed.topic);
        if let Some(moved) = self.resolved.get(place) {
            self.places.insert(moved.topic.clone(), place);
        }
    }

    fn check(&self) {
        debug_assert_eq!(self.places.len(), self.resolved.len());
        debug_assert_eq!(self.concerns.len(), self.resolved.len());
        debug_assert!(self.resolved.len() <= ROUTES_MAX);
    }
}

impl Resolved {
    /// The number of published changes of routes when the route was last known to be valid.
    #[inline]
    pub(in crate::broker) const fn published(&self) -> u64 {
        self.published
    }

    /// The number of receivers that are charged for the route; its topic counts as one more.
    fn receivers(&self) -> usize {
        1 + self.route.receivers.len() + self.route.shares.len()
    }
}

const _: () = assert!(size_of::<Resolved>() <= 64);

/// The greatest number of cached topics.
const ROUTES_MAX: usize = 65_536;
/// The greatest number of receivers in all cached routes, at about 50 bytes each; beyond it, routes are evicted.
const RECEIVERS_MAX: usize = 1 << 20;
/// Recently used routes that one eviction skips at most.
const SPARED_MAX: usize = 16;
/// Routes that one sweep checks.
const SWEPT_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::broker::directory::SubscriptionTerms;
    use crate::broker::tests::defaults::settings;
    use crate::codec::{ClientId, Qos, RetainHandling, Subscription, SubscriptionOptions};
    use crate::routing::{
        Access, AccessAction, AccessRule, Effect, Location, RetainedLimits, SessionKey, ShardId, ShareStrategy,
        Subscriber,
    };
    use crate::topic::{Filter, TopicFilter};

    const LIMITS: RetainedLimits = RetainedLimits { retained_messages_max: 0, retained_bytes_max: 0 };

    fn topic(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    fn subscriber(key: u64) -> Arc<Subscriber> {
        let location = Location { shard: ShardId(0), slot: 0 };
        let access = Arc::new(Access::everything());
        Arc::new(Subscriber::new(SessionKey(key), ClientId(format!("{key}").into()), location, access))
    }

    fn subscribe(shared: &Shared, subscriber: &Arc<Subscriber>, filter: &str, qos: Qos) {
        let options = SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let subscription = Subscription { filter: Filter::try_from(filter).unwrap(), options };
        let terms = SubscriptionTerms { strategy: ShareStrategy::RoundRobin, subscriptions_max: usize::MAX };
        shared.directory.subscribe(subscriber, &[(&subscription, None)], terms);
    }

    /// The receivers with their QoS, and the members of each share by its filter.
    fn seen(route: &Route) -> (BTreeMap<u64, Qos>, BTreeMap<String, Vec<u64>>) {
        let receivers = route.receivers.iter();
        let receivers = receivers.map(|one| (one.subscriber.key.0, one.delivery(None).unwrap().qos)).collect();
        let shares = route
            .shares
            .iter()
            .map(|share| (share.filter().to_string(), share.members().iter().map(|member| member.0).collect()));
        (receivers, shares.collect())
    }

    #[test]
    fn route_stays_cached_while_unrelated_subscriptions_change() {
        let shared = Shared::new(1, LIMITS).with_checked_directory();
        let (mut routes, settings) = (Routes::default(), settings());
        subscribe(&shared, &subscriber(1), "a/+", Qos::AtMostOnce);
        routes.resolve(&shared, &settings, &topic("a/b"));
        subscribe(&shared, &subscriber(2), "b", Qos::AtMostOnce);
        // This use after a change computes the buckets of the topic.
        let before = Arc::clone(&routes.resolve(&shared, &settings, &topic("a/b")).route);
        for number in 0..10 {
            subscribe(&shared, &subscriber(2), &format!("b/{number}/#"), Qos::AtMostOnce);
        }
        let route = &routes.resolve(&shared, &settings, &topic("a/b")).route;
        assert!(Arc::ptr_eq(&before, route));
        subscribe(&shared, &subscriber(2), "a/#", Qos::AtMostOnce);
        assert_eq!(routes.resolve(&shared, &settings, &topic("a/b")).route.receivers.len(), 2);
    }

    #[test]
    fn cache_is_bounded_and_keeps_used_routes() {
        let shared = Shared::new(1, LIMITS).with_checked_directory();
        let (mut routes, settings) = (Routes::default(), settings());
        for number in 0..2 * ROUTES_MAX {
            routes.resolve(&shared, &settings, &topic(&format!("t/{number}")));
            if number % 100 == 0 {
                routes.resolve(&shared, &settings, &topic("used"));
            }
        }
        assert_eq!(routes.resolved.len(), ROUTES_MAX);
        assert_eq!(routes.receivers, ROUTES_MAX);
        assert!(routes.places.contains_key(&topic("used")));
    }

    #[test]
    fn sweep_removes_invalid_routes() {
        let shared = Shared::new(1, LIMITS).with_checked_directory();
        let (mut routes, settings) = (Routes::default(), settings());
        let one = subscriber(1);
        subscribe(&shared, &one, "t/1", Qos::AtMostOnce);
        for number in 0..3_000 {
            routes.resolve(&shared, &settings, &topic(&format!("t/{number}")));
        }
        subscribe(&shared, &subscriber(2), "b", Qos::AtMostOnce);
        for number in 0..3_000 {
            routes.resolve(&shared, &settings, &topic(&format!("t/{number}")));
        }
        let refers = Arc::strong_count(&one);
        shared.directory.remove(SessionKey(1));
        for _ in 0..3 {
            routes.sweep(&shared);
        }
        assert!(routes.resolved.len() > 2_900, "{}", routes.resolved.len());
        assert_eq!(Arc::strong_count(&one), refers - 2, "neither the index nor the cache refers to it");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Subscribe(usize, String, bool),
        Unsubscribe(usize, String),
        End(usize),
        Access(usize, String),
        Publish(usize, String),
        Sweep(usize),
    }

    fn filters() -> impl Strategy<Value = String> {
        let filter = "(\\$?[ab]|\\+)(/([ab]?|\\+)){0,8}(/#)?|#";
        (prop::bool::weighted(0.3), filter).prop_map(
            |(is_shared, filter)| {
                if is_shared { format!("$share/g/{filter}") } else { filter }
            },
        )
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let names = "\\$?[ab](/[ab]?){0,8}";
        let step = prop_oneof![
            4 => (0..4_usize, filters(), any::<bool>()).prop_map(|(one, filter, high)| Step::Subscribe(one, filter, high)),
            2 => (0..4_usize, filters()).prop_map(|(one, filter)| Step::Unsubscribe(one, filter)),
            1 => (0..4_usize).prop_map(Step::End),
            1 => (0..4_usize, "[ab]/#|#|\\+").prop_map(|(one, filter)| Step::Access(one, filter)),
            6 => (0..2_usize, names).prop_map(|(shard, name)| Step::Publish(shard, name)),
            1 => (0..2_usize).prop_map(Step::Sweep),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        #[test]
        fn cached_route_equals_a_fresh_look_up(steps in steps()) {
            let (shared, settings) = (Shared::new(2, LIMITS).with_checked_directory(), settings());
            let mut caches = [Routes::default(), Routes::default()];
            let subscribers: Vec<_> = (0..4).map(subscriber).collect();
            let mut used = Vec::new();
            for step in steps {
                match step {
                    Step::Subscribe(one, filter, high) => {
                        let qos = if high { Qos::ExactlyOnce } else { Qos::AtMostOnce };
                        subscribe(&shared, &subscribers[one], &filter, qos);
                    }
                    Step::Unsubscribe(one, filter) => {
                        shared.directory.unsubscribe(subscribers[one].key, &[Filter::try_from(&*filter).unwrap()]);
                    }
                    Step::End(one) => shared.directory.remove(subscribers[one].key),
                    Step::Access(one, filter) => {
                        let topic_filter = TopicFilter::try_from(&*filter).unwrap();
                        let (effect, action, source) = (Effect::Allow, AccessAction::Both, "acl:1".into());
                        let rule = AccessRule { effect, action, topic_filter, source };
                        subscribers[one].set_access(Arc::new(Access::new(vec![rule])));
                        shared.directory.access_changed(subscribers[one].key);
                    }
                    Step::Publish(shard, name) => used.push((shard, topic(&name))),
                    Step::Sweep(shard) => caches[shard].sweep(&shared),
                }
                for (shard, topic) in &used {
                    let cached = &caches[*shard].resolve(&shared, &settings, topic).route;
                    prop_assert_eq!(seen(cached), seen(&shared.directory.matching(topic)), "{}", topic);
                }
            }
        }
    }
}
