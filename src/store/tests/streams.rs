//! Messages with numbers: without gaps, in the order of the log, through crashes at every step.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A store with the streams 1 and 2.
struct Kept {
    store: Store,
    committer: Committer,
    keeper: StreamKeeper,
    stable: Arc<Mutex<Option<u64>>>,
    failure: Arc<Mutex<Option<String>>>,
    ticket: u64,
    /// Messages that the start found to be lost.
    lost: u64,
    /// The number of each body in each stream, with the ticket of its entry.
    given: Vec<BTreeMap<u64, (u64, Vec<u8>)>>,
}

impl Kept {
    fn open(disk: &SimDisk, options: &Options) -> Result<Self, String> {
        Self::open_within(disk, options, Retention::default())
    }

    fn open_within(disk: &SimDisk, options: &Options, retention: Retention) -> Result<Self, String> {
        let (stable, failure) = (Arc::<Mutex<Option<u64>>>::default(), Arc::<Mutex<Option<String>>>::default());
        let (on_stable, on_failure, below) = (Arc::clone(&stable), Arc::clone(&failure), disk.clone());
        let hooks = Hooks {
            on_stable: Box::new(move |_, ticket| *on_stable.lock().unwrap() = Some(ticket)),
            on_failure: Arc::new(move |error: &str| *on_failure.lock().unwrap() = Some(error.to_owned())),
            stream_disk: Box::new(move |number| Ok(Arc::new(below.directory(&format!("streams/{number}"))))),
            ..Hooks::default()
        };
        let opened = Store::open_on(Arc::new(disk.clone()), options, hooks, &mut |_| ());
        let (store, committer, report) = opened.map_err(|error| error.to_string())?;
        assert_eq!(report.damages, []);
        let mut lost = 0;
        for number in [1, 2] {
            let recovered = store.open_stream(number, retention).map_err(|error| error.to_string())?;
            assert_eq!(recovered.opened.damages, []);
            lost += recovered.lost;
        }
        let keeper = store.take_keeper().unwrap();
        let given = vec![BTreeMap::new(), BTreeMap::new()];
        Ok(Self { store, committer, keeper, stable, failure, ticket: 0, lost, given })
    }

    /// Appends an entry to the streams with these indices, and to a queue.
    fn append(&mut self, streams: &[usize], body: &[u8]) -> Result<(), Refused> {
        let part = self.ticket.to_le_bytes();
        let group = |stream: &usize| (1 << 63) + *stream as u64 + 1;
        let numbered: Vec<_> = streams.iter().map(|stream| Numbered { group: group(stream), part: &part }).collect();
        let puts = [key(self.ticket)];
        let puts = if self.ticket.is_multiple_of(3) { &puts[..] } else { &[] };
        let (level, room) = (Level::PowerLoss, Room::Reserve);
        let entry = Entry { body, puts, parts: &[], deletes: &[], ends: None, level, room };
        let ids = self.store.append_numbered((0, self.ticket + 1, Urgency::Awaited), &entry, &numbered)?;
        self.ticket += 1;
        for (stream, id) in streams.iter().zip(ids) {
            assert!(self.given[*stream].insert(id, (self.ticket, body.to_vec())).is_none(), "a number was given twice");
        }
        Ok(())
    }

    fn stable(&self) -> u64 {
        self.stable.lock().unwrap().unwrap_or(0)
    }

