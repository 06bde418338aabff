use std::sync::Arc;

use oncemq::store::sim::SimDisk;
use oncemq::store::{Disk, Entry, Hooks, Key, Level, Located, Options, Room, Store};

use super::choices::Choices;

/// A disk that returns other bytes than were written, in bursts of at most 32 bits, gives errors, and never another body: the checksum of
/// an entry notices each such burst.
pub(crate) fn store_fetch(input: &[u8]) {
    let mut choices = Choices::new(input);
    let disk = SimDisk::new(1);
    let options = Options { segment_bytes: 4_096, ..Options::default() };
    let opened = Store::open_on(Arc::new(disk.clone()), &options, Hooks::default(), &mut |_| ());
    let (store, mut committer, _) = opened.expect("an empty disk");
    let key = |id| Key { group: 1, kind: 1, id };
    let mut bodies = Vec::new();
    for (id, letter) in (0..).zip(b'a'..=b'a' + choices.byte() % 12) {
        let body = vec![letter; usize::from(choices.byte()) * 8];
        let (level, room) = (Level::PowerLoss, Room::Ordinary);
        // Every second entry has the keys of three groups, with parts of their own.
        let puts = [1, 2, 3].map(|group| Key { group, ..key(id) });
        let parts = [&part(id, 1), &part(id, 2), &part(id, 2)[..0]];
        let shared = if id % 2 == 0 { 1 } else { 3 };
        let entry = Entry {
            body: &body,
            puts: &puts[..shared],
            parts: &parts[..shared],
            deletes: &[],
            ends: None,
            level,
            room,
        };
        store.append(0, id + 1, &entry).expect("the disk has room");
        bodies.push(body);
        committer.commit();
    }
    let mut names = disk.list().expect("no fault");
    names.retain(|name| name.ends_with(".seg"));
    for name in names {
        let file = disk.open(&name).expect("no fault");
        let size = file.size().expect("no fault").max(1);
        let burst = choices.u32().to_be_bytes();
        let offset = u64::from(choices.u32()) % size;
        if !choices.byte().is_multiple_of(4) {
            file.write_at(offset, &burst).expect("no fault");
        }
    }
    let mut wanted: Vec<u64> = (0..bodies.len() as u64 + 2).collect();
    wanted.rotate_left(choices.below(bodies.len()));
    let group = 1 + u64::from(choices.byte() % 3);
    let keys = wanted.iter().map(|id| Key { group, ..key(*id) });
    let mut answers = 0;
    store.read_each(&mut store.locate(keys), |Located { key, .. }, found| {
        answers += 1;
        let has_key = key.group == 1 || key.id % 2 == 1;
        let expected = usize::try_from(key.id).ok().and_then(|id| bodies.get(id)).filter(|_| has_key);
        match found {
            Err(_) => {}
            Ok(None) => assert_eq!(expected, None, "no body"),
            Ok(Some(found)) => {
                let own = if key.group < 3 { part(key.id, key.group) } else { [0; 9] };
                let body = found.body();
                // That a key has no part is known when the body is.
                assert!(
                    found.part == &own[..if key.group < 3 { 9 } else { 0 }] || found.part.is_empty() && body.is_err()
                );
                if let Ok(body) = body {
                    assert_eq!(Some(&*body), expected.map(Vec::as_slice), "another body");
                }
            }
        }
    });
    assert_eq!(answers, wanted.len());
}

/// The part of a key.
fn part(id: u64, group: u64) -> [u8; 9] {
    [u8::try_from(id * 2 + group).expect("at most 12 entries"); 9]
}
