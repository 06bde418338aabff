//! What a client may receive is decided again when a message is delivered, by the rules in force then.

use std::sync::Arc;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Answer, DropReason, Event, Query, QueryId, QueueHead, Report, Revocation, Settings};
use crate::codec::{ClientId, ClientPacket, Connect, Will};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

/// Everything below these filters.
fn only(filters: &[&str]) -> Access {
    let rule = |filter: &&str| AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::try_from(*filter).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    };
    Access::new(filters.iter().map(rule).collect())
}

/// Changes the rules of a connected client, as a reload does.
fn change(harness: &mut Harness, client: Client, access: Access) {
    harness.event(client.shard, Event::AccessChanged { connection: client.id, access: Arc::new(access) });
}

/// Changes the rules of all Sessions without connection.
fn change_away(harness: &mut Harness, shard: usize, access: &Access) {
    for slot in 0..harness.shards[shard].slots_end() {
        if harness.shards[shard].away(slot).is_some() {
            harness.event(shard, Event::AwayAccessChanged { slot, access: Arc::new(access.clone()) });
        }
    }
}

fn not_authorized(harness: &Harness) -> u64 {
    let dropped = |shard: &crate::broker::Shard| shard.counters().dropped[DropReason::NotAuthorized as usize];
    harness.shards.iter().map(dropped).sum()
}

/// The messages that the client lost because it may not receive them any more, as a query shows them.
fn not_authorized_of(harness: &mut Harness, client_id: &str) -> u64 {
    harness.event(0, Event::Query(QueryId(1), Box::new(Query::Client(ClientId::from(client_id)))));
    let Some((_, Answer::Client(Some(view)))) = harness.answers.pop() else { panic!("no such client") };
    let of_reason =
        |(reason, count): (DropReason, u32)| (reason == DropReason::NotAuthorized).then_some(u64::from(count));
    view.dropped.into_iter().filter_map(of_reason).sum()
}

/// A durable subscriber `s` to everything that is away, and for which messages of `secret` and `open` are queued at QoS 1 and 2.
fn away(settings: Settings) -> Harness {
    let mut harness = Harness::with(1, settings);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("#", Q2)]);
    harness.lose(subscriber);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("secret", "1", Q1, 1), publish("open", "2", Q1, 2)]);
    harness.run(publisher, [publish("secret", "3", Q2, 3), publish("open", "4", Q2, 4)]);
    harness
}

const OPEN: [&str; 2] = ["PUBLISH open 2 q1 #2", "PUBLISH open 4 q2 #4"];

#[test]
fn mqtt5_queued_messages_are_judged_by_the_rules_at_the_reconnect() {
    for in_store in [false, true] {
        let head = QueueHead { messages_max: 1, bytes_max: 100_000, away_share: 1 };
        let mut harness = away(Settings { queue_head: in_store.then_some(head), ..settings() });
        harness.granted = Some(only(&["open"]));
        let subscriber = harness.connect(durable("s"));
        assert_eq!(harness.received(subscriber), OPEN);
        assert_eq!((not_authorized(&harness), not_authorized_of(&mut harness, "s")), (2, 2));
        harness.run(subscriber, [puback(2), pubrec(4), pubcomp(4)]);
        harness.granted = Some(Access::everything());
        harness.restart(settings());
        let subscriber = harness.connect(durable("s"));
        assert_eq!(harness.received(subscriber), [""; 0], "the records of dropped messages are deleted");
    }
}

#[test]
fn mqtt5_a_reload_while_the_client_is_away_applies_to_its_queue_and_to_later_messages() {
    let mut harness = away(settings());
    change_away(&mut harness, 0, &only(&["open"]));
    let publisher = harness.connect(transient("q"));
    assert_eq!(harness.ask(publisher, publish("secret", "5", Q1, 1)), ["PUBACK 1 0x10"], "no receiver");
    assert_eq!(not_authorized(&harness), 0, "nothing is dropped before it is due");
    harness.granted = Some(only(&["open"]));
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), OPEN);
    assert_eq!(not_authorized(&harness), 2);
    let dropping = harness.reports.iter().filter(|report| matches!(report, Report::Dropping { .. })).count();
    assert_eq!(dropping, 2, "one line for each series");
}

