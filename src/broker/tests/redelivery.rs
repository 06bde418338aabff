//! Messages that a subscriber refuses, and that it gets again.

use std::time::Duration;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Backoff, DropReason, QueueHead, QueueOverflow, Record, RedeliveryRule, RedeliveryRules, Settings};
use crate::codec::{Ack, ClientPacket, Message, MessageProperties, MessageProperty, Publish, ReasonCode, ServerPacket};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

pub(super) fn rule(filter: &str, attempts: u16, keeps_order: bool) -> RedeliveryRule {
    RedeliveryRule {
        topic_filter: TopicFilter::new(filter.to_owned().into()).unwrap(),
        attempts,
        backoff: Backoff { first: Duration::from_secs(2), factor: 2, most: Duration::from_secs(5), jitter: 0 },
        dead_letter_topic: Some(topic("dead")),
        keeps_order,
    }
}

/// Three attempts, after 2 and 4 seconds. The contents are in memory.
fn with_rule() -> Settings {
    Settings { redelivery: RedeliveryRules::new([rule("#", 3, false)]), ..settings() }
}

/// The same, with a store.
pub(super) fn stored() -> Settings {
    let head = QueueHead { messages_max: 2, bytes_max: 100_000, away_share: 1 };
    Settings { queue_head: Some(head), ..with_rule() }
}

pub(super) fn ordered() -> Settings {
    Settings { redelivery: RedeliveryRules::new([rule("#", 3, true)]), ..stored() }
}

pub(super) fn refuse_q1(number: u16) -> ClientPacket {
    ClientPacket::Puback(Ack::new(id(number), ReasonCode::UnspecifiedError))
}

pub(super) fn refuse_q2(number: u16) -> ClientPacket {
    ClientPacket::Pubrec(Ack::new(id(number), ReasonCode::QuotaExceeded))
}

/// A durable subscriber `s` to `filter` at QoS 2, a publisher, and a reader of the dead letters.
pub(super) fn clients(harness: &mut Harness, filter: &str) -> (Client, Client, Client) {
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe(filter, Q2)]);
    let publisher = harness.connect(transient("p"));
    let reader = harness.connect(transient("r"));
    harness.run(reader, [subscribe("dead", Q0)]);
    for client in [subscriber, publisher, reader] {
        harness.packets(client);
    }
    (subscriber, publisher, reader)
}

fn user_properties(message: &Message) -> Vec<(String, String)> {
    let text = |property| {
        let MessageProperty::UserProperty(name, value) = property else { return None };
        Some((name.to_string(), value.to_string()))
    };
    message.properties.iter().filter_map(text).collect()
}

/// Sends packets, and keeps the answers.
pub(super) fn send(harness: &mut Harness, client: Client, packets: impl IntoIterator<Item = ClientPacket>) {
    packets.into_iter().for_each(|packet| harness.send(client, packet));
}

/// What the client got, with the attempts.
pub(super) fn attempts(harness: &mut Harness, client: Client) -> Vec<String> {
    let line = |packet: &ServerPacket| {
        let ServerPacket::Publish(publish) = packet else { return show(packet) };
        let attempt = user_properties(&publish.message).into_iter().find(|(name, _)| name == "delivery-attempt");
        format!("{}{}", show(packet), attempt.map(|(_, value)| format!(" attempt={value}")).unwrap_or_default())
    };
    harness.packets(client).iter().map(line).collect()
}

