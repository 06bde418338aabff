//! What goes between cells and between nodes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use oncemq::broker::LinkRole;

use crate::cell::{Input, LinkKey, ToClient};
use crate::machine::{Task, Uses};
use crate::model::ns;
use crate::world::{Step, World};

/// The connections between cells, each counted from the first one on.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// By the lower cell, the higher one, and the role at the lower one.
    up: BTreeMap<(u8, u8, u8), u32>,
    /// Pairs of cells that will try to connect.
    tries: BTreeSet<(u8, u8)>,
    numbered: u32,
}

/// Bytes from a node to another one: those of a turn are one frame, and one frame is on its way at a time.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    is_busy: bool,
    queued: Vec<Carried>,
    bytes: u64,
}

/// What is in a frame between nodes.
#[derive(Debug)]
pub(crate) enum Carried {
    ToCell { cell: usize, epoch: u32, input: Box<Input> },
    ToClient(u32, u32, ToClient),
}

impl World {
    /// Connects all cells.
    pub(crate) fn open_links(&mut self) {
        let cells = self.setup.cells;
        for (one, other) in (0..cells).flat_map(|one| (one + 1..cells).map(move |other| (one, other))) {
            self.connect_cells(one as u8, other as u8);
        }
    }

    /// All other cells connect to one.
    pub(crate) fn open_links_of(&mut self, cell: u8) {
        for other in (0..self.setup.cells).map(|other| other as u8).filter(|other| *other != cell) {
            self.connect_cells(cell.min(other), cell.max(other));
        }
    }

    fn connect_cells(&mut self, one: u8, other: u8) {
        if self.links.tries.insert((one, other)) {
            let delay = self.rng.between(10_000_000, 500_000_000);
            self.after(delay, Step::LinkOpens { one, other });
        }
    }

    pub(crate) fn link_opens(&mut self, one: u8, other: u8) {
        self.links.tries.remove(&(one, other));
        let is_owned = |cell: u8| self.cells[usize::from(cell)].owner.is_some();
        if !is_owned(one) || !is_owned(other) {
            return; // The one that gets an owner connects.
        }
        for role in LinkRole::ALL {
            let place = (one, other, role as u8);
            if self.links.up.contains_key(&place) {
                continue;
            }
            self.links.numbered += 1;
            let number = self.links.numbered;
            self.links.up.insert(place, number);
            for (cell, key) in [(one, (other, role as u8)), (other, (one, role.reversed() as u8))] {
                let epoch = self.cells[usize::from(cell)].epoch;
                self.input(usize::from(cell), epoch, Input::LinkOpened { key, number });
            }
        }
    }

    /// A cell sends bytes to another one.
    pub(crate) fn send_link(&mut self, cell: u8, (key, number): (LinkKey, u32), bytes: Bytes, at: u64) {
        let Some(key_there) = self.far_end(cell, key, number) else { return };
        let (from, to) = (self.cells[usize::from(cell)].node, usize::from(key.0));
        let (epoch, node) = (self.cells[to].epoch, self.cells[to].node);
        let length = bytes.len() as u64;
        self.figures.link_bytes += length;
        let input = Box::new(Input::LinkBytes { key: key_there, number, bytes });
        if node == from {
            self.at(at, Step::Input { cell: to, epoch, input });
        } else {
            self.carry(from, node, Carried::ToCell { cell: to, epoch, input }, length);
        }
    }

    /// A connection between cells has ended at one of them.
    pub(crate) fn link_ended(&mut self, cell: u8, (key, number): (LinkKey, u32)) {
        let Some(key_there) = self.far_end(cell, key, number) else { return };
        self.links.up.remove(&place_of(cell, key));
        let epoch = self.cells[usize::from(key.0)].epoch;
        self.input(usize::from(key.0), epoch, Input::LinkClosed { key: key_there, number });
        self.connect_cells(cell.min(key.0), cell.max(key.0));
    }

    /// The owner of a cell is gone, and with it all connections of the cell.
    pub(crate) fn links_die(&mut self, cell: u8) {
        let up: Vec<_> = self.links.up.iter().map(|(place, number)| (*place, *number)).collect();
        for ((one, other, role), number) in up.into_iter().filter(|((one, other, _), _)| [*one, *other].contains(&cell))
        {
            self.links.up.remove(&(one, other, role));
            let there = if one == cell { other } else { one };
            let role_there = match LinkRole::of_number(role) {
                Some(role) if one == cell => role.reversed() as u8,
                _ => role,
            };
            let epoch = self.cells[usize::from(there)].epoch;
            self.input(usize::from(there), epoch, Input::LinkClosed { key: (cell, role_there), number });
        }
    }

    /// The key that a connection has at its other end, if it is open.
    fn far_end(&self, cell: u8, key: LinkKey, number: u32) -> Option<LinkKey> {
        let is_up = self.links.up.get(&place_of(cell, key)) == Some(&number);
        let role = LinkRole::of_number(key.1).filter(|_| is_up)?;
        Some((cell, role.reversed() as u8))
    }

    /// Sends something that takes `bytes` bytes from a node to another one.
    pub(crate) fn carry(&mut self, from: usize, to: usize, what: Carried, bytes: u64) {
        let pipe = &mut self.pipes[from * self.setup.nodes + to];
        pipe.queued.push(what);
        pipe.bytes += bytes;
        if !pipe.is_busy {
            self.send_frame(from, to);
        }
    }

    fn send_frame(&mut self, from: usize, to: usize) {
        let place = from * self.setup.nodes + to;
        let pipe = &mut self.pipes[place];
        pipe.is_busy = !pipe.queued.is_empty();
        if !pipe.is_busy {
            return;
        }
        let carried = std::mem::take(&mut pipe.queued);
        let kib = std::mem::take(&mut pipe.bytes) as f64 / 1_024.0;
        let model = &self.model;
        let nodes = model.frame_nodes + model.frame_nodes_kib * kib;
        let servers = model.frame_servers + model.frame_servers_kib * kib;
        let uses: Uses = [0, 0, ns(servers), ns(nodes)];
        self.figures.frames += 1;
        let machine = self.machine_of(from);
        self.work(machine, Task::Work { uses, then: Some(Box::new(Step::Piped { from, to, carried })) });
    }

    pub(crate) fn piped(&mut self, from: usize, to: usize, carried: Vec<Carried>) {
        let at = self.now + ns(2.0 * self.model.hop);
        let mut tell_clients = Vec::new();
        for what in carried {
            match what {
                Carried::ToCell { cell, epoch, input } => self.at(at, Step::Input { cell, epoch, input }),
                Carried::ToClient(client, attempt, what) => tell_clients.push((client, attempt, what)),
            }
        }
        if !tell_clients.is_empty() {
            self.at(at, Step::ToClients(tell_clients));
        }
        self.send_frame(from, to);
    }
}

const fn place_of(cell: u8, (other, role): LinkKey) -> (u8, u8, u8) {
    if cell < other {
        return (cell, other, role);
    }
    let role = match LinkRole::ALL[role as usize] {
        LinkRole::Out => LinkRole::In,
        LinkRole::In => LinkRole::Out,
        LinkRole::Control => LinkRole::Control,
    };
    (other, cell, role as u8)
}
