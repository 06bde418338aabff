//! Connections on which no MQTT arrives.

use bytestring::ByteString;

use super::harness::Harness;
use crate::broker::{Event, Report};

#[test]
fn a_connection_without_a_byte_is_neither_refused_nor_an_error() {
    let mut harness = Harness::new();
    let client = harness.open(0);
    let cause = ByteString::from_static("end of stream");
    harness.event(0, Event::ClosedSilently { connection: client.id, cause });
    let counters = harness.shards[0].counters();
    assert_eq!((counters.connections, counters.connects_refused, counters.protocol_errors), (0, 0, 0));
    assert!(matches!(&harness.reports[..], [Report::Silent { .. }]), "{:?}", harness.reports);
    // Its CONNECT timeout is cancelled.
    harness.reports.clear();
    harness.seconds(60);
    assert!(harness.reports.is_empty(), "{:?}", harness.reports);
}

#[test]
fn another_protocol_is_refused_with_its_name_in_the_report() {
    let mut harness = Harness::new();
    let client = harness.open(0);
    let cause = ByteString::from_static("this looks like TLS");
    harness.event(0, Event::NotMqtt { connection: client.id, cause: cause.clone() });
    assert_eq!(harness.received(client), ["CLOSED"]);
    let counters = harness.shards[0].counters();
    assert_eq!((counters.connections, counters.connects_refused, counters.protocol_errors), (0, 1, 1));
    assert!(matches!(&harness.reports[..], [Report::Refused { cause: told, .. }] if *told == cause));
}
