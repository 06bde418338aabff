//! Messages of a PUBLISH to `$batch`: all of them or none.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::harness::{Client, Harness, recovered, settings};
use super::packets::*;
use crate::batch;
use crate::broker::Event::StoreRoom;
use crate::broker::{
    DelayedLimits, DropReason, Durability, DurabilityRule, QueueHead, QueueOverflow, Settings, StoreRoom as Room,
    StreamNumber, TrimmedOffset,
};
use crate::codec::{ClientPacket, Connect, MessageProperties, MessageProperty, Publish, Qos, ServerPacket};
use crate::rewrite::{RewriteAction, RewriteRule, RewriteRules};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RetainedLimits, RuleSource};
use crate::topic::{MountPoint, TopicFilter};

/// A broker with a store, from which the messages are read.
fn stored() -> Settings {
    let head = QueueHead { messages_max: 100, bytes_max: 100_000, away_share: 1 };
    Settings { queue_head: Some(head), ..settings() }
}

fn packet(json: &str, qos: Qos, packet_id: u16) -> Publish {
    message("$batch", "", qos, packet_id).with_payload(json.to_owned())
}

fn batch(json: &str, qos: Qos, packet_id: u16) -> ClientPacket {
    ClientPacket::Publish(packet(json, qos, packet_id))
}

/// A durable subscriber to `t/#` that is away, a transient one to everything, and a publisher.
fn world(shards: usize, settings: Settings, publisher: Connect) -> (Harness, Client, Client) {
    let mut harness = Harness::with(shards, settings);
    let away = harness.connect(durable("s"));
    harness.run(away, [subscribe("t/#", Q2)]);
    harness.lose(away);
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q2)]);
    let publisher = harness.connect_to(shards - 1, publisher);
    (harness, watcher, publisher)
}

/// The Reason Strings of the received acknowledgements.
fn reasons(harness: &mut Harness, client: Client) -> Vec<String> {
    let reason = |packet: &ServerPacket| {
        let (ServerPacket::Puback(ack) | ServerPacket::Pubrec(ack)) = packet else { return show(packet) };
        let details = ack.details.clone().unwrap_or_default();
        format!("{:#04X} {}", ack.reason_code.number(), details.reason_string.unwrap_or_default())
    };
    harness.packets(client).iter().map(reason).collect()
}

fn only(filter: &str) -> Access {
    Access::new(vec![AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    }])
}

const THREE: &str = r#"[{"topic":"t/1","payload":"a","qos":1},{"topic":"t/2","payload":"b","qos":2,"retain":true},
    {"topic":"t/1","payload":"c","qos":0}]"#;

#[test]
fn all_messages_wait_for_one_change_of_the_store_and_come_in_order_before_the_answer() {
    for (shards, qos, answer) in [(1, Q1, "PUBACK 1"), (2, Q1, "PUBACK 1"), (1, Q2, "PUBREC 1"), (2, Q2, "PUBREC 1")] {
        for connect in [durable("p"), transient("p"), v311("p", false)] {
            let (mut harness, watcher, publisher) = world(shards, stored(), connect);
            harness.store_answers = false;
            let before = harness.records.len();
            assert_eq!(harness.ask(publisher, batch(THREE, qos, 1)), [""; 0]);
            assert_eq!(harness.received(watcher), [""; 0], "a crash now would lose the batch");
            assert_eq!(harness.groups, vec![before..harness.records.len(); 1]);
            harness.persist();
            assert_eq!(harness.received(publisher), [answer]);
            let lines = ["PUBLISH t/1 a q1 #1", "PUBLISH t/2 b q2 #2", "PUBLISH t/1 c q0"];
            assert_eq!(harness.received(watcher), lines);
            harness.store_answers = true;
            let away = harness.connect(durable("s"));
            assert_eq!(harness.received(away), ["PUBLISH t/1 a q1 #1", "PUBLISH t/2 b q2 #2"]);
            let counters = harness.shards[shards - 1].counters();
            assert_eq!((counters.batches, counters.batch_messages, counters.batches_refused), (1, 3, 0));
        }
    }
}

