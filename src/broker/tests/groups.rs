use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{DropReason, Durability, DurabilityRule, Settings};
use crate::codec::{ClientPacket, SubscriptionOptions};
use crate::topic::TopicFilter;

/// Subscribers on the second shard with the Subscription Identifiers 1 to `count`.
fn subscribers(harness: &mut Harness, count: u32) -> Vec<Client> {
    let subscriber = |id: u32| {
        let client = harness.connect_to(1, transient(&format!("s{id}")));
        harness.run(client, [subscribe_all(1, id, vec![subscription("t", options(Q2))])]);
        client
    };
    (1..=count).map(subscriber).collect()
}

/// Settings without records, so that messages for durable Sessions do not wait either.
fn unrecorded() -> Settings {
    let mut settings = settings();
    let topic_filter = TopicFilter::new("#".into()).unwrap();
    settings.durability_rules = vec![DurabilityRule { topic_filter, level: Durability::None }];
    settings
}

/// Sends a packet and returns the number of resulting messages from shard 0 to shard 1, which are then delivered.
fn forwarded_by(harness: &mut Harness, publisher: Client, packet: ClientPacket) -> usize {
    harness.forwards = false;
    harness.send(publisher, packet);
    let messages = harness.in_transit(0, 1);
    harness.forward();
    messages
}

fn dropped(harness: &Harness, shard: usize, reason: DropReason) -> u64 {
    harness.shards[shard].counters().dropped[reason as usize]
}

#[test]
fn receivers_on_another_shard_get_their_copies_from_one_shard_message() {
    let mut harness = Harness::with(2, settings());
    let there = subscribers(&mut harness, 40);
    let here = harness.connect_to(0, transient("h"));
    harness.run(here, [subscribe("t", Q1)]);
    let publisher = harness.connect_to(0, transient("p"));
    for (qos, line) in [(Q0, "q0"), (Q1, "q1 #1"), (Q2, "q2 #2")] {
        assert_eq!(forwarded_by(&mut harness, publisher, publish("t", "x", qos, 7)), 1);
        for (client, id) in there.iter().zip(1..) {
            assert_eq!(harness.received(*client), [format!("PUBLISH t x {line} ids=[{id}]")]);
        }
    }
    assert_eq!(harness.received(here), ["PUBLISH t x q0", "PUBLISH t x q1 #1", "PUBLISH t x q1 #2"]);
    let queued: Vec<u64> = harness.shards.iter().map(|shard| shard.counters().queued_messages).collect();
    assert_eq!(queued, [2, 80]);
}

#[test]
fn each_shard_gets_a_group_of_its_own_receivers() {
    let mut harness = Harness::with(3, settings());
    let client = |number: usize| (number, format!("s{number}"));
    let clients: Vec<Client> = (0..12)
        .map(client)
        .map(|(number, name)| {
            let client = harness.connect_to(number % 3, transient(&name));
            harness.run(client, [subscribe("t", Q1)]);
            client
        })
        .collect();
    let publisher = harness.connect_to(0, transient("p"));
    harness.forwards = false;
    harness.send(publisher, publish("t", "x", Q1, 1));
    assert_eq!((harness.in_transit(0, 1), harness.in_transit(0, 2)), (1, 1));
    harness.forward();
    for client in clients {
        assert_eq!(harness.received(client), ["PUBLISH t x q1 #1"]);
    }
}

#[test]
fn mqtt5_4_6_0_6_messages_in_groups_and_alone_come_in_order() {
    let mut harness = Harness::with(2, settings());
    let both = subscribers(&mut harness, 2);
    harness.run(both[0], [subscribe_all(2, 9, vec![subscription("$share/g/t", options(Q2))])]);
    let publisher = harness.connect_to(0, transient("p"));
    harness.forwards = false;
    for number in 1..=9_u16 {
        if number == 5 {
            harness.send(both[1], unsubscribe(3, &["t"])); // from now on there is only one receiver
        }
        let payload = ["1", "2", "3", "4", "5", "6", "7", "8", "9"][usize::from(number) - 1];
        harness.send(publisher, publish("t", payload, [Q0, Q1, Q2][usize::from(number) % 3], number));
    }
    harness.forward();
    let payloads = |lines: Vec<String>, id: &str| -> String {
        let own = lines.iter().filter(|line| line.starts_with("PUBLISH t ") && line.ends_with(id));
        own.filter_map(|line| line.split(' ').nth(2).map(str::to_owned)).collect()
    };
    let lines = harness.received(both[0]);
    assert_eq!(payloads(lines.clone(), "ids=[1]"), "123456789");
    assert_eq!(payloads(lines, "ids=[9]"), "123456789");
    assert_eq!(payloads(harness.received(both[1]), "ids=[2]"), "1234");
}

