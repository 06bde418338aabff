//! Bridges: the bridge bit of the protocol level, and the states of bridges below `$SYS`.

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Answer, DropReason, Event, Query, QueryId, Report};
use crate::codec::{ClientId, Connect, ProtocolVersion, Publish, Will};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::TopicFilter;

const STATE: &str = "$SYS/broker/connection/host.b/state";

/// A CONNECT whose protocol level has the bridge bit.
fn bridge(version: ProtocolVersion, client_id: &str, clean_session: bool) -> Connect {
    Connect { is_bridge: true, ..Connect::new(version, client_id, clean_session) }
}

/// A Will at QoS 1 with RETAIN, as mosquitto's bridges have it.
fn state_will(name: &str, payload: &'static str) -> Option<Will> {
    Some(Will { qos: Q1, retain: true, ..will(name, payload) })
}

/// What a new client finds below `$SYS/broker/connection`.
fn states(harness: &mut Harness) -> Vec<String> {
    let client = harness.connect(transient("reader"));
    let lines = harness.ask(client, subscribe("$SYS/broker/connection/#", Q0));
    harness.run(client, [disconnect(crate::codec::ReasonCode::Success)]);
    lines[1..].to_vec()
}

fn allowing(filters: &[&str]) -> Access {
    let rule = |filter: &&str| AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::new((*filter).into()).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    };
    Access::new(filters.iter().map(rule).collect())
}

#[test]
fn bridge_subscriptions_have_no_local_and_retain_as_published() {
    for version in [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1] {
        let mut harness = Harness::new();
        let client = harness.connect(bridge(version, "b", true));
        harness.run(client, [subscribe("#", Q1)]);
        let other = harness.connect(transient("p"));
        assert_eq!(harness.ask(client, publish("t", "own", Q1, 1)), ["PUBACK 1 0x10"], "not sent back");
        harness.run(other, [retain("t", "kept", Q0, 0), publish("t", "live", Q0, 0)]);
        assert_eq!(harness.received(client), ["PUBLISH t kept q0 retain", "PUBLISH t live q0"]);
        let plain = harness.connect(Connect::new(version, "c", true));
        harness.run(plain, [subscribe("u", Q0)]);
        harness.run(other, [retain("u", "kept", Q0, 0)]);
        assert_eq!(harness.received(plain), ["PUBLISH u kept q0"]);
        assert_eq!(harness.ask(plain, publish("u", "own", Q0, 0)), ["PUBLISH u own q0"]);
    }
}

#[test]
fn mqtt5_3_8_3_4_shared_subscription_of_a_bridge_is_not_no_local() {
    let mut harness = Harness::new();
    let client = harness.connect(bridge(ProtocolVersion::V3_1_1, "b", true));
    harness.run(client, [subscribe("$share/g/t", Q0)]);
    assert_eq!(harness.ask(client, publish("t", "own", Q0, 0)), ["PUBLISH t own q0"]);
    assert_eq!(harness.ask(client, retain("t", "kept", Q0, 0)), ["PUBLISH t kept q0 retain"]);
}

#[test]
fn subscriptions_of_a_bridge_keep_their_options_after_a_restart_and_a_takeover() {
    let mut harness = Harness::with(2, settings());
    let client = harness.connect(bridge(ProtocolVersion::V3_1_1, "b", false));
    harness.run(client, [subscribe("#", Q1)]);
    harness.restart(settings());
    for shard in [0, 1] {
        let client = harness.connect_to(shard, bridge(ProtocolVersion::V3_1_1, "b", false));
        let publisher = harness.connect(transient("p"));
        harness.run(client, [publish("t", "own", Q1, 1)]);
        harness.run(publisher, [retain("t", "kept", Q0, 0)]);
        assert_eq!(harness.received(client), ["PUBLISH t kept q0 retain"], "shard {shard}");
    }
}

