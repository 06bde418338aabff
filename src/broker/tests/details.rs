//! Reports of detail: none while they are off, and none about other clients.

use super::defaults::settings;
use super::harness::{Client, Harness};
use super::packets::*;
use crate::broker::{ClientLabel, Detail, DetailLevel, Event, Report, SessionChange, WillOutcome};
use crate::codec::{Connect, ReasonCode, Will};

/// A broker of `shards` shards that reports details about clients of these patterns.
fn detailed(shards: usize, patterns: &[&str]) -> Harness {
    let mut harness = Harness::with(shards, settings());
    for shard in 0..shards {
        let detail = Detail::new(DetailLevel::Debug, patterns.iter().copied());
        harness.event(shard, Event::DetailChanged(Box::new(detail)));
    }
    harness
}

fn name(client: &ClientLabel) -> &str {
    client.client_id.as_ref().map_or("", |client_id| client_id.as_str())
}

/// The details so far, one text each; forgets them.
fn details(harness: &mut Harness) -> Vec<String> {
    let text = |report: Report| match report {
        Report::Published { message, reason_code, duplicate, receivers } => {
            let (retain, duplicate) = (if message.retain { " retain" } else { "" }, if duplicate { " again" } else { "" });
            let (qos, bytes, code) = (message.qos.level(), message.bytes, reason_code.number());
            let client = name(&message.client);
            Some(format!("{client} PUBLISH {} q{qos} {bytes}{retain}{duplicate} to {receivers} {code:02X}", message.topic))
        }
        Report::Subscribed { client, answers } | Report::Unsubscribed { client, answers } => {
            let answers = answers.iter().map(|answer| format!(" {} {:02X}", answer.filter, answer.reason_code.number()));
            Some(format!("{}{}", name(&client), answers.collect::<String>()))
        }
        Report::Session { client, change } => Some(format!("{} {change:?}", name(&client))),
        Report::Will { client, topic, outcome } => Some(format!("{} Will {topic} {outcome:?}", name(&client))),
        Report::Connected { .. }
        | Report::Refused { .. }
        | Report::Disconnected { .. }
        | Report::Denied { .. }
        | Report::Unreadable { .. }
        | Report::Dropping { .. } => None,
    };
    harness.reports.drain(..).filter_map(text).collect()
}

fn with_will(connect: Connect, delay: u32) -> Connect {
    Connect { will: Some(Will { will_delay_interval: delay, ..will("w", "gone") }), ..connect }
}

/// Everything that has a detail.
fn live(harness: &mut Harness) -> Client {
    let client = harness.connect(with_will(durable("a"), 0));
    harness.run(client, [subscribe("t/+", Q1)]);
    harness.run(client, [publish("t/1", "12345", Q1, 1), publish("none", "", Q0, 0)]);
    harness.run(client, [unsubscribe(9, &["t/+", "never"])]);
    client
}

#[test]
fn no_detail_is_reported_while_they_are_off_or_about_other_clients() {
    for patterns in [None, Some("b*")] {
        let mut harness = match patterns {
            None => Harness::new(),
            Some(pattern) => detailed(1, &[pattern]),
        };
        let client = live(&mut harness);
        harness.lose(client);
        harness.seconds(2_000);
        assert_eq!(details(&mut harness), [""; 0], "{patterns:?}");
    }
}

#[test]
fn a_publish_a_subscribe_and_a_session_are_reported_with_what_came_of_them() {
    let mut harness = detailed(1, &["a"]);
    let client = live(&mut harness);
    let expected = ["a Created", "a t/+ 01", "a PUBLISH t/1 q1 5 to 1 00", "a PUBLISH none q0 0 to 0 10", "a t/+ 00 never 11"];
    assert_eq!(details(&mut harness), expected);
    harness.lose(client);
    let client = harness.connect(durable("a"));
    assert_eq!(details(&mut harness), ["a Will w Published { receivers: 0 }", "a Resumed { queued: 1 }"]);
    harness.send(client, disconnect(ReasonCode::Success));
    harness.seconds(2_000);
    assert_eq!(details(&mut harness), ["a Expired"]);
}

#[test]
fn a_discarded_will_and_an_ended_session_are_reported_with_the_cause() {
    let mut harness = detailed(1, &[]);
    let client = harness.connect(with_will(transient("a"), 0));
    harness.send(client, disconnect(ReasonCode::Success));
    let [created, will, ended] = &details(&mut harness)[..] else { panic!() };
    assert_eq!(created, "a Created");
    assert_eq!(*will, format!("a Will w {:?}", WillOutcome::Discarded { cause: "normal disconnection" }));
    assert_eq!(*ended, format!("a {:?}", SessionChange::Ended { cause: "its connection ended" }));
    let _old = harness.connect(durable("a"));
    details(&mut harness);
    let _new = harness.connect(transient("a"));
    let clean = format!("a {:?}", SessionChange::Ended { cause: "CONNECT with Clean Start" });
    assert_eq!(details(&mut harness), ["a TakenOver", &clean, "a Created"]);
}

#[test]
fn a_session_that_moves_between_shards_is_reported() {
    let mut harness = detailed(2, &[]);
    let _old = harness.connect_to(0, durable("a"));
    let _new = harness.connect_to(1, durable("a"));
    let expected = ["a Created", "a TakenOver", "a Moved { to: ShardId(1) }", "a Resumed { queued: 0 }"];
    assert_eq!(details(&mut harness), expected);
}