#[test]
fn a_refused_message_is_a_new_publish_after_the_backoff_and_a_dead_letter_after_the_last_attempt() {
    for settings in [with_rule(), stored()] {
        let mut harness = Harness::with(1, settings);
        let (subscriber, publisher, reader) = clients(&mut harness, "t");
        harness.run(publisher, [publish("t", "m", Q1, 1)]);
        assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t m q1 #1"]);
        send(&mut harness, subscriber, [refuse_q1(1)]);
        harness.advance(Duration::from_millis(1_999));
        assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
        assert_eq!(harness.shards[0].counters().queued_messages, 1, "it counts in the limits of the queue");
        harness.advance(Duration::from_millis(2));
        assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t m q1 #2 attempt=2"]);
        send(&mut harness, subscriber, [refuse_q1(2)]);
        harness.seconds(3);
        assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
        harness.seconds(2);
        assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t m q1 #3 attempt=3"]);
        assert_eq!(attempts(&mut harness, reader), [""; 0]);
        send(&mut harness, subscriber, [refuse_q1(3)]);
        harness.seconds(100);
        assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
        let packets = harness.packets(reader);
        let [ServerPacket::Publish(letter)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!(letter.message.topic.as_str(), "dead");
        let mut properties = user_properties(&letter.message);
        let (name, message_id) = properties.pop().unwrap(); // the last of the broker's
        assert_eq!((name.as_str(), message_id.is_empty()), ("message-id", false));
        let expected =
            [("reason", "refused"), ("topic", "t"), ("client-id", "s"), ("attempts", "3"), ("reason-code", "0x80")];
        assert_eq!(properties, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let counters = harness.shards[0].counters();
        assert_eq!((counters.redeliveries_scheduled, counters.redelivered), (2, 2));
        assert_eq!((counters.dead_letters, counters.dead_letters_kept, counters.queued_messages), (1, 1, 0));
        assert_eq!(counters.dropped[DropReason::Refused as usize], 1);
        assert_eq!(harness.shards[0].shared.dead_letters_len().0, 1);
    }
}

#[test]
fn what_the_broker_adds_comes_before_the_properties_of_the_publisher_which_stay() {
    let names = ["delivery-attempt", "message-id", "reason", "attempts"];
    let own = names.map(|name| (name.to_owned(), "2".to_owned()));
    for settings in [with_rule(), stored()] {
        let mut harness = Harness::with(1, settings);
        let (subscriber, publisher, reader) = clients(&mut harness, "t");
        let properties = MessageProperties::from_properties(names.map(|name| user_property(name, "2")));
        harness.run(publisher, [ClientPacket::Publish(message("t", "m", Q1, 1).with_properties(properties))]);
        for number in 1..=3 {
            let packets = harness.packets(subscriber);
            let [ServerPacket::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
            let added = (number > 1).then(|| ("delivery-attempt".to_owned(), number.to_string()));
            assert_eq!(user_properties(&publish.message), added.into_iter().chain(own.clone()).collect::<Vec<_>>());
            send(&mut harness, subscriber, [refuse_q1(number)]);
            harness.seconds(10);
        }
        let packets = harness.packets(reader);
        let [ServerPacket::Publish(letter)] = &packets[..] else { panic!("{packets:?}") };
        let all = user_properties(&letter.message);
        let added = ["reason", "topic", "client-id", "attempts", "reason-code", "message-id"];
        assert_eq!(all.iter().take(added.len()).map(|(name, _)| &**name).collect::<Vec<_>>(), added);
        assert_eq!(all[added.len()..], own);
        // The kept one is as its publisher sent it.
        let kept = harness.records.iter().find_map(|record| {
            let Record::DeadLetterKept { letter, .. } = record else { return None };
            Some(user_properties(&letter.delivery.message))
        });
        assert_eq!(kept.unwrap(), own);
    }
}

#[test]
fn a_message_refused_with_pubrec_is_sent_again_and_completed() {
    let mut harness = Harness::with(1, stored());
    let (subscriber, publisher, _) = clients(&mut harness, "t");
    harness.run(publisher, [publish("t", "m", Q2, 1), pubrel(1)]);
    assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t m q2 #1"]);
    send(&mut harness, subscriber, [refuse_q2(1)]);
    harness.seconds(3);
    assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t m q2 #2 attempt=2"]);
    send(&mut harness, subscriber, [pubrec(2)]);
    assert_eq!(attempts(&mut harness, subscriber), ["PUBREL 2"]);
    send(&mut harness, subscriber, [pubcomp(2)]);
    harness.restart(stored());
    let subscriber = harness.connect(durable("s"));
    harness.seconds(100);
    assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
}

#[test]
fn mqtt5_4_4_0_2_without_a_rule_and_for_a_transient_session_a_refused_message_is_discarded() {
    let no_match = RedeliveryRules::new([rule("other", 3, false)]);
    for (settings, is_durable) in [
        (settings(), true),
        (Settings { redelivery: RedeliveryRules::default(), ..stored() }, true),
        (Settings { redelivery: no_match, ..stored() }, true),
        (stored(), false),
        (with_rule(), false),
    ] {
        let mut harness = Harness::with(1, settings);
        let subscriber = harness.connect(if is_durable { durable("s") } else { transient("s") });
        harness.run(subscriber, [subscribe("t", Q2)]);
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q2, 2)]);
        harness.packets(subscriber);
        send(&mut harness, subscriber, [refuse_q1(1), refuse_q2(2)]);
        harness.seconds(100);
        assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
        let counters = harness.shards[0].counters();
        assert_eq!((counters.queued_messages, counters.dead_letters_kept, counters.in_flight_messages), (0, 0, 0));
        let is_redelivery = |record: &&Record| matches!(record, Record::Redelivery { .. });
        assert_eq!(harness.records.iter().filter(is_redelivery).count(), 0);
    }
}