#[test]
fn query_tells_whether_a_client_is_a_bridge() {
    let mut harness = Harness::new();
    harness.connect(bridge(ProtocolVersion::V3_1_1, "b", true));
    harness.connect(v311("c", true));
    for (name, is_bridge) in [("b", true), ("c", false)] {
        harness.event(0, Event::Query(QueryId(1), Box::new(Query::Client(ClientId::from(name)))));
        let Some((_, Answer::Client(Some(view)))) = harness.answers.pop() else { panic!("no client") };
        assert_eq!(view.connection.unwrap().is_bridge, is_bridge);
    }
}

#[test]
fn state_of_a_bridge_is_retained_below_sys() {
    for connect in [
        bridge(ProtocolVersion::V3_1, "host.b", false),
        bridge(ProtocolVersion::V3_1_1, "other", false),
        v311("host.b", true),
        durable("host.b"),
    ] {
        let mut harness = Harness::new();
        let watcher = harness.connect(v311("w", true));
        harness.run(watcher, [subscribe("$SYS/#", Q1)]);
        let everything = harness.connect(v311("e", true));
        harness.run(everything, [subscribe("#", Q1), subscribe("+/broker/connection/+/state", Q1)]);
        let client = harness.connect(Connect { will: state_will(STATE, "0"), ..connect });
        assert_eq!(harness.ask(client, retain(STATE, "1", Q1, 1)).last().unwrap(), "PUBACK 1");
        assert_eq!(harness.received(watcher), [format!("PUBLISH {STATE} 1 q1 #1")]);
        assert_eq!(states(&mut harness), [format!("PUBLISH {STATE} 1 q0 retain")]);
        assert_eq!(harness.shards[0].shared.retained_len().0, 1);
        harness.lose(client);
        assert_eq!(harness.received(watcher), [format!("PUBLISH {STATE} 0 q1 #2")]);
        assert_eq!(harness.received(everything), [""; 0], "wildcards do not match $SYS");
        harness.restart(settings());
        assert_eq!(states(&mut harness), [format!("PUBLISH {STATE} 0 q0 retain")]);
        let client = harness.connect(v311("host.b", true));
        harness.run(client, [retain(STATE, "", Q1, 1)]);
        assert_eq!(states(&mut harness), [""; 0]);
    }
}

#[test]
fn state_will_of_a_lost_run_is_published_after_the_restart() {
    let mut harness = Harness::new();
    harness.connect(Connect { will: state_will(STATE, "0"), ..bridge(ProtocolVersion::V3_1_1, "host.b", false) });
    harness.restart(settings());
    harness.seconds(1);
    assert_eq!(states(&mut harness), [format!("PUBLISH {STATE} 0 q0 retain")]);
}

/// Publishes at each QoS, which must be acknowledged and dropped with these 5.0 Reason Codes; and as a Will, which must be accepted and dropped.
#[track_caller]
fn expect_dropped(harness: &mut Harness, connect: &Connect, topic: &str, payload: &'static str, code: &str) {
    let watcher = harness.connect_to(0, durable("watcher"));
    harness.run(watcher, [subscribe("$SYS/#", Q0)]);
    let client: Client = harness.connect(Connect { will: state_will(topic, payload), ..connect.clone() });
    let denied = harness.shards[0].counters().denied;
    let message = |qos, number| {
        let message = Publish { retain: true, ..message(topic, payload, qos, number) };
        crate::codec::ClientPacket::Publish(message)
    };
    assert_eq!(harness.ask(client, message(Q0, 0)), [""; 0]);
    assert_eq!(harness.ask(client, message(Q1, 1)), [format!("PUBACK 1 {code}")]);
    assert_eq!(harness.ask(client, message(Q2, 2)), [format!("PUBREC 2 {code}")]);
    assert_eq!(harness.shards[0].counters().denied, denied + 3);
    harness.reports.clear();
    harness.lose(client);
    let is_report = |report: &Report| matches!(report, Report::Denied { packet: "Will", client, .. } if client.client_id == Some(ClientId::from(&*connect.client_id)));
    assert_eq!(harness.reports.iter().filter(|report| is_report(report)).count(), 1, "{:?}", harness.reports);
    assert_eq!(harness.shards[0].counters().dropped[DropReason::WillRefused as usize], 1);
    assert_eq!(harness.received(watcher), [""; 0]);
    assert_eq!(states(harness), [""; 0]);
}

