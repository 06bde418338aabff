//! Messages to `$delayed/SECONDS/TOPIC`.

use std::num::NonZeroU16;

use super::harness::{Client, Harness, recovered, settings};
use super::packets::*;
use crate::broker::Event::StoreRoom;
use crate::broker::{
    DelayedLimits, DropReason, Event, MemoryLevel, QueueHead, QueueOverflow, Report, Settings, StoreRoom as Room,
};
use crate::codec::{
    AliasUse, ClientPacket, Connect, MessageProperties, Publish, Qos, ServerPacket, SubscriptionOptions, Will,
};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

/// A broker with a store, from which the messages are read.
fn stored() -> Settings {
    let head = QueueHead { messages_max: 100, bytes_max: 100_000, away_share: 1 };
    Settings { queue_head: Some(head), ..settings() }
}

/// A transient subscriber to everything, and a publisher.
fn watched(settings: Settings) -> (Harness, Client, Client) {
    let mut harness = Harness::with(1, settings);
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q2)]);
    let publisher = harness.connect(durable("p"));
    (harness, watcher, publisher)
}

fn only(filter: &str) -> Access {
    Access::new(vec![AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    }])
}

fn dropped(harness: &Harness, reason: DropReason) -> u64 {
    harness.shards.iter().map(|shard| shard.counters().dropped[reason as usize]).sum()
}

/// The number of delayed messages, and their bytes.
fn delayed(harness: &Harness) -> (usize, usize) {
    harness.shards[0].shared.delayed_len()
}

#[test]
fn a_message_is_acknowledged_when_it_is_stored_and_published_when_its_time_has_passed() {
    for (settings, qos, answer) in [
        (stored(), Q0, None),
        (stored(), Q1, Some("PUBACK 1")),
        (stored(), Q2, Some("PUBREC 1")),
        (settings(), Q1, Some("PUBACK 1")),
        (settings(), Q2, Some("PUBREC 1")),
        (settings(), Q0, None),
    ] {
        let (mut harness, watcher, publisher) = watched(settings);
        harness.store_answers = false;
        let number = u16::from(qos > Q0);
        assert_eq!(harness.ask(publisher, publish("$delayed/5/a/b", "x", qos, number)), [""; 0]);
        harness.persist();
        assert_eq!(harness.received(publisher), answer.into_iter().collect::<Vec<_>>());
        harness.store_answers = true;
        harness.advance(std::time::Duration::from_millis(4_999));
        assert_eq!(harness.received(watcher), [""; 0]);
        assert_eq!(delayed(&harness).0, 1);
        harness.advance(std::time::Duration::from_millis(1));
        let packet_id = if qos > Q0 { " #1" } else { "" };
        assert_eq!(harness.received(watcher), [format!("PUBLISH a/b x q{}{packet_id}", qos.level())]);
        assert_eq!(delayed(&harness), (0, 0));
        harness.seconds(100);
        assert_eq!(harness.received(watcher), [""; 0]);
        let counters = harness.shards[0].counters();
        assert_eq!((counters.delayed_accepted, counters.delayed_published), (1, 1));
        assert!(recovered(&harness.records).delayed.is_empty());
    }
}

#[test]
fn a_message_is_delivered_once_to_a_durable_subscriber_for_a_crash_after_any_record() {
    for (qos, retain) in [Q0, Q1, Q2].into_iter().flat_map(|qos| [(qos, false), (qos, true)]) {
        let mut harness = Harness::with(1, stored());
        let subscriber = harness.connect(durable("s"));
        harness.run(subscriber, [subscribe("t", Q2)]);
        harness.lose(subscriber);
        let publisher = harness.connect(durable("p"));
        let packet = Publish { retain, ..message("$delayed/5/t", "x", qos, u16::from(qos > Q0)) };
        harness.run(publisher, [ClientPacket::Publish(packet)]);
        let accepted = harness.records.len();
        harness.seconds(10);
        assert!(harness.records.len() > accepted);
        for records in accepted..=harness.records.len() {
            let mut after = harness.crash(records);
            after.seconds(10);
            after.seconds(10);
            let subscriber = after.connect(durable("s"));
            let lines = after.received(subscriber);
            let copies = lines.iter().filter(|line| line.starts_with("PUBLISH t x ")).count();
            // At QoS 0, the subscriber is away when the message is published.
            let expected = usize::from(qos > Q0);
            assert_eq!(copies, expected, "{qos:?}, crash after {:?}", &harness.records[accepted..records]);
            assert_eq!(delayed(&after), (0, 0));
            let late = after.connect(transient("l"));
            let retained = after.ask(late, subscribe("t", Q0)).len() - 1;
            assert_eq!(retained, usize::from(retain), "crash after {:?}", &harness.records[accepted..records]);
        }
    }
}

