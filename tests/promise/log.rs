//! The real store on a simulated disk, with a crash at a chosen point.

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex};

use oncemq::broker::{
    DelayedBatch, Fetch, Fetched, Record, RecordKey, Recovered, Recovery, StoredRecord, StreamChunk, StreamKey,
    StreamNumber, StreamRequest, StreamStart, Ticket,
};
use oncemq::store::sim::{Fault, Loss, SimDisk};
use oncemq::store::{
    Committer, Disk, Entry, Hooks, Key, Level, Mark, Numbered, OpenError, Options, Progress, Replication, Report,
    Retention, Room, Store, StreamKeeper, StreamReadError, Urgency,
};
use oncemq::timestamp::WallTime;

use crate::replicas::{Replicas, Survivor};

/// When each message of a stream is accepted.
const ACCEPTED: WallTime = WallTime(u64::from_le_bytes(ACCEPTED_BYTES));
const ACCEPTED_BYTES: [u8; 8] = [7; 8];

/// The log that all shards append to. Entries become stable only by [`commit`](Self::commit).
pub(crate) struct Log {
    pub(crate) disk: SimDisk,
    level: Level,
    store: Store,
    committer: Committer,
    /// Stable tickets reported by the store, with their shard.
    stable: Arc<Mutex<Vec<(usize, u64)>>>,
    /// Number of records since the last commit.
    pub(crate) gathered: usize,
    /// Total number of records.
    pub(crate) appended: usize,
    /// What writes to the streams, if there are any.
    keeper: Option<StreamKeeper>,
    /// Whether the stream keeps the last message of each topic.
    is_keyed: bool,
    /// Whether files of the stream are lost.
    lacks_files: bool,
    /// Whether the stream is synced before the crash.
    pub(crate) syncs_stream: bool,
    /// Whether nothing is appended before the crash.
    is_stalled: bool,
    /// The other copies, if the log is replicated.
    replicas: Option<Replicas>,
}

/// How much of the pending commit the store completed before the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    Nothing,
    /// The commit was interrupted at the disk operation with this number. With a replicated log, it is the number of batches that a majority has.
    Part(u64),
    /// The commit was completed, but not reported.
    All,
    /// The same, and what writes to the stream, syncs it and compacts it was interrupted at the disk operation with this number.
    Streams(u64),
}

impl Log {
    pub(crate) fn new(level: Level) -> Self {
        Self::open(SimDisk::new(1), level).0
    }

    /// A replicated log.
    pub(crate) fn replicated(survivor: Survivor) -> Self {
        let replicas = Replicas::new(survivor);
        let replication = replicas.replication(Mark { sequence: 1, state: Vec::new() });
        let (log, _) = Self::open_intact(SimDisk::new(1), Level::PowerLoss, Some(replication));
        Self { replicas: Some(replicas), ..log }
    }

    pub(crate) fn is_replicated(&self) -> bool {
        self.replicas.is_some()
    }

    /// Opens a store on the disk. Recovery after a crash must report no damage.
    pub(crate) fn open(disk: SimDisk, level: Level) -> (Self, Recovered) {
        Self::open_intact(disk, level, None)
    }

    fn open_intact(disk: SimDisk, level: Level, replication: Option<Replication>) -> (Self, Recovered) {
        let (log, recovered, report) = Self::try_open(disk, level, replication).unwrap();
        assert_eq!((&report.damages[..], recovered.unreadable), (&[][..], 0));
        (log, recovered)
    }

    /// Opens a store on a disk that may be damaged; `None` if that is refused.
    pub(crate) fn open_damaged(disk: SimDisk, level: Level) -> Option<(Self, Recovered)> {
        let (log, recovered, _) = Self::try_open(disk, level, None).ok()?;
        Some((log, recovered))
    }

