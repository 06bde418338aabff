use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use crate::engine::{CELL, Engine};
use crate::node::{Node, Role};
use crate::rng::Rng;
use oncemq::cluster::{Fault, Lost, Reader, Replicator, Reply, Request, Takeover};

/// Errors that are made on purpose.
#[derive(Debug, Default, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is an error of its own")]
pub(crate) struct Bugs {
    /// An owner reports each commit that is acknowledged, whatever became of those before it.
    pub(crate) no_prefix_rule: bool,
    /// A follower takes all commits.
    pub(crate) no_reader_rule: bool,
    /// A follower takes commits of the owner in any place.
    pub(crate) no_chain: bool,
    pub(crate) passes_gaps: bool,
    pub(crate) trims_epochs: bool,
    /// A node that starts again keeps what it had on its disk, known to others or not.
    pub(crate) keeps_unreplicated: bool,
    /// The owner trims what no follower has.
    pub(crate) trims_early: bool,
}

/// A request on its way to the engine, or its reply on the way back.
#[derive(Debug)]
struct Message {
    node: usize,
    life: u64,
    name: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Request(Request),
    /// A request whose node was told that nobody knows. It may still be carried out.
    Late(Request),
    Reply(Reply),
}

/// Nodes with copies of one log, and the stream between them.
#[derive(Debug)]
pub(crate) struct World {
    rng: Rng,
    bugs: Bugs,
    engine: Engine,
    nodes: Vec<Node>,
    messages: Vec<Message>,
    /// What was acknowledged, by number.
    acknowledged: BTreeMap<u64, u64>,
    /// Up to which number each node has acknowledged in this life.
    reported: Vec<u64>,
    next_value: u64,
    /// Whether replicas of the stream may lose entries.
    is_rotten: bool,
    /// Whether they do so no more.
    is_over: bool,
}

const NODES: usize = 3;
const WINDOW: usize = 4;
const WAITING_MAX: usize = 12;

impl World {
    pub(crate) fn new(seed: u64, bugs: Bugs) -> Self {
        let mut rng = Rng(seed);
        let is_rotten = rng.percent(30);
        let nodes = (0..NODES).map(|_| Node::new()).collect();
        let (messages, acknowledged) = (Vec::new(), BTreeMap::new());
        let engine = Engine::default();
        Self {
            rng,
            bugs,
            engine,
            nodes,
            messages,
            acknowledged,
            reported: vec![0; NODES],
            next_value: 0,
            is_rotten,
            is_over: false,
        }
    }

