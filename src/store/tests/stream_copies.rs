//! Streams of a replicated log: the same messages with the same numbers at all nodes, through crashes, take-overs and copies.

use std::ops::ControlFlow;

use super::replicated::{Tail, mark};
use super::*;
use crate::store::stream_directories::StreamDirectories;

const GROUP: u64 = 1 << 63;
const STREAMS: [u32; 2] = [1, 2];

fn directories(disk: &SimDisk) -> StreamDirectories {
    let (below, listed) = (disk.clone(), disk.clone());
    StreamDirectories {
        disk: Box::new(move |number| Ok(Arc::new(below.directory(&format!("streams/{number}"))))),
        numbers: Box::new(move || {
            let names = listed.list()?;
            let number = |name: &String| name.strip_prefix("streams/")?.split_once('/')?.0.parse().ok();
            let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            Ok(numbers)
        }),
    }
}

/// The body of a definition in these tests is the number of messages that are kept, or nothing.
fn terms(_: u64, body: &[u8]) -> Option<StreamKept> {
    let max_messages = Some(u64::from_le_bytes(*body.first_chunk()?));
    Some(StreamKept { retention: Retention { max_messages, ..Retention::default() }, key: None })
}

fn follow(disk: &SimDisk) -> Result<Follower, OpenError> {
    Follower::open_with(Arc::new(disk.clone()), &small(), (directories(disk), terms), &|_, _| ())
}

/// The owner of a log with streams.
struct Owner {
    store: Store,
    committer: Committer,
    keeper: StreamKeeper,
    ticket: u64,
    stable: Arc<Mutex<u64>>,
    /// The number and body of each message that was appended, by ticket and stream.
    given: Vec<(u64, u32, u64, Vec<u8>)>,
}

impl Owner {
    fn open(disk: &SimDisk, sequence: u64, tail: &Tail) -> Result<Self, String> {
        let stable = Arc::<Mutex<u64>>::default();
        let (told, StreamDirectories { disk: stream_disk, numbers }) = (Arc::clone(&stable), directories(disk));
        let hooks = Hooks {
            on_stable: Box::new(move |_, ticket| *told.lock().unwrap() = ticket),
            replication: Some(Replication { replica: Box::new(tail.clone()), mark: mark(sequence) }),
            stream_disk,
            stream_numbers: numbers,
            ..Hooks::default()
        };
        let opened = Store::open_on(Arc::new(disk.clone()), &small(), hooks, &mut |_| ());
        let (store, committer, _) = opened.map_err(|error| error.to_string())?;
        for number in STREAMS {
            let recovered = store.open_stream(number, Retention::default()).map_err(|error| error.to_string())?;
            assert_eq!((recovered.lost, recovered.opened.damages), (0, vec![]));
        }
        let keeper = store.take_keeper().unwrap();
        Ok(Self { store, committer, keeper, ticket: 0, stable, given: Vec::new() })
    }

    /// Stores the definitions of the streams.
    fn define(&mut self, body: &[u8]) {
        for number in STREAMS {
            let puts = [Key { group: GROUP + u64::from(number), kind: 15, id: 0 }];
            self.append(&Change { body: body.to_vec(), puts: puts.to_vec(), ..Change::default() });
        }
    }

    fn append(&mut self, change: &Change) {
        self.ticket += 1;
        self.store.append(0, self.ticket, &change.entry()).unwrap();
    }

    /// Appends a message to streams, and sometimes to a queue, too.
    fn publish(&mut self, streams: &[u32], body: &[u8]) -> Result<(), Refused> {
        let part = self.ticket.to_le_bytes();
        let numbered: Vec<_> =
            streams.iter().map(|stream| Numbered { group: GROUP + u64::from(*stream), part: &part }).collect();
        let puts = [key(self.ticket % 5)];
        let puts = if self.ticket.is_multiple_of(3) { &puts[..] } else { &[] };
        let (level, room) = (Level::PowerLoss, Room::Reserve);
        let entry = Entry { body, puts, parts: &[], deletes: &[], ends: None, level, room };
        let ids = self.store.append_numbered((0, self.ticket + 1, Urgency::Awaited), &entry, &numbered)?;
        self.ticket += 1;
        let given = streams.iter().zip(ids).map(|(stream, id)| (self.ticket, *stream, id, body.to_vec()));
        self.given.extend(given);
        Ok(())
    }

