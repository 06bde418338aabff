use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::disk::Disk;
use super::super::sim::{Fault, Loss, SimDisk};
use super::*;

mod compaction;
mod crash;
mod damage;
mod growth;
mod model;
mod retention;
mod shortage;
mod threads;
mod time;
mod unreadable;
mod watched;

/// A message of the model: timestamp and body.
type Message = (u64, Vec<u8>);

/// What a reader got: messages with their sequences, and lost ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Message(u64, Message),
    Lost(u64, u64),
}

pub(super) fn small() -> StreamOptions {
    StreamOptions { segment_bytes: 4096, ..StreamOptions::new(7) }
}

fn open_with(disk: &SimDisk, options: &StreamOptions) -> (StreamLog, StreamOpened) {
    StreamLog::open(Arc::new(disk.clone()), options).unwrap()
}

fn open(disk: &SimDisk) -> StreamLog {
    let (log, opened) = open_with(disk, &small());
    assert_eq!(opened.damages, []);
    log
}

/// Appends messages in one call.
fn append(log: &mut StreamLog, messages: &[Message]) -> std::io::Result<()> {
    let messages: Vec<_> = (log.next()..)
        .zip(messages)
        .map(|(sequence, (timestamp, body))| StreamMessage { sequence, timestamp: *timestamp, body })
        .collect();
    log.append(&messages)
}

/// Appends messages of 100 bytes, each in a batch of its own.
fn append_each(log: &mut StreamLog, count: u64) {
    for _ in 0..count {
        let message = numbered(log.next());
        append(log, &[message]).unwrap();
    }
}

fn numbered(sequence: u64) -> Message {
    let byte = u8::try_from(sequence % 251).unwrap();
    (sequence.wrapping_mul(10), vec![byte; 100])
}

/// Reads up to the end with reads of this size.
fn read_from(reader: &StreamReader, mut from: u64, max_bytes: usize) -> Vec<Got> {
    let mut got = Vec::new();
    loop {
        let mut count = 0;
        let read = reader.read(from, max_bytes, &mut |message| {
            let StreamMessage { sequence, timestamp, body } = message;
            assert_eq!(sequence, from + count);
            count += 1;
            got.push(Got::Message(sequence, (timestamp, body.to_vec())));
            ControlFlow::Continue(())
        });
        from = match read {
            Ok(next) if next == from => return got,
            Ok(next) => {
                assert_eq!(next, from + count);
                next
            }
            Err(StreamReadError::Lost { from: lost, to }) => {
                assert_eq!((lost, count), (from, 0));
                assert!(to > from);
                got.push(Got::Lost(lost, to));
                to
            }
            Err(error) => panic!("{error}"),
        };
    }
}

fn read(log: &StreamLog) -> Vec<Got> {
    let reader = log.reader();
    read_from(&reader, reader.oldest(), 1 << 20)
}

fn sequences(got: &[Got]) -> Vec<u64> {
    got.iter().filter_map(|got| if let Got::Message(sequence, _) = got { Some(*sequence) } else { None }).collect()
}

/// Pseudo-random numbers determined by a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn messages(&mut self, now: u64) -> Vec<Message> {
        let longest = [20, 300, 5000][self.below(3)];
        (0..self.below(8))
            .map(|_| {
                let timestamp = now + self.below(40) as u64;
                let byte = u8::try_from(self.below(256)).unwrap();
                (timestamp, vec![byte; self.below(longest)])
            })
            .collect()
    }
}

