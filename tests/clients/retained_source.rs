//! Retained messages whose publisher may not publish them any more, with mosquitto's clients, reloads and `kill -9`.

use std::fs;

use crate::broker::{Broker, Setup};
use crate::deadline::wait_for;
use crate::mosquitto::{Subscriber, publish};
use crate::peer;

/// The topics of the retained messages that a new subscriber to everything gets.
fn replayed(broker: &Broker) -> Vec<String> {
    let reader = ["-u", "reader", "-P", "r"];
    let mut subscriber = Subscriber::start(broker, &[&reader[..], &["-q", "1", "-t", "#"]].concat());
    publish(broker, &[&reader[..], &["-q", "1", "-t", "end", "-m", "x"]].concat());
    let mut topics = Vec::new();
    loop {
        let message = subscriber.next();
        if message.topic == "end" {
            topics.sort_unstable();
            return topics;
        }
        assert!(message.retain, "{message:?}");
        topics.push(message.topic);
    }
}

/// Reloads, and waits until new subscribers get the messages of these topics.
#[track_caller]
fn reload(broker: &Broker, topics: &[&str]) {
    broker.signal("HUP");
    wait_for("the retained messages", || (replayed(broker) == topics).then_some(()));
}

#[test]
fn retained_messages_follow_the_rights_of_their_publishers() {
    if peer::is_chosen() {
        return;
    }
    const ACCESS: &str = "pattern write d/%c\nuser reader\ntopic readwrite #\n";
    let all = format!("{ACCESS}user alice\ntopic write a/#\ntopic write b\n");
    let setup = Setup::default().users(&[("alice", "a"), ("reader", "r")]).access(&all);
    let setup = setup.set("security.allow_anonymous", "true");
    let mut broker = setup.start();
    for topic in ["a/1", "b"] {
        publish(&broker, &["-u", "alice", "-P", "a", "-q", "1", "-r", "-t", topic, "-m", "x"]);
    }
    publish(&broker, &["-i", "device", "-q", "1", "-r", "-t", "d/device", "-m", "x"]);
    assert_eq!(replayed(&broker), ["a/1", "b", "d/device"]);
    let write = |broker: &Broker, name: &str, text: &str| fs::write(broker.path().join(name), text).unwrap();

    write(&broker, "access", &format!("{ACCESS}user alice\ntopic write a/#\n"));
    reload(&broker, &["a/1", "d/device"]);
    broker.crash_and_restart();
    assert_eq!(replayed(&broker), ["a/1", "d/device"]);
    write(&broker, "access", &all);
    reload(&broker, &["a/1", "b", "d/device"]);

    let users = fs::read_to_string(broker.path().join("users")).unwrap();
    let others: Vec<&str> = users.lines().filter(|line| !line.starts_with("alice")).collect();
    write(&broker, "users", &others.join("\n"));
    reload(&broker, &["d/device"]);
    broker.crash_and_restart();
    assert_eq!(replayed(&broker), ["d/device"]);
    write(&broker, "users", &users);
    reload(&broker, &["a/1", "b", "d/device"]);

    write(&broker, "access", &all.replace("pattern write d/%c\n", ""));
    reload(&broker, &["a/1", "b"]);
}

#[test]
fn without_the_setting_retained_messages_stay() {
    if peer::is_chosen() {
        return;
    }
    let access = "user reader\ntopic readwrite #\nuser alice\ntopic write b\n";
    let setup = Setup::default().users(&[("alice", "a"), ("reader", "r")]).access(access);
    let broker = setup.set("security.check_retain_source", "false").start();
    publish(&broker, &["-u", "alice", "-P", "a", "-q", "1", "-r", "-t", "b", "-m", "x"]);
    fs::write(broker.path().join("access"), access.replace("write b", "write c")).unwrap();
    let before = broker.log().len();
    broker.signal("HUP");
    wait_for("the reload", || broker.log()[before..].contains("reload").then_some(()));
    assert_eq!(replayed(&broker), ["b"]);
}
