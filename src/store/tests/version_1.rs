use super::*;

const FIRST: &str = "0000000001.seg";

/// A log of the first format version.
const GOLDEN: &[u8] = include_bytes!("version-1.seg");

/// What it contains.
fn model() -> Model {
    let key = |group, kind, id| Key { group, kind, id };
    Model::from([(key(1, 0, 0), b"a session".to_vec()), (key(1, 1, 2), b"a message to two queues".to_vec())])
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(2);
    disk.set_bytes(FIRST, GOLDEN.to_vec());
    disk
}

#[test]
fn a_log_of_version_1_is_read() {
    let run = Run::open(&disk(), &Options { strict: true, ..Options::default() });
    assert_eq!((run.recovered.clone(), run.report.entries), (model(), 3));
    run.assert_holds(&model());
}

#[test]
fn it_continues_in_a_segment_of_version_2() {
    let disk = disk();
    let mut run = Run::open(&disk, &small());
    let change = Change { parts: vec![b"part"], ..Change::put(1, b"new") };
    run.append(&change).unwrap();
    run.commit_all();
    let mut model = model();
    change.apply(&mut model);
    run.assert_holds(&model);
    drop(run);
    assert_eq!(disk.bytes(FIRST).unwrap(), GOLDEN);
    assert_eq!(disk.bytes("0000000002.seg").unwrap()[8], 2);
    let run = Run::open(&disk, &Options { strict: true, ..small() });
    assert_eq!(run.recovered, model);
    run.assert_holds(&model);
}

#[test]
fn what_a_crash_left_behind_the_end_of_version_1_is_no_damage() {
    let disk = disk();
    let torn = [GOLDEN, &GOLDEN[64..100]].concat();
    disk.set_bytes(FIRST, torn);
    for _ in 0..2 {
        let run = Run::open(&disk, &Options { strict: true, ..small() });
        assert_eq!((run.recovered, run.report.damages), (model(), vec![]));
    }
}

#[test]
fn its_entries_are_copied_in_the_new_layout() {
    let disk = disk();
    let upgrade = |body: &[u8], puts: &[Key]| {
        let (common, part) = body.split_at_checked(body.len() - 6)?;
        let is_message = puts[0].kind == 1;
        is_message.then(|| Upgraded { body: common.to_vec(), parts: vec![part.to_vec(); puts.len()] })
    };
    let hooks = Hooks { upgrade: Box::new(upgrade), ..Hooks::default() };
    let (store, mut committer, _) = Store::open_on(Arc::new(disk.clone()), &small(), hooks, &mut |_| ()).unwrap();
    let mut ticket = 0;
    while disk.bytes(FIRST).is_some() {
        ticket += 1;
        assert!(ticket < 1_000, "it is not reclaimed");
        store.append(0, 2 * ticket, &Change::put(ticket + 10, &[1; 200]).entry()).unwrap();
        store.append(0, 2 * ticket + 1, &Change::delete(ticket + 9).entry()).unwrap();
        while committer.commit() == Progress::Worked {}
    }
    let key = Key { group: 1, kind: 1, id: 2 };
    let found = store.read_key(key, |found| Ok((found.body()?.to_vec(), found.part.to_vec()))).unwrap();
    assert_eq!(found, Some((b"a message to two ".to_vec(), b"queues".to_vec())));
    assert_eq!(store.read(Key { group: 1, kind: 0, id: 0 }).unwrap().unwrap(), b"a session"[..]);
    drop((store, committer));
    let run = Run::open(&disk, &Options { strict: true, ..small() });
    assert_eq!(run.recovered.get(&key).unwrap(), b"a message to two queues");
}
