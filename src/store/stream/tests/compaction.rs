//! The last message of each key stays, whatever happens when, and the rest of the complete segments goes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use super::super::compaction::{Compaction, Step, StreamKey};
use super::super::segments::Segment;
use super::*;

/// The first byte of a message is its key; 255 is none.
fn key() -> Arc<StreamKey> {
    Arc::new(|body| body.first().filter(|key| **key < 255).map(|key| Cow::Owned(vec![*key])))
}

fn keyed(sequence: u64, key: u8) -> Message {
    let length = usize::try_from(sequence * 7919 % 300).unwrap();
    (sequence * 10, [&[key][..], &sequence.to_le_bytes(), &vec![key; length]].concat())
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}

/// So many keys, each again after this number of others.
fn cycle(count: usize, keys: usize) -> impl Iterator<Item = u8> {
    (0..count).map(move |number| byte(number % keys))
}

/// All passes that are due.
fn compact(log: &StreamLog) {
    while let Some(mut pass) = log.compaction(&key()) {
        run(&mut pass).unwrap();
    }
}

fn run(pass: &mut Compaction) -> std::io::Result<()> {
    loop {
        match pass.step()? {
            Step::Again => {}
            Step::Complete => pass.replace()?,
            Step::Ended => return Ok(()),
        }
    }
}

/// The messages that a reader gets; none may be lost.
fn kept(reader: &StreamReader, max_bytes: usize) -> BTreeMap<u64, Message> {
    let (mut kept, mut from) = (BTreeMap::new(), reader.oldest());
    loop {
        let next = reader.read(from, max_bytes, &mut |message| {
            assert!(kept.last_key_value().is_none_or(|(last, _)| *last < message.sequence));
            kept.insert(message.sequence, (message.timestamp, message.body.to_vec()));
            ControlFlow::Continue(())
        });
        match next.unwrap() {
            next if next == from => return kept,
            next => from = next,
        }
    }
}

/// Each message is there, or a later one with its key.
fn check(kept: &BTreeMap<u64, Message>, keys: &BTreeMap<u64, u8>) {
    for (sequence, message) in kept {
        assert_eq!(*message, keyed(*sequence, keys[sequence]));
    }
    let mut later = BTreeSet::new();
    for (sequence, key) in keys.iter().rev() {
        let is_kept = kept.contains_key(sequence);
        assert!(is_kept || *key < 255 && later.contains(key), "{sequence} with the key {key} is lost");
        if is_kept {
            later.insert(*key);
        }
    }
}

fn append_keys(log: &mut StreamLog, keys: &mut BTreeMap<u64, u8>, new: impl IntoIterator<Item = u8>) {
    for new in new {
        keys.insert(log.next(), new);
        let message = keyed(log.next(), new);
        append(log, &[message]).unwrap();
    }
}

#[test]
fn the_last_message_of_each_key_is_kept_and_the_numbers_stay() {
    let disk = SimDisk::new(1);
    let (mut log, mut keys) = (open(&disk), BTreeMap::new());
    append_keys(&mut log, &mut keys, cycle(400, 5));
    let (before, first_of_tail) =
        (log.reader().bytes(), log.shared.with(|all| all.list.back().unwrap().header.first_sequence));
    compact(&log);
    assert!(log.reader().bytes() < before / 8, "{} of {before}", log.reader().bytes());
    assert_eq!((log.reader().oldest(), log.next()), (1, 401));
    for _ in 0..2 {
        let kept = kept(&log.reader(), 500);
        check(&kept, &keys);
        let complete: Vec<u64> = kept.keys().copied().filter(|sequence| *sequence < first_of_tail).collect();
        assert_eq!(complete, (first_of_tail - 5..first_of_tail).collect::<Vec<_>>());
        assert_eq!(log.reader().sequence_at(10).unwrap(), complete[0]);
        assert!(log.compaction(&key()).is_none(), "there is nothing to do");
        log = open(&disk);
    }
    let report = super::super::verify(&disk, 7).unwrap();
    assert_eq!((report.damages, report.oldest, report.next), (vec![], 1, 401));
}

