use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::AuthenticationOutcome;
use crate::broker::connection::state::Expiry;
use crate::codec::{Auth, ClientPacket, Connect, ReasonCode, ServerPacket};
use crate::routing::Access;
use crate::timestamp::Timestamp;

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

/// A client whose credentials expire after `seconds`.
fn expiring(harness: &mut Harness, connect: Connect, seconds: u64) -> Client {
    harness.granted = None;
    let client = harness.attempt(0, connect);
    let (_, _request) = harness.requests.pop_front().unwrap();
    let outcome = AuthenticationOutcome::Granted {
        access: Arc::new(Access::everything()),
        user: None,
        verified_user: None,
        expires_at: Some(harness.now + Duration::from_secs(seconds)),
        authentication_data: None,
    };
    harness.answer(client, outcome);
    harness.run(client, []);
    client
}

#[test]
fn a_connection_ends_when_its_credentials_expire_whatever_its_keep_alive() {
    for keep_alive in [0, 10, 1_000] {
        let mut harness = Harness::new();
        let watcher = harness.connect(transient("w"));
        harness.run(watcher, [subscribe("#", Q0)]);
        let connect = Connect { keep_alive, will: Some(will("w", "gone")), ..transient("a") };
        let client = expiring(&mut harness, connect, 100);
        for _ in 0..9 {
            harness.seconds(10);
            harness.send(client, ClientPacket::Pingreq);
        }
        harness.advance(Duration::from_millis(9_999));
        assert!(!harness.is_closed(client), "{keep_alive}");
        harness.advance(Duration::from_millis(1));
        let received = harness.received(client);
        assert_eq!(received[received.len() - 2..], ["DISCONNECT 0x87", "CLOSED"], "{keep_alive}");
        assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
    }
}

#[test]
fn credentials_that_expire_later_do_not_delay_keep_alive() {
    let mut harness = Harness::new();
    let client = expiring(&mut harness, Connect { keep_alive: 10, ..transient("a") }, 1_000);
    harness.seconds(15);
    assert_eq!(harness.received(client), ["DISCONNECT 0x8D", "CLOSED"]);
}

#[test]
fn an_expiry_is_kept_to_the_millisecond_and_one_beyond_48_bits_is_never() {
    for (time, expected) in [
        (Some(1_700_000_000_123), Timestamp(1_700_000_000_123)),
        (Some((1 << 48) - 2), Timestamp((1 << 48) - 2)),
        (Some(1 << 48), Timestamp::NEVER),
        (Some(u64::MAX), Timestamp::NEVER),
        (None, Timestamp::NEVER),
    ] {
        assert_eq!(Expiry::of(time.map(Timestamp)).time(), expected, "{time:?}");
    }
}

#[test]
fn the_next_connection_of_a_slot_does_not_inherit_an_expiry() {
    let mut harness = Harness::new();
    let client = expiring(&mut harness, transient("a"), 100);
    harness.lose(client);
    harness.granted = Some(Access::everything());
    let next = harness.connect(transient("a"));
    harness.seconds(1_000);
    assert!(!harness.is_closed(next));
}

#[test]
fn a_reauthentication_extends_the_credentials() {
    let mut harness = Harness::new();
    let mut connect = transient("a");
    connect.properties.authentication_method = Some("m".into());
    let client = expiring(&mut harness, connect, 100);
    harness.seconds(50);
    let auth = Auth::new(ReasonCode::ReAuthenticate, Some("m".into()));
    harness.send(client, ClientPacket::Auth(Box::new(auth)));
    let (_, _request) = harness.requests.pop_front().unwrap();
    harness.answer(
        client,
        AuthenticationOutcome::Granted {
            access: Arc::new(Access::everything()),
            user: None,
            verified_user: None,
            expires_at: Some(harness.now + Duration::from_secs(100)),
            authentication_data: None,
        },
    );
    harness.seconds(99);
    assert!(!harness.is_closed(client));
    harness.seconds(1);
    assert!(harness.is_closed(client));
}
