use super::*;

/// Puts until the disk is full, and returns the stable state.
fn fill(run: &mut Run) -> Model {
    let mut model = Model::new();
    for id in 0.. {
        let change = Change::put(id, &[7; 300]);
        match run.append(&change) {
            Ok(()) => change.apply(&mut model),
            Err(refused) => {
                assert_eq!(refused, Refused::Full);
                break;
            }
        }
        assert_ne!(run.commit(), Progress::Failed, "{:?}", run.failure());
    }
    model
}

fn options() -> Options {
    Options { segment_bytes: 8192, ..small() }
}

#[test]
fn on_a_full_disk_nothing_acknowledged_is_lost_and_the_store_drains() {
    for capacity in (60_000..64_000).step_by(171) {
        let disk = SimDisk::new(capacity);
        disk.set_capacity(capacity);
        let mut run = Run::open(&disk, &options());
        let mut model = fill(&mut run);
        assert!(model.len() > 50 && run.store.stats().is_full);
        assert_eq!(run.stable(), model.len() as u64);

        // An entry that completes a stored operation is accepted, even with a small put.
        let released = Change::put(1000, b"");
        run.append_entry(&Entry { room: Room::Reserve, ..released.entry() }).unwrap();
        released.apply(&mut model);
        for id in 0..40 {
            let change = Change::delete(id);
            change.apply(&mut model);
            run.append(&change).unwrap();
            assert_ne!(run.commit(), Progress::Failed, "{:?}", run.failure());
        }
        run.commit_all();
        assert!(!run.store.stats().is_full);
        run.append(&Change::put(2000, b"goes on")).unwrap();
        Change::put(2000, b"goes on").apply(&mut model);
        run.commit_all();
        run.assert_holds(&model);

        let run = Run::open(&disk.restart(1, Loss::Power), &options());
        assert_eq!((run.recovered, run.report.damages.len()), (model, 0), "capacity {capacity}");
    }
}