#[test]
fn a_refused_message_holds_no_other_message_up() {
    let mut harness = Harness::with(1, stored());
    let mut connect = durable("s");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
    let subscriber = harness.connect(connect);
    harness.run(subscriber, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    for (number, payload) in [(1, "1"), (2, "2"), (3, "3")] {
        harness.run(publisher, [publish("t", payload, Q1, number)]);
    }
    harness.packets(subscriber);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t 2 q1 #2"]);
    send(&mut harness, subscriber, [puback(2), puback(3)]);
    assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t 3 q1 #3"]);
    send(&mut harness, subscriber, [puback(3)]);
    harness.seconds(3);
    assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t 1 q1 #4 attempt=2"]);
}

#[test]
fn later_messages_of_a_topic_wait_for_a_refused_one_if_its_order_is_kept() {
    for (attempts_left, lost) in [(true, false), (false, false), (true, true)] {
        let mut harness = Harness::with(1, ordered());
        let mut connect = durable("s");
        connect.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
        let mut subscriber = harness.connect(connect.clone());
        harness.run(subscriber, [subscribe("+", Q1)]);
        let publisher = harness.connect(transient("p"));
        for (number, name, payload) in [(1, "a", "1"), (2, "a", "2"), (3, "b", "3"), (4, "a", "4"), (5, "b", "5")] {
            harness.run(publisher, [publish(name, payload, Q1, number)]);
        }
        harness.packets(subscriber);
        send(&mut harness, subscriber, [refuse_q1(1)]);
        assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH b 3 q1 #3"], "those of another topic do not wait");
        send(&mut harness, subscriber, [puback(3)]);
        assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH b 5 q1 #5"]);
        send(&mut harness, subscriber, [puback(5)]);
        harness.run(publisher, [publish("a", "6", Q1, 6)]);
        assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
        if lost {
            harness.restart(ordered());
            subscriber = harness.connect(connect.clone());
        }
        harness.seconds(3);
        let mut order = Vec::new();
        for _ in 0..20 {
            for packet in harness.packets(subscriber) {
                let ServerPacket::Publish(publish) = packet else { continue };
                let payload = String::from_utf8_lossy(&publish.message.payload).into_owned();
                let number = publish.packet_id.unwrap().number();
                let is_letter = publish.message.topic.as_str() == "dead"; // it matches the subscription
                let refuses = !is_letter && payload == "1" && (!attempts_left || order.is_empty());
                if !is_letter {
                    order.push(payload);
                }
                send(&mut harness, subscriber, [if refuses { refuse_q1(number) } else { puback(number) }]);
            }
            harness.seconds(5);
        }
        assert_eq!(order, ["1", "1", "2", "4", "6"], "{attempts_left} {lost}");
        assert_eq!(harness.shards[0].counters().queued_messages, 0);
        assert_eq!(harness.shards[0].shared.dead_letters_len().0, usize::from(!attempts_left));
    }
}

/// Publishes a QoS 2 message that is refused twice and then accepted, with a crash behind each record, and returns how often it was accepted.
fn accepted_with_crash(settings: fn() -> Settings, records: usize) -> Option<usize> {
    let mut harness = Harness::with(1, settings());
    let (mut subscriber, publisher, _) = clients(&mut harness, "t");
    let before = harness.records.len();
    harness.run(publisher, [publish("t", "m", Q2, 1)]);
    let (mut refusals, mut accepted, mut has_crashed) = (0, 0, false);
    let mut released = std::collections::BTreeSet::new();
    for _ in 0..30 {
        if !has_crashed && harness.records.len() >= before + records {
            harness.records.truncate(before + records);
            harness.restart(settings());
            subscriber = harness.connect(durable("s"));
            has_crashed = true;
        }
        for packet in harness.packets(subscriber) {
            if let ServerPacket::Pubrel(ack) = &packet {
                send(&mut harness, subscriber, [pubcomp(ack.packet_id.number())]);
            }
            let ServerPacket::Publish(publish) = packet else { continue };
            let number = publish.packet_id.unwrap().number();
            if refusals < 2 && !released.contains(&number) {
                refusals += 1;
                send(&mut harness, subscriber, [refuse_q2(number)]);
            } else {
                accepted += usize::from(released.insert(number));
                send(&mut harness, subscriber, [pubrec(number)]);
            }
        }
        harness.seconds(1);
    }
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
    has_crashed.then_some(accepted)
}

#[test]
fn a_crash_behind_each_record_leaves_a_refused_message_in_one_place() {
    for settings in [stored as fn() -> Settings, ordered] {
        let outcomes: Vec<usize> = (1..).map_while(|records| accepted_with_crash(settings, records)).collect();
        assert!(outcomes.len() >= 6, "{outcomes:?}");
        assert!(outcomes.iter().all(|accepted| *accepted == 1), "{outcomes:?}");
    }
}

#[test]
fn the_schedule_and_the_move_into_the_queue_are_one_record_each() {
    let mut harness = Harness::with(1, stored());
    let (subscriber, publisher, _) = clients(&mut harness, "t");
    harness.run(publisher, [publish("t", "m", Q1, 1)]);
    let before = harness.records.len();
    send(&mut harness, subscriber, [refuse_q1(1)]);
    let records = &harness.records[before..];
    assert!(matches!(records, [Record::Redelivery { sequence: 1, .. }]), "{records:?}");
    harness.seconds(3);
    assert_eq!(harness.records.len(), before + 2);
    let bytes = harness.records[before + 1].to_bytes();
    let kinds = |keys: &[crate::broker::RecordKey]| keys.iter().map(|key| (key.kind, key.id)).collect::<Vec<_>>();
    assert_eq!((kinds(&bytes.puts), kinds(&bytes.deletes)), (vec![(4, 2), (14, 2)], vec![(4, 1), (14, 1)]));
    // Nothing is sent before the record is stable.
    let mut harness = Harness::with(1, stored());
    let (subscriber, publisher, _) = clients(&mut harness, "t");
    harness.run(publisher, [publish("t", "m", Q1, 1)]);
    harness.packets(subscriber);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    harness.store_answers = false;
    harness.seconds(3);
    assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
    harness.store_answers = true;
    harness.persist();
    assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t m q1 #2 attempt=2"]);
}

#[test]
fn refused_messages_move_with_their_session_also_before_it_is_decided_what_becomes_of_them() {
    for reads in [true, false] {
        let mut harness = Harness::with(2, stored());
        let (subscriber, publisher, _) = clients(&mut harness, "t");
        harness.run(publisher, [publish("t", "m", Q1, 1)]);
        harness.packets(subscriber);
        harness.store_reads = reads;
        send(&mut harness, subscriber, [refuse_q1(1)]);
        harness.lose(subscriber);
        let subscriber = harness.connect_to(1, durable("s"));
        harness.store_reads = true;
        harness.read_store();
        harness.seconds(1);
        assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
        harness.seconds(3);
        assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t m q1 #2 attempt=2"], "{reads}");
        send(&mut harness, subscriber, [puback(2)]);
        harness.seconds(100);
        assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
    }
}

#[test]
fn a_message_is_queued_again_while_its_client_is_away() {
    let mut harness = Harness::with(1, stored());
    let (subscriber, publisher, _) = clients(&mut harness, "t");
    harness.run(publisher, [publish("t", "m", Q1, 1)]);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    harness.lose(subscriber);
    harness.seconds(10);
    let subscriber = harness.connect(durable("s"));
    assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t m q1 #2 attempt=2"]);
}

#[test]
fn parked_messages_count_in_the_limits_of_the_queue() {
    let small = |queue_overflow| Settings { queued_messages_max: 2, queue_overflow, ..stored() };
    for queue_overflow in [QueueOverflow::DropOldest, QueueOverflow::DropNewest, QueueOverflow::Reject] {
        let mut harness = Harness::with(1, small(queue_overflow));
        let (subscriber, publisher, _) = clients(&mut harness, "t");
        harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q1, 2)]);
        harness.packets(subscriber);
        harness.packets(publisher);
        send(&mut harness, subscriber, [refuse_q1(1), refuse_q1(2)]);
        send(&mut harness, publisher, [publish("t", "3", Q1, 3)]);
        let refused = ["PUBACK 3 0x97"];
        assert_eq!(harness.received(publisher) == refused, queue_overflow == QueueOverflow::Reject);
        assert_eq!(harness.shards[0].counters().queued_messages, 2, "{queue_overflow:?}");
        harness.seconds(3);
        let expected: &[&str] = match queue_overflow {
            QueueOverflow::DropOldest => &["PUBLISH t 3 q1 #3", "PUBLISH t 2 q1 #4 attempt=2"],
            QueueOverflow::DropNewest | QueueOverflow::Reject => {
                &["PUBLISH t 1 q1 #3 attempt=2", "PUBLISH t 2 q1 #4 attempt=2"]
            }
        };
        assert_eq!(attempts(&mut harness, subscriber), expected, "{queue_overflow:?}");
        send(&mut harness, subscriber, [puback(3), puback(4)]);
        assert_eq!(harness.shards[0].counters().queued_messages, 0);
        harness.run(publisher, [publish("t", "4", Q1, 4)]);
        assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH t 4 q1 #5"]);
        send(&mut harness, subscriber, [puback(5)]);
        // Neither a message nor a state is left.
        harness.restart(small(queue_overflow));
        assert_eq!(harness.shards[0].counters().queued_messages, 0);
        let left = harness.shards[0].counters();
        assert_eq!((left.redelivered, left.dead_letters_kept), (0, 0));
    }
}

