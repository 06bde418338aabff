//! The real store on a simulated disk.

use std::sync::{Arc, Mutex};

use oncemq::broker::{
    CopyPlace, Durability, Fetch, Fetched, MessageCache, Record, RecordBytes, RecordKey, Recovered, Recovery,
    StoredAnchor, StoredRecord, Ticket,
};
use oncemq::store::sim::{Fault, Loss, SimDisk};
use oncemq::store::{Committer, Entry, Hooks, Key, Level, OpenError, Options, Progress, Report, Room, Store, Urgency};

use crate::mix::Mix;
use crate::rng::Rng;

/// The log that all shards append to. Entries become stable only by [`commit`](Self::commit).
pub(crate) struct Log {
    disk: SimDisk,
    options: Options,
    store: Store,
    committer: Committer,
    /// The messages in memory, of which few are kept, so that most are read.
    cache: MessageCache,
    /// Stable tickets reported by the store, with their shard.
    stable: Arc<Mutex<Vec<(usize, u64)>>>,
    /// Records appended since the last commit, those of a batch together.
    appended: Vec<(Vec<RecordBytes>, Level)>,
}

impl Log {
    /// An empty log with small segments, so that they are reused often.
    pub(crate) fn new(mix: &Mix, rng: &mut Rng) -> Self {
        let small = rng.pick(&[4_096, 8_192, 40_000]);
        // The reserve has the size of a segment, and must suffice for what is written while the disk is full.
        let segment_bytes = if mix.disk_fills { 1_000_000 } else { small };
        let options = Options { level: mix.level, segment_bytes, ..Options::default() };
        let (log, ..) = Self::open(SimDisk::new(rng.next()), options).unwrap();
        log
    }

