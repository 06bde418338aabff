//! Delayed messages, rewrite rules, automatic and exclusive subscriptions, with mosquitto's clients, `kill -9` and reloads.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::broker::Setup;
use crate::deadline;
use crate::listeners::with_admin;
use crate::mosquitto::{Subscriber, message, publish, try_publish};
use crate::peer;

#[test]
fn delayed_messages_come_once_through_kill_9_in_both_versions() {
    if peer::is_chosen() {
        return;
    }
    for version in ["311", "5"] {
        let mut broker = Setup::default().start();
        let durable = ["-V", version, "-i", "s", "-c", "-q", "2", "-t", "t/#"];
        let durable = if version == "5" { [&durable[..], &["-x", "100"]].concat() } else { durable.to_vec() };
        Subscriber::start(&broker, &durable).kill();
        let accepted = deadline::now();
        for (qos, topic) in [("1", "$delayed/4/t/1"), ("2", "$delayed/4/t/2"), ("2", "$delayed/0/t/0")] {
            publish(&broker, &["-V", version, "-q", qos, "-t", topic, "-m", "x"]);
        }
        broker.crash_and_restart();
        let mut subscriber = Subscriber::start(&broker, &durable);
        assert_eq!(subscriber.next(), message("t/0", "x", 2));
        assert_eq!(subscriber.next(), message("t/1", "x", 1));
        let passed = deadline::now() - accepted;
        assert!(passed >= Duration::from_secs(4), "{passed:?}");
        assert_eq!(subscriber.next(), message("t/2", "x", 2));
        broker.crash_and_restart();
        thread::sleep(Duration::from_secs(1));
        assert_eq!(subscriber.messages().len(), 3, "{}", subscriber.output());
    }
}

#[test]
fn a_delayed_message_of_a_removed_user_is_a_dead_letter() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::default()
        .users(&[("alice", "a"), ("reader", "r")])
        .access("user alice\ntopic write t\nuser reader\ntopic readwrite #\n")
        .set("mqtt.dead_letter_topic", "\"dead\"");
    let (setup, admin) = with_admin(setup);
    let broker = setup.start();
    let mut reader = Subscriber::start(&broker, &["-u", "reader", "-P", "r", "-q", "1", "-t", "#"]);
    let alice = |topic: &str| {
        let arguments = ["-V", "5", "-u", "alice", "-P", "a", "-q", "1", "-t", topic, "-m", "x"];
        let output = try_publish(&broker.target(), &arguments, "");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(alice("$delayed/1/u").contains("RC:135"), "she may not publish to u");
    assert!(alice("$delayed/x/t").contains("RC:144"), "no number");
    alice("$delayed/1/t");
    assert_eq!(reader.next(), message("t", "x", 1));
    alice("$delayed/3/t");
    assert_eq!(admin.figure("oncemq_delayed_messages"), 1);
    let users = fs::read_to_string(broker.path().join("users")).unwrap();
    let others: Vec<&str> = users.lines().filter(|line| !line.starts_with("alice")).collect();
    fs::write(broker.path().join("users"), others.join("\n")).unwrap();
    broker.signal("HUP");
    assert_eq!(reader.next(), message("dead", "x", 1));
    admin.wait_for("oncemq_messages_dropped_total{reason=\"not_authorized\"}", 1);
    assert_eq!(admin.figure("oncemq_delayed_messages"), 0);
}

#[test]
fn topics_are_rewritten_and_subscriptions_made_and_a_reload_changes_that() {
    if peer::is_chosen() {
        return;
    }
    let rule = r#"[{ action = "all", source = "old/#", pattern = "^old/(.+)$", destination = "devices/%c/$1" }]"#;
    let setup =
        Setup::default().set("topic_rewrite", rule).set("auto_subscribe", r#"[{ topic = "commands/%c", qos = 1 }]"#);
    let broker = setup.start();
    let mut reader = Subscriber::start(&broker, &["-i", "reader", "-q", "1", "-t", "devices/#"]);
    publish(&broker, &["-i", "pump", "-q", "1", "-t", "old/state", "-m", "on"]);
    assert_eq!(reader.next(), message("devices/pump/state", "on", 1));
    publish(&broker, &["-q", "1", "-t", "commands/reader", "-m", "go"]);
    assert_eq!(reader.next(), message("commands/reader", "go", 1));
    let file = broker.path().join("oncemq.toml");
    let text = fs::read_to_string(&file).unwrap().replace("devices/%c/$1", "devices/new/$1");
    fs::write(&file, text).unwrap();
    broker.signal("HUP");
    deadline::wait_for("the reload", || broker.log().contains("topic_rewrite").then_some(()));
    publish(&broker, &["-i", "pump", "-q", "1", "-t", "old/state", "-m", "off"]);
    assert_eq!(reader.next(), message("devices/new/state", "off", 1));
}

#[test]
fn one_client_has_an_exclusive_subscription_through_kill_9() {
    if peer::is_chosen() {
        return;
    }
    let mut broker = Setup::default().set("mqtt.exclusive_subscriptions", "true").start();
    let durable = |name| ["-V", "5", "-i", name, "-c", "-x", "100", "-q", "1", "-t", "$exclusive/jobs"];
    Subscriber::start(&broker, &durable("first")).kill();
    for _ in 0..2 {
        let refused = Subscriber::start(&broker, &durable("second"));
        refused.wait_for_line("151");
        refused.kill();
        broker.crash_and_restart();
    }
    let mut first = Subscriber::start(&broker, &durable("first"));
    publish(&broker, &["-q", "1", "-t", "jobs", "-m", "x"]);
    assert_eq!(first.next(), message("jobs", "x", 1));
}
