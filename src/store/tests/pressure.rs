use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A store, and the number of calls of its `on_pressure` hook.
fn counting(disk: &SimDisk, options: &Options) -> (Store, Committer, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let on_pressure = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let hooks = Hooks { on_pressure, ..Hooks::default() };
    let (store, committer, _) = Store::open_on(Arc::new(disk.clone()), options, hooks, &mut |_| ()).unwrap();
    (store, committer, calls)
}

#[test]
fn the_end_of_a_congestion_is_reported_once() {
    let options = Options { pending_bytes_max: 500, ..Options::default() };
    let (store, mut committer, calls) = counting(&SimDisk::new(1), &options);
    for round in 1..=3 {
        store.append(0, 2 * round, &Change::put(round, &[7; 300]).entry()).unwrap();
        assert_eq!(committer.commit(), Progress::Worked);
        store.append(1, 2 * round, &Change::put(round, &[7; 600]).entry()).unwrap();
        assert!(store.is_congested());
        assert_eq!(calls.load(Ordering::Relaxed) as u64, round - 1, "reported before the congestion ended");
        assert_eq!(committer.commit(), Progress::Worked);
        assert!(!store.is_congested());
        assert_eq!(calls.load(Ordering::Relaxed) as u64, round);
    }
}

#[test]
fn a_full_disk_and_its_free_space_are_reported() {
    let disk = SimDisk::new(1);
    disk.set_capacity(60_000);
    let (store, mut committer, calls) = counting(&disk, &Options { segment_bytes: 8192, ..small() });
    let mut ticket = 0;
    let mut append = |change: &Change| {
        ticket += 1;
        let taken = store.append(0, ticket, &change.entry()).is_ok();
        assert_ne!(committer.commit(), Progress::Failed);
        taken
    };
    let full = (0..).find(|id| !append(&Change::put(*id, &[7; 300]))).unwrap();
    assert!(store.is_full());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    for id in 0..full {
        append(&Change::delete(id));
    }
    assert!(!store.is_full());
    assert!(calls.load(Ordering::Relaxed) >= 2);
}
