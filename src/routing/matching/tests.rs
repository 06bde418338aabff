use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;

use crate::codec::{ClientId, Qos, RetainHandling, Subscription, SubscriptionId, SubscriptionOptions};
use crate::routing::{
    Access, AccessAction, AccessRule, Effect, Location, Route, RuleSource, SessionKey, ShardId, ShareStrategy,
    Subscriber, SubscriptionIndex,
};
use crate::topic::{Filter, TopicFilter, TopicName};

/// Enough that some filters have a list of receivers, and some none.
const SESSIONS: usize = 120;
const FILTERS: [&str; 6] = ["#", "a/#", "+/b", "a/b", "a/+/c", "x"];

/// Sessions that subscribe to a filter at a QoS, or unsubscribe from it.
#[derive(Debug, Clone)]
struct Change {
    sessions: Range<usize>,
    filter: &'static str,
    qos: Option<Qos>,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let qos = prop::sample::select(vec![None, Some(Qos::AtMostOnce), Some(Qos::AtLeastOnce), Some(Qos::ExactlyOnce)]);
    let change = (0..SESSIONS, 0..SESSIONS, prop::sample::select(FILTERS.to_vec()), qos);
    let change = change.prop_map(|(from, count, filter, qos)| {
        let sessions = from..(from + count).min(SESSIONS);
        Change { sessions, filter, qos }
    });
    prop::collection::vec(change, 1..12)
}

/// Access to what `filter` matches.
fn only(filter: &str) -> Access {
    Access::new(vec![AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    }])
}

/// By Session: the QoS, and the filters, of which each has a Subscription Identifier.
fn expected(
    model: &BTreeMap<(usize, &str), Qos>,
    sessions: &[Arc<Subscriber>],
    topic: &TopicName,
) -> BTreeMap<u64, (Qos, Vec<u32>)> {
    let mut receivers = BTreeMap::new();
    for (&(session, filter), &qos) in model {
        if TopicFilter::try_from(filter).unwrap().matches(topic) && sessions[session].access().receive(topic) {
            let (highest, ids) = receivers.entry(session as u64).or_insert((Qos::AtMostOnce, Vec::new()));
            *highest = qos.max(*highest);
            ids.push(id_of(filter).get());
            ids.sort_unstable();
        }
    }
    receivers
}

fn id_of(filter: &str) -> SubscriptionId {
    let place = FILTERS.iter().position(|one| *one == filter).unwrap();
    SubscriptionId::new(u32::try_from(place).unwrap() + 1).unwrap()
}

proptest! {
    #[test]
    fn a_route_with_lists_has_each_receiver_once(
        changes in changes(),
        restricted in (0..SESSIONS, 0..SESSIONS, prop::sample::select(vec!["a/b", "x", "a/#", "none"])),
    ) {
        let location = Location { shard: ShardId(0), slot: 0 };
        let sessions: Vec<_> = (0..SESSIONS as u64)
            .map(|key| Subscriber::new(SessionKey(key), ClientId(key.to_string().into()), location, Arc::new(Access::everything())))
            .map(Arc::new)
            .collect();
        let (from, count, filter) = restricted;
        for session in sessions.iter().skip(from).take(count) {
            session.set_access(Arc::new(only(filter)));
        }
        let (mut index, mut model, mut route) = (SubscriptionIndex::new(), BTreeMap::new(), Route::default());
        for Change { sessions: concerned, filter: text, qos } in changes {
            let filter = Filter::try_from(text).unwrap();
            for session in concerned {
                if let Some(qos) = qos {
                    let options = SubscriptionOptions {
                        qos,
                        no_local: false,
                        retain_as_published: false,
                        retain_handling: RetainHandling::Send,
                    };
                    let subscription = Subscription { filter: filter.clone(), options };
                    index.subscribe(&sessions[session], &subscription, Some(id_of(text)), ShareStrategy::RoundRobin);
                    model.insert((session, text), qos);
                } else {
                    let existed = index.unsubscribe(SessionKey(session as u64), &filter);
                    prop_assert_eq!(existed, model.remove(&(session, text)).is_some());
                }
            }
            for topic in ["a/b", "a", "x", "a/x/c", "c/b", "$x"].map(|topic| TopicName::try_from(topic).unwrap()) {
                index.resolve(&topic, &mut route);
                let expected = expected(&model, &sessions, &topic);
                let receivers = &route.receivers;
                prop_assert_eq!(receivers.len(), expected.len(), "{}", topic);
                prop_assert_eq!(receivers.is_empty(), expected.is_empty());
                prop_assert_eq!(receivers.only().is_some(), expected.len() == 1);
                let seen: BTreeMap<_, _> = receivers.iter().map(|receiver| {
                    let delivery = receiver.delivery(None).unwrap();
                    (receiver.subscriber.key.0, (delivery.qos, delivery.subscription_ids()))
                }).collect();
                prop_assert_eq!(seen, expected, "{}", topic);
                for (place, receiver) in receivers.places() {
                    prop_assert!(receivers.get(place).is_some_and(|found| std::ptr::eq(found, receiver)));
                }
            }
        }
    }
}
