use std::sync::Arc;

use oncemq::store::sim::SimDisk;
use oncemq::store::{Disk, Entry, Hooks, Key, Level, Options, Room, Store};

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
        let entry = Entry { body: &body, puts: &[key(id)], deletes: &[], ends: None, level, room };
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
    let keys: Vec<Key> = wanted.iter().map(|id| key(*id)).collect();
    let mut answers = 0;
    store.read_each(&keys, |key, body| {
        answers += 1;
        let expected = usize::try_from(key.id).ok().and_then(|id| bodies.get(id)).map(Vec::as_slice);
        if let Ok(body) = body {
            assert_eq!(body, expected, "another body");
        }
    });
    assert_eq!(answers, keys.len());
}
