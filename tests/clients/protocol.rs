//! Protocol errors by clients: the broker responds correctly or closes the connection, and other clients are not
//! affected.

use std::time::Duration;

use crate::broker::{Broker, Setup};
use crate::deadline;
use crate::peer;
use crate::raw::{
    CONNACK, CONNECT, Connect, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBLISH, PUBREC, PUBREL, Received, SUBACK,
    SUBSCRIBE, Version, Wire, acknowledge, packet, string,
};

/// A description and the bytes of an error.
type ProtocolError = (&'static str, fn(Version) -> Vec<u8>);

const BOTH: [Version; 2] = [Version::V311, Version::V5];

/// Sends `bytes` after a successful CONNECT in each version, and expects this Reason Code. Another client must not be
/// affected.
#[track_caller]
fn expect_refused(broker: &Broker, bytes: impl Fn(Version) -> Vec<u8>, reason_code: u8) {
    let mut bystander = Wire::connected(broker.address(), &Connect::new(Version::V5, "bystander"));
    for version in BOTH {
        let mut wire = Wire::connected(broker.address(), &Connect::new(version, "wrong"));
        wire.send(&bytes(version));
        wire.expect_disconnect(version, reason_code);
    }
    bystander.ping();
}

#[test]
fn mqtt5_3_1_0_1_a_first_packet_that_is_not_connect_closes_the_connection() {
    let broker = Setup::default().start();
    for version in BOTH {
        for bytes in [packet(PINGREQ, &[]), version.publish(PUBLISH, "x", 0, b"x"), version.subscribe(1, "x", 0)] {
            let mut wire = Wire::open(broker.address());
            wire.send(&bytes);
            wire.expect_closed();
        }
    }
}

/// What the text of 3.1 permits, each with the answer, for clients of 3.1 alone.
#[test]
fn mqtt31_bits_that_are_not_used_and_missing_strings_are_tolerated() {
    let broker = Setup::default().start();
    let connect = |first: u8, flags: u8| {
        let head = [string("MQIsdp"), vec![3, flags, 0, 60]].concat();
        packet(first, &[head, string("old")].concat())
    };
    // DUP and QoS bits, a User Name and a Password that are missing, Will QoS and Retain without a Will.
    for bytes in
        [connect(0x12, 0x02), connect(0x18, 0x02), connect(CONNECT, 0x82), connect(CONNECT, 0xC2), connect(0x1F, 0x3B)]
    {
        let mut wire = Wire::open(broker.address());
        wire.send(&bytes);
        assert_eq!(wire.expect(CONNACK).body, [0, 0], "{bytes:02x?}");
        wire.send(&packet(0x8A, &[vec![0, 1], string("x"), vec![1]].concat()));
        assert_eq!(wire.expect(SUBACK).body, [0, 1, 1]);
        wire.send(&packet(0x80, &[vec![0, 2], string("x"), vec![0xFD]].concat()));
        assert_eq!(wire.expect(SUBACK).body, [0, 2, 1]);
        wire.send(&Version::V311.publish(PUBLISH | 0x04, "y", 3, b""));
        assert_eq!(wire.expect(PUBREC).packet_id(), 3);
        wire.send(&acknowledge(0x6A, 3));
        assert_eq!(wire.expect(0x70).packet_id(), 3);
        wire.send(&acknowledge(0x60, 3));
        assert_eq!(wire.expect(0x70).packet_id(), 3);
        for first in [0xA0, 0xAA] {
            wire.send(&packet(first, &[vec![0, 4], string("x")].concat()));
            assert_eq!(wire.expect(0xB0).packet_id(), 4);
        }
        wire.send(&Version::V311.publish(PUBLISH | 0x08, "y", 0, b""));
        wire.ping();
    }
    let mut wire = Wire::open(broker.address());
    wire.send(&packet(CONNECT, &[string("MQIsdp"), vec![3, 2, 0, 60], string("")].concat()));
    assert_eq!(wire.expect(CONNACK).body, [0, 2]);
    wire.expect_closed();
    if !peer::is_chosen() {
        let line = "empty client identifier: MQTT 3.1 asks for 1 to 23 characters";
        deadline::wait_for("the line in the log", || broker.log().contains(line).then_some(()));
    }
}

#[test]
fn mqtt311_a_remaining_length_may_have_more_bytes_than_it_needs() {
    let broker = Setup::default().start();
    let long = |packet: &[u8]| [&[packet[0], packet[1] | 0x80, 0x80, 0], &packet[2..]].concat();
    let mut wire = Wire::open(broker.address());
    wire.send(&long(&Connect::new(Version::V311, "long").bytes()));
    assert_eq!(wire.expect(CONNACK).body, [0, 0]);
    wire.send(&long(&Version::V311.publish(PUBLISH | 0x02, "x", 7, b"payload")));
    assert_eq!(wire.expect(PUBACK).packet_id(), 7);
    wire.send(&long(&packet(PINGREQ, &[])));
    wire.expect(PINGRESP);
}

#[test]
fn mqtt5_3_1_0_2_a_second_connect_is_a_protocol_error() {
    let broker = Setup::default().start();
    expect_refused(&broker, |version| Connect::new(version, "wrong").bytes(), 0x82);
}

#[test]
fn mqtt5_4_13_1_malformed_packets_are_refused_as_such() {
    if peer::is_chosen() {
        return; // it answers some of them with 0x82
    }
    let broker = Setup::default().start();
    let malformed: [ProtocolError; 8] = [
        ("reserved flags of PINGREQ", |_| vec![0xC1, 0]),
        ("reserved packet type", |_| vec![0x00, 0]),
        ("remaining length of five bytes", |_| vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ("QoS 3", |version| version.publish(PUBLISH | 0x06, "x", 1, b"")),
        ("a topic that isn't UTF-8", |_| packet(PUBLISH, &[0, 2, 0xFF, 0xFE, 0])),
        ("U+0000 in a topic", |version| version.publish(PUBLISH, "a\0b", 0, b"")),
        ("a topic longer than the packet", |_| packet(PUBLISH, &[0, 200, b'x'])),
        ("reserved bits of subscription options", |version| version.subscribe(1, "x", 0xC0)),
    ];
    for (name, bytes) in malformed {
        println!("{name}");
        expect_refused(&broker, bytes, 0x81);
    }
}

#[test]
fn mqtt5_protocol_errors_are_refused_as_such() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    let errors: [ProtocolError; 2] = [
        ("SUBSCRIBE without a filter", |version| match version {
            Version::V311 => packet(SUBSCRIBE, &[0, 1]),
            Version::V5 => packet(SUBSCRIBE, &[0, 1, 0]),
        }),
        ("a packet that only a broker may send", |_| packet(PINGRESP, &[])),
    ];
    for (name, bytes) in errors {
        println!("{name}");
        expect_refused(&broker, bytes, 0x82);
    }
}

#[test]
fn mqtt5_3_3_2_2_a_wildcard_in_a_topic_name_is_malformed() {
    let broker = Setup::default().start();
    if !peer::is_chosen() {
        expect_refused(&broker, |version| version.publish(PUBLISH, "a/+/b", 0, b""), 0x81);
        expect_refused(&broker, |version| version.publish(PUBLISH, "#", 0, b""), 0x81);
    }
}

#[test]
fn a_disconnect_cannot_lengthen_a_session_that_had_no_expiry() {
    let broker = Setup::default().start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V5, "wrong"));
    wire.send(&packet(DISCONNECT, &[0, 5, 0x11, 0, 0, 0, 60]));
    wire.expect_disconnect(Version::V5, 0x82);
}

