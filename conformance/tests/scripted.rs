//! Runs the suite against servers that do one thing wrong, or don't respond.

#![cfg(test)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use conformance::cases;
use conformance::report::Report;
use conformance::runner::{self, Selection, Target};
use conformance::wire::Version;

/// A server that responds to each packet with the result of `answer` for its first byte and what follows the Remaining
/// Length. It closes the connection after a refusing CONNACK of 5.0.
fn server(answer: fn(u8, &[u8]) -> Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream, answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: fn(u8, &[u8]) -> Vec<u8>) {
    let mut head = [0; 2];
    // All packets here are short enough for a one-byte Remaining Length.
    while stream.read_exact(&mut head).is_ok() {
        let mut body = vec![0; usize::from(head[1])];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let answer = answer(head[0], &body);
        let refuses = matches!(answer.as_slice(), [0x20, _, _, 0x80..=0xFF, ..]);
        if stream.write_all(&answer).is_err() || head[0] == 0xE0 || refuses {
            return;
        }
    }
}

fn run(address: SocketAddr, case: &str) -> Report {
    run_version(address, case, Version::V5)
}

fn run_version(address: SocketAddr, case: &str, version: Version) -> Report {
    let selection = Selection { versions: vec![version], statements: Vec::new(), cases: vec![case.to_owned()] };
    runner::run(&Target::Running { address, websocket: None }, &selection, &cases::all(), 4).unwrap()
}

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

#[test]
fn a_violation_is_reported_with_its_statement_and_a_trace() {
    let address = server(|first_byte, _| match first_byte {
        0x10 => CONNACK.to_vec(),
        0x82 => vec![0x91, 4, 0, 1, 0, 0],
        _ => Vec::new(),
    });
    let found = run(address, "all_packets_of_the_broker_have_the_reserved_flags_right");
    let result = found.results.first().unwrap();
    assert_eq!((result.word(), result.broken()), ("fail", vec!["MQTT-2.1.3-1"]));
    assert!(result.trace.iter().any(|line| line.contains("91 04 00 01 00 00")), "{:?}", result.trace);
}

#[test]
fn a_server_that_keeps_the_connection_open_after_an_error_fails() {
    let address = server(|first_byte, _| match first_byte {
        0x10 => CONNACK.to_vec(),
        0xC0 => vec![0xD0, 0],
        _ => Vec::new(),
    });
    let found = run(address, "a_packet_type_that_does_not_exist_closes_the_connection");
    let result = found.results.first().unwrap();
    assert_eq!((result.word(), result.broken()), ("fail", vec!["MQTT-4.13.1-1"]));
}

/// The Maximum Packet Size of a CONNECT of 5.0 that has it as its first property.
fn maximum_packet_size(connect: &[u8]) -> Option<u32> {
    let value = connect.get(11..16)?.strip_prefix(&[0x27])?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

#[test]
fn a_connack_that_is_too_large_may_be_discarded_but_not_sent() {
    const CASE: &str = "connack_is_never_larger_than_the_maximum_packet_size";
    let discards = server(|first_byte, body| match (first_byte, maximum_packet_size(body)) {
        (0x10, Some(..5)) => Vec::new(),
        (0x10, _) => CONNACK.to_vec(),
        _ => Vec::new(),
    });
    assert_eq!(run(discards, CASE).results.first().unwrap().word(), "pass");
    let sends = server(|first_byte, _| if first_byte == 0x10 { CONNACK.to_vec() } else { Vec::new() });
    let found = run(sends, CASE);
    let result = found.results.first().unwrap();
    assert_eq!((result.word(), result.broken()), ("fail", vec!["MQTT-3.1.2-24"]));
}

#[test]
fn a_server_of_both_versions_may_refuse_other_protocol_levels_as_5_0_says() {
    const CASE: &str = "an_unsupported_protocol_level_is_answered_with_return_code_1";
    const REFUSAL: &[u8] = &[0x20, 3, 0, 0x84, 0];
    let both = server(|_, body| match body.get(6) {
        Some(4) => vec![0x20, 2, 0, 0],
        // Retain Available 1.
        Some(5) => vec![0x20, 5, 0, 0, 2, 0x25, 1],
        _ => REFUSAL.to_vec(),
    });
    assert_eq!(run_version(both, CASE, Version::V3).results.first().unwrap().word(), "pass");
    let only_3 = server(|_, body| if body.get(6) == Some(&4) { vec![0x20, 2, 0, 0] } else { REFUSAL.to_vec() });
    assert_eq!(run_version(only_3, CASE, Version::V3).results.first().unwrap().word(), "fail");
}

#[test]
fn a_server_of_one_version_may_refuse_clients_of_the_other() {
    let only_5 = server(|_, body| if body.get(6) == Some(&5) { CONNACK.to_vec() } else { vec![0x20, 3, 0, 0x84, 0] });
    let found = run(only_5, "a_message_goes_between_clients_of_both_versions");
    assert_eq!(found.results.first().unwrap().word(), "skip");
}

/// A server that acknowledges messages at QoS 2 like those at QoS 1.
#[test]
fn a_missing_pubrec_is_a_violation_of_its_own_statement_whatever_the_case_is_about() {
    let address = server(|first_byte, body| {
        let topic = body.get(1).copied().map_or(0, usize::from);
        match (first_byte, body.get(2 + topic..4 + topic)) {
            (0x10, _) => CONNACK.to_vec(),
            (0x32 | 0x34, Some(id)) => [&[0x40, 2], id].concat(),
            _ => Vec::new(),
        }
    });
    let found = run(address, "acknowledgements_have_the_packet_identifier_of_the_publish");
    let result = found.results.first().unwrap();
    assert_eq!((result.word(), result.broken()), ("fail", vec!["MQTT-4.3.3-8"]));
}

#[test]
fn a_case_fails_at_its_time_limit() {
    let address = server(|first_byte, _| if first_byte == 0x10 { CONNACK.to_vec() } else { Vec::new() });
    let started = now();
    let found = run(address, "a_message_at_qos_0_has_no_packet_identifier");
    assert_eq!(found.counts(None).failed, 1);
    assert!(now() - started < Duration::from_secs(20));
}

#[test]
fn cases_of_missing_features_are_skipped() {
    // Retain Available 0.
    let address = server(|first_byte, _| if first_byte == 0x10 { vec![0x20, 5, 0, 0, 2, 0x25, 0] } else { Vec::new() });
    let found = run(address, "a_new_subscriber_gets_the_last_retained_message_with_retain_1");
    assert_eq!(found.counts(None).skipped, 1);
}

#[expect(clippy::disallowed_methods, reason = "the test's own clock; the broker's is no part of this crate")]
fn now() -> Instant {
    Instant::now()
}
