//! What the broker tells clients in words, and how little it tells those that do not ask.

use std::io::{Read as _, Write as _};

use crate::broker::Setup;
use crate::deadline::PATIENCE;
use crate::mosquitto::{Subscriber, try_publish};
use crate::peer;
use crate::python;
use crate::raw::{
    CONNACK, Connect, DISCONNECT, PINGREQ, PUBACK, PUBLISH, Packet, SUBACK, Version, Wire, packet, string,
};

const RULES: &str = "topic readwrite open/#\nuser bob\ntopic readwrite open/#\nuser alice\ntopic readwrite alices/#\n";

/// The properties of a packet, whose property length has one byte at `place`.
fn properties(packet: &Packet, place: usize) -> &[u8] {
    let length = usize::from(packet.body[place]);
    assert!(length < 0x80, "{packet:x?}");
    &packet.body[place + 1..place + 1 + length]
}

/// A Reason String as a property.
fn reason_string(sentence: &str) -> Vec<u8> {
    [&[0x1F], &string(sentence)[..]].concat()
}

#[test]
fn a_client_with_a_buffer_of_32_bytes_gets_its_connack_in_one_piece() {
    let broker = Setup::default().start();
    let mut wire = Wire::open(broker.address());
    wire.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    let connect = Connect::new(Version::V5, "small").bytes();
    wire.stream().write_all(&connect).unwrap();
    let mut buffer = [0; 32];
    let length = wire.stream().read(&mut buffer).unwrap();
    let connack = &buffer[..length];
    assert_eq!(connack[..2], [CONNACK, u8::try_from(length - 2).unwrap()], "{connack:x?}");
    if peer::is_chosen() {
        return;
    }
    // Receive Maximum 1,024, Maximum Packet Size 16 MiB, Topic Alias Maximum 64.
    assert_eq!(connack, b"\x20\x0E\0\0\x0B\x21\x04\0\x27\x01\0\0\0\x22\0\x40");
    wire.stream().write_all(&packet(PINGREQ, &[])).unwrap();
    assert_eq!(wire.stream().read(&mut buffer).unwrap(), 2, "PINGRESP");
}

#[test]
fn connack_has_user_properties_for_those_who_ask() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("server.durability", "\"crash\"").start();
    let ask = [&[0x26][..], &string("explain"), &string("true")].concat();
    let connect = Connect { properties: ask, ..Connect::new(Version::V5, "asks") };
    let (_, connack) = Wire::connect(broker.address(), &connect);
    let told = properties(&connack, 2);
    let expected = [("durability", "crash"), ("session", "ends with the connection"), ("queued-messages", "0")];
    let expected = expected.map(|(name, value)| [&[0x26][..], &string(name), &string(value)].concat()).concat();
    assert!(told.windows(expected.len()).any(|window| window == expected), "{}", String::from_utf8_lossy(told));
}

#[test]
fn errors_are_explained_on_the_wire() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().access(RULES).start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V5, "asks"));
    wire.send(&Version::V5.publish(PUBLISH | 0x02, "alices/a", 1, b"x"));
    let puback = wire.expect(PUBACK);
    assert_eq!(puback.reason_code(), 0x87);
    assert_eq!(properties(&puback, 3), reason_string("not authorized to publish to this topic"));
    wire.send(&Version::V5.subscribe(2, "alices/#", 1));
    let suback = wire.expect(SUBACK);
    assert_eq!(properties(&suback, 2), reason_string("alices/#: not authorized to subscribe"));
    wire.send(&Version::V5.publish(PUBLISH | 0x02, "open/a", 3, b"x"));
    assert_eq!(wire.expect(PUBACK).body, [0, 3, 0x10]);
    wire.send(&[0x00, 0x00]);
    let disconnect = wire.expect(DISCONNECT);
    assert_eq!(disconnect.reason_code(), 0x81);
    assert_eq!(properties(&disconnect, 1), reason_string("reserved packet type 0"));
}

#[test]
fn mqtt5_3_2_2_19_a_malformed_connect_is_explained_within_its_maximum_packet_size() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    let sentence = reason_string("property 0x21 more than once");
    let twice = [0x21, 0, 1, 0x21, 0, 1];
    for (limits, told) in [
        (&[][..], &sentence[..]),
        (&[0x27, 0, 0, 0, 36], &sentence[..]), // exactly its size
        (&[0x27, 0, 0, 0, 35], &[]),
        (&[0x17, 0], &[]), // Request Problem Information
    ] {
        let connect = Connect { properties: [limits, &twice].concat(), ..Connect::new(Version::V5, "wrong") };
        let (mut wire, connack) = Wire::connect(broker.address(), &connect);
        assert_eq!((connack.reason_code(), properties(&connack, 2)), (0x82, told), "{limits:?}");
        wire.expect_closed();
    }
}

#[test]
fn a_refused_user_cannot_tell_whether_the_name_exists() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().users(&[("alice", "secret")]).start();
    let answers = [("alice", "wrong"), ("nobody", "wrong"), ("alice", ""), ("nobody", "")].map(|(name, password)| {
        let connect = Connect::new(Version::V5, "c").user(name, password);
        Wire::connect(broker.address(), &connect).1.body
    });
    let sentence = reason_string("User Name or Password is wrong");
    let expected = [&[0, 0x86, u8::try_from(sentence.len()).unwrap()][..], &sentence].concat();
    assert!(answers.iter().all(|answer| *answer == expected), "{answers:x?}");
    let log = broker.log();
    assert!(log.contains("unknown user name") && log.contains("wrong password"), "the log tells them apart: {log}");
}

#[test]
fn mosquittos_clients_show_the_reason_codes_and_get_along_with_the_sentences() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().users(&[("bob", "builder")]).access(RULES).start();
    let target = [&broker.target()[..], &["-u".to_owned(), "bob".to_owned(), "-P".to_owned(), "builder".to_owned()]];
    let output = try_publish(&target.concat(), &["-V", "5", "-q", "1", "-t", "alices/a", "-m", "x"], "");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(printed.contains("RC:135"), "{printed}");
    let subscriber = Subscriber::spawn(&target.concat(), &["-V", "5", "-t", "alices/#", "-t", "open/#"]);
    subscriber.wait_for_line("Subscribed (mid: 1): 135, 0");
}

#[test]
fn paho_shows_the_sentences() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().users(&[("bob", "builder")]).access(RULES).start();
    python::run(&broker, "test_words", &[]);
}
