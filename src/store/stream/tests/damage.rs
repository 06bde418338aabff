use proptest::prelude::*;

use super::*;

const FIRST: &str = "0000000001.seg";

/// Six messages of a batch each, in one segment, and the offsets of the batches.
fn six() -> (SimDisk, Vec<usize>) {
    let disk = SimDisk::new(1);
    let mut log = open(&disk);
    append_each(&mut log, 6);
    log.sync().unwrap();
    append_each(&mut log, 1);
    (disk, (0..7).map(|at| 64 + at * 152).collect())
}

/// Several segments with indexes.
fn several() -> SimDisk {
    let disk = SimDisk::new(1);
    append_each(&mut open(&disk), 100);
    disk
}

fn flip(disk: &SimDisk, name: &str, offset: usize) {
    let mut bytes = disk.bytes(name).unwrap();
    bytes[offset] ^= 0x10;
    disk.set_bytes(name, bytes);
}

fn segments(disk: &SimDisk, suffix: &str) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.ends_with(suffix)).collect()
}

#[test]
fn a_bad_byte_in_the_last_batch_cuts_it() {
    let (disk, offsets) = six();
    flip(&disk, FIRST, offsets[6] + 60);
    let (mut log, opened) = open_with(&disk, &small());
    assert_eq!((sequences(&read(&log)), opened.damages), (vec![1, 2, 3, 4, 5, 6], vec![]));
    assert!(opened.cut_bytes > 100);
    append(&mut log, &[(9, b"new".to_vec())]).unwrap();
    assert_eq!(read(&open(&disk)).last(), Some(&Got::Message(7, (9, b"new".to_vec()))));
}

/// The batch behind proves that the damaged ones had been synced.
#[test]
fn damage_in_the_middle_is_reported_and_quarantined_and_the_rest_is_read() {
    for at in [0, 12, 20, 60, 130] {
        let (disk, offsets) = six();
        flip(&disk, FIRST, offsets[1] + at);
        flip(&disk, FIRST, offsets[2] + at);
        let damaged = disk.bytes(FIRST).unwrap();
        let mut aside = None;
        for _ in 0..2 {
            let (log, opened) = open_with(&disk, &small());
            let got = read(&log);
            assert_eq!((sequences(&got), &got[1]), (vec![1, 4, 5, 6, 7], &Got::Lost(2, 4)), "byte {at}");
            assert_eq!(read_from(&log.reader(), 3, 1)[0], Got::Lost(3, 4));
            assert_eq!(sequences(&read_from(&log.reader(), 4, 1)), [4, 5, 6, 7]);
            let [damage] = &opened.damages[..] else { panic!("{opened:?}") };
            assert_eq!((damage.from, damage.to, damage.entries), (offsets[1] as u64, offsets[3] as u64, Some(2)));
            assert_eq!(disk.bytes(damage.quarantined_as.as_ref().unwrap()).unwrap(), damaged);
            // The next start finds the same damage under the same name.
            assert_eq!(*aside.get_or_insert(damage.clone()), *damage);
        }
    }
}

#[test]
fn a_damaged_last_segment_goes_on_behind_the_damage_and_has_no_index() {
    let (disk, offsets) = six();
    flip(&disk, FIRST, offsets[1] + 60);
    let (mut log, _) = open_with(&disk, &small());
    append_each(&mut log, 100);
    assert!(disk.bytes("0000000001.idx").is_none() && disk.bytes("0000000002.idx").is_some());
    for _ in 0..2 {
        let got = read(&log);
        assert_eq!((got.len(), &got[1]), (107, &Got::Lost(2, 3)));
        let (again, opened) = open_with(&disk, &small());
        assert_eq!(opened.damages.len(), 1);
        log = again;
    }
}

#[test]
fn damage_behind_a_valid_index_is_found_by_the_reader_and_by_the_next_start() {
    let disk = several();
    let mut log = open(&disk);
    flip(&disk, "0000000002.seg", 64 + 152 + 60);
    flip(&disk, "0000000002.seg", 4064 - 100);
    log = {
        drop(log);
        open(&disk)
    };
    let got = read(&log);
    let lost: Vec<_> = got.iter().filter(|got| matches!(got, Got::Lost(..))).cloned().collect();
    assert_eq!(lost, [Got::Lost(28, 29), Got::Lost(52, 53)]);
    assert_eq!(sequences(&got).len(), 98);
    log.retain(&Retention::default(), 0).unwrap();
    drop(log);
    let (log, opened) = open_with(&disk, &small());
    assert_eq!(opened.damages.len(), 2);
    assert!(opened.damages.iter().all(|damage| damage.quarantined_as.is_some()));
    assert_eq!(read(&log), got);
}

