use std::sync::Arc;

use bytes::Bytes;

use super::arrivals::Arrivals;
use super::closed::Closed;
use super::entry::{Entry, Tunnel};
use super::figures::TunnelFigures;
use super::front::{Linked, Open};
use super::pipe::{Pipe, Ready};
use super::roles::{Followed, FrontRole, Roles, Targets};
use super::stream::TunnelStream;
use crate::cluster::tunnel::{Action, Destination, Frame, Link, Opening, Refusal, Side, TunnelId};
use crate::cluster::{Arrived, Bus, Way};
use crate::server::cells::Place;
use crate::server::log::log_cluster;

/// The links to other nodes, and their tunnels.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) roles: Roles,
    ready: Arc<Ready>,
    tunnels_max: usize,
    seed: u64,
    /// Of nodes that have sent something, or to which clients are passed: at most [`LINKS_MAX`].
    links: Vec<Entry>,
    /// Ways of links that are closed.
    left: Vec<Way>,
    figures: TunnelFigures,
}

impl Hub {
    pub(super) fn new(roles: Roles, ready: Arc<Ready>, (tunnels_max, seed): (usize, u64)) -> Self {
        Self { roles, ready, tunnels_max, seed, links: Vec::new(), left: Vec::new(), figures: TunnelFigures::default() }
    }

    pub(super) fn figures(&self) -> TunnelFigures {
        let open = self.links.iter().map(Entry::clients).sum::<usize>() as u64;
        let up = || self.links.iter().filter(|entry| entry.link.is_up());
        let direct = up().filter(|entry| entry.way != Way::Service).count() as u64;
        TunnelFigures { open, links: up().count() as u64, direct, ..self.figures }
    }

    /// A frame of another node. What is no frame is ignored, and those of more nodes at a time than a cluster has.
    pub(super) fn receive(&mut self, now: u64, arrived: &Arrived) {
        let Ok(frame) = Frame::decode(&arrived.frame) else { return };
        let Some(index) = self.index_for(&arrived.node, &frame) else { return };
        let mut actions = Vec::new();
        if let Some(entry) = self.links.get_mut(index) {
            let (was_up, is_hello) = (entry.link.is_up(), matches!(frame, Frame::Hello { .. }));
            entry.link.take(now, frame, &mut actions);
            // Answers go the way that the front has chosen, and no life goes two ways, which have no order.
            if !was_up || (is_hello && actions.contains(&Action::Up)) {
                entry.way = arrived.way;
            }
        }
        self.perform(now, index, actions);
    }

    /// The link that a frame is for. A frame of no link of this node goes to any, which says so to the other node.
    fn index_for(&mut self, node: &str, frame: &Frame) -> Option<usize> {
        let of_node = |entry: &Entry| entry.node == node;
        if let Some(index) = self.links.iter().position(|entry| of_node(entry) && entry.link.expects(frame)) {
            return Some(index);
        }
        let side = match frame {
            Frame::Hello { .. } => Side::Owner,
            Frame::Welcome { .. } | Frame::Gone { .. } => return None,
            Frame::Data(..) | Frame::Idle(_) => match self.links.iter().position(of_node) {
                Some(index) => return Some(index),
                None if self.roles.arrivals.is_some() => Side::Owner,
                None => Side::Front,
            },
        };
        self.index_of(node, side)
    }

    /// Lets time pass, and follows the owner, or the cells.
    pub(super) fn tick(&mut self, now: u64, bus: &dyn Bus) {
        self.follow(now);
        self.log_unanswered(now);
        self.look_for_direct_ways(now, bus);
        for index in 0..self.links.len() {
            let mut actions = Vec::new();
            if let Some(entry) = self.links.get_mut(index)
                && (entry.is_target || entry.link.side() == Side::Owner)
            {
                entry.link.tick(now, &mut actions);
            }
            self.perform(now, index, actions);
        }
    }

    /// Closes links for which there is a direct way now: those that have few clients yet, and others when it has been there for long.
    fn look_for_direct_ways(&mut self, now: u64, bus: &dyn Bus) {
        for index in 0..self.links.len() {
            if self.links.get_mut(index).is_some_and(|entry| entry.is_to_go_directly(now, bus)) {
                self.close(now, index, "there is a direct way to the node now");
            }
        }
    }

    /// Says so, once, if a node does not answer for long.
    fn log_unanswered(&mut self, now: u64) {
        for entry in self.links.iter_mut().filter(|entry| entry.is_target) {
            if entry.link.is_up() {
                entry.down_since = Some(now);
            } else if entry.down_since.is_some_and(|since| now.saturating_sub(since) >= UNANSWERED_MIN) {
                entry.down_since = None;
                let text = format!(
                    "node {} does not take the clients of this node, which are referred to it: it needs cluster.front = \"tunnel\", too",
                    entry.node
                );
                log_cluster(true, &text);
            }
        }
    }

