//! A broker on three nodes with a log on three servers of JetStream, of which some are killed, stopped or cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nats_servers::{Servers, Setup};
use tempfile::TempDir;
use wire::free_address;

use crate::broker::Service;
use crate::rng::Rng;

/// Three brokers, of which one is the owner of the log. Dropping it kills all processes.
pub(crate) struct Nodes {
    directory: TempDir,
    servers: Servers,
    nodes: Vec<Node>,
    /// What was done last, and is undone before the next.
    done: Vec<Harm>,
    history: Vec<String>,
}

struct Node {
    name: &'static str,
    mqtt: SocketAddr,
    admin: SocketAddr,
    child: Option<Child>,
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    KilledNode(usize),
    StoppedNode(usize),
    KilledServer(usize),
    StoppedServer(usize),
}

impl Nodes {
    /// `sync_interval`: that of the servers, if it is not `always`.
    pub(crate) fn new(sync_interval: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let servers =
            Servers::start(&Setup { sync_interval: sync_interval.map(str::to_owned), servers: 3, ..Setup::default() });
        let node = |name| Node { name, mqtt: free_address(), admin: free_address(), child: None };
        Self { directory, servers, nodes: ["a", "b", "c"].map(node).into(), done: Vec::new(), history: Vec::new() }
    }

    pub(crate) fn start_node(&mut self, number: usize) {
        let (path, urls) = (self.directory.path().to_owned(), self.servers.urls());
        let node = &mut self.nodes[number];
        let directory = path.join(node.name);
        fs::create_dir_all(&directory).unwrap();
        let urls: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
        let config = format!(
            "[cluster]\nnode = \"{}\"\nnats = [{}]\nadvertise = \"{}\"\n",
            node.name,
            urls.join(", "),
            node.mqtt
        );
        fs::write(directory.join("oncemq.toml"), config).unwrap();
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_oncemq")));
        command.args(["--listen", &node.mqtt.to_string(), "--admin", &node.admin.to_string()]);
        command.args(["--shards", "2", "--allow-anonymous", "--data"]).arg(directory.join("data"));
        command.arg("--config").arg(directory.join("oncemq.toml"));
        command.stdin(Stdio::null()).stdout(log(&directory)).stderr(log(&directory));
        node.child = Some(command.spawn().unwrap());
    }

    /// The node that serves, if one does.
    pub(crate) fn owner(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.child.is_some() && is_ready(node.admin))
    }

    /// Where a node serves clients, when it is the owner.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.nodes[number].mqtt
    }

    fn signal_node(&self, number: usize, signal: &str) {
        let pid = self.nodes[number].child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn harm(&mut self, harm: Harm) {
        match harm {
            Harm::KilledNode(number) => {
                let mut child = self.nodes[number].child.take().unwrap();
                child.kill().unwrap();
                child.wait().unwrap();
            }
            Harm::StoppedNode(number) => self.signal_node(number, "-STOP"),
            Harm::KilledServer(number) => self.servers.kill(number),
            Harm::StoppedServer(number) => self.servers.stop(number),
        }
        self.done.push(harm);
        self.history.push(format!("{harm:?}"));
    }

    pub(crate) fn heal(&mut self) {
        for harm in std::mem::take(&mut self.done) {
            match harm {
                Harm::KilledNode(number) => self.start_node(number),
                Harm::StoppedNode(number) => self.signal_node(number, "-CONT"),
                Harm::KilledServer(number) => self.servers.begin(number),
                Harm::StoppedServer(number) => self.servers.go_on(number),
            }
        }
    }
}

impl Service for Nodes {
    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.mqtt).collect()
    }

    fn start(&mut self) {
        if self.history.is_empty() {
            (0..self.nodes.len()).for_each(|number| self.start_node(number));
            self.history.push("started".to_owned());
        }
    }

    fn kill(&mut self, rng: &mut Rng) {
        self.heal();
        let any = |rng: &mut Rng| usize::try_from(rng.below(3)).unwrap();
        let owner = self.owner().unwrap_or_else(|| any(rng));
        let standby = (owner + 1 + usize::try_from(rng.below(2)).unwrap()) % 3;
        match rng.below(9) {
            0 | 1 => self.harm(Harm::KilledNode(owner)),
            2 | 3 => self.harm(Harm::StoppedNode(owner)),
            4 => self.harm(Harm::KilledNode(standby)),
            5 => self.harm(Harm::KilledServer(any(rng))),
            6 => self.harm(Harm::StoppedServer(any(rng))),
            7 => {
                // A whole machine.
                self.harm(Harm::KilledNode(owner));
                self.harm(Harm::KilledServer(any(rng)));
            }
            _ => {
                // All at once, and all come back.
                for number in 0..3 {
                    self.harm(Harm::KilledNode(number));
                    self.harm(Harm::KilledServer(number));
                }
                self.heal();
            }
        }
    }

    fn end(&mut self) -> Option<String> {
        self.nodes.iter_mut().find_map(|node| {
            let status = node.child.as_mut()?.try_wait().unwrap()?;
            Some(format!("node {}: {status}", node.name))
        })
    }

    fn socket(&self) -> PathBuf {
        let owner = self.owner().unwrap_or_default();
        self.directory.path().join(self.nodes[owner].name).join("data/admin.sock")
    }

    fn log(&self) -> String {
        let mut text = format!("{}\n", self.history.join(", "));
        for node in &self.nodes {
            let log = fs::read_to_string(self.directory.path().join(node.name).join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
            text.push_str(&format!("node {}:\n{shown}\n", node.name));
        }
        text
    }

    fn keep(&mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.directory.path().to_owned()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Whether a node says that clients can use it.
fn is_ready(admin: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).map(|()| answer == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

fn log(directory: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap()
}

const LINES_SHOWN: usize = 40;
const PATIENCE: Duration = Duration::from_millis(500);