#[test]
fn that_the_disk_is_full_is_known_before_anything_is_stable_in_the_reserve() {
    let disk = SimDisk::new(1);
    disk.set_capacity(60_000);
    let store = Arc::new(Mutex::new(None::<Store>));
    let (asked, was_full) = (Arc::clone(&store), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::clone(&was_full);
    let hooks = Hooks {
        on_stable: Box::new(move |_, _| {
            told.lock().unwrap().extend(asked.lock().unwrap().as_ref().map(Store::is_full))
        }),
        ..Hooks::default()
    };
    let disk = Arc::new(disk);
    let (opened, mut committer, _) = Store::open_on(disk, &options(), hooks, &mut |_| ()).unwrap();
    *store.lock().unwrap() = Some(opened);
    for id in 0.. {
        let change = Change::put(id, &[7; 300]);
        let taken = store.lock().unwrap().as_ref().unwrap().append(0, id, &change.entry());
        if taken.is_err() {
            break;
        }
        assert_ne!(committer.commit(), Progress::Failed);
    }
    assert_eq!(was_full.lock().unwrap().last(), Some(&true), "with the first commit in the reserve");
}

#[test]
fn a_store_on_a_full_disk_opens_and_drains() {
    let disk = SimDisk::new(1);
    disk.set_capacity(60_000);
    let model = fill(&mut Run::open(&disk, &options()));
    let disk = disk.restart(1, Loss::Power);
    disk.set_capacity(disk.used() + 100);
    let mut run = Run::open(&disk, &options());
    assert_eq!(run.recovered, model);
    for id in 0..60 {
        run.append(&Change::delete(id)).unwrap();
        assert_ne!(run.commit(), Progress::Failed, "{:?}", run.failure());
    }
    run.commit_all();
    assert!(!run.store.stats().is_full);
    run.append(&Change::put(1, b"goes on")).unwrap();
}

#[test]
fn the_store_retries_when_disk_space_becomes_available() {
    let disk = SimDisk::new(1);
    disk.set_capacity(60_000);
    let mut run = Run::open(&disk, &options());
    fill(&mut run);
    disk.set_capacity(u64::MAX);
    run.commit();
    assert!(!run.store.stats().is_full);
    run.append(&Change::put(1, b"goes on")).unwrap();
}

#[test]
fn if_the_reserve_is_full_too_nothing_is_acknowledged() {
    let disk = SimDisk::new(1);
    disk.set_capacity(60_000);
    let mut run = Run::open(&disk, &options());
    let mut model = fill(&mut run);
    for id in 1000.. {
        let change = Change::put(id, &[7; 300]);
        run.append_entry(&Entry { room: Room::Reserve, ..change.entry() }).unwrap();
        if run.commit() == Progress::Failed {
            break;
        }
        change.apply(&mut model);
    }
    assert!(run.store.poisoned().is_some());
    let run = Run::open(&disk.restart(1, Loss::Power), &options());
    assert!(model.iter().all(|(key, body)| run.recovered.get(key) == Some(body)));
}

#[test]
fn a_disk_that_fills_up_at_any_step_loses_no_accepted_entry() {
    let mut went_on = 0;
    for (seed, step) in (0..4).flat_map(|seed| (10..150).map(move |step| (seed, step))) {
        let mut random = Random(step ^ 0xF00D);
        let disk = SimDisk::new(step);
        disk.set_fault(step, Fault::Error(io::ErrorKind::StorageFull));
        let mut run = Run::open(&disk, &small());
        let mut states = vec![Model::new()];
        for _ in 0..90 {
            let change = Change::random(&mut random);
            if run.append(&change).is_ok() {
                let mut state = states.last().unwrap().clone();
                change.apply(&mut state);
                states.push(state);
            }
            // Some commits have several batches, some several segments.
            if random.below([4, 9, 40, 60][seed]) == 0 && run.commit() == Progress::Failed {
                break;
            }
        }
        run.commit_all();
        let (stable, failure) = (run.stable(), run.failure());
        if failure.is_none() {
            assert_eq!(stable, run.ticket);
            run.assert_holds(states.last().unwrap());
            went_on += 1;
        }
        for loss in [Loss::Process, Loss::Power] {
            let run = Run::open(&disk.restart(step, loss), &small());
            let stable = usize::try_from(stable).unwrap();
            assert!(states[stable..].contains(&run.recovered), "seed {seed}, step {step}, {failure:?}");
            assert_eq!(run.report.damages, [], "seed {seed}, step {step}");
        }
    }
    // The other runs failed while syncing the names.
    assert!(went_on > 450, "{went_on} of 560");
}

#[test]
fn incomplete_writes_of_a_full_disk_are_not_read_as_the_log() {
    // A commit of three batches: the second doesn't fit, so all are written again in the next segment.
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    run.append(&Change::put(0, b"stable")).unwrap();
    run.commit();
    for id in 1..4 {
        run.append(&Change::put(id, &[1; 900])).unwrap();
    }
    disk.set_fault(disk.steps() + 2, Fault::Error(io::ErrorKind::StorageFull));
    run.commit();
    assert_eq!((run.stable(), run.store.stats().segments), (4, 2));
    drop(run);
    let mut ids = Vec::new();
    let report = recovery::scan(&disk, &|_, _| (), &mut |entry| ids.push(entry.puts[0].id)).unwrap().report;
    assert_eq!((ids, report.entries, report.damages.len()), (vec![0, 1, 2, 3], 4, 0));
}

/// Puts until the store is full, without a free descriptor. Returns the stable state.
fn fill_without_files(run: &mut Run, disk: &SimDisk) -> Model {
    run.append(&Change::put(0, b"before")).unwrap();
    run.commit();
    disk.set_lacks_files(true);
    let mut model = Model::new();
    Change::put(0, b"before").apply(&mut model);
    for id in 1.. {
        let change = Change::put(id, &[7; 300]);
        match run.append(&change) {
            Ok(()) => change.apply(&mut model),
            Err(refused) => {
                assert_eq!(refused, Refused::Full);
                break;
            }
        }
        assert_eq!(run.commit(), Progress::Worked, "{:?}", run.failure());
    }
    model
}

#[test]
fn without_file_descriptors_new_entries_are_refused_and_later_accepted() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &options());
    let mut model = fill_without_files(&mut run, &disk);
    assert_eq!(run.store.shortage(), Some(Shortage::Files));
    assert_eq!(run.stable(), model.len() as u64);
    // Segments are freed and copied meanwhile, as far as that needs no descriptor.
    for id in 0..10 {
        run.append(&Change::delete(id)).unwrap();
        Change::delete(id).apply(&mut model);
        assert_ne!(run.commit(), Progress::Failed, "{:?}", run.failure());
    }
    disk.set_lacks_files(false);
    run.commit();
    assert_eq!(run.store.shortage(), None);
    run.append(&Change::put(9999, b"after")).unwrap();
    Change::put(9999, b"after").apply(&mut model);
    run.commit_all();
    run.assert_holds(&model);
    let run = Run::open(&disk.restart(1, Loss::Power), &options());
    assert_eq!((run.recovered, run.report.damages.len()), (model, 0));
}