#[test]
fn the_copies_wait_for_the_record_that_deletes_the_delayed_message() {
    let (mut harness, watcher, publisher) = watched(stored());
    harness.run(publisher, [publish("$delayed/1/t", "x", Q0, 0)]);
    harness.store_answers = false;
    harness.seconds(1);
    assert_eq!(harness.received(watcher), [""; 0], "after a crash now, it would be published again");
    harness.persist();
    assert_eq!(harness.received(watcher), ["PUBLISH t x q0"]);
}

#[test]
fn a_repeat_of_a_qos_2_message_is_not_delayed_twice_even_after_a_crash() {
    let (mut harness, _, publisher) = watched(stored());
    harness.run(publisher, [publish("$delayed/5/t", "x", Q2, 1)]);
    let repeat = || ClientPacket::Publish(Publish { dup: true, ..message("$delayed/5/t", "x", Q2, 1) });
    assert_eq!(harness.ask(publisher, repeat()), ["PUBREC 1"]);
    let mut harness = harness.crash(harness.records.len());
    let publisher = harness.connect(durable("p"));
    assert_eq!(harness.ask(publisher, repeat()), ["PUBREC 1"]);
    assert_eq!(delayed(&harness).0, 1);
}

#[test]
fn a_repeat_by_dedup_id_is_not_delayed_twice() {
    let (mut harness, watcher, publisher) = watched(stored());
    for number in [1, 2] {
        let properties = MessageProperties::from_properties([user_property("dedup-id", "a")]);
        let packet = message("$delayed/5/t", "x", Q1, number).with_properties(properties);
        assert_eq!(harness.ask(publisher, ClientPacket::Publish(packet)), [format!("PUBACK {number}")]);
    }
    harness.seconds(5);
    assert_eq!(harness.received(watcher), ["PUBLISH t x q1 #1"]);
}

#[test]
fn a_topic_that_says_no_time_or_no_topic_is_refused() {
    for name in [
        "$delayed/-1/x",
        "$delayed/x",
        "$delayed/five/x",
        "$delayed/42949671/x",
        "$delayed/5/",
        "$delayed/5/$SYS/x",
        "$delayed/0/$SYS/broker/connection/p/state",
        "$delayed/5/$delayed/5/x",
        "$delayed/5/a/a/a/a/a/a/a/a/a",
    ] {
        let (mut harness, _, publisher) = watched(stored());
        assert_eq!(harness.ask(publisher, publish(name, "x", Q1, 1)), ["PUBACK 1 0x90"], "{name}");
        assert_eq!(harness.ask(publisher, publish(name, "x", Q2, 2)), ["PUBREC 2 0x90"], "{name}");
        assert_eq!(harness.ask(publisher, publish(name, "x", Q0, 0)), [""; 0], "{name}");
        assert_eq!(harness.shards[0].counters().denied, 3);
        let old = harness.connect(v311("o", true));
        assert_eq!(harness.ask(old, publish(name, "x", Q1, 1)), ["CLOSED"], "an acknowledgement would be untrue");
        assert_eq!(delayed(&harness), (0, 0));
    }
}

#[test]
fn without_a_delay_it_is_published_at_once_and_without_the_setting_the_topic_is_ordinary() {
    let (mut harness, watcher, publisher) = watched(stored());
    harness.run(publisher, [publish("$delayed/0/t", "x", Q1, 1)]);
    assert_eq!(harness.received(watcher), ["PUBLISH t x q1 #1"]);
    let (mut harness, watcher, publisher) = watched(Settings { delayed_publish: false, ..stored() });
    harness.run(watcher, [subscribe("$delayed/#", Q2)]);
    harness.run(publisher, [publish("$delayed/5/t", "x", Q1, 1)]);
    assert_eq!(harness.received(watcher), ["PUBLISH $delayed/5/t x q1 #1"]);
}