#[test]
fn other_sys_topics_are_the_brokers_own() {
    for topic in
        ["$SYS", "$SYS/", "$SYS/broker/version", "$SYS/broker/connection/a/b/state", "$SYS/broker/connection/b"]
    {
        for connect in [durable("host.b"), bridge(ProtocolVersion::V3_1_1, "host.b", true)] {
            expect_dropped(&mut Harness::new(), &connect, topic, "1", "0x90");
        }
    }
}

#[test]
fn state_of_another_bridge_is_dropped() {
    for connect in [durable("a"), v311("a", true), v311("host", false)] {
        expect_dropped(&mut Harness::new(), &connect, STATE, "1", "0x87");
    }
}

#[test]
fn state_of_more_than_64_bytes_is_dropped() {
    const LONG: &str = "12345678901234567890123456789012345678901234567890123456789012345";
    for connect in [durable("host.b"), bridge(ProtocolVersion::V3_1_1, "a", true)] {
        expect_dropped(&mut Harness::new(), &connect, STATE, LONG, "0x97");
    }
    let mut harness = Harness::new();
    let client = harness.connect(v311("host.b", true));
    harness.run(client, [retain(STATE, &LONG[..64], Q1, 1)]);
    assert_eq!(states(&mut harness), [format!("PUBLISH {STATE} {} q0 retain", &LONG[..64])]);
}

#[test]
fn access_rules_decide_who_publishes_a_state() {
    for rules in [&[][..], &["#"], &["+/#", "$SYS/broker/connection/other/state"]] {
        let mut harness = Harness::new();
        let connect = bridge(ProtocolVersion::V3_1_1, "host.b", true);
        let reader = harness.connect(durable("watcher"));
        harness.run(reader, [subscribe("$SYS/#", Q0)]);
        harness.granted = Some(allowing(rules));
        let client = harness.connect(Connect { will: state_will(STATE, "0"), ..connect });
        assert_eq!(harness.ask(client, retain(STATE, "1", Q1, 1)), ["PUBACK 1 0x87"], "{rules:?}");
        harness.lose(client);
        assert_eq!(harness.received(reader), [""; 0], "{rules:?}");
    }
    for rules in [&["$SYS/broker/connection/host.b/state"][..], &["$SYS/#"], &["$SYS/broker/connection/+/state"]] {
        let mut harness = Harness::new();
        let reader = harness.connect(durable("watcher"));
        harness.run(reader, [subscribe("$SYS/broker/#", Q0)]);
        harness.granted = Some(allowing(rules));
        let client = harness.connect(Connect { will: state_will(STATE, "0"), ..v311("any", true) });
        harness.run(client, [retain(STATE, "1", Q1, 1)]);
        harness.run(client, [retain("$SYS/broker/version", "1", Q1, 2)]);
        harness.lose(client);
        assert_eq!(harness.received(reader), [format!("PUBLISH {STATE} 1 q0"), format!("PUBLISH {STATE} 0 q0")]);
    }
}

#[test]
fn refused_state_will_is_not_stored_and_a_new_will_replaces_it() {
    let mut harness = Harness::new();
    let refused = Connect { will: state_will("$SYS/broker/version", "0"), ..durable("a") };
    harness.connect(refused.clone());
    let crashed = harness.crash(harness.records.len());
    assert_eq!(crashed.shards[0].counters().dropped[DropReason::WillRefused as usize], 0);
    let client = harness.connect(Connect { will: Some(will("w", "gone")), ..refused });
    let watcher = harness.connect(transient("s"));
    harness.run(watcher, [subscribe("w", Q0)]);
    harness.lose(client);
    assert_eq!(harness.received(watcher), ["PUBLISH w gone q0"]);
}