#[test]
fn a_wrong_or_missing_index_is_made_anew() {
    let disk = several();
    let expected = read(&open(&disk));
    let whole = disk.bytes("0000000002.idx").unwrap();
    for offset in (0..whole.len()).step_by(3) {
        flip(&disk, "0000000002.idx", offset);
        let (log, opened) = open_with(&disk, &small());
        assert_eq!((opened.scanned, opened.damages), (2, vec![]), "byte {offset}");
        assert_eq!(read(&log), expected);
        assert_eq!(disk.bytes("0000000002.idx").unwrap(), whole);
    }
    disk.remove("0000000002.idx").unwrap();
    assert_eq!(open_with(&disk, &small()).1.scanned, 2);
    assert_eq!(disk.bytes("0000000002.idx").unwrap(), whole);
}

#[test]
fn a_damaged_header_is_replaced_by_that_of_the_index() {
    let disk = several();
    let expected = read(&open(&disk));
    flip(&disk, "0000000002.seg", 30);
    let (log, opened) = open_with(&disk, &small());
    let [damage] = &opened.damages[..] else { panic!("{opened:?}") };
    assert_eq!((damage.name.as_str(), damage.to, damage.entries), ("0000000002.seg", 64, Some(0)));
    assert_eq!(read(&log), expected);
}

#[test]
fn an_unreadable_or_missing_segment_is_reported_with_its_number_of_messages() {
    for is_missing in [false, true] {
        let disk = several();
        if is_missing {
            disk.remove("0000000002.seg").unwrap();
        } else {
            flip(&disk, "0000000002.seg", 30);
        }
        disk.remove("0000000002.idx").unwrap();
        for is_first in [true, false] {
            let (log, opened) = open_with(&disk, &small());
            let [damage] = &opened.damages[..] else { panic!("{opened:?}") };
            assert_eq!((damage.name.as_str(), damage.entries), ("0000000002.seg", Some(26)));
            assert_eq!(damage.quarantined_as.is_some(), is_first && !is_missing);
            let got = read(&log);
            assert_eq!((sequences(&got).len(), got[26].clone()), (74, Got::Lost(27, 53)));
        }
    }
}

#[test]
fn a_last_segment_without_a_header_is_put_aside_and_the_caller_can_skip_its_numbers() {
    let disk = several();
    let last = segments(&disk, ".seg").pop().unwrap();
    flip(&disk, &last, 3);
    let (mut log, opened) = open_with(&disk, &small());
    assert_eq!((opened.damages[0].name.clone(), opened.damages[0].entries), (last, None));
    let next = log.next();
    assert_eq!(read(&log).len() as u64, next - 1);
    log.skip_to(101).unwrap();
    append_each(&mut log, 1);
    let got = read(&open(&disk));
    assert_eq!(got[usize::try_from(next).unwrap() - 1..], [Got::Lost(next, 101), Got::Message(101, numbered(101))]);
}

#[test]
fn a_segment_of_another_stream_is_put_aside() {
    let disk = several();
    let options = StreamOptions { number: 8, ..small() };
    let (log, opened) = open_with(&disk, &options);
    assert_eq!((log.next(), opened.damages.len()), (1, 4));
    assert_eq!(segments(&disk, ".idx"), Vec::<String>::new());
}

#[test]
fn a_newer_format_is_refused_with_its_version() {
    let (disk, _) = six();
    let mut bytes = disk.bytes(FIRST).unwrap();
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.set_bytes(FIRST, bytes);
    let error = StreamLog::open(Arc::new(disk.clone()), &small()).err().unwrap();
    assert!(error.to_string().contains("0000000001.seg has stream format version 3"), "{error}");
}

