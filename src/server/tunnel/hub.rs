use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::arrivals::Arrivals;
use super::figures::TunnelFigures;
use super::front::{Channels, Open};
use super::pipe::{Closed, Pipe, Ready};
use crate::cluster::tunnel::{Action, Link, Side, TunnelId};
use crate::server::log::log_cluster;

/// What this node is for the clients of tunnels.
#[derive(Debug)]
pub(super) enum Role {
    /// Their sockets are here.
    Front { owner: watch::Receiver<Option<String>>, channels: Channels },
    /// They are served here.
    Owner(Arrivals),
}

/// The links to other nodes, and their tunnels.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) role: Role,
    ready: Arc<Ready>,
    tunnels_max: usize,
    seed: u64,
    /// Of nodes that have sent something, or that were the owner: at most [`LINKS_MAX`].
    links: Vec<Entry>,
    /// The link of a front to the owner.
    target: Option<usize>,
    /// Since when it was not up; `None`: that was logged.
    down_since: Option<u64>,
    figures: TunnelFigures,
}

#[derive(Debug)]
struct Entry {
    node: String,
    link: Link,
    pipes: HashMap<TunnelId, Arc<Pipe>>,
}

impl Hub {
    pub(super) fn new(role: Role, ready: Arc<Ready>, (tunnels_max, seed): (usize, u64)) -> Self {
        let (links, figures) = (Vec::new(), TunnelFigures::default());
        Self { role, ready, tunnels_max, seed, links, target: None, down_since: Some(0), figures }
    }

    pub(super) fn figures(&self) -> TunnelFigures {
        let open = self.links.iter().map(|entry| entry.pipes.len() as u64).sum();
        let links = self.links.iter().filter(|entry| entry.link.is_up()).count() as u64;
        TunnelFigures { open, links, ..self.figures }
    }

    /// A frame of another node. Those of more nodes at a time than a cluster has are ignored.
    pub(super) fn receive(&mut self, now: u64, node: &str, frame: &Bytes) {
        let Some(index) = self.index_of(node) else { return };
        let mut actions = Vec::new();
        if let Some(entry) = self.links.get_mut(index) {
            entry.link.receive(now, frame, &mut actions);
        }
        self.perform(index, actions);
    }

    /// Lets time pass, and follows the owner.
    pub(super) fn tick(&mut self, now: u64) {
        self.follow_owner(now);
        self.log_unanswered(now);
        let is_owner = matches!(self.role, Role::Owner(_));
        for index in 0..self.links.len() {
            let mut actions = Vec::new();
            if let Some(entry) = self.links.get_mut(index)
                && (is_owner || self.target == Some(index))
            {
                entry.link.tick(now, &mut actions);
            }
            self.perform(index, actions);
        }
    }

    /// Says so, once, if the owner does not answer for long.
    fn log_unanswered(&mut self, now: u64) {
        let Some(entry) = self.target.and_then(|index| self.links.get(index)) else { return };
        if entry.link.is_up() {
            self.down_since = Some(now);
        } else if self.down_since.is_some_and(|since| now.saturating_sub(since) >= UNANSWERED_MIN) {
            self.down_since = None;
            let text = format!(
                "node {} does not take the clients of this node, which are referred to it: it needs cluster.front = \"tunnel\", too",
                entry.node
            );
            log_cluster(true, &text);
        }
    }

    /// If another node is the owner, closes the link to the one before, whose clients connect again.
    pub(super) fn follow_owner(&mut self, now: u64) {
        let Role::Front { owner, .. } = &mut self.role else { return };
        let Some(node) = owner.borrow_and_update().clone() else { return };
        let before = self.target;
        let Some(index) = self.index_of(&node).filter(|index| before != Some(*index)) else { return };
        (self.target, self.down_since) = (Some(index), Some(now));
        if let Some(before) = before {
            self.close(now, before, "another node is the owner");
        }
    }

    /// Opens a tunnel to the owner.
    pub(super) fn open(&mut self, open: Open) {
        let Open { opening, pipe } = open;
        let entry = self.target.and_then(|index| Some((index, self.links.get_mut(index)?)));
        let tunnel = entry.and_then(|(index, entry)| {
            let id = entry.link.open(opening)?;
            entry.pipes.insert(id, Arc::clone(&pipe));
            Some((index, id))
        });
        match tunnel {
            Some(tunnel) => {
                self.figures.opened += 1;
                pipe.opened(tunnel);
            }
            None => pipe.close(Closed::Lost),
        }
    }

