use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::codec::{ClientId, Qos, RetainHandling};
use crate::routing::{Access, AccessAction, AccessRule, Delivery, Effect, Location, RuleSource, ShardId};
use crate::topic::TopicFilter;

fn subscriber(number: u64) -> Arc<Subscriber> {
    let location = Location { shard: ShardId(0), slot: 0 };
    let access = Arc::new(Access::everything());
    Arc::new(Subscriber::new(SessionKey(number), ClientId(format!("client {number}").into()), location, access))
}

fn at(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
}

fn filter(text: &str) -> Filter {
    Filter::try_from(text).unwrap()
}

fn topic(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

fn id(number: u32) -> Option<SubscriptionId> {
    SubscriptionId::new(number)
}

fn subscribe(index: &mut SubscriptionIndex, subscriber: &Arc<Subscriber>, text: &str) -> SubscribeOutcome {
    subscribe_with(index, subscriber, text, at(Qos::ExactlyOnce), None)
}

fn subscribe_with(
    index: &mut SubscriptionIndex,
    subscriber: &Arc<Subscriber>,
    text: &str,
    options: SubscriptionOptions,
    id: Option<SubscriptionId>,
) -> SubscribeOutcome {
    index.subscribe(subscriber, &Subscription { filter: filter(text), options }, id, ShareStrategy::RoundRobin)
}

fn receivers(index: &SubscriptionIndex, text: &str) -> Vec<u64> {
    let route = index.matching(&topic(text));
    let mut receivers: Vec<_> = route.receivers.iter().map(|receiver| receiver.subscriber.key.0).collect();
    receivers.sort_unstable();
    receivers
}

/// How the only receiver of a message to `text` receives it.
fn delivery(index: &SubscriptionIndex, text: &str, publisher: Option<SessionKey>) -> Option<Delivery> {
    let route = index.matching(&topic(text));
    route.receivers.only().unwrap().delivery(publisher).cloned()
}

#[test]
fn mqtt5_3_3_4_2_overlapping_subscriptions_are_one_copy_at_the_highest_qos() {
    let mut index = SubscriptionIndex::new();
    let alice = subscriber(1);
    for (text, qos) in [("a/#", Qos::AtMostOnce), ("a/+", Qos::ExactlyOnce), ("a/b", Qos::AtLeastOnce)] {
        subscribe_with(&mut index, &alice, text, at(qos), None);
    }
    assert_eq!(delivery(&index, "a/b", None).unwrap().qos, Qos::ExactlyOnce);
    assert_eq!(delivery(&index, "a/b/c", None).unwrap().qos, Qos::AtMostOnce);
    index.unsubscribe(alice.key, &filter("a/+"));
    assert_eq!(delivery(&index, "a/b", None).unwrap().qos, Qos::AtLeastOnce);
}

#[test]
fn mqtt5_3_3_4_3_a_message_has_the_identifiers_of_all_matching_subscriptions() {
    // covers: MQTT-3.3.4-4
    let mut index = SubscriptionIndex::new();
    let alice = subscriber(1);
    let subscriptions = [("a/b", id(7)), ("a/#", id(3)), ("+/b", None), ("#", id(7)), ("b", id(9))];
    for (text, id) in subscriptions {
        subscribe_with(&mut index, &alice, text, at(Qos::AtMostOnce), id);
    }
    let ids = delivery(&index, "a/b", None).unwrap().subscription_ids();
    assert_eq!(ids, [3, 7, 7], "one for each subscription, also equal ones");
    assert_eq!(delivery(&index, "c/b", None).unwrap().subscription_ids(), [7]);
}

#[test]
fn mqtt5_3_3_1_13_retain_is_kept_as_published_if_one_subscription_requests_it() {
    let mut index = SubscriptionIndex::new();
    let alice = subscriber(1);
    subscribe(&mut index, &alice, "a/b");
    assert!(!delivery(&index, "a/b", None).unwrap().retain_as_published);
    let options = SubscriptionOptions { retain_as_published: true, ..at(Qos::AtMostOnce) };
    subscribe_with(&mut index, &alice, "a/#", options, None);
    assert!(delivery(&index, "a/b", None).unwrap().retain_as_published);
}

#[test]
fn mqtt5_3_8_3_3_no_local_subscriptions_do_not_match_the_sessions_own_messages() {
    let mut index = SubscriptionIndex::new();
    let alice = subscriber(1);
    let no_local = |qos| SubscriptionOptions { no_local: true, retain_as_published: true, ..at(qos) };
    subscribe_with(&mut index, &alice, "a/#", no_local(Qos::ExactlyOnce), id(1));
    assert_eq!(delivery(&index, "a/b", Some(alice.key)), None);
    assert_eq!(delivery(&index, "a/b", Some(SessionKey(2))).unwrap().qos, Qos::ExactlyOnce);
    assert!(delivery(&index, "a/b", None).is_some());

    subscribe_with(&mut index, &alice, "a/b", at(Qos::AtLeastOnce), id(2));
    let of_others = delivery(&index, "a/b", Some(SessionKey(2))).unwrap();
    assert_eq!((of_others.qos, of_others.subscription_ids().len()), (Qos::ExactlyOnce, 2));
    let of_its_own = delivery(&index, "a/b", Some(alice.key)).unwrap();
    assert_eq!((of_its_own.qos, of_its_own.retain_as_published), (Qos::AtLeastOnce, false));
    assert_eq!(of_its_own.subscription_ids(), [2]);
}

#[test]
fn mqtt5_3_8_4_3_a_subscription_to_the_same_filter_replaces_the_previous_one() {
    let mut index = SubscriptionIndex::new();
    let alice = subscriber(1);
    assert_eq!(subscribe_with(&mut index, &alice, "a/+", at(Qos::ExactlyOnce), id(1)), SubscribeOutcome::New);
    assert_eq!(subscribe_with(&mut index, &alice, "a/+", at(Qos::AtMostOnce), id(2)), SubscribeOutcome::Replaced);
    let replaced = delivery(&index, "a/b", None).unwrap();
    assert_eq!(replaced.qos, Qos::AtMostOnce);
    assert_eq!(replaced.subscription_ids(), [2]);
    assert_eq!(index.subscription_count(), 1);
    let other = [subscribe(&mut index, &alice, "$share/g/a/+"), subscribe(&mut index, &alice, "a/#")];
    assert_eq!(other, [SubscribeOutcome::New; 2], "shared subscriptions and other filters are different subscriptions");
    assert_eq!(subscribe(&mut index, &alice, "$share/g/a/+"), SubscribeOutcome::Replaced);
    assert_eq!((index.subscription_count(), index.shared_subscription_count()), (3, 1));
}

#[test]
fn mqtt5_3_10_4_1_unsubscribing_removes_only_the_identical_filter() {
    let mut index = SubscriptionIndex::new();
    let (alice, bob) = (subscriber(1), subscriber(2));
    for text in ["a/+", "a/b", "$share/g/a/+"] {
        subscribe(&mut index, &alice, text);
    }
    subscribe(&mut index, &bob, "a/#");
    for other in ["a/#", "a", "+/b", "A/b", "$share/h/a/+", "$share/g/a/b"] {
        assert!(!index.unsubscribe(alice.key, &filter(other)), "{other}");
    }
    assert!(index.unsubscribe(alice.key, &filter("a/+")));
    assert!(!index.unsubscribe(alice.key, &filter("a/+")));
    assert_eq!(receivers(&index, "a/c"), [2]);
    assert_eq!(receivers(&index, "a/b"), [1, 2]);
    assert_eq!(index.matching(&topic("a/c")).shares.len(), 1);
    assert!(index.unsubscribe(alice.key, &filter("$share/g/a/+")));
    assert!(index.matching(&topic("a/c")).shares.is_empty());
    assert_eq!((index.subscription_count(), index.shared_subscription_count()), (2, 0));
}

#[test]
fn mqtt5_4_7_1_1_the_multi_level_wildcard_includes_the_parent() {
    let mut index = SubscriptionIndex::new();
    subscribe(&mut index, &subscriber(1), "sport/#");
    subscribe(&mut index, &subscriber(2), "#");
    assert_eq!(receivers(&index, "sport"), [1, 2]);
    assert_eq!(receivers(&index, "sport/"), [1, 2]);
    assert_eq!(receivers(&index, "sport/tennis/player1"), [1, 2]);
    assert_eq!(receivers(&index, "sports"), [2]);
}

#[test]
fn mqtt5_4_7_2_1_wildcards_at_the_beginning_dont_match_topics_that_start_with_a_dollar() {
    let mut index = SubscriptionIndex::new();
    for (number, text) in ["#", "+/#", "+/uptime", "$SYS/#", "$SYS/+", "$SYS/uptime"].into_iter().enumerate() {
        subscribe(&mut index, &subscriber(number as u64), text);
    }
    assert_eq!(receivers(&index, "$SYS/uptime"), [3, 4, 5]);
    assert_eq!(receivers(&index, "a/uptime"), [0, 1, 2]);
}

#[test]
fn mqtt5_4_7_3_4_filters_are_compared_without_normalization() {
    let mut index = SubscriptionIndex::new();
    for (number, text) in ["a/b", "a//b", "/a/b", "a/b/", "A/b", "a/+/"].into_iter().enumerate() {
        subscribe(&mut index, &subscriber(number as u64), text);
    }
    for (number, text) in ["a/b", "a//b", "/a/b", "a/b/", "A/b"].into_iter().enumerate() {
        let expected: &[u64] = if text == "a/b/" { &[3, 5] } else { &[number as u64] };
        assert_eq!(receivers(&index, text), expected, "{text}");
    }
}

#[test]
fn a_leaf_is_split_for_another_filter_with_the_same_first_level() {
    let mut index = SubscriptionIndex::new();
    let texts = ["a/b/c", "a/b/c/#", "a/b/+/d", "a/#", "+/b/c", "b/c", "c", "a/b/c/d", "a/b", "a/b/+/d/#"];
    for (number, text) in texts.into_iter().enumerate() {
        subscribe(&mut index, &subscriber(number as u64), text);
    }
    assert_eq!(receivers(&index, "a/b/c"), [0, 1, 3, 4]);
    assert_eq!(receivers(&index, "a/b/c/d"), [1, 2, 3, 7, 9]);
    assert_eq!(receivers(&index, "a/b/x/d/e"), [3, 9]);
    assert_eq!(receivers(&index, "a/b"), [3, 8]);
    assert_eq!(receivers(&index, "b/c"), [5]);
    assert_eq!(receivers(&index, "x/a/b/c"), [0; 0]);
    for (number, text) in texts.into_iter().enumerate() {
        assert!(index.unsubscribe(SessionKey(number as u64), &filter(text)), "{text}");
    }
    assert!(index.filters.is_empty());
}

#[test]
fn a_session_gets_no_message_that_its_access_rules_deny() {
    let mut index = SubscriptionIndex::new();
    let (alice, bob) = (subscriber(1), subscriber(2));
    let allow = AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Subscribe,
        topic_filter: TopicFilter::try_from("a/b").unwrap(),
        source: RuleSource::new("acl", 1, ""),
    };
    alice.set_access(Arc::new(Access::new(vec![allow])));
    for session in [&alice, &bob] {
        subscribe(&mut index, session, "a/#");
        subscribe(&mut index, session, "$share/g/a/#");
    }
    subscribe(&mut index, &alice, "$share/alone/a/#");
    let members = |text| {
        let route = index.matching(&topic(text));
        let keys = |share: &Share| share.members().iter().map(|member| member.0).collect();
        route.shares.iter().map(keys).collect::<Vec<Vec<u64>>>()
    };
    assert_eq!(receivers(&index, "a/b"), [1, 2]);
    assert_eq!(receivers(&index, "a/c"), [2]);
    assert_eq!(members("a/b"), [vec![1], vec![1, 2]]);
    assert_eq!(members("a/c"), [[2]]);
    assert!(index.share(&filter("$share/alone/a/#"), &topic("a/c")).is_none());
    assert!(index.share(&filter("$share/alone/a/#"), &topic("a/b")).is_some());
    assert!(index.share(&filter("a/#"), &topic("a/b")).is_none());
}

