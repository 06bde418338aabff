use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Record, RetainedChange};
use crate::codec::{ClientPacket, Publish, RetainHandling, SubscriptionOptions};
use crate::routing::RetainedLimits;

#[test]
fn mqtt5_3_3_1_5_retained_message_is_kept_and_replaced() {
    // covers: MQTT-3.3.1-9
    for connect in [transient("a"), v311("a", true)] {
        let mut harness = Harness::new();
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [retain("t", "one", Q0, 0), retain("t", "two", Q0, 0)]);
        let client = harness.connect(connect);
        assert_eq!(harness.ask(client, subscribe("t", Q0)), ["SUBACK 1 00", "PUBLISH t two q0 retain"]);
    }
}

#[test]
fn mqtt311_3_3_1_6_retained_message_is_sent_to_every_new_subscription() {
    // covers: MQTT-3.3.1-5 MQTT-3.3.1-8 MQTT-3.8.4-3
    let mut harness = Harness::new();
    let publisher = harness.connect(v311("p", true));
    harness.run(publisher, [retain("t", "x", Q1, 1)]);
    let client = harness.connect(v311("a", true));
    assert_eq!(harness.ask(client, subscribe("t", Q2)), ["SUBACK 1 02", "PUBLISH t x q1 #1 retain"]);
    assert_eq!(harness.ask(client, subscribe("t", Q0)), ["SUBACK 1 00", "PUBLISH t x q0 retain"]);
}

#[test]
fn mqtt5_3_3_1_6_empty_payload_removes_the_retained_message() {
    // covers: MQTT-3.3.1-7
    let mut harness = Harness::new();
    let live = harness.connect(transient("l"));
    harness.run(live, [subscribe("t", Q0)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("t", "x", Q0, 0), retain("t", "", Q0, 0)]);
    assert_eq!(harness.received(live), ["PUBLISH t x q0", "PUBLISH t  q0"]);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, subscribe("t", Q0)), ["SUBACK 1 00"]);
}

#[test]
fn mqtt5_3_3_1_8_publish_without_retain_changes_nothing() {
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("t", "x", Q0, 0), publish("t", "y", Q0, 0), publish("t", "", Q0, 0)]);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, subscribe("t", Q0)), ["SUBACK 1 00", "PUBLISH t x q0 retain"]);
}

#[test]
fn mqtt5_3_3_1_10_retain_handling_1_sends_to_new_subscriptions_only() {
    // covers: MQTT-3.3.1-11 MQTT-3.8.4-4
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("t", "x", Q0, 0)]);
    let client = harness.connect(durable("a"));
    let with = |retain_handling| subscribe_with("t", SubscriptionOptions { retain_handling, ..options(Q0) });
    let (suback, message) = ("SUBACK 1 00", "PUBLISH t x q0 retain");
    assert_eq!(harness.ask(client, with(RetainHandling::DoNotSend)), [suback]);
    assert_eq!(harness.ask(client, with(RetainHandling::SendIfNew)), [suback]);
    assert_eq!(harness.ask(client, with(RetainHandling::Send)), [suback, message]);
    harness.run(client, [unsubscribe(1, &["t"])]);
    assert_eq!(harness.ask(client, with(RetainHandling::SendIfNew)), [suback, message]);
    harness.lose(client);
    let client = harness.connect(durable("a"));
    assert_eq!(
        harness.ask(client, with(RetainHandling::SendIfNew)),
        [suback],
        "the subscription exists in the session"
    );
}

#[test]
fn mqtt5_retained_message_has_the_subscription_identifier_and_the_remaining_expiry() {
    // covers: MQTT-3.3.2-6
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    let expiring = Publish { retain: true, message_expiry_interval: Some(100), ..message("t", "x", Q2, 1) };
    harness.run(publisher, [ClientPacket::Publish(expiring)]);
    harness.seconds(40);
    let client = harness.connect(transient("a"));
    let lines = harness.ask(client, subscribe_all(1, 5, vec![subscription("+", options(Q1))]));
    assert_eq!(lines, ["SUBACK 1 01", "PUBLISH t x q1 #1 retain expiry=60 ids=[5]"]);
    harness.seconds(60);
    assert_eq!(harness.ask(client, subscribe("#", Q1)), ["SUBACK 1 01"]);
}