#[test]
fn messages_without_a_key_and_with_too_many_keys_are_kept_or_have_a_later_one() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let disk = SimDisk::new(seed);
        let (mut log, mut keys) = (open(&disk), BTreeMap::new());
        for _ in 0..30 {
            let count = random.below(60);
            let new: Vec<u8> =
                (0..count).map(|_| byte([random.below(6), random.below(200), 255][random.below(3)])).collect();
            append_keys(&mut log, &mut keys, new);
            match random.below(4) {
                0 => compact(&log),
                1 => log = open(&disk),
                2 => {
                    let below = log.next().saturating_sub(200 + random.below(300) as u64);
                    log.trim_below(below).unwrap();
                    keys = keys.split_off(&log.reader().oldest());
                }
                _ => {}
            }
            check(&kept(&log.reader(), 100 + random.below(5_000)), &keys);
        }
        let without: Vec<u64> = keys.iter().filter(|(_, key)| **key == 255).map(|(sequence, _)| *sequence).collect();
        let kept = kept(&log.reader(), 1 << 20);
        assert!(without.iter().all(|sequence| kept.contains_key(sequence)));
    }
}

#[test]
fn a_crash_at_every_step_loses_no_last_message_of_a_key() {
    for seed in 0..4 {
        for step in 1.. {
            let mut is_complete = true;
            for loss in [Loss::Process, Loss::Power] {
                let mut disk = SimDisk::new(seed);
                let (mut keys, mut synced) = (BTreeMap::new(), 1);
                disk.set_fault(step, Fault::PowerCut);
                is_complete = live(&disk, seed, &mut keys, &mut synced).is_ok();
                for again in 0..2 {
                    disk = disk.restart(step ^ again, loss);
                    let log = open(&disk);
                    assert!(loss == Loss::Process || log.next() >= synced);
                    keys.retain(|sequence, _| *sequence < log.next());
                    check(&kept(&log.reader(), 1_000), &keys);
                    compact(&log);
                    check(&kept(&log.reader(), 1_000), &keys);
                }
            }
            if is_complete {
                break;
            }
        }
    }
}

fn live(disk: &SimDisk, seed: u64, keys: &mut BTreeMap<u64, u8>, synced: &mut u64) -> std::io::Result<()> {
    let mut random = Random(seed);
    let (mut log, _) = StreamLog::open(Arc::new(disk.clone()), &small())?;
    let mut pass = None;
    for _ in 0..12 {
        for _ in 0..random.below(30) {
            let (sequence, new) = (log.next(), byte(random.below(4)));
            keys.insert(sequence, new);
            append(&mut log, &[keyed(sequence, new)])?;
        }
        if random.below(3) == 0 {
            *synced = log.sync()?;
        }
        pass = pass.or_else(|| log.compaction(&key()));
        for _ in 0..random.below(12) {
            let Some(running) = &mut pass else { break };
            match running.step()? {
                Step::Again => {}
                Step::Complete => running.replace()?,
                Step::Ended => pass = None,
            }
        }
    }
    Ok(())
}

#[test]
fn a_reader_goes_on_when_its_segment_is_replaced() {
    for max_bytes in [1, 700, 3_000] {
        let disk = SimDisk::new(1);
        let (mut log, mut keys) = (open(&disk), BTreeMap::new());
        append_keys(&mut log, &mut keys, cycle(300, 7));
        let (reader, mut from) = (log.reader(), 1);
        let mut passed = BTreeMap::new();
        let mut reads = 0;
        loop {
            let next = reader.read(from, max_bytes, &mut |message| {
                passed.insert(message.sequence, (message.timestamp, message.body.to_vec()));
                ControlFlow::Continue(())
            });
            reads += 1;
            if reads == 3 {
                compact(&log);
                append_keys(&mut log, &mut keys, [1, 2, 3]);
            }
            match next.unwrap() {
                next if next == from => break,
                next => from = next,
            }
        }
        check(&passed, &keys);
    }
}