#[test]
fn the_receivers_of_a_route_do_not_change_with_the_index() {
    let mut index = SubscriptionIndex::new();
    let (alice, bob) = (subscriber(1), subscriber(2));
    subscribe(&mut index, &alice, "a");
    subscribe(&mut index, &alice, "$share/g/a");
    let route = index.matching(&topic("a"));
    subscribe(&mut index, &bob, "$share/g/a");
    subscribe_with(&mut index, &alice, "a", at(Qos::AtMostOnce), None);
    index.remove(alice.key);
    assert_eq!(route.receivers.only().unwrap().delivery(None).unwrap().qos, Qos::ExactlyOnce);
    assert_eq!(route.shares[0].members(), [bob.key], "a share chooses from its present members");
    let anew = index.matching(&topic("a"));
    assert!(anew.receivers.is_empty());
    assert_eq!(anew.shares[0].members(), [bob.key]);
}

#[test]
fn the_subscriptions_of_a_session_are_listed_with_their_options() {
    let mut index = SubscriptionIndex::new();
    let alice = subscriber(1);
    let options = SubscriptionOptions { retain_handling: RetainHandling::SendIfNew, ..at(Qos::AtLeastOnce) };
    let texts = ["#", "/", "/#", "+", "a/b/c", "a/+/c/d", "a//+", "+/", "$share/g/a/#", "$share/h/a/#", "$SYS/#"];
    for (number, text) in texts.into_iter().enumerate() {
        subscribe_with(&mut index, &alice, text, options, id(u32::try_from(number).unwrap()));
    }
    let listed: BTreeMap<String, _> =
        index.subscriptions_of(alice.key).map(|(subscription, id)| (subscription.filter.to_string(), id)).collect();
    let made =
        texts.into_iter().enumerate().map(|(number, text)| (text.to_owned(), id(u32::try_from(number).unwrap())));
    assert_eq!(listed, made.collect());
    assert!(index.subscriptions_of(alice.key).all(|(subscription, _)| subscription.options == options));
    assert_eq!(index.subscription_count_of(alice.key), texts.len());
    assert_eq!(index.subscriptions_of(SessionKey(2)).count(), 0);
}

