//! Performs the steps of a case with one broker.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use crate::broker::Broker;
use crate::client::Client;
use crate::clock::{PATIENCE, SILENCE, now};
use crate::connecting;
use crate::script::{Script, Step, fits};

/// The brokers and clients of one run.
pub(crate) struct Run {
    broker: Broker,
    remote: Option<Broker>,
    clients: BTreeMap<String, Client>,
}

impl Run {
    /// `broker` is started, unless a step does it.
    pub(crate) fn new(broker: Broker, remote: Option<Broker>) -> Self {
        Self { broker, remote, clients: BTreeMap::new() }
    }

    /// Performs all steps, and returns what was not as expected.
    pub(crate) fn perform(mut self, script: &Script) -> Vec<String> {
        let mut faults = Vec::new();
        if script.steps.iter().all(|step| step.verb != "start") && self.broker.start() != "runs" {
            return vec![format!("it does not start\n{}", self.broker.log())];
        }
        let mut is_stopped = false;
        for step in &script.steps {
            if is_stopped && !WITHOUT_BROKER.contains(&step.verb.as_str()) {
                continue;
            }
            let expected = self.broker.expected(step);
            let outcome = self.step(step, expected);
            if step.verb == "start" {
                is_stopped = outcome == "stops";
            }
            // A step without an outcome returns a text only if it cannot be done.
            if !fits(expected.unwrap_or_default(), &outcome) {
                let (verb, words) = (&step.verb, step.words.join(" "));
                let expected = expected.unwrap_or_default();
                faults.push(format!(
                    "line {}: {verb} {words}\n    expected: {expected}\n    was:      {outcome}",
                    step.line
                ));
            }
        }
        for (name, client) in &mut self.clients {
            let left = client.receive(SILENCE);
            if left != "nothing" && !left.starts_with("closed") {
                faults.push(format!("at the end: {name} received what no step expects: {left}"));
            }
        }
        if !faults.is_empty() {
            faults.push(self.broker.log());
        }
        faults
    }

    fn step(&mut self, step: &Step, expected: Option<&str>) -> String {
        let deadline = now() + PATIENCE;
        loop {
            let outcome = self.try_step(step, expected);
            if !step.eventually || now() >= deadline || expected.is_none_or(|expected| fits(expected, &outcome)) {
                return outcome;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn try_step(&mut self, step: &Step, expected: Option<&str>) -> String {
        match step.verb.as_str() {
            "connect" => return self.connect(step),
            "start" => return self.broker.start(),
            "restart" | "kill" => {
                self.clients.clear();
                self.broker.restart(if step.verb == "kill" { "KILL" } else { "TERM" });
                return String::new();
            }
            "replace" => {
                let path = self.broker.tree.place(step.word(0));
                let text = fs::read_to_string(&path).unwrap();
                assert!(text.contains(step.word(1)), "line {}", step.line);
                fs::write(path, text.replace(step.word(1), step.word(2))).unwrap();
                return String::new();
            }
            "stop-remote" => {
                self.remote.as_mut().unwrap().stop("TERM");
                return String::new();
            }
            "start-remote" => {
                assert_eq!(self.remote.as_mut().unwrap().start(), "runs");
                return String::new();
            }
            "reload" => {
                self.broker.reload();
                return String::new();
            }
            "append" => {
                let mut file = fs::File::options().append(true).open(self.broker.tree.place(step.word(0))).unwrap();
                writeln!(file, "{}", step.words.get(1..).unwrap().join(" ")).unwrap();
                return String::new();
            }
            "pause" => {
                thread::sleep(Duration::from_millis(500));
                return String::new();
            }
            "said" => {
                let log = self.broker.log().to_lowercase();
                return if log.contains(&step.words.join(" ").to_lowercase()) { "yes" } else { "no" }.to_owned();
            }
            "relay" => return self.relay(step),
            "disconnect" | "cut" => {
                let Some(client) = self.clients.remove(step.word(0)) else { return "not connected".to_owned() };
                if step.verb == "cut" {
                    client.cut()
                } else {
                    client.disconnect()
                }
                return String::new();
            }
            _ => {}
        }
        let Some(client) = self.clients.get_mut(step.word(0)) else { return "not connected".to_owned() };
        match step.verb.as_str() {
            "subscribe" => client.subscribe(step.word(1), step.word(2).parse().unwrap()),
            "unsubscribe" => client.unsubscribe(step.word(1)),
            "publish" => publish(client, step),
            "receive" => receive(client, step, expected.unwrap_or_default()),
            "ended" => client.ended(if expected == Some("open") { SILENCE } else { PATIENCE }),
            verb => panic!("line {}: no such verb: {verb}", step.line),
        }
    }

    /// Publishes until the receiver has the message, and takes the repeats away.
    fn relay(&mut self, step: &Step) -> String {
        let (from, to) = (step.word(0), step.word(1));
        let deadline = now() + PATIENCE;
        let mut outcome = "nothing".to_owned();
        while outcome == "nothing" && now() < deadline {
            let Some(sender) = self.clients.get_mut(from) else { return format!("{from} is not connected") };
            sender.publish(step.word(2), step.word(3).parse().unwrap(), false, step.word(4).as_bytes().to_vec());
            let Some(receiver) = self.clients.get_mut(to) else { return format!("{to} is not connected") };
            outcome = receiver.receive(Duration::from_millis(300));
        }
        let receiver = self.clients.get_mut(to).unwrap();
        loop {
            let next = receiver.receive(SILENCE);
            if next == "nothing" {
                return outcome;
            } else if next != outcome {
                return format!("{outcome}, then {next}");
            }
        }
    }

    fn connect(&mut self, step: &Step) -> String {
        let (client, outcome) = connecting::connect(step, &self.broker, self.remote.as_ref());
        if let Some(client) = client {
            self.clients.insert(step.word(0).to_owned(), client);
        }
        outcome
    }
}

/// Waits long for what is expected, and a little for what must not come.
fn receive(client: &mut Client, step: &Step, expected: &str) -> String {
    let count = step.words.get(1).map_or(1, |count| count.parse().unwrap());
    let missing = expected.split(" + ").filter(|message| *message == "nothing").count();
    let within = |place| if place + missing < count { PATIENCE } else { SILENCE };
    let mut messages: Vec<_> = (0..count).map(|place| client.receive(within(place))).collect();
    messages.sort();
    messages.join(" + ")
}

fn publish(client: &mut Client, step: &Step) -> String {
    let retain = step.words.get(3).is_some_and(|word| word == "retained");
    let payload = step.word(if retain { 4 } else { 3 });
    let size = payload.strip_suffix("kB").and_then(|size| size.parse::<usize>().ok());
    let payload = size.map_or_else(|| payload.as_bytes().to_vec(), |size| vec![b'.'; size * 1_000]);
    client.publish(step.word(1), step.word(2).parse().unwrap(), retain, payload)
}

/// What is done after a broker has not started, if it was not to start.
const WITHOUT_BROKER: [&str; 4] = ["start", "said", "append", "replace"];
