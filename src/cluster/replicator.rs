use std::collections::VecDeque;

use bytes::Bytes;

use super::entry::{Commit, EntryError};
use super::reader::{Reader, Step, Trouble};
use super::request::{Found, Reply, Request};

/// The owner's side: ships commits to the stream, and knows up to which one a majority has all.
///
/// At most `window` appends are under way. After the first that was refused, or of which nobody knows, it reports nothing and ships nothing
/// until all appends under way have ended, and it has read what the stream has at the positions in question. So a commit that is not known to be in the
/// stream is shipped again, and one that is in it is not: no number is in it twice.
///
/// Invariants: `slots` has the commits that are not replicated, in order of their numbers; the first of them that is under way was shipped
/// with `reader.position` as the expected one, and each further one with the next position, to follow the one before it.
#[derive(Debug)]
pub struct Replicator {
    cell: u16,
    epoch: u64,
    window: usize,
    /// Behind the last commit that is replicated.
    reader: Reader,
    /// The number of its first commit.
    first: u64,
    slots: VecDeque<Slot>,
    /// Bytes of `slots`.
    bytes: usize,
    phase: Phase,
    /// The name of the last request.
    last_request: u64,
    requests: Vec<(u64, Request)>,
    /// How often it had to look into the stream.
    looks: u64,
}

#[derive(Debug)]
struct Slot {
    /// `previous` is set when it is shipped.
    commit: Commit,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    UnderWay(u64),
    /// Acknowledged, and one before it is not.
    Acknowledged,
    /// Nobody knows whether it is in the stream.
    InDoubt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Ships,
    /// It waits until all appends under way have ended.
    Settles,
    /// It reads behind the last commit that is replicated.
    Looks(u64),
    /// It ships and reports nothing any more.
    Ended(Fault),
}

/// Why an owner is not the owner any more, or cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Another node is the owner, with this epoch.
    Fenced(u64),
    /// The stream has something that no owner writes. Nothing is acknowledged until a person has looked.
    Trouble(Trouble),
}

impl Replicator {
    /// For the owner of this epoch, whose copy of the log stands at `reader`.
    pub const fn new(cell: u16, epoch: u64, reader: Reader, window: usize) -> Self {
        Self {
            cell,
            epoch,
            window,
            reader,
            first: reader.next,
            slots: VecDeque::new(),
            bytes: 0,
            phase: Phase::Ships,
            last_request: 0,
            requests: Vec::new(),
            looks: 0,
        }
    }

    /// The number that the next commit gets.
    pub fn next_number(&self) -> u64 {
        self.reader.next + self.slots.len() as u64
    }

    /// The number of the last commit that a majority has, with all before it; 0: none.
    pub const fn replicated(&self) -> u64 {
        self.reader.next - 1
    }

    /// Whether a commit of its own is replicated. Before, a rival may have taken over already, and have acknowledged more than is in this log: so an
    /// owner makes a commit when it begins, and serves nobody until it is replicated.
    pub const fn is_confirmed(&self) -> bool {
        self.reader.next > self.first
    }

    /// Where the stream stands behind the last commit that is replicated.
    pub const fn reader(&self) -> Reader {
        self.reader
    }

    /// Bytes of the commits that are not replicated. The caller bounds them: it hands over no more while there are too many.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How often an append was refused or unanswered, and the stream was read.
    pub const fn looks(&self) -> u64 {
        self.looks
    }

    /// Why it has ended, if it has.
    pub const fn fault(&self) -> Option<Fault> {
        if let Phase::Ended(fault) = self.phase { Some(fault) } else { None }
    }

    /// Requests to perform, with their names.
    pub fn take_requests(&mut self) -> Vec<(u64, Request)> {
        std::mem::take(&mut self.requests)
    }

    /// Ships a part of a commit: `entries` log entries from `first_sequence`. Parts of a commit follow each other.
    pub fn ship(&mut self, (first_sequence, entries): (u64, u32), (part, parts): (u16, u16), batch: Bytes) {
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        let number = self.next_number();
        self.bytes += batch.len();
        let commit = Commit { epoch: self.epoch, previous: 0, number, first_sequence, entries, part, parts, batch };
        self.slots.push_back(Slot { commit, state: State::Waits });
        self.ship_waiting();
    }