#[test]
fn mqtt5_3_8_3_3_no_local_applies_to_the_publisher_only() {
    let mut harness = Harness::with(2, settings());
    let no_local = SubscriptionOptions { no_local: true, ..options(Q1) };
    let others = subscribers(&mut harness, 2);
    for (client, id) in others.iter().zip(21..) {
        harness.run(*client, [subscribe_all(2, id, vec![subscription("t/#", no_local), subscription("u", no_local)])]);
    }
    let publisher = harness.connect_to(0, transient("p"));
    let twice = subscribe_all(1, 11, vec![subscription("t", no_local), subscription("u", no_local)]);
    harness.run(publisher, [twice, subscribe_all(2, 12, vec![subscription("t/#", options(Q1))])]);
    assert_eq!(forwarded_by(&mut harness, publisher, publish("t", "x", Q1, 1)), 1);
    assert_eq!(forwarded_by(&mut harness, publisher, publish("u", "x", Q1, 2)), 1);
    assert_eq!(harness.received(publisher), ["PUBLISH t x q1 #1 ids=[12]", "PUBACK 1", "PUBACK 2"]);
    for (client, id) in others.into_iter().zip(1..) {
        let by_both = format!("PUBLISH t x q1 #1 ids=[{id}, {}]", id + 20);
        assert_eq!(harness.received(client), [by_both, format!("PUBLISH u x q1 #2 ids=[{}]", id + 20)]);
    }
}

#[test]
fn copy_for_a_session_that_has_moved_is_forwarded_at_qos_1_and_dropped_at_qos_0() {
    for (qos, follows) in [(Q0, false), (Q1, true)] {
        let mut harness = Harness::with(3, unrecorded());
        let stays = subscribers(&mut harness, 1)[0];
        let moves = harness.connect_to(1, durable("m"));
        harness.run(moves, [subscribe("t", Q1)]);
        let publisher = harness.connect_to(0, transient("p"));
        harness.forwards = false;
        harness.send(publisher, publish("t", "x", qos, 1));
        assert_eq!(harness.in_transit(0, 1), 1);
        let moved = harness.attempt(2, durable("m"));
        harness.forward_one(2, 1);
        harness.forward_one(1, 2);
        assert_eq!(harness.received(moved), ["CONNACK 0x00 present"]);
        harness.forward();
        assert_eq!(harness.received(moved), ["PUBLISH t x q1 #1"][usize::from(!follows)..]);
        assert_eq!(harness.received(stays).len(), 1);
        assert_eq!(dropped(&harness, 1, DropReason::NotConnected), u64::from(!follows));
        harness.forwards = true;
        harness.run(publisher, [publish("t", "y", Q1, 2)]);
        let next = if follows { "PUBLISH t y q1 #2" } else { "PUBLISH t y q1 #1" };
        assert_eq!(harness.received(moved), [next], "the queue has no gap");
    }
}

#[test]
fn copy_for_a_session_that_has_ended_meanwhile_is_dropped_and_the_others_arrive() {
    let mut harness = Harness::with(2, settings());
    let there = subscribers(&mut harness, 3);
    let publisher = harness.connect_to(0, transient("p"));
    harness.forwards = false;
    harness.send(publisher, publish("t", "x", Q1, 1));
    harness.lose(there[1]);
    harness.forward();
    assert_eq!(harness.received(there[0]), ["PUBLISH t x q1 #1 ids=[1]"]);
    assert_eq!(harness.received(there[2]), ["PUBLISH t x q1 #1 ids=[3]"]);
    assert_eq!(dropped(&harness, 1, DropReason::SessionEnded), 1);
}

#[test]
fn copies_with_a_record_wait_for_it_and_the_others_do_not() {
    let mut harness = Harness::with(2, settings());
    let there = subscribers(&mut harness, 2);
    let stored = harness.connect_to(1, durable("d"));
    harness.run(stored, [subscribe("t", Q1)]);
    let publisher = harness.connect_to(0, transient("p"));
    harness.store_answers = false;
    assert_eq!(forwarded_by(&mut harness, publisher, publish("t", "x", Q1, 1)), 1);
    for client in there {
        assert_eq!(harness.received(client).len(), 1);
    }
    assert_eq!(harness.received(stored), [""; 0]);
    harness.persist();
    harness.forward();
    assert_eq!(harness.received(stored), ["PUBLISH t x q1 #1"]);
}
