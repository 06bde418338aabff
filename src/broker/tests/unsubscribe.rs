use super::harness::Harness;
use super::packets::*;
use crate::broker::Record;

#[test]
fn mqtt5_3_10_4_1_unsubscribe_deletes_only_the_same_filter() {
    // covers: MQTT-3.10.4-2 MQTT-3.10.4-4 MQTT-3.10.4-5 MQTT-3.10.4-6 MQTT-3.11.3-1 MQTT-3.11.3-2
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("a/+", Q0), subscribe("a/b", Q0), subscribe("b", Q0)]);
    assert_eq!(harness.ask(client, unsubscribe(5, &["a/b", "a/#", "b", "b"])), ["UNSUBACK 5 00 11 00 11"]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("a/b", "x", Q0, 0), publish("b", "x", Q0, 0)]);
    assert_eq!(harness.received(client), ["PUBLISH a/b x q0"]);
}

#[test]
fn mqtt311_3_10_4_5_unsubscribe_is_answered_even_if_nothing_is_deleted() {
    // covers: MQTT-3.10.4-1 MQTT-3.10.4-2 MQTT-3.10.4-4 MQTT-3.10.4-6
    let mut harness = Harness::new();
    let client = harness.connect(v311("a", true));
    let lines = harness.ask(client, unsubscribe(5, &["nothing"]));
    assert!(lines[0].starts_with("UNSUBACK 5"));
    harness.run(client, [subscribe("t", Q0), unsubscribe(6, &["t"])]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q0, 0)]);
    assert_eq!(harness.received(client), [""; 0]);
}

#[test]
fn mqtt5_3_10_4_3_delivery_that_has_begun_is_completed() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe("t", Q2)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q2, 1)]);
    harness.run(client, [unsubscribe(5, &["t"])]);
    assert_eq!(harness.ask(client, pubrec(1)), ["PUBREL 1"]);
    harness.lose(client);
    let client = harness.connect(durable("a"));
    assert_eq!(harness.received(client), ["PUBREL 1"]);
    harness.run(client, [pubcomp(1)]);
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
}

#[test]
fn mqtt5_unsubscribe_from_a_share_names_the_share() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("$share/g/t", Q0)]);
    assert_eq!(harness.ask(client, unsubscribe(5, &["t", "$share/h/t", "$share/g/t"])), ["UNSUBACK 5 11 11 00"]);
}

#[test]
fn unsubscribe_of_a_durable_session_is_recorded_if_something_is_deleted() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe("t", Q0), unsubscribe(5, &["u"]), unsubscribe(6, &["t", "u"])]);
    let removed = |record: &Record| {
        let Record::Unsubscribed { filters, .. } = record else { return None };
        Some(filters.len())
    };
    let removed: Vec<usize> = harness.records.iter().filter_map(removed).collect();
    assert_eq!(removed, [1]);
}
