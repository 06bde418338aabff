use std::num::NonZeroU32;

use super::harness::{Client, Harness, granted};
use super::packets::*;
use crate::broker::{AuthenticationOutcome, AuthenticationStep};
use crate::codec::{Auth, ClientPacket, Connect, ReasonCode, ServerPacket};
use crate::routing::Access;

fn with_method(method: &'static str) -> Connect {
    let mut connect = transient("a");
    connect.properties.authentication_method = Some(method.into());
    connect.properties.authentication_data = Some("first".into());
    connect
}

fn auth(reason_code: ReasonCode, method: Option<&'static str>, data: &'static str) -> ClientPacket {
    let auth = Auth::new(reason_code, method.map(Into::into));
    ClientPacket::Auth(Box::new(Auth { authentication_data: Some(data.into()), ..auth }))
}

fn answer(method: &'static str) -> ClientPacket {
    auth(ReasonCode::ContinueAuthentication, Some(method), "more")
}

fn with_manual_authentication() -> Harness {
    let mut harness = Harness::new();
    harness.granted = None;
    harness
}

fn pass_provider(harness: &mut Harness) {
    let (client, _) = harness.requests.pop_front().unwrap();
    harness.answer(client, AuthenticationOutcome::Continue { authentication_data: Some("challenge".into()) });
}

/// A client with full access that authenticated with the method `m`.
fn accepted() -> (Harness, Client) {
    let mut harness = with_manual_authentication();
    let client = harness.attempt(0, with_method("m"));
    harness.grant(Access::everything(), None);
    harness.run(client, []);
    (harness, client)
}

