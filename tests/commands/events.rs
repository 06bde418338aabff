//! Events of clients, as programs get them.

use std::fs;

use serde_json::Value;
use wire::free_address;

use crate::messages::{Make, publish, subscribe};
use crate::process::{Broker, Running, wait_for};

fn with_events(more: &str) -> Broker {
    let (directory, mqtt) = (tempfile::tempdir().unwrap(), free_address());
    fs::write(directory.path().join("rules"), "topic read open/#\npattern read $SYS/clients/%c/#\n").unwrap();
    let text =
        format!("[mqtt]\nclient_events = true\n[server]\nshards = 2\n{more}\n[[listeners]]\naddress = \"{mqtt}\"\n");
    let text = text.replace("RULES", directory.path().join("rules").to_str().unwrap());
    Broker::with_config(&text, directory, mqtt)
}

/// The topics and payloads that a subscriber with `-v` has printed.
fn events(subscriber: &Running) -> Vec<(String, Value)> {
    let event = |line: &str| {
        let (topic, payload) = line.split_once(' ')?;
        Some((topic.to_owned(), serde_json::from_str(payload).unwrap_or_else(|_| panic!("{line}"))))
    };
    subscriber.so_far().lines().filter_map(event).collect()
}

#[test]
fn a_watcher_learns_who_comes_goes_and_subscribes() {
    let broker = with_events("");
    let watcher = ["-i", "watcher", "-t", "$SYS/clients/#", "-v"];
    let watcher = Running::start(Make::Mosquitto.subscriber(&broker, &watcher));
    wait_for("its own subscription", || watcher.contains("$SYS/clients/watcher/subscribed "));
    subscribe(&broker, &["-i", "plant/7", "-t", "a", "-E", "-V", "5"]).succeeded();
    publish(&broker, &["-i", "maker", "-t", "a", "-m", "x"]).succeeded();
    wait_for("the ends", || watcher.contains("maker/disconnected ") && watcher.contains("plant%2F7/disconnected "));
    let events = events(&watcher);
    let topics = |client: &str| -> Vec<&str> {
        let own = events.iter().filter_map(|(topic, _)| topic.strip_prefix("$SYS/clients/")?.strip_prefix(client));
        own.collect()
    };
    assert_eq!(topics("watcher/").iter().filter(|topic| **topic == "subscribed").count(), 1, "{events:?}");
    assert_eq!(topics("plant%2F7/"), ["connected", "subscribed", "disconnected"], "{events:?}");
    assert_eq!(topics("maker/"), ["connected", "disconnected"], "{events:?}");
    let (_, connected) = events.iter().find(|(topic, _)| topic == "$SYS/clients/plant%2F7/connected").unwrap();
    assert_eq!(connected["client_id"], "plant/7", "{connected}");
    assert_eq!((connected["protocol_version"].as_str(), connected["clean_start"].as_bool()), (Some("5.0"), Some(true)));
    let (_, subscribed) = events.iter().find(|(topic, _)| topic == "$SYS/clients/plant%2F7/subscribed").unwrap();
    assert_eq!(subscribed["filters"][0]["filter"], "a", "{subscribed}");
    let (_, gone) = events.iter().find(|(topic, _)| topic == "$SYS/clients/plant%2F7/disconnected").unwrap();
    assert!(gone["reason"].is_string() && gone["reason_code"] == 0, "{gone}");
}

#[test]
fn access_rules_guard_the_events() {
    let broker = with_events("[security]\nacl_file = \"RULES\"\nallow_anonymous = true");
    let all = ["-i", "curious", "-t", "$SYS/clients/#", "-t", "#", "-t", "open/x", "-v"];
    let all = Running::start(Make::Mosquitto.subscriber(&broker, &all));
    let own = ["-i", "careful", "-t", "$SYS/clients/careful/#", "-v"];
    let own = Running::start(Make::Mosquitto.subscriber(&broker, &own));
    wait_for("its own subscription", || own.contains("$SYS/clients/careful/subscribed "));
    publish(&broker, &["-i", "maker", "-t", "a", "-m", "x"]).succeeded();
    let later = ["-i", "careful-2", "-t", "$SYS/clients/careful-2/#", "-v"];
    let later = Running::start(Make::Mosquitto.subscriber(&broker, &later));
    wait_for("later events", || later.contains("$SYS/clients/careful-2/subscribed "));
    assert!(events(&all).iter().all(|(topic, _)| topic.starts_with("$SYS/clients/curious/")), "{}", all.so_far());
    assert!(events(&own).iter().all(|(topic, _)| topic.starts_with("$SYS/clients/careful/")), "{}", own.so_far());
}
