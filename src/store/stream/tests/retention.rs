//! The limits of age, bytes and messages.

use super::*;

fn limits(max_age: Option<u64>, max_bytes: Option<u64>, max_messages: Option<u64>) -> Retention {
    Retention { max_age, max_bytes, max_messages }
}

#[test]
fn the_number_of_messages_is_exact_and_whole_segments_are_removed() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    for kept in [1000, 50, 7, 1, 0] {
        append_each(&mut log, 100);
        assert_eq!(log.retain(&limits(None, None, Some(kept)), 0).unwrap(), (log.next() - 1).saturating_sub(kept) + 1);
        assert_eq!(read(&log).len() as u64, kept.min(log.next() - 1));
        assert!(log.reader().bytes() <= kept * 160 + 2 * 4096, "{} bytes for {kept}", log.reader().bytes());
    }
    let (next, names) = (log.next(), disk.list().unwrap());
    assert_eq!(names.iter().filter(|name| name.ends_with(".seg")).count(), 1, "{names:?}");
    assert_eq!(names.iter().filter(|name| name.ends_with(".idx")).count(), 0, "{names:?}");
    let log = open(&disk.restart(1, Loss::Power));
    assert_eq!((log.next(), log.reader().oldest(), read(&log)), (next, next, vec![]));
}

#[test]
fn age_is_exact_to_the_message() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    append_each(&mut log, 200); // at 10 to 2000
    assert_eq!(log.retain(&limits(Some(5000), None, None), 2000).unwrap(), 1);
    for (now, oldest) in [(2000, 100), (2001, 101), (2010, 101), (2011, 102), (2999, 200), (3000, 200), (3001, 201)] {
        assert_eq!(log.retain(&limits(Some(1000), None, None), now).unwrap(), oldest, "at {now}");
    }
    append_each(&mut log, 1);
    assert_eq!(log.retain(&limits(Some(1000), None, None), 3010).unwrap(), 201);
}

#[test]
fn messages_of_a_clock_that_was_ahead_keep_only_their_own_segment() {
    let mut log = open(&SimDisk::new(1));
    for at in 0..200 {
        let time = if at == 20 { 1_000_000 } else { 1000 + at };
        append(&mut log, &[(time, vec![0; 100])]).unwrap();
    }
    let max_age = limits(Some(50), None, None);
    assert_eq!(log.retain(&max_age, 1055).unwrap(), 6);
    // It keeps the others behind it.
    assert_eq!(log.retain(&max_age, 1075).unwrap(), 21);
    // As soon as the next segment has expired, it is trimmed.
    assert_eq!(log.retain(&max_age, 1200).unwrap(), 151);
    // A clock that is behind trims nothing.
    assert_eq!(log.retain(&max_age, 10).unwrap(), 151);
    assert_eq!(log.retain(&max_age, 1100).unwrap(), 151);
    // If all messages are in the future, they are kept.
    append(&mut log, &[(5000, vec![]), (5001, vec![])]).unwrap();
    assert_eq!(log.retain(&max_age, 2000).unwrap(), 201);
}

#[test]
fn bytes_are_exact_to_a_block() {
    let disk = SimDisk::new(1);
    let options = StreamOptions { segment_bytes: 1 << 20, ..small() };
    let (mut log, _) = open_with(&disk, &options);
    let mut oldest = 1;
    for _ in 0..300 {
        append(&mut log, &vec![(1, vec![1; 1000]); 20]).unwrap(); // 20 KB
        let trimmed = log.retain(&limits(None, Some(2_000_000), None), 0).unwrap();
        assert!(trimmed >= oldest);
        oldest = trimmed;
        let kept = (log.next() - oldest) * 1012;
        if oldest > 1 {
            assert!((1_880_000..=2_000_000).contains(&kept), "{kept} bytes");
        }
        assert!(log.reader().bytes() <= 2_000_000 + (1 << 20), "{} bytes", log.reader().bytes());
    }
    assert!(oldest > 3000);
    // The newest block stays.
    let oldest = log.retain(&limits(None, Some(1), None), 0).unwrap();
    assert!((1..=100).contains(&(log.next() - oldest)), "{oldest} of {}", log.next());
    assert_eq!(read(&log).len() as u64, log.next() - oldest);
}

#[test]
fn what_was_trimmed_does_not_come_back() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    append_each(&mut log, 10);
    log.sync().unwrap();
    log.trim_below(5).unwrap();
    drop(log);
    let mut log = open(&disk.restart(1, Loss::Power));
    assert_eq!(sequences(&read(&log)), [5, 6, 7, 8, 9, 10]);
    log.trim_below(100).unwrap();
    assert_eq!((log.next(), log.reader().oldest(), read(&log)), (11, 11, vec![]));
    append_each(&mut log, 1);
    assert_eq!(sequences(&read(&log)), [11]);
}

#[test]
fn a_reader_at_a_trimmed_message_is_told() {
    let mut log = open(&SimDisk::new(1));
    append_each(&mut log, 100);
    let reader = log.reader();
    let next = reader.read(1, 1000, &mut |_| ControlFlow::Continue(())).unwrap();
    log.trim_below(60).unwrap();
    match reader.read(next, 1000, &mut |_| panic!("it is trimmed")) {
        Err(StreamReadError::Trimmed { oldest: 60 }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(sequences(&read_from(&reader, 60, 1000)).len(), 41);
}
