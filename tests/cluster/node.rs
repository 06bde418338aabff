use crate::engine::CELL;
use crate::world::Bugs;
use oncemq::cluster::{Commit, Entry, Found, Reader, Replicator, Request, Step, Takeover};

/// A node with a copy of the log.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) role: Role,
    /// Requests of an earlier life get no reply.
    pub(crate) life: u64,
    /// The values of the commits, from number 1 on.
    pub(crate) log: Vec<u64>,
    /// Where a follower's copy stands.
    pub(crate) reader: Reader,
    /// What is on the disk: so much of the log is everyone's.
    pub(crate) durable: Reader,
    /// What an owner has synced of its own log.
    pub(crate) synced: u64,
    pub(crate) next_read: u64,
}

#[derive(Debug)]
pub(crate) enum Role {
    /// It reads when it is told to; `Some`: the name of a read that is under way.
    Follows(Option<u64>),
    TakesOver(Takeover),
    Owns(Replicator),
}

impl Node {
    pub(crate) fn new() -> Self {
        let reader = Reader::new();
        let role = Role::Follows(None);
        Self { role, life: 0, log: Vec::new(), reader, durable: reader, synced: 0, next_read: 0 }
    }

    /// The process ends and starts again. What was not known to be everyone's is cut off.
    pub(crate) fn restart(&mut self, bugs: Bugs) {
        self.life += 1;
        self.role = Role::Follows(None);
        if bugs.keeps_unreplicated && self.synced > self.durable.next - 1 {
            self.log.truncate(usize::try_from(self.synced).unwrap());
            self.durable.next = self.log.len() as u64 + 1;
        } else {
            self.log.truncate(usize::try_from(self.durable.next - 1).unwrap());
        }
        self.reader = self.durable;
        self.synced = self.log.len() as u64;
    }

    /// It has the copy of another node.
    pub(crate) fn copy(&mut self, (log, reader): (Vec<u64>, Reader)) {
        self.life += 1;
        self.role = Role::Follows(None);
        (self.synced, self.log, self.reader, self.durable) = (log.len() as u64, log, reader, reader);
    }

    /// What is on its disk.
    pub(crate) fn on_disk(&self) -> (Vec<u64>, Reader) {
        let length = usize::try_from(self.durable.next - 1).unwrap();
        (self.log[..length].to_vec(), self.durable)
    }

    pub(crate) fn sync(&mut self) {
        self.synced = self.log.len() as u64;
        let reader = match &self.role {
            Role::Owns(replicator) => replicator.reader(),
            Role::TakesOver(takeover) => takeover.reader(),
            Role::Follows(_) => self.reader,
        };
        self.durable = reader;
    }

    /// The requests that its machine makes.
    pub(crate) fn take_requests(&mut self) -> Vec<(u64, Request)> {
        match &mut self.role {
            Role::Follows(_) => Vec::new(),
            Role::TakesOver(takeover) => takeover.take_requests(),
            Role::Owns(replicator) => replicator.take_requests(),
        }
    }

    pub(crate) fn append(&mut self, commits: &[Commit]) {
        self.log.extend(commits.iter().map(value));
    }

    /// A follower takes what it has read, as far as it can.
    pub(crate) fn follow(&mut self, entries: &[Found], bugs: Bugs) -> Result<(), String> {
        for found in entries {
            step(&mut self.reader, found, bugs, &mut self.log)?;
        }
        Ok(())
    }
}

/// A step of a reader whose rules may be broken.
fn step(reader: &mut Reader, found: &Found, bugs: Bugs, log: &mut Vec<u64>) -> Result<(), String> {
    let decoded = Entry::decode(CELL, &found.bytes);
    if bugs.passes_gaps && found.position > reader.position + 1 {
        reader.position = found.position - 1;
        if let Ok(Entry::Commit(commit)) = &decoded {
            (reader.last, reader.next, reader.epoch) = (commit.previous, commit.number, commit.epoch);
        }
    }
    if bugs.no_chain
        && let Ok(Entry::Commit(commit)) = &decoded
        && commit.epoch == reader.epoch
    {
        reader.last = commit.previous;
    }
    if bugs.no_reader_rule
        && let Ok(Entry::Commit(commit)) = &decoded
    {
        (reader.last, reader.epoch) = (commit.previous, commit.epoch);
        reader.next = commit.number;
        log.truncate(usize::try_from(commit.number - 1).unwrap());
    }
    match reader.step(CELL, found) {
        Ok(Step::Commit(commit)) => log.push(value(&commit)),
        Ok(Step::Epoch(_) | Step::LeftOut) => {}
        Err(trouble) => return Err(format!("{trouble:?}")),
    }
    Ok(())
}

fn value(commit: &Commit) -> u64 {
    u64::from_le_bytes(commit.batch.as_ref().try_into().unwrap())
}
