use super::harness::Harness;
use super::packets::*;
use crate::broker::{Record, RetainedChange, Settings};

/// A durable subscriber to `t`, a durable and a transient client; then the store stops committing.
fn slow_store() -> (Harness, [super::harness::Client; 3]) {
    let mut harness = Harness::new();
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let clients = [subscriber, harness.connect(durable("d")), harness.connect(transient("v"))];
    harness.store_answers = false;
    (harness, clients)
}

#[test]
fn connack_of_a_durable_session_waits_and_of_a_transient_one_does_not() {
    let (mut harness, _) = slow_store();
    let transient = harness.attempt(0, transient("x"));
    assert_eq!(harness.received(transient), ["CONNACK 0x00"]);
    for connect in [durable("y"), v311("z", false)] {
        let durable = harness.attempt(0, connect);
        assert_eq!(harness.received(durable), [""; 0]);
        harness.persist();
        assert_eq!(harness.received(durable), ["CONNACK 0x00"]);
    }
}

#[test]
fn mqtt5_3_1_2_4_connack_of_a_clean_start_waits_for_the_end_of_the_stored_session() {
    for shards in [1, 2] {
        let mut harness = Harness::with(shards, super::harness::settings());
        harness.connect(durable("y"));
        harness.store_answers = false;
        let again = harness.attempt(shards - 1, transient("y"));
        assert_eq!(harness.received(again), [""; 0]);
        harness.persist();
        assert_eq!(harness.received(again), ["CONNACK 0x00"]);
    }
}

#[test]
fn puback_and_pubrec_wait_for_the_record_of_a_message_to_a_durable_session() {
    let (mut harness, [subscriber, durable, transient]) = slow_store();
    for publisher in [durable, transient] {
        assert_eq!(harness.ask(publisher, publish("t", "1", Q1, 1)), [""; 0]);
        assert_eq!(harness.ask(publisher, publish("t", "2", Q2, 2)), [""; 0]);
        assert_eq!(harness.received(subscriber), [""; 0], "delivery waits for the record, too");
        harness.persist();
        assert_eq!(harness.received(publisher), ["PUBACK 1", "PUBREC 2"]);
        assert_eq!(harness.received(subscriber).len(), 2);
    }
}

#[test]
fn with_a_replicated_log_each_acknowledgement_waits_for_a_record_of_its_own() {
    let settings = Settings { is_replicated: true, ..super::harness::settings() };
    for shards in [1, 2] {
        let mut harness = Harness::with(shards, settings.clone());
        let (publisher, receiver) = (harness.connect(transient("v")), harness.connect(transient("r")));
        harness.run(receiver, [subscribe("u", Q2)]);
        harness.store_answers = false;
        for (topic, copies) in [("u", 3), ("nobody", 0)] {
            assert_eq!(harness.ask(publisher, publish(topic, "0", Q0, 0)), [""; 0]);
            let records = harness.records.len();
            assert_eq!(harness.ask(publisher, publish(topic, "1", Q1, 1)), [""; 0]);
            assert_eq!(harness.ask(publisher, publish(topic, "2", Q2, 2)), [""; 0]);
            assert_eq!(harness.received(receiver).len(), copies, "copies that nobody stores do not wait");
            assert_eq!(harness.records.len(), records + 2, "and none for QoS 0");
            harness.persist();
            let answers = harness.received(publisher);
            assert!(answers[0].starts_with("PUBACK 1") && answers[1].starts_with("PUBREC 2"), "{answers:?}");
            harness.ask(publisher, pubrel(2));
            harness.run(receiver, [puback(1)]);
        }
    }
}

