//! Recovery after a crash between two records.

use super::harness::{Client, Harness, recovered, settings};
use super::packets::*;
use crate::broker::{DropReason, Event, QueueOverflow, Record, Recovery, StoreRoom};
use crate::codec::{ClientPacket, Connect, Disconnect, MessageProperties, ReasonCode, Will};
use crate::routing::SessionKey;

/// Transient receivers of `t` at QoS 0 and 2; then the store stops committing.
fn receivers(harness: &mut Harness) -> [Client; 2] {
    let receivers = [harness.connect(transient("z")), harness.connect(transient("v"))];
    for (receiver, qos) in receivers.into_iter().zip([Q0, Q2]) {
        harness.run(receiver, [subscribe("t", qos)]);
    }
    harness.store_answers = false;
    receivers
}

#[test]
fn all_copies_of_a_qos2_message_from_a_durable_publisher_wait_for_its_record() {
    let mut harness = Harness::new();
    let publisher = harness.connect(durable("p"));
    let [zero, two] = receivers(&mut harness);
    assert_eq!(harness.ask(publisher, publish("t", "x", Q2, 1)), [""; 0]);
    assert_eq!(harness.received(zero), [""; 0]);
    assert_eq!(harness.received(two), [""; 0]);
    harness.persist();
    assert_eq!(harness.received(zero), ["PUBLISH t x q0"]);
    assert_eq!(harness.received(two), ["PUBLISH t x q2 #1"]);
    assert_eq!(harness.received(publisher), ["PUBREC 1"]);
}

#[test]
fn copies_of_other_messages_do_not_wait_for_a_record() {
    let mut harness = Harness::new();
    let (lasting, passing) = (harness.connect(durable("p")), harness.connect(transient("q")));
    let stored = harness.connect(durable("s"));
    harness.run(stored, [subscribe("t", Q2)]);
    let [zero, two] = receivers(&mut harness);
    for (publisher, qos) in [(lasting, Q1), (passing, Q1), (passing, Q2)] {
        assert_eq!(harness.ask(publisher, publish("t", "x", qos, 1)), [""; 0]);
        assert_eq!(harness.received(zero).len(), 1, "{qos:?}");
        assert_eq!(harness.received(two).len(), 1, "{qos:?}");
    }
}

#[test]
fn copies_of_a_deduplicated_message_wait_and_later_messages_do_not_overtake_them() {
    let mut harness = Harness::new();
    let (publisher, other) = (harness.connect(transient("p")), harness.connect(transient("q")));
    let stored = harness.connect(durable("s"));
    harness.run(stored, [subscribe("u", Q1)]);
    let [zero, _] = receivers(&mut harness);
    let properties = MessageProperties::from_properties([user_property("dedup-id", "a")]);
    harness.send(publisher, ClientPacket::Publish(message("t", "1", Q1, 1).with_properties(properties)));
    harness.send(other, publish("u", "", Q1, 1));
    assert_eq!(harness.received(zero), [""; 0]);
    harness.send(publisher, publish("t", "2", Q1, 2));
    harness.persist_one(0);
    harness.send(publisher, publish("t", "3", Q1, 3));
    harness.send(other, publish("t", "4", Q1, 2));
    assert_eq!(harness.received(zero), ["PUBLISH t 1 q0", "PUBLISH t 4 q0"]);
    harness.persist();
    assert_eq!(harness.received(zero), ["PUBLISH t 2 q0", "PUBLISH t 3 q0"]);
}

#[test]
fn copies_after_a_deduplicated_message_without_receivers_wait_for_its_record() {
    let mut harness = Harness::new();
    let (publisher, other) = (harness.connect(transient("p")), harness.connect(transient("q")));
    let stored = harness.connect(durable("s"));
    harness.run(stored, [subscribe("u", Q1)]);
    harness.store_answers = false;
    harness.send(other, publish("u", "", Q1, 1));
    let properties = MessageProperties::from_properties([user_property("dedup-id", "a")]);
    harness.send(publisher, ClientPacket::Publish(message("t", "1", Q1, 1).with_properties(properties)));
    let receiver = harness.connect(transient("z"));
    harness.run(receiver, [subscribe("t", Q0)]);
    harness.send(publisher, publish("t", "2", Q1, 2));
    harness.persist_one(0);
    assert_eq!(
        harness.received(receiver),
        [""; 0],
        "if the record of the first message is lost, the first message is sent again"
    );
    harness.persist();
    assert_eq!(harness.received(receiver), ["PUBLISH t 2 q0"]);
}

/// The number of messages on `topic` that the durable subscriber `s` gets from a recovered broker.
fn count(mut harness: Harness, topic: &str) -> usize {
    harness.seconds(1);
    let subscriber = harness.connect(durable("s"));
    harness.received(subscriber).iter().filter(|line| line.starts_with(&format!("PUBLISH {topic} "))).count()
}

