use proptest::prelude::*;

use super::*;

const FIRST: &str = "0000000001.seg";

/// A log of batches with one put each, and the offsets of the batches.
fn log(count: u64) -> (SimDisk, Vec<usize>) {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    let mut offsets = Vec::new();
    for id in 0..count {
        offsets.push(usize::try_from(run.store.stats().bytes).unwrap());
        run.append(&Change::put(id, &[7; 100])).unwrap();
        run.commit();
    }
    (disk, offsets)
}

/// Four batches in the first segment, and one in the second.
fn two_segments() -> (SimDisk, Vec<usize>) {
    let (disk, offsets) = log(4);
    let mut run = Run::open(&disk, &small());
    run.append(&Change::put(9, &[9; 4000])).unwrap();
    run.commit();
    (disk, offsets)
}

fn flip(disk: &SimDisk, name: &str, offset: usize) {
    let mut bytes = disk.bytes(name).unwrap();
    bytes[offset] ^= 0x10;
    disk.set_bytes(name, bytes);
}

fn ids(run: &Run) -> Vec<u64> {
    run.recovered.keys().map(|key| key.id).collect()
}

#[test]
fn a_bad_byte_in_the_last_batch_cuts_it() {
    let (disk, offsets) = log(4);
    flip(&disk, FIRST, offsets[3] + 60);
    let run = Run::open(&disk, &Options { strict: true, ..Options::default() });
    assert_eq!((ids(&run), run.report.damages.len()), (vec![0, 1, 2], 0));
    assert!(run.report.cut_bytes > 100);
}

#[test]
fn damage_in_the_middle_is_quarantined_and_the_rest_is_recovered() {
    for at in [0, 12, 20, 60, 130] {
        let (disk, offsets) = log(6);
        flip(&disk, FIRST, offsets[1] + at);
        flip(&disk, FIRST, offsets[2] + at);
        let damaged = disk.bytes(FIRST).unwrap();
        let strict = Run::try_open(&disk, &Options { strict: true, ..Options::default() });
        assert!(matches!(strict, Err(OpenError::Damaged { count: 1, .. })));
        let run = Run::open(&disk, &Options::default());
        assert_eq!(ids(&run), [0, 3, 4, 5], "byte {at}");
        let damage = &run.report.damages[0];
        assert_eq!((damage.name.as_str(), damage.entries), (FIRST, Some(2)));
        assert_eq!((damage.from, damage.to), (offsets[1] as u64, offsets[3] as u64));
        let aside = damage.quarantined_as.clone().unwrap();
        assert_eq!(disk.bytes(&aside).unwrap(), damaged);
        drop(run);
        // The next start finds the same damage under the same name.
        let run = Run::open(&disk, &Options::default());
        assert_eq!((ids(&run), run.report.damages[0].quarantined_as.clone()), (vec![0, 3, 4, 5], Some(aside)));
    }
}

#[test]
fn a_missing_end_of_a_segment_that_is_not_the_last_is_damage() {
    let (disk, offsets) = two_segments();
    flip(&disk, FIRST, offsets[3] + 60);
    let run = Run::open(&disk, &Options::default());
    assert_eq!((ids(&run), run.report.damages[0].entries), (vec![0, 1, 2, 9], Some(1)));
}

#[test]
fn a_segment_without_a_header_is_moved_to_the_quarantine() {
    let (disk, _) = two_segments();
    flip(&disk, FIRST, 3);
    let damaged = disk.bytes(FIRST).unwrap();
    let run = Run::open(&disk, &Options::default());
    assert_eq!((ids(&run), run.report.damages.len()), (vec![9], 1));
    assert_eq!(disk.bytes(run.report.damages[0].quarantined_as.as_ref().unwrap()).unwrap(), damaged);
    assert!(disk.bytes(FIRST).is_none());
    drop(run);
    assert_eq!(ids(&Run::open(&disk, &Options { strict: true, ..Options::default() })), [9]);
}

#[test]
fn a_missing_segment_is_reported_with_its_number_of_entries() {
    let (disk, _) = two_segments();
    let mut run = Run::open(&disk, &small());
    for id in 10..13 {
        run.append(&Change::put(id, &[1; 4000])).unwrap();
        run.commit();
    }
    drop(run);
    flip(&disk, "0000000003.seg", 20);
    for aside in [true, false] {
        let run = Run::open(&disk, &small());
        assert_eq!(ids(&run), [0, 1, 2, 3, 9, 11, 12]);
        let [damage] = &run.report.damages[..] else { panic!("{:?}", run.report.damages) };
        assert_eq!((damage.name.as_str(), damage.entries), ("0000000003.seg", Some(1)));
        assert_eq!(damage.quarantined_as.is_some(), aside);
    }
}

