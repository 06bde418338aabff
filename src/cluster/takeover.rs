use super::entry::{Commit, Entry, EntryError, Epoch};
use super::reader::{Reader, Step, Trouble};
use super::request::{Found, Reply, Request};

/// A node becomes the owner: it appends an epoch entry behind the latest one, and reads the stream up to it. What it has read then is the log.
///
/// Of rivals that know the same latest epoch entry, one succeeds.
#[derive(Debug)]
pub struct Takeover {
    cell: u16,
    node: String,
    nonce: u128,
    reader: Reader,
    phase: Phase,
    last_request: u64,
    requests: Vec<(u64, Request)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It reads the latest epoch entry. `tried`: it has appended its own, and does not know whether that succeeded.
    Looks {
        tried: Option<u64>,
    },
    /// It appends its own.
    Appends(u64),
    /// It reads up to its own, which has this position.
    Reads {
        epoch: u64,
        until: u64,
    },
    /// The node is the owner of this epoch.
    Done(u64),
    Lost(Lost),
}

/// Why a node did not become the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Another node was faster. This is its epoch.
    Rival(u64),
    /// The copy cannot be continued up to the epoch entry. The node has fenced the former owner, and another one must take over, or it
    /// must copy the log anew and try again.
    Trouble(Trouble),
}

impl Takeover {
    /// For a node whose copy stands at `reader`. `nonce` is random.
    pub fn new(cell: u16, node: String, nonce: u128, reader: Reader) -> Self {
        let phase = Phase::Looks { tried: None };
        let mut takeover = Self { cell, node, nonce, reader, phase, last_request: 0, requests: Vec::new() };
        takeover.ask(Request::ReadEpoch);
        takeover
    }

    /// Requests to perform, with their names.
    pub fn take_requests(&mut self) -> Vec<(u64, Request)> {
        std::mem::take(&mut self.requests)
    }

    /// Where the copy stands, with all commits that [`reply`](Self::reply) returned.
    pub const fn reader(&self) -> Reader {
        self.reader
    }

    /// The epoch, when the node is the owner: all commits before it are in its copy.
    pub const fn epoch(&self) -> Option<u64> {
        if let Phase::Done(epoch) = self.phase { Some(epoch) } else { None }
    }

    /// Why it did not become the owner.
    pub const fn lost(&self) -> Option<Lost> {
        if let Phase::Lost(lost) = self.phase { Some(lost) } else { None }
    }

    /// Takes the reply to the last request. Returns commits that the copy must append, in order.
    #[must_use]
    pub fn reply(&mut self, request: u64, reply: Reply) -> Vec<Commit> {
        if request != self.last_request {
            return Vec::new();
        }
        match (self.phase, reply) {
            (Phase::Looks { tried }, Reply::Epoch(latest)) => self.looked(tried, latest.as_ref()),
            (Phase::Looks { .. }, _) => self.ask(Request::ReadEpoch),
            (Phase::Appends(epoch), Reply::Appended(position)) => {
                self.read_up_to(epoch, position);
            }
            // Refused: a rival was faster, or an earlier attempt of its own, of which nobody knew, has succeeded.
            (Phase::Appends(epoch), _) => {
                self.phase = Phase::Looks { tried: Some(epoch) };
                self.ask(Request::ReadEpoch);
            }
            (Phase::Reads { epoch, until }, Reply::Entries { entries, .. }) => {
                return self.read_on(epoch, until, &entries);
            }
            (Phase::Reads { .. }, _) => self.read(),
            (Phase::Done(_) | Phase::Lost(_), _) => {}
        }
        Vec::new()
    }

    fn looked(&mut self, tried: Option<u64>, latest: Option<&Found>) {
        let (position, epoch) = match latest.map(|found| (found.position, epoch_of(self.cell, found))) {
            None => (0, None),
            Some((position, Ok(epoch))) => (position, Some(epoch)),
            Some((_, Err(trouble))) => return self.phase = Phase::Lost(Lost::Trouble(trouble)),
        };
        match epoch {
            Some(Epoch { nonce, epoch, .. }) if nonce == self.nonce => {
                self.read_up_to(epoch, position);
            }
            Some(Epoch { epoch, .. }) if tried.is_some_and(|tried| epoch >= tried) => {
                self.phase = Phase::Lost(Lost::Rival(epoch));
            }
            // If an earlier attempt is still on its way: it is the same entry behind the same one, and one of the two succeeds.
            latest => {
                let epoch = latest.map_or(1, |latest| latest.epoch.saturating_add(1));
                let entry = Epoch { epoch, nonce: self.nonce, node: self.node.clone() }.encode(self.cell);
                self.phase = Phase::Appends(epoch);
                self.ask(Request::AppendEpoch { expected: position, entry });
            }
        }
    }

    /// Its own entry is there. If the copy has read further before, the stream has lost what it had acknowledged.
    fn read_up_to(&mut self, epoch: u64, until: u64) {
        if until <= self.reader.position {
            let trouble = Trouble::Gap { expected: self.reader.position + 1, found: until };
            self.phase = Phase::Lost(Lost::Trouble(trouble));
            return;
        }
        self.phase = Phase::Reads { epoch, until };
        self.read();
    }

    fn read_on(&mut self, epoch: u64, until: u64, entries: &[Found]) -> Vec<Commit> {
        let mut commits = Vec::new();
        for found in entries {
            if found.position > until {
                break;
            }
            match self.reader.step(self.cell, found) {
                Ok(Step::Commit(commit)) => commits.push(commit),
                Ok(Step::Epoch(_) | Step::LeftOut) => {}
                Err(trouble) => {
                    self.phase = Phase::Lost(Lost::Trouble(trouble));
                    return commits;
                }
            }
        }
        if self.reader.position >= until {
            self.phase = Phase::Done(epoch);
        } else {
            self.read();
        }
        commits
    }

    fn read(&mut self) {
        self.ask(Request::Read { after: self.reader.position });
    }

    fn ask(&mut self, request: Request) {
        self.last_request += 1;
        self.requests.push((self.last_request, request));
    }
}

/// The epoch entry that was found.
fn epoch_of(cell: u16, found: &Found) -> Result<Epoch, Trouble> {
    let position = found.position;
    match Entry::decode(cell, &found.bytes) {
        Ok(Entry::Epoch(epoch)) => Ok(epoch),
        Ok(Entry::Commit(_)) => Err(Trouble::Unreadable { position, error: EntryError::Damaged }),
        Err(error) => Err(Trouble::Unreadable { position, error }),
    }
}