    fn try_open(
        disk: SimDisk,
        level: Level,
        replication: Option<Replication>,
    ) -> Result<(Self, Recovered, Report), OpenError> {
        let stable = Arc::new(Mutex::new(Vec::new()));
        let (heard, below) = (Arc::clone(&stable), disk.clone());
        let hooks = Hooks {
            on_stable: Box::new(move |shard, ticket| heard.lock().unwrap().push((shard, ticket))),
            stream_disk: Box::new(move |number| Ok(Arc::new(below.directory(&format!("streams/{number}"))))),
            replication,
            ..Hooks::default()
        };
        let mut recovery = Recovery::default();
        let mut visit = |found: oncemq::store::Recovered<'_>| {
            let oncemq::store::Recovered { body, puts, parts, deletes, ends } = found;
            recovery.apply(body, (&record_keys(puts), parts), &record_keys(deletes), ends);
        };
        let (store, committer, report) = Store::open_on(Arc::new(disk.clone()), &options(level), hooks, &mut visit)?;
        let log = Self {
            disk,
            level,
            store,
            committer,
            stable,
            gathered: 0,
            appended: 0,
            keeper: None,
            is_keyed: false,
            lacks_files: false,
            syncs_stream: true,
            is_stalled: false,
            replicas: None,
        };
        Ok((log, recovery.finish(), report))
    }

    pub(crate) fn append(&mut self, shard: usize, ticket: Ticket, record: &Record) {
        if self.is_stalled {
            return;
        }
        let bytes = record.to_bytes();
        let (puts, deletes) = (keys(&bytes.puts), keys(&bytes.deletes));
        let (body, ends, level) = (&bytes.body, bytes.ends, Level::PowerLoss);
        let entry = Entry {
            body,
            puts: &puts,
            parts: &bytes.parts.list(),
            deletes: &deletes,
            ends,
            level,
            room: Room::Reserve,
        };
        let numbered: Vec<_> =
            bytes.streams.iter().map(|stream| Numbered { group: stream.group(), part: &ACCEPTED_BYTES }).collect();
        let given = self.store.append_numbered((shard, ticket.0, Urgency::Awaited), &entry, &numbered).unwrap();
        self.store.announce(Urgency::Awaited);
        record.appended(&given, ACCEPTED);
        self.gathered += 1;
        self.appended += 1;
    }

    /// Appends the records of a batch.
    pub(crate) fn append_together(&mut self, shard: usize, ticket: Ticket, records: &[Record]) {
        let encoded: Vec<_> = records.iter().map(Record::to_bytes).collect();
        let lists: Vec<_> =
            encoded.iter().map(|bytes| (keys(&bytes.puts), keys(&bytes.deletes), bytes.parts.list())).collect();
        let entries: Vec<_> = encoded
            .iter()
            .zip(&lists)
            .map(|(bytes, (puts, deletes, parts))| Entry {
                body: &bytes.body,
                puts,
                parts,
                deletes,
                ends: bytes.ends,
                level: Level::PowerLoss,
                room: Room::Reserve,
            })
            .collect();
        let numbered = |stream: &StreamNumber| Numbered { group: stream.group(), part: &ACCEPTED_BYTES };
        let puts: Vec<Vec<_>> = encoded.iter().map(|bytes| bytes.streams.iter().map(numbered).collect()).collect();
        let puts: Vec<_> = puts.iter().map(Vec::as_slice).collect();
        let given = self.store.append_together((shard, ticket.0, Urgency::Awaited), &entries, &puts).unwrap();
        records.iter().zip(&given).for_each(|(record, given)| record.appended(given, ACCEPTED));
        self.store.announce(Urgency::Awaited);
        self.gathered += 1;
        self.appended += 1;
    }

    /// Reads what is stable.
    pub(crate) fn read(&self, fetch: Fetch) -> Fetched {
        let wanted = keys(&fetch.keys().collect::<Vec<_>>());
        let mut fetched = fetch.answer();
        self.store.read_each(&mut self.store.locate(wanted.into_iter()), |_, found| {
            let found = found.unwrap().unwrap();
            let body = found.body().unwrap();
            fetched.add(Ok(StoredRecord { body: &body, part: found.part, bytes: body.bytes(), place: None }));
        });
        fetched
    }

    /// Reads delayed messages, which are stable.
    pub(crate) fn read_delayed(&self, batch: &mut DelayedBatch) {
        for (place, key) in batch.missing() {
            let found = self.store.read_key(keys(&[key])[0], |found| {
                let body = found.body()?;
                batch.set(place, Ok(StoredRecord { body: &body, part: found.part, bytes: body.bytes(), place: None }));
                Ok(())
            });
            assert!(matches!(found, Ok(Some(()))), "{found:?}");
        }
    }

    /// Commits the appended records. Returns the tickets to report: none, if the log is replicated.
    pub(crate) fn commit(&mut self) -> Vec<(usize, u64)> {
        let progress = self.committer.commit();
        assert_ne!(progress, Progress::Failed, "{:?}", self.store.poisoned());
        // Too many bytes wait for a majority.
        if progress != Progress::Blocked {
            self.gathered = 0;
        }
        std::mem::take(&mut self.stable.lock().unwrap())
    }

    /// A majority has what was committed. Returns the tickets to report.
    pub(crate) fn replicate(&mut self) -> Vec<(usize, u64)> {
        if let Some(replicas) = &mut self.replicas {
            let sequence = replicas.store(usize::MAX);
            self.store.replicated(sequence);
            if self.appended.is_multiple_of(2) {
                self.store.write_mark(&Mark { sequence, state: Vec::new() }).unwrap();
            }
        }
        std::mem::take(&mut self.stable.lock().unwrap())
    }

    /// Ends the process or the machine. Returns what the next process recovers.
    pub(crate) fn crash(&mut self, committed: Committed, loss: Loss, seed: u64) -> Recovered {
        if let Some(replicas) = self.replicas.take() {
            return self.crash_replicated(replicas, committed, self.disk.restart(seed, loss));
        }
        self.commit_until(committed, Fault::PowerCut);
        let (log, recovered) = Self::open(self.disk.restart(seed, loss), self.level);
        let Self { appended, is_keyed, lacks_files, .. } = *self;
        let has_streams = self.keeper.is_some();
        *self = Self { appended, is_keyed, lacks_files, ..log };
        if has_streams {
            self.open_stream();
        }
        recovered
    }

    /// Commits as far as this, up to a fault.
    fn commit_until(&mut self, committed: Committed, fault: Fault) {
        if let Committed::Part(step) = committed {
            self.disk.set_fault(self.disk.steps() + step, fault);
        }
        if committed != Committed::Nothing {
            self.committer.commit();
        }
        if let Committed::Streams(step) = committed {
            self.disk.set_fault(self.disk.steps() + step, fault);
            self.keep();
            self.compact();
        }
    }

    /// Commits as far as this, and reports nothing. The process goes on until it crashes.
    pub(crate) fn stall(&mut self, committed: Committed) {
        self.commit_until(committed, Fault::Error(io::ErrorKind::Other));
        // It may not have come.
        self.disk.set_fault(u64::MAX, Fault::PowerCut);
        self.is_stalled = true;
    }

    /// The same with a replicated log. A majority has as many batches more as were committed.
    fn crash_replicated(&mut self, mut replicas: Replicas, committed: Committed, left: SimDisk) -> Recovered {
        let batches = match committed {
            Committed::Nothing => 0,
            Committed::Part(batches) => usize::try_from(batches).unwrap(),
            Committed::All | Committed::Streams(_) => usize::MAX,
        };
        replicas.store(batches);
        let (disk, mark) = replicas.survive(left, &options(self.level));
        let (log, recovered) = Self::open_intact(disk, self.level, Some(replicas.replication(mark)));
        *self = Self { appended: self.appended, replicas: Some(replicas), ..log };
        recovered
    }
}

