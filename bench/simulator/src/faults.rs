//! Deaths of nodes, and what follows from them.

use oncemq::broker::Recovered;

use crate::cell::Input;
use crate::figures::Storm;
use crate::fleet::State;
use crate::model::seconds;
use crate::setup::Fault;
use crate::world::{Step, World};

impl World {
    /// A node and its server die. Of what is on its way to the majority, a part may be there.
    pub(crate) fn die(&mut self, node: usize) {
        let alive = self.is_alive.iter().filter(|is_alive| **is_alive).count();
        if !self.is_alive[node] || alive < 2 {
            return;
        }
        self.is_alive[node] = false;
        let cells: Vec<usize> = (0..self.cells.len()).filter(|cell| self.cells[*cell].node == node).collect();
        let (low, high) = self.model.noticed_s;
        for cell in &cells {
            self.orphan(*cell);
            let noticed = self.rng.between(seconds(low), seconds(high));
            self.adopt_after(*cell, noticed);
        }
        let mut lost = 0;
        for client in 0..self.fleet.clients.len() as u32 {
            let place = self.fleet.clients[client as usize].clone();
            let was_here = usize::from(place.front) == node && place.state != State::Away;
            let cell = usize::from(place.cell);
            if was_here && self.cells[cell].owner.is_some() && place.is_connected() {
                let (epoch, connection) = (self.cells[cell].epoch, place.connection);
                self.after(FRONT_NOTICED, Step::FrontGone { cell, epoch, connection });
            }
            if was_here || place.state != State::Away && cells.contains(&cell) {
                lost += 1;
                let delay = self.reconnect_delay();
                self.leave(client, delay);
            }
        }
        self.figures.storms.push(Storm::new(node, self.now, cells.len(), lost));
        self.after(seconds(self.setup.back_after), Step::Return { node });
    }

    /// A cell has no owner any more.
    fn orphan(&mut self, cell: usize) {
        let place = &mut self.cells[cell];
        if let Some(owner) = place.owner.take() {
            let in_flight = owner.commits.in_flight;
            let survive = self.rng.below(in_flight.len() as u64 + 1) as usize;
            if let Some((ticket, _)) = in_flight.get(survive.wrapping_sub(1)) {
                place.log.replicated(*ticket);
            }
        }
        place.log.cut();
        let number = place.number;
        self.links_die(number);
    }

    /// The node with the fewest cells gets this one, when it has read what there is.
    fn adopt_after(&mut self, cell: usize, noticed: u64) {
        let open = self.model.open_s * self.cells[cell].log.keys() as f64 / 1e6;
        let since = self.now;
        let of = |node: usize| self.cells.iter().filter(|cell| cell.node == node).count();
        let node = (0..self.setup.nodes).filter(|node| self.is_alive[*node]).min_by_key(|node| of(*node)).unwrap_or(0);
        let adoption = self.decide(cell, node);
        self.after(noticed + seconds(open), Step::Adopt { cell, since, adoption });
    }

    /// The node is to be the next owner of a cell. Returns the number of the decision.
    fn decide(&mut self, cell: usize, node: usize) -> u32 {
        let place = &mut self.cells[cell];
        place.node = node;
        place.adoption += 1;
        place.adoption
    }

    pub(crate) fn adopt(&mut self, cell: usize, since: u64, adoption: u32) {
        if self.cells[cell].adoption != adoption {
            return;
        }
        if !self.is_alive[self.cells[cell].node] {
            // It has died meanwhile.
            self.adopt_after(cell, seconds(self.model.noticed_s.0));
            return;
        }
        let (now, node, fault) = (self.timestamp(), self.cells[cell].node, self.setup.fault);
        let output = self.cells[cell].begin(node, now, |recovered| {
            if let Some(fault) = fault {
                make(fault, recovered);
            }
        });
        self.figures.joining.insert(cell, since);
        let end = self.now;
        self.pass_on(cell, output, end);
        self.open_links_of(cell as u8);
        let epoch = self.cells[cell].epoch;
        self.input(cell, epoch, Input::Deadline);
    }

    /// Notes when a cell accepts clients again.
    pub(crate) fn note_joined(&mut self, cell: usize) {
        if self.figures.joining.contains_key(&cell) && self.cells[cell].accepts_clients() {
            let since = self.figures.joining.remove(&cell).unwrap_or_default();
            self.figures.adoptions_us.saturating_record((self.now - since) / 1_000);
        }
    }

    /// Notes when all clients are back.
    pub(crate) fn note_back(&mut self) {
        if self.fleet.away == 0
            && let Some(storm) = self.figures.storms.last_mut()
        {
            storm.over.get_or_insert(self.now);
        }
    }

    pub(crate) fn come_back(&mut self, node: usize) {
        self.is_alive[node] = true;
        self.after(BALANCE, Step::Balance);
    }

    /// A cell moves from a node that has at least two more than another one.
    pub(crate) fn balance(&mut self) {
        let all_owned = self.cells.iter().all(|cell| cell.owner.is_some());
        let alive: Vec<usize> = (0..self.setup.nodes).filter(|node| self.is_alive[*node]).collect();
        let of = |node: usize| self.cells.iter().filter(|cell| cell.node == node).count();
        let (Some(most), Some(least)) =
            (alive.iter().max_by_key(|node| of(**node)), alive.iter().min_by_key(|node| of(**node)))
        else {
            return;
        };
        if of(*most) < of(*least) + 2 {
            return;
        }
        let (most, least) = (*most, *least);
        if all_owned && let Some(cell) = self.cells.iter().position(|cell| cell.node == most) {
            self.orphan(cell);
            let clients: Vec<u32> = (0..self.fleet.clients.len() as u32)
                .filter(|client| usize::from(self.fleet.clients[*client as usize].cell) == cell)
                .collect();
            for client in clients {
                if self.fleet.clients[client as usize].state != State::Away {
                    let delay = self.reconnect_delay();
                    self.leave(client, delay);
                }
            }
            self.figures.moves += 1;
            let since = self.now;
            let adoption = self.decide(cell, least);
            let open = self.model.open_s * self.cells[cell].log.keys() as f64 / 1e6;
            self.after(MOVE + seconds(open), Step::Adopt { cell, since, adoption });
        }
        self.after(BALANCE, Step::Balance);
    }
}

/// Makes a fault in what a successor begins with.
fn make(fault: Fault, recovered: &mut Recovered) {
    for session in recovered.sessions.iter_mut().filter(|session| session.owner.is_link()) {
        match fault {
            Fault::DropLinkQueue => session.queue.clear(),
            Fault::ForgetReceived => session.received.clear(),
        }
    }
}

/// The owner of a cell notices that a front is gone.
const FRONT_NOTICED: u64 = 5_000_000_000;
/// Between two moves.
const BALANCE: u64 = 5_000_000_000;
/// A planned move.
const MOVE: u64 = 500_000_000;
