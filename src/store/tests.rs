use std::collections::BTreeMap;

use super::format::segment_name;
use super::sim::{Fault, Loss, SimDisk};
use super::writer::NEW;
use super::*;

mod copies;
mod crash;
mod damage;
mod directory;
mod fetch;
mod full;
mod gather;
mod growth;
mod levels;
mod parts;
mod pressure;
mod replicated;
mod stream_copies;
mod streams;
mod together;
mod upgrade;
mod version_1;
mod worlds;

/// The expected contents of a store: the body of each key, followed by its part.
pub(super) type Model = BTreeMap<Key, Vec<u8>>;

/// An owned entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    body: Vec<u8>,
    puts: Vec<Key>,
    parts: Vec<&'static [u8]>,
    deletes: Vec<Key>,
    ends: Option<u64>,
    level: Level,
}

impl Change {
    fn entry(&self) -> Entry<'_> {
        let Self { body, puts, parts, deletes, ends, level } = self;
        Entry { body, puts, parts, deletes, ends: *ends, level: *level, room: Room::Ordinary }
    }

    fn put(id: u64, body: &[u8]) -> Self {
        Self { body: body.to_vec(), puts: vec![key(id)], ..Self::default() }
    }

    fn delete(id: u64) -> Self {
        Self { deletes: vec![key(id)], ..Self::default() }
    }

    fn apply(&self, model: &mut Model) {
        let Self { body, puts, deletes, .. } = self;
        let mut parts = self.parts.clone();
        parts.resize(puts.len(), &[]);
        apply(&Recovered { body, puts, parts: &parts, deletes, ends: self.ends }, model);
    }

    /// A change determined by a seed: queues that fill and drain, keys that are overwritten, groups that end.
    fn random(random: &mut Random) -> Self {
        let body = (0..random.below(500)).map(|_| random.byte(256)).collect();
        let any = |random: &mut Random| Key {
            group: random.below(4) as u64,
            kind: random.byte(2),
            id: random.below(12) as u64,
        };
        let mut change = Self { body, ..Self::default() };
        match random.below(10) {
            0 => change.ends = Some(random.below(4) as u64),
            1..=3 => change.deletes.extend((0..=random.below(6)).map(|_| any(random))),
            4 => {
                change.puts.push(any(random));
                change.deletes.push(any(random));
            }
            _ => change.puts.extend((0..=random.below(3)).map(|_| any(random))),
        }
        if random.below(2) == 0 {
            let part = |random: &mut Random| &PARTS[..random.below(3) * random.below(PARTS.len() / 2)];
            change.parts.extend((0..change.puts.len()).map(|_| part(random)));
        }
        change
    }
}

pub(super) fn apply(recovered: &Recovered<'_>, model: &mut Model) {
    model.retain(|key, _| Some(key.group) != recovered.ends);
    for key in recovered.deletes {
        model.remove(key);
    }
    assert_eq!(recovered.puts.len(), recovered.parts.len());
    for (key, part) in recovered.puts.iter().zip(recovered.parts) {
        model.insert(*key, [recovered.body, part].concat());
    }
}

pub(super) fn key(id: u64) -> Key {
    Key { group: 1, kind: 1, id }
}

/// Pseudo-random numbers determined by a seed.
pub(super) struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn byte(&mut self, bound: usize) -> u8 {
        u8::try_from(self.below(bound)).unwrap()
    }
}

/// A store on a simulated disk, and what it reported.
pub(super) struct Run {
    store: Store,
    committer: Committer,
    report: Report,
    /// The state after applying all recovered entries.
    recovered: Model,
    stable: Arc<Mutex<Option<u64>>>,
    failure: Arc<Mutex<Option<String>>>,
    ticket: u64,
}

impl Run {
    fn try_open(disk: &SimDisk, options: &Options) -> Result<Self, OpenError> {
        let stable = Arc::<Mutex<Option<u64>>>::default();
        let failure = Arc::<Mutex<Option<String>>>::default();
        let (on_stable, on_failure) = (Arc::clone(&stable), Arc::clone(&failure));
        let hooks = Hooks {
            on_stable: Box::new(move |source, ticket| {
                assert_eq!(source, 0);
                assert!(on_stable.lock().unwrap().replace(ticket) < Some(ticket));
            }),
            on_failure: Arc::new(move |error: &str| *on_failure.lock().unwrap() = Some(error.to_owned())),
            ..Hooks::default()
        };
        let mut recovered = Model::new();
        let (store, committer, report) =
            Store::open_on(Arc::new(disk.clone()), options, hooks, &mut |entry| apply(&entry, &mut recovered))?;
        Ok(Self { store, committer, report, recovered, stable, failure, ticket: 0 })
    }

