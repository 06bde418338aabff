use std::sync::Arc;

use oncemq::codec::Connect;
use oncemq::store::sim::Loss::Process;
use oncemq::store::sim::SimDisk;
use oncemq::store::{Disk, Entry, Hooks, Key, Level, Options, Room, Store};

use super::choices::Choices;
use super::decode::VERSIONS;
use super::shard::World;

/// Any bytes as a data directory, also entries with right checksums and any contents: the broker starts or refuses with a text. If it
/// starts, clients can take over the Sessions, and it starts again with what it then wrote.
pub(crate) fn recovery(input: &[u8]) {
    let mut choices = Choices::new(input);
    let disk = SimDisk::new(1);
    match choices.below(4) {
        0 => {
            let name = ["0000000001.seg", "0000000002.seg", "4294967295.seg"][choices.below(3)];
            disk.set_bytes(name, choices.rest().to_vec());
        }
        1 => {
            write_entries(&disk, Parts::None, &mut choices.clone());
            mutate(&disk, choices.rest());
        }
        2 => write_entries(&disk, Parts::None, &mut choices),
        _ => write_entries(&disk, Parts::Any, &mut choices),
    }
    let options = Options { segment_bytes: 4_096, ..Options::default() };
    let disk = disk.restart(1, Process);
    match Store::open_on(Arc::new(disk.clone()), &options, Hooks::default(), &mut |_| ()) {
        Err(error) => return assert!(!error.to_string().is_empty()),
        Ok((store, ..)) => drop(store),
    }
    let disk = disk.restart(1, Process);
    let (mut world, sessions) = World::on(disk.clone());
    for (slot, name) in ["a", "b", "c"].into_iter().enumerate() {
        let version = VERSIONS[(slot + sessions) % VERSIONS.len()];
        let slot = u32::try_from(slot).expect("below 3");
        world.connect(usize::from(slot == 1), slot, &Connect::new(version, name, false));
        let mut none = Choices::new(&[]);
        world.authenticate(&mut none);
        world.commit();
        world.fetch(&mut none);
    }
    world.settle();
    drop(world);
    drop(World::on(disk.restart(1, Process)));
}

/// Whether puts have parts. Without, their bodies may be those of format version 1.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    None,
    Any,
}

/// Entries with right checksums, whose keys, bodies and parts are anything.
fn write_entries(disk: &SimDisk, has_parts: Parts, choices: &mut Choices<'_>) {
    let options = Options { segment_bytes: 4_096, ..Options::default() };
    let opened = Store::open_on(Arc::new(disk.clone()), &options, Hooks::default(), &mut |_| ());
    let (store, mut committer, _) = opened.expect("an empty disk");
    let mut ticket = 0;
    while !choices.is_empty() && ticket < 50 {
        ticket += 1;
        let puts: Vec<Key> = (0..choices.below(4)).map(|_| key(choices)).collect();
        let deletes: Vec<Key> = (0..choices.below(3)).map(|_| key(choices)).collect();
        let ends = (choices.byte() % 16 == 1).then(|| u64::from(choices.byte()));
        let body = choices.bytes();
        let parts: Vec<&[u8]> = puts.iter().filter(|_| has_parts == Parts::Any).map(|_| choices.bytes()).collect();
        let (level, room) = (Level::PowerLoss, Room::Reserve);
        let entry = Entry { body, puts: &puts, parts: &parts, deletes: &deletes, ends, level, room };
        store.append(0, ticket, &entry).expect("the disk has room");
    }
    committer.commit();
}

fn key(choices: &mut Choices<'_>) -> Key {
    let number = |choices: &mut Choices<'_>| match choices.byte() {
        254 => u64::MAX - u64::from(choices.byte() % 2),
        255 => choices.u64(),
        small => u64::from(small % 8),
    };
    Key { kind: choices.byte() % 12, group: number(choices), id: number(choices) }
}

/// Overwrites bytes of the first segment.
fn mutate(disk: &SimDisk, changes: &[u8]) {
    let Ok(file) = disk.open("0000000001.seg") else { return };
    let size = file.size().expect("no fault").max(1);
    let mut choices = Choices::new(changes);
    for _ in 0..1 + choices.below(4) {
        let offset = u64::from(choices.u16()) % size;
        file.write_at(offset, choices.bytes()).expect("no fault");
    }
}
