//! Exclusive subscriptions: `$exclusive/TOPIC`.

use super::harness::{Client, Harness, recovered, settings};
use super::packets::*;
use crate::broker::Settings;
use crate::codec::{ClientPacket, Disconnect, ReasonCode};

const FILTER: &str = "$exclusive/t";

/// A durable client `a` with the exclusive subscription, and another client.
fn held(shards: usize) -> (Harness, Client, Client) {
    let mut harness = Harness::with(shards, settings());
    let holder = harness.connect(durable("a"));
    assert_eq!(harness.ask(holder, subscribe(FILTER, Q1)), ["SUBACK 1 01"]);
    let other = harness.connect_to(shards - 1, durable("b"));
    (harness, holder, other)
}

#[test]
fn one_session_gets_it_and_ordinary_subscribers_are_not_affected() {
    for shards in [1, 2] {
        let (mut harness, holder, other) = held(shards);
        assert_eq!(harness.ask(other, subscribe(FILTER, Q1)), ["SUBACK 1 97"]);
        assert_eq!(harness.ask(other, subscribe("t", Q1)), ["SUBACK 1 01"]);
        assert_eq!(harness.ask(other, subscribe("$exclusive/u", Q1)), ["SUBACK 1 01"]);
        assert_eq!(harness.ask(holder, subscribe(FILTER, Q2)), ["SUBACK 1 02"], "its own is replaced");
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [publish("t", "x", Q1, 1)]);
        assert_eq!(harness.received(holder), ["PUBLISH t x q1 #1"]);
        assert_eq!(harness.received(other), ["PUBLISH t x q1 #1"]);
    }
}

#[test]
fn it_is_released_by_unsubscribe_by_an_ordinary_subscription_and_by_the_end_of_the_session() {
    let release: [fn(&mut Harness, Client); 4] = [
        |harness, holder| assert_eq!(harness.ask(holder, unsubscribe(2, &[FILTER])), ["UNSUBACK 2 00"]),
        |harness, holder| assert_eq!(harness.ask(holder, subscribe("t", Q1)), ["SUBACK 1 01"]),
        |harness, holder| {
            let mut disconnect = Disconnect::new(ReasonCode::NormalDisconnection);
            disconnect.session_expiry_interval = Some(0);
            harness.send(holder, ClientPacket::Disconnect(Box::new(disconnect)));
        },
        |harness, holder| {
            harness.lose(holder);
            harness.seconds(1_001);
        },
    ];
    for release in release {
        let (mut harness, holder, other) = held(2);
        assert_eq!(harness.ask(holder, unsubscribe(2, &["t"])), ["UNSUBACK 2 11"], "it is another filter");
        release(&mut harness, holder);
        assert_eq!(harness.ask(other, subscribe(FILTER, Q1)), ["SUBACK 1 01"]);
        // Stored as well: after a restart, the same Session has it.
        let mut harness = harness.crash(harness.records.len());
        let third = harness.connect(durable("third"));
        assert_eq!(harness.ask(third, subscribe(FILTER, Q1)), ["SUBACK 1 97"]);
        let other = harness.connect(durable("b"));
        assert_eq!(harness.ask(other, unsubscribe(2, &[FILTER])), ["UNSUBACK 2 00"]);
    }
}

#[test]
fn a_session_that_is_away_keeps_it_through_a_crash_and_a_takeover() {
    let (mut harness, holder, other) = held(2);
    harness.lose(holder);
    assert_eq!(harness.ask(other, subscribe(FILTER, Q1)), ["SUBACK 1 97"]);
    let mut harness = harness.crash(harness.records.len());
    let other = harness.connect_to(1, durable("b"));
    assert_eq!(harness.ask(other, subscribe(FILTER, Q1)), ["SUBACK 1 97"]);
    let holder = harness.connect_to(1, durable("a"));
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    assert_eq!(harness.received(holder), ["PUBLISH t x q1 #1"]);
    assert_eq!(harness.ask(other, subscribe(FILTER, Q1)), ["SUBACK 1 97"]);
}

#[test]
fn an_exclusive_and_an_ordinary_subscription_of_one_packet_are_one_and_the_last_counts() {
    for (first, second, is_exclusive) in [(FILTER, "t", false), ("t", FILTER, true)] {
        let mut harness = Harness::with(1, settings());
        let client = harness.connect(durable("a"));
        let both = [first, second].map(|filter| subscription(filter, options(Q1)));
        assert_eq!(harness.ask(client, subscribe_all(1, 0, both.into())), ["SUBACK 1 01 01"]);
        let stored = recovered(&harness.records);
        let filters: Vec<String> =
            stored.sessions[0].subscriptions.iter().map(|(subscription, _)| subscription.filter.to_string()).collect();
        assert_eq!(filters, [second]);
        let other = harness.connect(transient("b"));
        let code = if is_exclusive { "97" } else { "01" };
        assert_eq!(harness.ask(other, subscribe(FILTER, Q1)), [format!("SUBACK 1 {code}")]);
    }
}

#[test]
fn switched_off_it_is_refused_and_a_stored_one_can_still_be_ended() {
    let (mut harness, ..) = held(1);
    harness.restart(Settings { exclusive_subscriptions: false, ..settings() });
    let other = harness.connect(transient("b"));
    assert_eq!(harness.ask(other, subscribe("$exclusive/u", Q1)), ["SUBACK 1 8F"]);
    let holder = harness.connect(durable("a"));
    assert_eq!(harness.ask(holder, unsubscribe(2, &[FILTER])), ["UNSUBACK 2 00"]);
}

#[test]
fn retained_messages_come_to_an_exclusive_subscription() {
    let mut harness = Harness::with(1, settings());
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("t", "x", Q1, 1)]);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, subscribe(FILTER, Q1)), ["SUBACK 1 01", "PUBLISH t x q1 #1 retain"]);
}

/// Threads that subscribe and unsubscribe at the same time, each as a shard of its own: at most one has the subscription at any time.
#[test]
fn of_shards_that_subscribe_at_the_same_time_exactly_one_wins() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::broker::directory::SubscriptionTerms;
    use crate::broker::directory::state::Shared;
    use crate::routing::{Access, Location, RetainedLimits, SessionKey, ShardId, ShareStrategy, Subscriber};

    let limits = RetainedLimits { retained_messages_max: 1, retained_bytes_max: 1 };
    let shared = Arc::new(Shared::new(4, limits));
    let holders = Arc::new(AtomicUsize::new(0));
    let wins: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4_u16)
            .map(|number| {
                let (shared, holders) = (Arc::clone(&shared), Arc::clone(&holders));
                scope.spawn(move || {
                    let (location, key) = (Location { shard: ShardId(number), slot: 0 }, SessionKey(number.into()));
                    let access = Arc::new(Access::everything());
                    let subscriber = Arc::new(Subscriber::new(key, "c".into(), location, access));
                    let terms = SubscriptionTerms { strategy: ShareStrategy::RoundRobin, subscriptions_max: 10 };
                    let wanted = subscription(FILTER, options(Q1));
                    let mut wins = 0;
                    for _ in 0..2_000 {
                        if shared.directory.subscribe(&subscriber, &[(&wanted, None)], terms) == [None] {
                            continue;
                        }
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two have it");
                        wins += 1;
                        holders.fetch_sub(1, Ordering::SeqCst);
                        assert_eq!(shared.directory.unsubscribe(key, std::slice::from_ref(&wanted.filter)), [true]);
                    }
                    wins
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(wins > 0);
}