    fn read(&self, stream: u32) -> BTreeMap<u64, Vec<u8>> {
        let reader = self.store.stream_reader(stream).unwrap();
        let (mut read, mut from) = (BTreeMap::new(), reader.oldest());
        while from < reader.end() {
            let visit = &mut |message: StreamMessage<'_>| {
                assert!(read.insert(message.sequence, message.body.to_vec()).is_none());
                ControlFlow::Continue(())
            };
            from = reader.read(from, 500, visit).unwrap();
        }
        read
    }

    fn stable(&self) -> u64 {
        *self.stable.lock().unwrap()
    }

    fn replicate(&self, tail: &Tail) {
        self.store.replicated(tail.end(tail.len()));
    }

    /// Lets its streams have what is stable, and its log forget that.
    fn write_streams(&mut self) {
        while self.keeper.write() == Progress::Worked {}
        self.keeper.sync();
    }
}

/// Follows the tail from where the copy stands up to so many batches.
fn catch_up(follower: &mut Follower, tail: &Tail, batches: usize) -> io::Result<()> {
    if follower.mark().is_none() {
        follower.sync(Vec::new())?;
    }
    let at = |end| (0..=tail.len()).find(|batches| tail.end(*batches) == end).unwrap();
    for batch in at(follower.sequence())..batches {
        let (first, entries, batch) = tail.get(batch);
        follower.append(first, entries, &batch)?;
    }
    Ok(())
}

/// An owner with so many messages in stream 1, all of them stable and in the files.
fn with_messages(disk: &SimDisk, tail: &Tail, messages: u64) -> Owner {
    let mut owner = Owner::open(disk, 1, tail).unwrap();
    owner.define(&[]);
    for number in 0..messages {
        owner.publish(&[1], &[&number.to_le_bytes()[..], &[7; 200]].concat()).unwrap();
        assert_eq!(owner.committer.commit(), Progress::Worked);
        owner.replicate(tail);
    }
    owner.write_streams();
    owner
}

/// The same, whose log has forgotten the messages, and copied the rest, so that segments can be freed.
fn with_forgotten_messages(disk: &SimDisk, tail: &Tail, messages: u64) -> Owner {
    let mut owner = with_messages(disk, tail, messages);
    for _ in 0..100 {
        owner.append(&Change::put(9, &[9; 100]));
        owner.committer.commit();
        owner.replicate(tail);
        owner.store.write_mark(&mark(owner.store.stable())).unwrap();
    }
    assert!(owner.store.stats().bytes < 5 * 4096, "{:?}", owner.store.stats());
    owner
}

#[test]
fn a_message_is_in_its_stream_when_a_majority_has_it_and_not_before() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let mut owner = with_messages(&disk, &tail, 1);
    for body in [b"first", b"later"] {
        owner.publish(&[1, 2], body).unwrap();
        owner.committer.commit();
    }
    assert_eq!(owner.keeper.write(), Progress::Idle);
    assert_eq!((owner.read(1).len(), owner.read(2).len()), (1, 0));
    owner.store.replicated(tail.end(tail.len() - 1));
    assert_eq!((owner.keeper.write(), owner.keeper.write()), (Progress::Worked, Progress::Idle));
    assert_eq!(
        (owner.read(1)[&2].as_slice(), owner.read(2)),
        (&b"first"[..], BTreeMap::from([(1, b"first".to_vec())]))
    );
    // Another node is the owner: the last one was never acknowledged, and may be something else there.
    owner.store.fence("another node is the owner");
    owner.replicate(&tail);
    drop(owner);
    let mut follower = follow(&disk).unwrap();
    catch_up(&mut follower, &tail, tail.len() - 1).unwrap();
    follower.sync(Vec::new()).unwrap();
    let sequence = follower.sequence();
    follower.close();
    let owner = Owner::open(&disk, sequence, &tail).unwrap();
    assert_eq!((owner.read(1).len(), owner.read(2).len()), (2, 1));
}

#[test]
fn a_follower_has_the_messages_of_its_owner_and_frees_their_space_in_its_log() {
    let (disk, tail, copy) = (SimDisk::new(1), Tail::default(), SimDisk::new(2));
    let mut owner = with_forgotten_messages(&disk, &tail, 300);
    let mut follower = follow(&copy).unwrap();
    for batches in (0..=tail.len()).step_by(20).chain([tail.len()]) {
        catch_up(&mut follower, &tail, batches).unwrap();
        follower.sync(Vec::new()).unwrap();
    }
    // Both slots of the mark have it.
    follower.sync(Vec::new()).unwrap();
    follower.sync(Vec::new()).unwrap();
    assert!(follower.bytes() < 5 * 4096, "{} bytes", follower.bytes());
    let sequence = follower.sequence();
    follower.close();
    let mut next = Owner::open(&copy, sequence, &tail).unwrap();
    assert_eq!(next.read(1), owner.read(1));
    assert_eq!(next.read(1).len(), 300);
    for owner in [&mut owner, &mut next] {
        owner.publish(&[1], b"next").unwrap();
        assert_eq!(owner.given.last().unwrap().2, 301);
    }
}

