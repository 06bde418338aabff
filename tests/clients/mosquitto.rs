//! Runs `mosquitto_pub` and `mosquitto_sub`.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::broker::Broker;
use crate::deadline::{wait_for, wait_for_end};

/// A running `mosquitto_sub`. Dropping it kills the process.
pub(crate) struct Subscriber {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// They read its output and end with it.
    readers: Vec<JoinHandle<()>>,
    taken: usize,
}

/// A message as printed by `mosquitto_sub`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// A message without RETAIN.
pub(crate) fn message(topic: &str, payload: &str, qos: u8) -> Message {
    Message { topic: topic.to_owned(), payload: payload.to_owned(), qos, retain: false }
}

impl Subscriber {
    /// Starts it at the broker's first listener and waits until it has subscribed.
    #[track_caller]
    pub(crate) fn start(broker: &Broker, arguments: &[&str]) -> Self {
        Self::start_at(&broker.target(), arguments)
    }

    /// Starts it with these connection arguments and waits until it has subscribed.
    #[track_caller]
    pub(crate) fn start_at(target: &[String], arguments: &[&str]) -> Self {
        let subscriber = Self::spawn(target, arguments);
        subscriber.wait_for_line("Subscribed (mid: ");
        subscriber
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(target: &[String], arguments: &[&str]) -> Self {
        // stdbuf makes the output line-buffered.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub", "-d", "-F", FORMAT])
            .args(target)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect(HOW_TO_INSTALL);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers =
            vec![collect(child.stdout.take().unwrap(), &lines), collect(child.stderr.take().unwrap(), &lines)];
        Self { child, lines, readers, taken: 0 }
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) {
        wait_for(text, || self.lines.lock().unwrap().iter().any(|line| line.contains(text)).then_some(()));
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Message {
        let message = wait_for("a message", || self.messages().get(self.taken).cloned());
        self.taken += 1;
        message
    }

    /// All messages received so far.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.lines.lock().unwrap().iter().filter_map(|line| parse(line)).collect()
    }

    /// The output so far.
    pub(crate) fn output(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// `kill -9`: the connection ends without DISCONNECT.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its exit, and until all of its output is read.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let status = wait_for_end("mosquitto_sub", &mut self.child);
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        status
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            println!("mosquitto_sub said:\n{}", self.output());
        }
    }
}

/// Runs `mosquitto_pub` at the broker's first listener; it must succeed.
#[track_caller]
pub(crate) fn publish(broker: &Broker, arguments: &[&str]) -> String {
    publish_at(&broker.target(), arguments)
}

/// Runs `mosquitto_pub` with these connection arguments; it must succeed.
#[track_caller]
pub(crate) fn publish_at(target: &[String], arguments: &[&str]) -> String {
    let output = try_publish(target, arguments, "");
    assert!(output.status.success(), "mosquitto_pub {arguments:?}: {output:?}\n{HOW_TO_INSTALL}");
    String::from_utf8(output.stdout).unwrap()
}

/// Publishes each line as a message on one connection.
#[track_caller]
pub(crate) fn publish_lines(broker: &Broker, arguments: &[&str], lines: &str) {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["-l"]).collect();
    let output = try_publish(&broker.target(), &arguments, lines);
    assert!(output.status.success(), "mosquitto_pub {arguments:?}: {output:?}");
}

/// Runs `mosquitto_pub -d` and returns its output and exit status.
#[track_caller]
pub(crate) fn try_publish(target: &[String], arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("timeout")
        .args([PATIENCE_SECONDS, "mosquitto_pub", "-d"])
        .args(target)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A refused client doesn't read its input.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

/// Creates or resumes a session that outlives its connection, subscribes, and disconnects.
#[track_caller]
pub(crate) fn create_session(broker: &Broker, arguments: &[&str]) {
    let mut subscriber = Subscriber::spawn(&broker.target(), &[&["-c", "-E"], arguments].concat());
    assert!(subscriber.end().success(), "{}", subscriber.output());
}

fn collect(pipe: impl std::io::Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    })
}

fn parse(line: &str) -> Option<Message> {
    let mut parts = line.strip_prefix("MESSAGE|")?.splitn(4, '|');
    let (qos, retain) = (parts.next()?.parse().ok()?, parts.next()? == "1");
    Some(Message { topic: parts.next()?.to_owned(), payload: parts.next()?.to_owned(), qos, retain })
}

const PATIENCE_SECONDS: &str = "20";
const FORMAT: &str = "MESSAGE|%q|%r|%t|%p";
const HOW_TO_INSTALL: &str = "mosquitto's clients run: `bash tests/run` installs them";
