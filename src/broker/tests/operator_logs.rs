//! The logs of refusals and of dropped messages.

use super::harness::{Harness, settings};
use super::operator::ask;
use super::packets::*;
use crate::broker::{DropReason, LogRequest, QueueOverflow, RefusedAction, TopicAnswer, TopicQuery};
use crate::codec::{ClientPacket, Publish, ReasonCode};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RetainedLimits, RuleSource};
use crate::topic::TopicFilter;

const ALL: LogRequest = LogRequest { before: None, limit: 1_000 };

/// The refusals of a shard, as lines.
fn refusals(harness: &mut Harness, shard: usize) -> Vec<String> {
    let TopicAnswer::Refusals(page) = ask(harness, shard, TopicQuery::Refusals(ALL)) else { panic!() };
    let show = |text: Option<Box<str>>| text.unwrap_or_else(|| "-".into());
    let entries = page.entries.into_iter().map(|(_, view)| {
        let action = match view.action {
            RefusedAction::Connect => "connect",
            RefusedAction::Publish => "publish",
            RefusedAction::Subscribe => "subscribe",
        };
        let (client, topic, rule) = (show(view.client_id), show(view.topic), show(view.rule));
        format!("{action} {client} {topic} 0x{:02X} {rule}", view.reason_code as u8)
    });
    entries.collect()
}

/// The drops of a shard, as lines.
fn drops(harness: &mut Harness, shard: usize) -> Vec<String> {
    let TopicAnswer::Drops(page) = ask(harness, shard, TopicQuery::Drops(ALL)) else { panic!() };
    let entries = page.entries.into_iter().map(|(_, view)| {
        let (topic, reason) = (view.topic.unwrap_or_else(|| "-".into()), view.reason.name());
        format!("{} {topic} {reason} {}", view.client_id, view.count)
    });
    entries.collect()
}

#[test]
fn refused_packets_are_noted_with_their_rule() {
    let mut harness = Harness::new();
    let rule = |action, filter: &str, line| AccessRule {
        effect: if line == 2 { Effect::Deny } else { Effect::Allow },
        action,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new("acl.conf", line, ""),
    };
    harness.granted =
        Some(Access::new(vec![rule(AccessAction::Both, "a/#", 1), rule(AccessAction::Both, "a/secret", 2)]));
    let client = harness.connect(transient("c"));
    harness.run(client, [publish("a/x", "x", Q1, 1), publish("a/secret", "x", Q0, 0), publish("b", "x", Q1, 2)]);
    harness.run(client, [subscribe("b/#", Q1), subscribe("a/#", Q1)]);
    for number in 0..12 {
        harness.run(client, [subscribe(&format!("a/{number}"), Q0)]);
    }
    let mut connect = transient("w");
    connect.will = Some(will("b", "x"));
    harness.attempt(0, connect);
    harness.granted = None;
    harness.attempt(0, transient("r"));
    harness.refuse(ReasonCode::BadUserNameOrPassword);
    assert_eq!(
        refusals(&mut harness, 0),
        [
            "publish c a/secret 0x87 denied by acl.conf:2",
            "publish c b 0x87 no rule allows it",
            "subscribe c b/# 0x87 no rule allows it",
            "subscribe c a/9 0x97 -",
            "subscribe c a/10 0x97 -",
            "subscribe c a/11 0x97 -",
            "connect w b 0x87 no rule allows it",
            "connect w - 0x87 -",
            "connect r - 0x86 -",
        ]
    );
}

#[test]
fn a_message_without_room_is_a_refusal_and_a_dropped_one_is_noted_for_its_receiver() {
    for (overflow, expected) in [
        (QueueOverflow::DropOldest, "s t/1 queue_full 1"),
        (QueueOverflow::DropNewest, "s t/3 queue_full 1"),
        (QueueOverflow::Reject, ""),
    ] {
        let mut small = settings();
        (small.queue_overflow, small.queued_messages_max) = (overflow, 2);
        let mut harness = Harness::with(2, small);
        let subscriber = harness.connect_to(1, durable("s"));
        harness.run(subscriber, [subscribe("t/#", Q1)]);
        harness.lose(subscriber);
        let publisher = harness.connect_to(0, transient("p"));
        harness.run(publisher, [publish("t/1", "x", Q1, 1), publish("t/2", "x", Q1, 2), publish("t/3", "x", Q1, 3)]);
        let all = [drops(&mut harness, 0), drops(&mut harness, 1)].concat();
        if overflow == QueueOverflow::Reject {
            assert_eq!(all, [""; 0]);
            assert_eq!(refusals(&mut harness, 0), ["publish p t/3 0x97 -"]);
        } else {
            assert_eq!(all, [expected], "{overflow:?}");
            assert_eq!(refusals(&mut harness, 0), [""; 0]);
        }
        let dropped: u64 = harness.shards.iter().map(|s| s.counters().dropped[DropReason::QueueFull as usize]).sum();
        assert_eq!(dropped, u64::from(overflow != QueueOverflow::Reject));
    }
}

#[test]
fn what_is_not_delivered_is_noted_with_its_reason() {
    let limits = RetainedLimits { retained_messages_max: 1, retained_bytes_max: 100_000 };
    let mut harness = Harness::with_retained(1, settings(), limits);
    let away = harness.connect(durable("away"));
    harness.run(away, [subscribe("t", Q1)]);
    harness.lose(away);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q0, 0), publish("t", "x", Q0, 0)]);
    let expires = Publish { message_expiry_interval: Some(1), ..message("t", "x", Q1, 1) };
    harness.run(publisher, [ClientPacket::Publish(expires)]);
    harness.run(publisher, [retain("one", "x", Q0, 0), retain("two", "x", Q0, 0)]);
    assert_eq!(drops(&mut harness, 0), ["away t not_connected 2", "p two retained_full 1"]);
    harness.seconds(3);
    harness.connect(durable("away"));
    assert_eq!(drops(&mut harness, 0).last().unwrap(), "away t expired 1");

    harness.run(publisher, [publish("t", "x", Q1, 2)]);
    let mut clean = durable("away");
    clean.clean_start = true;
    harness.connect(clean);
    assert_eq!(drops(&mut harness, 0).last().unwrap(), "away - session_ended 1");
}

#[test]
fn a_message_that_is_too_large_is_noted() {
    let mut harness = Harness::new();
    let mut connect = transient("small");
    connect.properties.maximum_packet_size = std::num::NonZeroU32::new(30);
    let client = harness.connect(connect);
    harness.run(client, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    let payload = "0123456789012345678901234567890123456789";
    harness.run(publisher, [publish("t", payload, Q0, 0), publish("t", payload, Q1, 1)]);
    assert_eq!(drops(&mut harness, 0), ["small t packet_too_large 2"]);
}
