use super::*;

fn entry_at(level: Level, id: u64) -> Change {
    Change { level, ..Change::put(id, &[7; 300]) }
}

#[test]
fn a_commit_is_synced_if_one_of_its_entries_requires_it() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    for (level, syncs) in [(Level::Crash, 0), (Level::None, 0), (Level::PowerLoss, 1), (Level::Crash, 1)] {
        let before = run.stable();
        run.append(&entry_at(level, 1)).unwrap();
        run.commit();
        assert_eq!((run.stable(), run.store.stats().syncs), (before + 1, syncs));
    }
    run.append(&entry_at(Level::Crash, 1)).unwrap();
    run.append(&entry_at(Level::PowerLoss, 2)).unwrap();
    run.append(&entry_at(Level::Crash, 3)).unwrap();
    run.commit();
    assert_eq!((run.stable(), run.store.stats().syncs), (7, 2));
}

#[test]
fn no_entry_has_a_stronger_level_than_the_store() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options { level: Level::Crash, ..Options::default() });
    run.append(&entry_at(Level::PowerLoss, 1)).unwrap();
    run.commit();
    assert_eq!((run.stable(), run.store.stats().syncs), (1, 0));
}

/// Appends entries of both levels until a step fails, and restarts. Returns the levels of the entries reported stable,
/// the number of recovered entries, and whether the step was reached.
fn crash(seed: u64, step: u64, loss: Loss) -> (Vec<Level>, usize, bool) {
    let mut random = Random(seed);
    let disk = SimDisk::new(seed);
    disk.set_fault(step, Fault::PowerCut);
    let mut levels = Vec::new();
    let mut stable = 0;
    let mut crashed = true;
    if let Ok(mut run) = Run::try_open(&disk, &small()) {
        for id in 0..60 {
            let level = if random.below(6) == 0 { Level::PowerLoss } else { Level::Crash };
            if run.append(&entry_at(level, id)).is_err() {
                break;
            }
            levels.push(level);
            if random.below(3) == 0 && run.commit() == Progress::Failed {
                break;
            }
        }
        run.commit_all();
        stable = usize::try_from(run.stable()).unwrap();
        crashed = run.failure().is_some();
    }
    let disk = disk.restart(seed ^ step, loss);
    let run = Run::open(&disk, &small());
    assert_eq!(run.report.damages, [], "seed {seed}, step {step}: lost entries are not damage");
    let count = run.recovered.len();
    let first: Model = (0..count as u64).map(|id| (key(id), vec![7; 300])).collect();
    assert_eq!(run.recovered, first, "seed {seed}, step {step}: the recovered entries have no gap");
    run.assert_holds(&first);
    levels.truncate(stable);
    (levels, count, crashed)
}

#[test]
fn power_loss_may_lose_written_entries_but_no_synced_one() {
    let mut lost = 0;
    for seed in 0..6 {
        for step in 1.. {
            let (stable, count, crashed) = crash(seed, step, Loss::Power);
            let promised = stable.iter().rposition(|level| *level == Level::PowerLoss).map_or(0, |last| last + 1);
            assert!(count >= promised, "seed {seed}, step {step}: {count} of {promised} are there");
            lost += stable.len().saturating_sub(count);
            if !crashed {
                break;
            }
        }
    }
    assert!(lost > 0, "no written entry was lost, so the test proves nothing");
}

#[test]
fn the_end_of_the_process_loses_no_entry_of_either_level() {
    for seed in 0..4 {
        for step in 1.. {
            let (stable, count, crashed) = crash(seed, step, Loss::Process);
            assert!(count >= stable.len(), "seed {seed}, step {step}: {count} of {} are there", stable.len());
            if !crashed {
                break;
            }
        }
    }
}

#[test]
fn a_segment_is_not_freed_before_what_replaced_its_entries_is_synced() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut run = Run::open(&disk, &small());
        for id in 0..8 {
            run.append(&Change::put(id, &[1; 900])).unwrap();
            run.commit();
        }
        let first = run.store.stats().segments;
        for id in 0..8 {
            run.append(&Change { level: Level::Crash, ..Change::put(id, &[2; 100]) }).unwrap();
        }
        run.commit();
        assert!(run.store.stats().segments < first, "no segment was freed");
        drop(run);
        let run = Run::open(&disk.restart(seed, Loss::Power), &small());
        assert_eq!(run.recovered.len(), 8, "seed {seed}");
    }
}

#[test]
fn a_full_disk_loses_no_written_entry() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut run = Run::open(&disk, &small());
        for id in 0..4 {
            run.append(&entry_at(Level::Crash, id)).unwrap();
            run.commit();
        }
        disk.set_fault(disk.steps() + 1, Fault::Error(io::ErrorKind::StorageFull));
        run.append(&entry_at(Level::PowerLoss, 4)).unwrap();
        run.commit();
        assert_eq!((run.stable(), run.failure()), (5, None), "seed {seed}");
        drop(run);
        // Written entries are in the operating system's memory, and a sync of the reserve includes everything before
        // it.
        for loss in [Loss::Process, Loss::Power] {
            let run = Run::open(&disk.restart(seed, loss), &small());
            assert_eq!(run.report.damages, [], "seed {seed}, {loss:?}");
            assert_eq!(run.recovered.len(), 5, "seed {seed}, {loss:?}");
        }
    }
}