#[test]
fn with_a_replicated_log_connack_and_suback_wait_for_a_record_of_their_own() {
    let settings = Settings { is_replicated: true, ..super::harness::settings() };
    for shards in [1, 2] {
        let mut harness = Harness::with(shards, settings.clone());
        let publisher = harness.connect(transient("v"));
        harness.run(publisher, [retain("r", "x", Q1, 1)]);
        // Also one that changes nothing in the stored Session, which is connected already.
        for connect in [transient("t"), durable("d"), durable("d"), v311("o", true)] {
            harness.store_answers = false;
            let client = harness.attempt(shards - 1, connect);
            assert_eq!(harness.received(client), [""; 0]);
            harness.persist();
            assert!(harness.received(client)[0].starts_with("CONNACK"));
            assert_eq!(harness.ask(client, subscribe("r", Q0)), [""; 0], "neither SUBACK nor the retained message");
            harness.persist();
            assert_eq!(harness.received(client), ["SUBACK 1 00", "PUBLISH r x q0 retain"]);
            harness.store_answers = true;
        }
    }
}

#[test]
fn puback_for_transient_receivers_does_not_wait() {
    let (mut harness, [_, durable, transient]) = slow_store();
    harness.run(transient, [subscribe("u", Q2)]);
    let records = harness.records.len();
    assert_eq!(harness.ask(durable, publish("u", "1", Q1, 1)), ["PUBACK 1"]);
    assert_eq!(harness.received(transient), ["PUBLISH u 1 q1 #1"]);
    assert_eq!(harness.records.len(), records);
}

#[test]
fn received_identifier_of_a_durable_publisher_is_in_the_record_of_its_message() {
    let (mut harness, [_, durable, _]) = slow_store();
    assert_eq!(harness.ask(durable, publish("t", "x", Q2, 5)), [""; 0]);
    let Some(Record::Accepted { publisher, receivers, retained, .. }) = harness.records.last() else { panic!() };
    assert_eq!(publisher.map(|(_, packet_id)| packet_id), Some(id(5)));
    assert_eq!((receivers.len(), retained), (1, &RetainedChange::None));
    assert_eq!(harness.ask(durable, publish("none", "x", Q2, 6)), [""; 0], "also without a receiver");
    harness.persist();
    assert_eq!(harness.received(durable), ["PUBREC 5", "PUBREC 6 0x10"]);
}

#[test]
fn resent_qos2_publish_waits_for_the_same_record() {
    let (mut harness, [_, durable, _]) = slow_store();
    assert_eq!(harness.ask(durable, publish("t", "x", Q2, 5)), [""; 0]);
    assert_eq!(harness.ask(durable, publish("t", "x", Q2, 5)), [""; 0]);
    harness.persist();
    assert_eq!(harness.received(durable), ["PUBREC 5", "PUBREC 5"]);
}

#[test]
fn retained_message_is_stable_before_its_puback() {
    let (mut harness, [_, _, transient]) = slow_store();
    assert_eq!(harness.ask(transient, retain("r", "x", Q1, 1)), [""; 0]);
    harness.persist();
    assert_eq!(harness.received(transient), ["PUBACK 1 0x10"]);
}

#[test]
fn pubcomp_waits_for_the_release_of_the_identifier() {
    let (mut harness, [_, durable, transient]) = slow_store();
    harness.store_answers = true;
    harness.run(durable, [publish("t", "x", Q2, 5)]);
    harness.run(transient, [publish("t", "x", Q2, 5)]);
    harness.store_answers = false;
    assert_eq!(harness.ask(durable, pubrel(5)), [""; 0]);
    assert_eq!(harness.ask(transient, pubrel(5)), ["PUBCOMP 5"]);
    harness.persist();
    assert_eq!(harness.received(durable), ["PUBCOMP 5"]);
}

#[test]
fn pubrel_waits_for_the_record_of_pubrec() {
    let (mut harness, [subscriber, _, transient]) = slow_store();
    harness.store_answers = true;
    harness.run(transient, [subscribe("t", Q2), publish("t", "x", Q2, 5)]);
    harness.run(subscriber, []);
    harness.store_answers = false;
    assert_eq!(harness.ask(transient, pubrec(1)), ["PUBREL 1"]);
    assert_eq!(harness.ask(subscriber, pubrec(1)), [""; 0]);
    harness.persist();
    assert_eq!(harness.received(subscriber), ["PUBREL 1"]);
}

