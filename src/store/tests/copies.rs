//! Copies of a replicated log: they follow, are cut, are copied anew.

use proptest::prelude::*;

use super::mark::MarkFile;
use super::replicated::{Owner, Tail, mark, own};
use super::*;

fn follow(disk: &SimDisk) -> Result<Follower, OpenError> {
    Follower::open_on(Arc::new(disk.clone()), &small(), &|_, _| ())
}

/// What a log says.
pub(super) fn state(disk: &SimDisk) -> (Model, u64) {
    let mut model = Model::new();
    let scan = recovery::scan(disk, &|_, _| (), &mut |entry| apply(&entry, &mut model)).unwrap();
    assert_eq!(scan.report.damages, []);
    (model, scan.sequence)
}

/// What the first batches of a tail say.
pub(super) fn state_of(tail: &Tail, batches: usize) -> Model {
    let mut model = Model::new();
    for at in 0..batches {
        let (_, entries, batch) = tail.get(at);
        let mut rest = &batch[..];
        for _ in 0..entries {
            let entry = super::entry::decode(rest).unwrap();
            let parts: Vec<_> = (0..entry.puts.len()).map(|put| entry.part(put)).collect();
            let (puts, deletes, ends) = (&entry.puts, &entry.deletes, entry.ends);
            apply(&Recovered { body: entry.body, puts, parts: &parts, deletes, ends }, &mut model);
            rest = &rest[entry.length..];
        }
    }
    model
}

/// The number of batches below a sequence, at which one must end.
fn batches_below(tail: &Tail, sequence: u64) -> usize {
    (0..=tail.len()).find(|batches| tail.end(*batches) == sequence).unwrap()
}

/// Appends the batches from the follower's end up to this number.
fn catch_up(follower: &mut Follower, tail: &Tail, batches: usize) -> io::Result<()> {
    if follower.mark().is_none() {
        follower.sync(Vec::new())?;
    }
    for at in batches_below(tail, follower.sequence())..batches {
        let (first, entries, batch) = tail.get(at);
        follower.append(first, entries, &batch)?;
    }
    Ok(())
}

/// A tail of so many random commits, made by an owner.
fn tail_of(seed: u64, commits: usize) -> (SimDisk, Tail) {
    let (disk, tail, mut random) = (SimDisk::new(seed), Tail::default(), Random(seed));
    let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
    for _ in 0..commits {
        owner.append(&Change::random(&mut random)).unwrap();
        owner.committer.commit();
        owner.store.replicated(tail.end(tail.len()));
        let stable = owner.store.stable();
        owner.store.write_mark(&mark(stable)).unwrap();
    }
    drop(owner);
    (disk, tail)
}

