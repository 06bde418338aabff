//! The real binary with sinks, and a client that publishes to it.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use wire::{Connect, PUBACK, Publish, Received, Version, Wire, acknowledge};

use crate::deadline::{PATIENCE, SILENCE, wait_for, wait_for_end};

/// A broker that can be killed and started again. Dropping it kills it.
pub(crate) struct Broker {
    child: Child,
    pub(crate) directory: TempDir,
    pub(crate) address: SocketAddr,
}

impl Broker {
    /// Starts one with this configuration, in which `DIR` stands for its directory.
    #[track_caller]
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings)
    }

    #[track_caller]
    pub(crate) fn start_in(directory: TempDir, settings: &str) -> Self {
        let address = wire::free_address();
        configure(&directory, settings);
        let child = spawn(&directory, address);
        let broker = Self { child, directory, address };
        broker.wait_until_open(1);
        broker
    }

    /// Kills it with SIGKILL and starts it again with the same data.
    #[track_caller]
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    #[track_caller]
    pub(crate) fn restart(&mut self) {
        let starts = self.log().matches(OPEN).count();
        self.child = spawn(&self.directory, self.address);
        self.wait_until_open(starts + 1);
    }

    /// Lets it end as systemd does.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        assert!(wait_for_end("the broker", &mut self.child).success(), "{}", self.log());
    }

    /// Replaces its configuration while it runs.
    #[track_caller]
    pub(crate) fn reload(&self, settings: &str) {
        configure(&self.directory, settings);
        let before = self.log().len();
        self.signal("HUP");
        wait_for("the reload", || self.log()[before..].contains("these settings have new values").then_some(()));
    }

    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }

    #[track_caller]
    fn wait_until_open(&self, starts: usize) {
        wait_for("the listener", || (self.log().matches(OPEN).count() >= starts).then_some(()));
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn wait_for_line(&self, line: &str) {
        wait_for(line, || self.log().contains(line).then_some(()));
    }

    /// What the API answers.
    pub(crate) fn api(&self, path: &str) -> Value {
        let mut stream = UnixStream::connect(self.directory.path().join("data/admin.sock")).unwrap();
        write!(stream, "GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body = if head.contains("chunked") { body.lines().nth(1).unwrap_or_default() } else { body };
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// The messages that the Session of a sink has not got rid of.
    #[track_caller]
    pub(crate) fn queued(&self, sink: &str) -> u64 {
        // While the Session is given to another user, there is no answer.
        wait_for("the queue", || self.api(&format!("/clients/%24sink%2F{sink}"))["queued_messages"].as_u64())
    }

    /// Waits until a sink is subscribed.
    #[track_caller]
    pub(crate) fn wait_for_sink(&self, sink: &str) {
        let path = format!("/clients/%24sink%2F{sink}");
        wait_for("the sink", || (self.api(&path)["subscriptions"].as_u64() > Some(0)).then_some(()));
    }

    /// A client that has connected.
    #[track_caller]
    pub(crate) fn client(&self, client_id: &str) -> Client {
        let mut wire = Wire::open(self.address, PATIENCE).unwrap();
        wire.send(&Connect::new(Version::V5, client_id).bytes());
        assert!(matches!(wire.receive(PATIENCE), Received::Packet(connack) if connack.reason_code() == 0));
        Client { wire, last_id: 0 }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}

/// A client of MQTT 5.0.
pub(crate) struct Client {
    wire: Wire,
    last_id: u16,
}

impl Client {
    /// Publishes at QoS 1 and waits for the acknowledgement. Returns whether it came.
    pub(crate) fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) -> bool {
        self.last_id += 1;
        let publish = Publish { qos: 1, packet_id: self.last_id, ..Publish::new(topic, payload) };
        self.wire.send(&publish.bytes(Version::V5));
        loop {
            match self.wire.receive(PATIENCE) {
                Received::Packet(packet) if packet.kind() == PUBACK => return packet.reason_code() < 0x80,
                Received::Packet(_) => {}
                Received::Nothing | Received::Closed => return false,
            }
        }
    }

    pub(crate) fn subscribe(&mut self, filter: &str) {
        self.wire.send(&Version::V5.subscribe(1, filter, 1));
        assert!(matches!(self.wire.receive(PATIENCE), Received::Packet(suback) if suback.reason_code() < 0x80));
    }

    /// The next message, with the bytes of its packet; `None` if there is none for a short time.
    pub(crate) fn message(&mut self, is_expected: bool) -> Option<(Publish, Vec<u8>)> {
        let within = if is_expected { PATIENCE } else { SILENCE };
        let Received::Packet(packet) = self.wire.receive(within) else { return None };
        let publish = Publish::parse(Version::V5, &packet)?;
        self.wire.send(&acknowledge(PUBACK, publish.packet_id));
        Some((publish, packet.body))
    }
}

fn configure(directory: &TempDir, settings: &str) {
    let path = directory.path().display().to_string();
    let mut text = "[admin]\nenabled = false\n".to_owned();
    write!(text, "[server]\ndata = \"{path}/data\"\nshards = 2\n{}", settings.replace("DIR", &path)).unwrap();
    fs::write(directory.path().join("oncemq.toml"), text).unwrap();
}

fn spawn(directory: &TempDir, address: SocketAddr) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(directory.path().join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.args(["--listen", &address.to_string(), "--allow-anonymous", "--durability", "crash", "--config"]);
    command.arg(directory.path().join("oncemq.toml")).env_clear().stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

const OPEN: &str = " is open";
