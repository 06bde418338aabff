//! Rewrite rules.

use std::sync::Arc;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Event, Settings};
use crate::codec::{ClientPacket, Connect, Publish, Qos};
use crate::rewrite::{RewriteAction, RewriteRule, RewriteRules};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

fn with_rules(rules: &[(RewriteAction, &str, &str, &str)]) -> Settings {
    let rule = |(action, source, pattern, destination): &(RewriteAction, &str, &str, &str)| {
        RewriteRule::new(*action, source, pattern, destination).unwrap()
    };
    Settings { rewrite_rules: RewriteRules::new(rules.iter().map(rule)), ..settings() }
}

const OLD: (RewriteAction, &str, &str, &str) = (RewriteAction::All, "old/#", "^old/(.+)$", "new/$1");

/// A subscriber to everything, and a publisher.
fn watched(rules: &[(RewriteAction, &str, &str, &str)]) -> (Harness, Client, Client) {
    let mut harness = Harness::with(1, with_rules(rules));
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q2)]);
    let publisher = harness.connect(transient("p"));
    (harness, watcher, publisher)
}

#[test]
fn messages_are_published_to_the_topic_of_the_rule() {
    let (mut harness, watcher, publisher) = watched(&[OLD]);
    for (number, qos) in [(0, Q0), (1, Q1), (2, Q2)] {
        harness.run(publisher, [publish("old/a", "x", qos, number), publish("other", "y", Q0, 0)]);
    }
    let lines = harness.received(watcher);
    let topics: Vec<&str> = lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(topics, ["new/a", "other", "new/a", "other", "new/a", "other"]);
}

#[test]
fn subscriptions_and_unsubscriptions_mean_the_topic_of_the_rule_and_keep_their_share() {
    let (mut harness, _, publisher) = watched(&[OLD]);
    for (filter, payload) in [("old/+", "1"), ("$share/g/old/a", "2"), ("$exclusive/old/a", "3")] {
        let subscriber = harness.connect(durable("s"));
        harness.run(subscriber, [unsubscribe(1, &["old/+", "$share/g/old/a", "$exclusive/old/a"])]);
        assert_eq!(harness.ask(subscriber, subscribe(filter, Q1)), ["SUBACK 1 01"]);
        harness.run(publisher, [publish("new/a", payload, Q0, 0)]);
        assert_eq!(harness.received(subscriber), [format!("PUBLISH new/a {payload} q0")], "{filter}");
        let mut harness = harness.crash(harness.records.len());
        let publisher = harness.connect(transient("p"));
        let subscriber = harness.connect(durable("s"));
        harness.run(publisher, [publish("new/a", "4", Q0, 0)]);
        assert_eq!(harness.received(subscriber), ["PUBLISH new/a 4 q0"], "{filter} is stored as the final filter");
    }
    let subscriber = harness.connect(durable("s"));
    let filters = ["old/+", "$share/g/old/a", "$exclusive/old/a", "old/none"];
    assert_eq!(harness.ask(subscriber, unsubscribe(9, &filters)), ["UNSUBACK 9 11 11 00 11"]);
}

#[test]
fn access_is_decided_for_the_topic_of_the_rule() {
    let (mut harness, ..) = watched(&[OLD]);
    let rule = AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::try_from("new/#").unwrap(),
        source: RuleSource::new("acl", 1, ""),
    };
    harness.granted = Some(Access::new(vec![rule]));
    let client = harness.connect(transient("c"));
    assert_eq!(harness.ask(client, publish("old/a", "x", Q1, 1)), ["PUBACK 1"]);
    assert_eq!(harness.ask(client, publish("other", "x", Q1, 2)), ["PUBACK 2 0x87"]);
    assert_eq!(harness.ask(client, subscribe("old/b", Q1)), ["SUBACK 1 01"]);
    assert_eq!(harness.ask(client, subscribe("other", Q1)), ["SUBACK 1 87"]);
}