    /// Looks into the stream if nothing is under way: an owner without commits, too, must notice that it is not the owner any more. The caller
    /// does so about once a second.
    pub fn check(&mut self) {
        if self.phase == Phase::Ships && self.slots.is_empty() {
            self.look();
        }
    }

    /// Takes the reply to a request.
    pub fn reply(&mut self, request: u64, reply: Reply) {
        match self.phase {
            Phase::Ended(_) => {}
            Phase::Looks(look) if look == request => self.looked(reply),
            Phase::Ships | Phase::Settles | Phase::Looks(_) => self.appended(request, &reply),
        }
    }

    fn appended(&mut self, request: u64, reply: &Reply) {
        let Some(at) = self.slots.iter().position(|slot| slot.state == State::UnderWay(request)) else { return };
        let expected = self.reader.position + 1 + at as u64;
        let is_expected = *reply == Reply::Appended(expected);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.state = if is_expected { State::Acknowledged } else { State::InDoubt };
        }
        if !is_expected && self.phase == Phase::Ships {
            self.phase = Phase::Settles;
        }
        match self.phase {
            Phase::Ships => {
                while self.slots.front().is_some_and(|slot| slot.state == State::Acknowledged) {
                    self.replicate(self.reader.position + 1);
                }
                self.ship_waiting();
            }
            Phase::Settles => self.look_if_settled(),
            Phase::Looks(_) | Phase::Ended(_) => {}
        }
    }

    /// The first commit is in the stream, at this position, behind all others.
    fn replicate(&mut self, position: u64) {
        let Some(slot) = self.slots.pop_front() else { return };
        debug_assert_eq!(slot.commit.number, self.reader.next);
        self.bytes -= slot.commit.batch.len();
        self.reader = Reader { position, last: position, epoch: self.epoch, next: slot.commit.number + 1 };
    }

    fn ship_waiting(&mut self) {
        if self.phase != Phase::Ships {
            return;
        }
        for at in 0..self.slots.len().min(self.window) {
            let Some(slot) = self.slots.get_mut(at) else { return };
            if slot.state == State::Waits {
                self.last_request += 1;
                slot.state = State::UnderWay(self.last_request);
                let expected = self.reader.position + at as u64;
                slot.commit.previous = if at == 0 { self.reader.last } else { expected };
                let request = Request::Append { expected, entry: slot.commit.encode(self.cell) };
                self.requests.push((self.last_request, request));
            }
        }
    }

    fn look_if_settled(&mut self) {
        if self.slots.iter().all(|slot| !matches!(slot.state, State::UnderWay(_))) {
            self.looks += 1;
            self.look();
        }
    }

    fn look(&mut self) {
        self.last_request += 1;
        self.phase = Phase::Looks(self.last_request);
        self.requests.push((self.last_request, Request::Read { after: self.reader.position }));
    }

    fn looked(&mut self, reply: Reply) {
        let Reply::Entries { entries, is_end } = reply else { return self.look() };
        for found in &entries {
            if let Err(fault) = self.pass(found) {
                self.phase = Phase::Ended(fault);
                self.slots.clear();
                self.bytes = 0;
                return;
            }
        }
        if !is_end {
            return self.look();
        }
        for slot in &mut self.slots {
            slot.state = State::Waits;
        }
        self.phase = Phase::Ships;
        self.ship_waiting();
    }

    /// Passes an entry that is behind the last replicated commit: one of its own, or one of a former owner.
    fn pass(&mut self, found: &Found) -> Result<(), Fault> {
        let mut reader = self.reader;
        match reader.step(self.cell, found).map_err(Fault::Trouble)? {
            Step::Epoch(epoch) => Err(Fault::Fenced(epoch.epoch)),
            Step::LeftOut => {
                self.reader = reader;
                Ok(())
            }
            Step::Commit(commit) if self.slots.front().is_some_and(|slot| slot.is(&commit)) => {
                self.replicate(found.position);
                Ok(())
            }
            // Of its own epoch, and not written by it.
            Step::Commit(_) => {
                let (position, error) = (found.position, EntryError::Damaged);
                Err(Fault::Trouble(Trouble::Unreadable { position, error }))
            }
        }
    }
}

impl Slot {
    fn is(&self, found: &Commit) -> bool {
        Commit { previous: found.previous, ..self.commit.clone() } == *found
    }
}
