//! The real store on a simulated disk.

use std::io;
use std::sync::{Arc, Mutex};

use oncemq::broker::{
    CopyPlace, Durability, Fetch, Fetched, MessageCache, Record, RecordBytes, RecordKey, Recovered, Recovery,
    StoredAnchor, StoredRecord, StreamDefinition, StreamKey, StreamNumber, Ticket,
};
use oncemq::store::sim::{Fault, Loss, SimDisk};
use oncemq::store::{
    Committer, Entry, Hooks, Key, Level, Numbered, OpenError, Options, Progress, Report, Retention, Room, Store,
    StreamKeeper, Urgency,
};
use oncemq::timestamp::WallTime;

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
    /// What writes to the streams, if there are any.
    pub(crate) keeper: Option<StreamKeeper>,
    /// The streams that are open.
    streams: Vec<StreamNumber>,
    /// What the keeper has reported: the group of a stream, and the end of what can be read.
    pub(crate) advanced: Arc<Mutex<Vec<(u64, u64)>>>,
    /// Messages of streams that a start has found to be lost or damaged.
    lost: Option<String>,
    /// The time, which messages of streams have.
    pub(crate) now: u64,
    /// The streams keep the last message of each topic.
    is_keyed: bool,
}

impl Log {
    /// An empty log with small segments, so that they are reused often.
    pub(crate) fn new(mix: &Mix, rng: &mut Rng) -> Self {
        let small = rng.pick(&[4_096, 8_192, 40_000]);
        // The reserve has the size of a segment, and must suffice for what is written while the disk is full.
        let segment_bytes = if mix.disk_fills { 1_000_000 } else { small };
        let options = Options { level: mix.level, segment_bytes, ..Options::default() };
        let (log, ..) = Self::open(SimDisk::new(rng.next()), options, (&[], mix.keyed)).unwrap();
        log
    }

