//! The Reason String of every packet that reports an error, and the bytes of packets that report none.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Event, QueueOverflow, Report, Settings};
use crate::codec::{
    Ack, AliasUse, Auth, ClientPacket, Connect, DecodeError, MessageProperties, MessageProperty, PacketType,
    ProtocolVersion, Publish, REASON_STRING_MAX, ReasonCode, ServerPacket, encode,
};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RetainedLimits, RuleSource};
use crate::topic::TopicFilter;

/// Everything but the topics below `secret`.
fn no_secrets() -> Access {
    let rule = |effect, filter: &str| AccessRule {
        effect,
        action: AccessAction::Both,
        topic_filter: TopicFilter::new(filter.into()).unwrap(),
        source: RuleSource::new("acl.txt", 17, ""),
    };
    Access::new(vec![rule(Effect::Allow, "#"), rule(Effect::Deny, "secret/#")])
}

fn told(packet: &ServerPacket) -> Option<&str> {
    match packet {
        ServerPacket::Connack(connack) => connack.properties.reason_string.as_deref(),
        ServerPacket::Puback(ack)
        | ServerPacket::Pubrec(ack)
        | ServerPacket::Pubrel(ack)
        | ServerPacket::Pubcomp(ack) => ack.details.as_ref()?.reason_string.as_deref(),
        ServerPacket::Suback(suback) => suback.reason_string.as_deref(),
        ServerPacket::Unsuback(unsuback) => unsuback.reason_string.as_deref(),
        ServerPacket::Disconnect(disconnect) => disconnect.reason_string.as_deref(),
        ServerPacket::Auth(auth) => auth.reason_string.as_deref(),
        ServerPacket::Publish(_) | ServerPacket::Pingresp => None,
    }
}

fn bytes(packet: &ServerPacket) -> Vec<u8> {
    let mut output = BytesMut::new();
    encode(packet, ProtocolVersion::V5, &mut output);
    output.to_vec()
}

/// The packet that tells the error, the only one since the last look.
fn only(harness: &mut Harness, client: Client) -> ServerPacket {
    let mut packets = harness.packets(client);
    assert_eq!(packets.len(), 1, "{packets:?}");
    packets.remove(0)
}

/// Connects, sends `packets`, and returns the answer to the last one.
fn last_answer(harness: &mut Harness, connect: Connect, packets: Vec<ClientPacket>) -> ServerPacket {
    let client = harness.connect(connect);
    for packet in packets {
        harness.run(client, []);
        harness.send(client, packet);
    }
    only(harness, client)
}

/// Connects with `connect` and returns the packet with the error.
type Provoke = fn(Connect) -> ServerPacket;

fn refused(connect: Connect, settings: Settings) -> ServerPacket {
    let mut harness = Harness::with(1, settings);
    let client = harness.attempt(0, connect);
    only(&mut harness, client)
}

fn refused_by_provider(connect: Connect, reason_code: ReasonCode) -> ServerPacket {
    let mut harness = Harness::new();
    harness.granted = None;
    let client = harness.attempt(0, connect);
    harness.refuse(reason_code);
    only(&mut harness, client)
}

fn with_rules(connect: Connect, packets: Vec<ClientPacket>) -> ServerPacket {
    let mut harness = Harness::new();
    harness.granted = Some(no_secrets());
    last_answer(&mut harness, connect, packets)
}

fn malformed_connect(connect: Connect) -> ServerPacket {
    let mut harness = Harness::new();
    let client = harness.open(0);
    let (error, answer) = (DecodeError::PropertyRepeated(0x27), Some(connect.answer_terms()));
    harness.event(0, Event::Undecodable { connection: client.id, error, answer });
    only(&mut harness, client)
}

fn malformed_packet(connect: Connect) -> ServerPacket {
    let mut harness = Harness::new();
    let client = harness.connect(connect);
    let error = DecodeError::PacketTooLarge { size: 1_000_001, maximum_packet_size: 1_000_000 };
    harness.undecodable(client, error, None);
    only(&mut harness, client)
}

fn not_utf8() -> ClientPacket {
    let mut publish = Publish { qos: Q1, packet_id: Some(id(1)), ..Publish::new(topic("t"), &b"\xFF"[..]) };
    let properties = [MessageProperty::PayloadFormatIndicator(true)];
    std::sync::Arc::make_mut(&mut publish.message).properties = MessageProperties::from_properties(properties);
    ClientPacket::Publish(publish)
}

fn unknown_alias() -> ClientPacket {
    let topic_alias = NonZeroU16::new(9).map(|alias| (alias, AliasUse::Set));
    ClientPacket::Publish(Publish { topic_alias, ..message("t", "x", Q0, 0) })
}

