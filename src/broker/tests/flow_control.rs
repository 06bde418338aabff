//! Pausing and resuming of connections.

use std::time::Duration;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::Event::{AccessChanged, Packet, PeerClosed, ShardCongestion, StoreCongestion, StoreRoom};
use crate::broker::{QueueOverflow, Report, Settings, StoreRoom as Room};
use crate::codec::{ClientPacket, Connect, ReasonCode};
use crate::routing::{Access, ShardId};

/// A disconnected durable subscriber to `t` on shard 0, whose queue of three messages is full.
fn full(shards: usize) -> Harness {
    let mut settings = settings();
    settings.queued_messages_max = 3;
    settings.queue_overflow = QueueOverflow::Reject;
    let mut harness = Harness::with(shards, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("filler"));
    harness.run(publisher, (1..=3).map(|number| publish("t", "full", Q1, number)));
    harness
}

/// 3.1.1 publishers on the last shard that wait for room.
fn waiting<const N: usize>(harness: &mut Harness, names: [&'static str; N]) -> [Client; N] {
    names.map(|name| {
        let shard = harness.shards.len() - 1;
        let publisher = harness.connect_to(shard, v311(name, true));
        harness.send(publisher, publish("t", name, Q1, 7));
        assert!(harness.is_paused(publisher));
        publisher
    })
}

fn waiters(harness: &Harness) -> usize {
    harness.shards[0].shared.room_waiters.len()
}

#[test]
fn publishers_that_wait_for_room_are_woken_in_order_and_one_per_freed_message() {
    for shards in [1, 2] {
        let mut harness = full(shards);
        let publishers = waiting(&mut harness, ["a", "b", "c"]);
        let subscriber = harness.connect(durable("s"));
        harness.run(subscriber, [puback(1)]);
        assert_eq!(publishers.map(|publisher| harness.is_paused(publisher)), [false, true, true]);
        assert_eq!(waiters(&harness), 2);
        harness.run(subscriber, [puback(2), puback(3)]);
        assert_eq!(publishers.map(|publisher| harness.is_paused(publisher)), [false; 3]);
        assert_eq!(
            publishers.map(|publisher| harness.received(publisher)),
            [["PUBACK 7"]; 3].map(|lines| lines.map(String::from).to_vec())
        );
        assert_eq!(waiters(&harness), 0);
    }
}

#[test]
fn wake_up_of_a_closed_publisher_is_passed_on() {
    let mut harness = full(2);
    let [first, second] = waiting(&mut harness, ["a", "b"]);
    let subscriber = harness.connect(durable("s"));
    harness.forwards = false;
    harness.send(subscriber, puback(1));
    harness.lose(first);
    assert!(harness.is_paused(second));
    harness.forwards = true;
    harness.forward();
    assert!(!harness.is_paused(second));
}

#[test]
fn closed_publisher_is_removed_from_the_list_of_waiting_publishers() {
    let mut harness = full(2);
    for _ in 0..100 {
        let [publisher] = waiting(&mut harness, ["a"]);
        harness.lose(publisher);
    }
    assert_eq!(waiters(&harness), 0);
}

#[test]
fn publisher_that_waits_for_room_is_resumed_when_its_receiver_ends_or_unsubscribes() {
    for shards in [1, 2] {
        let mut harness = full(shards);
        let publishers = waiting(&mut harness, ["a", "b"]);
        let subscriber = harness.connect(durable("s"));
        harness.run(subscriber, [unsubscribe(1, &["t"])]);
        assert_eq!(publishers.map(|publisher| harness.is_paused(publisher)), [false; 2]);

        let mut harness = full(shards);
        let publishers = waiting(&mut harness, ["a", "b"]);
        let subscriber = harness.connect(durable("s"));
        harness.run(subscriber, [subscribe("t", Q0)]);
        assert_eq!(publishers.map(|publisher| harness.is_paused(publisher)), [false; 2], "nothing is queued for QoS 0");

        let mut harness = full(shards);
        let publishers = waiting(&mut harness, ["a", "b"]);
        let subscriber = harness.connect(durable("s"));
        let access = std::sync::Arc::new(Access::new(Vec::new()));
        harness.event(0, AccessChanged { connection: subscriber.id, access });
        assert_eq!(publishers.map(|publisher| harness.is_paused(publisher)), [false; 2], "it may not receive them");

        let mut harness = full(shards);
        let publishers = waiting(&mut harness, ["a", "b"]);
        harness.connect(transient("s"));
        assert_eq!(publishers.map(|publisher| harness.is_paused(publisher)), [false; 2], "the Session has ended");
        assert_eq!(waiters(&harness), 0);
    }
}

#[test]
fn access_of_a_waiting_publisher_is_checked_again_when_there_is_room() {
    let mut harness = full(2);
    let [publisher] = waiting(&mut harness, ["a"]);
    let access = std::sync::Arc::new(Access::new(Vec::new()));
    harness.event(1, AccessChanged { connection: publisher.id, access });
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber).len(), 3);
    harness.send(subscriber, puback(1));
    assert!(!harness.is_paused(publisher));
    assert_eq!(harness.received(publisher), ["PUBACK 7 0x87"], "3.1.1 encodes it without the Reason Code");
    assert_eq!(harness.received(subscriber), [""; 0]);
    assert_eq!(harness.shards[1].counters().denied, 1);
}

