use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::codec::{ClientId, Qos, RetainHandling, Subscription};
use crate::routing::{Access, Location, ShardId, ShareStrategy, SubscriptionIndex};

fn subscriber(number: u64) -> Arc<Subscriber> {
    let location = Location { shard: ShardId(0), slot: 0 };
    Arc::new(Subscriber::new(SessionKey(number), ClientId("c".into()), location, Arc::new(Access::everything())))
}

fn filter(text: &str) -> Filter {
    Filter::try_from(text).unwrap()
}

fn subscribe(index: &mut SubscriptionIndex, session: u64, text: &str) {
    let options = SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let subscription = Subscription { filter: filter(text), options };
    index.subscribe(&subscriber(session), &subscription, None, ShareStrategy::RoundRobin);
}

fn text(listed: &ListedSubscription<'_>) -> (String, u64) {
    let filter = Filter { share: listed.share.cloned(), ..Filter::from(listed.filter.get().clone()) };
    (filter.to_string(), listed.subscriber.key.0)
}

/// Lists in pages of `limit`, each with `visits` visits.
fn list(index: &SubscriptionIndex, scope: ListingScope<'_>, limit: usize, visits: usize) -> Vec<(String, u64)> {
    let (mut all, mut from) = (Vec::new(), Some(SubscriptionPlace::default()));
    while let Some(place) = from {
        let (mut page, mut left) = (Vec::new(), visits);
        from = index.list(scope, &place, &mut left, |listed| {
            page.push(text(&listed));
            if page.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(0) }
        });
        assert!(page.len() <= limit.min(visits));
        assert_ne!(from.as_ref(), Some(&place), "a step makes progress");
        all.extend(page);
    }
    all
}

const FILTERS: [&str; 9] = ["a", "a/b", "a/+", "a/#", "#", "$share/g/a/b", "$share/h/a/b", "$share/g/a/#", "$SYS/#"];

proptest! {
    #[test]
    fn every_subscription_is_listed_once_whatever_the_pages(
        subscriptions in prop::collection::btree_set((0..FILTERS.len(), 1..6_u64), 0..30),
        limit in 1..5_usize,
        visits in 2..6_usize,
    ) {
        let mut index = SubscriptionIndex::new();
        for &(number, session) in &subscriptions {
            subscribe(&mut index, session, FILTERS[number]);
        }
        let expected = |wanted: &dyn Fn(&Filter) -> bool| -> BTreeSet<(String, u64)> {
            let of = subscriptions.iter().map(|&(number, session)| (FILTERS[number].to_owned(), session));
            of.filter(|(text, _)| wanted(&filter(text))).collect()
        };
        let check = |scope: ListingScope<'_>, wanted: &dyn Fn(&Filter) -> bool| {
            let listed = list(&index, scope, limit, visits);
            assert_eq!(listed, list(&index, scope, 100, 100), "the order does not depend on the pages");
            assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), expected(wanted));
            assert_eq!(listed.len(), expected(wanted).len());
        };
        check(ListingScope::All, &|_| true);
        for text in FILTERS {
            let one = filter(text);
            let is_wanted = |other: &Filter| {
                other.topic_filter == one.topic_filter && (one.share.is_none() || other.share == one.share)
            };
            check(ListingScope::Filter(&one), &is_wanted);
        }
        for name in ["a", "a/b", "a/b/c", "b", "$SYS/uptime"] {
            let topic = TopicName::try_from(name).unwrap();
            check(ListingScope::Matching(&topic), &|other| other.topic_filter.matches(&topic));
        }
    }
}

#[test]
fn a_listing_continues_when_its_place_is_gone() {
    let mut index = SubscriptionIndex::new();
    for session in 1..=3 {
        subscribe(&mut index, session, "a");
        subscribe(&mut index, session, "$share/g/a");
        subscribe(&mut index, session, "$share/h/a");
    }
    let scope = ListingScope::All;
    let after = |count: usize| {
        let (mut seen, mut visits) = (0, 100);
        index.list(scope, &SubscriptionPlace::default(), &mut visits, |_| {
            seen += 1;
            if seen == count { ControlFlow::Break(()) } else { ControlFlow::Continue(0) }
        })
    };
    let place = after(4).unwrap();
    assert_eq!((place.share.as_ref().map(ShareName::as_str), place.session), (Some("g"), SessionKey(2)));
    for session in 1..=3 {
        index.unsubscribe(SessionKey(session), &filter("$share/g/a"));
    }
    let (mut rest, mut visits) = (Vec::new(), 100);
    let end = index.list(scope, &place, &mut visits, |listed| {
        rest.push(text(&listed));
        ControlFlow::Continue(0)
    });
    assert_eq!((end, rest.len()), (None, 3));
    assert!(rest.iter().all(|(text, _)| text == "$share/h/a"));
}

#[test]
fn a_costly_subscription_ends_the_step() {
    let mut index = SubscriptionIndex::new();
    (1..=100).for_each(|session| subscribe(&mut index, session, "a"));
    let (mut seen, mut visits) = (0, 50);
    let next = index.list(ListingScope::All, &SubscriptionPlace::default(), &mut visits, |_| {
        seen += 1;
        ControlFlow::Continue(9)
    });
    assert!((1..=5).contains(&seen) && next.is_some(), "{seen}");
}