#[test]
fn readers_on_other_threads_lose_nothing() {
    let disk = SimDisk::new(1);
    let (mut log, mut keys) = (open(&disk), BTreeMap::new());
    append_keys(&mut log, &mut keys, cycle(200, 9));
    let last = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (reader, last) = (log.reader(), Arc::clone(&last));
            thread::spawn(move || {
                while !last.load(std::sync::atomic::Ordering::Relaxed) {
                    let newest: BTreeSet<u8> = kept(&reader, 900).into_values().map(|(_, body)| body[0]).collect();
                    assert_eq!(newest.len(), 9);
                }
            })
        })
        .collect();
    for _ in 0..30 {
        append_keys(&mut log, &mut keys, cycle(60, 9));
        compact(&log);
    }
    last.store(true, std::sync::atomic::Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    check(&kept(&log.reader(), 900), &keys);
}

#[test]
fn a_damaged_segment_stays_as_it_is() {
    let disk = SimDisk::new(1);
    let (mut log, mut keys) = (open(&disk), BTreeMap::new());
    append_keys(&mut log, &mut keys, cycle(300, 5));
    let name = "0000000003.seg";
    let mut bytes = disk.bytes(name).unwrap();
    bytes[1_000] ^= 1;
    disk.set_bytes(name, bytes.clone());
    compact(&log);
    assert_eq!(disk.bytes(name).unwrap(), bytes);
    assert!(log.compaction(&key()).is_none(), "and it is not tried again and again");
    let names = disk.list().unwrap();
    assert!(names.iter().filter(|name| name.ends_with(".seg")).count() < 10, "{names:?}");
    log.retain(&Retention::default(), 1).unwrap();
    assert!(log.compaction(&key()).is_none());
    let (_, opened) = open_with(&disk, &small());
    assert_eq!(opened.damages.len(), 1);
}

#[test]
fn a_full_disk_leaves_the_stream_as_it_is() {
    let disk = SimDisk::new(1);
    let (mut log, mut keys) = (open(&disk), BTreeMap::new());
    append_keys(&mut log, &mut keys, cycle(300, 5));
    log.sync().unwrap();
    disk.set_capacity(disk.used());
    let mut pass = log.compaction(&key()).unwrap();
    run(&mut pass).unwrap_err();
    check(&kept(&log.reader(), 900), &keys);
    disk.set_capacity(u64::MAX);
    compact(&log);
    check(&kept(&log.reader(), 900), &keys);
    assert!(kept(&log.reader(), 900).len() < 50);
}

#[test]
fn a_file_stands_for_no_more_sequences_than_its_index_can_have() {
    let disk = SimDisk::new(1);
    let (mut log, mut keys) = (open(&disk), BTreeMap::new());
    let mut spans = Vec::new();
    for _ in 0..4 {
        append_keys(&mut log, &mut keys, cycle(200, 5));
        while let Some(mut pass) = log.compaction(&key()) {
            pass.span_max = 300;
            run(&mut pass).unwrap();
        }
        check(&kept(&log.reader(), 900), &keys);
        let span = |segment: &Segment| segment.end - segment.header.first_sequence;
        let is_compacted = |segment: &&Segment| segment.header.compacted_to.is_some();
        spans = log.shared.with(|all| all.list.iter().filter(is_compacted).map(span).collect());
    }
    assert!(spans.len() > 1 && spans.iter().all(|span| *span <= 300), "{spans:?}");
    // The last message of each key is behind most of these, and is found by its time.
    let all = kept(&log.reader(), 900);
    for sequence in all.keys() {
        assert_eq!(log.reader().sequence_at(sequence * 10).unwrap(), *sequence);
    }
}
