//! Turns of cells and their commits.

use oncemq::broker::Ticket;

use crate::cell::{Input, Output, ToClient};
use crate::links::Carried;
use crate::machine::{Task, Use};
use crate::model::ns;
use crate::world::{SERVERS, Step, World};

impl World {
    /// The owner of a cell handles what has arrived. Returns the CPU time that it takes.
    pub(crate) fn turn(&mut self, cell: usize) -> u64 {
        let now = self.timestamp();
        let output = self.cells[cell].turn(now, INPUTS_MAX);
        self.figures.turns += 1;
        let cost = ns(self.cost(cell, &output));
        let end = self.now + cost;
        self.pass_on(cell, output, end);
        self.at(end, Step::TurnEnds { cell });
        cost
    }

    fn cost(&self, cell: usize, output: &Output) -> f64 {
        let model = &self.model;
        let mut written: Vec<u32> = output.clients.iter().map(|(client, ..)| *client).collect();
        written.dedup();
        let node = self.cells[cell].node;
        let is_local = |key: &(u8, u8)| self.cells[usize::from(key.0)].node == node;
        let local = output.links.keys().filter(|key| is_local(key)).count();
        model.turn
            + if output.is_woken { model.wake } else { 0.0 }
            + model.socket * (output.read as f64 + written.len() as f64)
            + model.packet * output.packets as f64
            + model.link_packet * output.link_packets as f64
            + model.record * output.records as f64
            + model.connect * output.connects as f64
            + model.local_frame * local as f64
    }

    /// What comes out of a turn leaves at its end.
    pub(crate) fn pass_on(&mut self, cell: usize, output: Output, end: u64) {
        let node = self.cells[cell].node;
        self.figures.add(&output);
        for report in output.reports {
            self.figures.complain(format!("cell {cell}: {report}"));
        }
        let mut here = Vec::new();
        for (client, attempt, what) in output.clients {
            let front = self.fleet.clients[client as usize].front;
            if usize::from(front) == node {
                here.push((client, attempt, what));
            } else {
                let bytes = if matches!(what, ToClient::Packet(_)) { self.setup.payload as u64 + 20 } else { 8 };
                self.carry(node, front.into(), Carried::ToClient(client, attempt, what), bytes);
            }
        }
        if !here.is_empty() {
            self.at(end + ns(self.model.hop), Step::ToClients(here));
        }
        let number = self.cells[cell].number;
        for (key, (count, bytes)) in output.links {
            self.send_link(number, (key, count), bytes.freeze(), end + ns(self.model.hop));
        }
        for link in output.links_closed {
            self.link_ended(number, link);
        }
    }

    pub(crate) fn turn_ends(&mut self, cell: usize) {
        let machine = self.machine_of(self.cells[cell].node);
        let place = &mut self.cells[cell];
        let epoch = place.epoch;
        let Some(owner) = &mut place.owner else { return };
        owner.is_awake = !owner.inbox.is_empty();
        owner.is_warm = owner.is_awake;
        let is_awake = owner.is_awake;
        if is_awake {
            self.work(machine, Task::Turn { cell });
        }
        self.schedule_deadline(cell);
        self.fetch(cell, Ticket(0));
        self.note_joined(cell);
        self.commit_begins(cell, epoch);
    }

    fn schedule_deadline(&mut self, cell: usize) {
        let (now, epoch) = (self.now, self.cells[cell].epoch);
        let Some(owner) = &mut self.cells[cell].owner else { return };
        let Some(deadline) = owner.deadline else { return };
        let at = Self::when(deadline).max(now + 1_000_000);
        // One that is earlier is scheduled, too; a later one when the earlier has come.
        if owner.called_at.is_none_or(|called_at| at < called_at || called_at <= now) {
            owner.called_at = Some(at);
            self.at(at, Step::Deadline { cell, epoch });
        }
    }

    /// Starts a commit of a cell if there is something to commit, and nothing that it waits for.
    pub(crate) fn commit_begins(&mut self, cell: usize, epoch: u32) {
        let now = self.now;
        let is_replicated = self.setup.copies > 0;
        let place = &mut self.cells[cell];
        let Some(owner) = place.owner.as_mut().filter(|_| place.epoch == epoch) else { return };
        let commits = &mut owner.commits;
        if commits.is_busy || commits.in_flight.len() >= IN_FLIGHT_MAX {
            return;
        }
        let Some(batch) = place.log.batch_after(commits.taken, COMMIT_BYTES_MAX) else { return };
        if !batch.is_urgent && batch.bytes < URGENT_BYTES {
            let is_first = commits.unawaited_since.is_none();
            let since = *commits.unawaited_since.get_or_insert(now);
            if now < since + UNAWAITED_DELAY {
                if is_first {
                    self.after(UNAWAITED_DELAY, Step::CommitBegins { cell, epoch });
                }
                return;
            }
        }
        let is_under_way = !commits.in_flight.is_empty() && batch.bytes < ENOUGH_BYTES;
        let wait = if is_replicated { commits.gap.wait(now, is_under_way) } else { 0 };
        if wait > 0 {
            if commits.waits_until <= now {
                commits.waits_until = now + wait;
                self.after(wait, Step::CommitBegins { cell, epoch });
            }
            return;
        }
        commits.unawaited_since = None;
        commits.gap.begins(now);
        commits.is_busy = true;
        commits.taken = batch.ticket;
        commits.in_flight.push_back((batch.ticket, false));
        self.figures.commits += 1;
        self.figures.commit_bytes += batch.bytes;
        let kib = batch.bytes as f64 / 1_024.0;
        let uses = Use::Owner.of(ns(self.model.commit_owner + self.model.commit_owner_kib * kib));
        let then = Step::Committing { cell, epoch, ticket: batch.ticket, bytes: batch.bytes };
        let machine = self.machine_of(self.cells[cell].node);
        self.work(machine, Task::Work { uses, then: Some(Box::new(then)) });
    }

