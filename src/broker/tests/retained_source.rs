//! A retained message is sent to new subscribers while its publisher may publish it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::harness::{Harness, settings};
use super::packets::*;
use crate::broker::retained::state::VISITS_MAX;
use crate::broker::{
    Answer, Event, OperatorMessage, Owner, Query, QueryId, Record, RetainedChange, Settings, TopicAnswer, TopicQuery,
};
use crate::codec::{ClientPacket, Connect, Message, Will};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RetainedLimits, RuleSource};
use crate::topic::TopicFilter;

fn verifying(settings: Settings) -> Harness {
    let mut harness = Harness::with(1, settings);
    harness.verifies = true;
    harness
}

fn of(user: &str, connect: Connect) -> Connect {
    Connect { user_name: Some(user.into()), ..connect }
}

fn only(filter: &str) -> Access {
    Access::new(vec![rule(filter)])
}

fn rule(filter: &str) -> AccessRule {
    AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Publish,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    }
}

fn nothing() -> Access {
    Access::new(Vec::new())
}

/// The topics of the retained messages that a new subscriber to everything gets.
fn replayed(harness: &mut Harness) -> Vec<String> {
    let client = harness.connect(of("reader", transient("r")));
    harness.send(client, subscribe("#", Q0));
    harness.seconds(1);
    let lines = harness.received(client);
    harness.lose(client);
    let mut topics: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("PUBLISH ")).collect();
    topics.sort_unstable();
    topics.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// Retained messages of the user alice at `a/1` and `b`.
fn with_messages(settings: Settings) -> Harness {
    let mut harness = verifying(settings);
    let alice = harness.connect(of("alice", durable("p")));
    harness.run(alice, [retain("a/1", "x", Q1, 1), retain("b", "x", Q1, 2)]);
    harness
}

#[test]
fn a_reload_takes_the_messages_of_a_publisher_away_and_gives_them_back() {
    let mut harness = with_messages(settings());
    assert_eq!(replayed(&mut harness), ["a/1", "b"]);
    harness.rights.set("alice@password", only("a/#"));
    assert_eq!(replayed(&mut harness), ["a/1"]);
    // Operators see all.
    let query = Box::new(Query::Topics(TopicQuery::RetainedMessage(topic("b"))));
    harness.event(0, Event::Query(QueryId(9), query));
    assert!(matches!(harness.answers.pop(), Some((_, Answer::Topics(TopicAnswer::RetainedMessage(Some(_)))))));
    harness.rights.set("alice@password", nothing());
    assert_eq!(replayed(&mut harness), [""; 0], "a removed user");
    // What another one publishes to the topic is not alice's any more.
    let bob = harness.connect(of("bob", transient("q")));
    harness.run(bob, [retain("b", "y", Q0, 0)]);
    assert_eq!(replayed(&mut harness), ["b"]);
    harness.rights.set("alice@password", Access::everything());
    assert_eq!(replayed(&mut harness), ["a/1", "b"]);
    harness.rights.set("alice@password", nothing());
    harness.event(0, Event::SettingsChanged(Arc::new(Settings { check_retain_source: false, ..settings() })));
    assert_eq!(replayed(&mut harness), ["a/1", "b"]);
}

#[test]
fn messages_know_their_publisher_after_a_restart() {
    let mut harness = with_messages(settings());
    let anonymous = harness.connect(transient("device"));
    harness.run(anonymous, [retain("c", "x", Q1, 1)]);
    for _ in 0..2 {
        harness.restart(settings());
        assert_eq!(replayed(&mut harness), ["a/1", "b", "c"]);
        harness.rights.set("alice@password", only("b"));
        assert_eq!(replayed(&mut harness), ["b", "c"]);
        harness.rights.set("device", nothing());
        assert_eq!(replayed(&mut harness), ["b"]);
        harness.rights.set("alice@certificate", nothing());
        assert_eq!(replayed(&mut harness), ["b"], "another provider's alice");
    }
}

#[test]
fn messages_of_earlier_versions_and_of_operators_are_always_sent() {
    let mut harness = with_messages(settings());
    for record in &mut harness.records {
        if let Record::Accepted { retained: RetainedChange::Set { owner, .. }, .. } = record {
            assert_eq!(owner.take().as_deref().and_then(Owner::user).map(|user| &**user), Some("alice"));
        }
    }
    harness.restart(settings());
    let message = Message::new(topic("o"), "x");
    let message = OperatorMessage { message, qos: Q1, retain: true, message_expiry_interval: None };
    let query = Box::new(Query::Topics(TopicQuery::Publish(Box::new(message))));
    harness.event(0, Event::Query(QueryId(9), query));
    for _ in 0..2 {
        for publisher in ["alice@password", "p", ""] {
            harness.rights.set(publisher, nothing());
        }
        assert_eq!(replayed(&mut harness), ["a/1", "b", "o"]);
        harness.restart(settings());
    }
}

