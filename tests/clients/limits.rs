//! Every configurable limit, as observed by a client that reaches it.

use crate::broker::{Setup, Transport};
use crate::deadline::wait_for;
use crate::peer;
use crate::raw::{
    CONNACK, Connect, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBLISH, PUBREC, Packet, Received, Version, Wire,
    acknowledge, packet,
};

const V5: Version = Version::V5;

/// The connection if it is accepted; a refused one is closed without a packet.
fn is_accepted(setup: &crate::broker::Broker, name: &str) -> Option<Wire> {
    let mut wire = Wire::open(setup.address());
    wire.send(&Connect::new(V5, name).bytes());
    match wire.receive(crate::deadline::PATIENCE) {
        Received::Packet(packet) if packet.kind() == CONNACK && packet.reason_code() == 0 => Some(wire),
        Received::Packet(packet) => panic!("{packet:?}"),
        Received::Nothing | Received::Closed => None,
    }
}

#[test]
fn connections_are_limited_in_total_and_per_address() {
    if peer::is_chosen() {
        return;
    }
    for key in ["limits.connections_max", "limits.connections_per_address_max"] {
        let broker = Setup::default().set(key, "2").start();
        let mut first = is_accepted(&broker, "first").unwrap();
        let second = is_accepted(&broker, "second").unwrap();
        assert!(is_accepted(&broker, "third").is_none(), "{key}");
        first.ping();
        drop(second);
        wait_for("the freed connection slot", || is_accepted(&broker, "fourth"));
    }
}

#[test]
fn connections_are_limited_per_listener() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = Setup::new([Transport::Tcp, Transport::Tcp]);
    setup.listeners[0].extra = "connections_max = 1";
    let broker = setup.start();
    let _first = is_accepted(&broker, "first").unwrap();
    assert!(is_accepted(&broker, "second").is_none());
    Wire::connected(broker.address_of(1), &Connect::new(V5, "elsewhere")).ping();
}

#[test]
fn mqtt5_3_1_2_24_a_packet_above_the_announced_size_ends_the_connection_before_it_is_complete() {
    let broker = Setup::default().set("limits.maximum_packet_size", "1000").start();
    let connect = Connect::new(V5, "large");
    let (mut wire, connack) = Wire::connect(broker.address(), &connect);
    assert!(connack.body.windows(5).any(|bytes| bytes == [0x27, 0, 0, 0x03, 0xE8]), "{connack:x?}");
    // 3 bytes of fixed header, 3 of topic, 2 of Packet Identifier, 1 of properties.
    let largest = V5.publish(PUBLISH | 0x02, "x", 1, &[b'.'; 991]);
    assert_eq!(largest.len(), 1_000);
    wire.send(&largest);
    wire.expect(PUBACK);
    wire.send(&[PUBLISH, 0xE6, 0x07]);
    wire.expect_disconnect(V5, 0x95);

    let mut older = Wire::connected(broker.address(), &Connect::new(Version::V311, "large"));
    older.send(&[PUBLISH, 0xE6, 0x07]);
    older.expect_closed();
}

#[test]
fn mqtt5_3_3_4_7_more_unacknowledged_messages_than_receive_maximum_end_the_connection() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("limits.receive_maximum", "2").start();
    let (mut wire, connack) = Wire::connect(broker.address(), &Connect::new(V5, "many"));
    assert!(connack.body.windows(3).any(|bytes| bytes == [0x21, 0, 2]), "{connack:x?}");
    for packet_id in 1..=3 {
        wire.send(&V5.publish(PUBLISH | 0x04, "x", packet_id, b""));
    }
    wire.expect(PUBREC);
    wire.expect(PUBREC);
    wire.expect_disconnect(V5, 0x93);
}

#[test]
fn mqtt5_3_2_2_11_and_12_maximum_qos_is_announced_and_enforced() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("mqtt.maximum_qos", "1").start();
    let (mut wire, connack) = Wire::connect(broker.address(), &Connect::new(V5, "qos"));
    assert!(connack.body.windows(2).any(|bytes| bytes == [0x24, 1]), "{connack:x?}");
    assert_eq!(wire.subscribe(V5, "x", 2), 1, "the granted QoS");
    wire.send(&V5.publish(PUBLISH | 0x04, "x", 1, b""));
    wire.expect_disconnect(V5, 0x9B);
}

#[test]
fn mqtt5_3_2_2_14_retain_available_is_announced_and_enforced() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("mqtt.retain_available", "false").start();
    let (mut wire, connack) = Wire::connect(broker.address(), &Connect::new(V5, "retain"));
    assert!(connack.body.windows(2).any(|bytes| bytes == [0x25, 0]), "{connack:x?}");
    wire.send(&V5.publish(PUBLISH | 0x01, "x", 0, b"x"));
    wire.expect_disconnect(V5, 0x9A);
}

#[test]
fn subscriptions_of_a_session_are_limited() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("limits.subscriptions_per_session_max", "2").start();
    for (version, refused) in [(Version::V311, 0x80), (V5, 0x97)] {
        let mut wire = Wire::connected(broker.address(), &Connect::new(version, "subscriber"));
        assert_eq!(wire.subscribe(version, "a", 1), 1);
        assert_eq!(wire.subscribe(version, "b", 1), 1);
        assert_eq!(wire.subscribe(version, "c", 1), refused);
        assert_eq!(wire.subscribe(version, "a", 0), 0, "an existing one can be changed");
    }
}

