//! The process or the power ends at every step.

use super::*;

/// What a life of the stream did before it ended.
#[derive(Default)]
struct Life {
    /// All messages below survive any crash.
    synced: u64,
    /// All messages below were appended, or may have been.
    appended: u64,
    /// All messages below were trimmed for good.
    trimmed: u64,
    /// The highest trimmed sequence that may be stable.
    trimmed_most: u64,
}

fn message(sequence: u64) -> Message {
    let length = usize::try_from(sequence * 7919 % 900).unwrap();
    (sequence, vec![u8::try_from(sequence % 256).unwrap(); length])
}

fn live(disk: &SimDisk, seed: u64, life: &mut Life) -> std::io::Result<()> {
    let mut random = Random(seed);
    let (mut log, opened) = StreamLog::open(Arc::new(disk.clone()), &small())?;
    assert_eq!(opened.damages, []);
    for _ in 0..14 {
        match random.below(6) {
            0 => life.synced = log.sync()?,
            1 => {
                let below = log.next().saturating_sub(random.below(12) as u64);
                life.trimmed_most = life.trimmed_most.max(below);
                log.trim_below(below)?;
                life.trimmed = life.trimmed.max(below);
            }
            2 => {
                let limits = Retention { max_messages: Some(15), ..Retention::default() };
                life.trimmed_most = life.trimmed_most.max(log.next().saturating_sub(15));
                log.retain(&limits, 0)?;
            }
            _ => {
                let next = log.next();
                let count = random.below(9) as u64;
                let messages: Vec<_> = (next..next + count).map(message).collect();
                life.appended = life.appended.max(next + count);
                append(&mut log, &messages)?;
            }
        }
    }
    Ok(())
}

fn check(disk: &SimDisk, life: &Life, loss: Loss, context: &str) {
    let log = open(disk);
    let reader = log.reader();
    let stable = if loss == Loss::Power { life.synced } else { 0 };
    assert!((stable..=life.appended.max(1)).contains(&log.next()), "{context}: {}, {stable}", log.next());
    assert!(reader.oldest() >= life.trimmed.min(log.next()), "{context}: trimmed messages are back");
    assert!(reader.oldest() <= life.trimmed_most.max(1), "{context}: messages were trimmed");
    let expected: Vec<_> =
        (reader.oldest()..log.next()).map(|sequence| Got::Message(sequence, message(sequence))).collect();
    assert_eq!(read(&log), expected, "{context}");
}

#[test]
fn a_crash_at_every_step_loses_nothing_that_was_synced() {
    for seed in 0..12 {
        let steps = {
            let disk = SimDisk::new(seed);
            live(&disk, seed, &mut Life::default()).unwrap();
            disk.steps()
        };
        for step in 1..=steps {
            for loss in [Loss::Process, Loss::Power] {
                let context = format!("seed {seed}, step {step}, {loss:?}");
                let disk = SimDisk::new(seed);
                disk.set_fault(step, Fault::PowerCut);
                let mut life = Life::default();
                let _ = live(&disk, seed, &mut life);
                let mut disk = disk.restart(step, loss);
                check(&disk, &life, loss, &context);
                // A second life, which begins with what the first one left, and ends somewhere, too.
                disk = disk.restart(seed, Loss::Process);
                disk.set_fault(1 + (step * 31) % 40, Fault::PowerCut);
                let mut second = Life { synced: 0, appended: life.appended, ..life };
                let _ = live(&disk, seed + 1, &mut second);
                let disk = disk.restart(step, loss);
                check(&disk, &second, loss, &format!("{context}, second life"));
            }
        }
    }
}

#[test]
fn an_error_at_every_step_loses_nothing_and_is_no_gap() {
    for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
        for step in 1..120 {
            let disk = SimDisk::new(step);
            let mut log = open(&disk);
            disk.set_fault(step, Fault::Error(kind));
            let mut failures = 0;
            while log.next() < 60 {
                let next = log.next();
                let messages: Vec<_> = (next..next + 5).map(message).collect();
                let result = append(&mut log, &messages).and_then(|()| log.trim_below(next.saturating_sub(20)));
                if let Err(error) = result.and_then(|()| log.sync().map(|_| ())) {
                    failures += 1;
                    if log.sync().is_err_and(|error| error.to_string().starts_with("a sync failed")) {
                        // Nothing is appended any more; what there is can be read.
                        let another = message(log.next());
                        assert!(append(&mut log, &[another]).is_err());
                        let got = read(&log);
                        assert_eq!(got.len() as u64, log.next() - log.reader().oldest(), "step {step}: {error}");
                        log = open(&disk);
                    }
                }
            }
            assert!(failures <= 1, "step {step}");
            for _ in 0..2 {
                let expected: Vec<_> = (log.reader().oldest()..log.next())
                    .map(|sequence| Got::Message(sequence, message(sequence)))
                    .collect();
                assert_eq!(read(&log), expected, "step {step}");
                log = open(&disk);
            }
        }
    }
}