    /// Takes what the pipes have, for the next frames. For an owner, also lets those in that have come.
    pub(super) fn take(&mut self) {
        if let Role::Owner(arrivals) = &mut self.role {
            for ((index, id), refusal) in arrivals.admit() {
                if let Some(entry) = self.links.get_mut(index) {
                    entry.link.end(id, Some(refusal));
                    entry.pipes.remove(&id);
                }
            }
        }
        for pipe in self.ready.take() {
            let Some(taken) = pipe.take() else { continue };
            let (index, id) = taken.tunnel;
            let Some(entry) = self.links.get_mut(index) else { continue };
            if !taken.bytes.is_empty() {
                entry.link.push(id, &taken.bytes);
                self.figures.bytes_sent += taken.bytes.len() as u64;
            }
            if taken.consumed > 0 {
                entry.link.consumed(id, taken.consumed);
            }
            if taken.is_dropped {
                entry.link.end(id, None);
                entry.pipes.remove(&id);
            } else if taken.is_finished {
                entry.link.finish(id);
            }
        }
    }

    /// The next frame, and the index and the name of the node for which it is.
    pub(super) fn next_frame(&mut self, now: u64) -> Option<(usize, String, Bytes)> {
        let frame = self.links.iter_mut().enumerate().find_map(|(index, entry)| {
            let frame = entry.link.next_frame(now)?;
            Some((index, entry.node.clone(), frame))
        });
        self.figures.frames_sent += u64::from(frame.is_some());
        frame
    }

    /// Closes a link with all its tunnels.
    pub(super) fn close(&mut self, now: u64, index: usize, reason: &'static str) {
        let mut actions = Vec::new();
        if let Some(entry) = self.links.get_mut(index) {
            entry.link.close(now, reason, &mut actions);
        }
        self.perform(index, actions);
    }

    /// Closes all links.
    pub(super) fn close_all(&mut self, now: u64, reason: &'static str) {
        (0..self.links.len()).for_each(|index| self.close(now, index, reason));
    }

    fn index_of(&mut self, node: &str) -> Option<usize> {
        if let Some(index) = self.links.iter().position(|entry| entry.node == node) {
            return Some(index);
        }
        let side = if matches!(self.role, Role::Owner(_)) { Side::Owner } else { Side::Front };
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let link = Link::new(side, self.tunnels_max, self.seed);
        let entry = Entry { node: node.to_owned(), link, pipes: HashMap::new() };
        if self.links.len() < LINKS_MAX {
            self.links.push(entry);
            return Some(self.links.len() - 1);
        }
        // One that carries nothing, of a node that is gone.
        let target = self.target;
        let unused = |(index, entry): &(usize, &mut Entry)| target != Some(*index) && !entry.link.is_up();
        let (index, place) = self.links.iter_mut().enumerate().find(unused)?;
        *place = entry;
        Some(index)
    }

    fn perform(&mut self, index: usize, actions: Vec<Action>) {
        for action in actions {
            let Some(entry) = self.links.get_mut(index) else { return };
            let pipe = |id: &TunnelId| entry.pipes.get(id);
            match &action {
                Action::Up => {
                    log_cluster(false, &format!("clients can be passed through the link to node {}", entry.node));
                    self.publish_up(true);
                }
                Action::Down(reason) => {
                    let text = format!(
                        "the link to node {} is closed with its {} clients: {reason}",
                        entry.node,
                        entry.pipes.len()
                    );
                    log_cluster(false, &text);
                    entry.pipes.drain().for_each(|(_, pipe)| pipe.close(Closed::Lost));
                    self.figures.links_closed += 1;
                    self.publish_up(false);
                }
                Action::Opened(id, opening) => {
                    let (pipe, stream) = Pipe::new(&self.ready);
                    pipe.opened((index, *id));
                    entry.pipes.insert(*id, pipe);
                    self.figures.opened += 1;
                    if let Role::Owner(arrivals) = &mut self.role {
                        arrivals.add((index, *id), opening.clone(), stream);
                    }
                }
                Action::Received(id, bytes) => {
                    if let Some(pipe) = pipe(id) {
                        pipe.received(bytes);
                        self.figures.bytes_received += bytes.len() as u64;
                    }
                }
                Action::Room(id, bytes) => {
                    if let Some(pipe) = pipe(id) {
                        pipe.add_room(*bytes);
                    }
                }
                Action::Finished(id) => {
                    if let Some(pipe) = pipe(id) {
                        pipe.other_finished();
                    }
                }
                Action::Closed(id, refusal) => {
                    if let Some(pipe) = entry.pipes.remove(id) {
                        pipe.close(Closed::ByOther(*refusal));
                    }
                }
            }
        }
    }

    /// Tells a front's shards whether clients can be passed.
    fn publish_up(&self, is_up: bool) {
        if let Role::Front { channels, .. } = &self.role {
            channels.up.send_replace(is_up);
        }
    }
}

/// Longer than a fail-over.
const UNANSWERED_MIN: u64 = 20_000;
/// More nodes than a cluster has.
const LINKS_MAX: usize = 64;