#[test]
fn filters_of_thousands_of_levels_work() {
    let mut index = SubscriptionIndex::new();
    let alice = subscriber(1);
    let deep = [
        "+/".repeat(20_000) + "#",
        "a/".repeat(20_000) + "#",
        "a/".repeat(20_000) + "a",
        "+".to_owned() + &"/".repeat(60_000),
        "a/".repeat(20_000) + "b",
        "+/".repeat(20_000) + "c/#",
    ];
    for text in &deep {
        subscribe(&mut index, &alice, text);
    }
    assert_eq!(receivers(&index, &("a/".repeat(30_000) + "a")), [1]);
    assert_eq!(receivers(&index, &"/".repeat(60_000)), [1]);
    assert_eq!(receivers(&index, &"/".repeat(9_000)), [0; 0]);
    let listed: Vec<_> =
        index.subscriptions_of(alice.key).map(|(subscription, _)| subscription.filter.to_string()).collect();
    assert!(deep.iter().all(|text| listed.contains(text)));
    index.remove(alice.key);
    assert!(index.filters.is_empty());
}

#[test]
fn many_siblings_and_subscribers_are_added_and_removed() {
    let mut index = SubscriptionIndex::new();
    for number in 0..20_000 {
        let session = subscriber(number);
        subscribe(&mut index, &session, &format!("device/{number}/+"));
        subscribe(&mut index, &session, "all/#");
    }
    assert_eq!(receivers(&index, "device/1234/state"), [1234]);
    assert_eq!(receivers(&index, "all").len(), 20_000);
    for number in 0..20_000 {
        index.remove(SessionKey(number));
    }
    assert_eq!(index.subscription_count(), 0);
    assert!(index.filters.is_empty() && index.sessions.len() == 0);
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe { session: u64, filter: String, options: SubscriptionOptions, id: Option<SubscriptionId> },
    Unsubscribe { session: u64, filter: String },
    Remove { session: u64 },
}

