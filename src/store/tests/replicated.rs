//! The owner of a replicated log.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

/// A batch as it was shipped: its first sequence, the number of its entries, and its bytes.
pub(super) type Shipped = (u64, u32, Vec<u8>);

/// What owners have shipped.
#[derive(Clone, Default)]
pub(super) struct Tail(pub(super) Arc<Mutex<Vec<Shipped>>>);

impl Replica for Tail {
    fn ship(&mut self, first: u64, entries: u32, batch: &[u8]) {
        self.0.lock().unwrap().push((first, entries, batch.to_vec()));
    }
}

impl Tail {
    /// The sequence behind the first `batches` batches.
    pub(super) fn end(&self, batches: usize) -> u64 {
        self.0.lock().unwrap()[..batches].last().map_or(1, |(first, entries, _)| first + u64::from(*entries))
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(super) fn get(&self, at: usize) -> Shipped {
        self.0.lock().unwrap()[at].clone()
    }
}

/// A store that owns a replicated log on a simulated disk.
pub(super) struct Owner {
    pub(super) store: Store,
    pub(super) committer: Committer,
    pub(super) stable: Arc<Mutex<u64>>,
    pub(super) recovered: Model,
    pub(super) ticket: u64,
}

pub(super) fn mark(sequence: u64) -> Mark {
    Mark { sequence, state: sequence.to_le_bytes().to_vec() }
}

pub(super) fn own(disk: &SimDisk, options: &Options, mark: Mark, tail: &Tail) -> Result<Owner, OpenError> {
    let stable = Arc::new(Mutex::new(0));
    let told = Arc::clone(&stable);
    let hooks = Hooks {
        on_stable: Box::new(move |_, ticket| {
            let before = std::mem::replace(&mut *told.lock().unwrap(), ticket);
            assert!(before < ticket, "reported in order");
        }),
        replication: Some(Replication { replica: Box::new(tail.clone()), mark }),
        ..Hooks::default()
    };
    let mut recovered = Model::new();
    let (store, committer, _) =
        Store::open_on(Arc::new(disk.clone()), options, hooks, &mut |entry| apply(&entry, &mut recovered))?;
    Ok(Owner { store, committer, stable, recovered, ticket: 0 })
}

impl Owner {
    pub(super) fn append(&mut self, change: &Change) -> Result<(), Refused> {
        self.store.append(0, self.ticket + 1, &change.entry())?;
        self.ticket += 1;
        Ok(())
    }

    fn put(&mut self, id: u64, bytes: usize) {
        self.append(&Change::put(id, &vec![7; bytes])).unwrap();
        assert_eq!(self.committer.commit(), Progress::Worked);
    }

    pub(super) fn stable(&self) -> u64 {
        *self.stable.lock().unwrap()
    }
}

#[test]
fn an_entry_is_reported_when_the_disk_and_a_majority_have_it_and_all_before_it() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
    for id in 1..=3 {
        owner.put(id, 100);
    }
    assert_eq!((owner.stable(), owner.store.stable(), tail.len()), (0, 1, 3));
    assert!(owner.store.timing().pending_bytes > 300);
    owner.store.replicated(2);
    assert_eq!((owner.stable(), owner.store.stable()), (1, 2));
    owner.store.replicated(4);
    owner.store.replicated(3);
    assert_eq!((owner.stable(), owner.store.stable()), (3, 4));
    assert_eq!((owner.store.timing().pending_bytes, owner.store.timing().lag), (0, Duration::ZERO));
    // The majority is faster than the disk.
    owner.append(&Change::put(4, b"x")).unwrap();
    owner.store.replicated(5);
    assert_eq!((owner.stable(), owner.store.stable()), (3, 4));
    owner.committer.commit();
    assert_eq!((owner.stable(), owner.store.stable()), (4, 5));
}

#[test]
fn a_batch_is_shipped_before_it_is_written_and_once() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    disk.set_capacity(60_000);
    let options = Options { segment_bytes: 8192, ..small() };
    let mut owner = own(&disk, &options, mark(1), &tail).unwrap();
    // No file descriptor is left, and the reserve is used: the commit waits.
    disk.set_lacks_files(true);
    let mut id = 0;
    loop {
        id += 1;
        if owner.append(&Change::put(id, &[7; 900])).is_err() {
            owner.append(&Change::delete(1)).unwrap();
        }
        if owner.committer.commit() == Progress::Blocked {
            break;
        }
        owner.store.replicated(tail.end(tail.len()));
        assert!(id < 1000);
    }
    let shipped = tail.len();
    assert_eq!(tail.end(shipped), owner.ticket + 1, "the blocked commit is under way to others");
    assert_eq!(owner.committer.commit(), Progress::Blocked);
    owner.store.replicated(owner.ticket + 1);
    assert_eq!(owner.stable(), owner.ticket - 1);
    disk.set_lacks_files(false);
    assert_eq!(owner.committer.commit(), Progress::Worked);
    assert_eq!((tail.len(), owner.stable()), (shipped, owner.ticket));
}

