use super::harness::{Client, Harness};
use super::packets::*;
use crate::codec::{ClientPacket, Connect, Disconnect, MessageProperties, MessageProperty, ReasonCode, Will};

fn watched() -> (Harness, Client) {
    let mut harness = Harness::new();
    let watcher = harness.connect(transient("watcher"));
    harness.run(watcher, [subscribe("#", Q2)]);
    (harness, watcher)
}

fn with_will(connect: Connect, will: Will) -> Connect {
    Connect { will: Some(will), ..connect }
}

fn delayed(seconds: u32) -> Will {
    Will { will_delay_interval: seconds, ..will("w", "gone") }
}

#[test]
fn mqtt5_3_1_2_8_will_is_published_when_the_network_fails() {
    // covers: MQTT-3.1.2-7 MQTT-3.1.2-14
    for connect in [transient("a"), durable("a"), v311("a", true), v311("a", false)] {
        let (mut harness, watcher) = watched();
        let client = harness.connect(with_will(connect, will("w", "gone")));
        harness.lose(client);
        assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
    }
}

#[test]
fn mqtt5_3_1_2_10_will_is_published_once() {
    let (mut harness, watcher) = watched();
    let client = harness.connect(with_will(durable("a"), will("w", "gone")));
    harness.lose(client);
    harness.seconds(2_000);
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
    let client = harness.connect(durable("a"));
    harness.lose(client);
    assert_eq!(harness.received(watcher), [""; 0]);
}

#[test]
fn mqtt5_3_14_4_3_normal_disconnect_discards_the_will() {
    // covers: MQTT-3.1.2-10
    for connect in [transient("a"), durable("a"), v311("a", true)] {
        let (mut harness, watcher) = watched();
        let client = harness.connect(with_will(connect, delayed(5)));
        assert_eq!(harness.ask(client, disconnect(ReasonCode::Success)), ["CLOSED"]);
        harness.seconds(2_000);
        assert_eq!(harness.received(watcher), [""; 0]);
    }
}

#[test]
fn mqtt5_disconnect_with_will_message_publishes_it() {
    for reason_code in [ReasonCode::DisconnectWithWillMessage, ReasonCode::UnspecifiedError] {
        let (mut harness, watcher) = watched();
        let client = harness.connect(with_will(transient("a"), will("w", "gone")));
        assert_eq!(harness.ask(client, disconnect(reason_code)), ["CLOSED"]);
        assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
    }
}

#[test]
fn mqtt5_will_is_published_after_a_protocol_error() {
    let (mut harness, watcher) = watched();
    let client = harness.connect(with_will(transient("a"), will("w", "gone")));
    harness.send(client, ClientPacket::Connect(Box::new(transient("a"))));
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
}

#[test]
fn mqtt5_3_1_2_15_will_retain_makes_it_the_retained_message() {
    let (mut harness, _) = watched();
    let client = harness.connect(with_will(transient("a"), Will { retain: true, qos: Q1, ..will("w", "gone") }));
    harness.lose(client);
    let late = harness.connect(transient("late"));
    assert_eq!(harness.ask(late, subscribe("w", Q2)), ["SUBACK 1 02", "PUBLISH w gone q1 #1 retain"]);
}

