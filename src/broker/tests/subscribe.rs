use super::harness::{Harness, settings};
use super::packets::*;
use crate::broker::filter_request::FILTERS_MAX;
use crate::broker::{Report, Settings};
use crate::codec::{ClientPacket, Qos, ServerPacket, SubscriptionOptions};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

#[test]
fn mqtt5_3_8_4_1_subscribe_is_answered_with_its_identifier() {
    // covers: MQTT-3.8.4-2 MQTT-3.8.4-5 MQTT-3.8.4-6 MQTT-3.8.4-7 MQTT-3.9.3-1 MQTT-3.9.3-2 MQTT-2.2.1-6
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    let subscriptions = vec![
        subscription("a/+", options(Q1)),
        subscription("1/2/3/4/5/6/7/8/9", options(Q1)),
        subscription("#", options(Q2)),
        subscription("$share/g/x", options(Q0)),
    ];
    assert_eq!(harness.ask(client, subscribe_all(9, 0, subscriptions)), ["SUBACK 9 01 8F 02 00"]);
}

#[test]
fn mqtt311_3_8_4_1_subscribe_is_answered_with_its_identifier() {
    // covers: MQTT-3.8.4-2 MQTT-3.8.4-4 MQTT-3.8.4-5 MQTT-3.9.3-1 MQTT-2.3.1-7
    let mut harness = Harness::new();
    let client = harness.connect(v311("a", true));
    let subscriptions = vec![subscription("a/+", options(Q1)), subscription("b", options(Q2))];
    assert_eq!(harness.ask(client, subscribe_all(9, 0, subscriptions)), ["SUBACK 9 01 02"]);
}

#[test]
fn mqtt5_3_8_4_8_message_is_delivered_at_the_lower_qos() {
    // covers: MQTT-4.3.1-1
    for (published, granted, line) in [
        (Q0, Q2, "PUBLISH t x q0"),
        (Q1, Q0, "PUBLISH t x q0"),
        (Q1, Q2, "PUBLISH t x q1 #1"),
        (Q2, Q0, "PUBLISH t x q0"),
        (Q2, Q1, "PUBLISH t x q1 #1"),
        (Q2, Q2, "PUBLISH t x q2 #1"),
    ] {
        for connect in [transient("s"), v311("s", true), durable("s"), v311("s", false)] {
            let mut harness = Harness::new();
            let client = harness.connect(connect);
            harness.run(client, [subscribe("t", granted)]);
            let publisher = harness.connect(transient("p"));
            harness.run(publisher, [publish("t", "x", published, u16::from(published > Q0))]);
            assert_eq!(harness.received(client), [line], "{published:?} {granted:?}");
        }
    }
}

#[test]
fn mqtt5_3_2_2_10_subscription_above_the_maximum_qos_is_granted_the_maximum() {
    let mut settings = settings();
    settings.maximum_qos = Q1;
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, subscribe("t", Q2)), ["SUBACK 1 01"]);
    let mut settings = super::harness::settings();
    settings.maximum_qos = Q0;
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, subscribe("t", Q2)), ["SUBACK 1 00"]);
}

#[test]
fn mqtt5_3_3_4_2_overlapping_subscriptions_get_one_copy_at_the_highest_qos() {
    // covers: MQTT-3.3.4-3 MQTT-3.3.4-4
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(
        client,
        [
            subscribe_all(1, 7, vec![subscription("a/#", options(Q0))]),
            subscribe_all(2, 0, vec![subscription("a/+", options(Q2))]),
            subscribe_all(3, 9, vec![subscription("a/b", options(Q1))]),
            subscribe_all(4, 11, vec![subscription("other", options(Q1))]),
        ],
    );
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("a/b", "x", Q2, 1)]);
    assert_eq!(harness.received(client), ["PUBLISH a/b x q2 #1 ids=[7, 9]"]);
}

#[test]
fn mqtt311_3_3_5_1_overlapping_subscriptions_respect_the_highest_qos() {
    let mut harness = Harness::new();
    let client = harness.connect(v311("a", true));
    harness.run(client, [subscribe("a/#", Q0), subscribe("a/+", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("a/b", "x", Q2, 1)]);
    assert_eq!(harness.received(client), ["PUBLISH a/b x q1 #1"]);
}

#[test]
fn mqtt5_3_8_4_3_subscription_to_the_same_filter_is_replaced() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe_all(1, 7, vec![subscription("t", options(Q2))])]);
    harness.run(client, [subscribe_all(2, 8, vec![subscription("t", options(Q0))])]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q2, 1)]);
    assert_eq!(harness.received(client), ["PUBLISH t x q0 ids=[8]"]);
    harness.run(client, [subscribe("t", Q0)]);
    harness.run(publisher, [pubrel(1), publish("t", "y", Q2, 1)]);
    assert_eq!(harness.received(client), ["PUBLISH t y q0"]);
}