#[test]
fn the_bytes_that_wait_for_a_majority_are_bounded() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let options = Options { pending_bytes_max: 2000, ..Options::default() };
    let mut owner = own(&disk, &options, mark(1), &tail).unwrap();
    let mut ended = None;
    for id in 1..20 {
        owner.append(&Change::put(id, &[7; 500])).unwrap();
        if owner.committer.commit() == Progress::Blocked {
            ended = Some(id);
            break;
        }
    }
    let blocked = ended.unwrap();
    assert!((4..6).contains(&blocked), "{blocked}");
    assert_eq!(u64::try_from(tail.len()).unwrap(), blocked - 1, "nothing more is shipped");
    assert!(owner.store.is_congested());
    owner.store.replicated(3);
    assert_eq!(owner.committer.commit(), Progress::Worked);
    owner.store.replicated(blocked + 1);
    assert!(!owner.store.is_congested());
    assert_eq!(owner.stable(), blocked);
}

#[test]
fn tickets_that_nothing_waits_for_are_reported_when_a_majority_has_all() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let hooks = Hooks {
        on_stable: Box::new(move |source, ticket| tell.lock().unwrap().push((source, ticket))),
        replication: Some(Replication { replica: Box::new(tail), mark: mark(1) }),
        ..Hooks::default()
    };
    let (store, mut committer, _) = Store::open_on(Arc::new(disk), &small(), hooks, &mut |_| ()).unwrap();
    let append = |source, ticket, urgency| {
        store.append_unannounced(source, ticket, urgency, &Change::put(ticket, b"x").entry()).unwrap();
    };
    append(0, 1, Urgency::Unawaited);
    append(1, 1, Urgency::Awaited);
    committer.commit();
    append(0, 2, Urgency::Unawaited);
    append(1, 2, Urgency::Awaited);
    committer.commit();
    store.replicated(3);
    assert_eq!(*told.lock().unwrap(), [(1, 1)]);
    store.replicated(5);
    assert_eq!(*told.lock().unwrap(), [(1, 1), (1, 2), (0, 2)]);
}

#[test]
fn a_fenced_store_reports_accepts_and_marks_nothing() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
    owner.put(1, 100);
    owner.put(2, 100);
    owner.store.replicated(2);
    let snapshot = owner.store.snapshot().unwrap();
    assert!(snapshot.read(1, 0, 64).is_ok());
    owner.store.fence("another node is the owner");
    owner.store.replicated(3);
    assert_eq!(owner.stable(), 1);
    assert_eq!(owner.append(&Change::put(3, b"x")), Err(Refused::Failed));
    assert_eq!(owner.committer.commit(), Progress::Failed);
    assert_eq!(owner.store.write_mark(&mark(2)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(owner.store.poisoned().as_deref(), Some("another node is the owner"));
    assert_eq!(snapshot.read(1, 0, 64).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_failed_store_reports_what_its_disk_has_and_nothing_more() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let mut owner = own(&disk, &Options::default(), mark(1), &tail).unwrap();
    owner.put(1, 100);
    disk.set_fault(disk.steps() + 2, Fault::Error(io::ErrorKind::Other));
    owner.append(&Change::put(2, b"fails")).unwrap();
    assert_eq!((owner.committer.commit(), tail.len()), (Progress::Failed, 2));
    owner.store.replicated(3);
    assert_eq!((owner.stable(), owner.store.stable()), (1, 2));
    assert!(!owner.store.write_mark(&mark(3)).unwrap());
    assert!(owner.store.write_mark(&mark(2)).unwrap());
}

#[test]
fn a_mark_is_written_when_the_disk_and_a_majority_have_the_log_below_it() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
    owner.append(&Change { level: Level::Crash, ..Change::put(1, b"not synced on a single node") }).unwrap();
    assert!(!owner.store.write_mark(&mark(2)).unwrap());
    owner.committer.commit();
    assert!(!owner.store.write_mark(&mark(2)).unwrap());
    owner.store.replicated(2);
    assert!(owner.store.write_mark(&mark(2)).unwrap());
    assert!(owner.store.write_mark(&mark(1)).is_err(), "back");
    for seed in 0..20 {
        let follower = Follower::open_on(Arc::new(disk.restart(seed, Loss::Power)), &small(), &|_, _| ()).unwrap();
        assert_eq!((follower.mark(), follower.sequence()), (Some(&mark(2)), 2));
    }
}

#[test]
fn a_segment_is_freed_when_the_log_is_never_cut_below_what_replaced_its_entries() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
    for id in 0..60 {
        owner.append(&Change { deletes: vec![key(id)], ..Change::put(id + 1, &[1; 300]) }).unwrap();
        owner.committer.commit();
        let end = owner.ticket + 1;
        owner.store.replicated(tail.end(tail.len()));
        assert!(end > 0 && disk.bytes("0000000001.seg").is_some());
    }
    let (first, end) = (tail.end(tail.len()), owner.store.stats().segments);
    assert!(end > 4);
    owner.store.write_mark(&mark(first)).unwrap();
    while owner.committer.commit() == Progress::Worked {}
    assert!(disk.bytes("0000000001.seg").is_some(), "one of the two slots has an older mark");
    owner.store.write_mark(&mark(first)).unwrap();
    while owner.committer.commit() == Progress::Worked {}
    assert!(disk.bytes("0000000001.seg").is_none());
    assert!(owner.store.stats().segments < 3, "{:?}", owner.store.stats());
}