#[test]
fn mqtt5_a_right_that_is_given_back_in_time_loses_nothing() {
    let mut harness = away(settings());
    change_away(&mut harness, 0, &only(&[]));
    change_away(&mut harness, 0, &Access::everything());
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber).len(), 4);
    assert_eq!(not_authorized(&harness), 0);
}

#[test]
fn mqtt5_restored_sessions_are_judged_by_the_rules_after_the_restart() {
    let mut harness = away(settings());
    harness.restored_access = only(&["open"]);
    harness.restart(settings());
    harness.granted = Some(only(&["open"]));
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber), OPEN);
    assert_eq!(not_authorized(&harness), 2);
}

#[test]
fn mqtt5_4_4_0_1_a_flow_in_progress_finishes() {
    let mut harness = Harness::new();
    let mut connect = durable("s");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(2).unwrap();
    let subscriber = harness.connect(connect.clone());
    harness.run(subscriber, [subscribe("#", Q2)]);
    let publisher = harness.connect(transient("p"));
    for number in 1..=5 {
        harness.run(publisher, [publish("secret", "x", Q2, number), pubrel(number)]);
    }
    assert_eq!(harness.received(subscriber), ["PUBLISH secret x q2 #1", "PUBLISH secret x q2 #2"]);
    change(&mut harness, subscriber, only(&["open"]));
    harness.lose(subscriber);
    harness.granted = Some(only(&["open"]));
    let subscriber = harness.connect(connect);
    let resent = ["PUBLISH secret x q2 #1 dup", "PUBLISH secret x q2 #2 dup"];
    assert_eq!(harness.received(subscriber), resent);
    assert_eq!(harness.ask(subscriber, pubrec(1)), ["PUBREL 1"]);
    assert_eq!(harness.ask(subscriber, pubrec(2)), ["PUBREL 2"]);
    assert_eq!(harness.ask(subscriber, pubcomp(1)), [""; 0]);
    assert_eq!(harness.ask(subscriber, pubcomp(2)), [""; 0]);
    assert_eq!(not_authorized_of(&mut harness, "s"), 3);
    let later = harness.connect_to(0, Connect { will: None, ..transient("q") });
    harness.run(later, [publish("open", "y", Q2, 1)]);
    assert_eq!(harness.received(subscriber), ["PUBLISH open y q2 #6"], "the queue goes on");
}

#[test]
fn mqtt5_a_message_on_its_way_from_a_commit_or_another_shard_is_judged_when_it_arrives() {
    for connect in [transient("s"), durable("s")] {
        for qos in [Q0, Q1, Q2] {
            let mut harness = Harness::with(2, settings());
            let subscriber = harness.connect_to(1, connect.clone());
            harness.run(subscriber, [subscribe("#", Q2)]);
            let publisher = harness.connect(durable("p"));
            (harness.store_answers, harness.forwards) = (false, false);
            harness.send(publisher, publish("secret", "x", qos, if qos == Q0 { 0 } else { 1 }));
            harness.send(publisher, publish("open", "y", qos, if qos == Q0 { 0 } else { 2 }));
            change(&mut harness, subscriber, only(&["open"]));
            harness.persist();
            harness.forward();
            let lines = harness.received(subscriber);
            assert!(lines.len() == 1 && lines[0].starts_with("PUBLISH open y"), "{qos:?}: {lines:?}");
            assert_eq!(not_authorized(&harness), 1);
        }
    }
}