    /// The messages of a stream.
    fn read(&self, stream: usize) -> BTreeMap<u64, Vec<u8>> {
        let reader = self.store.stream_reader(u32::try_from(stream).unwrap() + 1).unwrap();
        let (mut read, mut from) = (BTreeMap::new(), reader.oldest());
        while from < reader.end() {
            let visit = &mut |message: StreamMessage<'_>| {
                assert!(read.insert(message.sequence, message.body.to_vec()).is_none());
                ControlFlow::Continue(())
            };
            from = reader.read(from, 500, visit).unwrap();
        }
        read
    }

    /// Appends and commits until the power fails or enough is done. Returns whether the power failed.
    fn live(&mut self, messages: usize, random: &mut Random) -> bool {
        for _ in 0..messages {
            let streams: &[usize] = [&[0][..], &[1], &[0, 1], &[1, 0]][random.below(4)];
            let body: Vec<u8> = (0..random.below(300)).map(|_| random.byte(256)).collect();
            if self.append(streams, &body).is_err() {
                break;
            }
            match random.below(9) {
                0..=2 => _ = self.committer.commit(),
                3 | 4 => _ = self.keeper.write(),
                5 => self.keeper.sync(),
                6 if self.ticket > 9 => {
                    let _ = self.store.append(0, self.ticket + 1, &Change::delete(self.ticket - 9).entry());
                    self.ticket += 1;
                }
                _ => {}
            }
        }
        while self.committer.commit() == Progress::Worked {}
        while self.keeper.write() == Progress::Worked {}
        self.failure.lock().unwrap().is_some()
    }
}

/// What a stream has after a crash is what was given before a number, and has all that was stable.
fn check(kept: &BTreeMap<u64, Vec<u8>>, given: &BTreeMap<u64, (u64, Vec<u8>)>, stable: u64) {
    let numbers: Vec<u64> = kept.keys().copied().collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "a gap");
    for (number, body) in kept {
        assert_eq!(given.get(number).map(|(_, body)| body), Some(body), "{number}");
    }
    for (number, (ticket, _)) in given {
        assert!(*ticket > stable || kept.contains_key(number), "{number} was stable and is lost");
    }
}

/// Three runs on one disk, of which the first two end at a step.
fn crash_twice(seed: u64, steps: (u64, u64), loss: Loss) -> bool {
    let mut random = Random(seed);
    let mut disk = SimDisk::new(seed);
    let mut given = vec![BTreeMap::new(), BTreeMap::new()];
    let mut crashed = true;
    for (run, step) in [steps.0, steps.1, u64::MAX].into_iter().enumerate() {
        disk.set_fault(step, Fault::PowerCut);
        if let Ok(mut kept) = Kept::open(&disk, &small()) {
            // The numbers go on behind those that are there.
            for (stream, given) in given.iter_mut().enumerate() {
                let before = kept.read(stream);
                assert!(before.iter().all(|(number, body)| given.get(number).map(|(_, known)| known) == Some(body)));
                *given = before.into_iter().map(|(number, body)| (number, (0, body))).collect();
            }
            kept.given.clone_from(&given);
            let failed = kept.live(60, &mut random);
            if run == 0 {
                crashed = failed;
            }
            given = kept.given.clone();
            let stable = kept.stable();
            if run == 2 {
                assert!(!failed);
                assert_eq!(stable, kept.ticket);
                (0..2).for_each(|stream| check(&kept.read(stream), &given[stream], stable));
            }
            for given in &mut given {
                // What was stable must be found; the rest may be.
                given.values_mut().for_each(|(ticket, _)| *ticket = if *ticket <= stable { 0 } else { u64::MAX });
            }
        }
        disk = disk.restart(seed ^ step, loss);
        let Ok(after) = Kept::open(&disk, &small()) else { panic!("the store does not open after a crash") };
        assert_eq!(after.lost, 0);
        (0..2).for_each(|stream| check(&after.read(stream), &given[stream], 0));
        drop(after);
    }
    crashed
}

#[test]
fn numbers_have_no_gaps_and_nothing_stable_is_lost_after_a_crash_at_every_step() {
    for (seed, loss) in [(1, Loss::Power), (2, Loss::Power), (3, Loss::Process)] {
        let mut random = Random(seed ^ 0xC0FFEE);
        for step in 1.. {
            let second = 1 + random.below(120) as u64;
            if !crash_twice(seed, (step, second), loss) {
                break;
            }
        }
    }
}

