//! Servers of NATS and nodes of OnceMQ on this machine, or one broker alone.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tempfile::TempDir;

use crate::clock;
use crate::placement::{Cells, Placement};
use crate::scenario::Target;
use crate::transport::{Endpoint, Transport};

/// How many nodes and cells there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Shape {
    /// 1 to 3; 0 is one broker without a cluster.
    pub(super) nodes: usize,
    pub(super) cells: usize,
}

/// The programs, and the parent of the data directories.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) broker: PathBuf,
    pub(super) nats: PathBuf,
    pub(super) data_root: PathBuf,
}

/// The processes, and their files. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Cluster {
    shape: Shape,
    directory: TempDir,
    servers: Vec<Member>,
    nodes: Vec<Member>,
}

/// A process: a server or a node.
#[derive(Debug)]
struct Member {
    command: Vec<PathBuf>,
    log: PathBuf,
    address: SocketAddr,
    /// Answers questions about the state by HTTP.
    admin: SocketAddr,
    child: Option<Child>,
}

impl Cluster {
    /// Starts all, and waits until the clients of all cells can connect and the other nodes can take over.
    pub(super) fn start(shape: Shape, programs: &Programs) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&programs.data_root)?;
        let ports = Ports::free(6 * NAMES.len())?;
        let urls: Vec<String> = (0..NAMES.len()).map(|index| format!("\"nats://{}\"", ports.of(0, index))).collect();
        let routes: Vec<String> = (0..NAMES.len()).map(|index| format!("nats://{}", ports.of(1, index))).collect();
        let (urls, routes) = (urls.join(", "), routes.join(", "));
        let mut cluster = Self { shape, directory, servers: Vec::new(), nodes: Vec::new() };
        for (index, name) in NAMES.iter().enumerate() {
            let [address, route, monitor, mqtt, admin, link] = [0, 1, 2, 3, 4, 5].map(|kind| ports.of(kind, index));
            if shape.nodes > 0 {
                let store = cluster.directory.path().join(format!("nats-{name}"));
                let config = format!(
                    "server_name: {name}\nlisten: \"{address}\"\nhttp: \"{monitor}\"\n\
                    jetstream {{ store_dir: {store:?}, sync_interval: always, max_file_store: 16GB, max_memory_store: 64MB }}\n\
                    cluster {{ name: bench, listen: \"{route}\", routes: [{routes}] }}\n"
                );
                let config = cluster.write(&format!("nats-{name}.conf"), &config)?;
                let command = vec![programs.nats.clone(), "-c".into(), config];
                cluster.servers.push(cluster.member(command, &format!("nats-{name}.log"), (address, monitor)));
            }
            if index < shape.nodes.max(1) {
                let data = cluster.directory.path().join(format!("node-{name}"));
                let mut config = format!(
                    "[server]\ndata = {data:?}\n[[listeners]]\nname = \"main\"\naddress = \"{mqtt}\"\n\
                    [admin]\naddress = \"{admin}\"\n{LIMITS}"
                );
                if shape.nodes > 0 {
                    config += &format!("[cluster]\nnode = \"{name}\"\nnats = [{urls}]\nadvertise = \"{mqtt}\"\n");
                }
                if shape.cells > 1 {
                    config += &format!("cells = {}\nlink_address = \"{link}\"\n", shape.cells);
                }
                let config = cluster.write(&format!("node-{name}.toml"), &config)?;
                let command = vec![programs.broker.clone(), "--config".into(), config];
                cluster.nodes.push(cluster.member(command, &format!("node-{name}.log"), (mqtt, admin)));
            }
        }
        for member in cluster.servers.iter_mut().chain(&mut cluster.nodes) {
            member.start()?;
        }
        cluster.wait_until_able()?;
        Ok(cluster)
    }

    /// The owner, or with cells the first node, as the broker to measure, beside the other processes.
    pub(super) fn target(&self, placement: Option<Placement>) -> Result<Target> {
        let owner = if self.shape.cells > 1 { 0 } else { self.owner().context("no node serves clients")? };
        let node = self.nodes.get(owner).context("no such node")?;
        let beside = |group, members: &[Member]| -> Vec<(&'static str, u32)> {
            members.iter().filter_map(|member| Some((group, member.child.as_ref()?.id()))).collect()
        };
        let pid = node.child.as_ref().context("the owner does not run")?.id();
        let mut others = beside("servers", &self.servers);
        others.extend(beside("standbys", &self.nodes).into_iter().filter(|(_, other)| *other != pid));
        let cells = match placement.filter(|_| self.shape.cells > 1) {
            Some(placement) => {
                let owners = self.owners().context("not every cell has an owner")?;
                Some(Cells::new(owners, self.addresses(), placement))
            }
            None => None,
        };
        Ok(Target { endpoint: Endpoint::new(node.address, Transport::Tcp, None)?, pid, beside: others, cells })
    }

    /// The node that serves the clients of each cell, if each has one.
    fn owners(&self) -> Option<Vec<usize>> {
        let mut owners = vec![None; self.shape.cells];
        for (index, node) in self.nodes.iter().enumerate() {
            let metrics = node.ask("/metrics")?;
            for (cell, owner) in owners.iter_mut().enumerate() {
                let is = |name: &str, value: usize| {
                    let line = format!("oncemq_cluster_cell_{name}{{cell=\"{cell}\"}} {value}");
                    metrics.lines().any(|seen| seen == line)
                };
                if is("owned", 1) && is("accepts_clients", 1) && is("links_up", self.shape.cells - 1) {
                    *owner = Some(index);
                }
            }
        }
        owners.into_iter().collect()
    }

    /// Entries and commits of the stores of all cells until now, when the nodes count them, by the names of what is made of them.
    pub(super) fn counters(&self) -> [(&'static str, f64); 2] {
        thread::sleep(COUNTERS_AGE);
        let pages: Vec<String> = self.nodes.iter().filter_map(|node| node.ask("/metrics")).collect();
        let sum = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.split_whitespace().next_back()?.parse::<f64>().ok();
            pages.iter().flat_map(|page| page.lines()).filter_map(value).sum()
        };
        [
            ("entries_per_message", sum("oncemq_store_entries_total")),
            ("commits_per_message", sum("oncemq_store_commits_total")),
        ]
    }

    /// Whether each cell has an owner, and each node its share of them.
    fn is_shared_out(&self) -> bool {
        let Some(owners) = self.owners() else { return false };
        let share = |node| owners.iter().filter(|owner| **owner == node).count();
        (0..self.nodes.len()).all(|node| share(node) >= self.shape.cells / self.nodes.len())
    }

    /// The addresses at which clients reach the nodes.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// The node that serves clients. Two say so for a moment, if a former owner has not noticed yet that it is none: then there is no answer.
    pub(super) fn owner(&self) -> Option<usize> {
        let is_ready = |node: &Member| node.child.is_some() && node.ask("/health/ready").is_some();
        let mut ready = self.nodes.iter().enumerate().filter(|(_, node)| is_ready(node)).map(|(index, _)| index);
        ready.next().filter(|_| ready.next().is_none())
    }

    /// Ends a node at once.
    pub(super) fn kill_node(&mut self, index: usize) -> Result<()> {
        self.nodes.get_mut(index).context("no such node")?.kill()
    }

    /// Ends a server at once.
    pub(super) fn kill_server(&mut self, index: usize) -> Result<()> {
        self.servers.get_mut(index).context("no such server")?.kill()
    }

    /// Starts what was killed, and waits until each node but the owner can take over.
    pub(super) fn mend(&mut self) -> Result<()> {
        for member in self.servers.iter_mut().chain(&mut self.nodes).filter(|member| member.child.is_none()) {
            member.start()?;
        }
        self.wait_until_able()
    }

    fn wait_until_able(&self) -> Result<()> {
        let started = clock::now();
        while !self.is_able() {
            if clock::now() - started > START_MAX {
                bail!("no owner with standbys that can take over in {} s:\n{}", START_MAX.as_secs(), self.logs());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn is_able(&self) -> bool {
        if self.shape.cells > 1 && !self.is_shared_out() {
            return false;
        }
        let is_healthy = |server: &Member| server.ask("/healthz").is_some();
        if self.shape.cells <= 1 {
            let metrics = self.owner().and_then(|owner| self.nodes.get(owner)).and_then(|node| node.ask("/metrics"));
            let able = |line: &&str| line.starts_with("oncemq_cluster_member_able{") && line.ends_with("} 1");
            let standbys = metrics.map(|text| text.lines().filter(able).count());
            if standbys != Some(self.nodes.len() - 1) {
                return false;
            }
        }
        self.servers.iter().all(is_healthy)
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        let end = |member: &Member| {
            let text = fs::read_to_string(&member.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
        };
        self.servers.iter().chain(&self.nodes).map(end).collect::<Vec<_>>().join("\n")
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn member(&self, command: Vec<PathBuf>, log: &str, (address, admin): (SocketAddr, SocketAddr)) -> Member {
        Member { command, log: self.directory.path().join(log), address, admin, child: None }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in self.servers.iter_mut().chain(&mut self.nodes) {
            let _ = member.kill();
        }
    }
}

impl Member {
    fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let (program, arguments) = self.command.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// The body of the answer, if the status is 200.
    fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin, ANSWER_MAX).ok()?;
        stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).filter(|status| *status == "200").map(|_| body.to_owned())
    }
}

/// Free ports of loopback.
struct Ports(Vec<u16>);

impl Ports {
    /// Binds all at the same time, so that they differ, and then releases them.
    fn free(count: usize) -> Result<Self> {
        let bind = |_| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let listeners = (0..count).map(bind).collect::<Result<Vec<_>, _>>()?;
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        Ok(Self(listeners.iter().map(port).collect::<Result<_, _>>()?))
    }

    fn of(&self, kind: usize, index: usize) -> SocketAddr {
        let port = self.0.get(kind * NAMES.len() + index).copied().unwrap_or_default();
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];
/// As for the brokers of `peers.toml`.
const LIMITS: &str = "[limits]\nconnections_per_address_max = 100000\nconnections_per_second_max = 1000000\n\
    queued_messages_max = 10000000\nqueued_bytes_max = \"8GiB\"\n";
/// Nodes update their counters about once a second.
const COUNTERS_AGE: Duration = Duration::from_millis(1_500);
const POLL: Duration = Duration::from_millis(50);
const ANSWER_MAX: Duration = Duration::from_secs(2);
const START_MAX: Duration = Duration::from_secs(90);
