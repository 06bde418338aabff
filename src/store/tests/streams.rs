//! Messages with numbers: without gaps, in the order of the log, through crashes at every step.

use std::ops::ControlFlow;

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
            let recovered = store.open_stream(number, Retention::default()).map_err(|error| error.to_string())?;
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
