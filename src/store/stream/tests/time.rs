//! Seeking by time.

use super::*;

#[test]
fn a_time_is_found_in_a_long_stream() {
    let disk = SimDisk::new(1);
    let options = StreamOptions { segment_bytes: 400_000, ..small() };
    let (mut log, _) = open_with(&disk, &options);
    for block in 0..100 {
        let messages: Vec<_> = (0..100).map(|at| ((block * 100 + at) * 10, vec![0; 150])).collect();
        append(&mut log, &messages).unwrap();
    }
    for _ in 0..2 {
        let reader = log.reader();
        for sequence in [1, 2, 99, 100, 101, 3_333, 5_000, 9_999, 10_000] {
            let timestamp = (sequence - 1) * 10;
            assert_eq!(reader.sequence_at(timestamp).unwrap(), sequence);
            assert_eq!(reader.sequence_at(timestamp + 1).unwrap(), sequence + 1);
        }
        assert_eq!(reader.sequence_at(u64::MAX).unwrap(), 10_001);
        log = open_with(&disk, &options).0;
    }
}

#[test]
fn the_first_message_at_or_after_a_time_is_found_although_the_clock_was_set_back() {
    let mut log = open(&SimDisk::new(1));
    let times = [100, 110, 500, 120, 130, 140, 600, 150];
    for time in times.repeat(20) {
        append(&mut log, &[(time, vec![0; 200])]).unwrap();
    }
    let reader = log.reader();
    assert_eq!([100, 101, 111, 500, 501, 601].map(|time| reader.sequence_at(time).unwrap()), [1, 2, 3, 3, 7, 161]);
    // The message with the latest time in the oldest segment is trimmed.
    log.trim_below(8).unwrap();
    assert_eq!([100, 151, 501].map(|time| reader.sequence_at(time).unwrap()), [8, 11, 15]);
}
