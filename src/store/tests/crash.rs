use super::*;

/// Appends and commits changes until all are stable or the power fails. Returns the number of accepted changes.
fn live(run: &mut Run, changes: &[Change], random: &mut Random) {
    for change in changes {
        if run.append(change).is_err() {
            return;
        }
        if random.below(3) == 0 && run.commit() == Progress::Failed {
            return;
        }
    }
    run.commit_all();
}

/// Asserts that the recovered state is the one after a prefix of the changes that includes all acknowledged ones.
fn check_prefix(before: &Model, changes: &[Change], (stable, taken): (u64, u64), recovered: &Model) {
    let mut state = before.clone();
    for (count, change) in (0..).zip(changes.iter().map(Some).chain([None])) {
        if (stable..=taken).contains(&count) && state == *recovered {
            return;
        }
        if let Some(change) = change {
            change.apply(&mut state);
        }
    }
    panic!(
        "{stable} changes were stable and {taken} accepted, but the state matches no prefix in between: {recovered:?}"
    );
}

/// Two runs, each with a crash at a step, and a third one that checks the result.
fn crash_twice(seed: u64, steps: (u64, u64), losses: (Loss, Loss), options: &Options) -> (bool, bool) {
    let mut random = Random(seed);
    let changes: Vec<_> = (0..90).map(|_| Change::random(&mut random)).collect();
    let (first, second) = changes.split_at(60);
    let mut disk = SimDisk::new(seed);
    let mut state = Model::new();
    let mut crashed = [false; 2];
    let lives = [(first, steps.0, losses.0), (second, steps.1, losses.1)];
    for ((changes, step, loss), crashed) in lives.into_iter().zip(&mut crashed) {
        disk.set_fault(step, Fault::PowerCut);
        let mut told = (0, 0);
        match Run::try_open(&disk, options) {
            Ok(mut run) => {
                assert_eq!(run.report.damages, []);
                live(&mut run, changes, &mut random);
                told = (run.stable(), run.ticket);
                *crashed = run.failure().is_some();
            }
            // What a killed process left unsynced was not observed, and may be lost.
            Err(_) if losses.0 == Loss::Process => return (true, true),
            Err(_) => *crashed = true,
        }
        disk = disk.restart(seed ^ step, loss);
        // Recovery must not change anything that a crash right after it could reveal.
        let mut recovered = Model::new();
        let report = recovery::scan(&disk, &|_, _| (), &mut |entry| apply(&entry, &mut recovered)).unwrap().report;
        assert_eq!(report.damages, [], "seed {seed}, steps {steps:?}");
        check_prefix(&state, changes, told, &recovered);
        state = recovered;
    }
    let run = Run::open(&disk, options);
    assert_eq!(run.recovered, state);
    run.assert_holds(&state);
    (crashed[0], crashed[1])
}

#[test]
fn acknowledged_changes_survive_a_power_cut_at_every_step() {
    for seed in 0..8 {
        let mut random = Random(seed ^ 0xC0FFEE);
        let mut step = 0;
        loop {
            step += 1;
            let second = 1 + random.below(80) as u64;
            let (crashed, _) = crash_twice(seed, (step, second), (Loss::Power, Loss::Power), &small());
            if !crashed {
                break;
            }
        }
        assert!(step > 60, "seed {seed} had {step} steps alone");
    }
}

#[test]
fn state_recovered_after_a_kill_survives_a_power_cut_right_after() {
    for seed in 0..3 {
        for step in 1..120 {
            crash_twice(seed, (step, 1 + step % 13), (Loss::Process, Loss::Power), &small());
        }
    }
}

#[test]
fn level_crash_loses_nothing_at_the_end_of_the_process() {
    let options = Options { level: Level::Crash, ..small() };
    for seed in 0..2 {
        for step in 1..100 {
            crash_twice(seed, (step, step % 40), (Loss::Process, Loss::Process), &options);
        }
    }
}

#[test]
fn a_lost_batch_does_not_reappear_behind_later_ones() {
    // Two batches of one commit, the first torn and the second complete: neither was acknowledged.
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    run.append(&Change::put(1, b"acknowledged")).unwrap();
    run.commit();
    run.append(&Change::put(2, &[2; 900])).unwrap();
    run.append(&Change::put(3, &[3; 900])).unwrap();
    run.commit();
    let mut bytes = disk.bytes("0000000001.seg").unwrap();
    bytes[400] ^= 1;
    disk.set_bytes("0000000001.seg", bytes);
    let model = Model::from([(key(1), b"acknowledged".to_vec())]);
    for _ in 0..3 {
        let run = Run::open(&disk, &Options::default());
        assert_eq!((run.recovered, run.report.damages.len()), (model.clone(), 0));
        assert!(run.report.cut_bytes == 0 || run.report.cut_bytes > 1800);
    }
}

#[test]
fn old_payload_in_recycled_space_is_never_read_as_a_batch() {
    use super::format::{SegmentHeader, seal_batch};
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    run.append(&Change::put(1, b"real")).unwrap();
    run.commit();
    let mut real = disk.bytes("0000000001.seg").unwrap();
    real.truncate(usize::try_from(run.store.stats().bytes).unwrap());
    drop(run);
    let header = SegmentHeader::decode(&real).unwrap();
    // The payload of a client that knows everything but the salt.
    let forged = |salt: u64| {
        let change = Change::put(2, b"forged");
        let mut batch = vec![0; super::format::BATCH_HEADER_BYTES];
        let super::entry::Encoded { front, tail, .. } = super::entry::encode(&change.entry()).unwrap();
        batch.extend([&front[..], &change.body, &tail].concat());
        seal_batch(&SegmentHeader { salt, ..header }, 2, 2, 1, &mut batch).unwrap();
        batch
    };
    let recovered = |salt: u64| {
        let disk = SimDisk::new(1);
        disk.set_bytes("0000000001.seg", [real.clone(), forged(salt)].concat());
        let run = Run::open(&disk, &Options::default());
        assert_eq!(run.report.damages, []);
        run.recovered.len()
    };
    assert_eq!(recovered(header.salt), 2, "the forged batch is valid except for the salt");
    for salt in [0, header.salt ^ 1, header.salt.swap_bytes(), u64::MAX] {
        assert_eq!(recovered(salt), 1);
    }
}