#[test]
fn the_rights_to_the_final_topic_count_when_it_is_accepted_and_when_it_is_published() {
    let settings = Settings { dead_letter_topic: Some(topic("dead")), ..stored() };
    for still_allowed in [true, false] {
        let (mut harness, watcher, _) = watched(settings.clone());
        harness.granted = Some(only("t/#"));
        let publisher = harness.connect(durable("q"));
        assert_eq!(harness.ask(publisher, publish("$delayed/5/u", "x", Q1, 1)), ["PUBACK 1 0x87"]);
        assert_eq!(harness.ask(publisher, publish("$delayed/5/t/1", "x", Q1, 2)), ["PUBACK 2"]);
        harness.restored_access = if still_allowed { only("t/#") } else { only("u/#") };
        harness.seconds(5);
        let packets = harness.packets(watcher);
        let lines: Vec<String> = packets.iter().map(show).collect();
        if still_allowed {
            assert_eq!(lines, ["PUBLISH t/1 x q1 #1"]);
            continue;
        }
        assert_eq!(lines, ["PUBLISH dead x q1 #1"]);
        let ServerPacket::Publish(letter) = &packets[0] else { panic!() };
        let expected = [("reason", "not_authorized"), ("topic", "t/1"), ("client-id", "q")];
        let properties: Vec<_> = letter.message.properties.iter().collect();
        assert_eq!(properties, expected.map(|(name, value)| user_property(name, value)));
        assert_eq!(dropped(&harness, DropReason::NotAuthorized), 1);
        assert_eq!(delayed(&harness), (0, 0));
        let denied = |report: &&Report| matches!(report, Report::Denied { packet: "delayed PUBLISH", .. });
        assert_eq!(harness.reports.iter().filter(denied).count(), 1);
        assert!(recovered(&harness.records).delayed.is_empty());
    }
}

#[test]
fn a_message_that_may_not_be_published_any_more_is_dropped_once_for_a_crash_after_any_record() {
    let (mut harness, _, publisher) = watched(stored());
    harness.run(publisher, [publish("$delayed/5/t", "x", Q1, 1)]);
    let accepted = harness.records.len();
    harness.restored_access = only("u");
    harness.seconds(5);
    for records in accepted..=harness.records.len() {
        let mut after = harness.crash(records);
        after.restored_access = only("u");
        after.seconds(5);
        assert_eq!(delayed(&after), (0, 0));
        assert!(recovered(&after.records).delayed.is_empty());
    }
}

#[test]
fn limits_refuse_a_message_and_room_comes_back_when_one_is_published() {
    let limits =
        DelayedLimits { messages_max: 3, bytes_max: 10_000, messages_per_client_max: 2, bytes_per_client_max: 9_000 };
    let (mut harness, _, publisher) = watched(Settings { delayed_limits: limits, ..stored() });
    harness.run(publisher, [publish("$delayed/1/t", "x", Q1, 1), publish("$delayed/5/t", "x", Q2, 2)]);
    assert_eq!(harness.ask(publisher, publish("$delayed/5/t", "x", Q1, 3)), ["PUBACK 3 0x97"]);
    assert_eq!(harness.ask(publisher, publish("$delayed/5/t", "x", Q2, 4)), ["PUBREC 4 0x97"]);
    assert_eq!(harness.ask(publisher, publish("$delayed/5/t", "x", Q0, 0)), [""; 0]);
    assert_eq!(harness.shards[0].counters().delayed_refused, 3);
    let other = harness.connect(v311("o", true));
    assert_eq!(harness.ask(other, publish("$delayed/5/t", "x", Q1, 1)), ["PUBACK 1"]);
    assert_eq!(harness.ask(other, publish("$delayed/5/t", "x", Q1, 2)), ["CLOSED"], "delayed_messages_max");
    harness.seconds(1);
    assert_eq!(harness.ask(publisher, publish("$delayed/5/t", "x", Q1, 5)), ["PUBACK 5"]);
    harness.event(0, Event::Memory(MemoryLevel::High));
    harness.seconds(6);
    assert_eq!(harness.ask(publisher, publish("$delayed/5/t", "x", Q1, 6)), ["PUBACK 6 0x97"]);
}

