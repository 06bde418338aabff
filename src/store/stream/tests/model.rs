//! Random appends, rolls, trims and starts, against a list of messages.

use super::*;

#[test]
fn the_files_behave_like_a_list_of_messages() {
    for seed in 0..150 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let disk = SimDisk::new(seed);
    let options = StreamOptions { segment_bytes: [4096, 20_000, 200_000][random.below(3)], ..small() };
    let (mut log, _) = open_with(&disk, &options);
    let mut model: Vec<Message> = Vec::new();
    let (mut trimmed, mut now) = (1, 1_000);
    for _ in 0..60 {
        now += random.below(60) as u64;
        match random.below(12) {
            0 => {
                drop(log);
                let (again, opened) = open_with(&disk, &options);
                assert_eq!(opened.damages, []);
                assert!(opened.scanned <= 1, "seed {seed}: {opened:?}");
                log = again;
                let kept = Retention { max_messages: Some(model.len() as u64 + 1 - trimmed), ..Retention::default() };
                log.retain(&kept, now).unwrap();
            }
            1 => {
                log.sync().unwrap();
            }
            2 => {
                let below = random.below(model.len() + 3) as u64;
                log.trim_below(below).unwrap();
                trimmed = trimmed.max(below.min(log.next()));
            }
            3 => {
                let most = random.below(60) as u64;
                let limits = Retention { max_messages: Some(most), ..Retention::default() };
                trimmed = trimmed.max(log.next().saturating_sub(most));
                assert_eq!(log.retain(&limits, now).unwrap(), trimmed);
            }
            4 => {
                // No time is in the future, but they don't ascend.
                let limits = Retention { max_age: Some(100), ..Retention::default() };
                let mut kept = (trimmed..).zip(&model[usize::try_from(trimmed).unwrap() - 1..]);
                let young = kept.find(|(_, (time, _))| time + 100 >= now + 40);
                trimmed = young.map_or(log.next(), |(sequence, _)| sequence);
                assert_eq!(log.retain(&limits, now + 40).unwrap(), trimmed, "seed {seed}");
            }
            5 => {
                let most = random.below(150_000) as u64;
                let size = |from: u64| -> u64 {
                    model[usize::try_from(from).unwrap() - 1..].iter().map(|(_, body)| 12 + body.len() as u64).sum()
                };
                let limits = Retention { max_bytes: Some(most), ..Retention::default() };
                let oldest = log.retain(&limits, now).unwrap();
                // A block may be longer than 64 KiB by a batch, and the headers of batches count.
                let block = (64 << 10) + 40_000;
                let kept = |from| size(from) + 48 * (log.next() - from) + block;
                let figures = (size(oldest), kept(oldest), kept(trimmed), most);
                assert!(oldest >= trimmed && size(oldest) <= most.max(block), "seed {seed}: {figures:?}");
                if oldest > trimmed {
                    assert!(kept(oldest) >= most && kept(trimmed) > most, "seed {seed}: {figures:?}");
                }
                trimmed = oldest;
            }
            _ => {
                let messages = random.messages(now);
                append(&mut log, &messages).unwrap();
                model.extend(messages);
            }
        }
        check(&log, &model, trimmed, &mut random);
    }
}

fn check(log: &StreamLog, model: &[Message], trimmed: u64, random: &mut Random) {
    let reader = log.reader();
    assert_eq!((reader.oldest(), reader.end(), log.next()), (trimmed, model.len() as u64 + 1, model.len() as u64 + 1));
    let from = trimmed + random.below(usize::try_from(reader.end() - trimmed).unwrap() + 1) as u64;
    let kept = |from: u64| (from..).zip(&model[usize::try_from(from).unwrap() - 1..]);
    let expected: Vec<_> = kept(from).map(|(sequence, message)| Got::Message(sequence, message.clone())).collect();
    assert_eq!(read_from(&reader, from, [1, 100, 3000, 1 << 20][random.below(4)]), expected);
    if trimmed > 1 {
        let below = reader.read(trimmed - 1, 100, &mut |_| panic!("it is trimmed"));
        assert!(matches!(below, Err(StreamReadError::Trimmed { oldest }) if oldest == trimmed));
    }
    let time = model.get(random.below(model.len() + 1)).map_or(5_000, |(time, _)| *time);
    let first = kept(trimmed).find(|(_, (timestamp, _))| *timestamp >= time).map_or(reader.end(), |(at, _)| at);
    assert_eq!(reader.sequence_at(time).unwrap(), first);
    assert_eq!(reader.sequence_at(0).unwrap(), trimmed);
}