#[test]
fn a_copy_without_the_files_of_its_streams_is_refused() {
    let (disk, tail, copy) = (SimDisk::new(1), Tail::default(), SimDisk::new(2));
    drop(with_forgotten_messages(&disk, &tail, 300));
    let mut follower = follow(&copy).unwrap();
    catch_up(&mut follower, &tail, tail.len()).unwrap();
    // The log forgets what the files have, and both slots of the mark must let it free that.
    (0..3).for_each(|_| follower.sync(Vec::new()).unwrap());
    drop(follower);
    drop(follow(&copy).unwrap());
    for name in copy.list().unwrap().iter().filter(|name| name.starts_with("streams/1/")) {
        copy.remove(name).unwrap();
    }
    let refused = follow(&copy).map(|_| ()).unwrap_err();
    assert!(matches!(&refused, OpenError::Damaged { first, .. } if first.entries > Some(200)), "{refused:?}");
}

#[test]
fn a_follower_keeps_what_the_definition_says_and_removes_a_stream_with_its_definition() {
    let (disk, tail, copy) = (SimDisk::new(1), Tail::default(), SimDisk::new(2));
    let mut owner = with_messages(&disk, &tail, 9);
    owner.define(&3_u64.to_le_bytes());
    owner.committer.commit();
    let mut follower = follow(&copy).unwrap();
    catch_up(&mut follower, &tail, tail.len()).unwrap();
    follower.sync(Vec::new()).unwrap();
    assert_eq!(follower.streams_oldest(1), Some(7));
    // The owner removes the stream, and a copy of a retained message has its number still.
    owner.store.remove_stream(1).unwrap();
    let ends = Change { ends: Some(GROUP + 1), ..Change::default() };
    owner.append(&ends);
    owner.committer.commit();
    catch_up(&mut follower, &tail, tail.len()).unwrap();
    // A crash before the mark leaves the definition, and no files.
    for step in 1.. {
        let crashed = copy.copied();
        let mut again = follow(&crashed).unwrap();
        catch_up(&mut again, &tail, tail.len()).unwrap();
        crashed.set_fault(crashed.steps() + step, Fault::PowerCut);
        let ended = again.sync(Vec::new()).is_ok();
        drop(again);
        let restarted = crashed.restart(step, Loss::Power);
        let mut again = follow(&restarted).unwrap();
        catch_up(&mut again, &tail, tail.len()).unwrap();
        again.sync(Vec::new()).unwrap();
        drop(again);
        let names = restarted.list().unwrap();
        let left: Vec<_> = names.iter().filter(|name| name.starts_with("streams/1/")).collect();
        assert_eq!(left, ["streams/1/removed"], "step {step}");
        if ended {
            assert!(step > 4);
            break;
        }
    }
}

/// Copies a log with its streams beside what is on a disk.
fn fetch(snapshot: &Snapshot, to: &SimDisk) -> Result<(), OpenError> {
    let (files, of_streams) = (snapshot.files(), snapshot.stream_files());
    let mut incoming =
        Incoming::begin_with(Arc::new(to.clone()), directories(to), snapshot.mark(), (files, of_streams))?;
    for (segment, bytes) in files {
        for offset in (0..*bytes).step_by(3000) {
            incoming.write(*segment, offset, &snapshot.read(*segment, offset, 3000)?)?;
        }
    }
    for file in of_streams {
        for offset in (0..file.bytes).step_by(3000) {
            let read = snapshot.read_stream(file.stream, &file.name, offset, 3000)?;
            incoming.write_stream(file.stream, &file.name, offset, &read)?;
        }
    }
    incoming.finish()
}

/// The messages that a follower has in stream 1, after it became the owner.
fn owned(disk: &SimDisk, tail: &Tail) -> BTreeMap<u64, Vec<u8>> {
    let mut follower = follow(disk).unwrap();
    follower.sync(Vec::new()).unwrap();
    let sequence = follower.sequence();
    follower.close();
    Owner::open(disk, sequence, tail).unwrap().read(1)
}

