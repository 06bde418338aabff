//! Three nodes that pass their clients to the owner.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nats_servers::Servers;
use serde_json::Value;
use tempfile::TempDir;
use wire::free_port;

use crate::client::{PATIENCE, now};

/// Dropping it kills all processes.
pub(crate) struct Nodes {
    servers: Servers,
    nodes: Vec<(SocketAddr, Option<Child>)>,
    /// What is in the configuration of each besides.
    more: &'static str,
    directory: TempDir,
}

impl Nodes {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    pub(crate) fn start_with(more: &'static str) -> Self {
        let node = || ((Ipv4Addr::LOCALHOST, free_port()).into(), None);
        let nodes = (0..3).map(|_| node()).collect();
        let (servers, directory) = (Servers::three(), tempfile::tempdir().unwrap());
        let mut nodes = Self { servers, nodes, more, directory };
        (0..3).for_each(|number| nodes.start_node(number));
        nodes
    }

    pub(crate) fn start_node(&mut self, number: usize) {
        let urls: Vec<String> = self.servers.urls().iter().map(|url| format!("{url:?}")).collect();
        let address = self.nodes[number].0;
        let directory = self.directory.path().join(number.to_string());
        fs::create_dir_all(&directory).unwrap();
        let config = format!(
            "[server]\nshards = 2\ndata = {:?}\n[security]\nallow_anonymous = true\n[admin]\nenabled = false\n\
             [[listeners]]\nname = \"main\"\naddress = \"{address}\"\n\
             [cluster]\nnode = \"n{number}\"\nnats = [{}]\nadvertise = \"{address}\"\nfront = \"tunnel\"\n{}",
            directory.join("data"),
            urls.join(", "),
            self.more
        );
        let file = directory.join("oncemq.toml");
        fs::write(&file, config).unwrap();
        let log = || File::options().create(true).append(true).open(directory.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.arg("--config").arg(file).stdin(Stdio::null()).stdout(log()).stderr(log());
        self.nodes[number].1 = Some(command.spawn().unwrap());
    }

    /// Where clients reach a node.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.nodes[number].0
    }

    /// The node that serves. Waits for it.
    pub(crate) fn owner(&self) -> usize {
        self.wait("an owner", |nodes| (0..3).find(|number| nodes.ask(*number, "/cluster")["role"] == "owner"))
    }

    pub(crate) fn others(&self, number: usize) -> [usize; 2] {
        [(number + 1) % 3, (number + 2) % 3]
    }

    /// Waits until a node can pass clients on.
    pub(crate) fn wait_for_links(&self, number: usize) {
        self.wait("a link", |nodes| (nodes.ask(number, "/cluster")["tunnels"]["links"] == 1).then_some(()));
    }

    /// Waits until there is something.
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(now() < deadline, "{what} is missing\n{}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What a node answers to an operator; nothing if it does not.
    pub(crate) fn ask(&self, number: usize, path: &str) -> Value {
        self.exchange(number, "GET", path).unwrap_or_default()
    }

    /// The messages of a stream, each in a line: its number and its payload.
    pub(crate) fn read(&self, number: usize, stream: &str) -> String {
        let config = self.directory.path().join(number.to_string()).join("oncemq.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.args(["streams", "read", stream, "--json", "--config"]).arg(config);
        let output = command.output().unwrap();
        let messages: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |message: &Value| format!("{} {}\n", message["sequence"], message["payload_text"].as_str().unwrap());
        messages.as_array().unwrap().iter().map(text).collect()
    }

    /// Lets another node be the owner.
    pub(crate) fn move_to(&self, owner: usize, number: usize) {
        let to = format!("n{number}");
        // Not before that one has a whole copy.
        self.wait("a move", |nodes| {
            let moved = nodes.exchange(owner, "POST", &format!("/cluster/move?to={to}"))?;
            (moved["to"] == *to).then_some(())
        });
        self.wait("another owner", |nodes| (nodes.ask(number, "/cluster")["role"] == "owner").then_some(()));
    }

    fn exchange(&self, number: usize, method: &str, path: &str) -> Option<Value> {
        let socket = self.directory.path().join(number.to_string()).join("data/admin.sock");
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream
            .write_all(
                format!("{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").as_bytes(),
            )
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    pub(crate) fn kill(&mut self, number: usize) {
        let mut child = self.nodes[number].1.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Removes all that a node has, which does not run.
    pub(crate) fn wipe(&self, number: usize) {
        fs::remove_dir_all(self.directory.path().join(number.to_string()).join("data")).unwrap();
    }

    /// What a node has logged.
    pub(crate) fn log_of(&self, number: usize) -> String {
        fs::read_to_string(self.directory.path().join(format!("{number}/log"))).unwrap_or_default()
    }

    /// The processor time of all nodes and servers since their start, in seconds.
    pub(crate) fn processor_time(&self) -> f64 {
        let nodes = self.nodes.iter().filter_map(|(_, child)| child.as_ref()).map(Child::id);
        let servers = (0..3).map(|number| self.servers.pid(number));
        nodes.chain(servers).map(processor_time).sum()
    }

    fn log(&self) -> String {
        (0..3).map(|number| format!("node {number}:\n{}\n", self.log_of(number))).collect()
    }
}

/// That of a process, whose unit is a hundredth of a second.
fn processor_time(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = text.rsplit_once(") ").unwrap();
    let ticks: u32 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u32>().unwrap()).sum();
    f64::from(ticks) / 100.0
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", self.log());
        }
        for child in self.nodes.iter_mut().filter_map(|(_, child)| child.as_mut()) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