#[test]
fn mqtt5_a_retained_message_whose_record_is_not_stable_is_judged_when_it_is() {
    let mut harness = Harness::new();
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("secret", "x", Q1, 1), retain("open", "y", Q1, 2)]);
    let subscriber = harness.connect(durable("s"));
    harness.store_answers = false;
    harness.send(subscriber, subscribe("#", Q1));
    harness.persist_one(0); // SUBACK; the retained messages have their own records
    assert!(harness.received(subscriber).iter().all(|line| !line.starts_with("PUBLISH")));
    change(&mut harness, subscriber, only(&["open"]));
    harness.persist();
    let lines = harness.received(subscriber);
    assert!(lines.len() == 1 && lines[0].starts_with("PUBLISH open y"), "{lines:?}");
}

/// Two durable members of a share, both away, and two messages of `secret` for each.
fn share_away() -> Harness {
    let mut harness = Harness::new();
    for name in ["a", "b"] {
        let member = harness.connect(durable(name));
        harness.run(member, [subscribe("$share/g/#", Q2)]);
        harness.lose(member);
    }
    let publisher = harness.connect(transient("p"));
    for number in 1..=4 {
        harness.run(publisher, [publish("secret", "x", if number % 2 == 0 { Q2 } else { Q1 }, number)]);
    }
    harness
}

fn change_one(harness: &mut Harness, client_id: &str, access: Access) {
    let shard = &harness.shards[0];
    let is_it = |slot: &usize| shard.away(*slot).is_some_and(|(name, ..)| name.as_str() == client_id);
    let slot = (0..shard.slots_end()).find(is_it).unwrap();
    harness.event(0, Event::AwayAccessChanged { slot, access: Arc::new(access) });
}

#[test]
fn mqtt5_4_8_2_messages_of_a_share_go_to_a_member_that_may_receive_them() {
    let mut harness = share_away();
    change_one(&mut harness, "a", only(&["open"]));
    assert_eq!(not_authorized(&harness), 0);
    for restarted in [false, true] {
        if restarted {
            harness.restart(settings());
        }
        let member = harness.connect(durable("b"));
        assert_eq!(harness.received(member).len(), 4, "restarted: {restarted}");
        harness.lose(member);
    }
    change_one(&mut harness, "b", only(&[]));
    assert_eq!(not_authorized(&harness), 0, "all were sent");
}

#[test]
fn mqtt5_messages_of_a_share_without_a_member_that_may_receive_them_are_dropped() {
    let mut harness = share_away();
    change_one(&mut harness, "a", only(&["open"]));
    change_one(&mut harness, "b", only(&["open"]));
    assert_eq!((not_authorized(&harness), not_authorized_of(&mut harness, "b")), (4, 4));
}

#[test]
fn mqtt5_waiting_messages_of_a_connected_member_go_to_another() {
    let mut harness = Harness::new();
    let mut connect = durable("a");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1).unwrap();
    let first = harness.connect(connect);
    harness.run(first, [subscribe("$share/g/#", Q1)]);
    let publisher = harness.connect(transient("p"));
    for number in 1..=3 {
        harness.run(publisher, [publish("secret", "x", Q1, number)]);
    }
    let second = harness.connect(transient("b"));
    harness.run(second, [subscribe("$share/g/#", Q1)]);
    assert_eq!(harness.received(first), ["PUBLISH secret x q1 #1"]);
    change(&mut harness, first, only(&["open"]));
    assert_eq!(harness.received(second).len(), 2);
    assert_eq!(harness.ask(first, puback(1)), [""; 0]);
    assert_eq!(not_authorized(&harness), 0);
}

fn with_will(connect: Connect, delay: u32) -> Connect {
    Connect { will: Some(Will { will_delay_interval: delay, ..will("secret", "gone") }), ..connect }
}

