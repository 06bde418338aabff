//! What opening reads, and what the index takes, with 1, 10 and 100 times the messages.

use std::sync::atomic::{AtomicU64, Ordering};

use super::watched::Watched;
use super::*;

/// A disk that counts the bytes that are read.
fn counting(disk: &SimDisk) -> (Arc<Watched>, Arc<AtomicU64>) {
    let read = Arc::<AtomicU64>::default();
    let total = Arc::clone(&read);
    let watched = Watched::new(disk, move |_, bytes| {
        total.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    });
    (watched, read)
}

#[test]
fn opening_reads_one_segment_and_the_indexes_and_the_index_is_small() {
    let options = StreamOptions { segment_bytes: 1 << 20, ..small() };
    let disk = SimDisk::new(1);
    let (mut log, _) = open_with(&disk, &options);
    for times in [1, 10, 100] {
        while log.reader().bytes() < times << 20 {
            append(&mut log, &vec![(1, vec![7; 1000]); 50]).unwrap();
        }
        drop(log);
        let (watched, read) = counting(&disk);
        let (again, opened) = StreamLog::open(watched, &options).unwrap();
        let (bytes, read) = (again.reader().bytes(), read.load(Ordering::Relaxed));
        assert_eq!(opened.scanned, 1);
        // The last segment, and for each other one its header and its index.
        let segments = opened.segments as u64;
        assert!(read <= (1 << 20) + segments * (64 + 150 + 17 * 16), "{read} bytes of {bytes}");
        let index = again.shared.with(|segments| segments.index_bytes()) as u64;
        assert!(index <= bytes / 4096 + segments * 16, "{index} bytes for {bytes}");
        log = again;
    }
}

#[test]
fn finding_a_message_reads_little() {
    let (watched, read) = counting(&SimDisk::new(1));
    let options = StreamOptions { segment_bytes: 1 << 20, ..small() };
    let (mut log, _) = StreamLog::open(watched, &options).unwrap();
    for time in 0..400 {
        append(&mut log, &vec![(time, vec![7; 1000]); 20]).unwrap();
    }
    for sequence in (1..log.next()).step_by(377) {
        let reader = log.reader();
        read.store(0, Ordering::Relaxed);
        reader.read(sequence, 1000, &mut |_| ControlFlow::Break(())).unwrap();
        assert!(read.load(Ordering::Relaxed) <= 200_000, "{read:?} bytes for one message");
        read.store(0, Ordering::Relaxed);
        reader.sequence_at(sequence / 20).unwrap();
        assert!(read.load(Ordering::Relaxed) <= 2 * 262_144, "{read:?} bytes for a time");
    }
}