#[test]
fn without_room_on_the_disk_a_message_is_refused_or_waits_with_its_topic() {
    let (mut harness, watcher, publisher) = watched(stored());
    let old = harness.connect(v311("o", true));
    harness.event(0, StoreRoom(Room::None));
    assert_eq!(harness.ask(publisher, publish("$delayed/1/t", "x", Q1, 1)), ["PUBACK 1 0x97"]);
    assert_eq!(harness.ask(old, publish("$delayed/1/t", "y", Q1, 1)), [""; 0]);
    assert!(harness.is_paused(old));
    harness.event(0, StoreRoom(Room::Some));
    harness.seconds(1);
    assert_eq!(harness.received(old), ["PUBACK 1"]);
    harness.seconds(1);
    assert_eq!(harness.received(watcher), ["PUBLISH t y q1 #1"]);
}

#[test]
fn delays_count_through_restarts_and_new_messages_get_new_numbers() {
    let (mut harness, _, publisher) = watched(stored());
    harness.run(publisher, [publish("$delayed/10/t", "1", Q1, 1), publish("$delayed/3/t", "2", Q1, 2)]);
    harness.seconds(2);
    assert_eq!(recovered(&harness.records).latest.0, 1_000_000);
    harness.restart(stored());
    assert_eq!(delayed(&harness).0, 2);
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q0)]);
    let publisher = harness.connect(durable("p"));
    harness.run(publisher, [publish("$delayed/5/t", "3", Q1, 3)]);
    harness.seconds(1);
    assert_eq!(harness.received(watcher), ["PUBLISH t 2 q0"]);
    harness.seconds(4);
    assert_eq!(harness.received(watcher), ["PUBLISH t 3 q0"]);
    harness.seconds(3);
    assert_eq!(harness.received(watcher), ["PUBLISH t 1 q0"]);
}

#[test]
fn message_expiry_counts_from_acceptance() {
    let (mut harness, watcher, publisher) = watched(stored());
    for (interval, payload, number) in [(8, "lives", 1), (5, "dies", 2)] {
        let packet =
            Publish { message_expiry_interval: Some(interval), ..message("$delayed/5/t", payload, Q1, number) };
        harness.run(publisher, [ClientPacket::Publish(packet)]);
    }
    harness.seconds(5);
    assert_eq!(harness.received(watcher), ["PUBLISH t lives q1 #1 expiry=3"]);
    assert_eq!(dropped(&harness, DropReason::Expired), 1);
}

#[test]
fn messages_that_expire_are_dropped_after_an_unknown_time_if_the_operator_wants_it() {
    let (mut harness, _, publisher) = watched(stored());
    let expiring = Publish { message_expiry_interval: Some(1_000), ..message("$delayed/50/t", "x", Q1, 1) };
    harness.run(publisher, [ClientPacket::Publish(expiring), publish("$delayed/50/t", "y", Q1, 2)]);
    harness.restart_with_expired_messages(stored());
    harness.seconds(1);
    assert_eq!((dropped(&harness, DropReason::Expired), delayed(&harness).0), (1, 1));
}

#[test]
fn a_delayed_message_is_retained_when_it_is_published() {
    let (mut harness, _, publisher) = watched(stored());
    harness.run(publisher, [retain("$delayed/5/t", "x", Q1, 1)]);
    let late = harness.connect(transient("l"));
    assert_eq!(harness.ask(late, subscribe("t", Q1)), ["SUBACK 1 01"]);
    harness.seconds(5);
    assert_eq!(harness.received(late), ["PUBLISH t x q1 #1"]);
    assert_eq!(harness.ask(late, subscribe("t", Q1)), ["SUBACK 1 01", "PUBLISH t x q1 #2 retain"]);
}

#[test]
fn no_local_holds_for_the_originator_of_a_delayed_message() {
    let (mut harness, watcher, publisher) = watched(stored());
    harness.run(publisher, [subscribe_with("t", SubscriptionOptions { no_local: true, ..options(Q1) })]);
    harness.run(publisher, [publish("$delayed/5/t", "x", Q1, 1)]);
    harness.seconds(5);
    assert_eq!(harness.received(publisher), [""; 0]);
    assert_eq!(harness.received(watcher), ["PUBLISH t x q1 #1"]);
}