#[test]
fn topics_are_limited_in_length_and_levels() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("limits.topic_levels_max", "3").set("limits.topic_length_max", "20").start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "topics"));
    for topic in ["a/b/c/d", "a-name-that-is-too-long"] {
        assert_eq!(wire.publish(V5, topic, ""), 0x90, "{topic}");
        assert_eq!(wire.subscribe(V5, topic, 0), 0x8F, "{topic}");
    }
    assert_eq!(wire.subscribe(V5, "a/b/+", 0), 0);
    assert_eq!(wire.publish(V5, "a-name-of-20-bytes/x", ""), 0x10);
}

#[test]
fn mqtt311_a_message_beyond_a_limit_of_topics_is_never_acknowledged() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    let levels = |count: usize| vec!["l"; count].join("/");
    for first in [PUBLISH | 0x02, PUBLISH | 0x04] {
        let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V311, "deep"));
        wire.send(&Version::V311.publish(first, &levels(200), 1, b""));
        assert_eq!(wire.expect(if first == PUBLISH | 0x02 { PUBACK } else { PUBREC }).packet_id(), 1);
        wire.send(&Version::V311.publish(first, &levels(201), 2, b""));
        wire.expect_closed();
    }
    let line = "the topic has 201 levels, more than topic_levels_max (200): not acknowledged, so the client will send the message again";
    wait_for("the line in the log", || broker.log().contains(line).then_some(()));
    let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V311, "deep"));
    wire.send(&Version::V311.publish(PUBLISH, &levels(201), 0, b""));
    wire.ping();
}

/// With a raised limit, an identifier of the largest size names a session like any other.
#[test]
fn client_identifiers_are_limited_by_the_setting_alone() {
    if peer::is_chosen() {
        return;
    }
    let longest = "i".repeat(65_535);
    let broker = Setup::default().start();
    let (_, connack) = Wire::connect(broker.address(), &Connect::new(V5, &longest[..1_025]));
    assert_eq!(connack.reason_code(), 0x85);
    Wire::connected(broker.address(), &Connect::new(V5, &longest[..1_024])).ping();
    drop(broker);
    let broker = Setup::default().set("limits.client_id_length_max", "65535").start();
    let mut wire = Wire::connected(broker.address(), &Connect::durable(V5, &longest));
    assert_eq!(wire.subscribe(V5, "t", 1), 1);
    drop(wire);
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "publisher"));
    assert_eq!(publisher.publish(V5, "t", "queued"), 0);
    let (mut wire, connack) = Wire::connect(broker.address(), &Connect::durable(V5, &longest));
    assert_eq!(connack.body[0], 1, "Session Present");
    assert!(wire.expect(PUBLISH).body.ends_with(b"queued"));
    assert!(broker.log().lines().all(|line| line.len() < 1_000), "the lines of the log are short");
}

#[test]
fn sessions_are_limited() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("limits.sessions_max", "1").start();
    let mut first = Wire::connected(broker.address(), &Connect::new(V5, "first"));
    let (mut second, connack) = Wire::connect(broker.address(), &Connect::new(V5, "second"));
    assert_eq!(connack.reason_code(), 0x97);
    second.expect_closed();
    first.ping();
    let _again = Wire::connected(broker.address(), &Connect::new(V5, "first"));
}

#[test]
fn a_full_queue_drops_its_oldest_messages() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("server.shards", "1").set("limits.queued_messages_max", "3").start();
    let connect = Connect::durable(V5, "away");
    let mut away = Wire::connected(broker.address(), &connect);
    assert_eq!(away.subscribe(V5, "queue", 1), 1);
    away.send(&packet(DISCONNECT, &[]));
    away.expect_closed();
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "publisher"));
    (0..6).for_each(|number| assert!(publisher.publish(V5, "queue", &number.to_string()) < 0x80));
    let mut wire = Wire::connected(broker.address(), &connect);
    let received: Vec<Vec<u8>> = (0..3)
        .map(|_| {
            let publish = wire.expect_publish(V5);
            wire.send(&acknowledge(PUBACK, publish.packet_id));
            publish.payload
        })
        .collect();
    assert_eq!(received, [b"3", b"4", b"5"]);
    wire.ping();
}

#[test]
fn mqtt5_4_11_a_server_reference_redirects_every_client() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("mqtt.server_reference", "\"other.example:1883\"").start();
    let (mut wire, connack) = Wire::connect(broker.address(), &Connect::new(V5, "moved"));
    assert_eq!(connack.reason_code(), 0x9C);
    assert!(String::from_utf8_lossy(&connack.body).contains("other.example:1883"));
    wire.expect_closed();
    let (mut wire, connack) = Wire::connect(broker.address(), &Connect::new(Version::V311, "moved"));
    assert_eq!(connack.body, [0, 3], "server unavailable");
    wire.expect_closed();
}

#[test]
fn a_receiver_that_does_not_read_does_not_delay_others() {
    let broker = Setup::default().set("limits.outgoing_bytes_max", "\"64KiB\"").start();
    let mut deaf = Wire::connected(broker.address(), &Connect::new(V5, "deaf"));
    deaf.subscribe(V5, "flood", 0);
    let mut hearing = Wire::connected(broker.address(), &Connect::new(V5, "hearing"));
    hearing.subscribe(V5, "other", 0);
    let address = broker.address();
    let flooding = std::thread::spawn(move || {
        let mut publisher = Wire::connected(address, &Connect::new(V5, "publisher"));
        let flood = V5.publish(PUBLISH, "flood", 0, &[b'.'; 10_000]);
        (0..2_000).for_each(|_| publisher.send(&flood));
        publisher.send(&packet(PINGREQ, &[]));
        assert_eq!(publisher.expect(PINGRESP), Packet { first: PINGRESP, body: Vec::new() });
    });
    for number in 0_u8..100 {
        hearing.send(&V5.publish(PUBLISH, "other", 0, &[number]));
        assert_eq!(hearing.expect_publish(V5).payload, [number]);
    }
    flooding.join().unwrap();
}
