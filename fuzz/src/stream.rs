use std::ops::ControlFlow;
use std::sync::Arc;

use oncemq::store::sim::Loss::Process;
use oncemq::store::sim::SimDisk;
use oncemq::store::{Disk, Retention, StreamLog, StreamMessage, StreamOptions, StreamReadError};

use super::choices::Choices;

/// Any bytes as the files of a stream, or files of which a part was overwritten: they are opened or refused; each message is read as
/// it was appended, or it is told that it is lost; and the stream goes on.
pub(crate) fn stream(input: &[u8]) {
    let mut choices = Choices::new(input);
    let disk = SimDisk::new(1);
    let mut appended = Vec::new();
    let is_ours = choices.coin();
    if is_ours {
        write(&disk, &mut appended, &mut choices);
        for _ in 0..choices.below(4) {
            overwrite(&disk, &mut choices);
        }
    } else {
        let names = ["0000000001.seg", "0000000002.seg", "4294967295.seg", "0000000001.idx", "oldest", "oldest.new"];
        while !choices.is_empty() {
            let name = names[choices.below(names.len())];
            let length = usize::from(choices.u16() % 300);
            disk.set_bytes(name, choices.rest().iter().copied().take(length).collect());
            (0..length).for_each(|_| {
                choices.byte();
            });
        }
    }
    let mut ends = Vec::new();
    for _ in 0..2 {
        let disk = disk.restart(1, Process);
        let (mut log, _) = match StreamLog::open(Arc::new(disk), &OPTIONS) {
            Ok(opened) => opened,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        ends.push(log.next());
        read(&log, if is_ours { &appended } else { &[] });
        use_further(&mut log, &mut choices);
    }
    assert_eq!(ends[0], ends[1], "a start changed the stream");
}

const OPTIONS: StreamOptions = StreamOptions { number: 1, segment_bytes: 4_096 };

/// Appends messages, in batches, and trims some.
fn write(disk: &SimDisk, appended: &mut Vec<(u64, Vec<u8>)>, choices: &mut Choices<'_>) {
    let (mut log, _) = StreamLog::open(Arc::new(disk.clone()), &OPTIONS).expect("an empty disk");
    for _ in 0..choices.below(40) {
        let first = appended.len();
        for _ in 0..choices.below(5) {
            appended.push((u64::from(choices.u16()), vec![choices.byte(); usize::from(choices.byte()) * 4]));
        }
        let messages: Vec<_> = (log.next()..)
            .zip(&appended[first..])
            .map(|(sequence, (timestamp, body))| StreamMessage { sequence, timestamp: *timestamp, body })
            .collect();
        log.append(&messages).expect("the disk has room");
        match choices.below(8) {
            0 => {
                log.sync().expect("no fault");
            }
            1 => log.trim_below(log.next().saturating_sub(u64::from(choices.byte()))).expect("no fault"),
            _ => {}
        }
    }
}

fn overwrite(disk: &SimDisk, choices: &mut Choices<'_>) {
    let names = disk.list().expect("no fault");
    if names.is_empty() {
        return;
    }
    let name = &names[choices.below(names.len())];
    let mut bytes = disk.bytes(name).expect("it is listed");
    let offset = usize::from(choices.u16()) % bytes.len().max(1);
    let burst = choices.bytes();
    bytes.iter_mut().skip(offset).zip(burst).for_each(|(to, from)| *to = *from);
    if choices.byte().is_multiple_of(8) {
        bytes.truncate(offset);
    }
    disk.set_bytes(name, bytes);
}

fn read(log: &StreamLog, appended: &[(u64, Vec<u8>)]) {
    let reader = log.reader();
    let mut from = reader.oldest();
    while from < reader.end() {
        let mut expected = from;
        let read = reader.read(from, 1_000, &mut |message| {
            assert_eq!(message.sequence, expected);
            expected += 1;
            if let Some((timestamp, body)) = usize::try_from(message.sequence - 1).ok().and_then(|at| appended.get(at))
            {
                assert_eq!((message.timestamp, message.body), (*timestamp, &body[..]), "another message");
            }
            ControlFlow::Continue(())
        });
        let next = match read {
            Ok(next) => {
                assert_eq!(next, expected);
                next
            }
            Err(StreamReadError::Lost { from: lost, to }) => {
                assert_eq!(lost, from);
                to
            }
            Err(StreamReadError::Trimmed { .. }) => panic!("nothing is trimmed"),
            Err(StreamReadError::Io(_)) => reader.skip_unreadable(from).expect("there are descriptors"),
        };
        assert!(next > from, "{from} is read for ever");
        from = next;
    }
}

/// The next start begins with the same files, so this changes nothing for it.
fn use_further(log: &mut StreamLog, choices: &mut Choices<'_>) {
    let time = u64::from(choices.u16());
    let found = log.reader().sequence_at(time);
    assert!(found.is_err() || found.is_ok_and(|found| (log.reader().oldest()..=log.next()).contains(&found)));
    let limits = Retention { max_age: Some(time), max_bytes: Some(9_000), max_messages: Some(30) };
    if let Ok(oldest) = log.retain(&limits, time * 2) {
        assert!(oldest <= log.next() && log.next() - oldest <= 30);
    }
    let sequence = log.next();
    if log.append(&[StreamMessage { sequence, timestamp: time, body: b"new" }]).is_ok() {
        let mut count = 0;
        let read = log.reader().read(sequence, 100, &mut |message| {
            assert_eq!((message.sequence, message.body), (sequence, &b"new"[..]));
            count += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((read.ok(), count), (Some(sequence + 1), 1));
    }
}
