use std::num::NonZeroU16;
use std::time::Duration;

use super::harness::{Harness, settings};
use super::packets::*;
use crate::codec::{ClientPacket, Connect, ServerPacket};

#[test]
fn mqtt5_3_1_2_22_silent_client_is_closed_after_one_and_a_half_times_keep_alive() {
    let mut harness = Harness::new();
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q0)]);
    let client = harness.connect(Connect { keep_alive: 10, will: Some(will("w", "gone")), ..transient("a") });
    harness.advance(Duration::from_millis(14_999));
    assert!(!harness.is_closed(client));
    harness.advance(Duration::from_millis(1));
    assert_eq!(harness.received(client), ["DISCONNECT 0x8D", "CLOSED"]);
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
}

#[test]
fn mqtt311_3_1_2_24_silent_client_is_closed_as_if_the_network_had_failed() {
    let mut harness = Harness::new();
    let client = harness.connect(Connect { keep_alive: 10, ..v311("a", true) });
    harness.seconds(15);
    assert!(harness.is_closed(client));
}

#[test]
fn mqtt5_every_packet_restarts_keep_alive() {
    let mut harness = Harness::new();
    let client = harness.connect(Connect { keep_alive: 10, ..transient("a") });
    for packet in [ClientPacket::Pingreq, publish("t", "x", Q0, 0), subscribe("t", Q0), puback(3)] {
        harness.seconds(14);
        harness.send(client, packet);
    }
    harness.seconds(14);
    assert!(!harness.is_closed(client));
    harness.seconds(1);
    assert!(harness.is_closed(client));
}

#[test]
fn mqtt5_keep_alive_0_is_off() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.seconds(1_000_000);
    assert!(!harness.is_closed(client));
}

#[test]
fn mqtt5_3_2_2_22_server_keep_alive_is_enforced_if_announced() {
    for (asked, announced, seconds) in [(0, Some(20), 30), (60, Some(20), 30), (10, None, 15)] {
        let mut settings = settings();
        settings.keep_alive_max = NonZeroU16::new(20);
        let mut harness = Harness::with(1, settings);
        let client = harness.attempt(0, Connect { keep_alive: asked, ..transient("a") });
        let packets = harness.packets(client);
        let [ServerPacket::Connack(connack)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!(connack.properties.server_keep_alive, announced);
        harness.seconds(seconds - 1);
        assert!(!harness.is_closed(client));
        harness.seconds(1);
        assert!(harness.is_closed(client));
    }
}

#[test]
fn mqtt311_client_without_server_keep_alive_keeps_its_own_keep_alive() {
    let mut settings = settings();
    settings.keep_alive_max = NonZeroU16::new(20);
    let mut harness = Harness::with(1, settings);
    let client = harness.connect(Connect { keep_alive: 60, ..v311("a", true) });
    harness.seconds(89);
    assert!(!harness.is_closed(client));
    harness.seconds(1);
    assert!(harness.is_closed(client));
}

#[test]
fn paused_client_does_not_time_out() {
    let mut harness = Harness::new();
    harness.store_answers = false;
    let client = harness.attempt(0, Connect { keep_alive: 10, ..durable("a") });
    assert!(harness.is_paused(client));
    harness.seconds(60);
    assert!(!harness.is_closed(client));
    harness.persist();
    assert!(!harness.is_paused(client));
    harness.seconds(14);
    assert!(!harness.is_closed(client));
    harness.seconds(2);
    assert!(harness.is_closed(client));
}