#[test]
fn pubrel_waits_for_the_record_even_if_the_message_is_resent() {
    let (mut harness, [subscriber, _, transient]) = slow_store();
    harness.store_answers = true;
    harness.run(transient, [publish("t", "1", Q2, 5), publish("t", "2", Q2, 6)]);
    harness.lose(subscriber);
    let mut connect = durable("s");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
    let subscriber = harness.connect(connect);
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q2 #1 dup"]);
    harness.store_answers = false;
    harness.send(subscriber, pubrec(2));
    harness.send(subscriber, ack_refused(1));
    let lines = harness.received(subscriber);
    assert!(!lines.contains(&"PUBREL 2".to_owned()), "{lines:?}");
}

fn ack_refused(number: u16) -> crate::codec::ClientPacket {
    let ack = crate::codec::Ack::new(id(number), crate::codec::ReasonCode::UnspecifiedError);
    crate::codec::ClientPacket::Pubrec(ack)
}

#[test]
fn suback_and_unsuback_wait_for_the_change() {
    let (mut harness, [_, durable, transient]) = slow_store();
    assert_eq!(harness.ask(transient, subscribe("u", Q0)), ["SUBACK 1 00"]);
    assert_eq!(harness.ask(transient, unsubscribe(2, &["u"])), ["UNSUBACK 2 00"]);
    assert_eq!(harness.ask(durable, subscribe("u", Q0)), [""; 0]);
    assert_eq!(harness.ask(durable, unsubscribe(2, &["u"])), [""; 0]);
    harness.persist();
    assert_eq!(harness.received(durable), ["SUBACK 1 00", "UNSUBACK 2 00"]);
}

#[test]
fn responses_keep_their_order_if_one_waits() {
    let (mut harness, [_, _, transient]) = slow_store();
    harness.send(transient, publish("t", "1", Q1, 1));
    harness.send(transient, publish("none", "2", Q1, 2));
    harness.send(transient, subscribe("u", Q0));
    harness.send(transient, crate::codec::ClientPacket::Pingreq);
    assert_eq!(harness.received(transient), ["PINGRESP"], "PINGRESP does not wait");
    harness.persist();
    assert_eq!(harness.received(transient), ["PUBACK 1", "PUBACK 2 0x10", "SUBACK 1 00"]);
}

#[test]
fn deletion_from_a_queue_does_not_wait() {
    let (mut harness, [subscriber, _, transient]) = slow_store();
    harness.send(transient, publish("t", "1", Q1, 1));
    harness.persist();
    assert_eq!(harness.received(subscriber), ["PUBLISH t 1 q1 #1"]);
    harness.run(subscriber, [puback(1)]);
    assert!(matches!(harness.records.last(), Some(Record::Done { sequence: 1, .. })));
    assert_eq!(harness.ask(subscriber, crate::codec::ClientPacket::Pingreq), ["PINGRESP"]);
}

#[test]
fn transient_sessions_are_never_recorded() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("a"));
    harness.run(client, [subscribe("t", Q2), publish("t", "x", Q2, 1), pubrel(1), pubrec(1), pubcomp(1)]);
    harness.run(client, [unsubscribe(3, &["t"])]);
    harness.lose(client);
    assert!(harness.records.is_empty());
}

#[test]
fn session_that_disconnect_ends_is_recorded_as_ended() {
    let (mut harness, [subscriber, ..]) = slow_store();
    let mut disconnect = crate::codec::Disconnect::new(crate::codec::ReasonCode::NormalDisconnection);
    disconnect.session_expiry_interval = Some(0);
    harness.run(subscriber, [crate::codec::ClientPacket::Disconnect(Box::new(disconnect))]);
    assert!(matches!(harness.records.last(), Some(Record::SessionEnded { .. })));
}
