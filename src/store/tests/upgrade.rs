use std::io;

use super::super::entry::Decoded;
use super::super::format::{SegmentHeader, seal_batch};
use super::super::keys::{Tail, encode_keys};
use super::super::pending::Batch;
use super::super::upgrade::upgrade_on;
use super::*;

/// An entry in the layout of format version 1.
fn entry_of_version_1(change: &Change) -> Vec<u8> {
    let mut keys = Tail::default();
    encode_keys(&change.puts, &[], &mut keys);
    encode_keys(&change.deletes, &[], &mut keys);
    let ends = change.ends.map_or(vec![0], |group| vec![1, u8::try_from(group).unwrap()]);
    let length = u32::try_from(12 + keys.len() + ends.len() + change.body.len()).unwrap();
    let body_length = u32::try_from(change.body.len()).unwrap();
    let rest = [&length.to_le_bytes()[..], &body_length.to_le_bytes(), &keys, &ends, &change.body].concat();
    [&crc32c::crc32c(&rest).to_le_bytes()[..], &rest].concat()
}

/// A segment of format version 1 with two entries in each batch.
fn segment_of_version_1(number: u32, first_sequence: u64, changes: &[Change]) -> Vec<u8> {
    let header = SegmentHeader { version: 1, number, first_sequence, salt: 0x1234_5678_9ABC_DEF0 + u64::from(number) };
    let mut segment = header.encode().to_vec();
    let mut sequence = first_sequence;
    for changes in changes.chunks(2) {
        let Batch { mut bytes, .. } = Batch::new(Vec::new());
        bytes.extend(changes.iter().flat_map(entry_of_version_1));
        let entries = u32::try_from(changes.len()).unwrap();
        seal_batch(&header, sequence, sequence, entries, &mut bytes).unwrap();
        segment.extend(bytes);
        sequence += u64::from(entries);
    }
    segment
}

/// A log with three segments of version 1, and its contents.
fn old_disk(seed: u64) -> (SimDisk, Model) {
    let (disk, mut random, mut model) = (SimDisk::new(seed), Random(seed), Model::new());
    for number in 1..=3 {
        let plain = |random: &mut Random| Change { parts: Vec::new(), ..Change::random(random) };
        let changes: Vec<_> = (0..20).map(|_| plain(&mut random)).collect();
        changes.iter().for_each(|change| change.apply(&mut model));
        disk.set_bytes(&segment_name(number), segment_of_version_1(number, u64::from(number) * 20 - 19, &changes));
    }
    (disk, model)
}

/// Divides the last bytes of each body from the rest, as a part.
fn divide(body: &[u8], puts: &[Key]) -> Option<Upgraded> {
    let (common, part) = body.split_at_checked(body.len().checked_sub(6)?)?;
    (!puts.is_empty()).then(|| Upgraded { body: common.to_vec(), parts: vec![part.to_vec(); puts.len()] })
}

fn contents(disk: &SimDisk) -> (Model, Report) {
    let mut model = Model::new();
    let report = recovery::scan(disk, &|_, _| (), &mut |entry| apply(&entry, &mut model)).unwrap().report;
    (model, report)
}

fn versions(disk: &SimDisk) -> Vec<u8> {
    (1..=4).filter_map(|number| disk.bytes(&segment_name(number))).map(|bytes| bytes[8]).collect()
}

#[test]
fn all_segments_are_rewritten_with_the_same_contents() {
    let (disk, model) = old_disk(1);
    let mut rewritten = Vec::new();
    let report = upgrade_on(&disk, &divide, &mut |name| rewritten.push(name.to_owned())).unwrap();
    assert_eq!(rewritten, [segment_name(3), segment_name(2), segment_name(1)]);
    assert_eq!((report.entries, versions(&disk)), (60, vec![2, 2, 2]));
    let run = Run::open(&disk, &Options { strict: true, ..small() });
    assert_eq!(run.recovered, model);
    run.assert_holds(&model);
    drop(run);
    let before = disk.steps();
    assert_eq!(upgrade_on(&disk, &divide, &mut |name| panic!("{name}")).unwrap().damages, []);
    assert_eq!(disk.steps(), before, "nothing is left to do");
}

