//! Nodes of a cluster with cells.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nats_servers::Servers;
use serde_json::Value;
use tempfile::TempDir;
use wire::free_port;

/// The number of cells of the cluster.
pub(crate) const CELLS: usize = 6;

/// A user that all nodes know, whose password is the same.
pub(crate) const USER: &str = "alice";

/// Dropping it kills all processes.
pub(crate) struct Nodes {
    servers: Servers,
    nodes: Vec<(u16, Option<Child>)>,
    /// Their ports for each other.
    links: Vec<u16>,
    directory: TempDir,
}

impl Nodes {
    /// Starts some, and has a place for one more.
    pub(crate) fn start(count: usize) -> Self {
        let mut nodes = Self::places(Servers::three(), count + 1);
        (0..count).for_each(|node| nodes.start_node(node, CELLS));
        nodes
    }

    /// Has places for nodes, and starts none.
    pub(crate) fn places(servers: Servers, count: usize) -> Self {
        let nodes = (0..count).map(|_| (free_port(), None)).collect();
        let links = (0..count).map(|_| free_port()).collect();
        Self { servers, nodes, links, directory: tempfile::tempdir().unwrap() }
    }

    /// Starts one that believes in this number of cells; 0: it is not part of a cluster.
    pub(crate) fn start_node(&mut self, node: usize, cells: usize) {
        let urls: Vec<String> = self.servers.urls().iter().map(|url| format!("{url:?}")).collect();
        let address = self.address(node);
        fs::create_dir_all(self.place(node)).unwrap();
        let mut cluster = format!(
            "[cluster]\nnode = \"n{node}\"\nnats = [{}]\nadvertise = \"{address}\"\ncells = {cells}\ntail_copies = {}\n",
            urls.join(", "),
            urls.len()
        );
        // One of them is reached through NATS alone.
        if cells > 1 && node != 1 {
            cluster += &format!("link_address = \"127.0.0.1:{}\"\n", self.links[node]);
        }
        let config = format!(
            "[server]\nshards = 1\ndata = {:?}\n[security]\nallow_anonymous = true\npassword_file = {:?}\n[admin]\nenabled = false\n\
             [[redelivery]]\ntopic = \"letters/#\"\nattempts = 1\n\
             [[listeners]]\nname = \"main\"\naddress = \"{address}\"\n{}",
            self.data(node),
            self.users(),
            if cells > 0 { &cluster } else { "" },
        );
        fs::write(self.config(node), config).unwrap();
        self.start_again(node);
    }

    /// Starts one with the configuration that it had.
    pub(crate) fn start_again(&mut self, node: usize) {
        let log = || File::options().create(true).append(true).open(self.place(node).join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.arg("--config").arg(self.config(node)).stdin(Stdio::null()).stdout(log()).stderr(log());
        let child = command.spawn().unwrap();
        self.nodes[node].1 = Some(child);
    }

    /// Adds this to the configuration of these nodes, and lets them reload it.
    pub(crate) fn reload(&self, nodes: &[usize], more: &str) {
        for node in nodes {
            let config = fs::read_to_string(self.config(*node)).unwrap();
            fs::write(self.config(*node), config + more).unwrap();
            let reloaded = self.request(*node, "POST /reload", "").unwrap();
            assert_eq!(reloaded.0, 200, "{reloaded:?}");
        }
    }

    /// The password file of all nodes, which has one user.
    fn users(&self) -> PathBuf {
        let file = self.directory.path().join("users");
        if !file.exists() {
            let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
            command.args(["passwd", "--password-stdin", "--create"]).arg(&file).arg(USER);
            let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
            writeln!(child.stdin.take().unwrap(), "{USER}").unwrap();
            assert!(child.wait().unwrap().success());
        }
        file
    }

    fn place(&self, node: usize) -> PathBuf {
        self.directory.path().join(node.to_string())
    }

    fn config(&self, node: usize) -> PathBuf {
        self.place(node).join("oncemq.toml")
    }

    /// The data directory of a node.
    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.place(node).join("data")
    }