#[test]
fn mqtt5_shared_subscription_gets_no_retained_messages() {
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("t", "x", Q0, 0)]);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, subscribe("$share/g/t", Q0)), ["SUBACK 1 00"]);
}

#[test]
fn mqtt311_3_1_2_7_retained_message_outlives_its_session() {
    let mut harness = Harness::new();
    let publisher = harness.connect(v311("p", true));
    harness.run(publisher, [retain("t", "x", Q0, 0)]);
    harness.lose(publisher);
    let client = harness.connect(v311("p", true));
    assert_eq!(harness.ask(client, subscribe("t", Q0)), ["SUBACK 1 00", "PUBLISH t x q0 retain"]);
}

#[test]
fn mqtt5_3_3_1_9_retained_messages_wait_for_the_client_and_none_is_lost() {
    let mut settings = settings();
    settings.queued_messages_max = 5;
    for connect in [transient("a"), durable("a")] {
        let mut harness = Harness::with(1, settings.clone());
        let publisher = harness.connect(transient("p"));
        for number in 0..40 {
            harness.run(publisher, [retain(&format!("t/{number:02}"), "x", Q1, 1)]);
        }
        let mut connect = connect;
        connect.properties.receive_maximum = std::num::NonZeroU16::new(2).unwrap();
        let client = harness.connect(connect);
        harness.send(client, subscribe("t/#", Q1));
        let mut topics = Vec::new();
        for _ in 0..100 {
            for packet in harness.packets(client) {
                if let crate::codec::ServerPacket::Publish(publish) = packet {
                    topics.push(publish.message.topic.as_str().to_owned());
                    harness.send(client, puback(publish.packet_id.unwrap().number()));
                }
            }
        }
        let expected: Vec<String> = (0..40).map(|number| format!("t/{number:02}")).collect();
        assert_eq!(topics, expected);
    }
}

#[test]
fn mqtt5_retained_message_replaced_during_replay_is_sent_once() {
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("t/1", "x", Q1, 1), retain("t/2", "old", Q1, 1), retain("t/3", "gone", Q1, 1)]);
    let mut connect = transient("a");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
    let client = harness.connect(connect);
    assert_eq!(harness.ask(client, subscribe("t/#", Q1)), ["SUBACK 1 01", "PUBLISH t/1 x q1 #1 retain"]);
    harness.run(publisher, [retain("t/2", "new", Q1, 1), retain("t/3", "", Q0, 0)]);
    let mut lines = harness.received(client);
    for number in 1..=6 {
        harness.send(client, puback(number));
        lines.extend(harness.received(client));
    }
    let old = lines.iter().filter(|line| line.contains("old")).count();
    let new = lines.iter().filter(|line| line.contains("new")).count();
    assert!(old <= 1 && new == 1, "{lines:?}");
    let position = |text: &str| lines.iter().position(|line| line.contains(text));
    assert!(position("old") < position("new"), "{lines:?}");
}