#[test]
fn a_topic_without_a_valid_replacement_is_refused() {
    let rules = [
        (RewriteAction::All, "a/#", "^a/(.*)$", "$1"),
        (RewriteAction::All, "c", "^c$", "devices/%c"),
        (RewriteAction::All, "u", "^u$", "users/%u"),
    ];
    let (mut harness, watcher, _) = watched(&rules);
    let client = harness.connect(transient("+"));
    for name in ["a/$SYS/x", "a/$share/g/t", "a/", "c", "u"] {
        assert_eq!(harness.ask(client, publish(name, "x", Q1, 1)), ["PUBACK 1 0x90"], "{name}");
        assert_eq!(harness.ask(client, subscribe(name, Q1)), ["SUBACK 1 8F"], "{name}");
    }
    assert_eq!(harness.received(watcher), [""; 0]);
    let old = harness.connect(v311("o", true));
    assert_eq!(harness.ask(old, publish("a/", "x", Q1, 1)), ["CLOSED"]);
}

#[test]
fn a_rule_may_delay_messages_and_rewrites_the_topic_behind_a_delay() {
    let rules = [OLD, (RewriteAction::Publish, "later/#", "^later/(.+)$", "$delayed/5/$1")];
    let (mut harness, watcher, publisher) = watched(&rules);
    harness.run(publisher, [publish("later/a", "1", Q1, 1), publish("$delayed/5/old/a", "2", Q1, 2)]);
    assert_eq!(harness.ask(publisher, publish("$delayed/5/later/a", "3", Q1, 3)), ["PUBACK 3 0x90"], "delayed twice");
    harness.seconds(5);
    assert_eq!(harness.received(watcher), ["PUBLISH a 1 q1 #1", "PUBLISH new/a 2 q1 #2"]);
}

#[test]
fn a_will_is_within_the_limits_of_topics_after_the_rules() {
    let deep = (RewriteAction::Publish, "d/#", "^d/(.+)$", "1/2/3/4/5/6/7/$1");
    let mut harness = Harness::with(1, with_rules(&[deep]));
    for (topic, connack, puback) in
        [("d/8", "CONNACK 0x00", "PUBACK 1 0x10"), ("d/8/9", "CONNACK 0x90", "PUBACK 1 0x90")]
    {
        let client = harness.attempt(0, Connect { will: Some(will(topic, "x")), ..transient("c") });
        assert!(harness.received(client)[0].starts_with(connack), "{topic}");
        let client = harness.connect(transient("p"));
        assert_eq!(harness.ask(client, publish(topic, "x", Q1, 1)), [puback], "as a message: {topic}");
    }
}

#[test]
fn a_will_gets_its_topic_at_connect() {
    let (mut harness, watcher, _) = watched(&[OLD, (RewriteAction::Publish, "bad", "^bad$", "x/%u")]);
    let client = harness.connect(Connect { will: Some(will("old/w", "gone")), ..transient("c") });
    harness.lose(client);
    assert_eq!(harness.received(watcher), ["PUBLISH new/w gone q0"]);
    let client = harness.attempt(0, Connect { will: Some(will("bad", "x")), ..transient("c") });
    assert_eq!(harness.received(client)[0], "CONNACK 0x90");
}

#[test]
fn a_repeat_of_a_qos_2_message_and_one_that_waits_for_room_are_rewritten_once() {
    let (mut harness, watcher, publisher) = watched(&[(RewriteAction::All, "a/#", "^a/(.+)$", "a/a/$1")]);
    harness.run(publisher, [publish("a/b", "x", Q2, 1)]);
    let repeat = ClientPacket::Publish(Publish { dup: true, ..message("a/b", "x", Q2, 1) });
    assert_eq!(harness.ask(publisher, repeat), ["PUBREC 1"]);
    assert_eq!(harness.received(watcher), ["PUBLISH a/a/b x q2 #1"]);
    let old = harness.connect(v311("o", false));
    harness.event(0, Event::StoreRoom(crate::broker::StoreRoom::None));
    harness.run(old, [ClientPacket::Publish(Publish { retain: true, ..message("a/c", "x", Qos::AtLeastOnce, 1) })]);
    harness.event(0, Event::StoreRoom(crate::broker::StoreRoom::Some));
    harness.seconds(1);
    assert_eq!(harness.received(watcher), ["PUBLISH a/a/c x q1 #2"]);
}

#[test]
fn reloaded_rules_apply_to_the_next_packet() {
    let (mut harness, watcher, publisher) = watched(&[]);
    harness.run(publisher, [publish("old/a", "1", Q0, 0)]);
    harness.event(0, Event::SettingsChanged(Arc::new(with_rules(&[OLD]))));
    harness.run(publisher, [publish("old/a", "2", Q0, 0)]);
    assert_eq!(harness.received(watcher), ["PUBLISH old/a 1 q0", "PUBLISH new/a 2 q0"]);
}