#[test]
fn a_message_is_read_when_it_is_stable_and_the_log_forgets_it_when_the_stream_is_synced() {
    let disk = SimDisk::new(1);
    let mut kept = Kept::open(&disk, &Options::default()).unwrap();
    kept.append(&[0, 1], b"one").unwrap();
    kept.append(&[0], b"two").unwrap();
    assert_eq!(kept.keeper.write(), Progress::Idle);
    kept.committer.commit();
    assert_eq!(kept.read(0).len(), 0);
    assert_eq!(kept.keeper.write(), Progress::Worked);
    assert_eq!(kept.read(0), [(1, b"one".to_vec()), (2, b"two".to_vec())].into());
    assert_eq!(kept.read(1), [(1, b"one".to_vec())].into());
    assert_eq!(kept.store.stats().keys, 1 + 3, "the log has what is not synced");
    kept.keeper.sync();
    assert_eq!(kept.store.stats().keys, 1 + 2, "of each stream, the log has the last message, for its number");
    drop(kept);
    let kept = Kept::open(&disk, &Options::default()).unwrap();
    assert_eq!(kept.store.stats().keys, 1 + 2, "so it is after a start");
    assert_eq!(kept.store.trim_stream(1, 2).unwrap(), Some(2));
    assert_eq!(kept.read(0), [(2, b"two".to_vec())].into());
    assert_eq!(kept.store.trim_stream(9, 2).unwrap(), None);
}

#[test]
fn a_number_is_not_given_again_when_the_files_of_a_stream_are_gone() {
    let disk = SimDisk::new(1);
    let options = Options { segment_bytes: 4_096, garbage_share: 0.0, ..Options::default() };
    let mut kept = Kept::open(&disk, &options).unwrap();
    for _ in 0..5 {
        kept.append(&[0], b"x").unwrap();
    }
    kept.committer.commit();
    assert_eq!(kept.keeper.write(), Progress::Worked);
    kept.keeper.sync();
    // The first segments are freed.
    for _ in 0..200 {
        kept.append(&[1], &[b'y'; 200]).unwrap();
        kept.committer.commit();
        kept.keeper.write();
        kept.keeper.sync();
    }
    drop(kept);
    let names = disk.list().unwrap();
    names.iter().filter(|name| name.starts_with("streams/1/")).for_each(|name| disk.remove(name).unwrap());
    let mut kept = Kept::open(&disk, &options).unwrap();
    assert_eq!(kept.lost, 2, "the log has two that are in a queue, too, and the last one");
    assert_eq!(kept.store.stream_reader(1).unwrap().end(), 6);
    kept.append(&[0], b"new").unwrap();
    assert_eq!(kept.given[0].keys().copied().collect::<Vec<_>>(), [6]);
}

/// A copy has the number of a message with it, also where the log has forgotten the message: it would count as garbage again.
#[test]
fn reclaiming_ends_although_copies_have_the_numbers_of_forgotten_messages() {
    for streams in [&[0][..], &[0, 1]] {
        let mut kept = Kept::open(&SimDisk::new(1), &Options { garbage_share: 0.5, ..small() }).unwrap();
        for _ in 0..300 {
            kept.append(streams, &[7; 200]).unwrap();
            kept.committer.commit();
            kept.keeper.write();
            kept.keeper.sync();
        }
        let commits = (0..1_000).take_while(|_| kept.committer.commit() == Progress::Worked).count();
        assert!(commits < 200, "{streams:?}: {commits}");
        let stats = kept.store.stats();
        assert!(stats.bytes < 3 * 100 * 200, "{streams:?}: {} bytes for a hundred messages of 200", stats.bytes);
    }
}

/// The next sync of the streams makes garbage of them, without a copy.
#[test]
fn messages_that_the_log_will_forget_at_the_next_sync_are_not_copied() {
    let mut kept = Kept::open(&SimDisk::new(1), &small()).unwrap();
    let mut appended = 0;
    for _ in 0..100 {
        kept.append(&[0], &[7; 200]).unwrap();
        kept.store.append(0, kept.ticket + 1, &Change::put(1_000_000, &[8; 400]).entry()).unwrap();
        (kept.ticket, appended) = (kept.ticket + 1, appended + 2);
        kept.committer.commit();
        kept.keeper.write();
    }
    assert_eq!(kept.store.stats().entries, appended, "more than half of the log is garbage, and nothing is copied");
    kept.keeper.sync();
    while kept.committer.commit() == Progress::Worked {}
    let stats = kept.store.stats();
    assert!(stats.entries > appended, "those of a queue are copied");
    assert!(stats.bytes < 3 * 50 * 200, "{} bytes for fifty messages of 200", stats.bytes);
}

