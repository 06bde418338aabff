//! A broker on three nodes with a log on three servers of JetStream, of which some are killed, stopped or cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nats_servers::{Place, Servers, Setup};
use serde_json::Value;
use tempfile::TempDir;
use wire::free_port;

use crate::broker::{Connections, Service};
use crate::damage::{damage_log, damage_server};
use crate::disks::{Disk, Switch};
use crate::machines::Machines;
use crate::nemesis::{Kind, Lasts, Plan};
use crate::network::{Cut, MACHINES};
use crate::now;
use crate::operator::exchange;
use crate::rng::Rng;

/// Three brokers, of which one is the owner of the log. Dropping it kills all processes.
pub(crate) struct Nodes {
    pub(crate) servers: Servers,
    nodes: Vec<Node>,
    /// The number of cells over which the clients are spread; 1: one node serves all.
    cells: usize,
    /// `None`: all run on this machine.
    machines: Option<Machines>,
    /// What happens to them, in turn.
    kinds: Vec<Kind>,
    /// What was done last, and is undone before the next.
    done: Vec<Harm>,
    /// What is done next, at once.
    plan: Option<Plan>,
    switch: Option<Switch>,
    /// When it is undone, if it is so before.
    until: Option<Instant>,
    history: Vec<String>,
    /// Of all that is not on a disk of a machine. The last: disks are mounted in it.
    directory: TempDir,
}

struct Node {
    name: &'static str,
    place: Place,
    mqtt: SocketAddr,
    /// Where it listens for other nodes.
    link: SocketAddr,
    /// Where it has its data, and where the test sees it.
    data: PathBuf,
    seen: PathBuf,
    child: Option<Child>,
}

/// What happens to a process, or between some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    KilledNode(usize),
    StoppedNode(usize),
    KilledServer(usize),
    StoppedServer(usize),
    Cut(Cut),
    /// Of a machine, or of all: processes and disks.
    Power(Option<usize>),
    /// A node ends, and bits of its log change, which this seed decides.
    DamagedLog(usize, u64),
    /// The same of a server of NATS and what it stores.
    DamagedServer(usize, u64),
    FullLog(usize),
    FullServer(usize),
    /// The clock of a machine changes by some hours, for its broker.
    Clock(usize, i64),
}

impl Harm {
    /// The machines that lose their power.
    fn machines(self) -> Range<usize> {
        let Self::Power(machine) = self else { return 0..0 };
        machine.map_or(0..MACHINES, |machine| machine..machine + 1)
    }
}

impl Nodes {
    pub(crate) fn new(cells: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let setup = Setup { servers: 3, ..Setup::default() };
        Self::start_servers(directory, &setup, None, (cells, &[Kind::Processes]))
    }

    /// The same on machines of their own, to which something of these kinds happens in turn. `None`: there can be none. `sync_interval`: that of the
    /// servers, if it is not `always`.
    pub(crate) fn on_machines(cells: usize, sync_interval: Option<&str>, kinds: &[Kind]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let machines = Machines::new(directory.path())?;
        let setup = Setup { sync_interval: sync_interval.map(str::to_owned), ..machines.setup() };
        Some(Self::start_servers(directory, &setup, Some(machines), (cells, kinds)))
    }

    fn start_servers(
        directory: TempDir,
        setup: &Setup,
        machines: Option<Machines>,
        (cells, kinds): (usize, &[Kind]),
    ) -> Self {
        let servers = Servers::start(setup);
        let node = |(number, name): (usize, &'static str)| {
            let place = setup.places.get(number).cloned().unwrap_or_default();
            let mqtt = machines.as_ref().map_or(place.address, |machines| machines.address(number));
            let own = directory.path().join(name);
            fs::create_dir_all(&own).unwrap();
            let disk = machines.as_ref().map(|machines| &machines.disks(number)[0]);
            let [data, seen] = disk
                .map_or([own.clone(), own], |disk| [disk.path().to_owned(), disk.seen()])
                .map(|path| path.join("data"));
            let [mqtt, link] = [mqtt, place.address].map(|address| (address, free_port()).into());
            Node { name, place, mqtt, link, data, seen, child: None }
        };
        let nodes = ["a", "b", "c"].into_iter().enumerate().map(node).collect();
        let (done, history) = (Vec::new(), Vec::new());
        Self {
            servers,
            nodes,
            cells,
            machines,
            kinds: kinds.to_vec(),
            done,
            plan: None,
            switch: None,
            until: None,
            history,
            directory,
        }
    }

