use super::harness::{Client, Harness};
use super::packets::*;
use crate::codec::{Ack, ClientPacket, Connect, Disconnect, ReasonCode};

/// Two members of a share on `t`, and a publisher.
fn share(first: Connect, second: Connect) -> (Harness, Client, Client, Client) {
    let mut harness = Harness::new();
    let first = harness.connect(first);
    let second = harness.connect(second);
    harness.run(first, [subscribe("$share/g/t", Q2)]);
    harness.run(second, [subscribe("$share/g/t", Q2)]);
    let publisher = harness.connect(transient("p"));
    (harness, first, second, publisher)
}

#[test]
fn mqtt5_4_8_2_each_message_goes_to_one_member_in_turn() {
    let (mut harness, first, second, publisher) = share(transient("a"), transient("b"));
    for payload in ["1", "2", "3", "4"] {
        harness.run(publisher, [publish("t", payload, Q0, 0)]);
    }
    assert_eq!(harness.received(first), ["PUBLISH t 1 q0", "PUBLISH t 3 q0"]);
    assert_eq!(harness.received(second), ["PUBLISH t 2 q0", "PUBLISH t 4 q0"]);
}

#[test]
fn mqtt5_4_8_2_3_granted_qos_of_the_chosen_member_is_respected() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("$share/g/t", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q2, 1)]);
    assert_eq!(harness.received(client), ["PUBLISH t x q1 #1"]);
}

#[test]
fn mqtt5_share_and_plain_subscription_get_a_copy_each_and_shares_are_apart() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("$share/g/t", Q0), subscribe("$share/h/t", Q0), subscribe("t", Q0)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q0, 0)]);
    assert_eq!(harness.received(client), ["PUBLISH t x q0"; 3]);
}

#[test]
fn mqtt5_member_with_a_connection_is_preferred_and_one_without_queues() {
    let (mut harness, first, second, publisher) = share(durable("a"), durable("b"));
    harness.lose(first);
    for number in 1..=3 {
        harness.run(publisher, [publish("t", "x", Q1, number)]);
    }
    assert_eq!(harness.received(second).len(), 3);
    harness.run(second, [puback(1), puback(2), puback(3)]);
    harness.lose(second);
    harness.run(publisher, [publish("t", "y", Q1, 4)]);
    let (first, second) = (harness.connect(durable("a")), harness.connect(durable("b")));
    let lines = [harness.received(first), harness.received(second)].concat();
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn mqtt5_4_8_2_qos1_message_goes_to_another_member_when_the_session_ends() {
    let (mut harness, first, second, publisher) = share(transient("a"), transient("b"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    assert_eq!(harness.received(first), ["PUBLISH t x q1 #1"]);
    harness.lose(first);
    assert_eq!(harness.received(second), ["PUBLISH t x q1 #1"]);
}

#[test]
fn mqtt5_3_8_4_8_message_goes_on_at_the_lower_of_its_own_qos_and_what_the_next_member_is_granted() {
    for (make, restarts) in [(transient as fn(&str) -> Connect, false), (durable, false), (durable, true)] {
        let mut harness = Harness::new();
        let first = harness.connect(make("a"));
        harness.run(first, [subscribe("$share/g/t", Q1)]);
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [publish("t", "x", Q2, 1)]);
        assert_eq!(harness.received(first), ["PUBLISH t x q1 #1"]);
        let second = harness.connect(make("b"));
        harness.run(second, [subscribe("$share/g/t", Q2)]);
        harness.lose(first);
        let second = if restarts {
            harness.restart(super::harness::settings());
            harness.connect(make("b"))
        } else {
            second
        };
        harness.seconds(1_000);
        assert_eq!(harness.received(second), ["PUBLISH t x q2 #1"], "{restarts}");
    }
}

#[test]
fn mqtt5_4_8_2_qos1_message_stays_with_a_session_that_goes_on() {
    let (mut harness, first, second, publisher) = share(durable("a"), durable("b"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    harness.lose(first);
    assert_eq!(harness.received(second), [""; 0]);
    harness.seconds(1_000);
    assert_eq!(harness.received(second), ["PUBLISH t x q1 #1"], "the first session has ended");
}

#[test]
fn mqtt5_4_8_2_4_qos2_message_is_completed_with_its_member() {
    let (mut harness, first, second, publisher) = share(durable("a"), durable("b"));
    harness.run(publisher, [publish("t", "x", Q2, 1)]);
    harness.lose(first);
    let first = harness.connect(durable("a"));
    assert_eq!(harness.received(first), ["PUBLISH t x q2 #1 dup"]);
    assert_eq!(harness.received(second), [""; 0]);
}

#[test]
fn mqtt5_4_8_2_5_qos2_message_that_was_sent_goes_to_no_other_member() {
    let mut one = transient("a");
    one.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
    let (mut harness, first, second, publisher) = share(one, transient("b"));
    for (number, payload) in [(1, "sent"), (2, "b's"), (3, "never sent"), (4, "b's")] {
        harness.run(publisher, [publish("t", payload, Q2, number)]);
    }
    assert_eq!(harness.received(first), ["PUBLISH t sent q2 #1"]);
    harness.run(second, []);
    harness.lose(first);
    assert_eq!(harness.received(second), ["PUBLISH t never sent q2 #3"]);
}

#[test]
fn mqtt5_4_8_2_6_refused_message_goes_to_no_other_member() {
    let (mut harness, first, second, publisher) = share(transient("a"), transient("b"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    harness.run(first, [ClientPacket::Puback(Ack::new(id(1), ReasonCode::UnspecifiedError))]);
    harness.lose(first);
    assert_eq!(harness.received(second), [""; 0]);
}

#[test]
fn mqtt5_unsubscribed_member_gets_nothing_more() {
    let (mut harness, first, second, publisher) = share(transient("a"), transient("b"));
    harness.run(first, [unsubscribe(1, &["$share/g/t"])]);
    harness.run(publisher, [publish("t", "1", Q0, 0), publish("t", "2", Q0, 0)]);
    assert_eq!(harness.received(first), [""; 0]);
    assert_eq!(harness.received(second).len(), 2);
}

#[test]
fn qos1_message_that_waits_for_its_record_goes_to_another_member_when_the_session_ends() {
    let (mut harness, first, second, publisher) = share(durable("a"), transient("b"));
    harness.store_answers = false;
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    let mut disconnect = Disconnect::new(ReasonCode::NormalDisconnection);
    disconnect.session_expiry_interval = Some(0);
    harness.run(first, [ClientPacket::Disconnect(Box::new(disconnect))]);
    assert_eq!(harness.received(second), [""; 0]);
    harness.persist();
    assert_eq!(harness.received(second), ["PUBLISH t x q1 #1"]);
}
