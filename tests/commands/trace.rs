//! `oncemq trace`.

use serde_json::Value;

use crate::messages::{Make, publish};
use crate::process::{Broker, Done, Running, oncemq, run, wait_for};

impl Broker {
    fn trace(&self, arguments: &[&str]) -> Running {
        self.wait_for_socket();
        let mut command = oncemq();
        command.arg("trace").args(arguments).arg("--data").arg(self.directory.path().join("data"));
        Running::start(command)
    }

    fn wait_for_socket(&self) {
        let socket = self.directory.path().join("data/admin.sock");
        wait_for("the socket", || socket.exists());
    }

    /// A trace that has begun in all shards.
    fn trace_json(&self, arguments: &[&str]) -> Running {
        let trace = self.trace(&[arguments, &["--json"]].concat());
        wait_for("the trace", || trace.contains("{\"left_out\":0}"));
        trace
    }
}

fn interrupted(trace: Running) -> Done {
    trace.signal("-INT");
    trace.end()
}

/// The entries, without the lines that count what was left out.
fn entries(output: &str) -> Vec<Value> {
    let all = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    all.filter(|entry| entry.get("left_out").is_none()).collect()
}

fn words(entry: &Value) -> String {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    [text("event"), text("packet"), text("topic")].join(" ").trim().to_owned()
}

#[test]
fn packets_and_decisions_of_chosen_clients_are_shown_without_payloads_and_passwords() {
    let broker = Broker::start(&["--shards", "2"]);
    let trace = broker.trace_json(&["--client", "pump-*"]);
    publish(&broker, &["-i", "other", "-t", "jobs/a", "-m", "x"]).succeeded();
    let message = ["-t", "jobs/a", "-m", "secret-payload", "-q", "1", "-u", "joe", "-P", "secret-password"];
    publish(&broker, &[&["-i", "pump-1"], &message[..]].concat()).succeeded();
    publish(&broker, &["-i", "pump-2", "-t", "$SYS/x", "-m", "x", "-q", "1", "-V", "5"]);
    wait_for("the end of pump-1", || trace.contains("disconnected"));
    wait_for("the denial", || trace.contains("denied"));
    let output = interrupted(trace).output;
    assert!(!output.contains("secret-") && !output.contains("other"), "{output}");
    let entries = entries(&output);
    let of_first: Vec<String> = entries.iter().filter(|entry| entry["client_id"] == "pump-1").map(words).collect();
    let expected = [
        "received CONNECT",
        "session-created",
        "connected",
        "sent CONNACK",
        "received PUBLISH jobs/a",
        "published  jobs/a",
        "sent PUBACK",
        "received DISCONNECT",
        "disconnected",
        "session-ended",
    ];
    let mut sorted = of_first.clone();
    sorted.sort_unstable();
    let mut all = expected.map(str::to_owned);
    all.sort_unstable();
    assert_eq!(sorted, all, "{of_first:?}");
    let position = |text: &str| of_first.iter().position(|word| word == text).unwrap();
    assert!(position("received PUBLISH jobs/a") < position("published  jobs/a"));
    assert!(position("published  jobs/a") < position("sent PUBACK"));
    let denied = entries.iter().find(|entry| entry["event"] == "denied").unwrap();
    assert_eq!((denied["client_id"].as_str(), denied["topic"].as_str()), (Some("pump-2"), Some("$SYS/x")), "{denied}");
    assert!(denied["rule"].as_str().is_some_and(|rule| rule.contains("$SYS")), "{denied}");
    let packet = entries.iter().find(|entry| words(entry) == "received PUBLISH jobs/a").unwrap();
    assert_eq!((packet["qos"].as_u64(), packet["user"].as_str()), (Some(1), Some("joe")), "{packet}");
    assert!(packet["details"].as_str().unwrap().contains("payload of 14 bytes"), "{packet}");
}

#[test]
fn a_topic_shows_who_publishes_and_who_gets_it() {
    let broker = Broker::start(&["--shards", "2"]);
    let trace = broker.trace_json(&["--topic", "jobs/#", "--address", "127.0.0.1"]);
    let people = broker.trace(&["--topic", "jobs/a"]);
    let elsewhere = broker.trace_json(&["--address", "192.0.2.1"]);
    let watcher = Running::start(Make::Mosquitto.subscriber(&broker, &["-i", "watcher", "-t", "jobs/+", "-C", "1"]));
    wait_for("the subscription", || trace.contains("\"subscribed\""));
    // The trace for people does not say when it has begun.
    wait_for("a message", || {
        publish(&broker, &["-i", "maker", "-t", "jobs/a", "-m", "x"]).succeeded();
        publish(&broker, &["-i", "maker", "-t", "other", "-m", "x"]).succeeded();
        people.contains("-> PUBLISH") && trace.contains("\"sent\"")
    });
    drop(watcher);
    let output = interrupted(trace).output;
    let entries = entries(&output);
    assert!(entries.iter().all(|entry| entry["topic"].as_str().is_some_and(|topic| topic.starts_with("jobs/"))));
    for (client, event) in
        [("watcher", "received"), ("watcher", "subscribed"), ("maker", "received"), ("watcher", "sent")]
    {
        assert!(entries.iter().any(|entry| entry["client_id"] == client && entry["event"] == event), "{output}");
    }
    let people = interrupted(people).output;
    let line = people.lines().find(|line| line.contains("-> PUBLISH")).unwrap();
    assert!(line.contains(" maker -> PUBLISH, ") && line.contains("topic \"jobs/a\""), "{line}");
    assert!(!people.contains("other"), "{people}");
    assert_eq!(interrupted(elsewhere).output.replace("{\"left_out\":0}\n", ""), "");
}

