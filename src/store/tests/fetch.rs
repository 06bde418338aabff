use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// A body that contains its key's id.
fn body(id: u64) -> Vec<u8> {
    id.to_le_bytes().repeat(usize::try_from(id % 40 + 1).unwrap())
}

fn read(store: &Store, ids: impl Iterator<Item = u64>) -> Vec<(u64, Option<Vec<u8>>)> {
    let keys: Vec<Key> = ids.map(key).collect();
    let read = read_each(store, &keys).into_iter().filter(|(_, read)| {
        // It says that the key was deleted meanwhile.
        !read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted)
    });
    read.map(|(key, read)| (key.id, read.unwrap())).collect()
}

#[test]
fn keys_are_read_in_the_given_order() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    for id in 0..300 {
        run.append(&Change::put(id, &body(id))).unwrap();
        if id % 7 == 0 {
            run.commit_all();
        }
    }
    run.commit_all();
    for id in (0..300).step_by(3) {
        run.append(&Change::delete(id)).unwrap();
    }
    run.commit_all();
    let expected = |id: u64| (id, (!id.is_multiple_of(3)).then(|| body(id)));
    assert_eq!(read(&run.store, 0..300), (0..300).map(expected).collect::<Vec<_>>());
    assert_eq!(read(&run.store, (0..300).rev()), (0..300).rev().map(expected).collect::<Vec<_>>());
}

#[test]
fn unstable_entries_are_not_read() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    run.append(&Change::put(1, b"stable")).unwrap();
    run.commit_all();
    run.append(&Change::put(2, b"not yet")).unwrap();
    assert_eq!(read(&run.store, 1..=2), [(1, Some(b"stable".to_vec())), (2, None)]);
}

/// A freed segment is overwritten at once with other valid entries.
#[test]
fn no_read_returns_another_keys_body_while_segments_are_overwritten() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    let (first, end) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut found = 0;
            while end.load(Ordering::Acquire) < 20_000 {
                let from = first.load(Ordering::Acquire);
                for (id, read) in read(&run.store, from.saturating_sub(3)..from + 40) {
                    if let Some(read) = read {
                        assert_eq!(read, body(id));
                        found += 1;
                    }
                }
            }
            assert!(found > 0);
        });
        for id in 0..20_000 {
            run.store.append(0, id + 1, &Change::put(id, &body(id)).entry()).unwrap();
            if id >= 60 {
                run.store.append(0, id + 1, &Change::delete(id - 60).entry()).unwrap();
                first.store(id - 60, Ordering::Release);
            }
            if id % 5 == 0 {
                run.committer.commit();
            }
            end.store(id + 1, Ordering::Release);
        }
    });
}