#[test]
fn mqtt5_3_1_2_2_an_unknown_protocol_version_is_refused() {
    let broker = Setup::default().start();
    for (level, connack) in [(6, [0, 0x84]), (3, [0, 0x01]), (0, [0, 0x01])] {
        let mut wire = Wire::open(broker.address());
        let mut body = string("MQTT");
        body.extend([level, 2, 0, 60, 0, 0, 1, b'x']);
        wire.send(&packet(CONNECT, &body));
        match wire.receive(deadline::PATIENCE) {
            // A server that doesn't support the version may respond in either format or not at all.
            Received::Packet(packet) => {
                assert_eq!(packet.kind(), CONNACK);
                assert!([connack[1], 0x01, 0x84].contains(&packet.body[1]), "{packet:?}");
                wire.expect_closed();
            }
            received @ (Received::Nothing | Received::Closed) => assert_eq!(received, Received::Closed),
        }
    }
}

#[test]
fn mqtt5_3_1_2_1_a_wrong_protocol_name_closes_the_connection() {
    let broker = Setup::default().start();
    for name in ["MQTS", "mqtt", "HTTP/1.1"] {
        let mut wire = Wire::open(broker.address());
        let mut body = string(name);
        body.extend([4, 2, 0, 60, 0, 1, b'x']);
        wire.send(&packet(CONNECT, &body));
        let mut received = wire.receive(deadline::PATIENCE);
        if let Received::Packet(packet) = received {
            assert_eq!((packet.kind(), packet.body[1] != 0), (CONNACK, true));
            received = wire.receive(deadline::PATIENCE);
        }
        assert_eq!(received, Received::Closed);
    }
}