#[test]
fn no_session_after_a_restart_has_the_number_of_an_originator() {
    let mut harness = Harness::with(1, stored());
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("$delayed/5/t", "x", Q1, 1)]);
    harness.restart(stored());
    let other = harness.connect(transient("other"));
    harness.run(other, [subscribe_with("t", SubscriptionOptions { no_local: true, ..options(Q1) })]);
    harness.seconds(5);
    assert_eq!(harness.received(other), ["PUBLISH t x q1 #1"]);
}

#[test]
fn a_will_may_be_delayed_and_is_published_once_for_a_crash_after_any_record() {
    let mut harness = Harness::with(1, stored());
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("w", Q2)]);
    harness.lose(subscriber);
    let will = Will { qos: Q2, ..will("$delayed/5/w", "gone") };
    let client = harness.connect(Connect { will: Some(will), ..durable("c") });
    let accepted = harness.records.len();
    harness.lose(client);
    harness.seconds(4);
    assert_eq!(delayed(&harness).0, 1);
    harness.seconds(1);
    for records in accepted..=harness.records.len() {
        let mut after = harness.crash(records);
        after.seconds(10);
        let subscriber = after.connect(durable("s"));
        assert_eq!(after.received(subscriber).len(), 1, "crash after {:?}", &harness.records[accepted..records]);
    }
}

#[test]
fn a_will_is_judged_by_its_final_topic_at_connect() {
    let mut harness = Harness::with(1, stored());
    harness.granted = Some(only("t"));
    let attempt = |harness: &mut Harness, name: &str| {
        let client = harness.attempt(0, Connect { will: Some(will(name, "x")), ..transient("c") });
        harness.received(client)[0].clone()
    };
    assert_eq!(attempt(&mut harness, "$delayed/5/t"), "CONNACK 0x00");
    assert_eq!(attempt(&mut harness, "$delayed/5/u"), "CONNACK 0x87");
    assert_eq!(attempt(&mut harness, "$delayed/x/t"), "CONNACK 0x90");
    assert_eq!(attempt(&mut harness, "$delayed/5/$SYS/a"), "CONNACK 0x90");
}

#[test]
fn a_topic_alias_stands_for_the_topic_with_its_delay() {
    let (mut harness, watcher, publisher) = watched(stored());
    let aliased = |name: &str, alias_use| {
        let topic_alias = NonZeroU16::new(1).map(|alias| (alias, alias_use));
        ClientPacket::Publish(Publish { topic_alias, ..message(name, "x", Q0, 0) })
    };
    harness.run(publisher, [aliased("$delayed/5/t", AliasUse::Set)]);
    harness.seconds(2);
    harness.run(publisher, [aliased("?", AliasUse::Known)]);
    harness.seconds(3);
    assert_eq!(harness.received(watcher), ["PUBLISH t x q0"]);
    harness.seconds(2);
    assert_eq!(harness.received(watcher), ["PUBLISH t x q0"]);
}

#[test]
fn messages_that_are_due_together_are_published_in_order_and_in_bounded_batches() {
    let roomy = DelayedLimits {
        messages_max: 10_000,
        bytes_max: 10_000_000,
        messages_per_client_max: 10_000,
        bytes_per_client_max: 10_000_000,
    };
    let (mut harness, watcher, publisher) = watched(Settings { delayed_limits: roomy, ..stored() });
    for number in 0..300 {
        let packet = message("$delayed/5/t", "", Q0, 0).with_payload(number.to_string());
        harness.run(publisher, [ClientPacket::Publish(packet)]);
    }
    harness.store_reads = false;
    harness.seconds(5);
    assert_eq!(harness.delayed.len(), 1, "one batch at a time");
    assert_eq!(harness.delayed[0].1.missing().len(), 64);
    harness.store_reads = true;
    harness.seconds(1);
    let expected: Vec<String> = (0..300).map(|number| format!("PUBLISH t {number} q0")).collect();
    assert_eq!(harness.received(watcher), expected);
}

#[test]
fn no_batch_begins_while_the_store_is_congested() {
    let (mut harness, watcher, publisher) = watched(stored());
    harness.run(publisher, [publish("$delayed/1/t", "x", Q1, 1)]);
    harness.event(0, Event::StoreCongestion(true));
    harness.seconds(3);
    assert_eq!(harness.received(watcher), [""; 0]);
    harness.event(0, Event::StoreCongestion(false));
    harness.seconds(1);
    assert_eq!(harness.received(watcher), ["PUBLISH t x q1 #1"]);
}

