//! Listeners where Client Identifiers depend on user names.

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{ClientIds, Settings};
use crate::codec::{Connect, ServerPacket};

fn with(client_ids: ClientIds) -> Harness {
    let mut harness = Harness::with(2, Settings { client_id_length_max: 30, ..settings() });
    (harness.verifies, harness.client_ids) = (true, client_ids);
    harness
}

fn of(user: &str, connect: Connect) -> Connect {
    Connect { user_name: (!user.is_empty()).then(|| user.into()), ..connect }
}

/// The Assigned Client Identifier in the CONNACK, and whether it has a Reason String.
fn assigned(harness: &mut Harness, client: Client) -> (Option<String>, bool) {
    let packets = harness.packets(client);
    let [ServerPacket::Connack(connack), ..] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(show(&packets[0]).get(..12), Some("CONNACK 0x00"), "{packets:?}");
    let properties = &connack.properties;
    (properties.assigned_client_identifier.as_ref().map(ToString::to_string), properties.reason_string.is_some())
}

#[test]
fn the_client_identifier_is_the_user_name_and_a_5_0_client_is_told() {
    let mut harness = with(ClientIds::UserName);
    for (sent, expected) in
        [("victim", (None, true)), ("", (Some("alice".to_owned()), false)), ("alice", (None, false))]
    {
        let client = harness.attempt(0, of("alice", transient(sent)));
        assert_eq!(assigned(&mut harness, client), expected, "{sent:?}");
        let found = harness.shards[0].identity(client.id).map(|(client_id, ..)| client_id.to_string());
        assert_eq!(found.as_deref(), Some("alice"), "{sent:?}");
        harness.lose(client);
    }
    let old = harness.attempt(0, of("alice", v311("victim", true)));
    assert_eq!(assigned(&mut harness, old), (None, false), "3.1.1 has no properties");
    assert_eq!(harness.shards[0].identity(old.id).unwrap().0.as_str(), "alice");
}

#[test]
fn the_session_is_that_of_the_user_whatever_the_client_sends_and_a_second_connection_takes_it_over() {
    let mut harness = with(ClientIds::UserName);
    let first = harness.connect_to(0, of("alice", durable("one")));
    harness.run(first, [subscribe("t", Q1)]);
    let second = harness.attempt(1, of("alice", durable("two")));
    assert_eq!(harness.received(second), ["CONNACK 0x00 present"]);
    assert_eq!(harness.received(first), ["DISCONNECT 0x8E", "CLOSED"]);
    let bob = harness.attempt(0, of("bob", durable("alice")));
    assert_eq!(harness.received(bob), ["CONNACK 0x00"], "its Session is another one");
    harness.run(bob, [publish("t", "x", Q1, 1)]);
    assert_eq!(harness.received(second), ["PUBLISH t x q1 #1"]);
}

#[test]
fn who_is_no_verified_user_is_refused_where_client_identifiers_depend_on_users() {
    for client_ids in [ClientIds::UserName, ClientIds::MustBeUserName] {
        let mut harness = with(client_ids);
        for connect in [transient("a"), transient("")] {
            let client = harness.attempt(0, connect);
            assert_eq!(harness.received(client), ["CONNACK 0x87", "CLOSED"], "{client_ids:?}");
        }
    }
}

#[test]
fn a_client_that_must_send_its_user_name_is_refused_with_another_identifier_or_none() {
    let mut harness = with(ClientIds::MustBeUserName);
    for (sent, expected) in
        [("alice", &["CONNACK 0x00"][..]), ("Alice", &["CONNACK 0x85", "CLOSED"]), ("", &["CONNACK 0x85", "CLOSED"])]
    {
        let client = harness.attempt(0, of("alice", transient(sent)));
        assert_eq!(harness.received(client), expected, "{sent:?}");
    }
}

#[test]
fn a_user_name_that_is_too_long_for_a_client_identifier_is_refused() {
    let mut harness = with(ClientIds::UserName);
    for (length, expected) in [(30, &["CONNACK 0x00"][..]), (31, &["CONNACK 0x85", "CLOSED"])] {
        let client = harness.attempt(0, of(&"u".repeat(length), transient("a")));
        assert_eq!(harness.received(client), expected, "{length}");
    }
}