    pub(crate) fn start_node(&mut self, number: usize) {
        let scheme = if self.machines.is_some() { "tls" } else { "nats" };
        let urls: Vec<String> =
            (0..3).map(|server| format!("\"{scheme}://{}\"", self.servers.address(server))).collect();
        let access = self.machines.as_ref().map(Machines::access).unwrap_or_default();
        let node = &mut self.nodes[number];
        let directory = self.directory.path().join(node.name);
        let cells = match self.cells {
            1 => String::new(),
            cells => format!("cells = {cells}\nlink_address = \"{}\"\n", node.link),
        };
        let config = format!(
            "[[listeners]]\nname = \"main\"\naddress = \"{1}\"\n\
             [cluster]\nnode = \"{0}\"\nnats = [{2}]\nadvertise = \"{1}\"\n{cells}{access}",
            node.name,
            node.mqtt,
            urls.join(", ")
        );
        fs::write(directory.join("oncemq.toml"), config).unwrap();
        let mut command = node.place.command(Path::new(env!("CARGO_BIN_EXE_oncemq")));
        if let Some(machines) = self.machines.as_ref().filter(|_| self.kinds.contains(&Kind::Clocks)) {
            machines.clocks.show(number, &mut command);
        }
        command.args(["--admin", "off", "--shards", "2", "--allow-anonymous", "--data"]).arg(&node.data);
        command.arg("--config").arg(directory.join("oncemq.toml"));
        command.stdin(Stdio::null()).stdout(log(&directory)).stderr(log(&directory));
        node.child = Some(command.spawn().unwrap());
    }

