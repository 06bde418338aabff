//! Resources that run out.

use super::super::super::shortage::Shortage;
use super::*;

#[test]
fn a_full_disk_is_an_error_and_the_stream_goes_on_when_there_is_room() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    append_each(&mut log, 10);
    for room in [0, 50, 200, 3000, 6000] {
        disk.set_capacity(disk.used() + room);
        let before = log.next();
        let error = loop {
            let messages: Vec<_> = (log.next()..log.next() + 3).map(numbered).collect();
            if let Err(error) = append(&mut log, &messages) {
                break error;
            }
        };
        assert_eq!(Shortage::of(&error), Some(Shortage::Space), "{error}");
        assert!((log.next() - before) * 100 <= room + 300);
        assert_eq!(read(&log).len() as u64, log.next() - 1);
        disk.set_capacity(u64::MAX);
    }
    append_each(&mut log, 100);
    assert_eq!(read(&log).len() as u64, log.next() - 1);
    let next = log.next();
    drop(log);
    let log = open(&disk.restart(1, Loss::Process));
    assert_eq!((log.next(), read(&log).len() as u64), (next, next - 1));
}

#[test]
fn trimming_frees_space_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    append_each(&mut log, 200);
    log.sync().unwrap();
    disk.set_capacity(disk.used());
    let oldest = log.retain(&Retention { max_messages: Some(50), ..Retention::default() }, 0).unwrap();
    assert_eq!(oldest, 151);
    assert!(log.reader().bytes() < 4 * 4096, "{} bytes", log.reader().bytes());
    append_each(&mut log, 20);
    let log = open(&disk.restart(1, Loss::Power));
    assert!(log.reader().oldest() > 100);
}

#[test]
fn without_a_descriptor_nothing_breaks() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    append_each(&mut log, 100);
    disk.set_lacks_files(true);
    let error = loop {
        let message = numbered(log.next());
        if let Err(error) = append(&mut log, &[message]) {
            break error;
        }
    };
    assert_eq!(Shortage::of(&error), Some(Shortage::Files));
    match log.reader().read(1, 1000, &mut |_| ControlFlow::Continue(())) {
        Err(StreamReadError::Io(error)) => assert_eq!(Shortage::of(&error), Some(Shortage::Files)),
        other => panic!("{other:?}"),
    }
    disk.set_lacks_files(false);
    append_each(&mut log, 10);
    assert_eq!(read(&log).len() as u64, log.next() - 1);
}