#[test]
fn what_is_appended_is_read_by_sequence() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    let reader = log.reader();
    assert_eq!((log.next(), reader.oldest(), reader.end(), reader.bytes()), (1, 1, 1, 0));
    assert_eq!(read(&log), []);
    append_each(&mut log, 100);
    assert_eq!((log.next(), reader.oldest(), reader.end()), (101, 1, 101));
    let expected: Vec<_> = (1..=100).map(|sequence| Got::Message(sequence, numbered(sequence))).collect();
    for max_bytes in [0, 1, 500, 5000, 1 << 20] {
        assert_eq!(read_from(&reader, 1, max_bytes), expected);
        assert_eq!(read_from(&reader, 42, max_bytes), expected[41..]);
    }
    let segments = disk.list().unwrap().iter().filter(|name| name.ends_with(".seg")).count();
    assert!(segments > 3, "{segments} segments");
    assert_eq!(
        reader.bytes(),
        disk.list()
            .unwrap()
            .iter()
            .filter(|name| name.ends_with(".seg"))
            .map(|name| disk.bytes(name).unwrap().len() as u64)
            .sum::<u64>()
    );
    drop(log);
    assert_eq!(read(&open(&disk)), expected);
}

#[test]
fn a_visitor_can_stop_at_each_message() {
    let mut log = open(&SimDisk::new(1));
    let messages: Vec<_> = (1..=20).map(numbered).collect();
    append(&mut log, &messages).unwrap();
    let reader = log.reader();
    let mut from = 1;
    while from < 21 {
        let mut visited = Vec::new();
        let next = reader.read(from, 1 << 20, &mut |message| {
            visited.push(message.sequence);
            if visited.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(next.unwrap(), from + visited.len() as u64);
        assert_eq!(visited[0], from);
        from += visited.len() as u64;
    }
    assert_eq!(from, 21);
}

#[test]
fn sequences_must_follow_each_other() {
    let mut log = open(&SimDisk::new(1));
    let message = |sequence| StreamMessage { sequence, timestamp: 0, body: b"x" };
    for wrong in [&[message(0)][..], &[message(2)], &[message(1), message(1)], &[message(1), message(3)]] {
        assert_eq!(log.append(wrong).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
    assert_eq!((log.next(), log.reader().end()), (1, 1));
    log.append(&[]).unwrap();
    log.append(&[message(1), message(2)]).unwrap();
    assert_eq!(sequences(&read(&log)), [1, 2]);
}

#[test]
fn a_message_larger_than_a_segment_has_one_of_its_own() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    let messages = vec![(1, vec![1; 10]), (2, vec![2; 3 << 20]), (3, vec![3; 10]), (4, vec![4; 300_000]), (5, vec![])];
    append(&mut log, &messages).unwrap();
    let expected: Vec<_> = (1..).zip(messages).map(|(sequence, message)| Got::Message(sequence, message)).collect();
    assert_eq!(read(&log), expected);
    drop(log);
    let log = open(&disk);
    assert_eq!(read(&log), expected);
    assert_eq!(read_from(&log.reader(), 4, 1), expected[3..]);
}

#[test]
fn skipped_sequences_are_lost_and_no_damage() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    append_each(&mut log, 5);
    log.skip_to(3).unwrap();
    log.skip_to(10).unwrap();
    append_each(&mut log, 2);
    for _ in 0..2 {
        let got = read(&log);
        assert_eq!(sequences(&got), [1, 2, 3, 4, 5, 10, 11]);
        assert_eq!(got[5], Got::Lost(6, 10));
        log = open(&disk);
        assert_eq!(log.next(), 12);
    }
    log.skip_to(20).unwrap();
    assert_eq!(read(&log).last(), Some(&Got::Lost(12, 20)));
    let log = open(&disk);
    assert_eq!((log.next(), read(&log).last()), (20, Some(&Got::Lost(12, 20))));
}

#[test]
fn a_directory_is_opened_by_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("streams/1");
    let open = || StreamLog::open_directory(&path, &small(), std::time::Duration::ZERO);
    let (mut log, _) = open().unwrap();
    append_each(&mut log, 100);
    assert_eq!(log.sync().unwrap(), 101);
    assert!(matches!(open().err().unwrap(), super::super::OpenError::Locked { .. }));
    log.release();
    let (log, opened) = open().unwrap();
    assert_eq!((read(&log).len(), opened.scanned), (100, 1));
}