#[test]
fn a_trace_of_everything_is_refused_and_the_number_is_bounded() {
    let broker = Broker::start(&[]);
    let data = broker.directory.path().join("data");
    let data = data.to_str().unwrap();
    broker.wait_for_socket();
    run(["trace", "--data", data]).failed(2, "--client");
    run(["trace", "--topic", "a/#/b", "--data", data]).failed(2, "the filter is invalid");
    let ended = run(["trace", "--client", "*", "--duration", "1", "--data", data]).succeeded();
    assert_eq!(ended, "the trace has ended after 1 seconds\n");
    let running: Vec<Running> = (0..4).map(|_| broker.trace_json(&["--client", "*"])).collect();
    run(["trace", "--client", "*", "--data", data]).failed(7, "4 traces are running");
    drop(running);
    wait_for("the end of a trace whose reader has gone", || {
        run(["trace", "--client", "*", "--duration", "1", "--data", data]).code == 0
    });
}

#[test]
fn what_is_too_much_is_counted_and_the_clients_go_on() {
    let broker = Broker::start(&["--shards", "2"]);
    let trace = broker.trace_json(&["--client", "flood"]);
    let mut command = Make::OnceMq.publisher(&broker, &["-i", "flood", "-t", "t", "-l", "-q", "1"]);
    let mut publisher = Running::start({
        command.env("LC_ALL", "C");
        command
    });
    publisher.input("x\n".repeat(5_000).as_bytes());
    assert_eq!(publisher.end().code, 0);
    wait_for("the rest", || trace.contains("\"left_out\":") && count(&trace) >= 15_000);
    let output = interrupted(trace).output;
    let shown = entries(&output).len() as u64;
    assert!(shown < 10_000, "{shown}");
}

/// The entries that were shown or left out.
fn count(trace: &Running) -> u64 {
    let of = |line: &str| {
        let entry = serde_json::from_str::<Value>(line).ok()?;
        Some(entry.get("left_out").map_or(1, |count| count.as_u64().unwrap()))
    };
    trace.so_far().lines().filter_map(of).sum()
}

#[test]
fn every_dropped_message_is_shown_with_its_reason_and_identity() {
    let broker = Broker::start(&["--shards", "2"]);
    let directory = broker.directory.path().join("data");
    let limited = ["-i", "away", "-c", "-t", "jobs/#", "-q", "1", "-E"];
    crate::messages::subscribe(&broker, &limited).succeeded();
    let trace = broker.trace_json(&["--topic", "jobs/#"]);
    // A QoS 0 message for a Session without a connection is dropped.
    for _ in 0..3 {
        publish(&broker, &["-i", "maker", "-t", "jobs/a", "-m", "x"]).succeeded();
    }
    // A message that expires in the queue.
    let expiring = ["-i", "maker", "-V", "5", "-t", "jobs/b", "-m", "x", "-q", "1"];
    let expiring = [&expiring[..], &["-D", "publish", "message-expiry-interval", "1"]].concat();
    publish(&broker, &expiring).succeeded();
    wait_for("the drops of QoS 0", || trace.contains("not_connected"));
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    crate::messages::subscribe(&broker, &limited).succeeded();
    wait_for("the expired one", || trace.contains("\"expired\""));
    let output = interrupted(trace).output;
    let entries = entries(&output);
    let dropped: Vec<_> = entries.iter().filter(|entry| entry["event"] == "dropped").collect();
    let of = |reason: &str| dropped.iter().filter(|entry| entry["reason"] == reason).count();
    assert_eq!((of("not_connected"), of("expired")), (3, 1), "{output}");
    assert!(dropped.iter().all(|entry| entry["client_id"] == "away"), "{output}");
    let expired = dropped.iter().find(|entry| entry["reason"] == "expired").unwrap();
    assert_eq!((expired["topic"].as_str(), expired["qos"].as_u64()), (Some("jobs/b"), Some(1)), "{expired}");
    let id = expired["message_id"].as_str().unwrap();
    let data = ["--data", directory.to_str().unwrap()];
    let journey = run([&["message", id], &data[..]].concat()).succeeded();
    for line in ["topic        jobs/b", "publisher    maker"] {
        assert!(journey.contains(line), "{journey}");
    }
    let rows: Vec<Vec<&str>> = journey.lines().map(|line| line.split_whitespace().skip(1).collect()).collect();
    for row in [vec!["queued", "away", "-"], vec!["dropped", "away", "expired"]] {
        assert!(rows.contains(&row), "{row:?} in {journey}");
    }
    let json = run([&["message", id, "--json"], &data[..]].concat()).succeeded();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["receivers"], serde_json::json!([{ "client_id": "away", "state": "dropped" }]));
    run([&["message", "0000000000000001-0000000000000001"], &data[..]].concat()).failed(1, "no queue has it");
    run([&["message", "x"], &data[..]].concat()).failed(2, "hexadecimal");
}
