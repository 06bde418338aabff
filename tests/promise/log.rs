//! The real store on a disk that forgets, with a crash at the very point that a test names.

use std::sync::{Arc, Mutex};

use oncemq::broker::{Record, RecordKey, Recovered, Recovery, Ticket};
use oncemq::store::sim::{Fault, Loss, SimDisk};
use oncemq::store::{Committer, Entry, Hooks, Key, Level, Options, Progress, Room, Store};

/// The log that all shards write to. Nothing is stable before somebody [commits](Self::commit).
pub(crate) struct Log {
    pub(crate) disk: SimDisk,
    level: Level,
    store: Store,
    committer: Committer,
    /// What the store said is stable: the shard and its ticket.
    stable: Arc<Mutex<Vec<(usize, u64)>>>,
    /// Records since the last commit.
    pub(crate) gathered: usize,
    /// Records ever.
    pub(crate) appended: usize,
}

/// How far the store had come with what had gathered when the crash came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    Nothing,
    /// The commit broke off at this change of the disk.
    Part(u64),
    /// All of it, but nobody has heard of it.
    All,
}

impl Log {
    pub(crate) fn new(level: Level) -> Self {
        Self::open(SimDisk::new(1), level).0
    }

    /// What a disk holds. A crash is no damage.
    pub(crate) fn open(disk: SimDisk, level: Level) -> (Self, Recovered) {
        let stable = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&stable);
        let hooks = Hooks {
            on_stable: Box::new(move |shard, ticket| heard.lock().unwrap().push((shard, ticket))),
            ..Hooks::default()
        };
        let mut recovery = Recovery::default();
        let mut visit = |found: oncemq::store::Recovered<'_>| {
            recovery.apply(found.body, &record_keys(found.puts), &record_keys(found.deletes), found.ends);
        };
        let options = Options { level, segment_bytes: 4_096, ..Options::default() };
        let opened = Store::open_on(Arc::new(disk.clone()), &options, hooks, &mut visit);
        let (store, committer, report) = opened.unwrap();
        let recovered = recovery.finish();
        assert_eq!((&report.damages[..], recovered.unreadable), (&[][..], 0));
        (Self { disk, level, store, committer, stable, gathered: 0, appended: 0 }, recovered)
    }

    pub(crate) fn append(&mut self, shard: usize, ticket: Ticket, record: &Record) {
        let bytes = record.to_bytes();
        let (puts, deletes) = (keys(&bytes.puts), keys(&bytes.deletes));
        let (body, ends, level) = (&bytes.body, bytes.ends, Level::PowerLoss);
        let entry = Entry { body, puts: &puts, deletes: &deletes, ends, level, room: Room::Reserve };
        self.store.append(shard, ticket.0, &entry).unwrap();
        self.gathered += 1;
        self.appended += 1;
    }

    /// Makes stable what was appended. Returns what is to be told to whom.
    pub(crate) fn commit(&mut self) -> Vec<(usize, u64)> {
        assert_ne!(self.committer.commit(), Progress::Failed, "{:?}", self.store.poisoned());
        self.gathered = 0;
        std::mem::take(&mut self.stable.lock().unwrap())
    }

    /// The process or the machine ends. Returns what the next process finds.
    pub(crate) fn crash(&mut self, committed: Committed, loss: Loss, seed: u64) -> Recovered {
        match committed {
            Committed::Nothing => {}
            Committed::Part(step) => {
                self.disk.set_fault(self.disk.steps() + step, Fault::PowerCut);
                self.committer.commit();
            }
            Committed::All => _ = self.committer.commit(),
        }
        let (log, recovered) = Self::open(self.disk.restart(seed, loss), self.level);
        let appended = self.appended;
        *self = Self { appended, ..log };
        recovered
    }
}

fn keys(keys: &[RecordKey]) -> Vec<Key> {
    keys.iter().map(|key| Key { group: key.group, kind: key.kind, id: key.id }).collect()
}

fn record_keys(keys: &[Key]) -> Vec<RecordKey> {
    keys.iter().map(|key| RecordKey { group: key.group, kind: key.kind, id: key.id }).collect()
}