fn full_broker(connect: Connect, retained: bool) -> ServerPacket {
    let mut settings = settings();
    settings.queue_overflow = QueueOverflow::Reject;
    settings.queued_messages_max = 1;
    let limits = RetainedLimits { retained_messages_max: 1, retained_bytes_max: 100_000 };
    let mut harness = Harness::with_retained(1, settings, limits);
    if retained {
        return last_answer(&mut harness, connect, vec![retain("a", "x", Q1, 1), retain("b", "x", Q1, 2)]);
    }
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.lose(subscriber);
    last_answer(&mut harness, connect, vec![publish("t", "x", Q1, 1), publish("t", "x", Q1, 2)])
}

fn after(connect: Connect, happens: fn(&mut Harness)) -> ServerPacket {
    let mut harness = Harness::new();
    let client = harness.connect(Connect { keep_alive: 10, ..connect });
    happens(&mut harness);
    only(&mut harness, client)
}

fn reauthentication_refused(mut connect: Connect) -> ServerPacket {
    let mut harness = Harness::new();
    connect.properties.authentication_method = Some("m".into());
    let client = harness.connect(connect);
    harness.granted = None;
    harness.send(client, ClientPacket::Auth(Box::new(Auth::new(ReasonCode::ReAuthenticate, Some("m".into())))));
    harness.refuse(ReasonCode::NotAuthorized);
    only(&mut harness, client)
}

fn filters(names: &[&str]) -> ClientPacket {
    subscribe_all(1, 0, names.iter().map(|name| subscription(name, options(Q1))).collect())
}

/// A packet type, a Reason Code, its Reason String, and how to provoke it.
const CASES: &[(PacketType, u8, &str, Provoke)] = &[
    (PacketType::Connack, 0x85, "Client Identifier is longer than client_id_length_max", |connect| {
        refused(Connect { client_id: "x".repeat(65).into(), ..connect }, settings())
    }),
    (PacketType::Connack, 0x97, "sessions_max reached", |connect| {
        refused(connect, Settings { sessions_max: 0, ..settings() })
    }),
    (PacketType::Connack, 0x9C, "clients are referred to another server", |connect| {
        refused(connect, Settings { server_reference: Some("b".into()), ..settings() })
    }),
    (PacketType::Connack, 0x87, "not authorized to publish to its Will Topic", |connect| {
        let mut harness = Harness::new();
        harness.granted = Some(no_secrets());
        let client = harness.attempt(0, Connect { will: Some(will("secret/w", "x")), ..connect });
        only(&mut harness, client)
    }),
    (PacketType::Connack, 0x86, "User Name or Password is wrong", |connect| {
        refused_by_provider(connect, ReasonCode::BadUserNameOrPassword)
    }),
    (PacketType::Connack, 0x87, "not authorized to connect", |connect| {
        refused_by_provider(connect, ReasonCode::NotAuthorized)
    }),
    (PacketType::Connack, 0x82, "property 0x27 more than once", malformed_connect),
    (PacketType::Puback, 0x87, "not authorized to publish to this topic", |connect| {
        with_rules(connect, vec![publish("secret/a", "x", Q1, 1)])
    }),
    (PacketType::Pubrec, 0x87, "not authorized to publish to this topic", |connect| {
        with_rules(connect, vec![publish("secret/a", "x", Q2, 1)])
    }),
    (PacketType::Puback, 0x90, "the topic has 201 bytes, more than topic_length_max (200)", |connect| {
        with_rules(connect, vec![publish(&"x".repeat(201), "x", Q1, 1)])
    }),
    (PacketType::Pubrec, 0x90, "the topic has 9 levels, more than topic_levels_max (8)", |connect| {
        with_rules(connect, vec![publish("1/2/3/4/5/6/7/8/9", "x", Q2, 1)])
    }),
    (PacketType::Puback, 0x99, "the payload is not UTF-8 although its Payload Format Indicator is 1", |connect| {
        with_rules(connect, vec![not_utf8()])
    }),
    (PacketType::Puback, 0x91, "the Packet Identifier is in use by a QoS 2 message that waits for PUBREL", |connect| {
        with_rules(connect, vec![publish("t", "x", Q2, 1), publish("t", "x", Q1, 1)])
    }),
    (PacketType::Puback, 0x97, "the queue of a receiver is full; send the message again later", |connect| {
        full_broker(connect, false)
    }),
    (
        PacketType::Puback,
        0x97,
        "no further retained message is stored: retained_messages_max or retained_bytes_max is reached",
        |connect| full_broker(connect, true),
    ),
    (
        PacketType::Pubcomp,
        0x92,
        "no QoS 2 message has this Packet Identifier: it was refused, completed before, or is unknown",
        |connect| with_rules(connect, vec![pubrel(7)]),
    ),
    (
        PacketType::Pubrel,
        0x92,
        "no QoS 2 message has this Packet Identifier: it was refused, completed before, or is unknown",
        |connect| with_rules(connect, vec![pubrec(7)]),
    ),
    (PacketType::Suback, 0x87, "secret/#: not authorized to subscribe", |connect| {
        with_rules(connect, vec![filters(&["t", "secret/#", "secret/more"])])
    }),
    (
        PacketType::Suback,
        0x8F,
        "$share/g/1/2/3/4/5/6/7/8/#: the topic has 9 levels, more than topic_levels_max (8)",
        |connect| with_rules(connect, vec![filters(&["$share/g/1/2/3/4/5/6/7/8/#"])]),
    ),
    (PacketType::Suback, 0x97, "11: subscriptions_per_session_max (10) is reached", |connect| {
        with_rules(connect, vec![filters(&["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"])])
    }),
    (PacketType::Disconnect, 0x8D, "Keep Alive timeout", |connect| after(connect, |harness| harness.seconds(15))),
    (PacketType::Disconnect, 0x8E, "session taken over by another connection", |connect| {
        after(connect, |harness| _ = harness.connect(transient("a")))
    }),
    (PacketType::Disconnect, 0x8B, "broker is shutting down", |connect| {
        after(connect, |harness| harness.event(0, Event::ShuttingDown))
    }),
    (PacketType::Disconnect, 0x94, "Topic Alias 9 is above the Topic Alias Maximum 4", |connect| {
        with_rules(connect, vec![unknown_alias()])
    }),
    (PacketType::Disconnect, 0x95, "packet of 1000001 bytes exceeds the maximum of 1000000", malformed_packet),
    (PacketType::Disconnect, 0x87, "not authorized to connect", reauthentication_refused),
];