#[test]
fn an_entry_of_an_unknown_stream_is_refused_and_takes_no_number() {
    let mut kept = Kept::open(&SimDisk::new(1), &Options::default()).unwrap();
    assert_eq!(kept.append(&[0, 7], b"x"), Err(Refused::NoStream));
    kept.append(&[0], b"y").unwrap();
    assert_eq!(kept.given[0].keys().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn messages_that_wait_for_a_full_disk_are_bounded_and_written_when_there_is_room() {
    let disk = SimDisk::new(1);
    let options = Options { pending_bytes_max: 4_000, segment_bytes: 16_384, ..Options::default() };
    let mut kept = Kept::open(&disk, &options).unwrap();
    kept.append(&[0], &[7; 100]).unwrap();
    kept.committer.commit();
    kept.keeper.write();
    disk.set_lacks_files(true);
    disk.set_capacity(disk.used());
    let mut appended = 1;
    while !kept.store.is_congested() {
        kept.append(&[0], &[7; 400]).unwrap();
        appended += 1;
        assert_ne!(kept.committer.commit(), Progress::Failed);
        let _ = kept.keeper.write();
        assert!(appended < 100, "the messages that wait are not bounded");
    }
    assert!(kept.store.is_full(), "publishers are told that there is no room");
    disk.set_capacity(u64::MAX);
    disk.set_lacks_files(false);
    while kept.committer.commit() == Progress::Worked {}
    while kept.keeper.write() == Progress::Worked {}
    assert_eq!((kept.store.is_full(), kept.store.is_congested()), (false, false));
    assert_eq!(kept.read(0).len(), appended);
}

#[test]
fn a_start_on_a_full_disk_writes_what_only_the_log_has_when_there_is_room() {
    let disk = SimDisk::new(1);
    let options = Options { pending_bytes_max: 4_000, segment_bytes: 16_384, ..Options::default() };
    let mut kept = Kept::open(&disk, &options).unwrap();
    for number in 0..20 {
        kept.append(&[0], &[number; 200]).unwrap();
    }
    kept.committer.commit();
    let given = kept.given.clone();
    drop(kept);
    disk.set_capacity(disk.used());
    let mut kept = Kept::open(&disk, &options).unwrap();
    kept.given = given;
    assert!(kept.store.is_full(), "publishers are told that there is no room");
    assert_eq!((kept.lost, kept.keeper.write()), (0, Progress::Blocked));
    kept.append(&[0], b"next").unwrap();
    assert_eq!(kept.given[0].last_key_value().unwrap().0, &21);
    disk.set_capacity(u64::MAX);
    while kept.committer.commit() == Progress::Worked {}
    while kept.keeper.write() == Progress::Worked {}
    assert!(!kept.store.is_full());
    let bodies: BTreeMap<u64, Vec<u8>> =
        kept.given[0].iter().map(|(number, (_, body))| (*number, body.clone())).collect();
    assert_eq!(kept.read(0), bodies);
    kept.keeper.sync();
    drop(kept);
    assert_eq!(Kept::open(&disk, &options).unwrap().read(0), bodies);
}

#[test]
fn at_the_level_crash_the_end_of_a_process_loses_nothing() {
    let options = Options { level: Level::Crash, ..Options::default() };
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut kept = Kept::open(&disk, &options).unwrap();
        assert!(!kept.live(80, &mut Random(seed)));
        let (given, stable) = (kept.given.clone(), kept.stable());
        drop(kept);
        let disk = disk.restart(seed, Loss::Process);
        let mut kept = Kept::open(&disk, &options).unwrap();
        (0..2).for_each(|stream| check(&kept.read(stream), &given[stream], stable));
        let next = kept.read(0).len() as u64 + 1;
        kept.append(&[0], b"next").unwrap();
        assert_eq!(kept.given[0].keys().copied().collect::<Vec<_>>(), [next]);
    }
}

#[test]
fn at_the_level_crash_the_files_of_a_stream_are_synced_from_time_to_time() {
    let disk = SimDisk::new(1);
    let mut kept = Kept::open(&disk, &Options { level: Level::Crash, ..Options::default() }).unwrap();
    let mut synced = Vec::new();
    for second in 0..90 {
        kept.append(&[0], b"x").unwrap();
        kept.committer.commit();
        kept.keeper.write();
        let before = disk.steps();
        kept.keeper.sync();
        assert_eq!(kept.store.stats().keys, 2 + second / 3, "the log forgets all but the last one, and the queue");
        synced.extend((disk.steps() > before).then_some(second));
    }
    assert_eq!(synced, [0, 30, 60]);
}

#[test]
fn while_a_backup_runs_no_message_of_a_stream_is_removed() {
    let mut kept = Kept::open(&SimDisk::new(1), &Options::default()).unwrap();
    for _ in 0..3 {
        kept.append(&[0], b"x").unwrap();
    }
    kept.committer.commit();
    kept.keeper.write();
    kept.store.open_stream(1, Retention { max_messages: Some(1), ..Retention::default() }).unwrap();
    let pin = crate::store::backup::StreamPin::new(Arc::clone(&kept.store.shared.streams));
    kept.keeper.retain(1);
    assert_eq!(kept.store.trim_stream(1, 3).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(kept.read(0).len(), 3);
    drop(pin);
    kept.keeper.retain(1);
    assert_eq!(kept.read(0).keys().copied().collect::<Vec<_>>(), [3]);
    assert_eq!(kept.store.trim_stream(1, 4).unwrap(), Some(4));
}

#[test]
fn the_limits_of_a_stream_apply_before_it_is_read_after_a_start() {
    let disk = SimDisk::new(1);
    let limits = Retention { max_messages: Some(2), ..Retention::default() };
    let mut kept = Kept::open_within(&disk, &Options::default(), limits).unwrap();
    for _ in 0..9 {
        kept.append(&[0, 1], b"x").unwrap();
    }
    kept.committer.commit();
    kept.keeper.write();
    kept.keeper.sync();
    kept.keeper.retain(1);
    drop(kept);
    let kept = Kept::open_within(&disk, &Options::default(), limits).unwrap();
    assert_eq!([0, 1].map(|stream| kept.read(stream).into_keys().collect::<Vec<_>>()), [vec![8, 9], vec![8, 9]]);
    // What only the log has counts, too.
    let mut kept = kept;
    kept.append(&[0], b"x").unwrap();
    kept.committer.commit();
    drop(kept);
    let kept = Kept::open_within(&disk, &Options::default(), limits).unwrap();
    assert_eq!(kept.read(0).into_keys().collect::<Vec<_>>(), [9, 10]);
}

#[test]
fn another_size_of_a_stream_changes_the_size_of_its_next_files() {
    let disk = SimDisk::new(1);
    let options = Options { segment_bytes: 64 << 20, ..Options::default() };
    let limits = |bytes| Retention { max_bytes: Some(bytes), ..Retention::default() };
    let mut kept = Kept::open_within(&disk, &options, limits(1 << 30)).unwrap();
    kept.store.open_stream(1, limits(8 << 20)).unwrap();
    for _ in 0..5 {
        kept.append(&[0], &vec![7; 600 << 10]).unwrap();
        kept.committer.commit();
        kept.keeper.write();
    }
    let names = disk.list().unwrap();
    let files = names.iter().filter(|name| name.starts_with("streams/1/") && name.ends_with(".seg"));
    assert_eq!(files.count(), 5, "each of at most 1 MiB, and not of 64");
}

#[test]
fn a_thread_that_could_not_be_started_is_started_by_the_next_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path(), &Options::default(), Hooks::default(), &mut |_| ()).unwrap();
    let failed = store.start_keeper_with(|_| Err(io::ErrorKind::WouldBlock.into()));
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    store.open_stream(1, Retention::default()).unwrap();
    assert!(store.take_keeper().is_none(), "a thread has it");
    let part = 7_u64.to_le_bytes();
    let numbered = [Numbered { group: (1 << 63) + 1, part: &part }];
    let (level, room) = (Level::PowerLoss, Room::Ordinary);
    let entry = Entry { body: b"x", puts: &[], parts: &[], deletes: &[], ends: None, level, room };
    store.append_numbered((0, 1, Urgency::Awaited), &entry, &numbered).unwrap();
    store.announce(Urgency::Awaited);
    store.close();
    assert_eq!(store.stream_reader(1).unwrap().end(), 2, "it has written what was committed");
}