#[test]
fn room_freed_before_the_publisher_is_in_the_list_resumes_it() {
    let mut harness = full(2);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [puback(1)]);
    let publisher = harness.connect_to(1, v311("p", true));
    assert_eq!(harness.ask(publisher, publish("t", "x", Q1, 7)), ["PUBACK 7"]);
}

#[test]
fn client_that_closes_while_its_message_waits_for_room_is_closed_at_once() {
    let mut harness = full(2);
    let [first, second] = waiting(&mut harness, ["a", "b"]);
    harness.event(1, PeerClosed { connection: first.id });
    assert!(harness.is_closed(first));
    assert_eq!(waiters(&harness), 1);
    let subscriber = harness.connect(durable("s"));
    harness.received(subscriber);
    harness.send(subscriber, puback(1));
    assert!(!harness.is_paused(second));
    assert_eq!(
        harness.received(subscriber),
        ["PUBLISH t b q1 #4"],
        "the message of the closed publisher is not accepted"
    );
}

#[test]
fn publisher_that_waits_for_the_disk_is_resumed_when_it_has_room() {
    let mut harness = Harness::new();
    let publishers: Vec<Client> = (0..200).map(|number| harness.connect(v311(&format!("p{number}"), false))).collect();
    harness.event(0, StoreRoom(Room::None));
    for publisher in &publishers {
        harness.send(*publisher, publish("nobody", "x", Q2, 1));
        assert!(harness.is_paused(*publisher));
    }
    harness.event(0, StoreRoom(Room::Some));
    assert!(!harness.is_paused(publishers[0]));
    harness.advance(Duration::from_millis(10));
    assert!(publishers.iter().all(|publisher| !harness.is_paused(*publisher)));
}

#[test]
fn congested_store_pauses_only_clients_whose_packets_are_recorded() {
    let mut harness = Harness::new();
    let [subscriber, publisher, other] = ["s", "p", "o"].map(|name| harness.connect(durable(name)));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.event(0, StoreCongestion(true));
    for packet in [ClientPacket::Pingreq, publish("nobody", "x", Q0, 0), puback(9)] {
        harness.send(other, packet);
        assert!(!harness.is_paused(other));
    }
    harness.send(publisher, publish("t", "1", Q1, 1));
    assert!(harness.is_paused(publisher));
    harness.send(publisher, publish("t", "2", Q1, 2));
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1"]);
    harness.send(subscriber, puback(1));
    assert!(!harness.is_paused(subscriber), "an acknowledgement makes room");
    assert_eq!(harness.ask(other, ClientPacket::Pingreq), ["PINGRESP"]);
    harness.event(0, StoreCongestion(false));
    assert!(!harness.is_paused(publisher));
    assert_eq!(harness.received(subscriber), ["PUBLISH t 2 q1 #2"]);
}

#[test]
fn clients_paused_for_the_store_are_resumed_in_batches_and_paused_again_when_it_is_congested_again() {
    let mut harness = Harness::new();
    let clients: Vec<Client> = (0..200).map(|number| harness.connect(durable(&format!("c{number}")))).collect();
    harness.event(0, StoreCongestion(true));
    clients.iter().for_each(|client| harness.send(*client, subscribe("t", Q1)));
    assert!(clients.iter().all(|client| harness.is_paused(*client)));
    harness.event(0, StoreCongestion(false));
    let paused = |harness: &Harness| clients.iter().filter(|client| harness.is_paused(**client)).count();
    let some = paused(&harness);
    assert!((100..200).contains(&some), "{some}");
    harness.event(0, StoreCongestion(true));
    harness.seconds(1);
    assert!(paused(&harness) >= some - 64);
    harness.event(0, StoreCongestion(false));
    harness.advance(Duration::from_millis(10));
    assert_eq!(paused(&harness), 0);
}

