//! Pages that the disk can't read.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::watched::Watched;
use super::*;

/// 200 messages of a batch each in one segment, on a disk that fails to read its third page.
fn with_a_bad_page() -> (StreamLog, Arc<AtomicBool>) {
    let disk = SimDisk::new(1);
    let options = StreamOptions { segment_bytes: 1 << 20, ..small() };
    let (mut log, _) = open_with(&disk, &options);
    append_each(&mut log, 200);
    log.sync().unwrap();
    append_each(&mut log, 1);
    drop(log);
    let is_bad = Arc::<AtomicBool>::default();
    let bad = Arc::clone(&is_bad);
    let watched = Watched::new(&disk, move |offset, bytes| {
        let is_hit = offset < 12_288 && offset + bytes as u64 > 8_192;
        if is_hit && bad.load(Ordering::Relaxed) { Err(io::Error::other("bad page")) } else { Ok(()) }
    });
    (StreamLog::open(watched, &options).unwrap().0, is_bad)
}

/// The batches are of 152 bytes, from offset 64 on, so 54 is the first one that the page has a part of, and 82 the first behind it.
const LOST: (u64, u64) = (54, 82);

#[test]
fn a_failed_read_can_be_tried_again() {
    let (log, is_bad) = with_a_bad_page();
    let whole = read(&log);
    assert_eq!(whole.len(), 201);
    is_bad.store(true, Ordering::Relaxed);
    let reader = log.reader();
    let mut visited = 0;
    let next = reader.read(1, 1 << 20, &mut |message| {
        visited = message.sequence;
        ControlFlow::Continue(())
    });
    // The messages in front of the page are read.
    assert_eq!((next.unwrap(), visited), (LOST.0, LOST.0 - 1));
    for _ in 0..3 {
        match reader.read(LOST.0, 1 << 20, &mut |_| panic!("it can't be read")) {
            Err(StreamReadError::Io(error)) => assert_eq!(error.to_string(), "bad page"),
            other => panic!("{other:?}"),
        }
    }
    is_bad.store(false, Ordering::Relaxed);
    assert_eq!(read_from(&reader, LOST.0, 1 << 20), whole[usize::try_from(LOST.0).unwrap() - 1..]);
}

#[test]
fn a_page_that_stays_unreadable_can_be_passed_over() {
    let (log, is_bad) = with_a_bad_page();
    let whole = read(&log);
    is_bad.store(true, Ordering::Relaxed);
    let reader = log.reader();
    assert_eq!(reader.skip_unreadable(LOST.0).unwrap(), LOST.1);
    assert_eq!([1, 53, 82, 150].map(|from| reader.skip_unreadable(from).unwrap()), [1, 53, 82, 150]);
    assert_eq!(read_from(&reader, LOST.1, 1 << 20), whole[usize::try_from(LOST.1).unwrap() - 1..]);
    assert_eq!(reader.skip_unreadable(reader.end()).unwrap(), reader.end());
}
