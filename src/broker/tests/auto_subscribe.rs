//! Subscriptions that the broker makes for clients.

use super::harness::{Harness, recovered, settings};
use super::packets::*;
use crate::broker::{AutoSubscription, Settings};
use crate::codec::{Connect, RetainHandling, SubscriptionOptions};
use crate::rewrite::Template;
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

fn automatic(topic: &str) -> AutoSubscription {
    AutoSubscription { topic: Template::new(topic), options: options(Q1), users: Vec::new(), listeners: Vec::new() }
}

fn with(subscriptions: Vec<AutoSubscription>) -> Settings {
    Settings { auto_subscriptions: subscriptions, ..settings() }
}

#[test]
fn a_client_gets_its_subscriptions_and_their_retained_messages_after_connack() {
    for connect in [transient, durable, |name: &str| v311(name, true), |name: &str| v311(name, false)] {
        let mut harness = Harness::with(1, with(vec![automatic("devices/%c/#"), automatic("all")]));
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [retain("devices/c/state", "on", Q1, 1)]);
        let client = harness.attempt(0, connect("c"));
        assert_eq!(harness.received(client), ["CONNACK 0x00", "PUBLISH devices/c/state on q1 #1 retain"]);
        harness.run(publisher, [publish("all", "x", Q0, 0), publish("devices/d/state", "y", Q0, 0)]);
        assert_eq!(harness.received(client), ["PUBLISH all x q0"]);
    }
}

#[test]
fn a_subscription_is_replaced_at_a_reconnect_and_restored_after_a_crash() {
    let mut harness = Harness::with(1, with(vec![automatic("t")]));
    let client = harness.connect(durable("c"));
    harness.lose(client);
    let client = harness.connect(durable("c"));
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "1", Q1, 1)]);
    assert_eq!(harness.received(client), ["PUBLISH t 1 q1 #1"]);
    assert_eq!(recovered(&harness.records).sessions[0].subscriptions.len(), 1);
    // The setting is gone, the subscription stays.
    let mut harness = harness.crash(harness.records.len());
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "2", Q1, 1)]);
    let client = harness.connect(durable("c"));
    assert_eq!(harness.received(client), ["PUBLISH t 1 q1 #1 dup", "PUBLISH t 2 q1 #2"]);
}

#[test]
fn a_taken_over_session_on_another_shard_has_each_subscription_once() {
    let mut harness = Harness::with(2, with(vec![automatic("t")]));
    let _first = harness.connect_to(0, durable("c"));
    let client = harness.connect_to(1, durable("c"));
    let publisher = harness.connect_to(0, transient("p"));
    harness.run(publisher, [publish("t", "1", Q1, 1)]);
    assert_eq!(harness.received(client), ["PUBLISH t 1 q1 #1"]);
}

#[test]
fn retain_handling_counts_at_each_connect() {
    for (retain_handling, times) in
        [(RetainHandling::Send, [1, 1]), (RetainHandling::SendIfNew, [1, 0]), (RetainHandling::DoNotSend, [0, 0])]
    {
        let options = SubscriptionOptions { retain_handling, ..options(Q0) };
        let mut harness = Harness::with(1, with(vec![AutoSubscription { options, ..automatic("t") }]));
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [retain("t", "x", Q1, 1)]);
        for expected in times {
            let client = harness.connect(durable("c"));
            assert_eq!(harness.received(client).len(), expected, "{retain_handling:?}");
            harness.lose(client);
        }
    }
}

#[test]
fn a_client_may_replace_and_end_it_until_it_connects_again() {
    let mut harness = Harness::with(1, with(vec![automatic("t")]));
    let client = harness.connect(durable("c"));
    let publisher = harness.connect(transient("p"));
    assert_eq!(harness.ask(client, subscribe("t", Q0)), ["SUBACK 1 00"]);
    harness.run(publisher, [publish("t", "1", Q1, 1)]);
    assert_eq!(harness.received(client), ["PUBLISH t 1 q0"]);
    assert_eq!(harness.ask(client, unsubscribe(2, &["t"])), ["UNSUBACK 2 00"]);
    harness.run(publisher, [publish("t", "2", Q1, 2)]);
    assert_eq!(harness.received(client), [""; 0]);
    harness.lose(client);
    let client = harness.connect(durable("c"));
    harness.run(publisher, [publish("t", "3", Q1, 3)]);
    assert_eq!(harness.received(client), ["PUBLISH t 3 q1 #1"]);
}

#[test]
fn names_access_rules_users_and_listeners_decide_who_gets_it() {
    let of_alice = AutoSubscription { users: vec!["alice".into()], ..automatic("a") };
    let elsewhere = AutoSubscription { listeners: vec!["tls".into()], ..automatic("b") };
    let here = AutoSubscription { listeners: vec!["tcp".into()], ..automatic("c/%c") };
    let mut harness = Harness::with(1, with(vec![of_alice, elsewhere, here, automatic("u/%u"), automatic("d")]));
    harness.verifies = true;
    let rule = |filter: &str| AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    };
    harness.granted = Some(Access::new(["a", "b", "c/#", "u/#"].map(rule).into()));
    let named = |name: &str, user: Option<&'static str>| {
        let mut connect = transient(name);
        connect.user_name = user.map(Into::into);
        connect
    };
    let filters = |harness: &mut Harness, connect: Connect| {
        let client = harness.connect(connect);
        let asked = ["a", "b", "c/x", "c/+", "u/alice", "d"];
        let answer = harness.ask(client, unsubscribe(1, &asked))[0].clone();
        harness.lose(client);
        answer
    };
    assert_eq!(filters(&mut harness, named("x", Some("alice"))), "UNSUBACK 1 00 11 00 11 00 11");
    assert_eq!(filters(&mut harness, named("x", Some("bob"))), "UNSUBACK 1 11 11 00 11 11 11");
    assert_eq!(filters(&mut harness, named("x", None)), "UNSUBACK 1 11 11 00 11 11 11");
    assert_eq!(filters(&mut harness, named("x", Some("$bridge:alice"))), "UNSUBACK 1 11 11 11 11 11 11");
    assert_eq!(filters(&mut harness, named("+", None)), "UNSUBACK 1 11 11 11 11 11 11", "no wildcard by a name");
}
