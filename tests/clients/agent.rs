//! Drives a client library of another project through a small program that uses it (`tests/python/agents`,
//! `tests/node/agents`, `tests/c`). `tests/python/agents/agent.py` describes what is said over its pipes.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::deadline::{wait_for, wait_for_end};
use crate::mosquitto::Message;

/// A running program. Dropping it kills the process, and prints what it said if the test has failed.
pub(crate) struct Agent {
    child: Child,
    input: ChildStdin,
    output: Arc<Mutex<Output>>,
}

/// What a program said and the test has not asked for yet.
#[derive(Default)]
struct Output {
    answers: Vec<String>,
    messages: Vec<Message>,
    everything: Vec<String>,
    /// Standard output is at its end.
    ended: bool,
}

impl Agent {
    /// Starts `command`, which has its environment, and waits until it is connected.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; {HOW_TO_INSTALL}"));
        let output = Arc::default();
        read(child.stdout.take().unwrap(), &output, true);
        read(child.stderr.take().unwrap(), &output, false);
        let input = child.stdin.take().unwrap();
        let agent = Self { child, input, output };
        agent.expect("connected");
        agent
    }

    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.command(&format!("subscribe {filter} {qos}"));
        self.expect("subscribed");
    }

    /// Publishes, and waits until the library says that it is done.
    #[track_caller]
    pub(crate) fn publish(&mut self, message: &Message) {
        let Message { topic, payload, qos, retain } = message;
        self.command(&format!("publish {topic} {qos} {} {payload}", u8::from(*retain)));
        self.expect("published");
    }

    /// Sends DISCONNECT and waits for the end of the process.
    #[track_caller]
    pub(crate) fn disconnect(mut self) {
        self.command("disconnect");
        self.expect("disconnected");
        wait_for_end("the client", &mut self.child);
    }

    /// `kill -9`: the connection ends without DISCONNECT.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for this answer, which must be the next one.
    #[track_caller]
    pub(crate) fn expect(&self, answer: &str) {
        let next = self.wait_for(answer, |output| (!output.answers.is_empty()).then(|| output.answers.remove(0)));
        assert_eq!(next, answer);
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn next(&self) -> Message {
        self.wait_for("a message", |output| (!output.messages.is_empty()).then(|| output.messages.remove(0)))
    }

    #[track_caller]
    fn wait_for<T>(&self, what: &str, mut ask: impl FnMut(&mut Output) -> Option<T>) -> T {
        wait_for(what, || {
            let mut output = self.output.lock().unwrap();
            let answer = ask(&mut output);
            let has_ended = output.ended && answer.is_none();
            drop(output);
            assert!(!has_ended, "the client ended before: {what}; {HOW_TO_INSTALL}");
            answer
        })
    }

    fn command(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            println!("the client said:\n{}", self.output.lock().unwrap().everything.join("\n"));
        }
    }
}

fn read(pipe: impl Read + Send + 'static, output: &Arc<Mutex<Output>>, is_protocol: bool) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap();
            output.everything.push(line.clone());
            match parse(&line) {
                _ if !is_protocol => {}
                Some(message) => output.messages.push(message),
                None => output.answers.push(line),
            }
        }
        if is_protocol {
            output.lock().unwrap().ended = true;
        }
    });
}

/// Reads `message TOPIC QOS RETAIN PAYLOAD`.
fn parse(line: &str) -> Option<Message> {
    let mut words = line.strip_prefix("message ")?.splitn(4, ' ');
    let topic = words.next()?.to_owned();
    let (qos, retain) = (words.next()?.parse().ok()?, words.next()? == "1");
    Some(Message { topic, payload: words.next()?.to_owned(), qos, retain })
}

const HOW_TO_INSTALL: &str = "`bash tests/run` installs what the clients need";