/// Whatever changed byte: a message is read as it was appended, or it is missing and that is told.
#[test]
fn each_changed_byte_is_detected() {
    let build = || {
        let disk = SimDisk::new(3);
        let mut log = open(&disk);
        for sequence in 1..=40 {
            append(&mut log, &[(sequence, vec![9; 90]), (sequence, vec![])]).unwrap();
            log.sync().unwrap();
        }
        log.trim_below(3).unwrap();
        disk
    };
    let disk = build();
    let whole = read(&open(&disk));
    for name in disk.list().unwrap() {
        let bytes = disk.bytes(&name).unwrap();
        for offset in 0..bytes.len() {
            let disk = disk.restart(1, Loss::Process);
            flip(&disk, &name, offset);
            let (log, opened) = open_with(&disk, &small());
            let got = read(&log);
            let mut expected = got.iter();
            let mut lost = 0;
            for found in &mut expected {
                match found {
                    Got::Lost(from, to) => lost += to - from,
                    message => assert!(whole.contains(message) || name == "oldest", "{name}, byte {offset}"),
                }
            }
            assert!(lost <= 40, "{name}, byte {offset}: {lost}");
            if name == "oldest" {
                assert_eq!(opened.damages.len(), 1);
            } else {
                // Only the last batch, or a last segment without a header, may look as if it had not been synced.
                let missing = 81 - log.next();
                assert!(missing == 0 || opened.cut_bytes > 0 || !opened.damages.is_empty(), "{name}, byte {offset}");
                assert_eq!(sequences(&got).len() as u64 + lost + missing, whole.len() as u64, "{name}, byte {offset}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_as_a_directory_are_opened_or_refused(
        files in prop::collection::vec((0..8usize, prop::collection::vec(any::<u8>(), 0..300)), 0..6)
    ) {
        let names =
            [FIRST, "0000000002.seg", "4294967295.seg", "0000000001.idx", "0000000002.idx", "oldest", "new", "x"];
        let disk = SimDisk::new(1);
        for (name, bytes) in files {
            disk.set_bytes(names[name], bytes);
        }
        use_it(&disk);
    }

    /// The same with whole files in which some bytes were overwritten, and the checksums of the headers made right.
    #[test]
    fn overwritten_files_are_opened_or_refused(
        changes in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u8>()), 1..6),
        is_sealed in any::<bool>(),
    ) {
        let disk = several();
        for (name, offset, byte) in changes {
            let names = disk.list().unwrap();
            let name = &names[usize::from(name) % names.len()];
            let mut bytes = disk.bytes(name).unwrap();
            let length = bytes.len().max(1);
            let offset = usize::from(offset) % if is_sealed { length.min(130) } else { length };
            bytes[offset] = byte;
            if is_sealed && name.ends_with(".seg") {
                let crc = crc32c::crc32c(&bytes[..48]);
                bytes[48..52].copy_from_slice(&crc.to_le_bytes());
            }
            if is_sealed && name.ends_with(".idx") {
                let crc = crc32c::crc32c(&bytes[16..64]);
                bytes[64..68].copy_from_slice(&crc.to_le_bytes());
                let crc = crc32c::crc32c(&bytes[..length - 4]);
                bytes[length - 4..].copy_from_slice(&crc.to_le_bytes());
            }
            disk.set_bytes(name, bytes);
        }
        use_it(&disk);
    }
}

fn use_it(disk: &SimDisk) {
    let Ok((mut log, _)) = StreamLog::open(Arc::new(disk.clone()), &small()) else { return };
    let reader = log.reader();
    let mut from = reader.oldest();
    while from < reader.end() {
        let read = reader.read(from, 1000, &mut |_| ControlFlow::Continue(()));
        let next = match read {
            Ok(next) | Err(StreamReadError::Lost { to: next, .. }) => next,
            Err(StreamReadError::Trimmed { .. }) => panic!("nothing is trimmed"),
            Err(StreamReadError::Io(_)) => reader.skip_unreadable(from).unwrap(),
        };
        assert!(next > from, "{from} is read for ever");
        from = next;
    }
    let _ = reader.sequence_at(500);
    let _ = log.retain(&Retention { max_age: Some(10), max_bytes: Some(8000), max_messages: Some(20) }, 300);
    let message = numbered(log.next());
    if append(&mut log, std::slice::from_ref(&message)).is_ok() {
        let last = read(&log).last().cloned();
        assert_eq!(last, Some(Got::Message(log.next() - 1, message)));
    }
}

/// Files of the current format version. Later versions must read them, and this one must write the same bytes until the version changes.
const GOLDEN: [(&str, &[u8]); 4] = [
    (FIRST, include_bytes!("stream-1.seg")),
    ("0000000001.idx", include_bytes!("stream-1.idx")),
    ("0000000002.seg", include_bytes!("stream-2.seg")),
    ("oldest", include_bytes!("stream-oldest")),
];

fn write_golden(disk: &SimDisk) {
    let mut log = open(disk);
    append(&mut log, &[(1_700_000_000_000, b"first".to_vec()), (1_700_000_000_001, b"second".to_vec())]).unwrap();
    append(&mut log, &[(1_699_999_999_999, vec![])]).unwrap();
    log.skip_to(5).unwrap();
    append(&mut log, &[(1_700_000_000_003, b"fifth".to_vec())]).unwrap();
    log.trim_below(2).unwrap();
}

#[test]
fn the_format_stays_readable_and_unchanged() {
    let disk = SimDisk::new(1);
    write_golden(&disk);
    let written = SimDisk::new(2);
    for (name, golden) in GOLDEN {
        assert_eq!(disk.bytes(name).unwrap(), golden, "the format changed: it needs a new version");
        written.set_bytes(name, golden.to_vec());
    }
    let (log, opened) = open_with(&written, &small());
    assert_eq!((log.next(), opened.scanned, opened.damages), (6, 1, vec![]));
    let expected = [
        Got::Message(2, (1_700_000_000_001, b"second".to_vec())),
        Got::Message(3, (1_699_999_999_999, vec![])),
        Got::Lost(4, 5),
        Got::Message(5, (1_700_000_000_003, b"fifth".to_vec())),
    ];
    assert_eq!(read(&log), expected);
}