#[test]
fn full_shard_pauses_only_publishers_of_messages_for_it() {
    for qos in [Q0, Q1] {
        let mut harness = Harness::with(3, settings());
        let there = harness.connect_to(1, transient("s"));
        harness.run(there, [subscribe("there", Q1)]);
        let elsewhere = harness.connect_to(2, transient("e"));
        harness.run(elsewhere, [subscribe("elsewhere", Q1)]);
        let [publisher, other] = ["p", "o"].map(|name| harness.connect(transient(name)));
        harness.event(0, ShardCongestion { shard: ShardId(1), congested: true });
        harness.send(publisher, publish("there", "1", qos, 1));
        assert!(harness.is_paused(publisher));
        harness.send(publisher, publish("there", "2", qos, 2));
        harness.send(other, publish("elsewhere", "3", qos, 1));
        harness.send(other, ClientPacket::Pingreq);
        assert!(!harness.is_paused(other));
        assert_eq!(harness.packets(there).len(), 1);
        harness.event(0, ShardCongestion { shard: ShardId(2), congested: true });
        harness.event(0, ShardCongestion { shard: ShardId(1), congested: false });
        assert!(!harness.is_paused(publisher));
        assert_eq!(harness.packets(there).len(), 1);
    }
}

/// A message that waits for a commit is forwarded after it, and also pauses its publisher for a full shard.
#[test]
fn full_shard_pauses_publishers_of_messages_that_waited_for_a_commit() {
    let mut harness = Harness::with(2, settings());
    let there = harness.connect_to(1, durable("s"));
    harness.run(there, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.store_answers = false;
    harness.send(publisher, publish("t", "1", Q1, 1));
    harness.event(0, ShardCongestion { shard: ShardId(1), congested: true });
    assert!(!harness.is_paused(publisher));
    harness.persist();
    assert!(harness.is_paused(publisher));
    harness.event(0, ShardCongestion { shard: ShardId(1), congested: false });
    assert!(!harness.is_paused(publisher));
}

#[test]
fn keep_alive_is_suspended_for_a_bounded_time_and_restarts() {
    for rest in [1, 0] {
        let mut harness = Harness::new();
        let client = harness.connect(Connect { keep_alive: 10, ..durable("c") });
        harness.event(0, StoreCongestion(true));
        harness.send(client, subscribe("t", Q1));
        harness.seconds(300 - rest);
        if rest == 0 {
            assert_eq!(harness.received(client), ["SUBACK 1 01", "DISCONNECT 0x89", "CLOSED"]);
            let named = |report: &Report| matches!(report, Report::Disconnected { reason_code: ReasonCode::ServerBusy, cause, .. } if cause.contains("store congested"));
            assert!(harness.reports.iter().any(named), "{:?}", harness.reports);
            continue;
        }
        assert!(!harness.is_closed(client));
        harness.event(0, StoreCongestion(false));
        harness.advance(Duration::from_millis(14_999));
        assert!(!harness.is_closed(client));
        harness.advance(Duration::from_millis(1));
        assert!(harness.is_closed(client));
    }
}

#[test]
fn a_client_that_is_given_up_may_still_disconnect() {
    for (packet, published) in [(Some(disconnect(ReasonCode::NormalDisconnection)), 0), (None, 1)] {
        let mut harness = full(1);
        let watcher = harness.connect(transient("w"));
        harness.run(watcher, [subscribe("will", Q0)]);
        let client = harness.connect(Connect { will: Some(will("will", "gone")), ..v311("p", true) });
        let now = harness.now;
        assert!(!harness.shards[0].gives_up(client.id, now), "it is read");
        harness.send(client, publish("t", "x", Q1, 7));
        assert!(harness.is_paused(client) && harness.shards[0].gives_up(client.id, now));
        match packet {
            Some(packet) => harness.event(0, Packet { connection: client.id, packet }),
            None => harness.event(0, PeerClosed { connection: client.id }),
        }
        assert!(harness.is_closed(client));
        assert_eq!(harness.packets(watcher).len(), published);
        assert_eq!(harness.shards[0].counters().connections, 2);
    }
}

#[test]
fn packets_sent_before_the_client_closed_are_read_after_a_short_pause() {
    let mut harness = Harness::new();
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("t", Q0)]);
    for seconds in [9, 10] {
        let client = harness.connect(durable("c"));
        harness.event(0, StoreCongestion(true));
        harness.send(client, subscribe("x", Q1));
        harness.send(client, publish("t", "last", Q0, 0));
        for _ in 0..seconds {
            harness.event(0, PeerClosed { connection: client.id });
            assert!(!harness.is_closed(client));
            harness.seconds(1);
        }
        harness.event(0, PeerClosed { connection: client.id });
        assert_eq!(harness.is_closed(client), seconds == 10);
        harness.event(0, StoreCongestion(false));
        assert_eq!(harness.packets(watcher).len(), if seconds == 10 { 0 } else { 1 });
    }
}

#[test]
fn peer_closed_is_ignored_while_the_connection_is_read() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("c"));
    harness.event(0, PeerClosed { connection: client.id });
    assert!(!harness.is_closed(client));
}