fn filters() -> impl Strategy<Value = String> {
    ("(\\$share/[gh]/)?", "(\\$?[ab]?|\\+)(/([ab]?|\\+)){0,3}(/#)?|#")
        .prop_filter("not empty", |(_, filter)| !filter.is_empty())
        .prop_map(|(share, filter)| share + &filter)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let qos = prop::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
    let options = (qos, any::<bool>(), any::<bool>()).prop_map(|(qos, no_local, retain_as_published)| {
        SubscriptionOptions { qos, no_local, retain_as_published, retain_handling: RetainHandling::Send }
    });
    let step = prop_oneof![
        6 => (0..4_u64, filters(), options, 0..4_u32).prop_map(|(session, filter, options, number)| {
            Step::Subscribe { session, filter, options, id: id(number) }
        }),
        2 => (0..4_u64, filters()).prop_map(|(session, filter)| Step::Unsubscribe { session, filter }),
        1 => (0..4_u64).prop_map(|session| Step::Remove { session }),
    ];
    prop::collection::vec(step, 0..60)
}

type Model = BTreeMap<(u64, Filter), (SubscriptionOptions, Option<SubscriptionId>)>;

/// QoS, RETAIN as published, Subscription Identifiers.
type Told = (Qos, bool, Vec<u32>);

