//! Servers of NATS with JetStream for a test: one, or several that are a cluster, on free ports of loopback, with their files in a temporary directory.
//!
//! The program is `target/nats/bin/nats-server`, where `tests/run` installs it, or what `NATS_SERVER` names. Without it, [`is_missing`] says so: loudly on the
//! machine of a developer, and as a failure if `CI` is set.

#![expect(clippy::panic, clippy::unwrap_used, clippy::print_stderr, reason = "it is used by tests alone")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test is told by the environment where a program is, and runs in real time"
)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use wire::free_port;

/// The program, if it is there.
pub fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_SERVER") {
        return Some(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path));
    Some(target.join("nats/bin/nats-server")).filter(|path| path.exists())
}

/// Whether there is no program, so that the test can't run.
pub fn is_missing() -> bool {
    let is_missing = program().is_none();
    assert!(!is_missing || std::env::var_os("CI").is_none(), "{MISSING}");
    if is_missing {
        eprintln!("SKIPPED: {MISSING}");
    }
    is_missing
}

const MISSING: &str = "there is no nats-server: run tests/run, which installs it, or set NATS_SERVER";

/// How the servers are set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The number of servers; one is no cluster.
    pub servers: usize,
    /// Lines for the configuration of each server, such as `authorization {…}`.
    pub more: String,
    /// `sync_interval`; by default `always`, with which an acknowledged entry is on disk.
    pub sync_interval: Option<String>,
    /// Where the files are; by default in the temporary directory.
    pub directories: Vec<PathBuf>,
    /// Where the servers run; by default all on this machine.
    pub places: Vec<Place>,
}

/// Where a server runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its address for clients.
    pub address: IpAddr,
    /// Its address for the other servers.
    pub routes: IpAddr,
    /// Its address for the test, which asks it how it is.
    pub monitor: IpAddr,
    /// The words with which the command begins that starts it there, such as `nsenter …`.
    pub command: Vec<String>,
}

impl Default for Place {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { address: loopback, routes: loopback, monitor: loopback, command: Vec::new() }
    }
}

impl Place {
    /// Begins a command that runs there.
    pub fn command(&self, program: &Path) -> Command {
        let mut words = self.command.iter().map(AsRef::as_ref).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command
    }
}

/// Servers that run. When it is dropped, they are ended.
#[derive(Debug)]
pub struct Servers {
    directory: TempDir,
    servers: Vec<Server>,
}

/// One of them.
#[derive(Debug)]
struct Server {
    place: Place,
    address: SocketAddr,
    monitor: SocketAddr,
    configuration: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    is_stopped: bool,
}

impl Servers {
    /// Starts them, and waits until all know each other and JetStream has a leader.
    #[track_caller]
    pub fn start(setup: &Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = |index| setup.places.get(index).cloned().unwrap_or_default();
        let routes: Vec<SocketAddr> =
            (0..setup.servers).map(|index| (place(index).routes, free_port()).into()).collect();
        let servers = (0..setup.servers).map(|index| Server::new(setup, directory.path(), &routes, index)).collect();
        let mut servers = Self { directory, servers };
        for index in 0..setup.servers {
            servers.begin(index);
        }
        servers.wait_until_ready();
        servers
    }

    /// Three servers that are a cluster.
    #[track_caller]
    pub fn three() -> Self {
        Self::start(&Setup { servers: 3, ..Setup::default() })
    }

