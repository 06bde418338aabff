use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::*;

fn open(directory: &Path, options: &Options) -> (Store, Receiver<(usize, u64)>, Model) {
    let (tell, told) = mpsc::channel();
    let hooks = Hooks {
        on_stable: Box::new(move |source, ticket| {
            let _ = tell.send((source, ticket));
        }),
        on_failure: Arc::new(|error| panic!("{error}")),
        ..Hooks::default()
    };
    let mut recovered = Model::new();
    let (store, report) = Store::open(directory, options, hooks, &mut |entry| apply(&entry, &mut recovered)).unwrap();
    assert_eq!(report.damages, []);
    (store, told, recovered)
}

#[test]
fn what_is_appended_right_before_the_end_is_recovered() {
    let options = Options { level: Level::Crash, segment_bytes: 1 << 12, ..Options::default() };
    for round in 0..400 {
        let directory = tempfile::tempdir().unwrap();
        let (store, _told, _) = open(directory.path(), &options);
        store.append(0, 1, &Change::put(1, b"last").entry()).unwrap();
        drop(store);
        let report = check(directory.path(), &mut |_| ()).unwrap();
        assert_eq!(report.keys, 1, "round {round}");
    }
}

#[test]
fn entries_of_several_threads_are_recovered_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (store, told, _) = open(directory.path(), &Options { segment_bytes: 1 << 16, ..Options::default() });
    thread::scope(|scope| {
        for source in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for ticket in 1..=500 {
                    let puts = [Key { group: source as u64, kind: 0, id: ticket }];
                    let deletes = ticket.checked_sub(100).map(|id| Key { group: source as u64, kind: 0, id });
                    let entry = Entry {
                        body: &[7; 200],
                        puts: &puts,
                        parts: &[],
                        deletes: deletes.as_slice(),
                        ends: None,
                        level: Level::PowerLoss,
                        room: Room::Ordinary,
                    };
                    store.append(source, ticket, &entry).unwrap();
                }
            });
        }
    });
    let mut highest = [0; 4];
    while highest != [500; 4] {
        let (source, ticket) = told.recv().unwrap();
        assert!(highest[source] < ticket);
        highest[source] = ticket;
    }
    assert_eq!(store.stats().keys, 400);
    let puts = [Key { group: 9, kind: 0, id: 9 }];
    store
        .append(
            0,
            501,
            &Entry {
                body: b"last",
                puts: &puts,
                parts: &[],
                deletes: &[],
                ends: None,
                level: Level::PowerLoss,
                room: Room::Ordinary,
            },
        )
        .unwrap();
    store.close();
    assert_eq!(told.recv(), Ok((0, 501)));
    assert_eq!(store.append(0, 502, &Change::delete(1).entry()), Err(Refused::Closed));
    drop(store);
    let (store, _, recovered) = open(directory.path(), &Options::default());
    assert_eq!(recovered.len(), 401);
    for (key, body) in &recovered {
        assert_eq!(store.read(*key).unwrap().as_deref(), Some(&body[..]));
    }
}

#[test]
fn unawaited_entries_share_a_commit_and_do_not_delay_others() {
    let directory = tempfile::tempdir().unwrap();
    let (store, told, _) = open(directory.path(), &Options::default());
    let append_unawaited = |ticket| {
        store.append_unannounced(0, ticket, Urgency::Unawaited, &Change::put(ticket, b"x").entry()).unwrap();
        store.announce(Urgency::Unawaited);
    };
    for ticket in 1..=40 {
        append_unawaited(ticket);
        thread::sleep(Duration::from_millis(1));
    }
    while told.recv().unwrap().1 < 40 {}
    assert!(store.stats().commits < 20, "{:?}", store.stats());
    let mut late = 0;
    for ticket in (42..=120).step_by(2) {
        append_unawaited(ticket - 1);
        store.append(0, ticket, &Change::put(ticket, b"x").entry()).unwrap();
        if told.recv_timeout(pending::UNAWAITED_DELAY / 2).is_err() {
            late += 1;
            while told.recv().unwrap().1 < ticket {}
        }
    }
    assert!(late < 10, "awaited entries are delayed");
    append_unawaited(121);
    store.close();
    assert_eq!(told.iter().map(|(_, ticket)| ticket).max(), Some(121));
}