    fn open(disk: SimDisk, options: Options) -> Result<(Self, Recovered, Report), OpenError> {
        let stable = Arc::new(Mutex::new(Vec::new()));
        let reported = Arc::clone(&stable);
        let hooks = Hooks {
            on_stable: Box::new(move |shard, ticket| reported.lock().unwrap().push((shard, ticket))),
            ..Hooks::default()
        };
        let mut recovery = Recovery::default();
        let mut visit = |found: oncemq::store::Recovered<'_>| {
            let (puts, deletes) = (record_keys(found.puts), record_keys(found.deletes));
            recovery.apply(found.body, (&puts, found.parts), &deletes, found.ends);
        };
        let (store, committer, report) = Store::open_on(Arc::new(disk.clone()), &options, hooks, &mut visit)?;
        let cache = MessageCache::new(2_000);
        let log = Self { disk, options, store, committer, cache, stable, appended: Vec::new() };
        Ok((log, recovery.finish(), report))
    }

    /// `unawaited` is the level of records that no acknowledgement waits for.
    pub(crate) fn append(&mut self, shard: usize, ticket: Ticket, record: &Record, unawaited: Level) {
        let level = record.durability().map_or(unawaited, |durability| match durability {
            Durability::PowerLoss => Level::PowerLoss,
            Durability::Crash => Level::Crash,
            Durability::None => panic!("a record at level none: {record:?}"),
        });
        self.add((shard, ticket), vec![record.to_bytes()], level);
    }

    /// Appends the records of a batch.
    pub(crate) fn append_together(&mut self, shard: usize, ticket: Ticket, records: &[Record], level: Durability) {
        let level = if level == Durability::PowerLoss { Level::PowerLoss } else { Level::Crash };
        self.add((shard, ticket), records.iter().map(Record::to_bytes).collect(), level);
    }

    fn add(&mut self, ticket: (usize, Ticket), records: Vec<RecordBytes>, level: Level) {
        self.put(ticket, &records, level);
        self.appended.push((records, level));
    }

    /// Appends an anchor of the broker's time, which no shard waits for.
    pub(crate) fn append_anchor(&mut self, anchor: &StoredAnchor) {
        self.add((ANCHORS, Ticket(0)), vec![anchor.to_bytes()], Level::Crash);
    }

    /// Appends records that are recovered together or not at all.
    fn put(&self, (shard, ticket): (usize, Ticket), records: &[RecordBytes], level: Level) {
        let lists: Vec<_> =
            records.iter().map(|bytes| (keys(&bytes.puts), keys(&bytes.deletes), bytes.parts.list())).collect();
        let entries: Vec<_> = records
            .iter()
            .zip(&lists)
            .map(|(bytes, (puts, deletes, parts))| Entry {
                body: &bytes.body,
                puts,
                parts,
                deletes,
                ends: bytes.ends,
                level,
                room: Room::Reserve,
            })
            .collect();
        match &entries[..] {
            [entry] => self.store.append(shard, ticket.0, entry).unwrap(),
            entries => {
                self.store.append_together((shard, ticket.0, Urgency::Awaited), entries, &[]).unwrap();
                self.store.announce(Urgency::Awaited);
            }
        }
    }

    /// Leaves this many free bytes on the disk; `None`: no limit.
    pub(crate) fn set_free(&self, bytes: Option<u64>) {
        self.disk.set_capacity(bytes.map_or(u64::MAX, |bytes| self.disk.used() + bytes));
    }

    /// Whether the store has no room for new messages.
    pub(crate) fn is_full(&self) -> bool {
        self.store.is_full()
    }

    /// Whether the next commit is synced, and with it all earlier ones: an unawaited record is only written.
    pub(crate) fn next_commit_syncs(&self) -> bool {
        self.options.level == Level::PowerLoss && self.appended.iter().any(|(_, level)| *level == Level::PowerLoss)
    }

    /// Commits the appended records. Returns the tickets to report.
    pub(crate) fn commit(&mut self) -> Vec<(usize, u64)> {
        assert_ne!(self.committer.commit(), Progress::Failed, "{:?}", self.store.poisoned());
        self.appended.clear();
        let mut stable = std::mem::take(&mut *self.stable.lock().unwrap());
        stable.retain(|(source, _)| *source != ANCHORS);
        stable
    }

    /// Reads what is stable.
    pub(crate) fn read(&self, fetch: Fetch) -> Fetched {
        let mut located = self.store.locate(keys(&fetch.keys().collect::<Vec<_>>()).into_iter());
        let positions = located.iter().map(|one| Some(one.position()?.into()));
        let (mut fetched, is_known) = fetch.answer_from(&self.cache, positions);
        let mut is_known = is_known.into_iter();
        located.retain(|_| !is_known.next().unwrap_or(false));
        self.store.read_each(&mut located, |located, found| match found {
            Ok(Some(found)) => {
                let place = CopyPlace { copy: located.position().unwrap().into(), message: found.entry.into() };
                if !fetched.add_cached(&self.cache, place, found.part) {
                    let body = found.body().unwrap();
                    let (bytes, place) = (body.bytes(), Some(place));
                    fetched.add(Ok(StoredRecord { body: &body, part: found.part, bytes, place }));
                }
            }
            Ok(None) => fetched.add(Err("not in the store".into())),
            Err(error) => fetched.add(Err(error.to_string().into())),
        });
        fetched.share(&self.cache);
        fetched
    }

    /// Crashes the process or the machine: between commits, during a commit, or after a commit of some of the records.
    /// Returns the disk for the next process.
    pub(crate) fn crash(&mut self, loss: Loss, rng: &mut Rng) -> SimDisk {
        let appended = std::mem::take(&mut self.appended);
        if !appended.is_empty() && rng.percent(40) {
            let disk = self.disk.restart(rng.next(), loss);
            let (log, ..) = Self::open(disk, self.options.clone()).unwrap();
            for (records, level) in &appended[..rng.index(appended.len()) + 1] {
                log.put((0, Ticket(0)), records, *level);
            }
            *self = log;
            self.commit();
        } else if rng.percent(50) {
            self.disk.set_fault(self.disk.steps() + rng.between(1, 6), Fault::PowerCut);
            self.committer.commit();
        }
        self.disk.restart(rng.next(), loss)
    }

    /// Opens the store for the next process. It may need several attempts, because each may crash again.
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
                        return Err(format!("damage reported after a crash: {damage}"));
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

/// The source of the anchors: not a shard.
const ANCHORS: usize = 1_000;

fn keys(keys: &[RecordKey]) -> Vec<Key> {
    keys.iter().map(|key| Key { group: key.group, kind: key.kind, id: key.id }).collect()
}

fn record_keys(keys: &[Key]) -> Vec<RecordKey> {
    keys.iter().map(|key| RecordKey { group: key.group, kind: key.kind, id: key.id }).collect()
}
