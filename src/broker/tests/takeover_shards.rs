use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::codec::{Connect, ServerPacket, Will};

fn three_shards() -> Harness {
    Harness::with(3, settings())
}

fn sessions(harness: &Harness) -> Vec<u64> {
    harness.shards.iter().map(|shard| shard.counters().sessions).collect()
}

#[test]
fn message_reaches_a_session_on_another_shard() {
    let mut harness = three_shards();
    let subscriber = harness.connect_to(1, transient("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect_to(0, transient("p"));
    assert_eq!(harness.ask(publisher, publish("t", "1", Q1, 1)), ["PUBACK 1"]);
    harness.run(publisher, [publish("t", "0", Q0, 0), publish("t", "2", Q2, 2)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1", "PUBLISH t 0 q0", "PUBLISH t 2 q2 #2"]);
}

#[test]
fn session_follows_its_client_to_another_shard() {
    let mut harness = three_shards();
    let first = harness.connect_to(0, durable("a"));
    harness.run(first, [subscribe("t", Q2), publish("x", "held", Q2, 9)]);
    let publisher = harness.connect_to(2, transient("p"));
    harness.run(publisher, [publish("t", "1", Q1, 1)]);
    assert_eq!(harness.received(first), ["PUBLISH t 1 q1 #1"]);
    let second = harness.attempt(1, durable("a"));
    assert_eq!(harness.received(first), ["DISCONNECT 0x8E", "CLOSED"]);
    assert_eq!(harness.received(second), ["CONNACK 0x00 present", "PUBLISH t 1 q1 #1 dup"]);
    assert_eq!(sessions(&harness), [0, 1, 1]);
    assert_eq!(harness.ask(second, pubrel(9)), ["PUBCOMP 9"], "the received set moved with the session");
    harness.run(publisher, [publish("t", "2", Q1, 2)]);
    assert_eq!(harness.received(second), ["PUBLISH t 2 q1 #2"]);
    let queued: Vec<u64> = harness.shards.iter().map(|shard| shard.counters().queued_messages).collect();
    assert_eq!(queued, [0, 2, 0]);
}

#[test]
fn clean_start_on_another_shard_ends_the_session_and_publishes_its_will() {
    let mut harness = three_shards();
    let watcher = harness.connect_to(2, transient("w"));
    harness.run(watcher, [subscribe("w", Q0)]);
    let delayed = Will { will_delay_interval: 60, ..will("w", "gone") };
    let first = harness.connect_to(0, Connect { will: Some(delayed), ..durable("a") });
    harness.run(first, [subscribe("t", Q1)]);
    let second = harness.attempt(1, Connect { clean_start: true, ..durable("a") });
    assert_eq!(harness.received(second), ["CONNACK 0x00"]);
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
    let publisher = harness.connect_to(0, transient("p"));
    assert_eq!(harness.ask(publisher, publish("t", "x", Q1, 1)), ["PUBACK 1 0x10"]);
}

#[test]
fn messages_for_a_session_that_moves_arrive_once_and_in_order() {
    let mut harness = three_shards();
    let first = harness.connect_to(0, durable("a"));
    harness.run(first, [subscribe("t", Q1)]);
    let publisher = harness.connect_to(2, transient("p"));
    harness.forwards = false;
    harness.send(publisher, publish("t", "1", Q1, 1));
    let second = harness.attempt(1, durable("a"));
    harness.send(publisher, publish("t", "2", Q1, 2));
    harness.forward_one(1, 0); // the claim
    harness.send(publisher, publish("t", "3", Q1, 3)); // arrives at the new shard before the session
    harness.forward_one(2, 1);
    harness.forward();
    let lines = ["CONNACK 0x00 present", "PUBLISH t 1 q1 #1", "PUBLISH t 2 q1 #2", "PUBLISH t 3 q1 #3"];
    assert_eq!(harness.received(second), lines);
    assert!(harness.is_closed(first));
}

#[test]
fn chain_of_claims_moves_the_session_to_the_last() {
    for order in [[(1, 0), (2, 1)], [(2, 1), (1, 0)]] {
        let mut harness = three_shards();
        let first = harness.connect_to(0, durable("a"));
        harness.run(first, [subscribe("t", Q1)]);
        let publisher = harness.connect_to(0, transient("p"));
        harness.forwards = false;
        let second = harness.attempt(1, durable("a"));
        let third = harness.attempt(2, durable("a"));
        for (from, to) in order {
            harness.forward_one(from, to);
        }
        harness.send(publisher, publish("t", "x", Q1, 1));
        harness.forward();
        assert_eq!(harness.received(first), ["DISCONNECT 0x8E", "CLOSED"]);
        assert!(harness.is_closed(second));
        assert_eq!(harness.received(third), ["CONNACK 0x00 present", "PUBLISH t x q1 #1"]);
        assert_eq!(sessions(&harness), [1, 0, 1]);
    }
}

#[test]
fn claimant_that_is_followed_by_another_is_refused_before_the_session_arrives() {
    let mut harness = three_shards();
    let first = harness.connect_to(0, durable("a"));
    harness.run(first, [subscribe("t", Q1)]);
    harness.forwards = false;
    let second = harness.attempt(1, durable("a"));
    let third = harness.attempt(2, durable("a"));
    assert!(!harness.is_closed(second));
    harness.forward_one(2, 1);
    assert_eq!(harness.received(second), ["CONNACK 0x88", "CLOSED"]);
    harness.forward();
    assert_eq!(harness.received(third), ["CONNACK 0x00 present"]);
}

#[test]
fn chain_of_claims_with_clean_start_ends_the_old_session() {
    for (second, third, present) in [(true, false, true), (false, true, false)] {
        let mut harness = three_shards();
        let first = harness.connect_to(0, durable("a"));
        harness.run(first, [subscribe("t", Q1)]);
        harness.forwards = false;
        harness.attempt(1, Connect { clean_start: second, ..durable("a") });
        let last = harness.attempt(2, Connect { clean_start: third, ..durable("a") });
        harness.forward();
        let lines = harness.received(last);
        assert!(lines == ["CONNACK 0x00"] || (present && lines == ["CONNACK 0x00 present"]), "{lines:?}");
        let publisher = harness.connect_to(2, transient("p"));
        assert_eq!(harness.ask(publisher, publish("t", "x", Q1, 1)), ["PUBACK 1 0x10"], "the first session has ended");
    }
}

#[test]
fn claimant_that_closes_keeps_the_session_for_the_next() {
    let mut harness = three_shards();
    let first = harness.connect_to(0, durable("a"));
    harness.run(first, [subscribe("t", Q1)]);
    harness.forwards = false;
    let second = harness.attempt(1, durable("a"));
    harness.lose(second);
    harness.forward();
    assert_eq!(sessions(&harness), [0, 1, 0]);
    harness.forwards = true;
    let publisher = harness.connect_to(0, transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    let third = harness.attempt(2, durable("a"));
    assert_eq!(harness.received(third), ["CONNACK 0x00 present", "PUBLISH t x q1 #1"]);
}

#[test]
fn session_whose_claimant_closed_still_expires() {
    let mut harness = three_shards();
    harness.connect_to(0, durable("a"));
    harness.forwards = false;
    let second = harness.attempt(1, durable("a"));
    harness.lose(second);
    harness.forward();
    harness.seconds(999);
    assert_eq!(sessions(&harness), [0, 1, 0]);
    harness.seconds(1);
    assert_eq!(sessions(&harness), [0, 0, 0]);
}

#[test]
fn session_moves_when_its_records_are_stable() {
    let mut harness = three_shards();
    let other = harness.connect_to(2, durable("o"));
    harness.run(other, [subscribe("t", Q1)]);
    let first = harness.connect_to(0, durable("a"));
    harness.store_answers = false;
    harness.send(first, publish("t", "x", Q2, 5));
    let second = harness.attempt(1, durable("a"));
    assert_eq!(harness.received(second), [""; 0]);
    for _ in 0..3 {
        harness.persist();
    }
    assert_eq!(harness.received(second), ["CONNACK 0x00 present"]);
    assert_eq!(harness.ask(second, publish("t", "x", Q2, 5)), ["PUBREC 5"]);
    assert_eq!(harness.received(other), ["PUBLISH t x q1 #1"]);
}

/// Nothing waits for the record of the end of its connection.
#[test]
fn session_of_a_lost_connection_moves_with_one_commit() {
    let mut harness = three_shards();
    let first = harness.connect_to(0, durable("a"));
    harness.store_answers = false;
    harness.lose(first);
    let second = harness.attempt(1, durable("a"));
    assert_eq!(harness.received(second), [""; 0]);
    harness.commit(1);
    assert_eq!(harness.received(second), ["CONNACK 0x00 present"]);
}

/// A full queue drops a message and records it for every new message. These records must not delay the move.
#[test]
fn session_moves_while_its_full_queue_drops_messages() {
    let mut settings = settings();
    settings.queued_messages_max = 2;
    let mut harness = Harness::with(2, settings);
    let first = harness.connect_to(0, durable("a"));
    harness.run(first, [subscribe("t", Q1)]);
    harness.lose(first);
    let publisher = harness.connect_to(0, v311("p", true));
    harness.store_answers = false;
    let mut second: Option<Client> = None;
    for number in 1..=30 {
        harness.send(publisher, publish("t", "x", Q1, number));
        harness.persist_one(0);
        harness.persist_one(1);
        if number == 10 {
            second = Some(harness.attempt(1, durable("a")));
        }
    }
    let packets = harness.packets(second.unwrap());
    assert!(matches!(packets.first(), Some(ServerPacket::Connack(_))), "{packets:?}");
}

#[test]
fn publisher_and_subscriber_that_exchange_shards_lose_nothing() {
    let mut harness = three_shards();
    let mut subscriber = harness.connect_to(0, durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let mut publisher = harness.connect_to(1, durable("p"));
    let mut got = Vec::new();
    for number in 1..=60_u16 {
        harness.send(publisher, publish("t", "x", Q2, number));
        for packet in harness.packets(subscriber) {
            if let ServerPacket::Publish(publish) = packet {
                let packet_id = publish.packet_id.unwrap().number();
                if !publish.dup {
                    got.push(packet_id);
                }
                harness.send(subscriber, pubrec(packet_id));
            } else if let ServerPacket::Pubrel(ack) = packet {
                harness.send(subscriber, pubcomp(ack.packet_id.number()));
            }
        }
        harness.send(publisher, pubrel(number));
        if number % 3 == 0 {
            publisher = harness.attempt(usize::from(number) % 2, durable("p"));
        }
        if number % 5 == 0 {
            subscriber = harness.attempt(usize::from(number) % 3, durable("s"));
        }
    }
    for packet in harness.packets(subscriber) {
        if let ServerPacket::Publish(publish) = packet {
            got.push(publish.packet_id.unwrap().number());
        }
    }
    got.dedup();
    assert_eq!(got, (1..=60).collect::<Vec<u16>>());
}
