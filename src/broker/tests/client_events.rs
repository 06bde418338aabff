//! Events of clients on `$SYS/clients/…`.

use std::time::Duration;

use super::harness::{Client, Harness, settings};
use super::packets::*;

fn with_events(shards: usize) -> Harness {
    let mut settings = settings();
    settings.client_events = true;
    Harness::with(shards, settings)
}

/// The events that a client has got by now: their topics below `$SYS/clients/`, and the payloads.
fn events(harness: &mut Harness, client: Client) -> Vec<(String, String)> {
    harness.advance(Duration::from_millis(5));
    let event = |line: String| {
        let (topic, payload) = line.strip_prefix("PUBLISH $SYS/clients/")?.trim_end_matches(" q0").split_once(' ')?;
        Some((topic.to_owned(), payload.to_owned()))
    };
    harness.received(client).into_iter().filter_map(event).collect()
}

fn topics(events: &[(String, String)]) -> Vec<&str> {
    events.iter().map(|(topic, _)| &**topic).collect()
}

#[test]
fn a_watcher_gets_one_event_of_its_own_subscription_and_no_more() {
    let mut harness = with_events(1);
    let watcher = harness.connect(transient("watcher"));
    harness.ask(watcher, subscribe("$SYS/clients/#", Q0));
    let own = events(&mut harness, watcher);
    // The connect was published before the subscription, or together with it.
    let subscribed: Vec<_> = own.iter().filter(|(topic, _)| topic == "watcher/subscribed").collect();
    assert_eq!(subscribed.len(), 1, "{own:?}");
    assert!(subscribed[0].1.contains(r#""filters":[{"filter":"$SYS/clients/#","reason_code":0}]"#), "{own:?}");
    for _ in 0..10 {
        harness.seconds(1);
        assert_eq!(events(&mut harness, watcher), [], "an event caused an event");
    }
}

#[test]
fn connects_ends_and_subscriptions_are_published_to_watchers_on_all_shards() {
    let mut harness = with_events(2);
    let watcher = harness.connect_to(1, transient("watcher"));
    harness.ask(watcher, subscribe("$SYS/clients/+/+", Q1));
    events(&mut harness, watcher);
    let client = harness.connect_to(0, transient("a/b"));
    harness.run(client, [subscribe("t", Q1), unsubscribe(2, &["t"])]);
    let seen = events(&mut harness, watcher);
    assert_eq!(topics(&seen), ["a%2Fb/connected", "a%2Fb/subscribed", "a%2Fb/unsubscribed"], "{seen:?}");
    assert!(seen[0].1.contains(r#""client_id":"a/b""#) && seen[0].1.contains(r#""session_present":false"#), "{seen:?}");
    harness.lose(client);
    let seen = events(&mut harness, watcher);
    assert_eq!(topics(&seen), ["a%2Fb/disconnected"], "{seen:?}");
    assert!(seen[0].1.contains(r#""reason":""#), "{seen:?}");
    let retained = harness.connect(transient("later"));
    let lines = harness.ask(retained, subscribe("$SYS/clients/a%2Fb/#", Q0));
    assert!(lines.iter().all(|line| !line.contains("connected")), "they are not retained: {lines:?}");
}

#[test]
fn a_flood_is_bounded_and_counted() {
    let mut harness = with_events(1);
    let watcher = harness.connect(transient("watcher"));
    harness.ask(watcher, subscribe("$SYS/clients/#", Q0));
    harness.seconds(2);
    events(&mut harness, watcher);
    let client = harness.connect(transient("busy"));
    harness.seconds(1);
    events(&mut harness, watcher);
    let mut seen = Vec::new();
    for _ in 0..50 {
        for _ in 0..30 {
            harness.run(client, [unsubscribe(2, &["t"])]);
        }
        seen.extend(events(&mut harness, watcher));
    }
    harness.seconds(1);
    seen.extend(events(&mut harness, watcher));
    let shown = topics(&seen).iter().filter(|topic| **topic == "busy/unsubscribed").count();
    let left_out: usize = seen
        .iter()
        .filter(|(topic, _)| topic == "left_out")
        .map(|(_, payload)| {
            payload.trim_start_matches("{\"left_out\":").trim_end_matches('}').parse::<usize>().unwrap()
        })
        .sum();
    assert_eq!((shown, left_out), (1_000, 500));
}

#[test]
fn without_the_setting_there_are_none() {
    let mut harness = Harness::with(1, settings());
    let watcher = harness.connect(transient("watcher"));
    harness.ask(watcher, subscribe("$SYS/clients/#", Q0));
    harness.connect(transient("other"));
    assert_eq!(events(&mut harness, watcher), []);
}