/// A client that reconnects repeatedly while its connections stay paused.
#[test]
fn who_waits_is_not_forgotten_when_many_who_waited_before_are_gone() {
    let congestions = [
        ("the store", StoreCongestion(true), StoreCongestion(false)),
        ("the disk", StoreRoom(Room::None), StoreRoom(Room::Some)),
        (
            "a shard",
            ShardCongestion { shard: ShardId(1), congested: true },
            ShardCongestion { shard: ShardId(1), congested: false },
        ),
    ];
    for (name, begin, end) in congestions {
        let mut harness = Harness::with(2, Settings { queued_messages_max: 1_000, ..settings() });
        let there = harness.connect_to(1, durable("s"));
        harness.run(there, [subscribe("t", Q1)]);
        harness.event(0, begin);
        for number in 1..=100 {
            let client = harness.connect(v311("c", false));
            harness.send(client, publish("t", "x", Q2, number));
            assert!(harness.is_paused(client), "{name}");
            harness.lose(client);
        }
        let client = harness.connect(v311("c", false));
        harness.send(client, publish("t", "x", Q2, 101));
        assert!(harness.is_paused(client), "{name}");
        harness.event(0, end);
        harness.advance(Duration::from_millis(10));
        assert!(!harness.is_paused(client), "{name}");
    }
}

#[test]
fn who_is_woken_in_vain_again_and_again_is_known_once() {
    let mut settings = settings();
    settings.queued_bytes_max = 10_000;
    settings.queue_overflow = QueueOverflow::Reject;
    let mut harness = Harness::with(1, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("$share/g/t", Q1)]);
    let filler = harness.connect(transient("filler"));
    harness.run(filler, (1..=20).map(|number| publish("t", "small", Q1, number)));
    let publisher = harness.connect(v311("p", true));
    let large = message("t", "", Q1, 7).with_payload(vec![b'x'; 9_500]);
    harness.send(publisher, ClientPacket::Publish(large));
    assert!(harness.is_paused(publisher));
    for number in 1..=15 {
        harness.send(subscriber, puback(number));
        assert!(harness.is_paused(publisher));
        assert_eq!(harness.shards[0].flow.waiting_for_shares(), 1);
    }
}

/// Settings with a limit of ten messages per second.
fn ten_per_second() -> Settings {
    Settings { client_messages_per_second_max: std::num::NonZeroU32::new(10), ..settings() }
}

#[test]
fn a_client_beyond_its_rate_of_messages_is_paused_and_read_again_in_time() {
    let mut harness = Harness::with(1, ten_per_second());
    let publisher = harness.connect(transient("p"));
    for _ in 0..10 {
        harness.send(publisher, publish("t", "x", Q0, 0));
        assert!(!harness.is_paused(publisher));
    }
    harness.send(publisher, publish("t", "x", Q0, 0));
    assert!(harness.is_paused(publisher));
    assert_eq!(harness.shards[0].counters().rate_pauses, 1);
    harness.advance(Duration::from_millis(100));
    assert!(harness.is_paused(publisher), "a slice of 50 ms must have accumulated");
    harness.advance(Duration::from_millis(50));
    assert!(!harness.is_paused(publisher));
}

#[test]
fn other_packets_than_publish_are_not_counted_as_messages_and_other_clients_are_not_paused() {
    let mut harness = Harness::with(1, ten_per_second());
    let (publisher, other) = (harness.connect(transient("p")), harness.connect(transient("o")));
    for _ in 0..50 {
        harness.send(other, ClientPacket::Pingreq);
    }
    for _ in 0..11 {
        harness.send(publisher, publish("t", "x", Q0, 0));
    }
    assert!(harness.is_paused(publisher) && !harness.is_paused(other));
}

#[test]
fn bytes_beyond_the_rate_pause_for_a_bounded_time_and_keep_alive_waits() {
    let settings = Settings { client_bytes_per_second_max: std::num::NonZeroU32::new(100), ..settings() };
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(Connect { keep_alive: 10, ..transient("p") });
    harness.event(0, crate::broker::Event::Received { connection: client.id, bytes: 1 << 20 });
    assert!(harness.is_paused(client));
    for _ in 0..50 {
        harness.advance(Duration::from_secs(1));
        assert!(harness.is_paused(client), "Keep Alive doesn't end it");
    }
    harness.advance(Duration::from_secs(11));
    assert!(!harness.is_paused(client));
    harness.lose(client);
    assert_eq!(harness.shards[0].counters().connections, 0);
}

#[test]
fn a_connection_that_waits_for_its_authentication_outlives_connect_timeout_but_not_its_peer() {
    let mut harness = Harness::with(1, settings());
    harness.granted = None;
    let client = harness.attempt(0, transient("p"));
    harness.advance(Duration::from_secs(14 * 60));
    assert!(harness.is_paused(client));
    harness.event(0, PeerClosed { connection: client.id });
    assert_eq!(harness.shards[0].counters().connections, 0);
}