#[test]
fn a_source_without_awaited_entries_is_told_seldom_but_soon() {
    let directory = tempfile::tempdir().unwrap();
    let (store, told, _) = open(directory.path(), &Options::default());
    let mut reports = 0;
    for ticket in 1..=64 {
        let change = Change::put(ticket, b"x");
        store.append_unannounced(1, ticket, Urgency::Unawaited, &change.entry()).unwrap();
        store.append(0, ticket, &change.entry()).unwrap();
        while let (1, _) = told.recv().unwrap() {
            reports += 1;
        }
    }
    assert!((2..32).contains(&reports), "{reports} reports for {:?}", store.stats());
    store.append_unannounced(1, 65, Urgency::Unawaited, &Change::put(65, b"x").entry()).unwrap();
    store.append(0, 65, &Change::put(66, b"x").entry()).unwrap();
    while told.recv_timeout(Duration::from_secs(10)).unwrap() != (1, 65) {}
}

#[test]
fn two_processes_cannot_open_one_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (store, ..) = open(directory.path(), &Options::default());
    let hooks = Hooks::default();
    let error = Store::open(directory.path(), &Options::default(), hooks, &mut |_| ()).err().unwrap();
    assert!(error.to_string().ends_with(&format!("is in use by process {}", std::process::id())), "{error}");
    assert!(matches!(check(directory.path(), &mut |_| ()), Err(OpenError::Locked { .. })));
    drop(store);
    open(directory.path(), &Options::default());
}

#[test]
fn a_backup_of_a_running_store_is_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 8192, garbage_share: 0.2, ..Options::default() };
    let (store, told, _) = open(directory.path(), &options);
    let mut ticket = 0u64;
    for round in 0..5 {
        for _ in 0..200 {
            ticket += 1;
            let change = Change { deletes: vec![key(ticket.wrapping_sub(50))], ..Change::put(ticket, &[1; 100]) };
            store.append(0, ticket, &change.entry()).unwrap();
        }
        let stable = told.recv().unwrap().1;
        let copy = copies.path().join(round.to_string());
        store.backup(&copy).unwrap();
        let mut copied = Model::new();
        let report = check(&copy, &mut |entry| apply(&entry, &mut copied)).unwrap();
        assert_eq!((&report.damages[..], report.cut_bytes), (&[][..], 0));
        let newest = copied.keys().map(|key| key.id).max().unwrap();
        assert!(newest >= stable);
        let expected: Vec<_> = (newest.saturating_sub(49).max(1)..=newest).collect();
        assert_eq!(copied.keys().map(|key| key.id).collect::<Vec<_>>(), expected);

        assert!(matches!(store.backup(&copy), Err(OpenError::NotEmpty { .. })));
        let restored = copies.path().join(format!("{round}-restored"));
        assert_eq!(restore(&copy, &restored).unwrap(), report);
        assert_eq!(open(&restored, &options).2, copied);
    }
}

#[test]
fn checking_a_directory_does_not_create_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    assert!(matches!(check(&missing, &mut |_| ()), Err(OpenError::NoStore { .. })));
    assert!(matches!(restore(&missing, &directory.path().join("to")), Err(OpenError::NoStore { .. })));
    assert!(!missing.exists());
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(matches!(check(&empty, &mut |_| ()), Err(OpenError::NoStore { .. })));
    assert!(matches!(restore(&empty, &directory.path().join("to")), Err(OpenError::NoStore { .. })));
}

#[test]
fn no_segment_is_freed_during_a_backup() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    for id in 0..100 {
        run.append(&Change::put(id, &[1; 200])).unwrap();
        run.commit();
    }
    let segments = run.store.stats().segments;
    let shared = Arc::clone(&run.store.shared);
    let (hold, held) = backup::SegmentPin::new(&shared);
    assert_eq!(held.len(), segments);
    run.append(&Change { ends: Some(1), ..Change::default() }).unwrap();
    run.commit_all();
    assert_eq!(run.store.stats().segments, segments);
    drop(hold);
    run.commit_all();
    assert_eq!(run.store.stats().segments, 1);
}
