use std::collections::BTreeMap;

use bytes::Bytes;

use crate::rng::Rng;
use crate::world::Bugs;
use oncemq::cluster::{Entry, Found, Reply, Request};

/// The stream, as its majority has it.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    entries: BTreeMap<u64, Bytes>,
    end: u64,
}

pub(crate) const CELL: u16 = 3;

impl Engine {
    /// Carries out a request. `may_skip`: a replica that has lost entries may answer.
    pub(crate) fn perform(&mut self, request: &Request, rng: &mut Rng, may_skip: bool) -> Reply {
        match request {
            Request::Append { expected, entry } if *expected == self.end => self.append(entry),
            Request::AppendEpoch { expected, entry } if *expected == self.latest_epoch() => self.append(entry),
            Request::Append { .. } | Request::AppendEpoch { .. } => Reply::Refused,
            Request::Read { after } => self.read(*after, rng, may_skip),
            Request::ReadEpoch => {
                let latest = self.latest_epoch();
                let found = self.entries.get(&latest).map(|bytes| Found { position: latest, bytes: bytes.clone() });
                Reply::Epoch(found)
            }
        }
    }

    fn append(&mut self, entry: &Bytes) -> Reply {
        self.end += 1;
        self.entries.insert(self.end, entry.clone());
        Reply::Appended(self.end)
    }

    pub(crate) fn latest_epoch(&self) -> u64 {
        let mut epochs = self.entries.iter().rev().filter(|(_, bytes)| is_epoch(bytes));
        epochs.next().map_or(0, |(position, _)| *position)
    }

    /// From a replica that may be behind, and may have lost entries in the middle.
    fn read(&self, after: u64, rng: &mut Rng, may_skip: bool) -> Reply {
        let end = if rng.percent(20) { rng.between(0, self.end) } else { self.end };
        let most = usize::try_from(rng.between(1, 8)).unwrap();
        let all = self.entries.range(after + 1..).take_while(|(position, _)| **position <= end);
        let mut entries: Vec<Found> =
            all.map(|(position, bytes)| Found { position: *position, bytes: bytes.clone() }).collect();
        let is_end = entries.len() <= most;
        entries.truncate(most);
        if may_skip && !entries.is_empty() {
            let at = rng.index(entries.len());
            if rng.percent(50) {
                entries.remove(at);
            } else {
                let mut bytes = entries[at].bytes.to_vec();
                let byte = rng.index(bytes.len());
                bytes[byte] ^= 1 << rng.below(8);
                entries[at].bytes = bytes.into();
            }
        }
        Reply::Entries { entries, is_end }
    }

    /// Removes the commits below a position.
    pub(crate) fn trim(&mut self, below: u64, bugs: Bugs) {
        self.entries.retain(|position, bytes| *position >= below || (is_epoch(bytes) && !bugs.trims_epochs));
    }

    pub(crate) fn first_commit(&self) -> u64 {
        let mut commits = self.entries.iter().filter(|(_, bytes)| !is_epoch(bytes));
        commits.next().map_or(self.end + 1, |(position, _)| *position)
    }
}

fn is_epoch(bytes: &Bytes) -> bool {
    matches!(Entry::decode(CELL, bytes), Ok(Entry::Epoch(_)))
}