fn reason_code(packet: &ServerPacket) -> u8 {
    match packet {
        ServerPacket::Suback(suback) => suback.reason_codes.iter().find(|code| code.is_error()).unwrap().number(),
        ServerPacket::Connack(connack) => connack.reason_code.number(),
        ServerPacket::Disconnect(disconnect) => disconnect.reason_code.number(),
        ServerPacket::Puback(ack)
        | ServerPacket::Pubrec(ack)
        | ServerPacket::Pubrel(ack)
        | ServerPacket::Pubcomp(ack) => ack.reason_code.number(),
        ServerPacket::Publish(_) | ServerPacket::Unsuback(_) | ServerPacket::Pingresp | ServerPacket::Auth(_) => 0,
    }
}

#[test]
fn mqtt5_3_14_2_2_3_every_error_is_explained_in_words() {
    for (packet_type, code, sentence, provoke) in CASES {
        let packet = provoke(transient("a"));
        assert_eq!((packet.packet_type(), reason_code(&packet)), (*packet_type, *code), "{sentence}");
        assert_eq!(told(&packet), Some(*sentence));
    }
}

#[test]
fn mqtt5_3_1_2_29_clients_that_want_no_problem_information_get_no_sentence() {
    for (packet_type, code, sentence, provoke) in CASES {
        let mut connect = transient("a");
        connect.properties.request_problem_information = false;
        let packet = provoke(connect);
        assert_eq!(
            (packet.packet_type(), reason_code(&packet), told(&packet)),
            (*packet_type, *code, None),
            "{sentence}"
        );
    }
}

#[test]
fn mqtt5_3_14_2_3_a_sentence_never_exceeds_the_maximum_packet_size() {
    // covers: MQTT-3.2.2-19 MQTT-3.4.2-2 MQTT-3.5.2-2 MQTT-3.6.2-2 MQTT-3.7.2-2 MQTT-3.9.2-1
    for (packet_type, code, sentence, provoke) in CASES {
        let whole = bytes(&provoke(transient("a"))).len();
        for (maximum, expected) in [(whole, Some(*sentence)), (whole - 1, None)] {
            let mut connect = transient("a");
            connect.properties.maximum_packet_size = NonZeroU32::new(u32::try_from(maximum).unwrap());
            let packet = provoke(connect);
            assert_eq!((packet.packet_type(), reason_code(&packet)), (*packet_type, *code), "{sentence}");
            assert_eq!(told(&packet), expected);
            assert!(bytes(&packet).len() <= maximum);
        }
    }
}

#[test]
fn no_sentence_names_a_rule_or_a_file_and_the_log_does() {
    let mut harness = Harness::new();
    harness.granted = Some(no_secrets());
    let client = harness.connect(transient("a"));
    for packet in [publish("secret/a", "x", Q1, 1), publish("secret/a", "x", Q2, 2), subscribe("secret/#", Q1)] {
        harness.run(client, []);
        harness.send(client, packet);
        let packet = only(&mut harness, client);
        assert!(!told(&packet).unwrap().contains("acl"), "{packet:?}");
    }
    let named = |report: &&Report| matches!(report, Report::Denied { rule, .. } if rule.contains("acl.txt:17"));
    assert_eq!(harness.reports.iter().filter(named).count(), 3);
    let mut harness = Harness::new();
    harness.granted = None;
    harness.attempt(0, transient("a"));
    harness.refuse(ReasonCode::BadUserNameOrPassword);
    let logged = |report: &&Report| matches!(report, Report::Refused { cause, .. } if &**cause == "no");
    assert_eq!(harness.reports.iter().filter(logged).count(), 1);
}