#[test]
fn mqtt5_retained_messages_are_sent_while_acknowledgements_wait_for_a_commit() {
    let mut harness = Harness::new();
    let other = harness.connect(durable("s"));
    harness.run(other, [subscribe("q", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("t", "x", Q0, 0)]);
    let client = harness.connect(durable("a"));
    harness.store_answers = false;
    harness.send(client, subscribe("t", Q0));
    harness.send(client, publish("q", "1", Q1, 1));
    let all = |harness: &mut Harness, number| {
        harness.persist_one(0);
        harness.send(client, publish("q", "1", Q1, number));
        harness.received(client)
    };
    let mut lines = Vec::new();
    for number in 2..=6 {
        lines.extend(all(&mut harness, number));
    }
    assert!(lines.contains(&"PUBLISH t x q0 retain".to_owned()), "{lines:?}");
}

#[test]
fn mqtt5_retained_message_beyond_the_limits_is_refused() {
    let limits = RetainedLimits { retained_messages_max: 1, retained_bytes_max: 10_000 };
    let mut harness = Harness::with_retained(1, settings(), limits);
    let live = harness.connect(transient("l"));
    harness.run(live, [subscribe("#", Q0)]);
    let client = harness.connect(transient("a"));
    assert_eq!(harness.ask(client, retain("t", "x", Q1, 1)), ["PUBACK 1"]);
    assert_eq!(harness.ask(client, retain("t", "y", Q1, 1)), ["PUBACK 1"]);
    assert_eq!(harness.ask(client, retain("u", "x", Q1, 1)), ["PUBACK 1 0x97"]);
    assert_eq!(harness.received(live), ["PUBLISH t x q0", "PUBLISH t y q0"]);
    harness.run(client, [retain("u", "x", Q0, 0)]);
    assert_eq!(harness.received(live), ["PUBLISH u x q0"], "at QoS 0 it is delivered but not retained");
}

#[test]
fn mqtt311_3_3_1_7_retained_qos0_message_discards_the_previous_one_even_if_not_retained() {
    let limits = RetainedLimits { retained_messages_max: 10, retained_bytes_max: 1_000 };
    let mut harness = Harness::with_retained(1, settings(), limits);
    let client = harness.connect(v311("a", true));
    harness.run(client, [retain("t", "x", Q0, 0)]);
    let large = "y".repeat(2_000);
    let large = Publish { retain: true, ..Publish::new(topic("t"), large) };
    harness.run(client, [ClientPacket::Publish(large)]);
    assert_eq!(harness.ask(client, subscribe("t", Q0)), ["SUBACK 1 00"]);
    let kept = |record: &Record| {
        let Record::Accepted { message, retained, .. } = record else { return None };
        Some((retained.clone(), message.payload.len()))
    };
    let kept: Vec<_> = harness.records.iter().filter_map(kept).collect();
    let [(RetainedChange::Set { number, .. }, 1), (RetainedChange::Cleared { number: cleared, .. }, 0)] = &kept[..]
    else {
        panic!("unexpected records: {kept:?}");
    };
    assert!(number < cleared);
}

#[test]
fn mqtt5_3_8_4_5_filter_that_one_packet_repeats_is_replayed_as_often_and_recorded_once() {
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("t/1", "x", Q0, 0), retain("t/2", "x", Q0, 0)]);
    let client = harness.connect(durable("a"));
    let mut subscriptions = vec![subscription("t/+", options(Q1)); 9];
    subscriptions.push(subscription("t/+", options(Q0)));
    subscriptions.push(subscription("t/+", options(Q1)));
    let lines = harness.ask(client, subscribe_all(1, 0, subscriptions));
    let suback = "SUBACK 1 01 01 01 01 01 01 01 01 01 00 97"; // entries beyond subscriptions_per_session_max are refused
    assert_eq!(lines[0], suback);
    assert_eq!(lines[1..], ["PUBLISH t/1 x q0 retain", "PUBLISH t/2 x q0 retain"].repeat(10));
    let recorded = harness.records.iter().find_map(|record| {
        if let Record::Subscribed { subscriptions, .. } = record { Some(subscriptions.clone()) } else { None }
    });
    assert_eq!(recorded.unwrap(), [subscription("t/+", options(Q0))]);
}