    /// The owner has written and shipped a commit: it syncs its disk, while the servers replicate.
    pub(crate) fn committing(&mut self, cell: usize, epoch: u32, ticket: Ticket, bytes: u64) {
        self.after(ns(self.model.sync), Step::CommitEnds { cell, epoch });
        if self.setup.copies == 0 {
            self.after(ns(self.model.sync), Step::Replicated { cell, epoch, ticket });
            return;
        }
        let kib = bytes as f64 / 1_024.0;
        let servers = ns(self.model.commit_servers + self.model.commit_servers_kib * kib);
        let leader = self.machine_of(cell % SERVERS);
        let then = Step::Led { cell, epoch, ticket, ns: servers / 4 };
        self.work(leader, Task::Work { uses: Use::Servers.of(servers / 2), then: Some(Box::new(then)) });
        let follower = ns(self.model.commit_follower + self.model.commit_follower_kib * kib);
        let (node, nodes) = (self.cells[cell].node, self.setup.nodes);
        for copy in 1..self.setup.copies.min(nodes) {
            let machine = self.machine_of((node + copy) % nodes);
            self.work(machine, Task::Work { uses: Use::Followers.of(follower), then: None });
        }
    }

    pub(crate) fn commit_ends(&mut self, cell: usize, epoch: u32) {
        let place = &mut self.cells[cell];
        if let Some(owner) = place.owner.as_mut().filter(|_| place.epoch == epoch) {
            owner.commits.is_busy = false;
            self.commit_begins(cell, epoch);
        }
    }

    /// The leader of the stream has it; of the two other servers, the first that has it makes the majority.
    pub(crate) fn led(&mut self, cell: usize, epoch: u32, ticket: Ticket, ns: u64) {
        for server in 1..SERVERS {
            let then = (server == 1).then(|| Box::new(Step::Voted { cell, epoch, ticket }));
            let machine = self.machine_of((cell + server) % SERVERS);
            self.work(machine, Task::Work { uses: Use::Servers.of(ns), then });
        }
    }

    /// The owner knows that a commit is replicated. It reports those before which all are.
    pub(crate) fn replicated(&mut self, cell: usize, epoch: u32, ticket: Ticket) {
        let place = &mut self.cells[cell];
        let Some(owner) = place.owner.as_mut().filter(|_| place.epoch == epoch) else { return };
        let in_flight = &mut owner.commits.in_flight;
        if let Some(done) = in_flight.iter_mut().find(|(other, _)| *other == ticket) {
            done.1 = true;
        }
        let mut reported = None;
        while in_flight.front().is_some_and(|(_, is_done)| *is_done) {
            reported = in_flight.pop_front().map(|(ticket, _)| ticket);
        }
        if let Some(ticket) = reported {
            place.log.replicated(ticket);
            self.input(cell, epoch, Input::Replicated(ticket));
            self.fetch(cell, ticket);
        }
        self.commit_begins(cell, epoch);
    }

    /// Reads what shards have asked for.
    fn fetch(&mut self, cell: usize, replicated: Ticket) {
        let epoch = self.cells[cell].epoch;
        for fetched in self.cells[cell].fetched(replicated) {
            self.figures.fetches += 1;
            let input = Box::new(Input::Fetched(Box::new(fetched)));
            self.after(READ, Step::Input { cell, epoch, input });
        }
    }
}

/// Inputs of a turn, so that a turn is short.
const INPUTS_MAX: usize = 512;
/// Commits on their way.
const IN_FLIGHT_MAX: usize = 4;
/// A commit with this number of bytes does not wait for the one before.
const ENOUGH_BYTES: u64 = 64 << 10;
const COMMIT_BYTES_MAX: u64 = 1 << 20;
/// What no acknowledgement waits for is committed with others, or after this time, or when it is so much.
const UNAWAITED_DELAY: u64 = 50_000_000;
const URGENT_BYTES: u64 = 256 << 10;
/// A read from the store.
const READ: u64 = 100_000;
