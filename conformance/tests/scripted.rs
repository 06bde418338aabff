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

/// A 5.0 server that responds to each packet with the result of `answer` for its first byte.
fn server(answer: fn(u8) -> Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream, answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: fn(u8) -> Vec<u8>) {
    let mut head = [0; 2];
    // All packets here are short enough for a one-byte Remaining Length.
    while stream.read_exact(&mut head).is_ok() {
        let mut body = vec![0; usize::from(head[1])];
        if stream.read_exact(&mut body).is_err() || stream.write_all(&answer(head[0])).is_err() || head[0] == 0xE0 {
            return;
        }
    }
}

fn run(address: SocketAddr, case: &str) -> Report {
    let selection = Selection { versions: vec![Version::V5], statements: Vec::new(), cases: vec![case.to_owned()] };
    runner::run(&Target::Running { address, websocket: None }, &selection, &cases::all(), 4).unwrap()
}

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

#[test]
fn a_violation_is_reported_with_its_statement_and_a_trace() {
    let address = server(|first_byte| match first_byte {
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
    let address = server(|first_byte| match first_byte {
        0x10 => CONNACK.to_vec(),
        0xC0 => vec![0xD0, 0],
        _ => Vec::new(),
    });
    let found = run(address, "a_packet_type_that_does_not_exist_closes_the_connection");
    let result = found.results.first().unwrap();
    assert_eq!((result.word(), result.broken()), ("fail", vec!["MQTT-4.13.1-1"]));
}

#[test]
fn a_case_fails_at_its_time_limit() {
    let address = server(|first_byte| if first_byte == 0x10 { CONNACK.to_vec() } else { Vec::new() });
    let started = now();
    let found = run(address, "a_message_at_qos_0_has_no_packet_identifier");
    assert_eq!(found.counts(None).failed, 1);
    assert!(now() - started < Duration::from_secs(20));
}

#[test]
fn cases_of_missing_features_are_skipped() {
    // Retain Available 0.
    let address = server(|first_byte| if first_byte == 0x10 { vec![0x20, 5, 0, 0, 2, 0x25, 0] } else { Vec::new() });
    let found = run(address, "a_new_subscriber_gets_the_last_retained_message_with_retain_1");
    assert_eq!(found.counts(None).skipped, 1);
}

#[expect(clippy::disallowed_methods, reason = "the test's own clock; the broker's is no part of this crate")]
fn now() -> Instant {
    Instant::now()
}
