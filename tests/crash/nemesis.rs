//! What happens to a broker on several nodes, drawn from the seed.

use std::time::Duration;

use crate::broker::Connections;
use crate::network::{Cut, MACHINES};
use crate::nodes::Harm;
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
    /// Bits change in the files of a broker or a server of NATS while it is down.
    Damage,
    /// Disks are full.
    Space,
    /// The clocks of brokers change.
    Clocks,
}

impl Kind {
    /// In this order, because few rounds should have the first two.
    pub(crate) const ALL: [Self; 6] =
        [Self::Partitions, Self::Power, Self::Damage, Self::Space, Self::Clocks, Self::Processes];

    /// Those with these names, in this order.
    pub(crate) fn named(names: &str) -> Vec<Self> {
        let kind = |name: &str| match name {
            "processes" => Self::Processes,
            "partitions" => Self::Partitions,
            "power" => Self::Power,
            "damage" => Self::Damage,
            "space" => Self::Space,
            "clocks" => Self::Clocks,
            _ => panic!("{name:?} is no kind of failure"),
        };
        names.split_whitespace().map(kind).collect()
    }
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

impl Plan {
    /// Draws what happens next, where this node is the owner of the log, and this server leads its stream.
    pub(crate) fn draw(kind: Kind, rng: &mut Rng, owner: usize, leader: usize) -> Self {
        match kind {
            Kind::Processes => of_processes(rng, owner),
            Kind::Partitions => of_networks(rng, owner, leader),
            Kind::Damage => of_damage(rng, owner),
            Kind::Space => of_space(rng, owner),
            Kind::Clocks => of_clocks(rng, owner),
            Kind::Power if rng.percent(20) => {
                let machine = if rng.percent(50) { owner } else { rng.index(MACHINES) };
                let harms = vec![Harm::Power(Some(machine))];
                Self { harms, lasts: Lasts::draw(rng), connections: Connections::Lost }
            }
            Kind::Power => {
                let harms = vec![Harm::Power(None)];
                Self { harms, lasts: Lasts::ForAnInstant, connections: Connections::Lost }
            }
        }
    }
}

fn of_processes(rng: &mut Rng, owner: usize) -> Plan {
    let standby = (owner + 1 + rng.index(MACHINES - 1)) % MACHINES;
    let server = rng.index(MACHINES);
    let of_machine = |number| [Harm::KilledNode(number), Harm::KilledServer(number)];
    let (harms, lasts, connections) = match rng.below(9) {
        0 | 1 => (vec![Harm::KilledNode(owner)], Lasts::UntilTheNext, Connections::Lost),
        2 => (vec![Harm::StoppedNode(owner)], Lasts::UntilTheNext, Connections::Lost),
        // It goes on with the connections that it had.
        3 => (vec![Harm::StoppedNode(owner)], Lasts::for_a_while(rng), Connections::Kept),
        4 => (vec![Harm::KilledNode(standby)], Lasts::UntilTheNext, Connections::Kept),
        5 => (vec![Harm::KilledServer(server)], Lasts::UntilTheNext, Connections::Kept),
        6 => (vec![Harm::StoppedServer(server)], Lasts::UntilTheNext, Connections::Kept),
        // A whole machine.
        7 => (vec![Harm::KilledNode(owner), Harm::KilledServer(server)], Lasts::UntilTheNext, Connections::Lost),
        // All at once, and all come back.
        _ => ((0..MACHINES).flat_map(of_machine).collect(), Lasts::ForAnInstant, Connections::Lost),
    };
    Plan { harms, lasts, connections }
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
    let (harm, lasts) = match rng.below(10) {
        // It holds back what it cannot refuse.
        0..=3 => (Harm::FullLog(owner), Lasts::for_a_while(rng)),
        4..=6 => (Harm::FullLog((owner + 1 + rng.index(MACHINES - 1)) % MACHINES), Lasts::draw(rng)),
        _ => (Harm::FullServer(machine), Lasts::draw(rng)),
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
