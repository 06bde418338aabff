//! Few file descriptors: the store keeps what it needs, and waits for what it can't get.

use std::net::TcpStream;

use crate::deadline::SILENCE;
use crate::peer;
use crate::process::Process;
use crate::raw::{Connect, PUBACK, PUBLISH, Received, Version, Wire, acknowledge};

const SETTINGS: &str = "[server]\nsegment_size = \"256KiB\"\n[limits]\nconnect_timeout = \"60s\"\n";
const PAYLOAD_BYTES: usize = 32 << 10;
const QUOTA_EXCEEDED: u8 = 0x97;

/// A durable Session without connection, and a connected publisher.
fn away(process: &Process) -> Wire {
    let mut wire = Wire::connected(process.address, &Connect::durable(Version::V5, "away"));
    wire.subscribe(Version::V5, "t", 1);
    wire.cut();
    Wire::connected(process.address, &Connect::durable(Version::V5, "publisher"))
}

/// The number of a message, followed by padding.
fn payload(number: usize) -> String {
    format!("{number:<PAYLOAD_BYTES$}")
}

fn publish(wire: &mut Wire, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(wire.publish(Version::V5, "t", &payload(number)), 0, "message {number}");
    }
}

/// Checks that the Session gets these messages, each once.
fn check_received(process: &Process, count: usize) {
    let mut wire = Wire::connected(process.address, &Connect::durable(Version::V5, "away"));
    for number in 0..count {
        let publish = wire.expect_publish(Version::V5);
        assert_eq!(String::from_utf8_lossy(&publish.payload).trim(), number.to_string());
        wire.send(&acknowledge(PUBACK, publish.packet_id));
    }
    assert_eq!(wire.receive(SILENCE), Received::Nothing);
}

#[test]
fn connections_leave_descriptors_to_the_store() {
    if peer::is_chosen() {
        return;
    }
    let process = Process::start("ulimit -n 256 &&", SETTINGS);
    process.wait_for_line("limits.connections_max is 137 instead of 100000");
    let mut publisher = away(&process);
    publish(&mut publisher, 0..20);
    // More than the process has descriptors.
    let idle: Vec<_> = (0..400).map(|_| TcpStream::connect(process.address).unwrap()).collect();
    process.wait_for_line("limits.connections_max is reached");
    publish(&mut publisher, 20..100);
    let log = process.log_text();
    assert!(!log.contains("descriptor left") && !log.contains("failed"), "{log}");
    let process = process.kill_and_restart();
    drop(idle);
    check_received(&process, 100);
}

#[test]
fn a_store_without_descriptors_refuses_messages_and_later_goes_on() {
    if peer::is_chosen() {
        return;
    }
    let process = Process::start("", SETTINGS);
    let mut publisher = away(&process);
    let mut present = Wire::connected(process.address, &Connect::new(Version::V5, "present"));
    present.subscribe(Version::V5, "u", 1);
    publish(&mut publisher, 0..10);
    process.take_descriptors();
    let refused = (10..).find(|number| match publisher.publish(Version::V5, "t", &payload(*number)) {
        0 => false,
        code => {
            assert_eq!(code, QUOTA_EXCEEDED);
            true
        }
    });
    let count = refused.unwrap();
    process.wait_for_line("the store has no file descriptor left");
    // What needs no store goes on.
    publisher.send(&Version::V5.publish(PUBLISH, "u", 0, b"at QoS 0"));
    assert_eq!(present.expect_publish(Version::V5).payload, b"at QoS 0");
    process.limit_descriptors(1_000);
    process.wait_for_line("the store has file descriptors again");
    publish(&mut publisher, count..count + 30);
    let process = process.kill_and_restart();
    check_received(&process, count + 30);
}