    fn open(disk: &SimDisk, options: &Options) -> Self {
        Self::try_open(disk, options).unwrap()
    }

    fn append(&mut self, change: &Change) -> Result<(), Refused> {
        self.append_entry(&change.entry())
    }

    fn append_entry(&mut self, entry: &Entry<'_>) -> Result<(), Refused> {
        self.store.append(0, self.ticket + 1, entry)?;
        self.ticket += 1;
        Ok(())
    }

    fn commit(&mut self) -> Progress {
        self.committer.commit()
    }

    fn commit_all(&mut self) {
        while self.commit() == Progress::Worked {}
    }

    /// The number of appended entries that were reported stable.
    fn stable(&self) -> u64 {
        self.stable.lock().unwrap().unwrap_or(0)
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap().clone()
    }

    /// Asserts that every key reads as in the model, and that there are no others.
    fn assert_holds(&self, model: &Model) {
        for (key, expected) in model {
            assert_eq!(self.store.read_key(*key, stored).unwrap().as_ref(), Some(expected), "{key:?}");
        }
        assert_eq!(self.store.stats().keys, model.len() as u64);
        let nobody = Key { group: 77, kind: 7, id: 7 };
        let keys: Vec<Key> = model.keys().copied().chain([nobody]).collect();
        let read = read_each(&self.store, &keys).into_iter().map(|(key, read)| (key, read.unwrap()));
        let expected = model.iter().map(|(key, expected)| (*key, Some(expected.clone()))).chain([(nobody, None)]);
        assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}

impl Store {
    /// The body of a key.
    fn read(&self, key: Key) -> io::Result<Option<Vec<u8>>> {
        self.read_key(key, |found| Ok(found.body()?.to_vec()))
    }
}

/// The body and the part of a key.
fn stored(found: Found<'_>) -> io::Result<Vec<u8>> {
    Ok([&*found.body()?, found.part].concat())
}

fn read_each(store: &Store, keys: &[Key]) -> Vec<(Key, io::Result<Option<Vec<u8>>>)> {
    let mut read = Vec::new();
    let mut located = store.locate(keys.iter().copied());
    store.read_each(&mut located, |Located { key, .. }, found| {
        read.push((key, found.and_then(|found| found.map(stored).transpose())));
    });
    read
}

/// The parts of random changes are its first bytes.
const PARTS: [u8; 40] = [7; 40];

pub(super) fn small() -> Options {
    Options { segment_bytes: 4096, garbage_share: 0.3, ..Options::default() }
}

#[test]
fn the_order_of_appends_is_the_order_of_the_log() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    for round in 0..3u8 {
        for id in 0..3 {
            run.append(&Change::put(id, &[round])).unwrap();
        }
        run.commit();
    }
    drop(run);
    let mut seen = Vec::new();
    let hooks = Hooks::default();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    Store::open_on(disk, &Options::default(), hooks, &mut |entry| seen.push((entry.body[0], entry.puts[0].id)))
        .unwrap();
    assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]);
}

#[test]
fn one_commit_syncs_once_and_reports_the_highest_ticket_of_each_source() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let hooks = Hooks {
        on_stable: Box::new(move |source, ticket| tell.lock().unwrap().push((source, ticket))),
        on_failure: Arc::new(|_| ()),
        ..Hooks::default()
    };
    let disk = Arc::new(SimDisk::new(1));
    let (store, mut committer, _) = Store::open_on(disk, &Options::default(), hooks, &mut |_| ()).unwrap();
    for (source, ticket) in [(2, 7), (0, 3), (2, 8), (0, 4)] {
        store.append(source, ticket, &Change::put(ticket, b"body").entry()).unwrap();
    }
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(store.read(key(7)).unwrap(), None);
    committer.commit();
    assert_eq!(*told.lock().unwrap(), [(0, 4), (2, 8)]);
    assert_eq!((store.stats().commits, store.stats().syncs, store.stats().entries), (1, 1, 4));
    assert_eq!(store.read(key(7)).unwrap().as_deref(), Some(&b"body"[..]));
    assert_eq!(committer.commit(), Progress::Idle);
    assert_eq!(store.stats().syncs, 1);
}

#[test]
fn an_entry_ends_then_deletes_then_puts() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    run.append(&Change::put(1, b"old")).unwrap();
    run.append(&Change { ends: Some(1), deletes: vec![key(1)], ..Change::put(1, b"new") }).unwrap();
    run.commit();
    run.assert_holds(&Model::from([(key(1), b"new".to_vec())]));
}