#[test]
fn a_copy_has_the_streams_and_a_crash_leaves_those_of_before_or_of_the_copy() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let mut owner = with_messages(&disk, &tail, 150);
    let old = SimDisk::new(2);
    let mut follower = follow(&old).unwrap();
    catch_up(&mut follower, &tail, tail.len()).unwrap();
    follower.sync(Vec::new()).unwrap();
    drop(follower);
    let before = owned(&old.copied(), &tail);
    for number in 0..150_u64 {
        owner.publish(&[1], &[&number.to_le_bytes()[..], &[9; 200]].concat()).unwrap();
        owner.committer.commit();
        owner.replicate(&tail);
        owner.write_streams();
        owner.store.write_mark(&mark(owner.store.stable())).unwrap();
    }
    let after = owner.read(1);
    assert_eq!((before.len(), after.len()), (150, 300));
    let mut follower = follow(&SimDisk::new(3)).unwrap();
    catch_up(&mut follower, &tail, tail.len()).unwrap();
    (0..2).for_each(|_| follower.sync(Vec::new()).unwrap());
    for snapshot in [owner.store.snapshot().unwrap(), follower.snapshot().unwrap()] {
        assert!(snapshot.stream_files().iter().any(|file| file.stream == 1 && file.bytes > 1000));
        // Nothing of a file is removed while a copy is made.
        let (mut step, mut seen) = (0, [0, 0]);
        loop {
            step += 1;
            let to = old.copied();
            to.set_fault(to.steps() + step, Fault::PowerCut);
            let ended = fetch(&snapshot, &to).is_ok();
            let found = owned(&to.restart(step, Loss::Power), &tail);
            assert!(found == before || found == after, "step {step}: {} messages", found.len());
            assert!(found == after || !ended);
            seen[usize::from(found == after)] += 1;
            if ended {
                break;
            }
        }
        assert!(seen[0] > 20 && seen[1] > 5, "{seen:?}");
    }
    // That of another node may say anything.
    for name in ["../../passwd", "lock", "0000000001.seg.incoming", ""] {
        let file = StreamFile { stream: 1, name: name.to_owned(), bytes: 1 };
        let to = SimDisk::new(4);
        assert!(Incoming::begin_with(Arc::new(to.clone()), directories(&to), &mark(1), (&[], &[file])).is_err());
    }
}

#[test]
fn the_streams_of_a_store_that_was_not_replicated_go_on_when_it_is() {
    let (disk, tail) = (SimDisk::new(1), Tail::default());
    let StreamDirectories { disk: stream_disk, numbers } = directories(&disk);
    let hooks = Hooks { stream_disk, stream_numbers: numbers, ..Hooks::default() };
    let (store, mut committer, _) = Store::open_on(Arc::new(disk.clone()), &small(), hooks, &mut |_| ()).unwrap();
    store.open_stream(1, Retention::default()).unwrap();
    let define = Change { puts: vec![Key { group: GROUP + 1, kind: 15, id: 0 }], ..Change::default() };
    store.append(0, 1, &define.entry()).unwrap();
    let mut keeper = store.take_keeper().unwrap();
    for number in 0..30_u8 {
        let numbered = [Numbered { group: GROUP + 1, part: &[0; 8] }];
        let change = Change { body: vec![number; 300], ..Change::default() };
        let ticket = u64::from(number) + 2;
        store.append_numbered((0, ticket, Urgency::Awaited), &change.entry(), &numbered).unwrap();
        committer.commit();
        if number < 20 {
            keeper.write();
            keeper.sync();
        }
    }
    drop((keeper, committer, store));
    let mut follower = follow(&disk).unwrap();
    assert_eq!(follower.mark(), None);
    follower.sync(Vec::new()).unwrap();
    let sequence = follower.sequence();
    follower.close();
    let mut owner = Owner::open(&disk, sequence, &tail).unwrap();
    let bodies: Vec<Vec<u8>> = (0..30_u8).map(|number| vec![number; 300]).collect();
    assert_eq!(owner.read(1).into_values().collect::<Vec<_>>(), bodies);
    owner.publish(&[1], b"next").unwrap();
    assert_eq!(owner.given[0].2, 31);
}

/// Three nodes of which one after the other is the owner, while their power fails.
struct History {
    disks: Vec<SimDisk>,
    tail: Tail,
    /// What was acknowledged, and what a reader got, by stream and number.
    known: BTreeMap<(u32, u64), Vec<u8>>,
    acknowledged: BTreeMap<(u32, u64), Vec<u8>>,
    seed: u64,
}