#[test]
fn mqtt5_3_8_3_3_no_local_excludes_the_clients_own_messages() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    let no_local = SubscriptionOptions { no_local: true, ..options(Q0) };
    harness.run(client, [subscribe_with("t", no_local)]);
    assert_eq!(harness.ask(client, publish("t", "own", Q1, 1)), ["PUBACK 1 0x10"]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "other", Q0, 0)]);
    assert_eq!(harness.received(client), ["PUBLISH t other q0"]);
}

#[test]
fn mqtt5_3_8_3_3_no_local_applies_after_a_reconnect() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe_with("t", SubscriptionOptions { no_local: true, ..options(Q1) })]);
    harness.lose(client);
    let client = harness.connect(durable("a"));
    assert_eq!(harness.ask(client, publish("t", "own", Q1, 1)), ["PUBACK 1 0x10"]);
}

#[test]
fn mqtt5_without_no_local_a_client_gets_its_own_messages() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.send(client, publish("t", "own", Q1, 5));
    let mut lines = harness.received(client);
    lines.sort();
    assert_eq!(lines, ["PUBACK 5", "PUBLISH t own q1 #1"]);
}

#[test]
fn mqtt5_3_3_1_13_retain_as_published_keeps_the_flag() {
    // covers: MQTT-3.3.1-12
    let mut harness = Harness::new();
    let (kept, plain) = (harness.connect(transient("a")), harness.connect(transient("b")));
    let old = harness.connect(v311("c", true));
    harness.run(kept, [subscribe_with("t", SubscriptionOptions { retain_as_published: true, ..options(Q0) })]);
    harness.run(plain, [subscribe("t", Q0)]);
    harness.run(old, [subscribe("t", Q0)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("t", "x", Q0, 0), publish("t", "y", Q0, 0)]);
    assert_eq!(harness.received(kept), ["PUBLISH t x q0 retain", "PUBLISH t y q0"]);
    assert_eq!(harness.received(plain), ["PUBLISH t x q0", "PUBLISH t y q0"]);
    assert_eq!(harness.received(old), ["PUBLISH t x q0", "PUBLISH t y q0"]); // [MQTT-3.3.1-9] of 3.1.1
}

#[test]
fn mqtt5_4_7_2_1_wildcards_do_not_match_dollar_topics() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("#", Q0), subscribe("+/x", Q0)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("$data/x", "1", Q0, 0)]);
    assert_eq!(harness.received(client), [""; 0]);
    assert_eq!(harness.ask(client, subscribe("#", Q0)), ["SUBACK 1 00"]);
    assert_eq!(harness.ask(client, subscribe("$data/#", Q0)), ["SUBACK 1 00", "PUBLISH $data/x 1 q0 retain"]);
}

#[test]
fn mqtt5_sys_topics_match_only_filters_that_begin_with_sys() {
    let mut settings = settings();
    settings.sys_interval = std::time::Duration::from_secs(10);
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("#", Q0)]);
    harness.seconds(60);
    assert_eq!(harness.received(client), [""; 0]);
    let lines = harness.ask(client, subscribe("$SYS/broker/version", Q0));
    assert!(lines[1].starts_with("PUBLISH $SYS/broker/version oncemq version"), "{lines:?}");
}

#[test]
fn mqtt5_3_3_2_3_only_matching_messages_are_delivered() {
    // covers: MQTT-4.7.3-4
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("a/+/c", Q0)]);
    let publisher = harness.connect(transient("p"));
    for name in ["a/b/c", "a//c", "A/b/c", "a/b/c/d", "a/c", "/a/b/c", "a/b/c/"] {
        harness.run(publisher, [publish(name, "x", Q0, 0)]);
    }
    assert_eq!(harness.received(client), ["PUBLISH a/b/c x q0", "PUBLISH a//c x q0"]);
}

fn rule(effect: Effect, action: AccessAction, filter: &str) -> AccessRule {
    AccessRule {
        effect,
        action,
        topic_filter: TopicFilter::new(filter.into()).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    }
}

#[test]
fn mqtt5_denied_subscription_is_answered_and_reported() {
    let mut harness = Harness::new();
    harness.granted = Some(Access::new(vec![rule(Effect::Allow, AccessAction::Subscribe, "mine/#")]));
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, subscribe("other", Q1)), ["SUBACK 1 87"]);
    assert_eq!(harness.ask(client, subscribe("mine/x", Q1)), ["SUBACK 1 01"]);
    let denied = |report: &Report| matches!(report, Report::Denied { packet: "SUBSCRIBE", .. });
    assert!(harness.reports.iter().any(denied));
    let old = harness.connect(v311("b", true));
    harness.send(old, subscribe("other", Q1));
    let packets = harness.packets(old);
    let [ServerPacket::Suback(suback)] = &packets[..] else { panic!("{packets:?}") };
    assert!(suback.reason_codes[0].is_error(), "3.1.1 writes 0x80");
}

#[test]
fn mqtt5_denied_topics_are_excluded_from_a_wider_filter() {
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("secret", "r", Q0, 0), retain("open", "r", Q0, 0)]);
    harness.granted = Some(Access::new(vec![
        rule(Effect::Allow, AccessAction::Both, "#"),
        rule(Effect::Deny, AccessAction::Both, "secret"),
    ]));
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, subscribe("#", Q1)), ["SUBACK 1 01", "PUBLISH open r q0 retain"]);
    harness.run(publisher, [publish("secret", "x", Q0, 0), publish("open", "x", Q0, 0)]);
    assert_eq!(harness.received(client), ["PUBLISH open x q0"]);
}

