//! Nodes that own and follow one log, with crashes at any step: what was reported is in every later log, and all logs are the same.

use proptest::prelude::*;

use super::copies::{state, state_of};
use super::replicated::{Owner, Tail, own};
use super::*;

/// A node with its disk.
struct Node {
    disk: SimDisk,
    role: Role,
}

enum Role {
    Down,
    Owner(Box<Owner>),
    Follower(Box<Follower>),
}

/// The nodes, and what a majority has: the first `replicated` batches of the tail are in it for ever.
struct World {
    nodes: Vec<Node>,
    tail: Tail,
    replicated: usize,
    /// The number of batches that an owner has reported.
    reported: usize,
    random: Random,
}

/// The state of a mark is the number of batches below it.
fn mark_at(tail: &Tail, batches: usize) -> Mark {
    Mark { sequence: tail.end(batches), state: (batches as u64).to_le_bytes().to_vec() }
}

fn batches_of(mark: &Mark) -> usize {
    usize::try_from(u64::from_le_bytes(mark.state[..].try_into().unwrap())).unwrap()
}

impl World {
    fn new(seed: u64, nodes: usize) -> Self {
        let node = |at: usize| Node { disk: SimDisk::new(seed * 10 + at as u64), role: Role::Down };
        let nodes = (0..nodes).map(node).collect();
        Self { nodes, tail: Tail::default(), replicated: 0, random: Random(seed), reported: 0 }
    }

    fn owner(&self) -> Option<usize> {
        self.nodes.iter().position(|node| matches!(node.role, Role::Owner(_)))
    }

    /// The owner appends and commits.
    fn commit(&mut self) {
        let Some(at) = self.owner() else { return };
        let Role::Owner(owner) = &mut self.nodes[at].role else { return };
        for _ in 0..=self.random.below(3) {
            if owner.append(&Change::random(&mut self.random)).is_err() {
                break;
            }
        }
        if owner.committer.commit() == Progress::Failed {
            self.crash(at);
        }
    }

    /// A majority gets more of what was shipped, and the owner hears of it or of a part.
    fn replicate(&mut self) {
        self.replicated += self.random.below(self.tail.len() - self.replicated + 1);
        let heard = self.replicated - self.random.below(self.replicated - self.reported + 1);
        let Some(at) = self.owner() else { return };
        let Role::Owner(owner) = &mut self.nodes[at].role else { return };
        owner.store.replicated(self.tail.end(heard));
        let reported = (0..=self.tail.len()).rfind(|batches| self.tail.end(*batches) <= owner.store.stable()).unwrap();
        self.reported = self.reported.max(reported);
    }

    fn write_mark(&mut self) {
        let Some(at) = self.owner() else { return };
        let Role::Owner(owner) = &mut self.nodes[at].role else { return };
        let stable = owner.store.stable();
        let batches = (0..=self.tail.len()).rfind(|batches| self.tail.end(*batches) <= stable).unwrap();
        match owner.store.write_mark(&mark_at(&self.tail, batches)) {
            Ok(is_written) => assert!(is_written),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => panic!("{error}"),
            Err(_) => self.crash(at),
        }
    }

    /// A follower reads on, and perhaps makes it stable.
    fn follow(&mut self, at: usize) {
        let Role::Follower(follower) = &mut self.nodes[at].role else { return };
        let sequence = follower.sequence();
        let from = (0..=self.tail.len()).find(|batches| self.tail.end(*batches) == sequence).unwrap();
        let to = from + self.random.below(self.replicated - from + 1);
        let mut ended = Ok(());
        for at in from..to {
            let (first, entries, batch) = self.tail.get(at);
            ended = ended.and_then(|()| follower.append(first, entries, &batch));
        }
        if self.random.below(2) == 0 {
            ended = ended.and_then(|()| follower.sync((to as u64).to_le_bytes().to_vec()));
        }
        if ended.is_err() {
            self.crash(at);
        }
    }

    /// The power of a node fails, or its process ends.
    fn crash(&mut self, at: usize) {
        let loss = if self.random.below(2) == 0 { Loss::Power } else { Loss::Process };
        let node = &mut self.nodes[at];
        node.role = Role::Down;
        node.disk = node.disk.restart(self.random.0, loss);
    }

    /// A node starts, and its power may fail later.
    fn start(&mut self, at: usize) {
        let fault = 1 + self.random.below(80) as u64;
        self.start_with(at, fault);
    }

    /// A node starts. Its log is what all had there.
    fn start_with(&mut self, at: usize, fault: u64) {
        let node = &mut self.nodes[at];
        if !matches!(node.role, Role::Down) {
            return;
        }
        node.disk.set_fault(fault, Fault::PowerCut);
        match Follower::open_on(Arc::new(node.disk.clone()), &small(), &|_, _| ()) {
            Ok(mut follower) => {
                let marked = follower.mark().map_or(0, batches_of);
                assert!(marked <= self.replicated, "a mark is about what a majority has");
                let end = self.tail.end(marked);
                assert_eq!(follower.sequence(), end);
                assert_eq!(state(&node.disk), (state_of(&self.tail, marked), end));
                let is_marked = follower.mark().is_some() || follower.sync(0_u64.to_le_bytes().to_vec()).is_ok();
                node.role = Role::Follower(Box::new(follower));
                if !is_marked {
                    self.crash(at);
                }
            }
            Err(OpenError::Io(_)) => self.crash(at),
            Err(error) => panic!("{error}"),
        }
    }

