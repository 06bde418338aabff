use super::*;

fn queue(group: u64) -> Key {
    Key { group, kind: 1, id: 1 }
}

fn to_queues(count: u64, body: &[u8], parts: &'static [&'static [u8]]) -> Change {
    let parts = parts.iter().copied().cycle().take(usize::try_from(count).unwrap()).collect();
    Change { body: body.to_vec(), puts: (1..=count).map(queue).collect(), parts, ..Change::default() }
}

#[test]
fn a_copy_has_the_live_keys_and_their_parts_only() {
    const PARTS: &[&[u8]] = &[&[1; 50], &[2; 60], &[3; 70]];
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &small());
    let change = to_queues(300, b"common", PARTS);
    run.append(&change).unwrap();
    let mut model = Model::new();
    change.apply(&mut model);
    let deletes = Change { deletes: (1..=300).filter(|group| *group != 200).map(queue).collect(), ..Change::default() };
    run.append(&deletes).unwrap();
    deletes.apply(&mut model);
    for id in 0..60 {
        for change in [Change::put(id, &[1; 200]), Change::delete(id)] {
            run.append(&change).unwrap();
            change.apply(&mut model);
        }
        run.commit_all();
    }
    assert!(disk.bytes("0000000001.seg").is_none(), "it was reclaimed");
    run.assert_holds(&model);
    let live = run.store.stats().live_bytes;
    assert!((80..130).contains(&live), "{live}");
}

#[test]
fn a_large_body_that_is_in_use_is_not_read_again() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    run.append(&to_queues(3, &[7; 100_000], &[b"a", b"b", b"c"])).unwrap();
    run.append(&Change::put(9, &[9; 100_000])).unwrap();
    run.commit_all();
    let read = |key| run.store.read_key(key, |found| Ok(found.body()?.bytes().cloned())).unwrap().unwrap().unwrap();
    let [first, second] = [1, 2].map(|group| read(queue(group)));
    assert_eq!((first.as_ptr(), &first[..]), (second.as_ptr(), &[7; 100_000][..]));
    assert_ne!(read(key(9)).as_ptr(), read(key(9)).as_ptr(), "nobody else reads it");
    drop((first, second));
    assert_eq!(read(queue(3)), [7; 100_000][..]);
}

#[test]
fn every_key_of_an_entry_with_many_parts_is_read() {
    let disk = SimDisk::new(1);
    let mut run = Run::open(&disk, &Options::default());
    let mut model = Model::new();
    for id in 0..20 {
        let mut change = to_queues(400, &[7; 50], &[b"a", b"b", b"", &[9; 700], b"c"]);
        change.puts.iter_mut().for_each(|key| key.id = id);
        run.append(&change).unwrap();
        change.apply(&mut model);
    }
    run.commit_all();
    run.assert_holds(&model);
    drop(run);
    let run = Run::open(&disk, &Options::default());
    assert_eq!(run.recovered, model);
    run.assert_holds(&model);
}
