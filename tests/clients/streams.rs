//! Subscriptions to streams with mosquitto's clients: replay and live messages, versions, refusals, rights, and `kill -9` between.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::broker::{Broker, Setup};
use crate::deadline::wait_for;
use crate::mosquitto::{publish_lines, try_publish};
use crate::peer;

const STREAM: &str = "[{ name = \"s\", topic = \"t/#\" }]";

/// A message of a stream, as `mosquitto_sub` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    topic: String,
    payload: String,
    qos: String,
    properties: String,
}

impl Told {
    fn property(&self, name: &str) -> Option<&str> {
        let value = self.properties.split(' ').find_map(|property| property.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim_end_matches(','))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.property(name)?.parse().ok()
    }
}

/// A `mosquitto_sub` that ends after so many messages.
struct Reader {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Reader {
    fn start(broker: &Broker, messages: usize, arguments: &[&str]) -> Self {
        // stdbuf makes the output line-buffered.
        let mut command = Command::new("timeout");
        command.args(["60", "stdbuf", "-oL", "mosquitto_sub", "-F", "%t|%p|%q|%P", "-C", &messages.to_string()]);
        command.args(broker.target()).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    #[track_caller]
    fn next(&mut self) -> Told {
        told(&self.lines.next().expect("a message").unwrap())
    }

    /// The rest of its messages.
    #[track_caller]
    fn messages(mut self) -> Vec<Told> {
        let messages = self.lines.by_ref().map(|line| told(&line.unwrap())).collect();
        assert!(self.child.wait().unwrap().success(), "{messages:?}");
        messages
    }
}

fn told(line: &str) -> Told {
    let mut parts = line.splitn(4, '|').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Told { topic: next(), payload: next(), qos: next(), properties: next() }
}

fn publish(broker: &Broker, numbers: std::ops::RangeInclusive<u64>) {
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    publish_lines(broker, &["-q", "1", "-t", "t/x"], &lines);
}

/// All of them are these numbers, each behind the one before.
#[track_caller]
fn assert_chain(messages: &[Told], numbers: std::ops::RangeInclusive<u64>) {
    let mut previous = None;
    assert_eq!(messages.len() as u64, numbers.end() - numbers.start() + 1);
    for (message, number) in messages.iter().zip(numbers) {
        assert_eq!((&*message.topic, &*message.payload), ("t/x", &*number.to_string()));
        assert_eq!(message.property("stream"), Some("s"));
        assert_eq!(message.number("stream-sequence"), Some(number), "{message:?}");
        assert_eq!(message.number("stream-previous"), previous, "{message:?}");
        assert!(message.number("stream-timestamp") > Some(1_700_000_000_000));
        previous = Some(number);
    }
}

const EARLIEST: [&str; 4] = ["-D", "subscribe", "user-property", "stream-offset"];

#[test]
fn a_replay_goes_over_into_the_live_messages() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("streams", STREAM).start();
    publish(&broker, 1..=3_000);
    for qos in ["0", "1"] {
        let arguments = [&["-V", "5", "-q", qos, "-t", "$stream/s"][..], &EARLIEST, &["earliest"]].concat();
        let reader = Reader::start(&broker, 3_000, &arguments);
        let messages = reader.messages();
        assert_chain(&messages, 1..=3_000);
        assert!(messages.iter().all(|message| message.qos == qos));
    }
    let arguments = [&["-V", "5", "-q", "1", "-t", "$stream/s"][..], &EARLIEST, &["seq:2901"]].concat();
    let reader = Reader::start(&broker, 400, &arguments);
    for start in [3_001, 3_101, 3_201] {
        publish(&broker, start..=start + 99);
    }
    assert_chain(&reader.messages(), 2_901..=3_300);
}

#[test]
fn clients_of_3_1_1_name_the_offset_in_the_topic_filter() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("streams", STREAM).start();
    publish(&broker, 1..=50);
    for (filter, first) in [("$stream/s@earliest", 1), ("$stream/s@seq:40/t/+", 40)] {
        let count = usize::try_from(51 - first).unwrap();
        let messages = Reader::start(&broker, count, &["-V", "mqttv311", "-q", "1", "-t", filter]).messages();
        let payloads: Vec<u64> = messages.iter().map(|message| message.payload.parse().unwrap()).collect();
        assert_eq!(payloads, (first..=50).collect::<Vec<_>>());
        assert!(messages.iter().all(|message| message.properties.is_empty() && message.qos == "1"));
    }
}

#[test]
fn a_consumer_that_keeps_its_number_misses_nothing_through_kill_9() {
    if peer::is_chosen() {
        return;
    }
    let mut broker = Setup::default().set("streams", STREAM).start();
    let mut next = 1;
    for round in 1..=3_u64 {
        publish(&broker, (round - 1) * 200 + 1..=round * 200);
        let filter = format!("$stream/s@seq:{next}");
        let half = Reader::start(&broker, 100, &["-V", "5", "-q", "1", "-t", &filter]).messages();
        assert_chain(&half, next..=next + 99);
        next += 100;
        broker.crash_and_restart();
    }
    let filter = format!("$stream/s@seq:{next}");
    assert_chain(&Reader::start(&broker, 300, &["-V", "5", "-q", "1", "-t", &filter]).messages(), next..=600);
}

#[test]
fn access_is_checked_for_each_message_and_after_a_reload() {
    if peer::is_chosen() {
        return;
    }
    const ACCESS: &str = "user w\ntopic write t/#\nuser r\ntopic read t/a\n";
    let setup = Setup::default().users(&[("w", "w"), ("r", "r")]).access(ACCESS).set("streams", STREAM);
    let broker = setup.start();
    let publish = |topic: &str| {
        let arguments = ["-u", "w", "-P", "w", "-q", "1", "-t", topic, "-m", "x"];
        assert!(try_publish(&broker.target(), &arguments, "").status.success());
    };
    ["t/a", "t/b", "t/a"].into_iter().for_each(publish);
    let arguments = ["-V", "5", "-u", "r", "-P", "r", "-q", "1", "-t", "$stream/s@earliest"];
    let numbers = |message: &Told| (message.number("stream-sequence"), message.number("stream-previous"));
    let mut reader = Reader::start(&broker, 4, &arguments);
    assert_eq!(numbers(&reader.next()), (Some(1), None));
    assert_eq!(numbers(&reader.next()), (Some(3), Some(1)), "the message between is of a topic that it may not read");
    fs::write(broker.path().join("access"), format!("{ACCESS}topic read t/b\n")).unwrap();
    broker.signal("HUP");
    wait_for("the reload", || broker.log().contains("reloaded the password file").then_some(()));
    ["t/b", "t/a"].into_iter().for_each(publish);
    let rest: Vec<_> = reader.messages().iter().map(numbers).collect();
    assert_eq!(rest, [(Some(4), Some(3)), (Some(5), Some(4))]);
}

#[test]
fn what_cannot_be_subscribed_is_refused() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("streams", STREAM).start();
    for (filter, code) in [("$stream/none", "143"), ("$share/g/$stream/none", "143"), ("$stream/s@first", "143")] {
        let mut command = Command::new("timeout");
        command.args(["20", "mosquitto_sub", "-d", "-E", "-V", "5", "-q", "1", "-t", filter]).args(broker.target());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(code), "{filter}: {text}");
    }
}
