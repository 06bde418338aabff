//! A disk that fails or does not answer.

use std::time::Duration;

use crate::deadline::{SILENCE, now};
use crate::peer;
use crate::process::Process;
use crate::raw::{Connect, DISCONNECT, PUBLISH, Publish, Received, Version, Wire};

/// Subscribes a durable Session to `filter`, and closes its connection.
fn away(process: &Process, filter: &str) {
    let mut wire = Wire::connected(process.address, &Connect::durable(Version::V5, "away"));
    wire.subscribe(Version::V5, filter, 1);
    wire.cut();
}

#[test]
fn a_disk_that_does_not_answer_does_not_keep_the_process() {
    if peer::is_chosen() {
        return;
    }
    let mut process = Process::start("", "[server]\ndrain_timeout = \"1s\"\n");
    away(&process, "t");
    let mut publisher = Wire::connected(process.address, &Connect::new(Version::V5, "publisher"));
    let tracer = process.inject("delay_enter=60000000");
    publisher.send(&Version::V5.publish(PUBLISH | 0x02, "t", 1, b"never acknowledged"));
    assert_eq!(publisher.receive(SILENCE), Received::Nothing);
    let started = now();
    process.signal("TERM");
    // The last line; the exit itself waits for the tracer.
    process.wait_for_line("the disk did not finish the last writes");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    drop(tracer);
    assert_eq!(process.end().code(), Some(5), "{}", process.log_text());
}

#[test]
fn a_signal_after_a_failure_of_the_store_keeps_its_exit_code() {
    if peer::is_chosen() {
        return;
    }
    let mut process = Process::start("", "");
    away(&process, "t");
    let mut publisher = Wire::connected(process.address, &Connect::new(Version::V5, "publisher"));
    let tracer = process.inject("error=EIO");
    publisher.send(&Version::V5.publish(PUBLISH | 0x02, "t", 1, b"never acknowledged"));
    // The publisher keeps its connection open, so the drain takes some time.
    process.wait_for_line("stopping: ");
    process.signal("TERM");
    process.signal("INT");
    assert_eq!(process.end().code(), Some(5), "{}", process.log_text());
    drop(tracer);
}

#[test]
fn mqtt5_3_14_4_3_a_will_that_disconnect_removed_does_not_come_back_after_a_kill() {
    if peer::is_chosen() {
        return;
    }
    let process = Process::start("", "");
    away(&process, "w");
    for connect in [Connect::new as fn(Version, &str) -> Connect, Connect::durable] {
        let will = Connect { will: Some(Publish::new("w", "unwanted")), ..connect(Version::V5, "client") };
        let mut wire = Wire::connected(process.address, &will);
        let tracer = process.inject("delay_enter=700000");
        let started = now();
        wire.send(&[DISCONNECT, 0]);
        wire.expect_closed();
        assert!(started.elapsed() > Duration::from_millis(600), "closed after {:?}", started.elapsed());
        drop(tracer);
    }
    let process = process.kill_and_restart();
    let mut wire = Wire::connected(process.address, &Connect::durable(Version::V5, "away"));
    assert_eq!(wire.receive(SILENCE), Received::Nothing);
}