#[test]
fn a_damaged_segment_is_reclaimed_like_any_other() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    for id in 0..100 {
        run.append(&Change::put(id, &[1; 200])).unwrap();
        run.commit();
    }
    drop(run);
    flip(&disk, FIRST, 1000);
    let mut run = Run::open(&disk, &small());
    assert_eq!((run.report.damages.len(), run.recovered.len()), (1, 99));
    let mut model = run.recovered.clone();
    for id in 20..100 {
        Change::delete(id).apply(&mut model);
        run.append(&Change::delete(id)).unwrap();
    }
    run.commit_all();
    assert!(disk.bytes(FIRST).is_none());
    assert_eq!(run.store.stats().unreadable_segment, None);
    run.assert_holds(&model);
    drop(run);
    let run = Run::open(&disk, &Options { strict: true, ..small() });
    assert_eq!(run.recovered, model);
}

#[test]
fn a_body_that_changed_on_the_disk_is_not_returned() {
    let (disk, offsets) = log(4);
    let run = Run::open(&disk, &Options::default());
    flip(&disk, FIRST, offsets[1] + 100);
    assert_eq!(run.store.read(key(1)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(run.store.read(key(2)).unwrap().is_some());
}

#[test]
fn a_newer_format_is_refused_with_its_version() {
    let (disk, _) = log(1);
    let mut bytes = disk.bytes(FIRST).unwrap();
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.set_bytes(FIRST, bytes);
    let error = Run::try_open(&disk, &Options::default()).err().unwrap();
    assert!(error.to_string().contains("0000000001.seg has format version 3"), "{error}");
}

/// A log of the current format version. Later versions must read it, and this one must write the same bytes until the version changes.
const GOLDEN: &[u8] = include_bytes!("version-2.seg");

fn golden_changes() -> Vec<Change> {
    let key = |group, kind, id| Key { group, kind, id };
    let message = |body: &[u8], puts, parts| Change { body: body.to_vec(), puts, parts, ..Change::default() };
    vec![
        message(b"a session", vec![key(1, 0, 0)], vec![]),
        message(
            b"a message to four queues",
            vec![key(7, 5, 1), key(1, 1, 1), key(1, 1, 2), key(2, 1, 1), key(300, 1, u64::MAX)],
            vec![b"", b"alike", b"alike", b"different", b"alike"],
        ),
        message(b"another one", vec![key(2, 1, 2), key(300, 1, 7)], vec![b"different", b"alike"]),
        Change { deletes: vec![key(1, 1, 1)], ends: Some(300), ..Change::default() },
    ]
}

/// Two batches with these changes.
fn write_golden(disk: &SimDisk) -> Run {
    let mut run = Run::open(disk, &Options::default());
    let changes = golden_changes();
    changes[..3].iter().for_each(|change| run.append(change).unwrap());
    run.commit();
    run.append(&changes[3]).unwrap();
    run.commit();
    run
}

#[test]
fn the_format_stays_readable_and_unchanged() {
    let mut model = Model::new();
    golden_changes().iter().for_each(|change| change.apply(&mut model));
    let disk = SimDisk::new(1);
    drop(write_golden(&disk));
    let mut written = disk.bytes(FIRST).unwrap();
    written.truncate(GOLDEN.len()); // behind it are zeros
    assert_eq!(written, GOLDEN, "the format changed: it needs a new version");

    let disk = SimDisk::new(2);
    disk.set_bytes(FIRST, GOLDEN.to_vec());
    let run = Run::open(&disk, &Options::default());
    assert_eq!((run.recovered.clone(), run.report.entries), (model.clone(), 4));
    run.assert_holds(&model);
}

/// What recovery passes to the broker.
fn visited(disk: &SimDisk) -> Result<Vec<Change>, OpenError> {
    let mut visited = Vec::new();
    let visitor = &mut |found: Recovered<'_>| {
        let Recovered { body, puts, parts, deletes, ends } = found;
        let known = |part: &&[u8]| [&b""[..], b"alike", b"different"].into_iter().find(|known| known == part);
        let parts = parts.iter().map(|part| known(part).unwrap_or(b"another part")).collect();
        let (body, puts, deletes) = (body.to_vec(), puts.to_vec(), deletes.to_vec());
        visited.push(Change { body, puts, parts, deletes, ends, ..Change::default() });
    };
    Store::open_on(Arc::new(disk.clone()), &Options::default(), Hooks::default(), visitor)?;
    Ok(visited)
}

#[test]
fn recovery_passes_on_no_entry_that_a_changed_byte_altered() {
    let mut written = golden_changes();
    for change in &mut written {
        change.parts.resize(change.puts.len(), b"");
    }
    for at in 0..GOLDEN.len() {
        for mask in [0x01, 0x80, 0xFF] {
            let disk = SimDisk::new(1);
            let mut bytes = GOLDEN.to_vec();
            bytes[at] ^= mask;
            disk.set_bytes(FIRST, bytes);
            let Ok(read) = visited(&disk) else { continue };
            let mut rest = written.iter();
            for change in read {
                assert!(rest.any(|original| *original == change), "byte {at}: {change:?}");
            }
        }
    }
}

#[test]
fn no_read_of_a_key_returns_what_a_changed_byte_altered() {
    let disk = SimDisk::new(1);
    let run = write_golden(&disk);
    let written = disk.bytes(FIRST).unwrap();
    let mut model = Model::new();
    golden_changes().iter().for_each(|change| change.apply(&mut model));
    let keys: Vec<Key> = model.keys().copied().collect();
    let mut unreadable = BTreeMap::<Key, usize>::new();
    let file = disk.open(FIRST).unwrap();
    for at in 0..written.len() {
        for mask in [0x01, 0x80, 0xFF] {
            file.write_at(at as u64, &[written[at] ^ mask]).unwrap();
            let alone = keys.iter().map(|key| (*key, run.store.read_key(*key, stored)));
            for (key, read) in read_each(&run.store, &keys).into_iter().chain(alone) {
                match read {
                    Ok(read) => assert_eq!(read.as_ref(), model.get(&key), "byte {at}"),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                        *unreadable.entry(key).or_default() += 1;
                    }
                }
            }
            file.write_at(at as u64, &written[at..=at]).unwrap();
        }
    }
    // Both reads of a key notice each changed byte of the entry's front and body, and of the key's own part, but need no other bytes.
    let length = |body: &[u8], part: &[u8]| 13 + body.len() + if part.is_empty() { 0 } else { 4 + 1 + 1 + part.len() };
    let key = |group, kind, id| Key { group, kind, id };
    let needed = [
        (key(1, 0, 0), length(b"a session", b"")),
        (key(1, 1, 2), length(b"a message to four queues", b"alike")),
        (key(2, 1, 1), length(b"a message to four queues", b"different")),
        (key(2, 1, 2), length(b"another one", b"different")),
        (key(7, 5, 1), length(b"a message to four queues", b"")),
    ];
    assert_eq!(unreadable, needed.into_iter().map(|(key, bytes)| (key, 2 * 3 * bytes)).collect());
}

fn opens(files: &[(&str, Vec<u8>)]) {
    let disk = SimDisk::new(1);
    for (name, bytes) in files {
        disk.set_bytes(name, bytes.clone());
    }
    for _ in 0..2 {
        let mut run = Run::open(&disk, &small());
        let model = run.recovered.clone();
        run.assert_holds(&model);
        run.append(&Change::put(1, b"goes on")).unwrap();
        run.commit_all();
        assert_eq!(run.stable(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_can_be_opened(first in prop::collection::vec(any::<u8>(), 0..400), second in prop::collection::vec(any::<u8>(), 0..400)) {
        opens(&[(FIRST, first), ("0000000002.seg", second)]);
    }

    #[test]
    fn any_altered_log_can_be_opened(
        changes in prop::collection::vec((0usize..GOLDEN.len(), any::<u8>()), 0..6), length in 0..=GOLDEN.len(),
        again in any::<bool>(),
    ) {
        let mut bytes = GOLDEN.to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(length);
        let mut files = vec![(FIRST, bytes)];
        if again {
            files.push(("0000000003.seg", GOLDEN.to_vec()));
        }
        opens(&files);
    }
}
