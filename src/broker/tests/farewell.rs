//! A standby, and a broker that leaves its clients to another server.

use std::num::NonZeroU32;

use bytestring::ByteString;

use super::harness::{Harness, settings};
use super::packets::*;
use crate::broker::{Event, Farewell, Record, Settings};
use crate::codec::{ClientPacket, Connect, Disconnect, ProtocolVersion, ReasonCode, ServerPacket, encode};

const OTHER: ByteString = ByteString::from_static("other.example:1883");

fn standby(server_reference: Option<ByteString>) -> Harness {
    let mut harness = Harness::with(1, Settings { is_standby: true, server_reference, ..settings() });
    // A CONNECT that reaches a provider would wait.
    harness.granted = None;
    harness
}

fn with_maximum(connect: Connect, maximum: u32) -> Connect {
    let mut connect = connect;
    connect.properties.maximum_packet_size = NonZeroU32::new(maximum);
    connect
}

/// The Reason Code and the Server Reference of the only packet.
fn referral(packets: &[ServerPacket]) -> (ReasonCode, Option<&str>) {
    match packets {
        [ServerPacket::Connack(connack)] => (connack.reason_code, connack.properties.server_reference.as_deref()),
        [ServerPacket::Disconnect(disconnect)] => (disconnect.reason_code, disconnect.server_reference.as_deref()),
        packets => panic!("{packets:?}"),
    }
}

#[test]
fn mqtt5_4_11_a_standby_refers_clients_before_authentication_and_names_the_other_server_if_it_knows_it() {
    for reference in [None, Some(OTHER)] {
        let mut harness = standby(reference.clone());
        for connect in [transient("a"), durable("b"), Connect { user_name: Some("u".into()), ..transient("") }] {
            let client = harness.attempt(0, connect);
            assert_eq!(referral(&harness.packets(client)), (ReasonCode::UseAnotherServer, reference.as_deref()));
            assert!(harness.is_closed(client) && harness.requests.is_empty());
        }
        assert_eq!(harness.shards[0].counters().sessions, 0);
        assert!(harness.records.is_empty());
    }
}

#[test]
fn mqtt311_3_2_2_5_a_standby_answers_3_1_1_with_server_unavailable() {
    let mut harness = standby(Some(OTHER));
    let client = harness.attempt(0, v311("a", true));
    let packets = harness.packets(client);
    let mut output = bytes::BytesMut::new();
    packets.iter().for_each(|packet| encode(packet, ProtocolVersion::V3_1_1, &mut output));
    assert_eq!(&output[..], [0x20, 2, 0, 3]);
    assert!(harness.is_closed(client));
}

#[test]
fn mqtt5_3_1_2_24_a_server_reference_that_does_not_fit_is_left_out() {
    for (maximum, reference) in [(40, Some(&*OTHER)), (20, None)] {
        let mut harness = standby(Some(OTHER));
        let client = harness.attempt(0, with_maximum(transient("a"), maximum));
        assert_eq!(referral(&harness.packets(client)), (ReasonCode::UseAnotherServer, reference));
        let mut harness = Harness::new();
        let client = harness.connect(with_maximum(transient("a"), maximum));
        harness.event(0, Event::Farewell(Farewell::Moved(Some(OTHER))));
        assert_eq!(referral(&harness.packets(client)), (ReasonCode::UseAnotherServer, reference));
    }
}

#[test]
fn clients_connect_when_a_standby_becomes_none() {
    let mut harness = standby(None);
    harness.event(0, Event::SettingsChanged(std::sync::Arc::new(settings())));
    let client = harness.attempt(0, transient("a"));
    harness.grant(crate::routing::Access::everything(), None);
    assert_eq!(harness.received(client), ["CONNACK 0x00"]);
}

#[test]
fn mqtt5_4_11_a_moved_broker_stores_what_an_ordinary_end_stores_and_refers_its_clients() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    let old = harness.connect(v311("b", true));
    let silent = harness.open(0);
    harness.granted = None;
    let authenticating = harness.attempt(0, transient("c"));
    let before = harness.records.len();
    harness.event(0, Event::Farewell(Farewell::Moved(Some(OTHER))));
    for client in [client, authenticating] {
        assert_eq!(referral(&harness.packets(client)), (ReasonCode::UseAnotherServer, Some(&*OTHER)));
    }
    for client in [client, authenticating, old, silent] {
        assert_eq!(harness.received(client), ["CLOSED"]);
    }
    assert!(matches!(harness.records[before..], [Record::SessionDetached { .. }]), "{:?}", &harness.records[before..]);
    let late = harness.open(0);
    assert_eq!(harness.received(late), ["CLOSED"]);
}

#[test]
fn a_fenced_broker_stores_nothing_and_leaves_wills_to_the_other_server() {
    let mut harness = Harness::with(2, settings());
    let watcher = harness.connect_to(1, transient("watcher"));
    harness.run(watcher, [subscribe("#", Q0)]);
    let delayed = |seconds| {
        let mut connect = durable("late");
        let mut will = will("w", "late");
        will.will_delay_interval = seconds;
        connect.will = Some(will);
        connect
    };
    let late = harness.connect(delayed(10));
    harness.lose(late);
    let client = harness.connect(Connect { will: Some(will("w", "gone")), ..durable("a") });
    harness.run(client, [subscribe("x", Q0)]);
    let transient = harness.connect(Connect { will: Some(will("w", "gone")), ..transient("b") });
    let old = harness.connect(v311("c", true));
    let silent = harness.open(0);
    let before = harness.records.len();
    harness.event(0, Event::Farewell(Farewell::Fenced(None)));
    for client in [client, transient] {
        assert_eq!(referral(&harness.packets(client)), (ReasonCode::UseAnotherServer, None));
    }
    for client in [client, transient, old, silent] {
        assert_eq!(harness.received(client), ["CLOSED"]);
    }
    harness.seconds(1_000);
    assert_eq!(harness.received(watcher), [""; 0], "no Will");
    assert_eq!(harness.records.len(), before);
    let publisher = harness.connect_to(1, durable("p"));
    harness.run(publisher, [publish("x", "x", Q0, 0)]);
    assert_eq!(harness.received(client), ["CLOSED"], "nothing follows DISCONNECT");
}

#[test]
fn mqtt5_3_14_4_3_a_fenced_broker_does_not_end_a_connection_in_order_whose_will_is_not_discarded_for_good() {
    let mut harness = Harness::new();
    let client = harness.connect(Connect { will: Some(will("w", "gone")), ..durable("c") });
    harness.store_answers = false;
    harness.send(client, ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection))));
    assert!(!harness.is_closed(client));
    harness.event(0, Event::Farewell(Farewell::Fenced(None)));
    assert_eq!(harness.resets, [client]);
}

#[test]
fn a_broker_that_moves_can_be_fenced_meanwhile() {
    let mut harness = Harness::new();
    let client = harness.connect(Connect { will: Some(will("w", "gone")), ..durable("c") });
    harness.event(0, Event::Farewell(Farewell::Moved(None)));
    assert_eq!(referral(&harness.packets(client)), (ReasonCode::UseAnotherServer, None));
    let before = harness.records.len();
    harness.event(0, Event::Farewell(Farewell::Fenced(Some(OTHER))));
    harness.seconds(1_000);
    assert_eq!(harness.records.len(), before);
    assert_eq!(harness.received(client), ["CLOSED"]);
}