#[test]
fn wills_and_delayed_messages_have_their_publisher() {
    let mut harness = verifying(settings());
    let will = Will { retain: true, ..will("will", "x") };
    let alice = harness.connect(of("alice", Connect { will: Some(will), ..durable("p") }));
    harness.run(alice, [retain("$delayed/5/late", "x", Q1, 1)]);
    harness.lose(alice);
    harness.seconds(10);
    assert_eq!(replayed(&mut harness), ["late", "will"]);
    for _ in 0..2 {
        harness.rights.set("alice@password", only("will"));
        assert_eq!(replayed(&mut harness), ["will"]);
        harness.rights.set("alice@password", only("late"));
        assert_eq!(replayed(&mut harness), ["late"]);
        harness.restart(settings());
    }
}

#[test]
fn a_publisher_is_judged_once_for_each_generation() {
    let mut harness = with_messages(settings());
    let judged = |harness: &Harness| harness.rights.judged.load(Ordering::Relaxed);
    assert_eq!(judged(&harness), 0, "not when it publishes");
    for generation in 1..4 {
        for _ in 0..3 {
            assert_eq!(replayed(&mut harness), ["a/1", "b"]);
            assert_eq!(judged(&harness), 2 * generation);
        }
        harness.rights.set("bob@password", nothing());
    }
}

#[test]
fn the_judgements_of_an_event_are_bounded() {
    // So many messages are found in one event if nobody is judged.
    const MESSAGES: usize = VISITS_MAX - 96;
    let limits = RetainedLimits { retained_messages_max: MESSAGES, retained_bytes_max: usize::MAX };
    let settings = Settings { outgoing_bytes_max: 100_000_000, ..settings() };
    let mut harness = Harness::with_retained(1, settings, limits);
    harness.verifies = true;
    let alice = harness.connect(of("alice", transient("p")));
    for number in 0..MESSAGES {
        harness.run(alice, [retain(&format!("t/{number}"), "x", Q0, 0)]);
    }
    harness.rights.set("alice@password", nothing());
    let reader = harness.connect(transient("r"));
    assert_eq!(harness.ask(reader, subscribe("#", Q0)), ["SUBACK 1 00"]);
    let (judged, messages) = (harness.rights.judged.load(Ordering::Relaxed), u64::try_from(MESSAGES).unwrap());
    assert!(0 < judged && judged < messages, "{judged}: all in one event");
    harness.seconds(1);
    assert_eq!(harness.received(reader), [""; 0]);
    assert_eq!(harness.rights.judged.load(Ordering::Relaxed), messages);
}

#[test]
fn judgements_by_many_rules_are_spread_over_turns_whatever_the_reader_does() {
    let mut harness = verifying(settings());
    let alice = harness.connect(of("alice", transient("p")));
    for number in 0..50 {
        harness.run(alice, [retain(&format!("t/{number}"), "x", Q0, 0)]);
    }
    harness.rights.set("alice@password", Access::new((0..4_000).map(|number| rule(&format!("t/{number}"))).collect()));
    let reader = harness.connect(transient("r"));
    harness.ask(reader, subscribe("#", Q0));
    let judged = harness.rights.judged.load(Ordering::Relaxed);
    assert!((1..20).contains(&judged), "{judged} in one event");
    for _ in 0..10 {
        harness.ask(reader, ClientPacket::Pingreq); // flushes restart replays that are not deferred
    }
    assert_eq!(harness.rights.judged.load(Ordering::Relaxed), judged);
    harness.seconds(1);
    assert_eq!(harness.rights.judged.load(Ordering::Relaxed), 50);
}

#[test]
fn the_messages_of_a_user_share_it() {
    let mut harness = with_messages(settings());
    for client_id in ["q", "r"] {
        let alice = harness.connect(of("alice", transient(client_id)));
        harness.run(alice, [retain(client_id, "x", Q0, 0)]);
        harness.lose(alice);
    }
    let shared = Arc::clone(&harness.shards[0].shared);
    let retained = shared.retained();
    let users =
        ["a/1", "b", "q", "r"].map(|name| Arc::as_ptr(retained.get(&topic(name)).unwrap().user.as_ref().unwrap()));
    assert!(users.iter().all(|user| *user == users[0]), "{users:?}");
}