#[test]
fn mqtt311_3_1_3_8_an_empty_client_identifier_needs_a_clean_session() {
    let broker = Setup::default().start();
    let connect = Connect { clean_start: false, ..Connect::new(Version::V311, "") };
    let (mut wire, connack) = Wire::connect(broker.address(), &connect);
    assert_eq!(connack.body, [0, 2]);
    wire.expect_closed();
    Wire::connected(broker.address(), &Connect::new(Version::V311, "")).ping();
}

/// A CONNECT with the Client Identifier `x` and Clean Session 1, and a Will to this topic.
fn connect_with_will(name: &str, level: u8, topic: &str) -> Vec<u8> {
    let mut body = string(name);
    body.extend([level, 0x06, 0, 60, 0, 1, b'x']);
    body.extend([string(topic), string("gone")].concat());
    packet(CONNECT, &body)
}

#[test]
fn mqtt311_3_1_4_2_a_refused_connect_gets_a_connack() {
    if peer::is_chosen() {
        return; // it closes the connection
    }
    let broker =
        Setup::default().set("limits.maximum_packet_size", "5000").set("limits.topic_length_max", "1000").start();
    for (name, level) in [("MQIsdp", 3), ("MQIsdp", 0x83), ("MQTT", 4), ("MQTT", 0x84)] {
        for (topic, code) in [
            ("w/#", None), // malformed: no Topic Name [MQTT-3.1.4-1]
            ("", None),
            (&*"t".repeat(1_001), Some(5)),
            (&*"t".repeat(5_000), Some(5)), // the whole packet is too large
            ("a\0", None),
            ("$SYS/broker/version", Some(0)),
            ("$SYS/broker/connection/other/state", Some(0)),
            ("w", Some(0)),
        ] {
            let mut wire = Wire::open(broker.address());
            wire.send(&connect_with_will(name, level, topic));
            if let Some(code) = code {
                assert_eq!(wire.expect(CONNACK).body, [0, code], "{name} {level} {topic:.40}");
            }
            if code == Some(0) {
                wire.ping();
            } else {
                wire.expect_closed();
            }
        }
    }
    for (name, level, connack) in [("MQTT", 0x85, 0x84), ("MQTT", 0x83, 1), ("MQIsdp", 0x84, 1), ("MQIsdp", 0x85, 1)] {
        let mut wire = Wire::open(broker.address());
        wire.send(&connect_with_will(name, level, "w"));
        assert_eq!(wire.expect(CONNACK).body[..2], [0, connack], "{name} {level}");
        wire.expect_closed();
    }
}

#[test]
fn mqtt5_3_1_2_22_a_silent_client_is_disconnected_after_one_and_a_half_keep_alives() {
    let broker = Setup::default().start();
    for version in BOTH {
        let connect = Connect { keep_alive: 1, ..Connect::new(version, "silent") };
        let mut wire = Wire::connected(broker.address(), &connect);
        let started = deadline::now();
        wire.expect_disconnect(version, 0x8D);
        // mosquitto looks once a second
        let late = if peer::is_chosen() { 4_000 } else { 2_500 };
        let range = Duration::from_millis(1_450)..Duration::from_millis(late);
        assert!(range.contains(&started.elapsed()), "{:?}", started.elapsed());
    }
}

#[test]
fn a_client_that_sends_packets_stays_connected_beyond_its_keep_alive() {
    let broker = Setup::default().start();
    let connect = Connect { keep_alive: 1, ..Connect::new(Version::V5, "speaks") };
    let mut wire = Wire::connected(broker.address(), &connect);
    for _ in 0..5 {
        assert_eq!(wire.receive(Duration::from_millis(500)), Received::Nothing);
        wire.ping();
    }
}

#[test]
fn a_connection_without_connect_is_closed_after_the_connect_timeout() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("limits.connect_timeout", "\"500ms\"").start();
    let connect = Connect::new(Version::V5, "slow").bytes();
    for sent in [&[][..], &connect[..1], &connect[..connect.len() - 1]] {
        let started = deadline::now();
        let mut wire = Wire::open(broker.address());
        wire.send(sent);
        wire.expect_closed();
        assert!(started.elapsed() >= Duration::from_millis(450), "{:?}", started.elapsed());
    }
    let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V5, "quick"));
    assert_eq!(wire.receive(Duration::from_millis(800)), Received::Nothing, "the timeout is over after CONNECT");
    wire.ping();
}