#[test]
fn mqtt5_changed_access_applies_at_once() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("#", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q0, 0)]);
    assert_eq!(harness.received(client), ["PUBLISH t x q0"]);
    let access = std::sync::Arc::new(Access::new(Vec::new()));
    harness.event(0, crate::broker::Event::AccessChanged { connection: client.id, access });
    harness.run(publisher, [publish("t", "x", Q0, 0)]);
    assert_eq!(harness.received(client), [""; 0]);
    assert_eq!(harness.ask(client, publish("t", "x", Q1, 3)), ["PUBACK 3 0x87"]);
}

#[test]
fn subscriptions_beyond_the_limit_are_refused_but_may_be_replaced() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    for number in 0..10 {
        assert_eq!(harness.ask(client, subscribe(&format!("t/{number}"), Q1)), ["SUBACK 1 01"]);
    }
    assert_eq!(harness.ask(client, subscribe("t/10", Q1)), ["SUBACK 1 97"]);
    assert_eq!(harness.ask(client, subscribe("t/3", Qos::AtMostOnce)), ["SUBACK 1 00"]);
}

fn with_many_subscriptions() -> Harness {
    Harness::with(1, Settings { subscriptions_per_session_max: 10 * FILTERS_MAX, ..settings() })
}

/// Handles the next part of a packet with many filters, which is due after a millisecond.
fn next_part(harness: &mut Harness) {
    harness.advance(std::time::Duration::from_millis(1));
}

#[test]
fn a_packet_with_many_filters_is_handled_in_parts_and_answered_after_the_last() {
    // covers: MQTT-3.8.4-1 MQTT-3.8.4-6 MQTT-3.10.4-6
    let mut harness = with_many_subscriptions();
    let (client, other) = (harness.connect(durable("many")), harness.connect(transient("other")));
    harness.run(other, [retain("t/0", "kept", Q0, 0)]);
    let filters: Vec<String> = (0..3 * FILTERS_MAX - 1).map(|number| format!("t/{number}")).collect();
    let subscriptions = filters.iter().map(|filter| subscription(filter, options(Q1))).collect();
    harness.send(client, subscribe_all(9, 0, subscriptions));
    harness.send(client, ClientPacket::Pingreq);
    assert!(harness.is_paused(client) && harness.received(client).is_empty());
    assert_eq!(harness.shards[0].shared.subscriptions_len().0, FILTERS_MAX, "one part in an event");
    next_part(&mut harness);
    assert_eq!(harness.shards[0].shared.subscriptions_len().0, 2 * FILTERS_MAX);
    harness.run(other, [publish("t/0", "live", Q0, 0)]);
    next_part(&mut harness);
    assert!(!harness.is_paused(client));
    let answer = format!("SUBACK 9{}", " 01".repeat(filters.len()));
    assert_eq!(harness.received(client), ["PUBLISH t/0 live q0", "PINGRESP", &answer, "PUBLISH t/0 kept q0 retain"]);

    let filters: Vec<&str> = filters.iter().map(String::as_str).chain(["never"]).collect();
    harness.send(client, unsubscribe(10, &filters));
    assert_eq!(harness.shards[0].shared.subscriptions_len().0, 2 * FILTERS_MAX - 1);
    next_part(&mut harness);
    next_part(&mut harness);
    let answer = format!("UNSUBACK 10{} 11", " 00".repeat(filters.len() - 1));
    assert_eq!((harness.received(client), harness.shards[0].shared.subscriptions_len().0), (vec![answer], 0));
}

#[test]
fn the_rest_of_a_packet_is_dropped_when_its_connection_ends() {
    let mut harness = with_many_subscriptions();
    let client = harness.connect(durable("many"));
    let subscriptions = (0..2 * FILTERS_MAX).map(|number| subscription(&number.to_string(), options(Q1))).collect();
    harness.send(client, subscribe_all(9, 0, subscriptions));
    let again = harness.connect(durable("many"));
    next_part(&mut harness);
    assert_eq!(harness.ask(again, ClientPacket::Pingreq), ["PINGRESP"]);
    assert_eq!(harness.shards[0].shared.subscriptions_len().0, FILTERS_MAX);
}

#[test]
fn filters_beyond_the_bound_of_a_session_are_refused_at_once() {
    let mut settings = settings();
    settings.subscriptions_per_session_max = FILTERS_MAX;
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(transient("many"));
    let subscriptions = (0..50 * FILTERS_MAX).map(|_| subscription("t", options(Q1))).collect();
    harness.send(client, subscribe_all(9, 0, subscriptions));
    next_part(&mut harness);
    let answer = format!("SUBACK 9{}{}", " 01".repeat(FILTERS_MAX), " 97".repeat(49 * FILTERS_MAX));
    assert_eq!(harness.received(client), [answer]);
}