#[test]
fn replay_that_visits_many_nodes_continues_in_later_turns() {
    let limits = RetainedLimits { retained_messages_max: 20_000, retained_bytes_max: 100_000_000 };
    let mut harness = Harness::with_retained(1, settings(), limits);
    let publisher = harness.connect(transient("p"));
    for number in 0..6_000 {
        harness.run(publisher, [retain(&format!("{number}/y"), "x", Q0, 0)]);
    }
    harness.run(publisher, [retain("last/x/z", "x", Q0, 0)]);
    let (client, other) = (harness.connect(transient("a")), harness.connect(transient("b")));
    let subscriptions = vec![subscription("+/+/+", options(Q0)); 10]; // too expensive to replay ten times
    harness.send(client, subscribe_all(1, 0, subscriptions));
    harness.send(other, subscribe("+/+/+", Q0));
    assert_eq!(harness.received(client), ["SUBACK 1 00 00 00 00 00 00 00 00 00 00"]);
    let before = harness.now;
    harness.advance(std::time::Duration::from_millis(60));
    assert_eq!(harness.received(client), ["PUBLISH last/x/z x q0 retain"]);
    assert_eq!(harness.received(other), ["SUBACK 1 00", "PUBLISH last/x/z x q0 retain"]);
    assert!(harness.now > before && harness.shards[0].deadline().is_some_and(|at| at > harness.now));
}

#[test]
fn replay_that_is_restarted_many_times_is_deferred_once() {
    let limits = RetainedLimits { retained_messages_max: 20_000, retained_bytes_max: 100_000_000 };
    let mut harness = Harness::with_retained(1, settings(), limits);
    let publisher = harness.connect(transient("p"));
    for number in 0..6_000 {
        harness.run(publisher, [retain(&format!("{number}/y"), "x", Q0, 0)]);
    }
    harness.run(publisher, [retain("last/x/z", "x", Q0, 0)]);
    let client = harness.connect(transient("a"));
    for number in 1..=20 {
        harness.run(client, [subscribe("+/+/+", Q0), unsubscribe(number, &["+/+/+"])]);
    }
    let other = harness.connect(transient("b"));
    harness.send(client, subscribe("+/+/+", Q0));
    harness.run(other, [subscribe("+/+/+", Q0)]);
    assert_eq!(harness.shards[0].retained.deferred(), 2);
    harness.advance(std::time::Duration::from_millis(60));
    assert_eq!(harness.received(other), ["PUBLISH last/x/z x q0 retain"]);
    assert_eq!(harness.received(client), ["SUBACK 1 00", "PUBLISH last/x/z x q0 retain"]);
}

/// Retained messages of `t/1` to `t/4`, and a client with Receive Maximum 1.
fn four_retained_and_a_client_that_takes_one_at_a_time() -> (Harness, Client) {
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    for number in 1..=4 {
        harness.run(publisher, [retain(&format!("t/{number}"), "x", Q1, 1)]);
    }
    let mut connect = transient("a");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
    let client = harness.connect(connect);
    (harness, client)
}

#[test]
fn replaced_subscription_lowers_the_qos_of_the_rest_of_a_replay() {
    let (mut harness, client) = four_retained_and_a_client_that_takes_one_at_a_time();
    assert_eq!(harness.ask(client, subscribe("t/#", Q1)), ["SUBACK 1 01", "PUBLISH t/1 x q1 #1 retain"]);
    let without = SubscriptionOptions { retain_handling: RetainHandling::DoNotSend, ..options(Q0) };
    harness.run(client, [subscribe_with("t/#", without)]);
    let mut lines = Vec::new();
    for number in 1..=2 {
        harness.send(client, puback(number));
        lines.extend(harness.received(client));
    }
    let expected = ["PUBLISH t/2 x q1 #2 retain", "PUBLISH t/3 x q0 retain", "PUBLISH t/4 x q0 retain"];
    assert_eq!(lines, expected);
}

#[test]
fn revoked_access_applies_to_the_rest_of_a_replay() {
    let (mut harness, client) = four_retained_and_a_client_that_takes_one_at_a_time();
    harness.run(client, [subscribe("t/#", Q1)]);
    let access = std::sync::Arc::new(crate::routing::Access::new(Vec::new()));
    harness.event(0, crate::broker::Event::AccessChanged { connection: client.id, access });
    let mut lines = Vec::new();
    for number in 1..=4 {
        harness.send(client, puback(number));
        lines.extend(harness.received(client));
    }
    assert_eq!(lines, [""; 0], "the second was queued before, and never sent");
}