fn options(level: Level) -> Options {
    Options { level, segment_bytes: 4_096, ..Options::default() }
}

impl Log {
    /// Opens stream 1, as the server does before its shards start.
    pub(crate) fn open_stream(&mut self) {
        let recovered = self.store.open_stream(1, Retention::default()).unwrap();
        assert_eq!(recovered.opened.damages, []);
        assert!(recovered.lost == 0 || self.lacks_files, "{} messages are lost", recovered.lost);
        self.keeper = self.store.take_keeper();
        if self.is_keyed {
            self.keep_last_of_topics();
        }
    }

    /// From now on, the stream keeps the last message of each topic.
    pub(crate) fn keep_last_of_topics(&mut self) {
        self.is_keyed = true;
        self.store.set_stream_key(1, Some(Arc::new(|body: &[u8]| StreamKey::Topic.of(body))));
    }

    /// Writes what is stable to the stream. Every third time it is synced, and the log forgets it.
    pub(crate) fn write_streams(&mut self) {
        if self.syncs_stream && self.appended.is_multiple_of(3) {
            return self.keep();
        }
        if let Some(keeper) = &mut self.keeper {
            while keeper.write() == Progress::Worked {}
        }
    }

    /// Writes what is stable to the stream, syncs it, and lets the log forget it.
    pub(crate) fn keep(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        while keeper.write() == Progress::Worked {}
        keeper.sync();
    }

