use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A store that counts how often it tells that something has changed.
fn counting(disk: &SimDisk, options: &Options) -> (Store, Committer, Arc<AtomicUsize>) {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let on_pressure = Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let hooks = Hooks { on_pressure, ..Hooks::default() };
    let (store, committer, _) = Store::open_on(Arc::new(disk.clone()), options, hooks, &mut |_| ()).unwrap();
    (store, committer, told)
}

#[test]
fn end_of_a_congestion_is_told_once() {
    let options = Options { gathered_bytes_max: 500, ..Options::default() };
    let (store, mut committer, told) = counting(&SimDisk::new(1), &options);
    for round in 1..=3 {
        store.append(0, 2 * round, &Change::put(round, &[7; 300]).entry()).unwrap();
        assert_eq!(committer.commit(), Progress::Worked);
        store.append(1, 2 * round, &Change::put(round, &[7; 600]).entry()).unwrap();
        assert!(store.is_congested());
        assert_eq!(told.load(Ordering::Relaxed) as u64, round - 1, "not before it ends");
        assert_eq!(committer.commit(), Progress::Worked);
        assert!(!store.is_congested());
        assert_eq!(told.load(Ordering::Relaxed) as u64, round);
    }
}

#[test]
fn that_the_disk_is_full_is_told_and_that_it_has_room() {
    let disk = SimDisk::new(1);
    disk.set_capacity(60_000);
    let (store, mut committer, told) = counting(&disk, &Options { segment_bytes: 8192, ..small() });
    let mut ticket = 0;
    let mut append = |change: &Change| {
        ticket += 1;
        let taken = store.append(0, ticket, &change.entry()).is_ok();
        assert_ne!(committer.commit(), Progress::Failed);
        taken
    };
    let full = (0..).find(|id| !append(&Change::put(*id, &[7; 300]))).unwrap();
    assert!(store.is_full());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    for id in 0..full {
        append(&Change::delete(id));
    }
    assert!(!store.is_full());
    assert!(told.load(Ordering::Relaxed) >= 2);
}
