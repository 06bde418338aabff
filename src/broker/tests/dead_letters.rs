use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{QueueOverflow, Record, Settings};
use crate::codec::{ClientPacket, MessageProperties, MessageProperty, Publish, ServerPacket};

fn small(queue_overflow: QueueOverflow) -> Settings {
    let mut settings = settings();
    settings.queued_messages_max = 2;
    settings.queue_overflow = queue_overflow;
    settings.dead_letter_topic = Some(topic("dead"));
    settings
}

/// A disconnected durable subscriber to `t`, a subscriber to the dead letter topic, and a publisher.
fn disconnected(queue_overflow: QueueOverflow) -> (Harness, Client, Client) {
    let mut harness = Harness::with(1, small(queue_overflow));
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.lose(subscriber);
    let reader = harness.connect(transient("r"));
    harness.run(reader, [subscribe("dead", Q2)]);
    let publisher = harness.connect(transient("p"));
    (harness, reader, publisher)
}

fn properties(packet: &ServerPacket) -> Vec<MessageProperty> {
    let ServerPacket::Publish(publish) = packet else { panic!("{packet:?}") };
    publish.message.properties.iter().collect()
}

#[test]
fn dropped_message_is_published_to_the_dead_letter_topic_with_reason_topic_and_client() {
    for (queue_overflow, line) in
        [(QueueOverflow::DropOldest, "PUBLISH dead 1 q1 #1"), (QueueOverflow::DropNewest, "PUBLISH dead 3 q1 #1")]
    {
        let (mut harness, reader, publisher) = disconnected(queue_overflow);
        for (number, payload) in [(1, "1"), (2, "2"), (3, "3")] {
            let own = MessageProperties::from_properties([user_property("reason", "of its publisher")]);
            let publish = message("t", payload, Q1, number).with_properties(own);
            harness.run(publisher, [ClientPacket::Publish(publish)]);
        }
        let packets = harness.packets(reader);
        assert_eq!(packets.iter().map(show).collect::<Vec<_>>(), [line]);
        let expected = [("reason", "queue_full"), ("topic", "t"), ("client-id", "s"), ("reason", "of its publisher")];
        assert_eq!(properties(&packets[0]), expected.map(|(name, value)| user_property(name, value)));
        assert_eq!(harness.shards[0].counters().dead_letters, 1);
    }
}

#[test]
fn expired_message_of_a_durable_session_is_a_dead_letter_and_of_a_transient_one_is_not() {
    let (mut harness, reader, publisher) = disconnected(QueueOverflow::DropOldest);
    let expiring = Publish { message_expiry_interval: Some(5), ..message("t", "x", Q2, 1) };
    harness.run(publisher, [ClientPacket::Publish(expiring)]);
    harness.seconds(6);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), [""; 0]);
    let packets = harness.packets(reader);
    assert_eq!(packets.iter().map(show).collect::<Vec<_>>(), ["PUBLISH dead x q2 #1"]);
    assert_eq!(properties(&packets[0])[0], user_property("reason", "expired"));
    let mut connect = transient("v");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
    let transient = harness.connect(connect);
    harness.run(transient, [subscribe("u", Q1), publish("u", "1", Q1, 1)]);
    let expiring = Publish { message_expiry_interval: Some(5), ..message("u", "2", Q1, 2) };
    harness.run(transient, [ClientPacket::Publish(expiring)]);
    harness.seconds(6);
    harness.run(transient, [puback(1)]);
    assert_eq!(harness.received(reader), [""; 0]);
}

#[test]
fn dead_letter_is_recorded_before_the_dropped_message_is_deleted() {
    let (mut harness, _, publisher) = disconnected(QueueOverflow::DropOldest);
    let keeper = harness.connect(durable("k"));
    harness.run(keeper, [subscribe("dead", Q1)]);
    harness.records.clear();
    for number in 1..=3 {
        harness.run(publisher, [publish("t", "x", Q1, number)]);
    }
    let of_dead =
        |record: &Record| matches!(record, Record::Accepted { message, .. } if message.topic.as_str() == "dead");
    let dead = harness.records.iter().position(of_dead).unwrap();
    let done = harness.records.iter().position(|record| matches!(record, Record::Done { .. })).unwrap();
    assert!(dead < done);
}

#[test]
fn dead_letters_neither_become_dead_letters_nor_displace_other_messages() {
    for queue_overflow in [QueueOverflow::DropOldest, QueueOverflow::DropNewest, QueueOverflow::Reject] {
        let mut harness = Harness::with(1, small(queue_overflow));
        // Both subscribe to all topics, including the dead letter topic, and have full queues.
        for client in ["a", "b"] {
            let subscriber = harness.connect(durable(client));
            harness.run(subscriber, [subscribe("#", Q1)]);
            harness.lose(subscriber);
        }
        let publisher = harness.connect(transient("p"));
        for number in 1..=9 {
            harness.run(publisher, [publish("t", "x", Q1, number)]);
        }
        for client in ["a", "b"] {
            let subscriber = harness.connect(durable(client));
            let lines = harness.received(subscriber);
            assert_eq!(lines.len(), 2);
            assert!(lines.iter().all(|line| line.starts_with("PUBLISH t x")), "{lines:?}");
        }
        let expected = if queue_overflow == QueueOverflow::Reject { 0 } else { 14 };
        assert_eq!(harness.shards[0].counters().dead_letters, expected);
    }
}

#[test]
fn nothing_is_published_without_a_dead_letter_topic() {
    let mut harness = Harness::with(1, Settings { dead_letter_topic: None, ..small(QueueOverflow::DropOldest) });
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.lose(subscriber);
    let reader = harness.connect(transient("r"));
    harness.run(reader, [subscribe("dead", Q1)]);
    for number in 1..=9 {
        harness.run(reader, [publish("t", "x", Q1, number)]);
    }
    assert_eq!(harness.received(reader), [""; 0]);
    assert_eq!(harness.shards[0].counters().dead_letters, 0);
}