#[test]
fn will_is_published_once_for_a_crash_after_any_record() {
    let wills = [(1_000, Q2, 0), (0, Q2, 0), (1_000, Q1, 0), (1_000, Q2, 5), (0, Q2, 5)];
    let rooms =
        [(StoreRoom::Some, StoreRoom::Some), (StoreRoom::None, StoreRoom::Some), (StoreRoom::None, StoreRoom::None)];
    for ((session_expiry_interval, qos, will_delay_interval), (room, room_after)) in
        wills.into_iter().flat_map(|will| rooms.map(|rooms| (will, rooms)))
    {
        let mut harness = Harness::new();
        let subscriber = harness.connect(durable("s"));
        harness.run(subscriber, [subscribe("w", Q2)]);
        harness.lose(subscriber);
        let will = Will { qos, will_delay_interval, ..will("w", "gone") };
        let mut connect = Connect { will: Some(will), ..durable("c") };
        connect.properties.session_expiry_interval = session_expiry_interval;
        let client = harness.connect(connect);
        let accepted = harness.records.len();
        harness.event(0, Event::StoreRoom(room));
        harness.lose(client);
        harness.seconds(10);
        for records in accepted..=harness.records.len() {
            let mut after = harness.crash(records);
            after.event(0, Event::StoreRoom(room_after));
            after.seconds(10);
            let lost = &harness.records[accepted..records];
            assert_eq!(count(after, "w"), 1, "{qos:?}, {room:?}, {room_after:?}, crash after {lost:?}");
        }
    }
}

#[test]
fn refused_will_is_counted_and_not_recovered_after_a_crash() {
    for session_expiry_interval in [0, 1_000] {
        let mut settings = settings();
        settings.queued_messages_max = 1;
        settings.queue_overflow = QueueOverflow::Reject;
        let mut harness = Harness::with(1, settings);
        let subscriber = harness.connect(durable("s"));
        harness.run(subscriber, [subscribe("w", Q2)]);
        harness.lose(subscriber);
        let mut connect = Connect { will: Some(Will { qos: Q1, ..will("w", "gone") }), ..durable("c") };
        connect.properties.session_expiry_interval = session_expiry_interval;
        let client = harness.connect(connect);
        let publisher = harness.connect(transient("p"));
        assert_eq!(harness.ask(publisher, publish("w", "x", Q1, 1)), ["PUBACK 1"]);
        harness.lose(client);
        assert_eq!(harness.shards[0].counters().dropped[DropReason::WillRefused as usize], 1);
        let after = harness.crash(harness.records.len());
        assert_eq!(count(after, "w"), 1, "there is room, but the refused will is not published");
    }
}

#[test]
fn copies_of_a_will_wait_for_the_record_that_deletes_it() {
    let mut harness = Harness::new();
    let watcher = harness.connect(transient("v"));
    harness.run(watcher, [subscribe("w", Q2)]);
    for connect in [durable, transient] {
        let client = harness.connect(Connect { will: Some(will("w", "gone")), ..connect("c") });
        harness.store_answers = false;
        harness.lose(client);
        assert_eq!(harness.received(watcher), [""; 0]);
        harness.persist();
        assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
        harness.store_answers = true;
    }
}

/// Ends the member `a` of a share, which was sent one message and had three more queued. Returns the number of records before the end.
fn share(harness: &mut Harness, other: Connect) -> (Client, usize) {
    let mut connect = durable("a");
    connect.properties.receive_maximum = std::num::NonZeroU16::MIN;
    let member = harness.connect(connect);
    harness.run(member, [subscribe("$share/g/t", Q2)]);
    let publisher = harness.connect(transient("p"));
    for number in 1..=4 {
        let payload = ["1", "2", "3", "4"][usize::from(number) - 1];
        harness.run(publisher, [publish("t", payload, if number < 4 { Q2 } else { Q1 }, number)]);
    }
    let other = harness.connect(other);
    harness.run(other, [subscribe("$share/g/t", Q2)]);
    let before_end = harness.records.len();
    harness.store_answers = false;
    let mut disconnect = Disconnect::new(ReasonCode::NormalDisconnection);
    disconnect.session_expiry_interval = Some(0);
    harness.send(member, ClientPacket::Disconnect(Box::new(disconnect)));
    (other, before_end)
}

