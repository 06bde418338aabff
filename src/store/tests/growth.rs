//! How the file of a segment grows: in steps, so that the syncs of small commits do not have to store its size.

use super::*;

fn size(disk: &SimDisk, number: u32) -> usize {
    disk.bytes(&segment_name(number)).unwrap().len()
}

fn put(run: &mut Run, level: Level, bytes: usize) {
    let id = run.ticket;
    run.append(&Change { level, ..Change::put(id, &vec![7; bytes]) }).unwrap();
    assert_eq!(run.commit(), Progress::Worked);
}

#[test]
fn small_commits_overwrite_what_one_of_them_has_prepared() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    let mut sizes = std::collections::BTreeSet::new();
    for _ in 0..500 {
        put(&mut run, Level::PowerLoss, 200);
        sizes.insert(size(&disk, 1));
    }
    assert!(sizes.len() <= 3, "{sizes:?}");
    let log = run.store.stats().bytes;
    assert!(sizes.last().copied().unwrap() as u64 <= log + (64 << 10), "{sizes:?}, the log has {log}");
}

#[test]
fn large_commits_and_commits_without_a_sync_prepare_nothing() {
    for (level, bytes) in [(Level::PowerLoss, 40_000), (Level::Crash, 200)] {
        let disk = SimDisk::new(1);
        let mut run = Run::open(&disk, &Options::default());
        for _ in 0..10 {
            put(&mut run, level, bytes);
            let (size, log) = (size(&disk, 1) as u64, run.store.stats().bytes);
            assert!((log - 7..=log).contains(&size), "{size} of {log}");
        }
    }
}

#[test]
fn a_segment_is_not_prepared_beyond_its_end() {
    let disk = SimDisk::new(1);
    let options = Options { segment_bytes: 16 << 10, ..Options::default() };
    let mut run = Run::open(&disk, &options);
    let mut model = Model::new();
    for _ in 0..400 {
        let id = run.ticket;
        let change = Change { deletes: id.checked_sub(3).map(key).into_iter().collect(), ..Change::put(id, &[7; 200]) };
        run.append(&change).unwrap();
        change.apply(&mut model);
        run.commit_all();
        for name in disk.list().unwrap() {
            assert!(disk.bytes(&name).unwrap().len() <= 16 << 10, "{name}");
        }
    }
    run.assert_holds(&model);
    let run = Run::open(&disk.restart(1, Loss::Power), &options);
    assert_eq!((run.recovered, run.report.damages), (model, vec![]));
}

/// A commit that prepares is three steps: the entries, the zeros, the sync.
#[test]
fn a_shortage_while_preparing_is_no_failure_but_another_error_is() {
    let commit = |step, kind| {
        let disk = SimDisk::new(1);
        let mut run = Run::open(&disk, &Options::default());
        disk.set_fault(disk.steps() + step, Fault::Error(kind));
        run.append(&Change::put(1, &[7; 200])).unwrap();
        let progress = run.commit();
        (progress, run.stable(), run.store.stats().is_full)
    };
    assert_eq!(commit(2, io::ErrorKind::StorageFull), (Progress::Worked, 1, false));
    for step in 1..=3 {
        let (progress, stable, ..) = commit(step, io::ErrorKind::Other);
        assert_eq!((progress, stable), (Progress::Failed, 0), "step {step}");
    }
}