impl History {
    /// What a reader gets now never was another message.
    fn read(&mut self, owner: &Owner) {
        for stream in STREAMS {
            let read = owner.read(stream);
            let numbers: Vec<u64> = read.keys().copied().collect();
            assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "a gap, seed {}", self.seed);
            for (number, body) in read {
                let known = self.known.entry((stream, number)).or_insert_with(|| body.clone());
                assert_eq!(*known, body, "seed {}: {stream}, {number}", self.seed);
            }
        }
    }

    /// What an owner has reported is acknowledged.
    fn acknowledge(&mut self, owner: &Owner) {
        for (_, stream, number, body) in owner.given.iter().filter(|(ticket, ..)| *ticket <= owner.stable()) {
            self.acknowledged.insert((*stream, *number), body.clone());
        }
    }

    /// A node becomes the owner, and must have all that was acknowledged.
    fn take_over(&mut self, node: usize) -> Owner {
        let disk = &self.disks[node];
        let mut follower = follow(disk).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        catch_up(&mut follower, &self.tail, self.tail.len()).unwrap();
        follower.sync(Vec::new()).unwrap();
        let sequence = follower.sequence();
        follower.close();
        let mut owner = Owner::open(disk, sequence, &self.tail).unwrap();
        if self.tail.len() == 0 {
            owner.define(&[]);
        }
        self.read(&owner);
        for ((stream, number), body) in &self.acknowledged {
            let read = owner.read(*stream);
            assert_eq!(read.get(number), Some(body), "seed {}: {stream}, {number}", self.seed);
        }
        owner
    }

    fn live(&mut self, owner: &mut Owner, node: usize, random: &mut Random) {
        for _ in 0..40 + random.below(40) {
            let streams: &[u32] = [&[1][..], &[2], &[1, 2], &[2, 1]][random.below(4)];
            let body: Vec<u8> = (0..random.below(300)).map(|_| random.byte(256)).collect();
            if owner.publish(streams, &body).is_err() {
                return;
            }
            match random.below(12) {
                0..=3 => _ = owner.committer.commit(),
                4 | 5 => _ = owner.keeper.write(),
                6 => owner.keeper.sync(),
                7 | 8 => {
                    let some = self.tail.len() - random.below(3).min(self.tail.len());
                    owner.store.replicated(self.tail.end(some));
                    self.acknowledge(owner);
                    self.read(owner);
                }
                9 => _ = owner.store.write_mark(&mark(owner.store.stable())),
                _ => {
                    let other = (node + 1 + random.below(2)) % 3;
                    let (tail, stable) = (self.tail.clone(), owner.store.stable());
                    let batches = (0..=tail.len()).take_while(|batches| tail.end(*batches) <= stable).last().unwrap();
                    if let Ok(mut follower) = follow(&self.disks[other]) {
                        for batches in [batches.saturating_sub(random.below(9)), batches] {
                            if tail.end(batches) >= follower.sequence() {
                                let followed = catch_up(&mut follower, &tail, batches);
                                let _ = followed.and_then(|()| follower.sync(Vec::new()));
                            }
                        }
                    }
                }
            }
        }
    }

    /// The power of a node fails at some step, and it starts again.
    fn restart(&mut self, node: usize, random: &mut Random) {
        let seed = random.below(1 << 30) as u64;
        let loss = if random.below(3) == 0 { Loss::Process } else { Loss::Power };
        self.disks[node] = self.disks[node].restart(seed, loss);
    }
}

#[test]
fn no_owner_lacks_or_changes_what_was_acknowledged_or_read_while_power_fails_and_owners_change() {
    let mut crashed = 0;
    for seed in 0..40 {
        let mut random = Random(seed);
        let disks = (0..3).map(|node| SimDisk::new(10 * seed + node)).collect();
        let mut history =
            History { disks, tail: Tail::default(), known: BTreeMap::new(), acknowledged: BTreeMap::new(), seed };
        for turn in 0..6 {
            let node = random.below(3);
            let mut owner = history.take_over(node);
            if turn < 5 {
                for disk in &history.disks {
                    disk.set_fault(disk.steps() + 1 + random.below(400) as u64, Fault::PowerCut);
                }
            }
            history.live(&mut owner, node, &mut random);
            history.acknowledge(&owner);
            let stable = owner.store.stable();
            owner.store.fence("its power fails");
            drop(owner);
            // Nobody knows whether what no majority was known to have is in the tail.
            let mut shipped = history.tail.0.lock().unwrap();
            let sure = shipped.iter().take_while(|(first, entries, _)| first + u64::from(*entries) <= stable).count();
            let kept = sure + random.below(shipped.len() - sure + 1);
            shipped.truncate(kept);
            drop(shipped);
            for node in 0..3 {
                history.restart(node, &mut random);
            }
            crashed += 1;
        }
        assert!(!history.acknowledged.is_empty());
    }
    assert!(crashed > 100);
}