#[test]
fn message_of_a_share_is_in_one_queue_for_a_crash_after_any_record() {
    let mut harness = Harness::new();
    let (other, before_end) = share(&mut harness, durable("b"));
    harness.persist();
    assert_eq!(harness.received(other).len(), 3);
    for records in before_end..=harness.records.len() {
        let mut after = harness.crash(records);
        let members = [after.connect(durable("a")), after.connect(durable("b"))];
        let lines: Vec<String> = members.into_iter().flat_map(|member| after.received(member)).collect();
        for payload in ["2", "3", "4"] {
            let copies = lines.iter().filter(|line| line.starts_with(&format!("PUBLISH t {payload} "))).count();
            assert_eq!(copies, 1, "{payload}, crash after {:?}", &harness.records[before_end..records]);
        }
    }
}

#[test]
fn message_of_a_share_goes_to_a_transient_member_when_its_old_record_is_deleted() {
    let mut harness = Harness::new();
    let (other, _) = share(&mut harness, transient("b"));
    assert_eq!(harness.received(other), [""; 0]);
    harness.persist();
    assert_eq!(harness.received(other).len(), 3);
}

#[test]
fn message_recorded_after_the_end_of_its_session_is_deleted_from_the_store() {
    let mut harness = Harness::with(2, super::harness::settings());
    let member = harness.connect(durable("a"));
    harness.run(member, [subscribe("t", Q2)]);
    let publisher = harness.connect_to(1, transient("p"));
    harness.store_answers = false;
    harness.send(publisher, publish("t", "x", Q2, 1));
    let Some(accepted @ Record::Accepted { .. }) = harness.records.pop() else { panic!() };
    let mut disconnect = Disconnect::new(ReasonCode::NormalDisconnection);
    disconnect.session_expiry_interval = Some(0);
    harness.send(member, ClientPacket::Disconnect(Box::new(disconnect)));
    harness.records.push(accepted); // shards append to one log independently of each other
    harness.persist();
    assert!(recovered(&harness.records).orphans.is_empty());
}

#[test]
fn mqtt5_3_3_1_1_message_that_was_never_sent_has_no_dup_after_two_crashes() {
    let mut harness = Harness::new();
    let [subscriber, publisher] = [durable("s"), transient("p")].map(|connect| harness.connect(connect));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q1, 2)]);
    harness.run(subscriber, [puback(1), puback(2)]);
    harness.lose(subscriber);
    let mut harness = harness.crash(harness.records.len());
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "3", Q1, 1)]);
    let mut harness = harness.crash(harness.records.len());
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), ["PUBLISH t 3 q1 #1"]);
}

#[test]
fn a_record_with_numbers_that_no_counter_reaches_is_unreadable() {
    let opened = |key| Record::SessionOpened {
        key: SessionKey(key),
        client_id: "a".into(),
        owner: crate::broker::Owner::Anonymous,
        session_expiry_interval: u32::MAX,
        will: None,
    };
    let released = |sequence| Record::OutboundReleased { key: SessionKey(1), sequence, is_of_link: false };
    for impossible in [opened(0), opened(u64::MAX), released(0), released(u64::MAX)] {
        let mut recovery = Recovery::default();
        let bytes = impossible.to_bytes();
        recovery.apply(&bytes.body, (&bytes.puts, &bytes.parts.list()), &bytes.deletes, bytes.ends);
        let recovered = recovery.finish();
        assert_eq!((recovered.unreadable, recovered.sessions.len()), (1, 0), "{impossible:?}");
    }
}

#[test]
fn a_record_with_keys_of_kinds_that_are_never_together_is_unreadable() {
    let key = |kind, id| crate::broker::RecordKey { group: 1, kind, id };
    // A released message and a subscription, whose number may be 0, which no message has.
    let mut recovery = Recovery::default();
    recovery.apply(&[], (&[key(6, 2), key(3, 0)], &[]), &[], None);
    assert_eq!(recovery.sessions_left(), "[]");
    assert_eq!(recovery.finish().unreadable, 1);
}

#[test]
fn a_live_record_of_a_kind_that_a_later_version_wrote_is_reported() {
    let key = |kind| crate::broker::RecordKey { group: 1, kind, id: 3 };
    let unknown = |changes: &[(&[u8], &[u8], Option<u64>)]| {
        let mut recovery = Recovery::default();
        for (puts, deletes, ends) in changes {
            let keys = |kinds: &[u8]| kinds.iter().copied().map(key).collect::<Vec<_>>();
            recovery.apply(b"body", (&keys(puts), &[]), &keys(deletes), *ends);
        }
        recovery.finish().unknown_kinds
    };
    assert_eq!(unknown(&[(&[11], &[], None), (&[200], &[], None), (&[11, 0], &[], None)]), [0, 11, 200]);
    assert_eq!(unknown(&[(&[11, 12], &[], None), (&[], &[11], None)]), [12]);
    assert_eq!(unknown(&[(&[11], &[], None), (&[], &[], Some(1))]), [0; 0]);
    assert_eq!(unknown(&[(&[10], &[], None), (&[], &[11], None)]), [0; 0]);
}
