use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::broker::directory::SubscriptionTerms;
use crate::broker::tests::defaults::settings;
use crate::codec::{ClientId, Qos, RetainHandling, Subscription, SubscriptionOptions};
use crate::routing::{
    Access, AccessAction, AccessRule, Effect, Location, RetainedLimits, RuleSource, SessionKey, ShardId, ShareStrategy,
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
    let options =
        SubscriptionOptions { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send };
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
    routes.bytes_max = BYTES_MAX / 16;
    let full = |routes: &Routes| routes.bytes + FULL_MARGIN > routes.bytes_max;
    for number in 0..20_000 {
        // Twice: a topic that is used once is not cached.
        for _ in 0..2 {
            routes.resolve(&shared, &settings, &topic(&format!("t/{number}")));
        }
        if number % 100 == 0 {
            routes.resolve(&shared, &settings, &topic("used"));
        }
        assert!(routes.bytes <= routes.bytes_max);
    }
    let cached = routes.resolved.len();
    assert!(full(&routes) && (2_000..20_000).contains(&cached), "{cached}");
    assert_eq!(routes.bytes, counted(&routes));
    assert!(is_cached(&routes, "used"));
    for number in 20_000..40_000 {
        routes.resolve(&shared, &settings, &topic(&format!("t/{number}")));
    }
    assert_eq!(routes.resolved.len(), cached, "topics that are used once evict nothing");
    assert!(is_cached(&routes, "used"));
}

#[test]
fn topics_in_turn_that_do_not_all_fit_evict_few_of_each_other() {
    let shared = Shared::new(1, LIMITS).with_checked_directory();
    let (mut routes, settings) = (Routes::default(), settings());
    routes.bytes_max = BYTES_MAX / 16;
    let mut hits = 0;
    for turn in 0..8 {
        for number in 0..10_000 {
            let name = format!("t/{number}");
            hits += usize::from(turn == 7 && is_cached(&routes, &name));
            routes.resolve(&shared, &settings, &topic(&name));
        }
    }
    assert!(hits > routes.resolved.len() / 2, "{hits} of {}", routes.resolved.len());
}

#[test]
fn a_lower_bound_takes_effect_in_steps() {
    let shared = Shared::new(1, LIMITS).with_checked_directory();
    let (mut routes, settings) = (Routes::default(), settings());
    for number in 0..2 * 20_000 {
        routes.resolve(&shared, &settings, &topic(&format!("t/{}", number / 2)));
    }
    assert_eq!(routes.resolved.len(), 20_000);
    routes.limit(MemoryLevel::Critical);
    assert_eq!(routes.resolved.len(), 20_000 - EVICTED_MAX);
    for _ in 0..3 {
        routes.sweep(&shared);
    }
    assert!(routes.bytes <= routes.bytes_max && !routes.resolved.is_empty());
    assert!(routes.resolved.capacity() < 20_000, "the memory of the lists is freed, too");
    assert_eq!(routes.bytes, counted(&routes));
    routes.limit(MemoryLevel::Normal);
    assert_eq!(routes.bytes_max, BYTES_MAX);
}

#[test]
fn receivers_of_all_topics_are_one_list() {
    let shared = Shared::new(1, LIMITS).with_checked_directory();
    let (mut routes, settings) = (Routes::default(), settings());
    for number in 0..1_000 {
        subscribe(&shared, &subscriber(number), "#", Qos::AtMostOnce);
    }
    subscribe(&shared, &subscriber(7), "t/7", Qos::AtLeastOnce);
    for number in 0..1_000 {
        assert_eq!(routes.resolve(&shared, &settings, &topic(&format!("t/{number}"))).route.receivers.len(), 1_000);
    }
    assert_eq!(routes.lists.len(), 1);
    assert!(routes.bytes < 1_000 * (400 + size_of::<crate::routing::Receiver>()), "{}", routes.bytes);
    assert_eq!(routes.bytes, counted(&routes));
    subscribe(&shared, &subscriber(1_000), "#", Qos::AtMostOnce);
    for number in 0..500 {
        assert_eq!(routes.resolve(&shared, &settings, &topic(&format!("t/{number}"))).route.receivers.len(), 1_001);
    }
    assert_eq!(routes.lists.len(), 2, "other routes still have the old list");
    routes.sweep(&shared);
    assert_eq!(routes.lists.len(), 1);
    assert_eq!(routes.bytes, counted(&routes));
}

#[test]
fn a_route_that_does_not_fit_is_used_but_not_cached() {
    let shared = Shared::new(1, LIMITS).with_checked_directory();
    let (mut routes, settings) = (Routes::default(), settings());
    routes.bytes_max = 8 * 1024;
    for number in 0..100 {
        subscribe(&shared, &subscriber(number), &format!("{number}/#"), Qos::AtMostOnce);
        subscribe(&shared, &subscriber(number), "all", Qos::AtMostOnce);
    }
    assert_eq!(routes.resolve(&shared, &settings, &topic("1/a")).route.receivers.len(), 1);
    for number in 100..300 {
        subscribe(&shared, &subscriber(number), "all", Qos::AtMostOnce);
    }
    assert_eq!(routes.resolve(&shared, &settings, &topic("all")).route.receivers.len(), 300);
    assert!(!is_cached(&routes, "all"));
    for number in 0..300 {
        subscribe(&shared, &subscriber(number), "1/#", Qos::AtMostOnce);
    }
    assert_eq!(routes.resolve(&shared, &settings, &topic("1/a")).route.receivers.len(), 300);
    assert!(!is_cached(&routes, "1/a") && routes.bytes <= routes.bytes_max);
    assert_eq!(routes.bytes, counted(&routes));
}

fn is_cached(routes: &Routes, name: &str) -> bool {
    routes.places.contains_key(&routes.hasher.hash_one(name))
}

/// The bytes of all cached routes, counted anew.
fn counted(routes: &Routes) -> usize {
    let lists: BTreeMap<_, _> =
        routes.resolved.iter().flat_map(|resolved| resolved.route.receivers.shared_lists()).collect();
    assert_eq!(lists.len(), routes.lists.len());
    routes.resolved.iter().map(bytes_of).sum::<usize>() + lists.values().sum::<usize>()
}

fn matching(shared: &Shared, topic: &TopicName) -> Route {
    let mut route = Route::default();
    shared.directory.matching(topic, &mut route);
    route
}

#[test]
fn sweep_removes_invalid_routes() {
    let shared = Shared::new(1, LIMITS).with_checked_directory();
    let (mut routes, settings) = (Routes::default(), settings());
    let one = subscriber(1);
    subscribe(&shared, &one, "t/1", Qos::AtMostOnce);
    for number in (0..3_000).chain(0..3_000) {
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
                    let (effect, action, source) = (Effect::Allow, AccessAction::Both, RuleSource::new("acl", 1, ""));
                    let rule = AccessRule { effect, action, topic_filter, source };
                    subscribers[one].set_access(Arc::new(Access::new(vec![rule])));
                    shared.directory.access_changed(subscribers[one].key);
                }
                Step::Publish(shard, name) => used.push((shard, topic(&name))),
                Step::Sweep(shard) => caches[shard].sweep(&shared),
            }
            for (shard, topic) in &used {
                let cached = &caches[*shard].resolve(&shared, &settings, topic).route;
                prop_assert_eq!(seen(cached), seen(&matching(&shared, topic)), "{}", topic);
            }
        }
    }
}