#[test]
fn an_expired_message_and_one_that_may_not_be_received_any_more_are_not_sent_again() {
    let mut harness = Harness::with(1, stored());
    let (subscriber, publisher, _) = clients(&mut harness, "t");
    let expiring = Publish { message_expiry_interval: Some(1), ..message("t", "x", Q1, 1) };
    harness.run(publisher, [ClientPacket::Publish(expiring)]);
    harness.packets(subscriber);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    harness.seconds(5);
    assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::Expired as usize], 1);
    harness.run(publisher, [publish("t", "y", Q1, 2)]);
    send(&mut harness, subscriber, [refuse_q1(3)]);
    harness.packets(subscriber);
    harness.lose(subscriber);
    let other = AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::new("other".into()).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    };
    harness.granted = Some(Access::new(vec![other]));
    let subscriber = harness.connect(durable("s"));
    harness.seconds(5);
    assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::NotAuthorized as usize], 1);
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
}

#[test]
fn dead_letters_are_neither_sent_again_nor_dead_lettered() {
    let mut harness = Harness::with(1, stored());
    let (subscriber, publisher, _) = clients(&mut harness, "dead");
    harness.run(publisher, [publish("dead", "m", Q1, 1)]);
    assert_eq!(attempts(&mut harness, subscriber), ["PUBLISH dead m q1 #1"]);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    harness.seconds(100);
    assert_eq!(attempts(&mut harness, subscriber), [""; 0]);
    assert_eq!(harness.shards[0].shared.dead_letters_len().0, 0);
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
}