#[test]
fn without_file_descriptors_and_reserve_a_commit_waits_and_is_not_lost() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &options());
    let mut model = fill_without_files(&mut run, &disk);
    let mut blocked = false;
    for id in 5000..5100 {
        let change = Change::put(id, &[7; 300]);
        run.append_entry(&Entry { room: Room::Reserve, ..change.entry() }).unwrap();
        change.apply(&mut model);
        let before = run.stable();
        let progress = run.commit();
        assert_ne!(progress, Progress::Failed, "{:?}", run.failure());
        if progress == Progress::Blocked {
            assert_eq!(run.stable(), before, "nothing is stable that was not written");
            blocked = true;
            break;
        }
    }
    assert!(blocked);
    assert_eq!(run.commit(), Progress::Blocked);
    disk.set_lacks_files(false);
    run.commit_all();
    assert_eq!((run.stable(), run.failure()), (run.ticket, None));
    run.assert_holds(&model);
    let run = Run::open(&disk.restart(1, Loss::Power), &options());
    assert_eq!((run.recovered, run.report.damages.len()), (model, 0));
}

#[test]
fn memory_that_is_short_at_any_step_loses_no_accepted_entry() {
    let mut went_on = 0;
    for (seed, step) in (0..4).flat_map(|seed| (10..150).map(move |step| (seed, step))) {
        let mut random = Random(step ^ 0xBEEF);
        let disk = SimDisk::new(step);
        disk.set_fault(step, Fault::Error(io::ErrorKind::OutOfMemory));
        let mut run = Run::open(&disk, &small());
        let mut states = vec![Model::new()];
        for _ in 0..90 {
            let change = Change::random(&mut random);
            if run.append(&change).is_ok() {
                let mut state = states.last().unwrap().clone();
                change.apply(&mut state);
                states.push(state);
            }
            if random.below([4, 9, 40, 60][seed]) == 0 && run.commit() == Progress::Failed {
                break;
            }
        }
        run.commit_all();
        let (stable, failure) = (run.stable(), run.failure());
        if failure.is_none() {
            assert_eq!(stable, run.ticket);
            run.assert_holds(states.last().unwrap());
            went_on += 1;
        }
        let run = Run::open(&disk.restart(step, Loss::Power), &small());
        let stable = usize::try_from(stable).unwrap();
        assert!(states[stable..].contains(&run.recovered), "seed {seed}, step {step}, {failure:?}");
        assert_eq!(run.report.damages, [], "seed {seed}, step {step}");
    }
    // The other runs failed while syncing the names.
    assert!(went_on > 450, "{went_on} of 560");
}