    /// One random event.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let node = self.rng.pick(&[0, 1, 2]);
        match self.rng.below(1_000) {
            0..=249 => self.commit(node),
            250..=799 => self.deliver()?,
            800..=879 => self.nodes[node].sync(),
            880..=959 => self.read(node),
            960..=969 => self.take_over(node),
            970..=979 => self.trim(node),
            980..=987 => self.restart(node),
            992 => self.check(),
            988 => (0..NODES).for_each(|node| self.restart(node)),
            989..=991 => self.lose_disk(node),
            _ => self.copy_if_needed(node),
        }
        self.send();
        self.acknowledge()
    }

    /// Ends the faults, lets one node take over and all others follow, and compares. Returns how many commits were acknowledged.
    pub(crate) fn settle(mut self) -> Result<u64, String> {
        self.is_over = true;
        for round in 0.. {
            if round == 20_000 {
                return Err(format!("nothing goes on: {:?}", self.nodes));
            }
            let has_owner = self.nodes.iter().any(|node| matches!(node.role, Role::Owns(_)));
            let is_tried = self.nodes.iter().any(|node| matches!(node.role, Role::TakesOver(_)));
            match self.rng.below(10) {
                0 if !has_owner && !is_tried => {
                    let node = self.rng.index(NODES);
                    self.take_over(node);
                }
                1 => {
                    let node = self.rng.index(NODES);
                    self.copy_if_needed(node);
                }
                2 => {
                    let node = self.rng.index(NODES);
                    self.read(node);
                }
                3 => self.nodes.iter_mut().for_each(Node::sync),
                4 if self.rng.percent(5) => self.check(),
                _ => self.deliver()?,
            }
            self.send();
            self.acknowledge()?;
            if self.is_settled() {
                break;
            }
        }
        let logs: Vec<&Vec<u64>> = self.nodes.iter().map(|node| &node.log).collect();
        if logs.iter().any(|log| *log != logs[0]) {
            return Err(format!("the copies differ: {logs:?}"));
        }
        self.compare(logs[0])?;
        Ok(self.acknowledged.len() as u64)
    }

    fn check(&mut self) {
        for node in &mut self.nodes {
            if let Role::Owns(replicator) = &mut node.role {
                replicator.check();
            }
        }
    }

    fn is_settled(&self) -> bool {
        let is_quiet = self.messages.is_empty();
        let ends = self.nodes.iter().map(|node| match &node.role {
            Role::Owns(replicator) => (replicator.replicated() + 1, replicator.next_number(), true),
            Role::Follows(None) => (node.reader.next, node.log.len() as u64 + 1, false),
            Role::Follows(Some(_)) | Role::TakesOver(_) => (0, 1, false),
        });
        let ends: Vec<_> = ends.collect();
        let owners = ends.iter().filter(|(.., owns)| *owns).count();
        is_quiet && owners == 1 && ends.iter().all(|(end, next, _)| (end, next) == (&ends[0].0, &ends[0].0))
    }

    /// A client's message at the owner, or at a node that still believes that it is one.
    fn commit(&mut self, node: usize) {
        let Role::Owns(replicator) = &mut self.nodes[node].role else { return };
        let waiting = replicator.next_number() - replicator.replicated() - 1;
        if waiting < WAITING_MAX as u64 && replicator.fault().is_none() {
            self.next_value += 1;
            let number = replicator.next_number();
            replicator.ship((number, 1), (0, 1), Bytes::copy_from_slice(&self.next_value.to_le_bytes()));
            self.nodes[node].log.push(self.next_value);
        }
    }

    /// Lets a message go on: mostly the oldest of a node, seldom any.
    fn deliver(&mut self) -> Result<(), String> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let at = if self.rng.percent(70) { 0 } else { self.rng.index(self.messages.len()) };
        let mut message = self.messages.remove(at);
        match message.what {
            What::Reply(reply) => return self.reply(message.node, message.life, message.name, reply),
            What::Request(request) if self.rng.percent(6) => {
                message.what = What::Reply(Reply::Unknown);
                if self.rng.percent(70) {
                    let late = Message { what: What::Late(request), ..message };
                    self.messages.push(late);
                }
                self.messages.push(message);
            }
            What::Request(request) => {
                let may_skip = self.is_rotten && !self.is_over && self.rng.percent(5);
                let reply = self.engine.perform(&request, &mut self.rng, may_skip);
                let reply = if self.rng.percent(4) { Reply::Unknown } else { reply };
                message.what = What::Reply(reply);
                self.messages.push(message);
            }
            What::Late(request) => {
                self.engine.perform(&request, &mut self.rng, false);
            }
        }
        Ok(())
    }

    fn reply(&mut self, at: usize, life: u64, name: u64, reply: Reply) -> Result<(), String> {
        let bugs = self.bugs;
        let node = &mut self.nodes[at];
        if node.life != life {
            return Ok(());
        }
        match &mut node.role {
            Role::Follows(read) => {
                if *read == Some(name) {
                    *read = None;
                }
                if let Reply::Entries { entries, .. } = reply
                    && let Err(trouble) = node.follow(&entries, bugs)
                {
                    self.trouble(at, &trouble)?;
                }
            }
            Role::TakesOver(takeover) => {
                let commits = takeover.reply(name, reply);
                let (epoch, reader, lost) = (takeover.epoch(), takeover.reader(), takeover.lost());
                node.append(&commits);
                node.reader = reader;
                if let Some(epoch) = epoch {
                    self.adopt(at, epoch, reader)?;
                } else if let Some(lost) = lost {
                    self.nodes[at].role = Role::Follows(None);
                    if let Lost::Trouble(trouble) = lost {
                        self.trouble(at, &format!("{trouble:?}"))?;
                    }
                }
            }
            Role::Owns(replicator) => {
                if bugs.no_prefix_rule && matches!(reply, Reply::Appended(_)) {
                    self.reported[at] = self.reported[at].max(replicator.replicated() + 1);
                    let number = self.reported[at];
                    if let Some(value) = node.log.get(usize::try_from(number - 1).unwrap()) {
                        self.acknowledged.entry(number).or_insert(*value);
                    }
                }
                replicator.reply(name, reply);
                match replicator.fault() {
                    Some(Fault::Fenced(_)) => self.restart(at),
                    Some(Fault::Trouble(trouble)) => {
                        self.restart(at);
                        self.trouble(at, &format!("{trouble:?}"))?;
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// A node cannot go on: only because a replica lost something, or because its copy is older than the stream.
    fn trouble(&mut self, at: usize, trouble: &str) -> Result<(), String> {
        let is_behind = self.nodes[at].reader.position + 1 < self.engine.first_commit();
        if self.is_rotten || is_behind { Ok(()) } else { Err(format!("node {at}: {trouble}")) }
    }

    fn adopt(&mut self, at: usize, epoch: u64, reader: Reader) -> Result<(), String> {
        let node = &mut self.nodes[at];
        if reader.next != node.log.len() as u64 + 1 {
            return Err(format!("node {at} has {} commits and is at {reader:?}", node.log.len()));
        }
        node.role = Role::Owns(Replicator::new(CELL, epoch, reader, WINDOW));
        self.reported[at] = reader.next - 1;
        // A rival may have been faster since. Then nothing of this owner is acknowledged any more, and it notices at its first commit.
        let log = node.log.clone();
        if self.engine.latest_epoch() == reader.last { self.compare(&log) } else { Ok(()) }
    }

    /// Compares a log with what was acknowledged.
    fn compare(&self, log: &[u64]) -> Result<(), String> {
        for (number, value) in &self.acknowledged {
            if log.get(usize::try_from(number - 1).unwrap()) != Some(value) {
                return Err(format!("commit {number} was acknowledged with {value}, and the log is {log:?}"));
            }
        }
        let values: HashSet<&u64> = log.iter().collect();
        if values.len() == log.len() { Ok(()) } else { Err(format!("a commit is in the log twice: {log:?}")) }
    }

    /// What the owner's disk and a majority have is acknowledged.
    fn acknowledge(&mut self) -> Result<(), String> {
        for (at, node) in self.nodes.iter().enumerate() {
            let Role::Owns(replicator) = &node.role else { continue };
            let until = replicator.replicated().min(node.synced);
            while self.reported[at] < until {
                self.reported[at] += 1;
                let number = self.reported[at];
                let value = node.log[usize::try_from(number - 1).unwrap()];
                if *self.acknowledged.entry(number).or_insert(value) != value {
                    return Err(format!("two commits were acknowledged as number {number}"));
                }
            }
        }
        Ok(())
    }

    fn send(&mut self) {
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let life = node.life;
            let requests = node.take_requests().into_iter();
            self.messages.extend(requests.map(|(name, what)| Message {
                node: at,
                life,
                name,
                what: What::Request(what),
            }));
        }
    }

    fn read(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Role::Follows(read @ None) = &mut node.role {
            node.next_read += 1;
            *read = Some(node.next_read);
            let what = What::Request(Request::Read { after: node.reader.position });
            self.messages.push(Message { node: at, life: node.life, name: node.next_read, what });
        }
    }

    fn take_over(&mut self, at: usize) {
        let nonce = u128::from(self.rng.next());
        let node = &mut self.nodes[at];
        if !matches!(node.role, Role::Owns(_)) {
            node.life += 1;
            node.role = Role::TakesOver(Takeover::new(CELL, format!("node {at}"), nonce, node.reader));
        }
    }

    /// The owner removes what it and a follower have on their disks.
    fn trim(&mut self, at: usize) {
        let Role::Owns(replicator) = &self.nodes[at].role else { return };
        let last = replicator.reader().position;
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != at);
        let follower = others.map(|(_, node)| node.durable.position).max().unwrap_or(0);
        let below = if self.bugs.trims_early { last } else { self.nodes[at].durable.position.min(follower) };
        self.engine.trim(below, self.bugs);
    }

    fn restart(&mut self, at: usize) {
        self.nodes[at].restart(self.bugs);
        self.reported[at] = 0;
    }

    /// A disk is lost, if two others have all that the stream does not have any more.
    fn lose_disk(&mut self, at: usize) {
        let first = self.engine.first_commit();
        let others =
            self.nodes.iter().enumerate().filter(|(other, node)| *other != at && node.durable.position + 1 >= first);
        if others.count() >= 2 {
            self.nodes[at].copy((Vec::new(), Reader::new()));
            self.reported[at] = 0;
        }
    }

    /// A node whose copy is older than the stream gets one of another node.
    fn copy_if_needed(&mut self, at: usize) {
        let first = self.engine.first_commit();
        if self.nodes[at].durable.position + 1 >= first || matches!(self.nodes[at].role, Role::Owns(_)) {
            return;
        }
        let best = (0..NODES).max_by_key(|node| self.nodes[*node].durable.position).unwrap_or(at);
        if best != at {
            let copy = self.nodes[best].on_disk();
            self.nodes[at].copy(copy);
        }
    }
}