/// The expected delivery, from testing every subscription.
fn expected_delivery(model: &Model, session: u64, topic: &TopicName, publisher: u64) -> Option<Told> {
    let mut merged: Option<Told> = None;
    for ((_, filter), (options, id)) in
        model.iter().filter(|((of, filter), _)| *of == session && filter.share.is_none())
    {
        if filter.topic_filter.matches(topic) && !(options.no_local && publisher == session) {
            let (qos, retain_as_published, ids) = merged.get_or_insert((Qos::AtMostOnce, false, Vec::new()));
            *qos = options.qos.max(*qos);
            *retain_as_published |= options.retain_as_published;
            ids.extend(id.map(|id| id.get()));
            ids.sort_unstable();
        }
    }
    merged
}

fn expected_shares(model: &Model, topic: &TopicName) -> BTreeMap<Filter, Vec<u64>> {
    let mut shares = BTreeMap::new();
    for (session, filter) in
        model.keys().filter(|(_, filter)| filter.share.is_some() && filter.topic_filter.matches(topic))
    {
        shares.entry(filter.clone()).or_insert_with(Vec::new).push(*session);
    }
    shares
}

fn apply(step: Step, index: &mut SubscriptionIndex, model: &mut Model, sessions: &[Arc<Subscriber>]) {
    match step {
        Step::Subscribe { session, filter: text, mut options, id } => {
            options.no_local &= filter(&text).share.is_none();
            let replaced = model.insert((session, filter(&text)), (options, id)).is_some();
            let outcome = subscribe_with(index, &sessions[usize::try_from(session).unwrap()], &text, options, id);
            assert_eq!(outcome == SubscribeOutcome::Replaced, replaced);
        }
        Step::Unsubscribe { session, filter: text } => {
            let had = model.contains_key(&(session, filter(&text)));
            assert_eq!(index.is_subscribed(SessionKey(session), &filter(&text)), had);
            let removed = model.remove(&(session, filter(&text))).is_some();
            assert_eq!(index.unsubscribe(SessionKey(session), &filter(&text)), removed);
        }
        Step::Remove { session } => {
            model.retain(|(of, _), _| *of != session);
            index.remove(SessionKey(session));
        }
    }
}

proptest! {
    #[test]
    fn the_trie_matches_like_testing_every_filter(
        steps in steps(),
        topics in prop::collection::vec("\\$?[ab]?(/[ab]?){0,4}", 1..20),
    ) {
        let sessions: Vec<_> = (0..4).map(subscriber).collect();
        let (mut index, mut model) = (SubscriptionIndex::new(), Model::new());
        for step in steps {
            apply(step, &mut index, &mut model, &sessions);
        }
        for text in topics.iter().filter(|text| !text.is_empty()) {
            let topic = topic(text);
            let route = index.matching(&topic);
            for publisher in [0, 9] {
                let received: Vec<_> = route.receivers.iter().filter_map(|receiver| {
                    let delivery = receiver.delivery(Some(SessionKey(publisher)))?;
                    let told = (delivery.qos, delivery.retain_as_published, delivery.subscription_ids());
                    Some((receiver.subscriber.key.0, told))
                }).collect();
                let expected: Vec<_> = (0..4)
                    .filter_map(|session| Some((session, expected_delivery(&model, session, &topic, publisher)?)))
                    .collect();
                prop_assert_eq!(received, expected, "{}", text);
            }
            let shares: BTreeMap<_, _> = route.shares.iter().map(|share| {
                (Filter::clone(share.filter()), share.members().iter().map(|member| member.0).collect())
            }).collect();
            prop_assert_eq!(shares.len(), route.shares.len());
            prop_assert_eq!(shares, expected_shares(&model, &topic), "{}", text);
        }
        prop_assert_eq!(index.subscription_count(), model.len());
        prop_assert_eq!(index.shared_subscription_count(), model.keys().filter(|(_, filter)| filter.share.is_some()).count());
        for session in 0..4 {
            let listed: BTreeMap<_, _> = index.subscriptions_of(SessionKey(session))
                .map(|(subscription, id)| ((session, subscription.filter), (subscription.options, id))).collect();
            let made: Model = model.clone().into_iter().filter(|((of, _), _)| *of == session).collect();
            prop_assert_eq!(index.subscription_count_of(SessionKey(session)), made.len());
            prop_assert_eq!(listed, made);
            index.remove(SessionKey(session));
        }
        prop_assert!(index.filters.is_empty());
        prop_assert_eq!(index.sessions.len(), 0);
    }
}