    /// Follows the owner, or the cells, to other nodes. What was open to the one before is closed, and its clients connect again.
    pub(super) fn follow(&mut self, now: u64) {
        let Some(FrontRole { targets, .. }) = &mut self.roles.front else { return };
        match targets {
            Targets::Owner(owner) => {
                let owner = owner.borrow_and_update().clone();
                if let Some(owner) = owner {
                    self.follow_owner(now, &owner);
                }
            }
            Targets::Cells { places, nodes, followed } => {
                let both = (Arc::clone(&places.borrow_and_update()), Arc::clone(&nodes.borrow()));
                let is_same =
                    |followed: &Followed| Arc::ptr_eq(&followed.0, &both.0) && Arc::ptr_eq(&followed.1, &both.1);
                if !followed.as_ref().is_some_and(is_same) {
                    *followed = Some(both.clone());
                    self.follow_cells(now, &both);
                }
            }
        }
    }

    fn follow_owner(&mut self, now: u64, node: &str) {
        let before = self.links.iter().position(|entry| entry.is_target);
        let Some(index) = self.index_of(node, Side::Front).filter(|index| before != Some(*index)) else { return };
        self.set_target(now, index);
        if let Some(before) = before.and_then(|before| self.links.get_mut(before)) {
            before.is_target = false;
        }
        if let Some(before) = before {
            self.close(now, before, "another node is the owner");
        }
    }

    fn follow_cells(&mut self, now: u64, (places, nodes): &Followed) {
        let of_places = places.iter().filter_map(|place| if let Place::Node(node) = place { Some(node) } else { None });
        for node in of_places.chain(nodes.iter()) {
            if let Some(index) = self.index_of(node, Side::Front) {
                self.set_target(now, index);
            }
        }
        for index in 0..self.links.len() {
            let Some(entry) = self.links.get_mut(index).filter(|entry| entry.is_target) else { continue };
            let Entry { node, link, tunnels, .. } = entry;
            let is_node = |place: &Place| matches!(place, Place::Node(name) if **name == **node);
            tunnels.retain(|id, tunnel| {
                // A cell whose place is unknown may still be at the same node.
                let stays = tunnel.to == Destination::Node
                    || place_of(places, tunnel.to)
                        .is_some_and(|place| is_node(place) || matches!(place, Place::Unknown));
                if !stays {
                    link.end(*id, None);
                    tunnel.pipe.close(Closed::Lost);
                }
                stays
            });
            if tunnels.is_empty() && !places.iter().any(is_node) && !nodes.iter().any(|name| **name == **node) {
                entry.is_target = false;
                self.close(now, index, "it serves no cell, and is not alive");
            }
        }
    }

    fn set_target(&mut self, now: u64, index: usize) {
        if let Some(entry) = self.links.get_mut(index)
            && !std::mem::replace(&mut entry.is_target, true)
        {
            entry.down_since = Some(now);
        }
    }

    /// Opens a tunnel to the owner, or to the node of a cell.
    pub(super) fn open(&mut self, open: Open) {
        let Open { opening, to, node, pipe } = open;
        let is_wanted = |entry: &Entry| entry.is_target && node.as_ref().is_none_or(|node| **node == *entry.node);
        let entry = self.links.iter_mut().enumerate().find(|(_, entry)| is_wanted(entry));
        let tunnel = entry.and_then(|(index, entry)| {
            let id = entry.link.open(opening)?;
            entry.tunnels.insert(id, Tunnel { pipe: Arc::clone(&pipe), to });
            Some((index, id))
        });
        match tunnel {
            Some(tunnel) => {
                self.figures.opened += u64::from(Tunnel::is_for_client(to));
                pipe.opened(tunnel);
            }
            None => pipe.close(Closed::Lost),
        }
    }