    /// The node that serves, if one does.
    pub(crate) fn owner(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.child.is_some() && is_ready(&node.seen.join(SOCKET)))
    }

    /// Waits until all copies of the stream have all of it, there is an owner, and all others could take over.
    pub(crate) fn wait_until_whole(&self) {
        (0..self.cells).for_each(|cell| self.servers.wait_until_current(&stream(cell)));
        let deadline = now() + ABLE_PATIENCE;
        loop {
            let answer = exchange(&self.socket(), "GET", "/cluster").map(|(_, cluster)| cluster).unwrap_or_default();
            if self.is_whole(&answer) {
                return;
            }
            assert!(now() < deadline, "not all nodes can be the owner: {answer}\n{}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn is_whole(&self, cluster: &Value) -> bool {
        if self.cells == 1 {
            let is_able = |member: &Value| member["able"] == true && member["alive"] == true;
            let members = cluster["members"].as_array().filter(|members| members.len() + 1 == self.nodes.len());
            return cluster["role"] == "owner" && members.is_some_and(|members| members.iter().all(is_able));
        }
        let has_all = |cell: &Value| cell["owner"].is_string() && cell["copies"] == self.nodes.len();
        cluster["cells"].as_array().is_some_and(|cells| cells.len() == self.cells && cells.iter().all(has_all))
    }

    /// The process identifier of a node that runs.
    fn pid(&self, number: usize) -> Option<u32> {
        self.nodes[number].child.as_ref().map(Child::id)
    }

    /// Where a node serves clients, when it is the owner.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.nodes[number].mqtt
    }

    fn signal_node(&self, number: usize, signal: &str) {
        let pid = self.pid(number).unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// The disk of a machine's broker, and that of its server of NATS.
    fn disks(&self, machine: usize) -> &[Disk; 2] {
        self.machines.as_ref().unwrap().disks(machine)
    }

    fn kill_node(&mut self, number: usize) {
        let mut child = self.nodes[number].child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What takes the power from these machines.
    fn switch(&self, machines: Range<usize>) -> Switch {
        let disks = machines.clone().flat_map(|number| self.disks(number));
        let processes = machines.flat_map(|number| self.pid(number).into_iter().chain([self.servers.pid(number)]));
        Switch::new(disks, processes)
    }

    pub(crate) fn harm(&mut self, harm: Harm) {
        match harm {
            Harm::KilledNode(number) => self.kill_node(number),
            Harm::StoppedNode(number) => self.signal_node(number, "-STOP"),
            Harm::KilledServer(number) => self.servers.kill(number),
            Harm::StoppedServer(number) => self.servers.stop(number),
            Harm::Cut(cut) => self.machines.as_ref().unwrap().network.cut(cut),
            Harm::Power(_) => {
                if let Some(switch) = self.switch.take() {
                    switch.throw();
                }
                for number in harm.machines() {
                    self.kill_node(number);
                    self.servers.kill(number);
                }
            }
            Harm::DamagedLog(number, seed) => {
                self.kill_node(number);
                let rng = &mut Rng(seed);
                let log =
                    if self.cells == 1 { "log".to_owned() } else { format!("cells/{}/log", rng.index(self.cells)) };
                let damage = damage_log(&self.nodes[number].seen.join(log), rng);
                self.note(&damage.join(", "));
            }
            Harm::DamagedServer(number, seed) => {
                self.servers.kill(number);
                let damage = damage_server(&self.disks(number)[1].seen(), &mut Rng(seed));
                self.note(&damage.join(", "));
            }
            Harm::FullLog(number) => self.disks(number)[0].fill(),
            Harm::FullServer(number) => self.disks(number)[1].fill(),
            Harm::Clock(number, hours) => self.machines.as_ref().unwrap().clocks.set(number, hours),
        }
        self.done.push(harm);
        self.note(&format!("{harm:?}"));
    }

    /// Tells of what was done: at once, for who watches, and with the fault that it leads to.
    fn note(&mut self, what: &str) {
        println!("{what}");
        self.history.push(what.to_owned());
    }

    pub(crate) fn heal(&mut self) {
        self.until = None;
        for harm in std::mem::take(&mut self.done) {
            match harm {
                Harm::KilledNode(number) | Harm::DamagedLog(number, _) => self.start_node(number),
                Harm::StoppedNode(number) => self.signal_node(number, "-CONT"),
                Harm::KilledServer(number) | Harm::DamagedServer(number, _) => self.servers.begin(number),
                Harm::StoppedServer(number) => self.servers.go_on(number),
                Harm::Cut(cut) => self.machines.as_ref().unwrap().network.heal(cut),
                Harm::Power(_) => {
                    harm.machines().flat_map(|number| self.disks(number)).for_each(Disk::mount_again);
                    for number in harm.machines() {
                        self.servers.begin(number);
                        self.start_node(number);
                    }
                }
                Harm::Clock(number, _) => self.machines.as_ref().unwrap().clocks.set(number, 0),
                Harm::FullLog(number) => self.disks(number)[0].make_room(),
                Harm::FullServer(number) => {
                    self.disks(number)[1].make_room();
                    // It has ended JetStream, and begins it again only with the process.
                    self.servers.kill(number);
                    self.servers.begin(number);
                }
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

    fn prepare(&mut self, rng: &mut Rng) {
        self.heal();
        if self.machines.is_some() {
            // One failure at a time.
            self.wait_until_whole();
        }
        // With cells, each node serves some.
        let owner = self.owner().filter(|_| self.cells == 1).unwrap_or_else(|| rng.index(MACHINES));
        let leader = self.servers.leader(&stream(rng.index(self.cells))).unwrap_or(owner);
        let plan = Plan::draw(self.kinds[0], rng, owner, leader);
        self.kinds.rotate_left(1);
        let machines = plan.harms.iter().find_map(|harm| Some(harm.machines()).filter(|machines| !machines.is_empty()));
        self.switch = machines.map(|machines| self.switch(machines));
        self.plan = Some(plan);
    }

    fn kill(&mut self, _: &mut Rng) -> Connections {
        let Plan { harms, lasts, mut connections } = self.plan.take().unwrap();
        let is_killed = |harm: &Harm| matches!(harm, Harm::KilledNode(_) | Harm::DamagedLog(..));
        if self.cells > 1 && harms.iter().any(is_killed) {
            // The clients at other nodes keep theirs.
            connections = Connections::Kept;
        }
        harms.into_iter().for_each(|harm| self.harm(harm));
        match lasts {
            Lasts::ForAnInstant => self.heal(),
            Lasts::For(time) => self.until = Some(now() + time),
            Lasts::UntilTheNext => {}
        }
        connections
    }

    fn may_refuse(&self) -> bool {
        self.kinds.contains(&Kind::Space)
    }

    fn may_disconnect(&self) -> bool {
        self.cells > 1
    }

    fn pass(&mut self, at: Instant) {
        if self.until.is_some_and(|until| until <= at) {
            self.heal();
            self.note("healed");
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
        self.nodes[owner].seen.join(SOCKET)
    }

    fn log(&self) -> String {
        let mut text = format!("{}\n", self.history.join(", "));
        for node in &self.nodes {
            let log = fs::read_to_string(self.directory.path().join(node.name).join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" client")).collect();
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

/// The stream of the log of a cell.
fn stream(cell: usize) -> String {
    format!("ONCEMQ_oncemq_{cell}")
}

/// Whether a node says that clients can use it.
fn is_ready(socket: &Path) -> bool {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
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

/// Where a node answers operators, in its data directory.
const SOCKET: &str = "admin.sock";
/// How long it may take until a copy is repaired.
const ABLE_PATIENCE: Duration = Duration::from_secs(90);
const LINES_SHOWN: usize = 40;
const PATIENCE: Duration = Duration::from_millis(500);