#[test]
fn after_a_crash_the_whole_batch_is_there_or_nothing_of_it() {
    for qos in [Q1, Q2] {
        let (mut harness, _, publisher) = world(1, stored(), durable("p"));
        let before = harness.records.len();
        harness.run(publisher, [batch(THREE, qos, 1)]);
        for (records, is_there) in [(before, false), (harness.records.len(), true)] {
            let mut after = harness.crash(records);
            let away = after.connect(durable("s"));
            let lines = after.received(away);
            assert_eq!(lines.len(), if is_there { 2 } else { 0 }, "{lines:?}");
            let late = after.connect(transient("l"));
            assert_eq!(after.ask(late, subscribe("t/2", Q0)).len(), 1 + usize::from(is_there));
            // The repeat of a QoS 2 batch that is there is not published again.
            let publisher = after.connect(durable("p"));
            let mut repeat = packet(THREE, qos, 1);
            repeat.dup = true;
            after.run(publisher, [ClientPacket::Publish(repeat)]);
            let again = after.received(late).len();
            assert_eq!(again, usize::from(!(is_there && qos == Q2)), "{qos:?}, {is_there}");
        }
    }
}

#[test]
fn a_batch_that_only_transient_sessions_get_needs_no_record() {
    let (mut harness, watcher, publisher) = world(1, stored(), transient("p"));
    harness.store_answers = false;
    let json =
        r#"[{"topic":"a","payload":"1"},{"topic":"b","payload":"2","qos":0},{"topic":"c","payload":"3","qos":2}]"#;
    let before = harness.records.len();
    assert_eq!(harness.ask(publisher, batch(json, Q1, 1)), ["PUBACK 1"]);
    assert_eq!(harness.received(watcher), ["PUBLISH a 1 q1 #1", "PUBLISH b 2 q0", "PUBLISH c 3 q2 #2"]);
    assert_eq!(harness.records.len(), before);
    harness.lose(watcher);
    assert_eq!(harness.ask(publisher, batch(r#"[{"topic":"a"}]"#, Q1, 2)), ["PUBACK 2 0x10"]);
}

#[test]
fn messages_are_delivered_in_the_order_of_batches_and_other_messages() {
    let (mut harness, watcher, publisher) = world(1, stored(), transient("p"));
    harness.store_answers = false;
    harness.run(
        publisher,
        [batch(THREE, Q1, 1), publish("x", "d", Q1, 2), batch(r#"[{"topic":"x","payload":"e"}]"#, Q1, 3)],
    );
    assert_eq!(harness.received(watcher), [""; 0], "they must not overtake those of the batch");
    harness.persist();
    let payloads: Vec<_> =
        harness.received(watcher).iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect();
    assert_eq!(payloads, ["a", "b", "c", "d", "e"]);
}

#[test]
fn nothing_is_published_if_one_message_is_denied_or_malformed() {
    let denied = r#"[{"topic":"t/1","retain":true},{"topic":"u/1"}]"#;
    for (json, reason) in [
        (denied, "0x87 message 2 (u/1): not authorized to publish to this topic"),
        (r#"[{"topic":"t/1"},{"topic":"t/#"}]"#, "0x99 message 2: topic: "),
        (r#"[{"topic":"t/1"},{"topic":"$batch","payload":"[]"}]"#, "0x99 message 2 ($batch): $batch is for "),
        (r#"[{"topic":"t/1"},{"topic":"$delayed/5/$batch"}]"#, "0x99 message 2 ($delayed/5/$batch): $batch is for "),
        (r#"[{"topic":"t/1"},{"topic":"$SYS/x"}]"#, "0x99 message 2 ($SYS/x): topics below $SYS are the broker's own"),
        (r#"[{"topic":"t/1"},{"topic":"$delayed/x/t"}]"#, "0x99 message 2 ($delayed/x/t): the delay of "),
        (
            r#"[{"topic":"t/1","payload_base64":"/w==","payload_format_indicator":1}]"#,
            "0x99 message 1 (t/1): the payload",
        ),
        (r#"[{"topic":"t/1"}"#, "0x99 message 2: EOF"),
        ("[]", "0x99 the batch: it has no messages"),
        ("", "0x99 the batch: EOF"),
        (
            r#"[{"topic":"t"},{"topic":"t"},{"topic":"t"},{"topic":"t"},{"topic":"t"},{"topic":"t"}]"#,
            "0x99 the batch: it has more than 5 messages",
        ),
    ] {
        for qos in [Q1, Q2] {
            let (mut harness, watcher, _) = world(1, stored(), transient("p"));
            harness.granted = Some(only("t/#"));
            let publisher = harness.connect(durable("q"));
            let old = harness.connect(v311("o", true));
            let records = harness.records.len();
            harness.send(publisher, batch(json, qos, 1));
            let reasons = reasons(&mut harness, publisher);
            assert!(reasons.len() == 1 && reasons[0].starts_with(reason), "{json}: {reasons:?}");
            // A 3.1.1 client gets no negative acknowledgement: what it may not publish is acknowledged and dropped [MQTT-3.3.5-2].
            let answer = harness.ask(old, batch(json, Q1, 1)).concat();
            let is_denied = json == denied || json.contains("$SYS");
            assert!(answer.starts_with(if is_denied { "PUBACK 1" } else { "CLOSED" }), "{json}: {answer}");
            assert_eq!(harness.received(watcher), [""; 0]);
            assert_eq!(harness.records.len(), records);
            assert_eq!(harness.shards[0].shared.retained_len().0, 0);
            assert_eq!(harness.shards[0].counters().batches_refused, 2);
            // The identifier is free again.
            let good = batch(r#"[{"topic":"t/1","payload":"x","qos":0}]"#, qos, 1);
            assert_eq!(harness.ask(publisher, good).len(), 1);
            assert_eq!(harness.received(watcher), ["PUBLISH t/1 x q0"]);
        }
    }
}

#[test]
fn a_batch_at_qos_0_with_retain_or_of_another_content_type_is_none() {
    let (mut harness, watcher, publisher) = world(1, stored(), transient("p"));
    assert_eq!(harness.ask(publisher, batch(THREE, Q0, 0)), [""; 0]);
    harness.send(publisher, ClientPacket::Publish(Publish { retain: true, ..packet(THREE, Q1, 1) }));
    let properties = MessageProperties::from_properties([MessageProperty::ContentType("text/plain".into())]);
    harness.send(publisher, ClientPacket::Publish(packet(THREE, Q1, 2).with_properties(properties)));
    let [first, second] = &reasons(&mut harness, publisher)[..] else { panic!("two answers") };
    assert!(first.starts_with("0x99 the batch: RETAIN"), "{first}");
    assert!(second.starts_with("0x99 the batch: the Content Type of a batch is application/json or "), "{second}");
    assert_eq!(harness.received(watcher), [""; 0]);
    assert_eq!(harness.shards[0].counters().batches_refused, 3);
}

#[test]
fn a_batch_may_be_packets() {
    let (mut harness, watcher, publisher) = world(1, stored(), transient("p"));
    let payload = b"\x3d\x13\0\x03t/1\0\x07\x0a\x02\0\0\0\x3c\x03\0\x02ctx\x30\x05\0\x01u\0y";
    let properties = MessageProperties::from_properties([MessageProperty::ContentType(batch::PACKETS.into())]);
    let publish = message("$batch", "", Q1, 1).with_payload(&payload[..]).with_properties(properties);
    assert_eq!(harness.ask(publisher, ClientPacket::Publish(publish)), ["PUBACK 1"]);
    assert_eq!(harness.received(watcher), ["PUBLISH t/1 x q2 #1 expiry=60", "PUBLISH u y q0"]);
}

#[test]
fn the_interval_of_the_batch_is_that_of_the_messages_without_one() {
    let (mut harness, watcher, publisher) = world(1, stored(), transient("p"));
    let json = r#"[{"topic":"a","qos":0},{"topic":"b","qos":0,"message_expiry_interval":7}]"#;
    let publish = Publish { message_expiry_interval: Some(60), ..packet(json, Q1, 1) };
    harness.run(publisher, [ClientPacket::Publish(publish)]);
    assert_eq!(harness.received(watcher), ["PUBLISH a  q0 expiry=60", "PUBLISH b  q0 expiry=7"]);
}

#[test]
fn mount_point_rewrite_rules_and_access_are_those_of_each_topic() {
    let rule = RewriteRule::new(RewriteAction::Publish, "old/#", "^old/(.+)$", "new/$1").unwrap();
    let settings = Settings { rewrite_rules: RewriteRules::new([rule].into_iter()), ..stored() };
    let (mut harness, watcher, _) = world(1, settings, transient("p"));
    harness.granted = Some(Arc::unwrap_or_clone(Arc::new(only("m/new/#")).below(MountPoint::new("m/").ok().as_ref())));
    let publisher = harness.connect(durable("q"));
    harness.run(publisher, [batch(r#"[{"topic":"old/1","qos":0},{"topic":"new/2","qos":0}]"#, Q2, 1)]);
    assert_eq!(harness.received(watcher), ["PUBLISH m/new/1  q0", "PUBLISH m/new/2  q0"]);
    harness.send(publisher, batch(r#"[{"topic":"new/1","qos":0},{"topic":"x","qos":0}]"#, Q2, 2));
    // The client is not told its mount point.
    assert_eq!(reasons(&mut harness, publisher), ["0x87 message 2 (x): not authorized to publish to this topic"]);
    assert_eq!(harness.received(watcher), [""; 0]);
}

#[test]
fn delayed_messages_are_part_of_the_whole() {
    let (mut harness, watcher, publisher) = world(1, stored(), durable("p"));
    let json = r#"[{"topic":"t/1","payload":"now"},{"topic":"$delayed/5/t/2","payload":"later"}]"#;
    let before = harness.records.len();
    assert_eq!(harness.ask(publisher, batch(json, Q2, 1)), ["PUBREC 1"]);
    assert_eq!(harness.groups, vec![before..harness.records.len(); 1]);
    assert_eq!(harness.received(watcher), ["PUBLISH t/1 now q2 #1"]);
    assert_eq!(recovered(&harness.records).delayed.len(), 1);
    harness.seconds(5);
    assert_eq!(harness.received(watcher), ["PUBLISH t/2 later q2 #2"]);
    assert_eq!(harness.shards[0].shared.delayed_len(), (0, 0));
}

#[test]
fn nothing_is_published_or_counted_if_a_limit_of_delayed_or_retained_messages_is_reached() {
    let few =
        DelayedLimits { messages_max: 1, bytes_max: 10_000, messages_per_client_max: 9, bytes_per_client_max: 10_000 };
    let limits = RetainedLimits { retained_messages_max: 1, retained_bytes_max: 10_000 };
    let mut harness = Harness::with_retained(1, Settings { delayed_limits: few, ..stored() }, limits);
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("#", Q2)]);
    let publisher = harness.connect(transient("p"));
    for (json, reason) in [
        (
            r#"[{"topic":"a"},{"topic":"$delayed/5/a"},{"topic":"$delayed/5/b"}]"#,
            "0x97 the batch: no room for a delayed message (delayed_messages_max)",
        ),
        (
            r#"[{"topic":"a"},{"topic":"a","payload":"x","retain":true},{"topic":"b","payload":"x","retain":true}]"#,
            "0x97 the batch: the limit of 1 retained messages is reached",
        ),
    ] {
        harness.send(publisher, batch(json, Q1, 1));
        assert_eq!(reasons(&mut harness, publisher), [reason]);
        assert_eq!(harness.received(watcher), [""; 0]);
        assert_eq!((harness.shards[0].shared.delayed_len(), harness.shards[0].shared.retained_len().0), ((0, 0), 0));
    }
    let json = r#"[{"topic":"$delayed/5/a"},{"topic":"a","payload":"x","retain":true},{"topic":"a","retain":true},{"topic":"b","payload":"y","retain":true}]"#;
    assert_eq!(harness.ask(publisher, batch(json, Q1, 2)), ["PUBACK 2"]);
    assert_eq!((harness.shards[0].shared.delayed_len().0, harness.shards[0].shared.retained_len().0), (1, 1));
}

/// A durable subscriber with room for three messages that is away, and another one.
fn small_queue(shards: usize, queue_overflow: QueueOverflow, publisher: Connect) -> (Harness, Client, Client) {
    let mut harness = Harness::with(shards, Settings { queued_messages_max: 3, queue_overflow, ..stored() });
    let away = harness.connect(durable("s"));
    harness.run(away, [subscribe("t", Q1)]);
    harness.lose(away);
    let other = harness.connect(durable("o"));
    harness.run(other, [subscribe("#", Q1)]);
    let publisher = harness.connect_to(shards - 1, publisher);
    harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q1, 2)]);
    harness.run(other, [puback(1), puback(2)]);
    (harness, other, publisher)
}

const TWO: &str = r#"[{"topic":"t","payload":"3"},{"topic":"t","payload":"4"}]"#;

fn queue_full(harness: &Harness) -> u64 {
    harness.shards.iter().map(|shard| shard.counters().dropped[DropReason::QueueFull as usize]).sum()
}

fn payloads_of_s(harness: &mut Harness) -> String {
    let away = harness.connect(durable("s"));
    harness.received(away).iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect()
}

#[test]
fn reject_refuses_the_batch_for_all_receivers_and_reserves_nothing() {
    for shards in [1, 2] {
        let (mut harness, other, publisher) = small_queue(shards, QueueOverflow::Reject, transient("p"));
        assert_eq!(harness.ask(publisher, batch(TWO, Q1, 3)), ["PUBACK 3 0x97"]);
        assert_eq!(harness.ask(publisher, batch(TWO, Q2, 3)), ["PUBREC 3 0x97"]);
        assert_eq!(harness.received(other), [""; 0]);
        let four = r#"[{"topic":"t"},{"topic":"t"},{"topic":"t"},{"topic":"t"}]"#;
        harness.send(publisher, batch(four, Q1, 3));
        assert_eq!(reasons(&mut harness, publisher), ["0x97 the batch: larger than the queue of a receiver"]);
        assert_eq!(harness.ask(publisher, publish("t", "x", Q1, 4)), ["PUBACK 4"], "there is room for one");
        assert_eq!(harness.received(other), ["PUBLISH t x q1 #3"]);
        assert_eq!(payloads_of_s(&mut harness), "12x");
    }
}

#[test]
fn reject_pauses_a_3_1_1_publisher_until_there_is_room_for_all() {
    for shards in [1, 2] {
        let (mut harness, other, publisher) = small_queue(shards, QueueOverflow::Reject, v311("p", true));
        assert_eq!(harness.ask(publisher, batch(TWO, Q2, 3)), [""; 0]);
        assert!(harness.is_paused(publisher));
        let away = harness.connect(durable("s"));
        harness.received(away);
        harness.send(away, puback(1));
        assert_eq!(harness.received(publisher), ["PUBREC 3"]);
        assert_eq!(harness.received(away), ["PUBLISH t 3 q1 #3", "PUBLISH t 4 q1 #4"]);
        assert_eq!(harness.received(other), ["PUBLISH t 3 q1 #3", "PUBLISH t 4 q1 #4"]);
        let four = r#"[{"topic":"t"},{"topic":"t"},{"topic":"t"},{"topic":"t"}]"#;
        assert_eq!(harness.ask(publisher, batch(four, Q1, 4)), ["CLOSED"], "it would wait for ever");
    }
}

#[test]
fn a_queue_that_drops_gets_the_whole_batch_or_nothing_of_it() {
    for shards in [1, 2] {
        let (mut harness, other, publisher) = small_queue(shards, QueueOverflow::DropNewest, transient("p"));
        assert_eq!(harness.ask(publisher, batch(TWO, Q1, 3)), ["PUBACK 3"]);
        assert_eq!(harness.received(other), ["PUBLISH t 3 q1 #3", "PUBLISH t 4 q1 #4"]);
        assert_eq!(queue_full(&harness), 2);
        assert_eq!(harness.ask(publisher, publish("t", "x", Q1, 4)), ["PUBACK 4"], "nothing is reserved");
        assert_eq!(payloads_of_s(&mut harness), "12x");

        let (mut harness, _, publisher) = small_queue(shards, QueueOverflow::DropOldest, transient("p"));
        assert_eq!(harness.ask(publisher, batch(TWO, Q1, 3)), ["PUBACK 3"]);
        let four = r#"[{"topic":"t"},{"topic":"t"},{"topic":"t"},{"topic":"t"}]"#;
        assert_eq!(harness.ask(publisher, batch(four, Q1, 4)), ["PUBACK 4"], "no part of it fits");
        assert_eq!(payloads_of_s(&mut harness), "234");
        assert_eq!(queue_full(&harness), 1 + 2 * 4, "for both subscribers");
    }
}

#[test]
fn dead_letters_of_dropped_copies_are_no_part_of_the_batch() {
    let settings = Settings {
        queued_messages_max: 1,
        queue_overflow: QueueOverflow::DropNewest,
        dead_letter_topic: Some(topic("dead")),
        ..stored()
    };
    let (mut harness, _, publisher) = world(1, settings, transient("p"));
    let two = r#"[{"topic":"t/1","payload":"a"},{"topic":"t/1","payload":"b"}]"#;
    harness.store_answers = false;
    harness.send(publisher, batch(two, Q1, 1));
    let of_batch = harness.groups.last().cloned();
    assert!(of_batch.is_none_or(|records| records.len() <= 2), "however many copies are dropped");
    harness.store_answers = true;
    harness.persist();
    assert_eq!(harness.shards[0].counters().dead_letters, 2);
}

#[test]
fn a_full_disk_refuses_a_batch_with_records() {
    let (mut harness, watcher, publisher) = world(1, stored(), transient("p"));
    let old = harness.connect(v311("o", true));
    harness.event(0, StoreRoom(Room::None));
    assert_eq!(harness.ask(publisher, batch(THREE, Q1, 1)), ["PUBACK 1 0x97"]);
    assert_eq!(harness.ask(old, batch(THREE, Q1, 1)), [""; 0]);
    assert_eq!(harness.ask(publisher, batch(r#"[{"topic":"a","qos":0}]"#, Q1, 1)), ["PUBACK 1"]);
    assert_eq!(harness.received(watcher), ["PUBLISH a  q0"]);
    harness.event(0, StoreRoom(Room::Some));
    harness.seconds(1);
    assert_eq!(harness.received(old), ["PUBACK 1"]);
    assert_eq!(harness.received(watcher).len(), 3);
}

#[test]
fn the_dedup_id_is_that_of_the_whole_batch() {
    for qos in [Q1, Q2] {
        let (mut harness, watcher, publisher) = world(1, stored(), transient("p"));
        let once = |packet_id| {
            let properties = MessageProperties::from_properties([user_property("dedup-id", "a")]);
            ClientPacket::Publish(packet(THREE, qos, packet_id).with_properties(properties))
        };
        harness.store_answers = false;
        harness.run(publisher, [once(1), once(2)]);
        assert_eq!(harness.received(watcher), [""; 0]);
        harness.persist();
        let duplicates = harness.packets(publisher).into_iter().map(|packet| {
            let (ServerPacket::Puback(ack) | ServerPacket::Pubrec(ack)) = packet else { panic!("{packet:?}") };
            (ack.reason_code.number(), ack.details.is_some())
        });
        assert_eq!(duplicates.collect::<Vec<_>>(), [(0, false), (0, true)]);
        assert_eq!(harness.received(watcher).len(), 3);
        // That of a message in the batch says nothing.
        harness.store_answers = true;
        let inner = r#"[{"topic":"a","qos":0,"user_properties":[["dedup-id","b"]]}]"#;
        harness.run(publisher, [batch(inner, Q1, 3), batch(inner, Q1, 4)]);
        assert_eq!(harness.received(watcher).len(), 2);
    }
}

#[test]
fn a_refused_batch_does_not_use_up_its_dedup_id() {
    let (mut harness, other, publisher) = small_queue(1, QueueOverflow::Reject, transient("p"));
    let once = |packet_id| {
        let properties = MessageProperties::from_properties([user_property("dedup-id", "a")]);
        ClientPacket::Publish(packet(TWO, Q1, packet_id).with_properties(properties))
    };
    assert_eq!(harness.ask(publisher, once(3)), ["PUBACK 3 0x97"]);
    let away = harness.connect(durable("s"));
    harness.run(away, [puback(1)]);
    assert_eq!(harness.ask(publisher, once(3)), ["PUBACK 3"]);
    assert_eq!(harness.received(other).len(), 2);
}

#[test]
fn the_whole_batch_has_the_durability_of_its_most_durable_message() {
    let rule = |filter: &str, level| DurabilityRule { topic_filter: TopicFilter::try_from(filter).unwrap(), level };
    let rules = vec![rule("t/none/#", Durability::None), rule("t/crash/#", Durability::Crash)];
    let settings = Settings { durability_rules: rules, durability: Durability::PowerLoss, ..stored() };
    let json = |first: &str, second: &str| format!(r#"[{{"topic":"t/{first}/x"}},{{"topic":"t/{second}/x"}}]"#);
    for (first, second, expected) in [
        ("none", "none", None),
        ("none", "crash", Some(Durability::Crash)),
        ("crash", "other", Some(Durability::PowerLoss)),
        ("none", "other", Some(Durability::PowerLoss)),
    ] {
        let (mut harness, watcher, publisher) = world(1, settings.clone(), transient("p"));
        harness.store_answers = false;
        let answers = harness.ask(publisher, batch(&json(first, second), Q1, 1));
        assert_eq!(answers.is_empty(), expected.is_some());
        assert_eq!(harness.received(watcher).is_empty(), expected.is_some());
        assert_eq!(harness.groups.len(), usize::from(expected.is_some()));
        assert_eq!(harness.durabilities, expected.into_iter().collect::<Vec<_>>());
        harness.persist();
        harness.store_answers = true;
        let away = harness.connect(durable("s"));
        assert_eq!(harness.received(away).len(), 2, "{first} {second}");
    }
}

#[test]
fn members_of_shares_get_the_messages_of_a_batch_in_turn_and_each_once() {
    let mut harness = Harness::with(2, stored());
    let members = [0, 1].map(|shard| {
        let member = harness.connect_to(shard, durable(["a", "b"][shard]));
        harness.run(member, [subscribe("$share/g/t", Q1)]);
        member
    });
    let publisher = harness.connect_to(1, transient("p"));
    let json = r#"[{"topic":"t","payload":"1"},{"topic":"t","payload":"2"},{"topic":"t","payload":"3"},{"topic":"t","payload":"4"}]"#;
    assert_eq!(harness.ask(publisher, batch(json, Q1, 1)), ["PUBACK 1"]);
    let lines = members.map(|member| harness.received(member).len());
    assert_eq!(lines, [2, 2]);
}

#[test]
fn no_will_is_a_batch() {
    let mut harness = Harness::with(1, stored());
    for topic in ["$batch", "$delayed/5/$batch"] {
        let mut connect = transient("p");
        connect.will = Some(will(topic, "[]"));
        let client = harness.attempt(0, connect);
        assert_eq!(harness.received(client), ["CONNACK 0x90", "CLOSED"], "{topic}");
    }
}

#[test]
fn without_batches_the_topic_is_one_like_any_other() {
    let (mut harness, watcher, publisher) = world(1, Settings { batch_messages_max: 0, ..stored() }, transient("p"));
    harness.run(watcher, [subscribe("$batch", Q1)]);
    assert_eq!(harness.ask(publisher, publish("$batch", "x", Q1, 1)), ["PUBACK 1"]);
    assert_eq!(harness.received(watcher), ["PUBLISH $batch x q1 #1"]);
}

#[test]
fn each_message_counts_for_the_rate_limit() {
    let settings = Settings { client_messages_per_second_max: NonZeroU32::new(4), ..stored() };
    let (mut harness, _, publisher) = world(1, settings, transient("p"));
    harness.run(publisher, [batch(THREE, Q1, 1)]);
    assert!(!harness.is_paused(publisher));
    harness.run(publisher, [batch(THREE, Q1, 2)]);
    assert!(harness.is_paused(publisher), "six messages");
}

/// The User Properties of the next acknowledgement.
fn told(harness: &mut Harness, client: Client, packet: ClientPacket) -> Vec<String> {
    harness.run(client, []);
    harness.send(client, packet);
    harness.persist();
    let [ServerPacket::Puback(ack) | ServerPacket::Pubrec(ack)] = &harness.packets(client)[..] else {
        panic!("one acknowledgement")
    };
    let details = ack.details.clone().unwrap_or_default();
    details.user_properties.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn acknowledgements_tell_durability_and_receivers_to_clients_that_ask() {
    let settings = Settings { durability: Durability::Crash, ..stored() };
    let (mut harness, ..) = world(1, settings, transient("p"));
    let mut connect = durable("asks");
    connect.properties.user_properties = [("explain", "true")].into_iter().collect();
    let asks = harness.connect(connect.clone());
    for qos in [Q1, Q2] {
        let packet_id = u16::from(qos.level());
        assert_eq!(told(&mut harness, asks, publish("t/1", "x", qos, packet_id)), ["durability=crash", "receivers=2"]);
    }
    assert_eq!(told(&mut harness, asks, publish("u", "x", Q1, 3)), ["durability=none", "receivers=1"]);
    assert_eq!(told(&mut harness, asks, batch(THREE, Q1, 4)), ["durability=crash", "receivers=6"]);
    let refused = told(&mut harness, asks, publish("$SYS/x", "x", Q1, 5));
    assert_eq!(refused, [""; 0]);
    let other = harness.connect(transient("silent"));
    assert_eq!(told(&mut harness, other, publish("t/1", "x", Q1, 1)), [""; 0]);
    // Not if it is too large for the client, or if it wants no such properties. [MQTT-3.1.2-24] [MQTT-3.1.2-29]
    let mut small = Connect { client_id: "small".into(), ..connect.clone() };
    small.properties.maximum_packet_size = NonZeroU32::new(40);
    let mut plain = Connect { client_id: "plain".into(), ..connect };
    plain.properties.request_problem_information = false;
    for connect in [small, plain] {
        let client = harness.connect(connect);
        assert_eq!(told(&mut harness, client, publish("t/1", "x", Q1, 1)), [""; 0]);
    }
}

#[test]
fn acknowledgements_tell_the_sequences_in_streams_to_clients_that_ask() {
    let (mut harness, ..) = world(1, Settings { durability: Durability::Crash, ..stored() }, transient("p"));
    harness.add_stream("all", StreamNumber(5), TrimmedOffset::Refuse);
    harness.add_stream("more", StreamNumber(6), TrimmedOffset::Refuse);
    let mut connect = durable("asks");
    connect.properties.user_properties = [("explain", "true")].into_iter().collect();
    let asks = harness.connect(connect.clone());
    for (number, qos) in [(1, Q1), (2, Q2)] {
        let all = told(&mut harness, asks, publish("u", "x", qos, number));
        let sequence = format!("stream-sequence={number}");
        let expected =
            ["durability=crash", "receivers=1", "stream=all", &*sequence, "stream=more", &*sequence].map(str::to_owned);
        assert_eq!(all, expected);
    }
    let range = "stream-sequence=3-5";
    let of_batch = told(&mut harness, asks, batch(THREE, Q1, 3));
    assert_eq!(of_batch[2..], ["stream=all", range, "stream=more", range]);
    assert_eq!(told(&mut harness, asks, publish("u", "x", Q1, 4))[3], "stream-sequence=6");
    // What does not fit is left out, and the rest is told.
    let mut small = Connect { client_id: "small".into(), ..connect };
    small.properties.maximum_packet_size = NonZeroU32::new(80);
    let small = harness.connect(small);
    assert_eq!(told(&mut harness, small, publish("u", "x", Q1, 1)), ["durability=crash", "receivers=1"]);
    let other = harness.connect(transient("silent"));
    assert_eq!(told(&mut harness, other, publish("u", "x", Q1, 1)), [""; 0]);
}