#[test]
fn level_crash_never_syncs_and_survives_the_end_of_the_process() {
    let disk = SimDisk::new(1);
    let options = Options { level: Level::Crash, ..small() };
    let mut run = Run::open(&disk, &options);
    let mut model = Model::new();
    for id in 0..50 {
        let change = Change::put(id % 20, &[7; 300]);
        change.apply(&mut model);
        run.append(&change).unwrap();
        run.commit();
    }
    assert_eq!((run.stable(), run.store.stats().syncs), (50, 0));
    let run = Run::open(&disk.restart(1, Loss::Process), &options);
    assert_eq!(run.recovered, model);
    run.assert_holds(&model);
}

#[test]
fn level_none_reports_stable_and_writes_nothing() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options { level: Level::None, ..small() });
    run.append(&Change::put(1, b"body")).unwrap();
    run.commit();
    assert_eq!(run.stable(), 1);
    assert_eq!(run.store.read(key(1)).unwrap(), None);
    assert_eq!((disk.list().unwrap().len(), disk.steps()), (0, 0));
}

#[test]
fn the_store_reports_congestion_to_its_callers() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options { pending_bytes_max: 1000, ..Options::default() });
    run.append(&Change::put(1, &[0; 600])).unwrap();
    assert!(!run.store.is_congested());
    run.append(&Change::put(2, &[0; 600])).unwrap();
    assert!(run.store.is_congested());
    run.commit();
    assert!(!run.store.is_congested());
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_reported_stable() {
    let steps = {
        let disk = SimDisk::new(1);
        let _run = Run::open(&disk, &small());
        disk.steps()
    };
    for failing in [1, 2] {
        let disk = SimDisk::new(1);
        let mut run = Run::open(&disk, &small());
        disk.set_fault(steps + 3 + failing, Fault::Error(io::ErrorKind::Other));
        run.append(&Change::put(1, b"stable")).unwrap();
        run.commit();
        run.append(&Change::put(2, b"fails")).unwrap();
        assert_eq!(run.commit(), Progress::Failed, "step {failing}");
        assert_eq!(run.stable(), 1);
        assert!(run.failure().is_some() && run.store.poisoned().is_some() && run.store.is_congested());
        assert_eq!(run.append(&Change::put(3, b"")), Err(Refused::Failed));
        assert_eq!(run.commit(), Progress::Failed);
        assert_eq!(run.stable(), 1);
        // Stable entries can still be read.
        assert_eq!(run.store.read(key(1)).unwrap().as_deref(), Some(&b"stable"[..]));
    }
}

#[test]
fn a_long_run_with_restarts_agrees_with_a_map_and_uses_bounded_space() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let mut disk = SimDisk::new(seed);
        let mut model = Model::new();
        for life in 0..6 {
            let mut run = Run::open(&disk, &small());
            assert_eq!(run.recovered, model, "seed {seed}, life {life}");
            for _ in 0..400 {
                let change = Change::random(&mut random);
                change.apply(&mut model);
                run.append(&change).unwrap();
                if random.below(3) == 0 {
                    run.commit();
                }
            }
            run.commit_all();
            run.assert_holds(&model);
            assert_eq!(run.report.damages, []);
            // Live entries with dead keys count as garbage in part, so the bound is not tight.
            let live: u64 = model.values().map(|body| body.len() as u64 + 60).sum();
            assert!(run.store.stats().bytes < 4 * live + 6 * 4096, "{:?}, {live} live", run.store.stats());
            assert!(disk.used() < run.store.stats().bytes + 8 * 4096);
            drop(run);
            disk = disk.restart(seed, Loss::Process);
        }
    }
}

#[test]
fn old_live_entries_are_copied_and_freed_files_are_overwritten() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    run.append(&Change::put(0, b"old and live")).unwrap();
    for id in 1..500 {
        run.append(&Change {
            deletes: vec![key(id - 1)].into_iter().filter(|k| k.id > 0).collect(),
            ..Change::put(id, &[1; 200])
        })
        .unwrap();
        run.commit();
    }
    run.commit_all();
    assert!(disk.bytes("0000000001.seg").is_none());
    assert!(disk.used() < 12 * 4096, "{}", disk.used());
    run.assert_holds(&Model::from([(key(0), b"old and live".to_vec()), (key(499), vec![1; 200])]));
}

#[test]
fn an_entry_larger_than_a_segment_has_one_of_its_own() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    let mut model = Model::new();
    for (id, length) in [(1, 100), (2, 100_000), (3, 100)] {
        let change = Change::put(id, &vec![1; length]);
        change.apply(&mut model);
        run.append(&change).unwrap();
        run.commit();
    }
    run.assert_holds(&model);
    drop(run);
    let run = Run::open(&disk, &small());
    assert_eq!(run.recovered, model);
}