#[test]
fn a_follower_has_the_log_of_its_owner_and_frees_what_is_dead() {
    for seed in 0..4 {
        let (owner, tail) = tail_of(seed, 500);
        let disk = SimDisk::new(seed + 100);
        let mut follower = follow(&disk).unwrap();
        assert!(follower.is_empty() && follower.mark().is_none());
        let (first, entries, batch) = tail.get(0);
        let without_a_mark = follower.append(first, entries, &batch);
        assert_eq!(without_a_mark.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        follower.sync(vec![0]).unwrap();
        for at in 0..tail.len() {
            let (first, entries, batch) = tail.get(at);
            follower.append(first, entries, &batch).unwrap();
            if at % 7 == 0 {
                follower.sync(vec![7]).unwrap();
            }
        }
        follower.sync(b"end".to_vec()).unwrap();
        assert!(!follower.is_empty());
        assert_eq!(follower.mark(), Some(&Mark { sequence: tail.end(tail.len()), state: b"end".to_vec() }));
        drop(follower);
        assert_eq!(state(&disk), state(&owner));
        assert_eq!(state(&disk), (state_of(&tail, tail.len()), tail.end(tail.len())));
        let live: u64 = state(&disk).0.values().map(|body| body.len() as u64 + 60).sum();
        assert!(disk.used() < 4 * live + 12 * 4096, "{} bytes, {live} live", disk.used());
    }
}

#[test]
fn a_batch_that_is_damaged_or_does_not_follow_is_refused_and_nothing_is_appended() {
    let (_, tail) = tail_of(3, 12);
    let disk = SimDisk::new(1);
    let mut follower = follow(&disk).unwrap();
    catch_up(&mut follower, &tail, 4).unwrap();
    let (first, entries, batch) = tail.get(4);
    let refused = |follower: &mut Follower, first, entries, batch: &[u8]| {
        let refused = follower.append(first, entries, batch).unwrap_err().kind();
        assert_eq!((follower.sequence(), follower.has_failed()), (tail.end(4), false));
        refused
    };
    for other in [0, first - 1, first + 1, u64::MAX] {
        assert_eq!(refused(&mut follower, other, entries, &batch), io::ErrorKind::InvalidInput);
    }
    for other in [0, entries + 1, u32::MAX] {
        assert_eq!(refused(&mut follower, first, other, &batch), io::ErrorKind::InvalidData);
    }
    for length in 0..batch.len() {
        assert_eq!(refused(&mut follower, first, entries, &batch[..length]), io::ErrorKind::InvalidData);
    }
    let longer = [&batch[..], &[0; 8]].concat();
    assert_eq!(refused(&mut follower, first, entries, &longer), io::ErrorKind::InvalidData);
    let steps = disk.steps();
    // Every bit of the front and of the body has a checksum.
    for bit in 0..8 * super::entry::front_length(&batch).unwrap() {
        let mut changed = batch.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refused(&mut follower, first, entries, &changed), io::ErrorKind::InvalidData, "bit {bit}");
    }
    assert_eq!(disk.steps(), steps);
    catch_up(&mut follower, &tail, tail.len()).unwrap();
    follower.sync(Vec::new()).unwrap();
    drop(follower);
    assert_eq!(state(&disk).0, state_of(&tail, tail.len()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_appended_or_refused(batch in prop::collection::vec(any::<u8>(), 0..200), entries in 0u32..4) {
        let disk = SimDisk::new(1);
        let mut follower = follow(&disk).unwrap();
        follower.sync(Vec::new()).unwrap();
        let appended = follower.append(1, entries, &batch).is_ok();
        prop_assert_eq!(follower.sequence(), if appended { 1 + u64::from(entries) } else { 1 });
    }
}

/// A disk with a log in several segments and a mark at a batch in the middle.
fn beyond_its_mark(seed: u64) -> (SimDisk, Tail, u64) {
    let (disk, tail, mut random) = (SimDisk::new(seed), Tail::default(), Random(seed));
    let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
    let marked = 20 + random.below(20);
    for commit in 0..70 {
        owner.append(&Change::random(&mut random)).unwrap();
        owner.committer.commit();
        if commit <= marked {
            owner.store.replicated(tail.end(tail.len()));
            let stable = owner.store.stable();
            owner.store.write_mark(&mark(stable)).unwrap();
        }
    }
    let marked = owner.store.stable();
    drop(owner);
    (disk, tail, marked)
}

#[test]
fn the_log_is_cut_to_its_mark_and_looks_intact_after_a_crash_at_every_step() {
    for seed in 0..12 {
        let (disk, tail, marked) = beyond_its_mark(seed);
        let disk = disk.restart(seed, Loss::Process);
        let before = disk.bytes(mark::NAME).unwrap();
        let expected = state_of(&tail, batches_below(&tail, marked));
        let (mut step, mut cuts) = (0, 0);
        loop {
            step += 1;
            // The same disk again, as the process left it.
            let crashing = disk.copied();
            crashing.set_fault(step, Fault::PowerCut);
            let opened = follow(&crashing).is_ok();
            let loss = if step % 2 == 0 { Loss::Power } else { Loss::Process };
            let left = crashing.restart(seed ^ step, loss);
            // Also one that does not cut, such as `oncemq store check`, finds no damage, and nothing below the mark missing.
            let (_, sequence) = state(&left);
            assert!(sequence >= marked, "seed {seed}, step {step}: {sequence} of {marked}");
            cuts += u64::from(sequence > marked);
            assert_eq!(left.bytes(mark::NAME).unwrap(), before);
            let mut follower = follow(&left).unwrap();
            assert_eq!(
                (follower.sequence(), follower.mark()),
                (marked, Some(&mark(marked))),
                "seed {seed}, step {step}"
            );
            assert_eq!(state(&left), (expected.clone(), marked), "seed {seed}, step {step}");
            // It goes on from there, and nothing that was cut comes back.
            catch_up(&mut follower, &tail, tail.len()).unwrap();
            follower.sync(Vec::new()).unwrap();
            drop(follower);
            assert_eq!(state(&left).0, state_of(&tail, tail.len()));
            if opened {
                break;
            }
        }
        assert!(step > 4 && cuts > 0, "seed {seed}: {step} steps");
    }
}

#[test]
fn a_mark_that_became_unreadable_leaves_the_one_before_and_all_that_it_needs() {
    let (disk, tail, mut random) = (SimDisk::new(8), Tail::default(), Random(8));
    let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
    let mut sequences = BTreeMap::new();
    for commit in 0..300 {
        owner.append(&Change::random(&mut random)).unwrap();
        owner.committer.commit();
        owner.store.replicated(tail.end(tail.len()));
        if random.below(3) > 0 {
            let stable = owner.store.stable();
            owner.store.write_mark(&mark(stable)).unwrap();
            owner.committer.commit();
        }
        for slot in [0, 4096] {
            let damaged = disk.copied();
            let mut bytes = damaged.bytes(mark::NAME).unwrap();
            bytes[slot + 20] ^= 1;
            damaged.set_bytes(mark::NAME, bytes);
            let opened = follow(&damaged);
            if matches!(opened, Err(OpenError::Damaged { .. })) {
                assert!(slot == 0 && disk.bytes(mark::NAME).unwrap()[4096] == 0, "there was another mark");
                continue;
            }
            let sequence = opened.unwrap().sequence();
            let expected = state_of(&tail, batches_below(&tail, sequence));
            assert_eq!(state(&damaged), (expected, sequence), "commit {commit}, slot {slot}");
            *sequences.entry(sequence == owner.store.stable()).or_insert(0) += 1;
        }
    }
    assert!(sequences[&true] > 100 && sequences[&false] > 100, "{sequences:?}");
    assert!(disk.bytes("0000000001.seg").is_none(), "segments were freed");
}

#[test]
fn a_mark_that_is_no_end_of_a_batch_is_an_error_and_changes_nothing() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
    for id in 0..3 {
        owner.append(&Change::put(2 * id, b"x")).unwrap();
        owner.append(&Change::put(2 * id + 1, b"x")).unwrap();
        owner.committer.commit();
    }
    drop(owner);
    for sequence in 1..10 {
        let other = disk.copied();
        other.remove(mark::NAME).unwrap();
        MarkFile::create(&other, &mark(sequence)).unwrap();
        let before = state(&other);
        match follow(&other) {
            Ok(follower) => assert!(sequence % 2 == 1 && follower.sequence() == sequence && sequence <= 7),
            Err(OpenError::Damaged { .. }) => {
                assert!(sequence % 2 == 0 || sequence > 7, "{sequence}");
                assert_eq!(state(&other), before);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_log_is_cut_on_a_full_disk() {
    for seed in 0..6 {
        let (disk, tail, marked) = beyond_its_mark(seed);
        disk.set_capacity(disk.used());
        let follower = follow(&disk).unwrap();
        assert_eq!(follower.sequence(), marked);
        drop(follower);
        assert_eq!(state(&disk).0, state_of(&tail, batches_below(&tail, marked)));
    }
}

#[test]
fn a_changed_bit_below_the_mark_is_found_and_above_it_is_cut() {
    let (disk, tail, marked) = beyond_its_mark(5);
    let expected = state_of(&tail, batches_below(&tail, marked));
    let names: Vec<_> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".seg")).collect();
    let (mut found, mut cut, mut random) = (0, 0, Random(5));
    for name in &names {
        let bytes = disk.bytes(name).unwrap();
        for _ in 0..300 {
            let (at, bit) = (random.below(bytes.len()), random.below(8));
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let damaged = disk.copied();
            damaged.set_bytes(name, changed);
            match follow(&damaged) {
                Err(OpenError::Damaged { .. } | OpenError::OffMark { .. } | OpenError::Newer { .. }) => found += 1,
                Err(error) => panic!("{error}"),
                Ok(follower) => {
                    assert_eq!(follower.sequence(), marked, "{name}, byte {at}");
                    drop(follower);
                    assert_eq!(state(&damaged), (expected.clone(), marked), "{name}, byte {at}");
                    cut += 1;
                }
            }
        }
    }
    assert!(found > 200 && cut > 200, "{found} found, {cut} cut");
}

#[test]
fn a_missing_end_below_the_mark_is_no_torn_end() {
    let (disk, tail) = tail_of(7, 40);
    let end = tail.end(tail.len());
    let last = disk.list().unwrap().into_iter().rfind(|name| name.ends_with(".seg")).unwrap();
    let bytes = disk.bytes(&last).unwrap();
    for length in [0, 63, 64, bytes.len() / 2] {
        let damaged = disk.copied();
        damaged.set_bytes(&last, bytes[..length].to_vec());
        assert!(matches!(follow(&damaged), Err(OpenError::Damaged { .. })), "{length} bytes");
    }
    let damaged = disk.copied();
    damaged.remove(&last).unwrap();
    assert!(follow(&damaged).is_err());
    assert_eq!(follow(&disk).unwrap().sequence(), end);
}

#[test]
fn a_follower_on_a_full_disk_loses_nothing_and_goes_on_when_there_is_space() {
    for capacity in (30_000..34_000).step_by(97) {
        let (_, tail) = tail_of(9, 300);
        let disk = SimDisk::new(capacity);
        let mut follower = follow(&disk).unwrap();
        follower.sync(vec![0]).unwrap();
        disk.set_capacity(capacity);
        let mut failed = 0;
        for at in 0..tail.len() {
            let (first, entries, batch) = tail.get(at);
            while let Err(error) = follower.append(first, entries, &batch) {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                assert!(!follower.has_failed());
                failed += 1;
                // The mark can be written without space.
                follower.sync(vec![1]).unwrap();
                assert_eq!(follower.mark().unwrap().sequence, first);
                if failed % 3 == 0 {
                    disk.set_capacity(disk.used() + 3000);
                }
            }
        }
        assert!(failed > 0);
        disk.set_capacity(u64::MAX);
        follower.sync(vec![2]).unwrap();
        drop(follower);
        assert_eq!(state(&disk.restart(capacity, Loss::Power)), (state_of(&tail, tail.len()), tail.end(tail.len())));
    }
}

#[test]
fn a_follower_whose_write_or_sync_failed_must_be_opened_again() {
    let (_, tail) = tail_of(9, 60);
    let (mut failures, mut step) = (0, 0);
    loop {
        step += 1;
        let disk = SimDisk::new(step);
        let mut follower = follow(&disk).unwrap();
        disk.set_fault(disk.steps() + step, Fault::Error(io::ErrorKind::Other));
        let mut ended = Ok(());
        for batches in 1..=tail.len() {
            ended = catch_up(&mut follower, &tail, batches);
            if ended.is_ok() && batches % 5 == 0 {
                ended = follower.sync(vec![1]);
            }
            if ended.is_err() {
                break;
            }
        }
        if ended.is_err() {
            failures += 1;
            if !follower.has_failed() {
                // Only the mark failed.
                follower.sync(vec![1]).unwrap();
            }
            assert_eq!(follower.sync(vec![3]).is_err(), follower.has_failed());
        }
        drop(follower);
        let disk = disk.restart(step, Loss::Power);
        let mut follower = follow(&disk).unwrap();
        catch_up(&mut follower, &tail, tail.len()).unwrap();
        follower.sync(vec![2]).unwrap();
        drop(follower);
        assert_eq!(state(&disk).0, state_of(&tail, tail.len()));
        if ended.is_ok() {
            break;
        }
    }
    assert!(failures > 50, "{failures}");
}

/// Copies a snapshot into a directory.
fn copy(snapshot: &Snapshot, to: &SimDisk, piece: usize) -> Result<(), OpenError> {
    let incoming = Incoming::begin_on(Arc::new(to.clone()), snapshot.mark(), snapshot.files())?;
    receive(incoming, snapshot, piece)
}

/// The same in the place of the log that is there.
fn copy_over(snapshot: &Snapshot, to: &SimDisk) -> Result<(), OpenError> {
    let incoming = Incoming::begin_on(Arc::new(to.clone()), snapshot.mark(), snapshot.files())?;
    incoming.remove_former()?;
    receive(incoming, snapshot, 2000)
}

fn receive(mut incoming: Incoming, snapshot: &Snapshot, piece: usize) -> Result<(), OpenError> {
    for &(segment, bytes) in snapshot.files() {
        let mut offset = 0;
        while offset < bytes {
            let read = snapshot.read(segment, offset, piece)?;
            incoming.write(segment, offset, &read)?;
            offset += read.len() as u64;
        }
        assert!(snapshot.read(segment, bytes, piece)?.is_empty());
    }
    incoming.finish()
}

#[test]
fn a_copy_is_the_log_up_to_the_mark_also_if_the_owner_goes_on() {
    for seed in 0..8 {
        let (disk, tail, mut random) = (SimDisk::new(seed), Tail::default(), Random(seed));
        let mut owner = own(&disk, &small(), mark(1), &tail).unwrap();
        let mut work = |owner: &mut Owner| {
            for _ in 0..60 {
                owner.append(&Change::random(&mut random)).unwrap();
                owner.committer.commit();
                owner.store.replicated(tail.end(tail.len().saturating_sub(random.below(4))));
                let stable = owner.store.stable();
                if random.below(4) == 0 {
                    owner.store.write_mark(&mark(stable)).unwrap();
                }
            }
        };
        work(&mut owner);
        let snapshot = owner.store.snapshot().unwrap();
        work(&mut owner);
        let to = SimDisk::new(seed + 50);
        copy(&snapshot, &to, 1000).unwrap();
        let marked = snapshot.mark().sequence;
        drop(snapshot);
        let mut copied = follow(&to).unwrap();
        assert_eq!((copied.sequence(), copied.mark()), (marked, Some(&mark(marked))));
        assert_eq!(state(&to).0, state_of(&tail, batches_below(&tail, marked)));
        // A copy of the copy, while it goes on.
        let snapshot = copied.snapshot().unwrap();
        catch_up(&mut copied, &tail, tail.len()).unwrap();
        copied.sync(vec![1]).unwrap();
        copied.sync(vec![1]).unwrap();
        let second = SimDisk::new(seed + 90);
        copy(&snapshot, &second, 700).unwrap();
        assert_eq!(follow(&second).unwrap().sequence(), marked);
        assert_eq!(state(&second).0, state_of(&tail, batches_below(&tail, marked)));
        drop(copied);
        assert_eq!(snapshot.read(snapshot.files()[0].0, 0, 64).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(state(&to).0, state_of(&tail, tail.len()));
    }
}

/// What a crash at one step of a copy leaves: the sequence of the log, and whether a store refuses the directory.
fn crashed(
    (step, seed, loss): (u64, u64, Loss),
    to: &SimDisk,
    copy: &dyn Fn(&SimDisk) -> Result<(), OpenError>,
) -> (SimDisk, u64, bool, bool) {
    to.set_fault(step, Fault::PowerCut);
    let is_done = copy(to).is_ok();
    let mut left = to.restart(seed ^ step, loss);
    let open = |disk: &SimDisk| Store::open_on(Arc::new(disk.copied()), &small(), Hooks::default(), &mut |_| ());
    let is_refused = open(&left).is_err_and(|error| matches!(error, OpenError::IncompleteCopy));
    if is_refused {
        assert!(!is_done);
        // A crash while it is finished.
        left.set_fault(1 + step % 13, Fault::PowerCut);
        let _ = follow(&left);
        left = left.restart(seed, loss);
    }
    let follower = follow(&left).unwrap();
    assert_eq!(follower.mark().is_some(), !follower.is_empty());
    let sequence = follower.sequence();
    drop(follower);
    assert!(left.list().unwrap().iter().all(|name| !name.contains("incoming")), "step {step}");
    (left, sequence, is_refused, is_done)
}

#[test]
fn a_copy_replaces_the_log_that_is_there_as_a_whole_whatever_the_step_of_a_crash() {
    let (from, tail) = tail_of(4, 120);
    let source = follow(&from).unwrap();
    let snapshot = source.snapshot().unwrap();
    let expected = (state_of(&tail, tail.len()), tail.end(tail.len()));
    for (seed, loss) in [(1, Loss::Power), (2, Loss::Power), (3, Loss::Power), (4, Loss::Process)] {
        let (former, _) = tail_of(seed + 20, 30);
        let former = former.restart(seed, Loss::Process);
        let before = state(&former);
        let (mut refused, mut kept) = (0, 0);
        for step in 1.. {
            let to = former.copied();
            let (left, sequence, is_refused, is_done) =
                crashed((step, seed, loss), &to, &|to| copy(&snapshot, to, 2000));
            let is_copy = sequence == expected.1;
            assert_eq!(&state(&left), if is_copy { &expected } else { &before }, "seed {seed}, step {step}");
            assert!(is_copy || !is_done);
            refused += u32::from(is_refused);
            kept += u32::from(!is_copy);
            if is_done {
                break;
            }
        }
        assert!(refused > 10 && kept > 15, "{refused} refused, {kept} kept");
    }
}

#[test]
fn what_a_crash_leaves_of_a_copy_in_the_place_of_the_log_is_one_of_the_two_or_nothing() {
    let (from, tail) = tail_of(4, 120);
    let source = follow(&from).unwrap();
    let snapshot = source.snapshot().unwrap();
    let expected = (state_of(&tail, tail.len()), tail.end(tail.len()));
    for (seed, loss) in [(1, Loss::Power), (2, Loss::Process)] {
        let (former, _) = tail_of(seed + 20, 30);
        let former = former.restart(seed, Loss::Process);
        let before = state(&former);
        let mut empty = 0;
        for step in 1.. {
            let to = former.copied();
            let (left, sequence, _, is_done) = crashed((step, seed, loss), &to, &|to| copy_over(&snapshot, to));
            let found = state(&left);
            let is_one = found == expected || found == before;
            assert!(is_one || (found.0.is_empty() && sequence == 1), "seed {seed}, step {step}");
            assert!(found == expected || !is_done);
            empty += u32::from(!is_one);
            if is_done {
                break;
            }
        }
        assert!(empty > 20, "{empty}");
    }
}

#[test]
fn a_copy_for_which_there_is_no_space_leaves_the_log_as_it_is() {
    let (from, _) = tail_of(4, 120);
    let source = follow(&from).unwrap();
    let snapshot = source.snapshot().unwrap();
    let copied: u64 = snapshot.files().iter().map(|(_, bytes)| bytes).sum();
    let (former, _) = tail_of(20, 30);
    let (before, used) = (state(&former), former.used());
    let begin = |to: &SimDisk| Incoming::begin_on(Arc::new(to.clone()), snapshot.mark(), snapshot.files()).unwrap();
    let margin = 8 << 10;
    for (capacity, expected) in [
        (used + copied + margin, SpaceFor::Both),
        (used + copied + margin - 1, SpaceFor::One),
        (copied + margin, SpaceFor::One),
    ] {
        let to = former.copied();
        to.set_capacity(capacity);
        assert_eq!(begin(&to).space().unwrap(), expected);
        // Another program may have taken the space meanwhile.
        let copied = copy(&snapshot, &to, 2000);
        assert_eq!(copied.is_ok(), expected == SpaceFor::Both, "{capacity}");
        if copied.is_err() {
            drop(follow(&to).unwrap());
            assert_eq!(state(&to), before);
            assert!(to.list().unwrap().iter().all(|name| !name.contains("incoming")));
        }
    }
    let to = SimDisk::new(1);
    to.set_capacity(copied + margin - 1);
    assert_eq!(begin(&to).space().unwrap(), SpaceFor::None { needed: copied, free: copied + margin - 1 });
    let to = former.copied();
    to.set_capacity(copied + margin);
    copy_over(&snapshot, &to).unwrap();
    assert_eq!(state(&to), state(&from));
}

#[test]
fn a_copy_of_a_damaged_log_names_the_segment_and_does_not_replace_the_one_that_is_there() {
    let (from, _) = tail_of(4, 120);
    let source = follow(&from).unwrap();
    let snapshot = source.snapshot().unwrap();
    let (former, _) = tail_of(20, 30);
    let before = state(&former);
    let (segment, bytes) = snapshot.files()[0];
    let name = segment_name(segment);
    assert!(snapshot.verify(segment).is_ok());
    let mut changed = from.bytes(&name).unwrap();
    changed[usize::try_from(bytes / 2).unwrap()] ^= 1;
    from.set_bytes(&name, changed);
    let to = former.copied();
    match copy(&snapshot, &to, 2000) {
        Err(OpenError::Damaged { first, .. }) => assert_eq!(first.name, name),
        other => panic!("{other:?}"),
    }
    drop(follow(&to).unwrap());
    assert_eq!(state(&to), before);
    assert_eq!(snapshot.verify(segment).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(snapshot.files()[1..].iter().all(|(segment, _)| snapshot.verify(*segment).is_ok()));
}

#[test]
fn a_copy_takes_the_next_bytes_of_its_files_alone_and_all_of_them() {
    let begin = |files: &[(u32, u64)]| Incoming::begin_on(Arc::new(SimDisk::new(1)), &mark(5), files);
    for files in [&[(2, 100), (1, 100)][..], &[(1, 100), (1, 100)], &[(u32::MAX, 100)], &[(1, u64::MAX)], &[(1, 0)]] {
        assert!(begin(files).is_err(), "{files:?}");
    }
    let mut incoming = begin(&[(1, 100), (3, 50)]).unwrap();
    for (segment, offset, length) in [(2, 0, 1), (1, 1, 1), (1, 0, 101), (1, u64::MAX, 1), (3, 50, 0)] {
        assert!(incoming.write(segment, offset, &vec![0; length]).is_err(), "{segment}, {offset}, {length}");
    }
    incoming.write(1, 0, &[0; 60]).unwrap();
    incoming.write(3, 0, &[0; 50]).unwrap();
    assert!(incoming.write(1, 0, &[0; 60]).is_err());
    assert!(incoming.finish().is_err());
}

#[test]
fn a_store_is_set_aside_as_a_whole() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("log");
    let mut follower = Follower::open(&directory, &small(), |_, _| None, &|_, _| ()).unwrap();
    assert!(matches!(set_aside(&directory), Err(OpenError::Locked { .. })));
    follower.sync(b"state".to_vec()).unwrap();
    follower.close();
    let aside = set_aside(&directory).unwrap();
    assert!(!directory.exists());
    let old = Follower::open(&aside, &small(), |_, _| None, &|_, _| ()).unwrap();
    assert_eq!(old.mark(), Some(&Mark { sequence: 1, state: b"state".to_vec() }));
    assert!(Follower::open(&directory, &small(), |_, _| None, &|_, _| ()).unwrap().mark().is_none());
}