#[test]
fn mqtt5_4_12_0_2_server_may_continue_with_auth() {
    // covers: MQTT-4.12.0-3 MQTT-4.12.0-5
    let mut harness = with_manual_authentication();
    let client = harness.attempt(0, with_method("m"));
    let (_, request) = &harness.requests[0];
    assert_eq!((request.method.as_deref(), request.data.as_deref()), (Some("m"), Some(&b"first"[..])));
    assert_eq!(request.step, AuthenticationStep::Connect);
    pass_provider(&mut harness);
    assert_eq!(harness.received(client), ["AUTH 0x18 m challenge"]);
    harness.send(client, answer("m"));
    let (_, request) = &harness.requests[0];
    assert_eq!((request.data.as_deref(), request.step), (Some(&b"more"[..]), AuthenticationStep::Continue));
    pass_provider(&mut harness);
    harness.send(client, answer("m"));
    harness.grant(Access::everything(), Some("proof"));
    let packets = harness.packets(client);
    let [ServerPacket::Auth(_), ServerPacket::Connack(connack)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(connack.properties.authentication_method.as_deref(), Some("m"));
    assert_eq!(connack.properties.authentication_data.as_deref(), Some(&b"proof"[..]));
}

#[test]
fn mqtt5_3_1_2_24_an_auth_packet_larger_than_the_client_accepts_is_not_sent() {
    for (maximum, expected) in
        [(20, &["AUTH 0x18 m challenge"][..]), (19, &["CONNACK 0x95", "CLOSED"]), (2, &["CLOSED"])]
    {
        let mut harness = with_manual_authentication();
        let mut connect = with_method("m");
        connect.properties.maximum_packet_size = NonZeroU32::new(maximum);
        let client = harness.attempt(0, connect);
        pass_provider(&mut harness);
        assert_eq!(harness.received(client), expected, "Maximum Packet Size {maximum}");
    }
}

#[test]
fn mqtt5_4_12_0_4_server_may_reject_at_any_point() {
    // covers: MQTT-4.12.0-1
    let mut harness = with_manual_authentication();
    let client = harness.attempt(0, with_method("unknown"));
    harness.refuse(ReasonCode::BadAuthenticationMethod);
    assert_eq!(harness.received(client), ["CONNACK 0x8C", "CLOSED"]);
    let client = harness.attempt(0, with_method("m"));
    pass_provider(&mut harness);
    harness.send(client, answer("m"));
    harness.refuse(ReasonCode::NotAuthorized);
    assert_eq!(harness.received(client), ["AUTH 0x18 m challenge", "CONNACK 0x87", "CLOSED"]);
}

#[test]
fn mqtt5_3_1_2_30_only_auth_may_come_before_connack() {
    for packet in [publish("t", "x", Q0, 0), answer("other"), auth(ReasonCode::ReAuthenticate, Some("m"), "")] {
        let mut harness = with_manual_authentication();
        let client = harness.attempt(0, with_method("m"));
        pass_provider(&mut harness);
        harness.send(client, packet);
        assert_eq!(harness.received(client), ["AUTH 0x18 m challenge", "CONNACK 0x82", "CLOSED"]);
    }
}

#[test]
fn mqtt5_malformed_packet_during_authentication_is_answered_with_connack() {
    let mut harness = with_manual_authentication();
    let client = harness.attempt(0, with_method("m"));
    pass_provider(&mut harness);
    harness.undecodable(client, crate::codec::DecodeError::Truncated, None);
    assert_eq!(harness.received(client), ["AUTH 0x18 m challenge", "CONNACK 0x81", "CLOSED"]);
}

#[test]
fn mqtt5_3_1_2_30_client_may_disconnect_during_authentication() {
    let mut harness = with_manual_authentication();
    let client = harness.attempt(0, with_method("m"));
    pass_provider(&mut harness);
    harness.run(client, []);
    assert_eq!(harness.ask(client, disconnect(ReasonCode::Success)), ["CLOSED"]);
}

#[test]
fn mqtt5_authentication_that_takes_too_long_is_refused() {
    let mut harness = with_manual_authentication();
    let client = harness.attempt(0, with_method("m"));
    pass_provider(&mut harness);
    harness.seconds(10);
    assert_eq!(harness.received(client), ["AUTH 0x18 m challenge", "CONNACK 0x89", "CLOSED"]);
}

#[test]
fn mqtt5_4_12_0_6_without_a_method_there_is_no_auth() {
    let mut harness = with_manual_authentication();
    let client = harness.attempt(0, transient("a"));
    pass_provider(&mut harness);
    let lines = harness.received(client);
    assert!(lines[0].starts_with("CONNACK 0x8") && lines.last().unwrap() == "CLOSED", "{lines:?}");
    let client = harness.attempt(0, transient("a"));
    harness.grant(Access::everything(), None);
    let packets = harness.packets(client);
    let [ServerPacket::Connack(connack)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(connack.properties.authentication_method, None);
}

#[test]
fn mqtt5_4_12_0_7_auth_of_a_client_without_a_method_is_a_protocol_error() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    let packet = auth(ReasonCode::ReAuthenticate, Some("m"), "");
    assert_eq!(harness.ask(client, packet), ["DISCONNECT 0x82", "CLOSED"]);
}

#[test]
fn mqtt5_4_12_1_1_client_may_authenticate_again() {
    let (mut harness, client) = accepted();
    harness.send(client, auth(ReasonCode::ReAuthenticate, Some("m"), "again"));
    assert!(harness.is_paused(client));
    assert_eq!(harness.requests[0].1.step, AuthenticationStep::Reauthenticate);
    pass_provider(&mut harness);
    assert_eq!(harness.received(client), ["AUTH 0x18 m challenge"]);
    harness.send(client, answer("m"));
    let (client, _) = harness.requests.pop_front().unwrap();
    harness.answer(client, granted(Access::new(Vec::new()), Some("proof")));
    assert_eq!(harness.received(client), ["AUTH 0x00 m proof"]);
    assert_eq!(harness.ask(client, publish("t", "x", Q1, 1)), ["PUBACK 1 0x87"], "the new access rules apply");
}

#[test]
fn mqtt5_4_12_1_2_failed_reauthentication_disconnects() {
    let (mut harness, client) = accepted();
    harness.send(client, auth(ReasonCode::ReAuthenticate, Some("m"), "again"));
    harness.refuse(ReasonCode::NotAuthorized);
    assert_eq!(harness.received(client), ["DISCONNECT 0x87", "CLOSED"]);
}

#[test]
fn mqtt5_4_12_0_5_another_method_is_a_protocol_error() {
    for method in [Some("other"), None] {
        let (mut harness, client) = accepted();
        let packet = auth(ReasonCode::ReAuthenticate, method, "again");
        assert_eq!(harness.ask(client, packet), ["DISCONNECT 0x82", "CLOSED"]);
    }
}

#[test]
fn mqtt5_auth_with_success_from_the_client_is_a_protocol_error() {
    let (mut harness, client) = accepted();
    let packet = auth(ReasonCode::Success, Some("m"), "");
    assert_eq!(harness.ask(client, packet), ["DISCONNECT 0x82", "CLOSED"]);
}