    /// Compacts the stream.
    pub(crate) fn compact(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        keeper.begin_compaction();
        while keeper.compact() {}
    }

    /// The files of the stream are lost.
    pub(crate) fn lose_stream(&mut self) {
        for name in self.disk.list().unwrap().iter().filter(|name| name.starts_with("streams/")) {
            self.disk.remove(name).unwrap();
        }
        self.disk.sync_names().unwrap();
        self.lacks_files = true;
    }

    /// The messages of stream 1 that can be read, if there is one.
    pub(crate) fn stream_range(&self) -> Option<Range<u64>> {
        let reader = self.store.stream_reader(1)?;
        Some(reader.oldest()..reader.end())
    }

    /// Reads the next messages of stream 1.
    pub(crate) fn read_stream(&self, request: StreamRequest) -> StreamChunk {
        let reader = self.store.stream_reader(1).unwrap();
        let (from, mut chunk) = (request.from, request.answer());
        let mut next = match from {
            StreamStart::Sequence(sequence) => sequence.max(reader.oldest()),
            StreamStart::Earliest | StreamStart::Latest | StreamStart::Time(_) => reader.oldest(),
        };
        let mut wants_more = true;
        while wants_more && next < reader.end() {
            let read = reader.read(next, usize::MAX, &mut |message| {
                wants_more = chunk.add(message.sequence, message.timestamp, message.body);
                if wants_more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            next = match read {
                Err(StreamReadError::Lost { to, .. }) => {
                    wants_more = chunk.skip_unreadable(next..=to - 1);
                    to
                }
                read => read.unwrap(),
            };
        }
        chunk.finish(next, reader.oldest());
        chunk
    }

    /// The bodies of the messages of stream 1.
    pub(crate) fn stream(&self) -> BTreeMap<u64, Vec<u8>> {
        let reader = self.store.stream_reader(1).unwrap();
        let (mut found, mut from) = (BTreeMap::new(), reader.oldest());
        while from < reader.end() {
            let read = reader.read(from, usize::MAX, &mut |message| {
                found.insert(message.sequence, message.body.to_vec());
                ControlFlow::Continue(())
            });
            from = read.unwrap();
        }
        found
    }
}

fn keys(keys: &[RecordKey]) -> Vec<Key> {
    keys.iter().map(|key| Key { group: key.group, kind: key.kind, id: key.id }).collect()
}

fn record_keys(keys: &[Key]) -> Vec<RecordKey> {
    keys.iter().map(|key| RecordKey { group: key.group, kind: key.kind, id: key.id }).collect()
}