    /// Opens the store, and these streams, as each start does.
    fn open(
        disk: SimDisk,
        options: Options,
        (streams, is_keyed): (&[StreamNumber], bool),
    ) -> Result<(Self, Recovered, Report), OpenError> {
        let stable = Arc::new(Mutex::new(Vec::new()));
        let advanced = Arc::<Mutex<Vec<_>>>::default();
        let (reported, on_advance, below) = (Arc::clone(&stable), Arc::clone(&advanced), disk.clone());
        let hooks = Hooks {
            on_stable: Box::new(move |shard, ticket| reported.lock().unwrap().push((shard, ticket))),
            on_advance: Arc::new(move |group, end| on_advance.lock().unwrap().push((group, end))),
            stream_disk: Box::new(move |number| Ok(Arc::new(below.directory(&format!("streams/{number}"))))),
            ..Hooks::default()
        };
        let mut recovery = Recovery::default();
        let mut visit = |found: oncemq::store::Recovered<'_>| {
            let (puts, deletes) = (record_keys(found.puts), record_keys(found.deletes));
            recovery.apply(found.body, (&puts, found.parts), &deletes, found.ends);
        };
        let (store, committer, report) = Store::open_on(Arc::new(disk.clone()), &options, hooks, &mut visit)?;
        let cache = MessageCache::new(2_000);
        let (appended, lost, keeper) = (Vec::new(), None, None);
        let mut log = Self {
            disk,
            options,
            store,
            committer,
            cache,
            stable,
            appended,
            keeper,
            streams: Vec::new(),
            advanced,
            lost,
            now: 0,
            is_keyed,
        };
        for number in streams {
            log.open_stream(*number)?;
        }
        Ok((log, recovery.finish(), report))
    }

    /// Opens a stream, with small segments.
    pub(crate) fn open_stream(&mut self, number: StreamNumber) -> io::Result<()> {
        let recovered = self.store.open_stream(number.0, Retention::default())?;
        if recovered.lost > 0 || !recovered.opened.damages.is_empty() {
            self.lost = Some(format!("stream {}: {recovered:?}", number.0));
        }
        if self.is_keyed {
            self.store.set_stream_key(number.0, Some(Arc::new(|body| StreamKey::Topic.of(body))));
        }
        self.streams.push(number);
        self.keeper = self.keeper.take().or_else(|| self.store.take_keeper());
        Ok(())
    }

    /// The store, for reading streams.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// Appends the definition of a stream, which no shard waits for.
    pub(crate) fn append_definition(&mut self, definition: &StreamDefinition) {
        self.add((UNTOLD, Ticket(0)), vec![definition.to_bytes()], Level::PowerLoss);
    }

    /// `unawaited` is the level of records that no acknowledgement waits for.
    pub(crate) fn append(&mut self, shard: usize, ticket: Ticket, record: &Record, unawaited: Level) {
        let durability = record.stored_durability();
        let level = durability.map_or(unawaited, |durability| match durability {
            Durability::PowerLoss => Level::PowerLoss,
            Durability::Crash => Level::Crash,
            Durability::None => panic!("a record at level none: {record:?}"),
        });
        let given = self.add((shard, ticket), vec![record.to_bytes()], level);
        let now = WallTime(self.now);
        given.iter().for_each(|given| record.appended(given, now));
    }

    /// Appends the records of a batch.
    pub(crate) fn append_together(&mut self, shard: usize, ticket: Ticket, records: &[Record], level: Durability) {
        let level = if level == Durability::PowerLoss { Level::PowerLoss } else { Level::Crash };
        let given = self.add((shard, ticket), records.iter().map(Record::to_bytes).collect(), level);
        let now = WallTime(self.now);
        records.iter().zip(&given).for_each(|(record, given)| record.appended(given, now));
    }

    /// Returns the sequences of each record in its streams.
    fn add(&mut self, ticket: (usize, Ticket), records: Vec<RecordBytes>, level: Level) -> Vec<Vec<u64>> {
        let given = self.put(ticket, &records, level);
        self.appended.push((records, level));
        given
    }

    /// Appends an anchor of the broker's time, which no shard waits for.
    pub(crate) fn append_anchor(&mut self, anchor: &StoredAnchor) {
        self.add((UNTOLD, Ticket(0)), vec![anchor.to_bytes()], Level::Crash);
    }

    /// Appends records that are recovered together or not at all. Returns the sequences of each in its streams.
    fn put(&self, (shard, ticket): (usize, Ticket), records: &[RecordBytes], level: Level) -> Vec<Vec<u64>> {
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
        let time = self.now.to_le_bytes();
        let numbered = |stream: &StreamNumber| Numbered { group: stream.group(), part: &time };
        let numbered: Vec<Vec<_>> = records.iter().map(|bytes| bytes.streams.iter().map(numbered).collect()).collect();
        let source = (shard, ticket.0, Urgency::Awaited);
        let given = match (&entries[..], &numbered[..]) {
            ([entry], [numbered]) => vec![self.store.append_numbered(source, entry, numbered).unwrap()],
            (entries, numbered) => {
                let numbered: Vec<_> = numbered.iter().map(Vec::as_slice).collect();
                self.store.append_together(source, entries, &numbered).unwrap()
            }
        };
        self.store.announce(Urgency::Awaited);
        given.into_iter().map(|given| given.to_vec()).collect()
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
        stable.retain(|(source, _)| *source != UNTOLD);
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
            let (log, ..) = Self::open(disk, self.options.clone(), (&self.streams, self.is_keyed)).unwrap();
            let log = Self { now: self.now, ..log };
            for (records, level) in &appended[..rng.index(appended.len()) + 1] {
                log.put((0, Ticket(0)), records, *level);
            }
            *self = log;
            self.commit();
        } else if rng.percent(50) {
            self.disk.set_fault(self.disk.steps() + rng.between(1, 6), Fault::PowerCut);
            self.committer.commit();
        } else if self.keeper.is_some() && rng.percent(50) {
            // While the messages of streams are written to their files.
            self.disk.set_fault(self.disk.steps() + rng.between(1, 6), Fault::PowerCut);
            self.keep(true);
        } else if self.is_keyed {
            // While the streams are compacted.
            self.disk.set_fault(self.disk.steps() + rng.between(1, 12), Fault::PowerCut);
            self.compact(1_000);
        }
        self.disk.restart(rng.next(), loss)
    }

    /// Writes the oldest commit to the streams, and syncs them.
    pub(crate) fn keep(&mut self, syncs: bool) -> Progress {
        let Some(keeper) = &mut self.keeper else { return Progress::Idle };
        let progress = keeper.write();
        if syncs {
            keeper.sync();
        }
        progress
    }

    /// Compacts the streams, at most so many steps. Returns whether the keeper goes on.
    pub(crate) fn compact(&mut self, steps: u64) -> bool {
        let Some(keeper) = &mut self.keeper else { return true };
        keeper.begin_compaction();
        for _ in 0..steps {
            if !keeper.compact() {
                break;
            }
        }
        self.store.poisoned().is_none()
    }

    /// Opens the store for the next process. It may need several attempts, because each may crash again.
    pub(crate) fn recover(&mut self, mut disk: SimDisk, loss: Loss, rng: &mut Rng) -> Result<Recovered, String> {
        loop {
            let again = rng.percent(10);
            if again {
                disk.set_fault(disk.steps() + rng.between(1, 8), Fault::PowerCut);
            }
            match Self::open(disk.clone(), self.options.clone(), (&self.streams, self.is_keyed)) {
                Ok(_) | Err(_) if again => disk = disk.restart(rng.next(), loss),
                Ok((log, recovered, report)) => {
                    *self = log;
                    if let Some(lost) = self.lost.take() {
                        return Err(lost);
                    }
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

/// The source of what no shard waits for.
const UNTOLD: usize = 1_000;

fn keys(keys: &[RecordKey]) -> Vec<Key> {
    keys.iter().map(|key| Key { group: key.group, kind: key.kind, id: key.id }).collect()
}

fn record_keys(keys: &[Key]) -> Vec<RecordKey> {
    keys.iter().map(|key| RecordKey { group: key.group, kind: key.kind, id: key.id }).collect()
}