#[test]
fn a_packet_sent_byte_by_byte_is_decoded() {
    let broker = Setup::default().start();
    for version in BOTH {
        let mut wire = Wire::open(broker.address());
        for byte in Connect::new(version, "bytewise").bytes() {
            wire.send(&[byte]);
        }
        assert_eq!(wire.expect(CONNACK).reason_code(), 0);
        for byte in version.subscribe(1, "x", 1) {
            wire.send(&[byte]);
        }
        assert_eq!(wire.expect(SUBACK).reason_code(), 1);
    }
}

#[test]
fn a_client_need_not_wait_for_connack() {
    let broker = Setup::default().start();
    for version in BOTH {
        let mut wire = Wire::open(broker.address());
        let mut bytes = Connect::new(version, "eager").bytes();
        bytes.extend(version.subscribe(1, "eager", 1));
        bytes.extend(version.publish(PUBLISH | 0x02, "eager", 2, b"all in one write"));
        wire.send(&bytes);
        assert_eq!(wire.expect(CONNACK).reason_code(), 0);
        assert_eq!(wire.expect(SUBACK).reason_code(), 1);
        let mut kinds = [(); 2].map(|()| wire.expect_any().kind());
        kinds.sort_unstable();
        assert_eq!(kinds, [PUBLISH, PUBACK]);
    }
}

#[test]
fn mqtt5_4_3_3_10_a_repeated_qos2_publish_is_answered_but_delivered_once() {
    let broker = Setup::default().start();
    for version in BOTH {
        let mut wire = Wire::connected(broker.address(), &Connect::new(version, "twice"));
        wire.subscribe(version, "twice", 0);
        wire.send(&version.publish(PUBLISH | 0x04, "twice", 7, b"once"));
        wire.send(&version.publish(PUBLISH | 0x0C, "twice", 7, b"once"));
        let mut kinds = [(); 3].map(|()| wire.expect_any().kind());
        if peer::is_chosen() {
            return; // mosquitto delivers at PUBREL
        }
        kinds.sort_unstable();
        assert_eq!(kinds, [PUBLISH, PUBREC, PUBREC]);
        wire.send(&acknowledge(PUBREL, 7));
        wire.expect(0x70);
        wire.ping();
    }
}

#[test]
fn mqtt5_3_5_2_1_pubrec_reports_no_matching_subscribers() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V5, "lonely"));
    wire.send(&Version::V5.publish(PUBLISH | 0x04, "nobody", 7, b""));
    assert_eq!(wire.expect(PUBREC).reason_code(), 0x10);
    wire.send(&acknowledge(PUBREL, 7));
    assert_eq!(wire.expect(0x70).reason_code(), 0);
}

#[test]
fn mqtt5_4_3_3_pubrel_for_an_unknown_identifier_is_answered() {
    let broker = Setup::default().start();
    for version in BOTH {
        let mut wire = Wire::connected(broker.address(), &Connect::new(version, "unknown"));
        wire.send(&acknowledge(PUBREL, 9));
        let pubcomp = wire.expect(0x70);
        assert_eq!(pubcomp.packet_id(), 9);
        if version == Version::V5 && !peer::is_chosen() {
            assert_eq!(pubcomp.reason_code(), 0x92);
        }
    }
}

#[test]
fn random_bytes_do_not_affect_other_clients() {
    let broker = Setup::default().start();
    let mut bystander = Wire::connected(broker.address(), &Connect::new(Version::V5, "bystander"));
    bystander.subscribe(Version::V5, "bystander", 1);
    let mut random = 0x5DEE_CE66_D1CE_4E5B_u64;
    for round in 0..300 {
        let mut wire = Wire::open(broker.address());
        let mut bytes = if round % 2 == 0 { Connect::new(BOTH[round / 2 % 2], "noise").bytes() } else { Vec::new() };
        // A valid packet with some bytes changed reaches more code than pure noise.
        let mut noise = BOTH[round % 2].publish(PUBLISH | 0x02, "noise/topic", 1, &[7; 40]);
        noise.extend(BOTH[round % 2].subscribe(2, "noise/#", 1));
        for _ in 0..=round % 9 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = usize::try_from(random >> 32).unwrap() % noise.len();
            noise[place] = random.to_le_bytes()[0];
        }
        bytes.extend(noise);
        wire.send(&bytes);
        if round % 3 == 0 {
            wire.cut();
        }
    }
    bystander.ping();
    bystander.send(&Version::V5.publish(PUBLISH, "bystander", 0, b"still here"));
    assert_eq!(bystander.expect_publish(Version::V5).payload, b"still here");
}