#[test]
fn a_stream_is_found_by_its_name_and_no_number_of_a_directory_is_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Store::open(directory.path(), &Options::default(), Hooks::default(), &mut |_| ()).unwrap().0;
    let store = open();
    assert_eq!(store.stream_names(&[].into()).unwrap(), []);
    for (number, name) in [(3, Some("orders")), (4, None)] {
        store.open_stream(number, Retention::default()).unwrap();
        name.map(|name| store.name_stream(number, name)).transpose().unwrap();
    }
    drop(store);
    std::fs::create_dir(directory.path().join("streams/x9")).unwrap();
    std::fs::write(directory.path().join("streams/4/name"), "damaged").unwrap();
    let store = open();
    let names = [(3, Some("orders".to_owned())), (4, None)];
    assert_eq!(store.stream_names(&[].into()).unwrap(), names);
    assert_eq!(store.stream_names(&[3].into()).unwrap(), names[1..]);
    store.open_stream(3, Retention::default()).unwrap();
    store.name_stream(3, "orders").unwrap();
    store.name_stream(9, "there is none").unwrap_err();
}

#[test]
fn a_backup_waits_while_a_stream_is_being_opened() {
    let disk = SimDisk::new(1);
    let (tell, told) = std::sync::mpsc::channel();
    let (below, is_first) = (disk.clone(), AtomicBool::new(true));
    let hooks = Hooks {
        stream_disk: Box::new(move |number| {
            if !is_first.swap(false, Ordering::SeqCst) {
                return Err(std::io::Error::other("the directory is locked"));
            }
            tell.send(()).unwrap();
            thread::sleep(std::time::Duration::from_millis(300)); // enough for a backup that does not wait
            Ok(Arc::new(below.directory(&format!("streams/{number}"))))
        }),
        stream_numbers: Box::new(|| Ok(vec![1])),
        ..Hooks::default()
    };
    let (store, _committer, _) = Store::open_on(Arc::new(disk), &Options::default(), hooks, &mut |_| ()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        let opening = scope.spawn(|| store.open_stream(1, Retention::default()).map(|_| ()));
        told.recv().unwrap();
        store.backup(&copy.path().join("copy")).unwrap();
        opening.join().unwrap().unwrap();
    });
    assert!(copy.path().join("copy/streams/1").is_dir());
}