    /// A follower becomes the owner; the former one is fenced, or finds out.
    fn take_over(&mut self, at: usize) {
        if !matches!(self.nodes[at].role, Role::Follower(_)) {
            return;
        }
        if let Some(former) = self.owner() {
            let Role::Owner(owner) = &self.nodes[former].role else { return };
            owner.store.fence("another node is the owner");
            self.crash(former);
        }
        // What no majority has is in no log from now on.
        self.tail.0.lock().unwrap().truncate(self.replicated);
        let Node { disk, role } = &mut self.nodes[at];
        let Role::Follower(mut follower) = std::mem::replace(role, Role::Down) else { return };
        let sequence = follower.sequence();
        let from = (0..=self.tail.len()).find(|batches| self.tail.end(*batches) == sequence).unwrap();
        let mut ended = Ok(());
        for at in from..self.replicated {
            let (first, entries, batch) = self.tail.get(at);
            ended = ended.and_then(|()| follower.append(first, entries, &batch));
        }
        let mark = mark_at(&self.tail, self.replicated);
        ended = ended.and_then(|()| follower.sync(mark.state.clone()));
        follower.close();
        let owner = ended.map_err(OpenError::Io).and_then(|()| own(disk, &small(), mark, &self.tail));
        match owner {
            Ok(owner) => {
                let expected = state_of(&self.tail, self.replicated);
                assert!(self.reported <= self.replicated);
                assert_eq!(owner.recovered, expected);
                self.nodes[at].role = Role::Owner(Box::new(owner));
            }
            Err(OpenError::Io(_)) => self.crash(at),
            Err(error) => panic!("{error}"),
        }
    }

    /// A node gets a copy of another one.
    fn copy(&mut self, from: usize, to: usize) {
        let snapshot = match &self.nodes[from].role {
            Role::Owner(owner) if from != to => owner.store.snapshot(),
            Role::Follower(follower) if from != to => follower.snapshot(),
            Role::Owner(_) | Role::Follower(_) | Role::Down => return,
        };
        let (Ok(snapshot), Role::Follower(_)) = (snapshot, &self.nodes[to].role) else { return };
        let Node { disk, role } = &mut self.nodes[to];
        *role = Role::Down;
        let copied =
            Incoming::begin_on(Arc::new(disk.clone()), snapshot.mark(), snapshot.files()).and_then(|mut copy| {
                for (segment, bytes) in snapshot.files() {
                    let bytes = snapshot.read(*segment, 0, usize::try_from(*bytes).unwrap())?;
                    copy.write(*segment, 0, &bytes)?;
                }
                copy.finish()
            });
        match copied {
            Ok(()) => self.start(to),
            Err(OpenError::Io(_)) => self.crash(to),
            Err(error) => panic!("{error}"),
        }
    }

    fn step(&mut self) {
        let at = self.random.below(self.nodes.len());
        match self.random.below(40) {
            0 => self.crash(at),
            1 => self.take_over(at),
            2 => {
                let from = self.random.below(self.nodes.len());
                self.copy(from, at);
            }
            3..=6 => self.start(at),
            7..=12 => self.write_mark(),
            13..=20 => self.replicate(),
            21..=28 => self.follow(at),
            _ => self.commit(),
        }
        if self.owner().is_none() && self.random.below(5) == 0 {
            self.take_over(at);
        }
    }

    /// All nodes start, follow up to the end, and have the same log.
    fn settle(&mut self) {
        for at in 0..self.nodes.len() {
            self.crash(at);
            self.start_with(at, u64::MAX);
            let Node { disk, role } = &mut self.nodes[at];
            let Role::Follower(follower) = role else { unreachable!() };
            let sequence = follower.sequence();
            let from = (0..=self.tail.len()).find(|batches| self.tail.end(*batches) == sequence).unwrap();
            for at in from..self.replicated {
                let (first, entries, batch) = self.tail.get(at);
                follower.append(first, entries, &batch).unwrap();
            }
            let end = self.tail.end(self.replicated);
            assert_eq!(state(disk), (state_of(&self.tail, self.replicated), end));
        }
    }
}

#[test]
fn what_was_reported_is_in_all_logs_whatever_crashes() {
    #[expect(clippy::disallowed_methods, reason = "a longer run")]
    let seeds = std::env::var("ONCEMQ_STORE_WORLDS").map_or(60, |seeds| seeds.parse().unwrap());
    let (mut owners, mut batches) = (0, 0);
    for seed in 0..seeds {
        let mut world = World::new(seed, 3);
        let mut before = None;
        for _ in 0..600 {
            world.step();
            let owner = world.owner();
            owners += usize::from(owner.is_some() && owner != before);
            before = owner;
        }
        batches += world.replicated;
        world.settle();
    }
    assert!(owners > 200 && batches > 3_000, "{owners} owners, {batches} batches");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_order_of_steps_leaves_the_same_log(seed in any::<u64>(), steps in prop::collection::vec(0usize..9, 0..200)) {
        let mut world = World::new(seed % (1 << 40), 2);
        for step in steps {
            match step {
                0 | 1 => world.commit(),
                2 => world.replicate(),
                3 => world.write_mark(),
                4 => world.follow(usize::try_from(seed % 2).unwrap()),
                5 => world.start(0),
                6 => world.start(1),
                7 => world.take_over(step % 2),
                _ => world.crash(usize::try_from(seed % 2).unwrap()),
            }
        }
        world.settle();
    }
}