#[test]
fn with_reject_a_message_stays_delayed_until_the_queue_of_its_receiver_has_room() {
    for head in [stored().queue_head, None] {
        let settings =
            Settings { queue_overflow: QueueOverflow::Reject, queued_messages_max: 1, queue_head: head, ..stored() };
        let mut harness = Harness::with(1, settings);
        let subscriber = harness.connect(durable("s"));
        harness.run(subscriber, [subscribe("t", Q1)]);
        harness.lose(subscriber);
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [publish("$delayed/1/t", "later", Q1, 1), publish("t", "now", Q1, 2)]);
        harness.seconds(10);
        assert_eq!(delayed(&harness).0, 1);
        let subscriber = harness.connect(durable("s"));
        assert_eq!(harness.received(subscriber), ["PUBLISH t now q1 #1"]);
        harness.run(subscriber, [puback(1)]);
        harness.seconds(2);
        assert_eq!(harness.received(subscriber), ["PUBLISH t later q1 #2"]);
    }
}

#[test]
fn a_message_that_the_store_cannot_read_is_counted_and_forgotten() {
    let (mut harness, watcher, publisher) = watched(stored());
    harness.run(publisher, [publish("$delayed/1/t", "x", Q1, 1)]);
    harness.damaged = true;
    harness.seconds(1);
    assert_eq!(harness.received(watcher), [""; 0]);
    assert_eq!((dropped(&harness, DropReason::Unreadable), delayed(&harness)), (1, (0, 0)));
    assert!(recovered(&harness.records).delayed.is_empty());
}

#[test]
fn a_message_outlives_the_session_of_its_originator() {
    let (mut harness, watcher, _) = watched(stored());
    let publisher = harness.connect(transient("q"));
    harness.run(publisher, [publish("$delayed/5/t", "x", Q1, 1)]);
    harness.lose(publisher);
    harness.seconds(5);
    assert_eq!(harness.received(watcher), ["PUBLISH t x q1 #1"]);
}

#[test]
fn a_delayed_message_reaches_subscribers_on_every_shard() {
    let mut harness = Harness::with(3, stored());
    let subscribers = [0, 1, 2].map(|shard| {
        let connect = if shard == 1 { durable } else { transient };
        let subscriber = harness.connect_to(shard, connect(&format!("s{shard}")));
        harness.run(subscriber, [subscribe("t", Qos::AtLeastOnce)]);
        subscriber
    });
    let publisher = harness.connect_to(2, transient("p"));
    harness.run(publisher, [publish("$delayed/5/t", "x", Q2, 1)]);
    harness.seconds(5);
    for subscriber in subscribers {
        assert_eq!(harness.received(subscriber), ["PUBLISH t x q1 #1"]);
    }
}

#[test]
fn a_message_to_retain_waits_while_memory_is_short() {
    for settings in [stored(), settings()] {
        let (mut harness, watcher, publisher) = watched(settings);
        harness.run(publisher, [retain("$delayed/1/t", "x", Q1, 1), publish("$delayed/1/u", "y", Q1, 2)]);
        harness.event(0, Event::Memory(MemoryLevel::High));
        harness.seconds(5);
        assert_eq!(harness.received(watcher), ["PUBLISH u y q1 #1"]);
        harness.event(0, Event::Memory(MemoryLevel::Normal));
        harness.seconds(1);
        assert_eq!(harness.received(watcher), ["PUBLISH t x q1 #2"]);
    }
}

#[test]
fn nothing_is_published_while_the_broker_stops_and_all_is_there_at_the_next_start() {
    let (mut harness, _, publisher) = watched(stored());
    harness.run(publisher, [publish("$delayed/1/t", "x", Q1, 1)]);
    harness.store_reads = false;
    harness.seconds(1);
    harness.event(0, Event::ShuttingDown);
    harness.store_reads = true;
    harness.seconds(5);
    assert_eq!(harness.shards[0].counters().delayed_published, 0);
    harness.restart(stored());
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q0)]);
    harness.seconds(1);
    assert_eq!(harness.received(watcher), ["PUBLISH t x q0"]);
}
