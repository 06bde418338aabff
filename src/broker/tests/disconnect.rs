use super::harness::Harness;
use super::packets::*;
use crate::broker::{Event, Record, Report};
use crate::codec::{ClientPacket, Connect, Disconnect, ReasonCode};

fn with_expiry(seconds: u32) -> ClientPacket {
    let disconnect =
        Disconnect { session_expiry_interval: Some(seconds), ..Disconnect::new(ReasonCode::NormalDisconnection) };
    ClientPacket::Disconnect(Box::new(disconnect))
}

#[test]
fn mqtt5_disconnect_closes_without_an_answer() {
    let mut harness = Harness::new();
    for connect in [transient("a"), durable("b"), v311("c", true)] {
        let client = harness.connect(connect);
        assert_eq!(harness.ask(client, disconnect(ReasonCode::Success)), ["CLOSED"]);
    }
}

#[test]
fn mqtt5_3_14_2_disconnect_may_change_the_session_expiry_interval() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.send(client, with_expiry(10));
    harness.seconds(9);
    assert_eq!(harness.shards[0].counters().sessions, 1);
    harness.seconds(1);
    assert_eq!(harness.shards[0].counters().sessions, 0);
    let client = harness.connect(durable("a"));
    harness.send(client, with_expiry(2_000));
    harness.seconds(1_999);
    assert_eq!(harness.shards[0].counters().sessions, 1);
}

#[test]
fn mqtt5_disconnect_with_interval_0_ends_the_session_on_disk_too() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.send(client, with_expiry(0));
    assert_eq!(harness.shards[0].counters().sessions, 0);
    assert!(harness.records.iter().any(|record| matches!(record, Record::SessionEnded { .. })));
    let client = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
}

#[test]
fn mqtt5_disconnect_may_not_set_an_interval_if_connect_set_0() {
    let mut harness = Harness::new();
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q0)]);
    let client = harness.connect(Connect { will: Some(will("w", "gone")), ..transient("a") });
    assert_eq!(harness.ask(client, with_expiry(10)), ["DISCONNECT 0x82", "CLOSED"]);
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"], "a protocol error publishes the will");
    let client = harness.connect(transient("b"));
    assert_eq!(harness.ask(client, with_expiry(0)), ["CLOSED"]);
}

#[test]
fn mqtt5_3_14_4_1_nothing_follows_a_disconnect() {
    // covers: MQTT-3.14.4-2
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("t", Q0)]);
    harness.send(client, ClientPacket::Connect(Box::new(transient("a"))));
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q0, 0)]);
    assert_eq!(harness.received(client), ["DISCONNECT 0x82", "CLOSED"]);
}

#[test]
fn shutdown_disconnects_every_client_and_accepts_no_new_one() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    let old = harness.connect(v311("b", true));
    let silent = harness.open(0);
    harness.event(0, Event::ShuttingDown);
    assert_eq!(harness.received(client), ["DISCONNECT 0x8B", "CLOSED"]);
    assert!(harness.is_closed(old) && harness.is_closed(silent));
    let late = harness.open(0);
    assert_eq!(harness.received(late), ["CLOSED"]);
    let counters = harness.shards[0].counters();
    assert_eq!((counters.connections, counters.sessions), (0, 1), "the durable session is kept");
}

#[test]
fn every_end_is_reported_with_its_reason() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.lose(client);
    let client = harness.connect(transient("b"));
    harness.send(client, disconnect(ReasonCode::DisconnectWithWillMessage));
    let mut ends = Vec::new();
    for report in &harness.reports {
        if let Report::Disconnected { client, reason_code, cause, lost } = report {
            let client_id = client.client_id.as_ref().unwrap().as_str().to_owned();
            ends.push((client_id, *reason_code, cause.to_string()));
            assert_eq!(lost.is_some(), cause == "connection reset");
        }
    }
    let lost = ("a".to_owned(), ReasonCode::UnspecifiedError, "connection reset".to_owned());
    let by_client = ("b".to_owned(), ReasonCode::DisconnectWithWillMessage, "DISCONNECT".to_owned());
    assert_eq!(ends, [lost, by_client]);
}

#[test]
fn mqtt5_3_14_4_3_the_end_waits_for_the_record_without_the_will_but_not_for_ever() {
    for connect in [durable, transient] {
        let mut harness = Harness::new();
        let client = harness.connect(Connect { will: Some(will("w", "gone")), ..connect("c") });
        harness.store_answers = false;
        harness.send(client, ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection))));
        harness.seconds(20);
        assert!(!harness.is_closed(client));
        harness.seconds(20);
        assert!(harness.is_closed(client), "a disk that does not answer");
        harness.persist();
    }
}