#[test]
fn mqtt5_a_will_is_judged_when_it_is_published() {
    for (delay, reload_after) in [(0, false), (5, false), (5, true)] {
        let mut harness = Harness::new();
        let watcher = harness.connect(transient("watcher"));
        harness.run(watcher, [subscribe("#", Q2)]);
        let client = harness.connect(with_will(durable("a"), delay));
        if reload_after {
            harness.lose(client);
            change_one(&mut harness, "a", only(&["open"]));
        } else {
            change(&mut harness, client, only(&["open"]));
            harness.lose(client);
        }
        harness.seconds(10);
        assert_eq!(harness.received(watcher), [""; 0]);
        assert_eq!((not_authorized(&harness), not_authorized_of(&mut harness, "a")), (1, 1));
        assert!(matches!(&harness.reports[..], [.., Report::Denied { packet: "Will", .. }]));
        harness.restart(settings());
        harness.seconds(20);
        assert_eq!(not_authorized(&harness), 0, "its record is deleted");
    }
}

fn revoke(harness: &mut Harness, client: Client, access: Access, revocation: Revocation) {
    let (connection, access) = (client.id, Arc::new(access));
    harness.event(client.shard, Event::Revoked { connection, access, revocation });
}

#[test]
fn mqtt5_a_revoked_client_is_disconnected_with_0x87() {
    for revocation in [Revocation::User, Revocation::Password, Revocation::Certificate, Revocation::Authority] {
        for (connect, lines) in [(durable("a"), &["DISCONNECT 0x87", "CLOSED"][..]), (v311("a", false), &["CLOSED"])] {
            let mut harness = Harness::new();
            let client = harness.connect(connect);
            harness.run(client, [subscribe("#", Q1)]);
            revoke(&mut harness, client, only(&[]), revocation);
            assert_eq!(harness.received(client), lines);
            let Some(Report::Disconnected { cause, .. }) = harness.reports.last() else { panic!("not reported") };
            assert_eq!(cause, revocation.cause());
        }
    }
}

#[test]
fn mqtt5_the_will_of_a_removed_user_and_of_a_revoked_key_is_not_published() {
    for (revocation, access, published) in [
        (Revocation::User, only(&[]), 0),
        (Revocation::Certificate, Access::everything(), 0),
        (Revocation::Authority, Access::everything(), 0),
        (Revocation::Password, Access::everything(), 1),
    ] {
        let mut harness = Harness::new();
        let watcher = harness.connect(transient("watcher"));
        harness.run(watcher, [subscribe("#", Q2)]);
        for connect in [transient("a"), durable("b")] {
            let client = harness.connect(with_will(connect, 0));
            revoke(&mut harness, client, access.clone(), revocation);
            assert_eq!(harness.received(watcher).len(), published, "{revocation:?}");
        }
        assert_eq!(not_authorized(&harness), 2 - 2 * published as u64);
    }
}

#[test]
fn mqtt5_a_session_keeps_what_is_queued_when_its_password_changes() {
    let mut harness = Harness::new();
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe("t", Q1)]);
    revoke(&mut harness, client, Access::everything(), Revocation::Password);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    let client = harness.connect(durable("a"));
    assert_eq!(harness.received(client), ["PUBLISH t x q1 #1"]);
}

#[test]
fn a_connection_whose_certificate_is_revoked_before_its_connect_is_closed_without_a_packet() {
    let mut harness = Harness::new();
    let client = harness.open(0);
    revoke(&mut harness, client, only(&[]), Revocation::Certificate);
    assert_eq!(harness.received(client), ["CLOSED"]);
}

#[test]
fn mqtt5_a_client_that_waits_for_its_session_is_refused_when_it_is_revoked() {
    let mut harness = Harness::with(2, settings());
    let first = harness.connect_to(1, durable("a"));
    harness.forwards = false;
    let second = harness.open(0);
    harness.send(second, ClientPacket::Connect(Box::new(durable("a"))));
    revoke(&mut harness, second, only(&[]), Revocation::User);
    assert_eq!(harness.received(second), ["CONNACK 0x87", "CLOSED"]);
    harness.forward();
    assert_eq!(harness.received(first), ["DISCONNECT 0x8E", "CLOSED"]);
}