#[test]
fn a_refused_message_of_a_share_goes_to_another_member_when_its_session_ends() {
    let mut harness = Harness::with(1, stored());
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("$share/g/t", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "m", Q1, 1)]);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    let other = harness.connect(durable("o"));
    harness.run(other, [subscribe("$share/g/t", Q1)]);
    harness.packets(other);
    harness.lose(subscriber);
    let mut again = durable("s");
    again.clean_start = true;
    harness.connect(again);
    assert_eq!(attempts(&mut harness, other), ["PUBLISH t m q1 #1"]);
}

#[test]
fn kept_dead_letters_are_bounded_and_survive_a_restart() {
    let limited = || {
        let redelivery = RedeliveryRules::new([rule("#", 1, false)]);
        let mut settings = Settings { redelivery, ..stored() };
        settings.dead_letter_limits.messages_max = 2;
        settings.dead_letter_limits.age_max = Duration::from_secs(50);
        settings
    };
    let mut harness = Harness::with(1, limited());
    let (subscriber, publisher, _) = clients(&mut harness, "t");
    for number in 1..=3 {
        harness.run(publisher, [publish("t", "m", Q1, number)]);
        send(&mut harness, subscriber, [refuse_q1(number)]);
        harness.seconds(2);
    }
    assert_eq!(harness.shards[0].shared.dead_letters_len().0, 2);
    assert_eq!(harness.shards[0].counters().dead_letters_discarded, 1);
    harness.restart(limited());
    assert_eq!(harness.shards[0].shared.dead_letters_len().0, 2);
    harness.seconds(60);
    assert_eq!(harness.shards[0].shared.dead_letters_len(), (0, 0));
    harness.restart(limited());
    assert_eq!(harness.shards[0].shared.dead_letters_len(), (0, 0));
}