    /// Their addresses for clients, `nats://…`.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("nats://{}", server.address)).collect()
    }

    /// The address of one of them for clients.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.server(index).address
    }

    /// The process identifier of a server that runs.
    pub fn pid(&self, index: usize) -> u32 {
        self.server(index).child.as_ref().unwrap().id()
    }

    /// The index of the server with this name in its cluster.
    pub fn index_of(&self, name: &str) -> usize {
        name.trim_start_matches('n').parse().unwrap()
    }

    /// How many connections of clients a server has, as far as it answers.
    pub fn connections(&self, index: usize) -> u64 {
        let state = self.server(index).monitor("/varz");
        state.and_then(|state| state.get("connections")?.as_u64()).unwrap_or_default()
    }

    /// The server that leads a stream, if one does as far as the others know.
    pub fn leader(&self, stream: &str) -> Option<usize> {
        let name = self.states(stream).find_map(|cluster| Some(cluster.get("leader")?.as_str()?.to_owned()))?;
        Some(self.index_of(&name))
    }

    /// Waits until all copies of a stream have all that it has. All servers run.
    #[track_caller]
    pub fn wait_until_current(&self, stream: &str) {
        let is_current = |copy: &Value| copy.get("current").and_then(Value::as_bool) == Some(true);
        let all_are = |cluster: Value| {
            let others = cluster.get("replicas").and_then(Value::as_array);
            others.is_some_and(|others| others.len() + 1 == self.servers.len() && others.iter().all(is_current))
        };
        let deadline = Instant::now() + PATIENCE;
        while !self.states(stream).any(all_are) {
            assert!(
                Instant::now() < deadline,
                "the copies of {stream} are not equal: {:?}",
                self.states(stream).collect::<Vec<_>>()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What each server says of the copies of a stream, where it knows a leader.
    fn states(&self, stream: &str) -> impl Iterator<Item = Value> {
        self.servers.iter().filter_map(move |server| {
            let state = server.child.as_ref().and_then(|_| server.monitor("/jsz?streams=true"))?;
            let accounts = state.get("account_details")?.as_array()?;
            let mut streams = accounts.iter().filter_map(|account| account.get("stream_detail")?.as_array()).flatten();
            let found = streams.find(|found| found.get("name").and_then(Value::as_str) == Some(stream))?;
            let cluster = found.get("cluster")?;
            cluster.get("leader")?.as_str().filter(|leader| !leader.is_empty())?;
            Some(cluster.clone())
        })
    }

    /// Where a server keeps its files.
    pub fn files(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("n{index}"))
    }

    /// What a server has logged.
    pub fn log(&self, index: usize) -> String {
        fs::read_to_string(&self.server(index).log).unwrap_or_default()
    }

    /// Ends a server at once, as a loss of power does.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.server_mut(index).child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts a server that was killed.
    #[track_caller]
    pub fn begin(&mut self, index: usize) {
        let program = program().unwrap_or_else(|| panic!("{MISSING}"));
        let server = self.server_mut(index);
        assert!(server.child.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(&server.log).unwrap();
        let mut command = server.place.command(&program);
        command.arg("-c").arg(&server.configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        server.child = Some(command.spawn().unwrap());
    }

    /// Stops a server in its tracks: its connections stay, and it answers nothing.
    pub fn stop(&mut self, index: usize) {
        signal(self.pid(index), "STOP");
        self.server_mut(index).is_stopped = true;
    }

    /// Lets a server go on that was stopped.
    pub fn go_on(&mut self, index: usize) {
        signal(self.pid(index), "CONT");
        self.server_mut(index).is_stopped = false;
    }

    /// Waits until JetStream works on all servers that run.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        for (index, server) in self.servers.iter().enumerate() {
            while server.child.is_some() && !server.is_stopped && !server.is_ready(self.servers.len()) {
                assert!(Instant::now() < deadline, "server {index} is not ready:\n{}", self.log(index));
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn server(&self, index: usize) -> &Server {
        self.servers.get(index).unwrap()
    }

    fn server_mut(&mut self, index: usize) -> &mut Server {
        self.servers.get_mut(index).unwrap()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for index in 0..self.servers.len() {
            self.kill(index);
        }
        if thread::panicking() {
            for index in 0..self.servers.len() {
                let log = self.log(index);
                let lines: Vec<&str> = log.lines().collect();
                let end = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
                eprintln!("the end of the log of server {index}:\n{}", end.join("\n"));
            }
        }
    }
}

impl Server {
    fn new(setup: &Setup, directory: &Path, routes: &[SocketAddr], index: usize) -> Self {
        let own = directory.join(format!("n{index}"));
        let store = setup.directories.get(index).cloned().unwrap_or_else(|| own.clone());
        fs::create_dir_all(&store).unwrap();
        fs::create_dir_all(&own).unwrap();
        let place = setup.places.get(index).cloned().unwrap_or_default();
        let [address, monitor] = [place.address, place.monitor].map(|address| (address, free_port()).into());
        let cluster = match routes.get(index) {
            Some(route) if routes.len() > 1 => {
                let others: Vec<String> = routes.iter().map(|route| format!("nats-route://{route}")).collect();
                format!("cluster {{ name: test, listen: \"{route}\", routes: [{}] }}\n", others.join(", "))
            }
            _ => String::new(),
        };
        let sync = setup.sync_interval.as_deref().unwrap_or("always");
        let text = format!(
            "server_name: n{index}\nlisten: \"{address}\"\nhttp: \"{monitor}\"\n\
            jetstream {{ store_dir: {store:?}, sync_interval: {sync}, max_file_store: 16GB, max_memory_store: 64MB }}\n{cluster}{}\n",
            setup.more
        );
        let configuration = own.join("nats.conf");
        fs::write(&configuration, text).unwrap();
        Self { place, address, monitor, log: own.join("log"), configuration, child: None, is_stopped: false }
    }

    /// Whether JetStream has a leader that knows all servers.
    fn is_ready(&self, servers: usize) -> bool {
        let Some(state) = self.monitor("/jsz") else { return false };
        let Some(meta) = state.get("meta_cluster").filter(|_| servers > 1) else {
            return servers == 1 && state.get("config").is_some();
        };
        let has_leader = meta.get("leader").and_then(Value::as_str).is_some_and(|leader| !leader.is_empty());
        has_leader && meta.get("cluster_size").and_then(Value::as_u64) == Some(servers as u64)
    }

    fn monitor(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect_timeout(&self.monitor, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }
}

/// Sends a signal to a process that the test has started.
fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// For the start of all servers, on a machine that many tests share.
const PATIENCE: Duration = Duration::from_secs(60);