#[test]
fn a_store_that_is_not_replicated_forgets_the_mark() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
    owner.put(1, 10);
    drop(owner);
    let mut run = Run::open(&disk, &small());
    run.append(&Change::put(2, b"alone")).unwrap();
    run.commit();
    assert!(run.store.snapshot().is_err() && run.store.write_mark(&mark(2)).is_err());
    drop(run);
    let follower = Follower::open_on(Arc::new(disk.restart(1, Loss::Power)), &small(), &|_, _| ()).unwrap();
    assert_eq!((follower.mark(), follower.sequence()), (None, 3), "nothing was cut");
}

#[test]
fn an_owner_refuses_a_log_that_does_not_end_at_its_mark_and_other_levels() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    for sequence in [0, 2] {
        let refused = own(&disk, &small(), mark(sequence), &tail).map(|_| ());
        assert!(matches!(refused, Err(OpenError::OffMark { log: 1, .. })));
    }
    for level in [Level::Crash, Level::None] {
        assert!(own(&disk, &Options { level, ..small() }, mark(1), &tail).is_err());
    }
}

/// With threads and files.
fn open_in(directory: &Path, told: std::sync::mpsc::Sender<u64>, tail: &Tail) -> Store {
    let hooks = Hooks {
        on_stable: Box::new(move |_, ticket| _ = told.send(ticket)),
        replication: Some(Replication { replica: Box::new(tail.clone()), mark: mark(1) }),
        ..Hooks::default()
    };
    Store::open(directory, &Options::default(), hooks, &mut |_| ()).unwrap().0
}

/// The same with an entry that was shipped, and is not replicated.
fn with_one_shipped(directory: &Path) -> (Store, std::sync::mpsc::Receiver<u64>) {
    let (tell, told) = channel();
    let tail = Tail::default();
    let store = open_in(directory, tell, &tail);
    store.append(0, 1, &Change::put(1, b"x").entry()).unwrap();
    while tail.len() == 0 {
        thread::yield_now();
    }
    (store, told)
}

#[test]
fn closing_waits_for_a_majority() {
    let directory = tempfile::tempdir().unwrap();
    let (tell, told) = channel();
    let tail = Tail::default();
    let store = open_in(directory.path(), tell, &tail);
    store.append(0, 1, &Change::put(1, b"x").entry()).unwrap();
    store.begin_close();
    while tail.len() == 0 {
        thread::yield_now();
    }
    assert!(!store.has_ended() && told.try_recv().is_err());
    store.replicated(2);
    store.close();
    assert_eq!(told.try_recv(), Ok(1));
}

