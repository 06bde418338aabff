//! A cluster under a virtual clock: everything that happens, in the order of its time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use anyhow::{Result, bail};
use oncemq::broker::{ConnectionId, Ticket};
use oncemq::timestamp::Timestamp;

use crate::cell::{Cell, Input, ToClient};
use crate::figures::Figures;
use crate::fleet::Fleet;
use crate::links::{Carried, Links, Pipe};
use crate::machine::{Machine, Task, Use};
use crate::model::{Model, ns};
use crate::rng::Rng;
use crate::setup::Setup;

/// The cluster, its clients, and what is going to happen.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) model: Model,
    pub(crate) rng: Rng,
    /// In nanoseconds.
    pub(crate) now: u64,
    steps: BinaryHeap<Scheduled>,
    numbered: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) is_alive: Vec<bool>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) links: Links,
    /// The bytes between nodes, by sender and receiver.
    pub(crate) pipes: Vec<Pipe>,
    pub(crate) fleet: Fleet,
    pub(crate) figures: Figures,
    /// Whether publishers go on.
    pub(crate) is_busy: bool,
}

/// What happens at a time.
#[derive(Debug)]
pub(crate) enum Step {
    /// A processor is free, and what was waiting for its work goes on.
    Done {
        machine: usize,
        then: Option<Box<Step>>,
    },
    /// The turn of a cell is over.
    TurnEnds {
        cell: usize,
    },
    /// Something arrives at the owner of a cell.
    Input {
        cell: usize,
        epoch: u32,
        input: Box<Input>,
    },
    /// Something arrives at clients.
    ToClients(Vec<(u32, u32, ToClient)>),
    /// What was sent between two nodes arrives.
    Piped {
        from: usize,
        to: usize,
        carried: Vec<Carried>,
    },
    /// A client begins to connect, and its CONNECT is at a node.
    Connect {
        client: u32,
        attempt: u32,
    },
    ConnectArrives {
        client: u32,
        attempt: u32,
    },
    /// A commit may begin; the disk is synced; the servers' leader has it; a majority has it; the owner knows.
    CommitBegins {
        cell: usize,
        epoch: u32,
    },
    Committing {
        cell: usize,
        epoch: u32,
        ticket: Ticket,
        bytes: u64,
    },
    CommitEnds {
        cell: usize,
        epoch: u32,
    },
    Led {
        cell: usize,
        epoch: u32,
        ticket: Ticket,
        ns: u64,
    },
    Voted {
        cell: usize,
        epoch: u32,
        ticket: Ticket,
    },
    Replicated {
        cell: usize,
        epoch: u32,
        ticket: Ticket,
    },
    /// A shard wants to be called.
    Deadline {
        cell: usize,
        epoch: u32,
    },
    /// Two cells connect.
    LinkOpens {
        one: u8,
        other: u8,
    },
    /// The next message, and the next subscription.
    Publish,
    Churn,
    Unsubscribe {
        client: u32,
        number: u64,
    },
    /// A node dies, and is back.
    Death {
        node: usize,
    },
    Return {
        node: usize,
    },
    /// Cells move to nodes that have fewer.
    Balance,
    /// A node has opened a cell.
    Adopt {
        cell: usize,
        since: u64,
        adoption: u32,
    },
    /// The owner of a cell notices that the front of a client is gone.
    FrontGone {
        cell: usize,
        epoch: u32,
        connection: ConnectionId,
    },
}

impl World {
    pub(crate) fn new(setup: Setup, model: Model) -> Result<Self> {
        if setup.nodes == 0 || setup.cells == 0 || setup.cells > 256 || setup.sessions == 0 || setup.payload < 16 {
            bail!("at least one node, one session and 16 bytes, and 1 to 256 cells");
        }
        let settings = std::sync::Arc::new(setup.settings());
        let (nodes, cells) = (setup.nodes, setup.cells);
        let cell =
            |number: u16| Cell::new((number as u8, cells), usize::from(number) % nodes, Timestamp(BEGIN_MS), &settings);
        let machines = if setup.one_machine { 1 } else { nodes.max(SERVERS) };
        let mut world = Self {
            model,
            rng: Rng(setup.seed),
            now: 0,
            steps: BinaryHeap::new(),
            numbered: 0,
            machines: (0..machines).map(|_| Machine::new(setup.cores)).collect(),
            is_alive: vec![true; nodes],
            cells: (0..cells).map(cell).collect(),
            links: Links::default(),
            pipes: (0..nodes * nodes).map(|_| Pipe::default()).collect(),
            fleet: Fleet::new(&setup)?,
            figures: Figures::default(),
            is_busy: false,
            setup,
        };
        world.open_links();
        Ok(world)
    }