#[test]
fn bodies_are_divided_into_what_all_puts_share_and_their_parts() {
    let disk = SimDisk::new(1);
    let change = Change::put(7, b"a message to queues");
    disk.set_bytes(&segment_name(1), segment_of_version_1(1, 1, &[change]));
    upgrade_on(&disk, &divide, &mut |_| ()).unwrap();
    let mut found = Vec::new();
    recovery::scan(&disk, &|_, _| (), &mut |entry| found.push((entry.body.to_vec(), entry.parts[0].to_vec()))).unwrap();
    assert_eq!(found, [(b"a message to ".to_vec(), b"queues".to_vec())]);
}

#[test]
fn a_crash_at_any_step_leaves_a_store_that_opens_and_can_be_upgraded() {
    let (undisturbed, _) = old_disk(3);
    upgrade_on(&undisturbed, &divide, &mut |_| ()).unwrap();
    let steps = undisturbed.steps();
    assert!(steps >= 3 * 5, "{steps}");
    for step in 1..=steps {
        for loss in [Loss::Process, Loss::Power] {
            let (disk, model) = old_disk(3);
            disk.set_fault(step, Fault::PowerCut);
            upgrade_on(&disk, &divide, &mut |_| ()).unwrap_err();
            let disk = disk.restart(step, loss);
            let (recovered, report) = contents(&disk);
            assert_eq!((recovered, report.damages), (model.clone(), vec![]), "step {step}, {loss:?}");
            let resumed = disk.restart(step, Loss::Process);
            drop(Run::open(&resumed, &Options { strict: true, ..small() }));
            upgrade_on(&resumed, &divide, &mut |_| ()).unwrap();
            assert_eq!(contents(&resumed).0, model, "step {step}, {loss:?}");
            assert!(versions(&resumed).iter().all(|version| *version == 2));
        }
    }
}

#[test]
fn a_full_disk_is_an_error_and_changes_nothing_that_counts() {
    let (disk, model) = old_disk(4);
    disk.set_capacity(disk.used() + 100);
    upgrade_on(&disk, &divide, &mut |name| panic!("{name}")).unwrap_err();
    assert_eq!((contents(&disk).0, versions(&disk)), (model, vec![1, 1, 1]));
    assert_eq!(disk.bytes(NEW), None);
}

#[test]
fn a_failed_step_is_an_error_and_the_store_stays_whole() {
    let (undisturbed, model) = old_disk(5);
    upgrade_on(&undisturbed, &divide, &mut |_| ()).unwrap();
    for step in 1..=undisturbed.steps() {
        let (disk, _) = old_disk(5);
        disk.set_fault(step, Fault::Error(io::ErrorKind::Other));
        upgrade_on(&disk, &divide, &mut |_| ()).unwrap_err();
        assert_eq!(contents(&disk).0, model, "step {step}");
    }
}

#[test]
fn a_damaged_or_newer_store_is_refused_and_not_changed() {
    let (disk, _) = old_disk(6);
    let mut bytes = disk.bytes(&segment_name(1)).unwrap();
    bytes[120] ^= 1;
    disk.set_bytes(&segment_name(1), bytes);
    assert!(matches!(upgrade_on(&disk, &divide, &mut |_| ()), Err(OpenError::Damaged { count: 1, .. })));
    let (disk, _) = old_disk(6);
    let mut bytes = disk.bytes(&segment_name(3)).unwrap();
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.set_bytes(&segment_name(3), bytes);
    let before = disk.steps();
    let error = upgrade_on(&disk, &divide, &mut |_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { version: 3, .. }), "{error}");
    assert_eq!((disk.steps(), versions(&disk)), (before, vec![1, 1, 3]));
}

#[test]
fn what_a_crash_left_behind_the_end_is_not_taken_over() {
    let (disk, model) = old_disk(7);
    let mut bytes = disk.bytes(&segment_name(3)).unwrap();
    let torn = bytes[64..110].to_vec();
    bytes.extend(torn);
    disk.set_bytes(&segment_name(3), bytes);
    assert_ne!(contents(&disk).1.cut_bytes, 0);
    let report = upgrade_on(&disk, &divide, &mut |_| ()).unwrap();
    assert_eq!((report.cut_bytes, contents(&disk).0), (0, model));
}

#[test]
fn the_layout_of_version_1_in_these_tests_is_that_of_the_decoder() {
    let change = Change { ends: Some(3), deletes: vec![key(4)], ..Change::put(7, b"body") };
    let bytes = entry_of_version_1(&change);
    let Decoded { body, puts, deletes, ends, .. } = crate::store::version_1::decode(&bytes).unwrap();
    assert_eq!((body, &puts[..], &deletes[..], ends), (&b"body"[..], &[key(7)][..], &[key(4)][..], Some(3)));
}