#[test]
fn a_fence_ends_the_threads_and_frees_the_directory_also_of_a_store_that_is_being_closed() {
    for closes in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (store, told) = with_one_shipped(directory.path());
        let options = Options { lock_patience: Duration::from_secs(60), ..Options::default() };
        let alone = Follower::open(directory.path(), &Options::default(), |_, _| None, &|_, _| ()).map(|_| ());
        assert!(matches!(alone, Err(OpenError::Locked { .. })));
        thread::scope(|scope| {
            if closes {
                scope.spawn(|| store.close());
            }
            store.fence("another node is the owner");
        });
        let follower = Follower::open(directory.path(), &options, |_, _| None, &|_, _| ()).unwrap();
        assert_eq!((follower.sequence(), told.try_recv().is_err()), (1, true), "cut to the mark");
        drop(store);
        follower.close();
    }
}

#[test]
fn the_end_of_a_store_of_which_nobody_replicates_anything_does_not_wait() {
    let directory = tempfile::tempdir().unwrap();
    let (store, told) = with_one_shipped(directory.path());
    let end = thread::spawn(move || drop(store));
    let is_over = (0..6_000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        end.is_finished()
    });
    assert!(is_over && told.try_recv().is_err());
}

#[test]
fn many_threads_append_while_another_one_replicates() {
    let directory = tempfile::tempdir().unwrap();
    let (tell, told) = channel();
    let tail = Tail::default();
    let store = open_in(directory.path(), tell, &tail);
    let (store, tail) = (&store, &tail);
    thread::scope(|scope| {
        scope.spawn(move || {
            for ticket in 1..=400 {
                store.append(0, ticket, &Change::put(ticket, &[7; 100]).entry()).unwrap();
            }
        });
        scope.spawn(move || {
            while store.stable() < 401 {
                let end = tail.end(tail.len());
                store.replicated(end);
                let stable = store.stable();
                assert!(store.write_mark(&mark(stable)).unwrap());
            }
        });
        let mut last = 0;
        while last < 400 {
            let ticket = told.recv().unwrap();
            assert!(ticket > last && store.stable() > ticket);
            last = ticket;
        }
    });
    store.close();
    let check = check(directory.path(), &mut |_| ());
    assert!(matches!(check, Err(OpenError::Locked { .. })));
}

#[test]
fn dense_commits_are_shipped_two_milliseconds_apart() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let Owner { store, committer, .. } = own(&disk, &Options::default(), mark(1), &tail).unwrap();
    let committing = thread::spawn(move || committer.run());
    let begun = super::timing::now();
    for ticket in 1..=3_000 {
        store.append(0, ticket, &Change::put(ticket, b"x").entry()).unwrap();
        thread::sleep(Duration::from_micros(100));
    }
    let (shipped, took) = (tail.len(), begun.elapsed());
    store.fence("the test ends");
    drop(store);
    committing.join().unwrap();
    // The first ones do not wait, nor those after a pause of the machine.
    let most = took.as_millis() / 2 + 50;
    assert!((10..=most).contains(&(shipped as u128)), "{shipped} in {took:?}");
}

#[test]
fn what_comes_while_a_commit_is_under_way_is_in_the_next_one() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let Owner { store, committer, .. } = own(&disk, &Options::default(), mark(1), &tail).unwrap();
    let committing = thread::spawn(move || committer.run());
    let mut entries = 0;
    let mut put = |count| {
        for ticket in entries + 1..=entries + count {
            store.append(0, ticket, &Change::put(ticket, b"x").entry()).unwrap();
        }
        entries += count;
        entries + 1
    };
    let wait_for = |end| {
        while tail.end(tail.len()) < end {
            thread::yield_now();
        }
    };
    wait_for(put(1));
    let mut waited = 0;
    for _ in 0..40 {
        let shipped = tail.len();
        let end = put(10);
        thread::sleep(Duration::from_millis(3));
        let waits = tail.len() == shipped;
        waited += usize::from(waits);
        store.replicated(tail.end(shipped));
        wait_for(end);
        assert!(!waits || tail.get(shipped).1 == 10);
    }
    store.fence("the test ends");
    drop(store);
    committing.join().unwrap();
    // A machine that pauses lets a commit begin before the one before it is replicated.
    assert!(waited >= 5, "{waited}");
}

#[test]
fn a_commit_that_is_not_replicated_for_long_holds_up_no_other() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let Owner { store, committer, .. } = own(&disk, &Options::default(), mark(1), &tail).unwrap();
    let committing = thread::spawn(move || committer.run());
    for commit in 1..=20 {
        store.append(0, commit, &Change::put(commit, b"x").entry()).unwrap();
        while tail.end(tail.len()) <= commit {
            thread::yield_now();
        }
    }
    store.fence("the test ends");
    drop(store);
    committing.join().unwrap();
}
