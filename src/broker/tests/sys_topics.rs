//! The `$SYS` topics have the names and the meaning that exporters of mosquitto expect.

use std::time::Duration;

use super::harness::{Harness, settings};
use super::packets::*;
use crate::broker::ProcessFigures;
use crate::routing::RetainedLimits;

/// The value of a topic, which a new subscription gets.
fn value(harness: &mut Harness, name: &str) -> Option<String> {
    let client = harness.connect(transient("reader"));
    let topic = format!("$SYS/broker/{name}");
    let lines = harness.ask(client, subscribe(&topic, Q0));
    harness.lose(client);
    let line = lines.get(1)?.strip_prefix(&format!("PUBLISH {topic} "))?;
    Some(line.trim_end_matches(" q0 retain").to_owned())
}

fn with_sys_topics() -> Harness {
    let mut settings = settings();
    settings.sys_interval = Duration::from_secs(10);
    let limits = RetainedLimits { retained_messages_max: 100, retained_bytes_max: 100_000 };
    Harness::with_retained(1, settings, limits)
}

#[test]
fn messages_in_flight_and_stored_are_counted() {
    let mut harness = with_sys_topics();
    let [here, away] = ["here", "away"].map(|name| harness.connect(durable(name)));
    for client in [here, away] {
        harness.run(client, [subscribe("a", Q1)]);
    }
    harness.lose(away);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("a", "12345", Q1, 1)]);
    harness.seconds(11);
    assert_eq!(
        value(&mut harness, "messages/inflight").as_deref(),
        Some("1"),
        "the client that is away was sent nothing"
    );
    for name in ["clients/active", "clients/connected"] {
        assert_eq!(value(&mut harness, name).as_deref(), Some("2"));
    }
    for name in ["clients/inactive", "clients/disconnected"] {
        assert_eq!(value(&mut harness, name).as_deref(), Some("1"));
    }
    let [stored, count] = ["messages/stored", "store/messages/count"].map(|name| value(&mut harness, name).unwrap());
    assert_eq!(stored, count);
    harness.lose(here);
    harness.seconds(11);
    assert_eq!(value(&mut harness, "messages/inflight").as_deref(), Some("0"), "nobody is connected to acknowledge it");
}

#[test]
fn load_is_averaged_per_minute() {
    let mut harness = with_sys_topics();
    let publisher = harness.connect(transient("p"));
    harness.seconds(2);
    for second in 0..600 {
        harness.run(publisher, [publish("a", "x", Q0, 0)]);
        harness.shards[0]
            .shared
            .publish_process(ProcessFigures { sockets_opened: second, ..ProcessFigures::default() });
        harness.seconds(1);
    }
    let mut average = |name: &str| value(&mut harness, &format!("load/{name}")).unwrap().parse::<f64>().unwrap();
    assert!((59.0..=61.0).contains(&average("publish/received/1min")), "{}", average("publish/received/1min"));
    assert!((59.0..=61.0).contains(&average("sockets/1min")), "{}", average("sockets/1min"));
    assert!((25.0..=35.0).contains(&average("publish/received/15min")), "{}", average("publish/received/15min"));
    for name in [
        "messages/received",
        "messages/sent",
        "publish/dropped",
        "publish/sent",
        "bytes/received",
        "bytes/sent",
        "connections",
    ] {
        for window in ["1min", "5min", "15min"] {
            assert!(average(&format!("{name}/{window}")) >= 0.0);
        }
    }
}

#[test]
fn memory_is_published_if_it_is_known() {
    let mut harness = with_sys_topics();
    harness.seconds(11);
    assert_eq!(value(&mut harness, "heap/current"), None);
    let figures = ProcessFigures { resident_bytes: Some(5), resident_bytes_max: Some(7), sockets_opened: 0 };
    harness.shards[0].shared.publish_process(figures);
    harness.seconds(11);
    assert_eq!(value(&mut harness, "heap/current").as_deref(), Some("5"));
    assert_eq!(value(&mut harness, "heap/maximum").as_deref(), Some("7"));
}
