//! What happens to a broker on several nodes, drawn from the seed.

use std::time::Duration;

use crate::broker::Connections;
use crate::network::{Cut, MACHINES};
use crate::nodes::{Harm, Nodes};
use crate::rng::Rng;

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Processes are killed or stopped.
    Processes,
    /// Machines do not reach each other.
    Partitions,
    /// Machines lose their power.
    Power,
    /// All lose it.
    PowerOfAll,
    /// Bits change in the files of a broker or a server of NATS while it is down.
    Damage,
    /// Disks are full.
    Space,
    /// The clocks of brokers change.
    Clocks,
}

/// What happens next.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) harms: Vec<Harm>,
    pub(crate) lasts: Lasts,
    pub(crate) connections: Connections,
}

/// How long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    ForAnInstant,
    For(Duration),
    /// All messages must arrive meanwhile.
    UntilTheNext,
}

impl Nodes {
    /// Draws what happens next, where one node is the owner of the log now.
    pub(crate) fn draw(&self, rng: &mut Rng) -> Plan {
        let owner = self.owner().unwrap_or_else(|| rng.index(MACHINES));
        match rng.pick(self.kinds) {
            Kind::Processes => of_processes(rng, owner),
            Kind::Partitions => of_networks(rng, owner, self.servers.leader(STREAM).unwrap_or(owner)),
            Kind::Damage => of_damage(rng, owner),
            Kind::Space => of_space(rng, owner),
            Kind::Clocks => of_clocks(rng, owner),
            Kind::Power if rng.percent(20) => {
                let machine = if rng.percent(50) { owner } else { rng.index(MACHINES) };
                Plan {
                    harms: vec![Harm::Power(Some(machine))],
                    lasts: Lasts::draw(rng),
                    connections: Connections::Lost,
                }
            }
            Kind::Power | Kind::PowerOfAll => {
                let harms = vec![Harm::Power(None)];
                Plan { harms, lasts: Lasts::ForAnInstant, connections: Connections::Lost }
            }
        }
    }
}

fn of_processes(rng: &mut Rng, owner: usize) -> Plan {
    let standby = (owner + 1 + rng.index(MACHINES - 1)) % MACHINES;
    let (harms, lasts) = match rng.below(9) {
        0 | 1 => (vec![Harm::KilledNode(owner)], Lasts::UntilTheNext),
        2 | 3 => (vec![Harm::StoppedNode(owner)], Lasts::UntilTheNext),
        4 => (vec![Harm::KilledNode(standby)], Lasts::UntilTheNext),
        5 => (vec![Harm::KilledServer(rng.index(MACHINES))], Lasts::UntilTheNext),
        6 => (vec![Harm::StoppedServer(rng.index(MACHINES))], Lasts::UntilTheNext),
        // A whole machine.
        7 => (vec![Harm::KilledNode(owner), Harm::KilledServer(rng.index(MACHINES))], Lasts::UntilTheNext),
        _ => {
            let of_machine = |number| [Harm::KilledNode(number), Harm::KilledServer(number)];
            ((0..MACHINES).flat_map(of_machine).collect(), Lasts::ForAnInstant)
        }
    };
    Plan { harms, lasts, connections: Connections::Lost }
}

fn of_networks(rng: &mut Rng, owner: usize, leader: usize) -> Plan {
    let cut = Cut::draw(rng, owner, leader);
    let connections = match cut {
        // Clients notice by their own time limits.
        Cut::Unplugged(_) => Connections::Lost,
        Cut::Machine(_) | Cut::Routes(_) | Cut::Nats(_) | Cut::Pair(..) | Cut::OneWay(..) => Connections::Kept,
    };
    Plan { harms: vec![Harm::Cut(cut)], lasts: Lasts::draw(rng), connections }
}

fn of_damage(rng: &mut Rng, owner: usize) -> Plan {
    let (machine, seed) = (rng.index(MACHINES), rng.next());
    let harm = match rng.below(3) {
        0 => Harm::DamagedServer(machine, seed),
        1 => Harm::DamagedLog(machine, seed),
        _ => Harm::DamagedLog(owner, seed),
    };
    let lasts = if rng.percent(30) { Lasts::ForAnInstant } else { Lasts::draw(rng) };
    let connections = if harm == Harm::DamagedLog(owner, seed) { Connections::Lost } else { Connections::Kept };
    Plan { harms: vec![harm], lasts, connections }
}

fn of_space(rng: &mut Rng, owner: usize) -> Plan {
    let machine = rng.index(MACHINES);
    let harm = if rng.percent(50) { Harm::FullServer(machine) } else { Harm::FullLog(machine) };
    let harm = if rng.percent(40) { Harm::FullLog(owner) } else { harm };
    let lasts = match harm {
        // It holds back what it cannot refuse.
        Harm::FullLog(number) if number == owner => Lasts::for_a_while(rng),
        _ => Lasts::draw(rng),
    };
    Plan { harms: vec![harm], lasts, connections: Connections::Kept }
}

/// A clock changes, and maybe another node becomes the owner.
fn of_clocks(rng: &mut Rng, owner: usize) -> Plan {
    let machine = if rng.percent(60) { owner } else { rng.index(MACHINES) };
    let clock = Harm::Clock(machine, rng.pick(&[-6, -1, 1, 6]));
    let (harms, connections) = if rng.percent(50) {
        (vec![clock, Harm::KilledNode(owner)], Connections::Lost)
    } else {
        (vec![clock], Connections::Kept)
    };
    Plan { harms, lasts: Lasts::draw(rng), connections }
}

impl Lasts {
    fn draw(rng: &mut Rng) -> Self {
        if rng.percent(50) { Self::UntilTheNext } else { Self::for_a_while(rng) }
    }

    fn for_a_while(rng: &mut Rng) -> Self {
        Self::For(Duration::from_millis(rng.between(200, 12_000)))
    }
}

/// The stream of the log.
pub(crate) const STREAM: &str = "ONCEMQ_oncemq_0";
