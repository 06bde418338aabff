//! `oncemq sub`.

use std::process::{Command, Stdio};

use crate::messages::{Make, publish, subscribe};
use crate::process::{Broker, Running, oncemq, wait_for};

/// Options of a durable Session.
fn keep<'a>(version: &'a str, qos: &'a str) -> Vec<&'a str> {
    vec!["-V", version, "-i", "worker", "-c", "-q", qos, "-t", "jobs"]
}

#[track_caller]
fn take_one_by_one(broker: &Broker, version: &str, qos: &str) {
    let keep = keep(version, qos);
    subscribe(broker, &[&keep[..], &["-E"]].concat()).succeeded();
    for number in 0..10 {
        publish(broker, &["-t", "jobs", "-q", qos, "-m", &number.to_string()]).succeeded();
    }
    for number in 0..10 {
        let output = subscribe(broker, &[&keep[..], &["-C", "1"]].concat()).succeeded();
        assert_eq!(output, format!("{number}\n"), "version {version}, QoS {qos}");
    }
    subscribe(broker, &[&keep[..], &["-W", "1"]].concat()).failed(27, "-W");
    subscribe(broker, &["-V", version, "-i", "worker", "-c", "-U", "jobs"]).succeeded();
}

#[test]
fn a_durable_session_gives_each_message_once_and_loses_none() {
    let broker = Broker::start(&[]);
    for version in ["5", "311"] {
        for qos in ["1", "2"] {
            take_one_by_one(&broker, version, qos);
        }
    }
    let mosquitto = Broker::mosquitto();
    for version in ["5", "311"] {
        take_one_by_one(&mosquitto, version, "1");
        take_one_by_one(&mosquitto, version, "2");
    }
}

#[test]
fn a_signal_ends_it_with_0_and_what_was_not_printed_stays() {
    let broker = Broker::start(&[]);
    for signal in ["-INT", "-TERM"] {
        let keep = keep("5", "1");
        let mut running = Running::start(Make::OnceMq.subscriber(&broker, &keep));
        wait_for("a message", || {
            publish(&broker, &["-t", "jobs", "-m", "x", "-q", "1"]).succeeded();
            running.has_output()
        });
        running.signal(signal);
        wait_for("the end", || !running.is_running());
        assert_eq!(running.end().code, 0);
        publish(&broker, &["-t", "jobs", "-m", "after", "-q", "1"]).succeeded();
        let mut rest = String::new();
        while !rest.ends_with("after\n") {
            rest = subscribe(&broker, &[&keep[..], &["-C", "1"]].concat()).succeeded();
        }
    }
}

#[test]
fn a_reader_that_goes_away_leaves_the_rest_with_the_broker() {
    let broker = Broker::start(&[]);
    let keep = keep("5", "1");
    subscribe(&broker, &[&keep[..], &["-E"]].concat()).succeeded();
    let mut lines = Running::start(Make::OnceMq.publisher(&broker, &["-t", "jobs", "-q", "1", "-l"]));
    let line = "x".repeat(1_000);
    for number in 0..500 {
        lines.input(format!("{number} {line}\n").as_bytes());
    }
    lines.end().succeeded();
    let arguments =
        [&["sub".to_owned()], &broker.target()[..], &keep.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()]
            .concat();
    let script = format!("{:?} {} | head -n 3 | cut -d' ' -f1", oncemq().get_program(), arguments.join(" "));
    let head = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8(head.stdout).unwrap(), "0\n1\n2\n", "{}", String::from_utf8_lossy(&head.stderr));
    assert!(head.stderr.is_empty(), "{}", String::from_utf8_lossy(&head.stderr));
    // What the pipe took was acknowledged; of the rest nothing is missing.
    let mut rest = Running::start(Make::OnceMq.subscriber(&broker, &keep));
    wait_for("the rest", || rest.is_running() && rest.ends_with(&format!("499 {line}\n")));
    rest.signal("-TERM");
    let output = rest.end().succeeded();
    let numbers: Vec<usize> = output.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]) && numbers.last() == Some(&499), "{numbers:?}");
    assert!(numbers.len() > 100, "the broker was told to forget what nobody read: {}", numbers.len());
}

#[test]
fn messages_are_left_out_and_formatted() {
    let broker = Broker::start(&[]);
    publish(&broker, &["-t", "d/old", "-m", "old", "-r", "-q", "1"]).succeeded();
    publish(&broker, &["-t", "d/new", "-m", "new", "-r", "-q", "1"]).succeeded();
    let done = subscribe(&broker, &["-t", "d/#", "-T", "d/old", "-C", "1", "-N", "-F", "[%-6t|%3l]\\t%%"]);
    assert_eq!(done.succeeded(), "[d/new |  3]\t%");
    subscribe(&broker, &["-t", "d/#", "-R", "-W", "1"]).failed(27, "-W");
    let done = subscribe(&broker, &["-t", "d/old", "-v", "-C", "1"]);
    assert_eq!(done.succeeded(), "d/old old\n");
    let line = subscribe(&broker, &["-t", "d/old", "-F", "%j", "-C", "1"]).succeeded();
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&json["topic"], &json["payload"], &json["retain"]), (&"d/old".into(), &"old".into(), &1.into()));
    let url = format!("mqtt://{}/d/old", broker.mqtt);
    assert_eq!(crate::process::run(["sub", "-L", &url, "-C", "1"]).succeeded(), "old\n");
}

#[test]
fn the_end_of_the_broker_is_said() {
    let broker = Broker::start(&[]);
    let mut running = Running::start(Make::OnceMq.subscriber(&broker, &["-t", "a", "-q", "1"]));
    wait_for("the subscription", || {
        publish(&broker, &["-t", "a", "-m", "x", "-q", "1"]).succeeded();
        running.has_output()
    });
    assert!(Command::new("kill").arg(broker.id().to_string()).status().unwrap().success());
    wait_for("the end", || !running.is_running());
    running.end().failed(139, "the broker ended the connection: Server shutting down (0x8B)");
}
