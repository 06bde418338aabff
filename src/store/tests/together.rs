use super::*;

/// Appends changes that belong together, under one ticket.
fn append_together(run: &mut Run, changes: &[Change]) -> Result<(), Refused> {
    let entries: Vec<_> = changes.iter().map(Change::entry).collect();
    run.store.append_together((0, run.ticket + 1, Urgency::Awaited), &entries, &[])?;
    run.store.announce(Urgency::Awaited);
    run.ticket += 1;
    Ok(())
}

/// A change before, several that belong together and are larger than a batch usually is, and one behind them.
fn changes() -> (Change, Vec<Change>, Change) {
    let together =
        (10..18).map(|id| Change { parts: vec![b"part"], ..Change::put(id, &[u8::try_from(id).unwrap(); 300]) });
    let together = together.chain([Change::delete(1), Change { level: Level::Crash, ..Change::put(20, b"last") }]);
    (Change::put(1, &[1; 100]), together.collect(), Change::put(2, &[2; 100]))
}

#[test]
fn changes_that_belong_together_are_recovered_together_or_not_at_all_after_a_crash_at_every_step() {
    for (loss, level) in
        [(Loss::Power, Level::PowerLoss), (Loss::Process, Level::PowerLoss), (Loss::Process, Level::Crash)]
    {
        let mut seen = [false; 2];
        for (seed, step) in (0..6).flat_map(|seed| (1..40).map(move |step| (seed, step))) {
            let disk = SimDisk::new(seed);
            let (before, together, behind) = changes();
            let options = Options { level, ..small() };
            let mut run = Run::open(&disk, &options);
            run.append(&before).unwrap();
            run.commit_all();
            disk.set_fault(disk.steps() + step, Fault::PowerCut);
            append_together(&mut run, &together).unwrap();
            run.append(&behind).unwrap();
            run.commit_all();
            let is_stable = run.stable() >= 2;
            let run = Run::open(&disk.restart(seed ^ step, loss), &options);
            assert_eq!(run.report.damages, []);
            let is_there = run.recovered.contains_key(&key(10));
            let mut expected = Model::new();
            before.apply(&mut expected);
            if is_there {
                together.iter().for_each(|change| change.apply(&mut expected));
            }
            if run.recovered.contains_key(&key(2)) {
                behind.apply(&mut expected);
                assert!(is_there, "an entry behind them");
            }
            assert_eq!(run.recovered, expected, "seed {seed}, step {step}");
            assert!(is_there || !is_stable, "seed {seed}, step {step}: they were reported stable");
            run.assert_holds(&expected);
            seen[usize::from(is_there)] = true;
        }
        assert_eq!(seen, [true; 2]);
    }
}

#[test]
fn changes_that_belong_together_are_reclaimed_one_by_one() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    let (_, together, _) = changes();
    append_together(&mut run, &together).unwrap();
    run.commit_all();
    let mut expected = Model::new();
    together.iter().for_each(|change| change.apply(&mut expected));
    for round in 0..200_u64 {
        let change = Change::put(100 + round % 3, &[0; 400]);
        run.append(&change).unwrap();
        change.apply(&mut expected);
        if round == 100 {
            let deleted = Change { deletes: vec![key(11), key(13)], ..Change::default() };
            run.append(&deleted).unwrap();
            deleted.apply(&mut expected);
        }
        run.commit();
    }
    run.commit_all();
    assert!(disk.open(&segment_name(1)).is_err(), "the first segment was reclaimed");
    run.assert_holds(&expected);
    drop(run);
    assert_eq!(Run::open(&disk, &small()).recovered, expected);
}

#[test]
fn changes_that_belong_together_are_refused_together() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    let (_, together, _) = changes();
    run.store.begin_close();
    assert_eq!(append_together(&mut run, &together), Err(Refused::Closed));
    run.commit_all();
    drop(run);
    assert_eq!(Run::open(&disk, &small()).recovered, Model::new());
}

#[test]
fn a_store_that_keeps_nothing_reports_them_stable() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options { level: Level::None, ..Options::default() });
    append_together(&mut run, &changes().1).unwrap();
    run.commit_all();
    assert_eq!(run.stable(), 1);
}
