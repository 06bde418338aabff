use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{DropReason, Settings};
use crate::codec::{ClientPacket, ProtocolVersion, Publish, Qos, ServerPacket};

fn large(qos: Qos, packet_id: u16) -> ClientPacket {
    ClientPacket::Publish(message("t", "", qos, packet_id).with_payload(vec![b'x'; 1_000]))
}

fn narrow() -> Settings {
    let mut settings = settings();
    settings.outgoing_bytes_max = 10_000;
    settings
}

/// A subscriber whose transport accepts no bytes, and a publisher.
fn stuck(shards: usize) -> (Harness, Client, Client) {
    let mut harness = Harness::with(shards, narrow());
    let subscriber = harness.connect_to(0, durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect_to(shards - 1, transient("p"));
    harness.transports_accept = false;
    (harness, subscriber, publisher)
}

#[test]
fn publisher_is_paused_for_a_full_receiver_and_resumed_when_it_has_caught_up() {
    for shards in [1, 2] {
        let (mut harness, subscriber, publisher) = stuck(shards);
        for _ in 0..4 {
            harness.send(publisher, large(Q0, 0));
        }
        assert!(!harness.is_paused(publisher));
        harness.send(publisher, large(Q0, 0));
        harness.send(publisher, large(Q0, 0));
        assert!(harness.is_paused(publisher));
        harness.flush(subscriber, 4_000);
        assert!(harness.is_paused(publisher), "it has not caught up yet");
        harness.flush(subscriber, 0);
        assert!(!harness.is_paused(publisher));
        harness.flush(subscriber, 0);
        assert_eq!(harness.packets(subscriber).len(), 6, "nothing is lost");
    }
}

#[test]
fn publisher_is_paused_for_the_grace_at_most_and_then_qos0_is_dropped() {
    for shards in [1, 2] {
        let (mut harness, subscriber, publisher) = stuck(shards);
        for _ in 0..5 {
            harness.send(publisher, large(Q0, 0));
        }
        assert!(harness.is_paused(publisher));
        harness.advance(Duration::from_millis(1_999));
        assert!(harness.is_paused(publisher));
        harness.advance(Duration::from_millis(1));
        assert!(!harness.is_paused(publisher));
        for _ in 0..20 {
            harness.send(publisher, large(Q0, 0));
        }
        assert!(!harness.is_paused(publisher));
        assert_eq!(harness.packets(subscriber).len(), 5);
        assert_eq!(harness.shards[0].counters().dropped[DropReason::SlowReceiver as usize], 20);
        harness.flush(subscriber, 0);
        harness.send(publisher, large(Q0, 0));
        assert_eq!(harness.packets(subscriber).len(), 1, "it has caught up");
    }
}

/// A receiver of many publishers, some of them on another shard.
fn many(publishers: usize, overlap: bool) -> (Harness, Client, Vec<Client>) {
    let mut harness = Harness::with(2, narrow());
    let subscriber = harness.connect_to(0, durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    if overlap {
        let other = harness.connect_to(1, durable("other"));
        harness.run(other, [subscribe("t", Q0)]);
    }
    let publishers = (0..publishers).map(|number| harness.connect_to(number % 2, transient(&format!("p{number}"))));
    let publishers = publishers.collect();
    (harness, subscriber, publishers)
}

#[test]
fn thousands_of_publishers_are_resumed_in_slices_and_lose_no_message() {
    let (mut harness, subscriber, publishers) = many(300, false);
    // Each message is small compared with the outgoing buffer, all of them together are not.
    let small = || ClientPacket::Publish(message("t", "", Q0, 0).with_payload(vec![b'x'; 60]));
    harness.transports_accept = false;
    let mut sent = vec![0; publishers.len()];
    for _ in 0..2_000 {
        for (publisher, sent) in publishers.iter().zip(&mut sent) {
            if *sent < 5 && !harness.is_paused(*publisher) {
                harness.send(*publisher, small());
                *sent += 1;
            }
        }
        harness.flush(subscriber, 0);
        harness.advance(Duration::from_millis(1));
    }
    assert!(sent.iter().all(|sent| *sent == 5), "{sent:?}");
    let dropped = harness.shards[0].counters().dropped[DropReason::SlowReceiver as usize];
    // About 160 in the first round, in which no publisher is paused before the buffer is full. If all were resumed at once, that many would be lost in each round.
    assert!(dropped < 250, "{dropped}");
    assert!(!publishers.iter().any(|publisher| harness.is_paused(*publisher)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever a receiver does, its publishers are resumed at last, without any further packet.
    #[test]
    fn no_publisher_of_a_slow_receiver_stays_paused(
        overlap in any::<bool>(),
        steps in prop::collection::vec((0..10_u8, 0..150_usize, 0..12_000_usize, 0..60_u64), 1..80),
        end in 0..3_u8,
    ) {
        let (mut harness, subscriber, publishers) = many(150, overlap);
        harness.transports_accept = false;
        for (kind, number, unsent, milliseconds) in steps {
            match kind {
                0..=4 => {
                    for publisher in publishers.iter().skip(number).take(100) {
                        if !harness.is_paused(*publisher) {
                            harness.send(*publisher, large(if kind == 0 { Q1 } else { Q0 }, 1));
                        }
                    }
                }
                5..=6 => harness.flush(subscriber, unsent),
                7 => harness.flush(subscriber, 0),
                _ => harness.advance(Duration::from_millis(milliseconds)),
            }
        }
        match end {
            0 => harness.lose(subscriber),
            1 => harness.flush(subscriber, 0),
            _ => {}
        }
        // Only time passes; no client sends.
        for step in [1; 20].into_iter().chain([100; 50]) {
            harness.advance(Duration::from_millis(step));
        }
        let paused = publishers.iter().filter(|publisher| harness.is_paused(**publisher)).count();
        prop_assert_eq!(paused, 0);
    }
}

#[test]
fn qos1_messages_for_a_full_receiver_are_queued_and_sent_as_it_reads() {
    let (mut harness, subscriber, publisher) = stuck(1);
    for number in 1..=10 {
        harness.send(publisher, large(Q1, number));
        harness.seconds(3);
    }
    let sent = harness.packets(subscriber).len();
    assert!(sent < 10, "{sent}");
    harness.flush(subscriber, 0);
    let more = harness.packets(subscriber).len();
    harness.flush(subscriber, 0);
    assert_eq!(sent + more + harness.packets(subscriber).len(), 10);
    assert_eq!(harness.shards[0].counters().dropped, [0; DropReason::ALL.len()]);
}

#[test]
fn paused_publisher_is_resumed_when_the_receiver_disconnects() {
    for shards in [1, 2] {
        let (mut harness, subscriber, publisher) = stuck(shards);
        for _ in 0..6 {
            harness.send(publisher, large(Q0, 0));
        }
        assert!(harness.is_paused(publisher));
        harness.lose(subscriber);
        assert!(!harness.is_paused(publisher));
    }
}

#[test]
fn publisher_is_paused_for_a_receiver_that_does_not_acknowledge() {
    let mut settings = settings();
    settings.queued_messages_max = 10;
    let mut harness = Harness::with(1, settings);
    let mut connect = durable("s");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
    let subscriber = harness.connect(connect);
    harness.run(subscriber, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    for number in 1..=6 {
        harness.send(publisher, publish("t", "x", Q1, number));
    }
    assert!(harness.is_paused(publisher), "half of the queue is unacknowledged");
    for number in 1..=6 {
        harness.send(subscriber, puback(number));
    }
    assert!(!harness.is_paused(publisher));
}

#[test]
fn client_that_closes_while_paused_is_removed_from_the_backlog() {
    let (mut harness, subscriber, publisher) = stuck(2);
    for _ in 0..6 {
        harness.send(publisher, large(Q0, 0));
    }
    assert!(harness.is_paused(publisher));
    harness.lose(publisher);
    let next = harness.connect_to(1, transient("q"));
    harness.flush(subscriber, 0);
    assert!(!harness.is_paused(next));
}

#[test]
fn client_with_too_many_uncommitted_responses_is_paused() {
    let mut harness = Harness::new();
    let client = harness.connect(v311("a", false));
    harness.store_answers = false;
    for number in 1..=1_023 {
        harness.send(client, publish("t", "x", Q2, number));
    }
    assert!(!harness.is_paused(client));
    harness.send(client, publish("t", "x", Q2, 1_024));
    assert!(harness.is_paused(client));
    harness.send(client, publish("t", "x", Q2, 1_025));
    harness.persist();
    assert!(!harness.is_paused(client));
}

/// A client whose transport accepts no bytes after it has subscribed to ten retained messages of a kilobyte.
fn replaying() -> (Harness, Client) {
    let mut harness = Harness::with(1, narrow());
    let publisher = harness.connect(transient("p"));
    for name in ["r/0", "r/1", "r/2", "r/3", "r/4", "r/5", "r/6", "r/7", "r/8", "r/9"] {
        let payload = vec![b'x'; 1_000];
        harness.run(
            publisher,
            [ClientPacket::Publish(Publish { retain: true, ..message(name, "", Q0, 0).with_payload(payload) })],
        );
    }
    let client = harness.connect(transient("s"));
    harness.transports_accept = false;
    harness.send(client, subscribe("r/+", Q0));
    (harness, client)
}

fn drain(harness: &mut Harness, client: Client) -> usize {
    for _ in 0..10 {
        harness.flush(client, 0);
    }
    harness.packets(client).iter().filter(|packet| matches!(packet, ServerPacket::Publish(_))).count()
}

#[test]
fn mqtt5_3_10_4_2_retained_messages_that_wait_are_not_sent_after_unsubscribe() {
    let (mut harness, client) = replaying();
    harness.send(client, unsubscribe(5, &["r/+"]));
    let sent = drain(&mut harness, client);
    assert!((1..=5).contains(&sent), "{sent} were sent before");
}

#[test]
fn repeated_subscriptions_do_not_accumulate_waiting_retained_messages() {
    let (mut harness, client) = replaying();
    for _ in 0..20 {
        harness.send(client, subscribe("r/+", Q0));
    }
    let sent = drain(&mut harness, client);
    assert!((10..=15).contains(&sent), "{sent}");
}

#[test]
fn client_that_must_acknowledge_its_own_messages_is_not_paused() {
    let mut harness =
        Harness::with(1, Settings { inflight_messages_max: NonZeroU16::MIN, queued_messages_max: 10, ..settings() });
    let client = harness.connect(transient("c"));
    harness.run(client, [subscribe("t", Q1)]);
    for number in 1..9 {
        harness.send(client, publish("t", "x", Q1, number));
    }
    assert!(!harness.is_paused(client));
}

/// A packet of each type that is answered, with this Packet Identifier.
type Ask = fn(u16) -> ClientPacket;
const ASKS: [(&str, Ask); 6] = [
    ("PINGREQ", |_| ClientPacket::Pingreq),
    ("SUBSCRIBE", |_| subscribe("a/filter", Q0)),
    ("UNSUBSCRIBE", |number| unsubscribe(number, &["a/filter"])),
    ("PUBLISH at QoS 1", |number| publish("nobody", "x", Q1, number)),
    ("PUBLISH at QoS 2", |number| publish("nobody", "x", Q2, number)),
    ("PUBREL", pubrel),
];

#[test]
fn client_that_reads_no_responses_is_paused_at_outgoing_bytes_max() {
    for (name, ask) in ASKS {
        for connect in [transient("c"), v311("c", false)] {
            if name == "PUBLISH at QoS 2" && connect.clean_start {
                continue; // Receive Maximum bounds these in 5.0
            }
            let mut harness = Harness::with(1, narrow());
            let version = connect.version;
            let client = harness.connect(connect);
            harness.transports_accept = false;
            for number in 1..=3_000 {
                harness.send(client, ask(number));
            }
            assert!(harness.is_paused(client), "{name}");
            let responses = harness.packets(client);
            let bytes = responses.iter().map(|response| response.encoded_len(version)).sum::<usize>();
            assert!(bytes <= 10_100, "{bytes} bytes of responses to {name} wait");
            assert!((90..=1_001).contains(&responses.len()), "{} responses to {name} wait", responses.len());
            harness.flush(client, 5_000);
            assert!(harness.is_paused(client), "{name}");
            assert_eq!(harness.packets(client).len(), 0);
            harness.flush(client, 4_999);
            assert!(harness.is_paused(client), "{name}: it was resumed, and is full again");
            assert!(harness.packets(client).len() >= responses.len() * 2 / 5, "{name}");
            for _ in 0..50 {
                harness.flush(client, 0);
            }
            assert!(!harness.is_paused(client), "{name}");
        }
    }
}

#[test]
fn the_subscription_identifiers_of_a_message_count_as_unsent_bytes() {
    let mut harness = Harness::with(1, narrow());
    let (client, publisher) = (harness.connect(transient("c")), harness.connect(transient("p")));
    for (number, filter) in (1..).zip(["t", "+", "#", "t/#", "+/#"]) {
        let subscriptions = vec![subscription(filter, options(Q0))];
        harness.run(client, [subscribe_all(number, 200_000_000 + u32::from(number), subscriptions)]);
    }
    harness.transports_accept = false;
    for _ in 0..1_000 {
        harness.send(publisher, publish("t", "", Q0, 0));
    }
    harness.advance(Duration::from_secs(5));
    let waiting = harness.packets(client);
    let bytes = waiting.iter().map(|packet| packet.encoded_len(ProtocolVersion::V5)).sum::<usize>();
    assert!((3_000..=10_100).contains(&bytes), "{bytes} bytes of {} messages wait", waiting.len());
}

#[test]
fn paused_client_still_gets_messages_as_it_reads() {
    let mut harness = Harness::with(1, narrow());
    let client = harness.connect(transient("c"));
    harness.run(client, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.transports_accept = false;
    for _ in 0..3_000 {
        harness.send(client, ClientPacket::Pingreq);
    }
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    harness.flush(client, 6_000);
    assert!(harness.is_paused(client));
    let mut packets = harness.packets(client);
    harness.flush(client, 0);
    packets.extend(harness.packets(client));
    assert!(packets.iter().any(|packet| matches!(packet, ServerPacket::Publish(_))));
}

#[test]
fn large_responses_that_wait_for_a_commit_are_bounded_by_their_bytes() {
    let mut harness = Harness::with(1, narrow());
    let client = harness.connect(durable("c"));
    harness.store_answers = false;
    let filters = ["f"; 50];
    for number in 1..=300 {
        let subscriptions = filters.iter().map(|filter| subscription(filter, options(Q0))).collect();
        harness.send(client, subscribe_all(number, 0, subscriptions));
    }
    assert!(harness.is_paused(client));
    for _ in 0..4 {
        harness.persist();
        harness.flush(client, 0);
    }
    assert!(!harness.is_paused(client));
    let responses = harness.packets(client).len();
    assert_eq!(responses, 300);
}
