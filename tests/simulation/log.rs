//! The store of a run: the real one, on a disk that forgets.

use std::sync::{Arc, Mutex};

use oncemq::broker::{Fetch, Fetched, Record, RecordKey, Recovered, Recovery, Ticket};
use oncemq::store::sim::{Fault, Loss, SimDisk};
use oncemq::store::{Committer, Entry, Hooks, Key, Level, OpenError, Options, Progress, Report, Room, Store};

use crate::rng::Rng;

/// The log that all shards write to. Nothing is stable before somebody [commits](Self::commit).
pub(crate) struct Log {
    disk: SimDisk,
    options: Options,
    store: Store,
    committer: Committer,
    /// What the store said is stable: the shard and its ticket.
    stable: Arc<Mutex<Vec<(usize, u64)>>>,
}

impl Log {
    /// An empty one, with segments so small that they are used again and again.
    pub(crate) fn new(level: Level, rng: &mut Rng) -> Self {
        let segment_bytes = rng.pick(&[4_096, 8_192, 40_000]);
        let options = Options { level, segment_bytes, ..Options::default() };
        let (log, ..) = Self::open(SimDisk::new(rng.next()), options).unwrap();
        log
    }

    fn open(disk: SimDisk, options: Options) -> Result<(Self, Recovered, Report), OpenError> {
        let stable = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&stable);
        let hooks = Hooks {
            on_stable: Box::new(move |shard, ticket| heard.lock().unwrap().push((shard, ticket))),
            on_failure: Box::new(|_| {}),
        };
        let mut recovery = Recovery::default();
        let mut visit = |found: oncemq::store::Recovered<'_>| {
            let (puts, deletes) = (record_keys(found.puts), record_keys(found.deletes));
            recovery.apply(found.body, &puts, &deletes, found.ends);
        };
        let (store, committer, report) = Store::open_on(Arc::new(disk.clone()), &options, hooks, &mut visit)?;
        Ok((Self { disk, options, store, committer, stable }, recovery.finish(), report))
    }

    pub(crate) fn append(&self, shard: usize, ticket: Ticket, record: &Record) {
        let bytes = record.to_bytes();
        let (puts, deletes) = (keys(&bytes.puts), keys(&bytes.deletes));
        let room = Room::Reserve;
        let entry = Entry { body: &bytes.body, puts: &puts, deletes: &deletes, ends: bytes.ends, room };
        self.store.append(shard, ticket.0, &entry).unwrap();
    }

    /// Makes stable what was appended. Returns what is to be told to whom.
    pub(crate) fn commit(&mut self) -> Vec<(usize, u64)> {
        assert_ne!(self.committer.commit(), Progress::Failed, "{:?}", self.store.poisoned());
        std::mem::take(&mut self.stable.lock().unwrap())
    }

    /// Reads what is stable.
    pub(crate) fn read(&self, fetch: Fetch) -> Fetched {
        let wanted = keys(&fetch.keys().collect::<Vec<_>>());
        let mut fetched = fetch.answer();
        self.store.read_each(&wanted, |_, body| match body {
            Ok(Some(body)) => fetched.add(Ok(body)),
            Ok(None) => fetched.add(Err("it isn't there".into())),
            Err(error) => fetched.add(Err(error.to_string().into())),
        });
        fetched
    }

    /// The process ends, or the machine does: perhaps in the middle of a commit. Returns what the next one finds.
    pub(crate) fn crash(&mut self, loss: Loss, rng: &mut Rng) -> SimDisk {
        if rng.percent(50) {
            self.disk.set_fault(self.disk.steps() + rng.between(1, 6), Fault::PowerCut);
            self.committer.commit();
        }
        self.disk.restart(rng.next(), loss)
    }

    /// The store of the next process, which may need several attempts, as the crash may come again.
    pub(crate) fn recover(&mut self, mut disk: SimDisk, loss: Loss, rng: &mut Rng) -> Result<Recovered, String> {
        loop {
            let again = rng.percent(10);
            if again {
                disk.set_fault(disk.steps() + rng.between(1, 8), Fault::PowerCut);
            }
            match Self::open(disk.clone(), self.options.clone()) {
                Ok(_) | Err(_) if again => disk = disk.restart(rng.next(), loss),
                Ok((log, recovered, report)) => {
                    *self = log;
                    if let Some(damage) = report.damages.first() {
                        return Err(format!("a crash is no damage: {damage}"));
                    }
                    return match recovered.unreadable {
                        0 => Ok(recovered),
                        count => Err(format!("{count} records are unreadable")),
                    };
                }
                Err(error) => return Err(format!("the store does not start: {error}")),
            }
        }
    }
}

fn keys(keys: &[RecordKey]) -> Vec<Key> {
    keys.iter().map(|key| Key { group: key.group, kind: key.kind, id: key.id }).collect()
}

fn record_keys(keys: &[Key]) -> Vec<RecordKey> {
    keys.iter().map(|key| RecordKey { group: key.group, kind: key.kind, id: key.id }).collect()
}