#[test]
fn a_sentence_is_bounded_and_cut_between_characters() {
    let mut settings = settings();
    settings.topic_length_max = 1_000;
    let mut harness = Harness::with(1, settings);
    harness.granted = Some(no_secrets());
    let client = harness.connect(transient("a"));
    harness.send(client, subscribe(&format!("secret/{}", "é".repeat(400)), Q1));
    let packet = only(&mut harness, client);
    let expected = format!("secret/{}...: not authorized to subscribe", "é".repeat(46));
    assert_eq!(told(&packet), Some(&*expected));
    let mut packet = ServerPacket::Puback(Ack::new(id(1), ReasonCode::NotAuthorized));
    let terms = transient("a").answer_terms();
    terms.explain(&mut packet, &format!("x{}", "é".repeat(200)));
    assert_eq!(told(&packet).unwrap().len(), REASON_STRING_MAX - 1);
    terms.explain(&mut packet, "a\nb\u{7f}");
    assert_eq!(told(&packet), Some("a b "));
}

#[test]
fn mqtt311_has_no_sentences() {
    let mut harness = Harness::new();
    harness.granted = Some(no_secrets());
    let client = harness.connect(v311("a", true));
    for packet in [publish("secret/a", "x", Q1, 1), subscribe("secret/#", Q1), pubrel(7)] {
        harness.run(client, []);
        harness.send(client, packet);
        assert_eq!(told(&only(&mut harness, client)), None);
    }
}

#[test]
fn packets_without_an_error_have_their_shortest_form() {
    let mut harness = Harness::new();
    let client = harness.attempt(0, transient("a"));
    let connack = only(&mut harness, client);
    let announced = b"\x21\0\x0A\x27\0\x0F\x42\x40\x22\0\x04"; // Receive Maximum, Maximum Packet Size, Topic Alias Maximum
    assert_eq!(bytes(&connack), [b"\x20\x0E\0\0\x0B", &announced[..]].concat());
    let cases: [(ClientPacket, &[u8]); 9] = [
        (subscribe("t", Q2), b"\x90\x04\0\x01\0\x02"),
        (subscribe_all(2, 0, vec![subscription("u", options(Q0))]), b"\x90\x04\0\x02\0\0"),
        (publish("v", "x", Q1, 3), b"\x40\x03\0\x03\x10"),
        (publish("v", "x", Q2, 4), b"\x50\x03\0\x04\x10"),
        (pubrel(4), b"\x70\x02\0\x04"),
        (publish("u", "x", Q0, 0), b"\x30\x05\0\x01u\0x"),
        (unsubscribe(5, &["u", "u"]), b"\xB0\x05\0\x05\0\0\x11"),
        (ClientPacket::Pingreq, b"\xD0\0"),
        (publish("v", "x", Q1, 6), b"\x40\x03\0\x06\x10"),
    ];
    for (packet, expected) in cases {
        harness.send(client, packet);
        assert_eq!(bytes(&only(&mut harness, client)), expected);
    }
    harness.send(client, publish("t", "x", Q1, 7));
    let sent: Vec<Vec<u8>> = harness.packets(client).iter().map(bytes).collect();
    assert_eq!(sent, [&b"\x32\x07\0\x01t\0\x01\0x"[..], b"\x40\x02\0\x07"]);
    harness.send(client, puback(1));
    harness.send(client, publish("t", "x", Q2, 8));
    let sent: Vec<Vec<u8>> = harness.packets(client).iter().map(bytes).collect();
    assert_eq!(sent, [&b"\x34\x07\0\x01t\0\x02\0x"[..], b"\x50\x02\0\x08"]);
    harness.send(client, pubrec(2));
    assert_eq!(bytes(&only(&mut harness, client)), b"\x62\x02\0\x02");
}

#[test]
fn mqtt5_3_2_2_3_limits_at_the_defaults_of_the_standard_are_not_announced() {
    let mut settings = settings();
    settings.receive_maximum = NonZeroU16::MAX;
    settings.topic_alias_maximum = 0;
    let mut harness = Harness::with(1, settings);
    let client = harness.open_with(0, 268_435_460);
    harness.send(client, ClientPacket::Connect(Box::new(transient("a"))));
    assert_eq!(bytes(&only(&mut harness, client)), b"\x20\x03\0\0\0");
}