    /// Where a node listens.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.nodes[node].0).into()
    }

    /// What a node has logged.
    pub(crate) fn log(&self, node: usize) -> String {
        fs::read_to_string(self.place(node).join("log")).unwrap_or_default()
    }

    /// Waits until each of these nodes owns this number of cells, in the eyes of all of them, and they are all that there are.
    pub(crate) fn wait_for_shares(&self, shares: &[(usize, usize)]) {
        let cells: usize = shares.iter().map(|(_, share)| share).sum();
        let is_so = |nodes: &Self| {
            shares.iter().all(|(observer, _)| {
                let owners = nodes.owners(*observer);
                let count = |node: usize| owners.iter().filter(|owner| **owner == Some(format!("n{node}"))).count();
                owners.len() == cells && shares.iter().all(|(node, share)| count(*node) == *share)
            })
        };
        self.wait(&format!("{shares:?}"), |nodes| is_so(nodes).then_some(()));
    }

    /// The owner of each cell, as a node says.
    pub(crate) fn owners(&self, node: usize) -> Vec<Option<String>> {
        let answer = self.ask(node, "/cluster");
        let cells = answer["cells"].as_array().map_or(&[][..], Vec::as_slice);
        cells.iter().map(|cell| cell["owner"].as_str().map(str::to_owned)).collect()
    }

    /// Waits until there is something.
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let seen: Vec<_> = (0..self.nodes.len()).map(|node| self.owners(node)).collect();
            assert!(now() < deadline, "{what} is missing: {seen:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What a node answers to an operator; nothing if it does not.
    pub(crate) fn ask(&self, node: usize, path: &str) -> Value {
        self.request(node, &format!("GET {path}"), "").map(|(_, answer)| answer).unwrap_or_default()
    }

    /// The code and the body with which a node answers to an operator; `None`: it does not.
    pub(crate) fn request(&self, node: usize, method_and_path: &str, body: &str) -> Option<(u16, Value)> {
        let (method, path) = method_and_path.split_once(' ').unwrap();
        let mut stream = UnixStream::connect(self.data(node).join("admin.sock")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let length = body.len();
        let head = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + body).as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let code = head.split(' ').nth(1)?.parse().ok()?;
        Some((code, serde_json::from_str(body).unwrap_or_default()))
    }

    /// Runs a command for a node.
    pub(crate) fn command(&self, node: usize, words: &[&str]) -> ExitStatus {
        self.begin_command(node, words).wait().unwrap()
    }

    /// The same without waiting for its end.
    pub(crate) fn begin_command(&self, node: usize, words: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.args(words).arg("--config").arg(self.config(node)).stdin(Stdio::null()).spawn().unwrap()
    }

    pub(crate) fn kill(&mut self, node: usize) {
        let mut child = self.nodes[node].1.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks a node to end, and waits for that.
    pub(crate) fn terminate(&mut self, node: usize) -> ExitStatus {
        let pid = self.nodes[node].1.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.wait_for_end(node)
    }

    /// Waits until a node has ended.
    pub(crate) fn wait_for_end(&mut self, node: usize) -> ExitStatus {
        let mut child = self.nodes[node].1.take().unwrap();
        let deadline = now() + PATIENCE;
        loop {
            if let Some(ended) = child.try_wait().unwrap() {
                return ended;
            }
            if now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("node {node} does not end");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|(_, child)| child.as_mut()) {
            drop(child.kill());
            drop(child.wait());
        }
        if thread::panicking() {
            (0..self.nodes.len()).for_each(|node| println!("node {node}:\n{}\n", self.log(node)));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of processes runs in real time")]
fn now() -> Instant {
    Instant::now()
}

/// A fail-over takes seconds, and cells move one at a time, with five seconds between.
const PATIENCE: Duration = Duration::from_secs(180);