#[test]
fn the_check_of_a_store_reads_the_streams_completely() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path(), &Options::default(), Hooks::default(), &mut |_| ()).unwrap();
    let part = 7_u64.to_le_bytes();
    store.open_stream(1, Retention::default()).unwrap();
    store.name_stream(1, "orders").unwrap();
    let numbered = [Numbered { group: (1 << 63) + 1, part: &part }];
    let (level, room) = (Level::PowerLoss, Room::Ordinary);
    let entry = Entry { body: b"x", puts: &[], parts: &[], deletes: &[], ends: None, level, room };
    store.append_numbered((0, 1, Urgency::Awaited), &entry, &numbered).unwrap();
    store.announce(Urgency::Awaited);
    store.close();
    drop(store);
    let stream = directory.path().join("streams/1");
    let options = StreamOptions { segment_bytes: 4_096, ..StreamOptions::new(1) };
    let (mut log, _) = StreamLog::open_directory(&stream, &options, std::time::Duration::ZERO).unwrap();
    for sequence in 2..30 {
        log.append(&[StreamMessage { sequence, timestamp: 1, body: &[7; 1_000] }]).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let report = check_all(directory.path()).unwrap();
    assert_eq!(report.damages, []);
    let [StreamReport { number: 1, name, oldest: 1, next: 30, .. }] = &report.streams[..] else {
        panic!("{:?}", report.streams)
    };
    assert_eq!(name.as_deref(), Some("orders"));
    let copy = directory.path().join("copy");
    assert_eq!(restore(directory.path(), &copy).unwrap(), report);
    // Its index is valid, so a start would not read it.
    let path = stream.join("0000000002.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_500] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let names: Vec<_> = check_all(directory.path()).unwrap().damages.into_iter().map(|damage| damage.name).collect();
    assert_eq!(names, ["streams/1/0000000002.seg"]);
    assert!(matches!(restore(directory.path(), &directory.path().join("second")), Err(OpenError::Damaged { .. })));
}

/// A store with 60 messages of three first bytes in both streams, whose stream 1 keeps the last message of each first byte.
fn with_key(disk: &SimDisk) -> Kept {
    let mut kept = Kept::open(disk, &small()).unwrap();
    let key: Arc<StreamKey> = Arc::new(|body| body.get(..1).map(std::borrow::Cow::Borrowed));
    kept.store.set_stream_key(1, Some(key));
    for number in 0..60_u8 {
        kept.append(&[0, 1], &[number % 3; 300]).unwrap();
        kept.committer.commit();
        kept.keeper.write();
    }
    kept.keeper.sync();
    kept
}

#[test]
fn a_stream_with_a_key_is_compacted_in_steps_and_not_while_a_backup_runs() {
    let disk = SimDisk::new(1);
    let mut kept = with_key(&disk);
    let pin = crate::store::backup::StreamPin::new(Arc::clone(&kept.store.shared.streams));
    kept.keeper.begin_compaction();
    while kept.keeper.compact() {}
    assert_eq!((kept.read(0).len(), kept.read(1).len()), (60, 60));
    drop(pin);
    // A pass compares with few keys in tests.
    for _ in 0..9 {
        while kept.keeper.compact() {}
        kept.keeper.begin_compaction();
    }
    let keys = kept.read(0);
    assert!(keys.len() < 30, "{}", keys.len());
    assert_eq!(keys.into_iter().rev().take(3).map(|(_, body)| body[0]).collect::<Vec<_>>(), [2, 1, 0]);
    assert_eq!(kept.read(1).len(), 60, "the other stream has no key");
    assert!(!kept.keeper.compact(), "there is nothing to do");
    kept.append(&[0], &[1; 10]).unwrap();
    assert_eq!(kept.given[0].last_key_value().unwrap().0, &61);
}

#[test]
fn a_pass_in_progress_ends_when_the_key_is_taken_away_and_leaves_no_file() {
    let disk = SimDisk::new(1);
    let mut kept = with_key(&disk);
    kept.keeper.begin_compaction();
    assert!(kept.keeper.compact(), "there is more to do");
    kept.store.set_stream_key(1, None);
    while kept.keeper.compact() {}
    assert_eq!(kept.read(0).len(), 60);
    assert_eq!(disk.bytes("streams/1/compacted.new"), None);
}

#[test]
fn no_compaction_begins_while_messages_wait_for_a_full_disk() {
    // A stream can't write, because it needs another file.
    let disk = SimDisk::new(1);
    let mut kept = with_key(&disk);
    for number in 0..20_u8 {
        kept.append(&[1], &[number; 300]).unwrap();
        kept.committer.commit();
    }
    disk.set_lacks_files(true);
    while kept.keeper.write() == Progress::Worked {}
    disk.set_lacks_files(false);
    kept.keeper.begin_compaction();
    assert!(!kept.keeper.compact(), "a compaction takes what the stream needs");
    while kept.keeper.write() == Progress::Worked {}
    kept.keeper.begin_compaction();
    assert!(kept.keeper.compact());
    assert_eq!(kept.read(1).len(), 80);
    // The log has its reserve only.
    let disk = SimDisk::new(1);
    let mut kept = with_key(&disk);
    disk.set_lacks_files(true);
    for _ in 0..100 {
        if !kept.store.is_full() {
            kept.append(&[1], &[7; 300]).unwrap();
            assert_ne!(kept.committer.commit(), Progress::Failed);
        }
    }
    assert!(kept.store.is_full());
    disk.set_lacks_files(false);
    kept.keeper.begin_compaction();
    assert!(!kept.keeper.compact(), "a compaction takes what the log needs");
    kept.committer.commit();
    assert!(!kept.store.is_full());
    kept.keeper.begin_compaction();
    assert!(kept.keeper.compact());
}

#[test]
fn a_compaction_that_fails_on_a_full_disk_leaves_no_file() {
    let disk = SimDisk::new(1);
    let mut kept = with_key(&disk);
    // There is room for the header of the new file.
    disk.set_capacity(disk.used() + 100);
    kept.keeper.begin_compaction();
    while kept.keeper.compact() {}
    assert_eq!(disk.bytes("streams/1/compacted.new"), None, "its space belongs to messages");
    assert_eq!((kept.read(0).len(), kept.failure.lock().unwrap().clone()), (60, None));
}

#[test]
fn a_stream_is_removed_whole_or_not_at_all_by_a_crash_at_every_step() {
    for loss in [Loss::Process, Loss::Power] {
        for step in 0.. {
            let disk = SimDisk::new(step);
            let mut kept = Kept::open(&disk, &small()).unwrap();
            for _ in 0..40 {
                kept.append(&[0, 1], &[7; 200]).unwrap();
            }
            kept.committer.commit();
            kept.keeper.write();
            kept.keeper.sync();
            disk.set_fault(disk.steps() + 1 + step, Fault::PowerCut);
            let removed = kept.store.remove_stream(1);
            let is_complete = disk.create("it is on").is_ok();
            drop(kept);
            let disk = disk.restart(step, loss);
            let options = small();
            let hooks_disk = disk.clone();
            let hooks = Hooks {
                stream_disk: Box::new(move |number| Ok(Arc::new(hooks_disk.directory(&format!("streams/{number}"))))),
                stream_numbers: Box::new(|| Ok(vec![1, 2])),
                ..Hooks::default()
            };
            let (store, ..) = Store::open_on(Arc::new(disk.clone()), &options, hooks, &mut |_| ()).unwrap();
            if store.is_stream_removed(1).unwrap() {
                store.stream_names(&[2].into()).unwrap();
                let left: Vec<String> =
                    disk.list().unwrap().into_iter().filter(|name| name.starts_with("streams/1/")).collect();
                assert_eq!(left, ["streams/1/removed"], "step {step}");
            } else {
                assert!(removed.is_err(), "step {step}: it is back");
                store.open_stream(1, Retention::default()).unwrap();
                let reader = store.stream_reader(1).unwrap();
                assert_eq!((reader.oldest(), reader.end()), (1, 41), "step {step}: a part of it is gone");
            }
            store.open_stream(2, Retention::default()).unwrap();
            assert_eq!(store.stream_reader(2).unwrap().end(), 41);
            if is_complete {
                break;
            }
        }
    }
}

#[test]
fn a_removed_stream_has_no_reader_takes_nothing_and_stays_while_a_backup_runs() {
    let mut kept = Kept::open(&SimDisk::new(1), &Options::default()).unwrap();
    kept.append(&[0, 1], b"one").unwrap();
    kept.committer.commit();
    kept.keeper.write();
    let reader = kept.store.stream_reader(1).unwrap();
    let pin = crate::store::backup::StreamPin::new(Arc::clone(&kept.store.shared.streams));
    assert_eq!(kept.store.remove_stream(1).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(kept.read(0).len(), 1);
    drop(pin);
    kept.store.remove_stream(1).unwrap();
    assert!(kept.store.stream_reader(1).is_none() && kept.store.is_stream_removed(1).unwrap());
    assert_eq!(reader.oldest(), 1, "who reads still gets what is open, or an error");
    // A message that was on its way is not kept.
    kept.append(&[0], b"late").unwrap();
    kept.committer.commit();
    assert_eq!((kept.keeper.write(), kept.keeper.write()), (Progress::Worked, Progress::Idle));
    kept.keeper.sync();
    assert_eq!(kept.store.stats().keys, 1 + 1, "the queue, and the last message of the other stream");
    assert_eq!(kept.store.trim_stream(1, 1).unwrap(), None);
}