#[test]
fn mqtt5_will_is_published_with_its_qos_properties_and_expiry() {
    // covers: MQTT-3.1.3-10
    let (mut harness, watcher) = watched();
    let user_properties = [user_property("b", "2"), user_property("a", "1"), user_property("b", "3")];
    let properties = [MessageProperty::ContentType("text".into())].into_iter().chain(user_properties);
    let properties = MessageProperties::from_properties(properties);
    let one =
        Will { qos: Q2, message_expiry_interval: Some(50), properties, will_delay_interval: 30, ..will("w", "x") };
    let expected = one.properties.clone();
    let client = harness.connect(with_will(durable("a"), one));
    harness.lose(client);
    harness.seconds(30);
    let packets = harness.packets(watcher);
    let [crate::codec::ServerPacket::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(publish.message.properties, expected);
    assert_eq!((publish.qos, publish.message_expiry_interval), (Q2, Some(50)));
}

#[test]
fn mqtt5_will_waits_for_its_delay() {
    let (mut harness, watcher) = watched();
    let client = harness.connect(with_will(durable("a"), delayed(30)));
    harness.lose(client);
    harness.seconds(29);
    assert_eq!(harness.received(watcher), [""; 0]);
    harness.seconds(1);
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
}

#[test]
fn mqtt5_delayed_will_is_published_when_the_session_ends_first() {
    let (mut harness, watcher) = watched();
    let client = harness.connect(with_will(durable("a"), delayed(5_000)));
    harness.lose(client);
    harness.seconds(999);
    assert_eq!(harness.received(watcher), [""; 0]);
    harness.seconds(1);
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
    let client = harness.connect(with_will(transient("a"), delayed(5_000)));
    harness.lose(client);
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"], "the session ends with the connection");
}

#[test]
fn mqtt5_3_1_3_9_delayed_will_is_not_sent_when_the_client_is_back_in_time() {
    let (mut harness, watcher) = watched();
    let client = harness.connect(with_will(durable("a"), delayed(30)));
    harness.lose(client);
    harness.seconds(29);
    let client = harness.connect(durable("a"));
    harness.seconds(100);
    harness.lose(client);
    harness.seconds(900);
    assert_eq!(harness.received(watcher), [""; 0]);
}

#[test]
fn mqtt5_new_connection_replaces_the_will() {
    let (mut harness, watcher) = watched();
    let client = harness.connect(with_will(durable("a"), delayed(30)));
    harness.lose(client);
    let client = harness.connect(with_will(durable("a"), will("w", "new")));
    harness.lose(client);
    assert_eq!(harness.received(watcher), ["PUBLISH w new q0"]);
}

#[test]
fn mqtt5_clean_start_ends_the_session_and_publishes_its_delayed_will() {
    let (mut harness, watcher) = watched();
    let client = harness.connect(with_will(durable("a"), delayed(30)));
    harness.lose(client);
    harness.connect(Connect { clean_start: true, ..durable("a") });
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
}

#[test]
fn mqtt5_takeover_publishes_only_an_undelayed_will() {
    let (mut harness, watcher) = watched();
    harness.connect(with_will(durable("a"), will("w", "gone")));
    harness.connect(with_will(durable("a"), delayed(30)));
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
    harness.connect(durable("a"));
    harness.seconds(900);
    assert_eq!(harness.received(watcher), [""; 0]);
}

#[test]
fn mqtt5_takeover_that_ends_the_session_publishes_a_delayed_will() {
    let (mut harness, watcher) = watched();
    harness.connect(with_will(transient("a"), delayed(30)));
    harness.connect(durable("a"));
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"], "its Session Expiry Interval was 0");
    harness.connect(with_will(durable("b"), delayed(30)));
    harness.connect(Connect { clean_start: true, ..durable("b") });
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"], "Clean Start");
}

#[test]
fn mqtt5_disconnect_that_shortens_the_session_publishes_the_will_with_it() {
    let (mut harness, watcher) = watched();
    let client = harness.connect(with_will(durable("a"), delayed(30)));
    let shorter =
        Disconnect { session_expiry_interval: Some(10), ..Disconnect::new(ReasonCode::DisconnectWithWillMessage) };
    harness.send(client, ClientPacket::Disconnect(Box::new(shorter)));
    harness.seconds(9);
    assert_eq!(harness.received(watcher), [""; 0]);
    harness.seconds(1);
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
}

#[test]
fn mqtt311_3_1_2_12_no_will_no_message() {
    let (mut harness, watcher) = watched();
    let client = harness.connect(v311("a", true));
    harness.lose(client);
    assert_eq!(harness.received(watcher), [""; 0]);
}

#[test]
fn mqtt5_will_of_a_client_that_was_never_accepted_is_not_published() {
    let (mut harness, watcher) = watched();
    harness.granted = None;
    harness.attempt(0, with_will(transient("a"), will("w", "gone")));
    harness.refuse(ReasonCode::NotAuthorized);
    let client = harness.attempt(0, with_will(transient("a"), will("w", "gone")));
    harness.lose(client);
    assert_eq!(harness.received(watcher), [""; 0]);
}