    /// Runs until a time, or until there is nothing more to do.
    pub(crate) fn run_until(&mut self, end: u64) {
        while self.steps.peek().is_some_and(|next| next.at <= end) {
            let Some(Scheduled { at, step, .. }) = self.steps.pop() else { break };
            self.now = at;
            self.step(step);
        }
        self.now = self.now.max(end);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Done { machine, then } => {
                self.machines[machine].end();
                if let Some(step) = then {
                    self.step(*step);
                }
                self.use_processors(machine);
            }
            Step::TurnEnds { cell } => self.turn_ends(cell),
            Step::Input { cell, epoch, input } => self.input(cell, epoch, *input),
            Step::ToClients(packets) => self.tell_clients(packets),
            Step::Piped { from, to, carried } => self.piped(from, to, carried),
            Step::Connect { client, attempt } => self.connect(client, attempt),
            Step::ConnectArrives { client, attempt } => self.connect_arrives(client, attempt),
            Step::CommitBegins { cell, epoch } => self.commit_begins(cell, epoch),
            Step::Committing { cell, epoch, ticket, bytes } => self.committing(cell, epoch, ticket, bytes),
            Step::CommitEnds { cell, epoch } => self.commit_ends(cell, epoch),
            Step::Led { cell, epoch, ticket, ns } => self.led(cell, epoch, ticket, ns),
            Step::Voted { cell, epoch, ticket } => {
                let delay = ns(self.model.sync + self.model.hop);
                self.after(delay, Step::Replicated { cell, epoch, ticket });
            }
            Step::Replicated { cell, epoch, ticket } => self.replicated(cell, epoch, ticket),
            Step::Deadline { cell, epoch } => self.input(cell, epoch, Input::Deadline),
            Step::LinkOpens { one, other } => self.link_opens(one, other),
            Step::Publish => self.publish_next(),
            Step::Churn => self.churn(),
            Step::Unsubscribe { client, number } => self.unsubscribe(client, number),
            Step::Death { node } => self.die(node),
            Step::Return { node } => self.come_back(node),
            Step::Balance => self.balance(),
            Step::Adopt { cell, since, adoption } => self.adopt(cell, since, adoption),
            Step::FrontGone { cell, epoch, connection } => self.input(cell, epoch, Input::Lost { connection }),
        }
    }

    pub(crate) fn at(&mut self, at: u64, step: Step) {
        self.numbered += 1;
        self.steps.push(Scheduled { at, number: self.numbered, step });
    }

    pub(crate) fn after(&mut self, delay: u64, step: Step) {
        self.at(self.now + delay, step);
    }

    /// The time as the broker has it.
    pub(crate) const fn timestamp(&self) -> Timestamp {
        Timestamp(BEGIN_MS + self.now / 1_000_000)
    }

    /// When a time of the broker is.
    pub(crate) const fn when(at_ms: u64) -> u64 {
        at_ms.saturating_sub(BEGIN_MS) * 1_000_000
    }

    /// The machine of a node, or of a server.
    pub(crate) fn machine_of(&self, number: usize) -> usize {
        number % self.machines.len()
    }

    pub(crate) fn work(&mut self, machine: usize, task: Task) {
        self.machines[machine].add(task);
        self.use_processors(machine);
    }

    /// Something arrives at the owner of a cell.
    pub(crate) fn input(&mut self, cell: usize, epoch: u32, input: Input) {
        let place = &mut self.cells[cell];
        let machine = place.node % self.machines.len();
        let Some(owner) = place.owner.as_mut().filter(|_| place.epoch == epoch) else { return };
        owner.inbox.push_back(input);
        if !std::mem::replace(&mut owner.is_awake, true) {
            self.work(machine, Task::Turn { cell });
        }
    }

    fn use_processors(&mut self, machine: usize) {
        while let Some(task) = self.machines[machine].begin() {
            let (uses, then) = match task {
                Task::Turn { cell } => {
                    let cost = self.turn(cell);
                    (Use::Owner.of(cost), None)
                }
                Task::Work { uses, then } => (uses, then),
            };
            let cost = self.machines[machine].count(&uses);
            self.after(cost, Step::Done { machine, then });
        }
    }
}

/// The servers of NATS.
pub(crate) const SERVERS: usize = 3;
/// The time of the broker at the beginning.
const BEGIN_MS: u64 = 1_700_000_000_000;

struct Scheduled {
    at: u64,
    number: u64,
    step: Step,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The first one is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}
