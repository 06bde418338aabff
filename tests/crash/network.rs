//! Networks between machines: one for clients, one for clients of NATS, and one for what servers of NATS say to each other.
//!
//! The bridges of the networks are in namespaces of their own, which the thread of the test enters. A cut drops packets in silence, as a network does:
//! connections stay.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use crate::namespaces::Namespaces;
use crate::rng::Rng;

/// Networks between machines.
#[derive(Debug)]
pub(crate) struct Network {
    hub: Namespaces,
    machines: Rc<[Namespaces]>,
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
    /// Connects machines; the thread enters the namespace of the clients.
    ///
    /// # Errors
    /// The system does not permit it.
    pub(crate) fn new(machines: Rc<[Namespaces]>) -> Result<Self, String> {
        let hub = Namespaces::new()?;
        hub.enter_network()?;
        let mut lines = "link set lo up\n".to_owned();
        for net in NETS {
            let name = net.name();
            lines.push_str(&format!("link add {name} type bridge\nlink set {name} up\n"));
            for (number, machine) in machines.iter().enumerate() {
                let (port, id) = (net.port(number), machine.id());
                lines.push_str(&format!("link add {port} type veth peer name {name} netns {id}\n"));
                lines.push_str(&format!("link set {port} master {name} up\n"));
            }
        }
        lines.push_str(&format!("address add {}/24 dev {}\n", Net::Clients.address(HUB), Net::Clients.name()));
        change(&hub, &lines)?;
        for (number, machine) in machines.iter().enumerate() {
            let mut lines = "link set lo up\n".to_owned();
            for net in NETS {
                let (name, address) = (net.name(), net.address(number));
                lines.push_str(&format!("address add {address}/24 dev {name}\nlink set {name} up\n"));
            }
            change(machine, &lines)?;
        }
        Ok(Self { hub, machines })
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
            change(&self.hub, &lines.collect::<String>()).unwrap();
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
                change(&self.hub, &lines.collect::<String>()).unwrap();
            }
            Cut::OneWay(from, to) => {
                // Frames for a machine that does not exist.
                let lines = [Net::Nats, Net::Routes].map(|net| {
                    let (name, address) = (net.name(), net.address(to));
                    let terms = if is_cut { " lladdr 02:00:00:00:00:01 nud permanent" } else { "" };
                    format!("neigh {} {address} dev {name}{terms}\n", if is_cut { "replace" } else { "del" })
                });
                change(&self.machines[from], &lines.concat()).unwrap();
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

/// Changes networks.
fn change(namespaces: &Namespaces, lines: &str) -> Result<(), String> {
    namespaces.run_with(&["ip", "-batch", "-"], lines)
}

const NETS: [Net; 3] = [Net::Clients, Net::Nats, Net::Routes];
pub(crate) const MACHINES: usize = 3;
/// The place of the bridges and the clients, as if it were a machine.
const HUB: usize = 253;