    /// Takes what the pipes have, for the next frames. Also lets those in that have come.
    pub(super) fn take(&mut self) {
        for ((index, id), refusal) in self.roles.arrivals.as_mut().map(Arrivals::admit).unwrap_or_default() {
            self.refuse(index, id, refusal);
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
                entry.tunnels.remove(&id);
            } else if taken.is_finished {
                entry.link.finish(id);
            }
        }
    }

    fn refuse(&mut self, index: usize, id: TunnelId, refusal: Refusal) {
        if let Some(entry) = self.links.get_mut(index) {
            entry.link.end(id, Some(refusal));
            entry.tunnels.remove(&id);
        }
    }

    /// The next frame, the index of its link, and the way that it goes.
    pub(super) fn next_frame(&mut self, now: u64, bus: &dyn Bus) -> Option<(usize, Way, Bytes)> {
        let frame = self.links.iter_mut().enumerate().find_map(|(index, entry)| {
            if entry.link.is_calling() {
                entry.way = bus.way_to(&entry.node)?;
            }
            let frame = entry.link.next_frame(now)?;
            Some((index, entry.way, frame))
        });
        self.figures.frames_sent += u64::from(frame.is_some());
        frame
    }

    /// The node of a link.
    pub(super) fn node(&self, index: usize) -> Option<&str> {
        self.links.get(index).map(|entry| &*entry.node)
    }

    /// The ways of links that were closed, whose last frames are sent.
    pub(super) fn take_left(&mut self) -> Vec<Way> {
        std::mem::take(&mut self.left)
    }

    /// Closes a link with all its tunnels.
    pub(super) fn close(&mut self, now: u64, index: usize, reason: &'static str) {
        let mut actions = Vec::new();
        if let Some(entry) = self.links.get_mut(index) {
            entry.link.close(now, reason, &mut actions);
        }
        self.perform(now, index, actions);
    }

    /// Closes all links.
    pub(super) fn close_all(&mut self, now: u64, reason: &'static str) {
        (0..self.links.len()).for_each(|index| self.close(now, index, reason));
    }

    fn index_of(&mut self, node: &str, side: Side) -> Option<usize> {
        let has_role = match side {
            Side::Front => self.roles.front.is_some(),
            Side::Owner => self.roles.arrivals.is_some(),
        };
        let is_it = |entry: &Entry| entry.node == node && entry.link.side() == side;
        if let Some(index) = self.links.iter().position(is_it).filter(|_| has_role) {
            return Some(index);
        }
        if !has_role {
            return None;
        }
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let link = Link::new(side, self.tunnels_max, self.seed);
        let entry = Entry::new(node, link);
        if self.links.len() < LINKS_MAX {
            self.links.push(entry);
            return Some(self.links.len() - 1);
        }
        // One that carries nothing, of a node that is gone.
        let unused = |(_, entry): &(usize, &mut Entry)| !entry.is_target && !entry.link.is_up();
        let (index, place) = self.links.iter_mut().enumerate().find(unused)?;
        *place = entry;
        Some(index)
    }

    fn perform(&mut self, now: u64, index: usize, actions: Vec<Action>) {
        for action in actions {
            let Some(entry) = self.links.get_mut(index) else { return };
            let pipe = |id: &TunnelId| entry.tunnels.get(id).map(|tunnel| &tunnel.pipe);
            match &action {
                Action::Up => {
                    (entry.up_way, entry.up_since, entry.direct_since) = (entry.way, now, None);
                    let way = if entry.way == Way::Service { "NATS" } else { "a connection of its own" };
                    let text = format!("clients can be passed through the link to node {} over {way}", entry.node);
                    log_cluster(false, &text);
                    self.publish_up();
                }
                Action::Down(reason) => {
                    let text = format!(
                        "the link to node {} is closed with its {} clients: {reason}",
                        entry.node,
                        entry.clients()
                    );
                    log_cluster(false, &text);
                    entry.tunnels.drain().for_each(|(_, tunnel)| tunnel.pipe.close(Closed::Lost));
                    entry.down_since = Some(now);
                    if entry.up_way != Way::Service {
                        self.left.push(entry.up_way);
                    }
                    self.figures.links_closed += 1;
                    self.publish_up();
                }
                Action::Opened(id, opening) => self.arrive((index, *id), opening),
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
                    if let Some(tunnel) = entry.tunnels.remove(id) {
                        tunnel.pipe.close(Closed::ByOther(*refusal));
                    }
                }
            }
        }
    }

    /// A client of another node has come, or a link from another cell.
    fn arrive(&mut self, (index, id): (usize, TunnelId), opening: &Bytes) {
        let Some(arrivals) = &mut self.roles.arrivals else { return };
        let Some(opening) = Opening::decode(opening.clone()) else {
            return self.refuse(index, id, Refusal::Malformed);
        };
        let pipe = Pipe::new(&self.ready);
        let stream = TunnelStream::of(&pipe);
        pipe.opened((index, id));
        let tunnel = Tunnel { pipe, to: opening.to };
        self.figures.opened += u64::from(tunnel.is_client());
        if let Some(entry) = self.links.get_mut(index) {
            entry.tunnels.insert(id, tunnel);
        }
        if let Err(refusal) = arrivals.add((index, id), opening, stream) {
            self.refuse(index, id, refusal);
        }
    }

    /// Tells a front's shards to which nodes clients can be passed.
    fn publish_up(&self) {
        let Some(FrontRole { channels, targets }) = &self.roles.front else { return };
        let up = self.links.iter().filter(|entry| entry.is_target && entry.link.is_up());
        let nodes: Vec<String> = up.map(|entry| entry.node.clone()).collect();
        let has_owner = matches!(targets, Targets::Owner(_)) && !nodes.is_empty();
        channels.up.send_replace(Linked { has_owner, nodes });
    }
}

/// Where the cell is for which a tunnel is.
fn place_of(places: &[Place], to: Destination) -> Option<&Place> {
    places.get(usize::from(to.cell()?))
}

/// Longer than a fail-over.
const UNANSWERED_MIN: u64 = 20_000;
/// More than twice the nodes that a cluster has.
const LINKS_MAX: usize = 128;
