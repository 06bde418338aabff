//! Three machines as network namespaces, with a network for clients, one for clients of NATS, and one for what servers of NATS say to each other.
//!
//! The bridges of the networks are in a fourth namespace, which the thread of the test enters: what it connects from there on comes from there. The
//! namespaces have no names, so they end with the last process that uses them. A cut drops packets in silence, as a network does: connections stay.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::rng::Rng;

/// Networks between machines.
#[derive(Debug)]
pub(crate) struct Network {
    machines: Vec<File>,
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Net {
    /// Between clients and brokers.
    Clients,
    /// Between brokers and servers of NATS.
    Nats,
    /// Between servers of NATS.
    Routes,
}

/// What does not reach what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A machine and the others. Clients reach it.
    Machine(usize),
    /// A machine and everything.
    Unplugged(usize),
    /// The server of a machine and the other servers.
    Routes(usize),
    /// A machine's server of NATS and the brokers of the others, and its broker and their servers.
    Nats(usize),
    /// Two machines and each other; the third reaches both.
    Pair(usize, usize),
    /// What the first machine sends to the second is lost, but not what comes back.
    OneWay(usize, usize),
}

impl Network {
    /// Makes the namespaces; the thread enters that of the clients.
    ///
    /// # Errors
    /// The system does not permit it.
    pub(crate) fn new() -> Result<Self, String> {
        let hub = namespace()?;
        move_into_link_name_space(hub.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| error.to_string())?;
        let machines = (0..MACHINES).map(|_| namespace()).collect::<Result<_, _>>()?;
        let network = Self { machines };
        let mut of_hub = String::new();
        for net in NETS {
            let name = net.name();
            of_hub.push_str(&format!("link add {name} type bridge\nlink set {name} up\n"));
            for (number, machine) in network.machines.iter().enumerate() {
                let (port, place) = (net.port(number), path(machine));
                of_hub.push_str(&format!("link add {port} type veth peer name {name} netns {place}\n"));
                of_hub.push_str(&format!("link set {port} master {name} up\n"));
            }
        }
        of_hub.push_str(&format!(
            "link set lo up\naddress add {}/24 dev {}\n",
            Net::Clients.address(HUB),
            Net::Clients.name()
        ));
        batch(&[], &of_hub)?;
        for number in 0..MACHINES {
            let mut of_machine = "link set lo up\n".to_owned();
            for net in NETS {
                let (name, address) = (net.name(), net.address(number));
                of_machine.push_str(&format!("address add {address}/24 dev {name}\nlink set {name} up\n"));
            }
            batch(&network.command(number), &of_machine)?;
        }
        Ok(network)
    }

    /// The words with which a command begins that runs on a machine.
    pub(crate) fn command(&self, machine: usize) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", path(&self.machines[machine])), "--".to_owned()]
    }

    pub(crate) fn cut(&self, cut: Cut) {
        self.change(cut, true);
    }

    pub(crate) fn heal(&self, cut: Cut) {
        self.change(cut, false);
    }

    fn change(&self, cut: Cut, is_cut: bool) {
        let ports = |machine: usize, nets: &[Net]| {
            let state = if is_cut { "down" } else { "up" };
            let lines = nets.iter().map(|net| format!("link set {} {state}\n", net.port(machine)));
            batch(&[], &lines.collect::<String>()).unwrap();
        };
        match cut {
            Cut::Machine(machine) => ports(machine, &[Net::Nats, Net::Routes]),
            Cut::Unplugged(machine) => ports(machine, &NETS),
            Cut::Routes(machine) => ports(machine, &[Net::Routes]),
            Cut::Nats(machine) => ports(machine, &[Net::Nats]),
            Cut::Pair(one, other) => {
                let state = if is_cut { "on" } else { "off" };
                let ports = [Net::Nats, Net::Routes].into_iter().flat_map(|net| [net.port(one), net.port(other)]);
                let lines = ports.map(|port| format!("link set {port} type bridge_slave isolated {state}\n"));
                batch(&[], &lines.collect::<String>()).unwrap();
            }
            Cut::OneWay(from, to) => {
                // Frames for a machine that does not exist.
                let lines = [Net::Nats, Net::Routes].map(|net| {
                    let (name, address) = (net.name(), net.address(to));
                    let terms = if is_cut { " lladdr 02:00:00:00:00:01 nud permanent" } else { "" };
                    format!("neigh {} {address} dev {name}{terms}\n", if is_cut { "replace" } else { "del" })
                });
                batch(&self.command(from), &lines.concat()).unwrap();
            }
        }
    }
}

impl Net {
    const fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Nats => "nats",
            Self::Routes => "routes",
        }
    }

    /// The device of a machine's end at the bridge.
    fn port(self, machine: usize) -> String {
        format!("{}{machine}", self.name())
    }

    /// The address of a machine.
    pub(crate) fn address(self, machine: usize) -> IpAddr {
        let host = u8::try_from(machine + 1).unwrap();
        Ipv4Addr::new(10, 77, self as u8, host).into()
    }
}

impl Cut {
    /// Any, mostly one that concerns the machine of the owner, or that of the server that leads the stream.
    pub(crate) fn draw(rng: &mut Rng, owner: usize, leader: usize) -> Self {
        let machine = if rng.percent(50) { owner } else { rng.pick(&[leader, rng.clone().index(MACHINES)]) };
        let other = (machine + 1 + rng.index(MACHINES - 1)) % MACHINES;
        match rng.below(8) {
            0..=2 => Self::Machine(machine),
            3 => Self::Unplugged(machine),
            4 => Self::Routes(machine),
            5 => Self::Nats(machine),
            6 => Self::Pair(machine, other),
            _ => Self::OneWay(machine, other),
        }
    }
}

/// A new namespace, whose name is given up at once.
fn namespace() -> Result<File, String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("oncemq-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    run(Command::new("ip").args(["netns", "add", &name]))?;
    let file = File::open(format!("/run/netns/{name}")).map_err(|error| error.to_string());
    run(Command::new("ip").args(["netns", "delete", &name]))?;
    file
}

/// Where other processes can open it.
fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Runs `ip` with these lines.
fn batch(command: &[String], lines: &str) -> Result<(), String> {
    let mut words = command.iter().map(String::as_str).chain(["ip", "-batch", "-"]);
    let mut child = Command::new(words.next().unwrap_or_default())
        .args(words)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes()).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(format!("{lines}{}", String::from_utf8_lossy(&output.stderr))) }
}

/// Runs a command, and says why it failed.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let reason = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {reason}")) }
}

const NETS: [Net; 3] = [Net::Clients, Net::Nats, Net::Routes];
pub(crate) const MACHINES: usize = 3;
/// The namespace of the bridges and the clients, as if it were a machine.
const HUB: usize = 253;
