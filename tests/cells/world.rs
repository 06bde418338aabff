use std::collections::VecDeque;
use std::mem;
use std::ops::Range;

use oncemq::broker::{LinkAnswer, LinkSender, LinkState};
use oncemq::routing::{Announcement, CellId, InterestAnswer};
use oncemq::topic::{TopicFilter, TopicName};

use crate::cell::{Effect, Message, Owner, Record, State};
use crate::node::{BEAT, Node};
use crate::rng::Rng;
use crate::witness::Witness;

/// Errors that are made on purpose.
#[derive(Debug, Default, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is an error of its own")]
pub(crate) struct Bugs {
    pub(crate) suback_without_interest: bool,
    /// The number of a message in a link has a record of its own.
    pub(crate) number_apart: bool,
    /// An owner that begins knows the last number of a link only from its outbox.
    pub(crate) numbers_anew: bool,
    /// A sender takes the answer of any owner.
    pub(crate) any_epoch: bool,
    /// A node accepts messages before it has the filters of all cells.
    pub(crate) serves_at_once: bool,
    /// A node that stood still acknowledges messages without a record.
    pub(crate) no_lease: bool,
    /// A dead node is not waited for, although it may own cells.
    pub(crate) leaves_early: bool,
    /// A node believes that it owns a cell although it has heard of its new owner.
    pub(crate) stays_owner: bool,
    /// A node that stood still takes what it knew for what is.
    pub(crate) trusts_table: bool,
    /// A sender does not say what is confirmed.
    pub(crate) tells_no_first: bool,
}

#[derive(Debug, Clone)]
enum Packet {
    /// To a life of a node.
    Announcement(u64, Announcement),
    /// From a life of a node.
    Answer(usize, u64, InterestAnswer),
    Question(CellId, CellId, LinkState),
    Frame(CellId, CellId, LinkState, u64, Vec<Message>),
    LinkAnswer(CellId, CellId, LinkAnswer),
}

/// The log of a cell, and who may append to it.
#[derive(Debug, Default)]
struct Cell {
    epoch: u64,
    owner: usize,
    log: State,
}

#[derive(Debug)]
pub(crate) struct World {
    rng: Rng,
    bugs: Bugs,
    now: u64,
    cells: Vec<Cell>,
    nodes: Vec<Node>,
    /// The signs of life: number and life of each node.
    beats: Vec<(u64, u64)>,
    mail: VecDeque<(usize, Packet)>,
    next_message: u64,
    witness: Witness,
    /// In percent, how often a node takes the cells of a dead one.
    adopts: u64,
    /// How long a node may stand still.
    standstill: u64,
    /// No further faults, and nothing new.
    is_over: bool,
}

const NODES: usize = 3;
const SESSIONS: u8 = 12;
/// Packets on their way; the oldest are lost.
const MAIL_MAX: usize = 300;
/// Messages of a frame.
const FRAME: u64 = 4;

impl World {
    pub(crate) fn new(seed: u64, bugs: Bugs) -> Self {
        let mut rng = Rng(seed);
        let cells = (0..rng.between(2, 4)).map(|_| Cell::default()).collect();
        let nodes = (0..NODES).map(|_| Node::new(1, 1)).collect();
        let (adopts, standstill) = (rng.pick(&[5, 50, 90]), rng.pick(&[6, 20]) * BEAT);
        let (beats, mail, witness) = (vec![(0, 0); NODES], VecDeque::new(), Witness::default());
        let mut world = Self {
            rng,
            bugs,
            now: 1,
            cells,
            nodes,
            beats,
            mail,
            next_message: 0,
            witness,
            adopts,
            standstill,
            is_over: false,
        };
        for cell in world.all_cells() {
            let node = world.rng.index(NODES);
            world.adopt(node, cell);
        }
        world
    }

    fn all_cells(&self) -> impl Iterator<Item = CellId> + use<> {
        (0..u8::try_from(self.cells.len()).unwrap()).map(CellId)
    }

    fn cell(&mut self, cell: CellId) -> &mut Cell {
        &mut self.cells[usize::from(cell.0)]
    }

    /// One random event.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        self.now += 1;
        let cell = CellId(u8::try_from(self.rng.index(self.cells.len())).unwrap());
        let owners: Vec<usize> = (0..NODES).filter(|node| self.nodes[*node].owned.contains_key(&cell)).collect();
        let of_cell = if owners.is_empty() { 0 } else { self.rng.pick(&owners) };
        let node = self.rng.index(NODES);
        match self.rng.below(1_000) {
            0..=129 => self.publish(of_cell, cell),
            130..=159 => self.subscribe(of_cell, cell),
            160..=163 => self.unsubscribe(of_cell, cell),
            164..=399 => self.commit(of_cell, cell),
            400..=799 => self.deliver(),
            800..=969 => self.send(node),
            970..=985 => self.repeat(node),
            986..=990 => self.restart(node),
            991..=995 => self.stand(node),
            996..=997 => self.adopt(node, cell), // it is moved
            _ => {}
        }
        (0..NODES).for_each(|node| self.beat(node));
        self.answer_subacks();
        Ok(())
    }

    /// Ends the faults, lets all arrive, and compares.
    pub(crate) fn settle(mut self) -> Result<u64, String> {
        self.is_over = true;
        for round in 0.. {
            if round == 10_000 {
                return Err(format!("nothing goes on: {:?}", self.nodes));
            }
            self.now += 1;
            for node in 0..NODES {
                self.beat(node);
                self.send(node);
                if round % 50 == 0 {
                    self.repeat(node);
                }
                self.all_cells().for_each(|cell| self.commit(node, cell));
            }
            (0..=self.mail.len()).for_each(|_| self.deliver());
            self.answer_subacks();
            if round % 100 == 99 && self.is_settled() {
                break;
            }
        }
        let logs: Vec<State> = self.cells.iter().map(|cell| cell.log.clone()).collect();
        self.witness.judge(&logs)
    }

    fn is_settled(&self) -> bool {
        self.nodes.iter().all(|node| node.serves && node.owned.values().all(|owner| owner.pending.is_empty()))
            && self.cells.iter().zip(0..).all(|(cell, number)| {
                let owner = self.nodes[cell.owner].owned.get(&CellId(number));
                let has_sent = cell.log.outbox.values().all(std::collections::BTreeMap::is_empty);
                owner.is_some_and(|owner| owner.epoch == cell.epoch && owner.subacks.is_empty()) && has_sent
            })
    }

    fn publish(&mut self, node: usize, cell: CellId) {
        let topic = TopicName::new(format!("t/{}", self.rng.below(3)).into()).unwrap();
        let (now, bugs) = (self.now, self.bugs);
        let at = &mut self.nodes[node];
        if at.stands(now) || !at.serves {
            return;
        }
        let (has_lease, to) = (at.has_lease(now) || bugs.no_lease, at.table.matching(&topic));
        let Some(owner) = at.owned.get_mut(&cell) else { return };
        self.next_message += 1;
        let message = Message { id: self.next_message, source: cell, topic };
        self.witness.published(&message);
        let sessions = owner.state.receivers(&message.topic);
        let outbox: Vec<(CellId, u64)> =
            to.iter().filter(|to| *to != cell).map(|to| (to, owner.state.next_number(to))).collect();
        if sessions.is_empty() && outbox.is_empty() {
            if has_lease {
                self.witness.acknowledged(message.id);
            }
            return;
        }
        let mut effects = vec![Effect::Puback(message.id)];
        for (to, number) in &outbox {
            owner.senders.entry(*to).or_insert_with(|| LinkSender::new(1, *number..*number));
            effects.push(Effect::Outbox(*to, number + 1));
        }
        owner.append(Record::Accepted { message, sessions, outbox, link: None }, effects);
        self.refresh_epochs(node, cell);
    }

    /// Tells the senders of a cell which epochs their destinations have, as far as the node knows.
    fn refresh_epochs(&mut self, node: usize, cell: CellId) {
        let Node { table, owned, .. } = &mut self.nodes[node];
        let senders = owned.get_mut(&cell).into_iter().flat_map(|owner| &mut owner.senders);
        let of = |cell| if self.bugs.any_epoch { 1 } else { table.epoch(cell) };
        senders.for_each(|(to, sender)| sender.epoch(of(*to)));
    }

    fn subscribe(&mut self, node: usize, cell: CellId) {
        let text = self.rng.pick(&["t/0", "t/1", "t/2", "t/+", "t/#"]);
        let filter = TopicFilter::new(text.into()).unwrap();
        let session = u8::try_from(self.rng.below(u64::from(SESSIONS))).unwrap();
        let at = &mut self.nodes[node];
        if at.stands(self.now) || self.witness.has_ended((cell, session), &filter) {
            return;
        }
        let Some(owner) = at.owned.get_mut(&cell) else { return };
        if owner.state.filters.get(&session).is_some_and(|filters| filters.contains(&filter)) {
            return;
        }
        let change = owner.announcer.subscribe(&filter);
        let effect = Effect::Suback((cell, session), filter.clone(), change);
        owner.append(Record::Subscribed(session, filter), vec![effect]);
    }

    fn unsubscribe(&mut self, node: usize, cell: CellId) {
        let session = u8::try_from(self.rng.below(u64::from(SESSIONS))).unwrap();
        let at = &mut self.nodes[node];
        let Some(owner) = at.owned.get_mut(&cell).filter(|_| at.stands_until <= self.now) else { return };
        let Some(filter) = owner.state.filters.get(&session).and_then(|filters| filters.first().cloned()) else {
            return;
        };
        self.witness.unsubscribes((cell, session), filter.clone());
        owner.announcer.unsubscribe(&filter);
        owner.append(Record::Unsubscribed(session, filter), Vec::new());
    }

    /// The oldest record of an owner is in the log, or the owner learns that it is none any more.
    fn commit(&mut self, node: usize, cell: CellId) {
        if self.nodes[node].stands(self.now) {
            return;
        }
        let Some(owner) = self.nodes[node].owned.get_mut(&cell) else { return };
        let Some((record, effects)) = owner.pending.pop_front() else { return };
        if self.cells[usize::from(cell.0)].epoch != owner.epoch {
            self.nodes[node].owned.remove(&cell);
            return;
        }
        self.cells[usize::from(cell.0)].log.apply(&record);
        for effect in effects {
            match effect {
                Effect::Puback(id) => self.witness.acknowledged(id),
                Effect::Suback(session, filter, change) => owner.subacks.push((session, filter, change)),
                Effect::Outbox(to, end) => {
                    if let Some(sender) = owner.senders.get_mut(&to) {
                        sender.stable(end);
                    }
                }
                Effect::Link(from, end) => {
                    let receiver = owner.receiver(from);
                    receiver.stable(end);
                    let answer = receiver.answer(false);
                    self.mail
                        .push_back((self.cells[usize::from(from.0)].owner, Packet::LinkAnswer(from, cell, answer)));
                }
            }
        }
    }

    fn answer_subacks(&mut self) {
        for node in &mut self.nodes {
            for owner in node.owned.values_mut().filter(|_| self.now >= node.stands_until) {
                let known = if self.bugs.suback_without_interest { u64::MAX } else { owner.announcer.known() };
                let waiting = mem::take(&mut owner.subacks);
                for (session, filter, change) in waiting {
                    if change <= known {
                        self.witness.subscribed(session, filter);
                    } else {
                        owner.subacks.push((session, filter, change));
                    }
                }
            }
        }
    }

    /// Sends what the owners on a node have to say.
    fn send(&mut self, at: usize) {
        if self.nodes[at].stands(self.now) {
            return;
        }
        let node = &mut self.nodes[at];
        for (cell, owner) in &mut node.owned {
            // It tells itself, too: when another node takes the cell, it needs the filters until that node has told it.
            for other in 0..NODES {
                if let Some((life, announcement)) = owner.announcer.next_announcement(&name(other)) {
                    self.mail.push_back((other, Packet::Announcement(life, announcement)));
                }
            }
            for (to, sender) in &mut owner.senders {
                let said = |state| if self.bugs.tells_no_first { LinkState { first: 1, ..state } } else { state };
                // All who believe that they own the cell get it.
                if let Some(state) = sender.question() {
                    let packet = Packet::Question(*cell, *to, said(state));
                    self.mail.extend((0..NODES).map(|node| (node, packet.clone())));
                }
                let (state, Range { start, end }) = (said(sender.state()), sender.sendable());
                if start < end {
                    let end = end.min(start + FRAME);
                    let outbox = owner.state.outbox.get(to);
                    let messages = (start..end).map(|number| outbox.unwrap()[&number].clone()).collect();
                    sender.sent(end);
                    let packet = Packet::Frame(*cell, *to, state, start, messages);
                    self.mail.extend((0..NODES).map(|node| (node, packet.clone())));
                }
            }
        }
        while self.mail.len() > MAIL_MAX {
            self.mail.pop_front();
        }
    }

    /// Nobody knows whether what was sent has arrived.
    fn repeat(&mut self, at: usize) {
        for owner in self.nodes[at].owned.values_mut() {
            (0..NODES).for_each(|other| owner.announcer.repeat(&name(other)));
            owner.senders.values_mut().filter(|sender| sender.is_waiting()).for_each(LinkSender::ask);
        }
    }

    /// Lets a packet arrive: mostly the oldest.
    fn deliver(&mut self) {
        let Some(last) = self.mail.len().checked_sub(1) else { return };
        let at = if self.is_over || self.rng.percent(80) { 0 } else { self.rng.index(last + 1) };
        let (to, packet) = self.mail.remove(at).unwrap();
        if !self.is_over && self.rng.percent(5) {
            return;
        }
        if !self.is_over && self.rng.percent(3) {
            self.mail.push_back((to, packet.clone()));
        }
        if self.nodes[to].stands(self.now) {
            self.mail.push_back((to, packet)); // its socket has it
            return;
        }
        match packet {
            Packet::Announcement(life, announcement) => self.on_announcement(to, life, announcement),
            Packet::Answer(from, life, answer) => {
                if let Some(owner) = self.nodes[to].owned.get_mut(&answer.cell) {
                    owner.announcer.answer(&name(from), life, answer);
                }
            }
            Packet::Question(from, cell, state) => {
                let Some(owner) = self.nodes[to].owned.get_mut(&cell) else { return };
                owner.receiver(from).question(state);
                self.answer_link(to, (from, cell), false);
            }
            Packet::Frame(from, cell, state, first, messages) => {
                self.on_frame(to, (from, cell), (state, first), &messages)
            }
            Packet::LinkAnswer(cell, from, answer) => {
                let Some(owner) = self.nodes[to].owned.get_mut(&cell) else { return };
                let Some(sender) = owner.senders.get_mut(&from) else { return };
                let answer = if self.bugs.any_epoch { LinkAnswer { epoch: 1, ..answer } } else { answer };
                let confirmed = sender.answer(answer);
                if !confirmed.is_empty() {
                    owner.append(Record::Confirmed(from, confirmed.end), Vec::new());
                }
            }
        }
    }

    fn on_announcement(&mut self, to: usize, life: u64, announcement: Announcement) {
        let node = &mut self.nodes[to];
        if node.life != life {
            return;
        }
        let (cell, epoch) = (announcement.cell, announcement.epoch);
        let answer = node.table.take(announcement);
        if !self.bugs.stays_owner && node.owned.get(&cell).is_some_and(|owner| owner.epoch < epoch) {
            node.owned.remove(&cell);
        }
        let life = node.life;
        let cells: Vec<CellId> = node.owned.keys().copied().collect();
        cells.into_iter().for_each(|own| self.refresh_epochs(to, own));
        let owner = self.cell(cell).owner;
        self.mail.push_back((owner, Packet::Answer(to, life, answer)));
    }

    fn on_frame(&mut self, at: usize, link: (CellId, CellId), (state, first): (LinkState, u64), messages: &[Message]) {
        let (from, cell) = link;
        let Some(owner) = self.nodes[at].owned.get_mut(&cell) else { return };
        let end = first + messages.len() as u64;
        let (accepted, lacks) = owner.receiver(from).frame(state, first..end);
        for number in accepted {
            let message = messages[usize::try_from(number - first).unwrap()].clone();
            let sessions = owner.state.receivers(&message.topic);
            owner.receiver(from).accepted(!sessions.is_empty());
            if sessions.is_empty() {
                continue;
            }
            let position = owner.receiver(from).position();
            let (outbox, effect) = (Vec::new(), Effect::Link(from, number + 1));
            if self.bugs.number_apart {
                owner.append(Record::Accepted { message, sessions, outbox, link: None }, Vec::new());
                owner.append(Record::Position(from, position), vec![effect]);
            } else {
                let link = Some((from, position));
                owner.append(Record::Accepted { message, sessions, outbox, link }, vec![effect]);
            }
        }
        self.answer_link(at, link, lacks);
    }

    fn answer_link(&mut self, at: usize, (from, cell): (CellId, CellId), lacks: bool) {
        let Some(owner) = self.nodes[at].owned.get_mut(&cell) else { return };
        let answer = owner.receiver(from).answer(lacks);
        let to = self.cells[usize::from(from.0)].owner;
        self.mail.push_back((to, Packet::LinkAnswer(from, cell, answer)));
    }

    /// A sign of life, and what follows from those of others.
    fn beat(&mut self, at: usize) {
        let (now, bugs) = (self.now, self.bugs);
        let node = &mut self.nodes[at];
        if node.stands(now) || now < node.next_beat {
            return;
        }
        if node.last_beat.is_some() && !node.has_lease(now) {
            // Others may have judged it dead.
            if !bugs.no_lease {
                node.life += 1;
                node.serves = false;
                if !bugs.trusts_table {
                    node.table.join_again();
                    let owners = node.owned.values_mut();
                    owners.flat_map(|owner| owner.senders.values_mut()).for_each(|sender| sender.epoch(0));
                }
            }
        }
        node.last_beat = Some(now);
        node.next_beat = now + BEAT + self.rng.below(3);
        self.beats[at] = (self.beats[at].0 + 1, node.life);
        for other in (0..NODES).filter(|other| *other != at) {
            let number = self.beats[other].0;
            let (seen, since) = node.seen.entry(other).or_insert((number, 0));
            *since = if *seen == number { *since + 1 } else { 0 };
            *seen = number;
        }
        self.read_beats(at);
        for other in (0..NODES).filter(|other| *other != at && self.nodes[at].is_dead(*other)).collect::<Vec<_>>() {
            let cells: Vec<CellId> =
                self.all_cells().filter(|cell| self.cells[usize::from(cell.0)].owner == other).collect();
            if bugs.leaves_early || cells.is_empty() {
                let life = self.beats[other].1;
                let owners = self.nodes[at].owned.values_mut();
                owners.for_each(|owner| owner.announcer.leave(&name(other), life));
            }
            if self.is_over || self.rng.percent(self.adopts) {
                cells.into_iter().for_each(|cell| self.adopt(at, cell));
            }
        }
        // After a restart, nobody owns what was its own.
        for cell in self.all_cells().collect::<Vec<_>>() {
            if self.cell(cell).owner == at && !self.nodes[at].owned.contains_key(&cell) {
                self.adopt(at, cell);
            }
        }
        self.begin_to_serve(at);
    }

    /// It has the filters of all cells from their owners, who know of it, because its sign of life went in before.
    fn begin_to_serve(&mut self, at: usize) {
        let node = &self.nodes[at];
        let has = |cell: CellId| node.table.epoch(cell) == self.cells[usize::from(cell.0)].epoch;
        let serves = self.bugs.serves_at_once || self.all_cells().all(has);
        self.nodes[at].serves |= serves;
    }

    /// The owners on a node learn which nodes there are. One that is dead is none of them only when it owns no cell.
    fn read_beats(&mut self, at: usize) {
        for other in 0..NODES {
            let (number, life) = self.beats[other];
            let may_accept = self.cells.iter().any(|cell| cell.owner == other) && !self.bugs.leaves_early;
            if number > 0 && (may_accept || !self.nodes[at].is_dead(other)) {
                let owners = self.nodes[at].owned.values_mut();
                owners.for_each(|owner| owner.announcer.join(&name(other), life));
            }
        }
    }

    /// A node becomes the owner of a cell, whoever was it before.
    fn adopt(&mut self, at: usize, cell: CellId) {
        if self.nodes[at].stands(self.now) {
            return;
        }
        let of_cell = self.cell(cell);
        of_cell.epoch += 1;
        of_cell.owner = at;
        let (epoch, log) = (of_cell.epoch, of_cell.log.clone());
        let node = &mut self.nodes[at];
        let owner = Owner::new(cell, epoch, &log, |other| node.table.epoch(other), self.bugs);
        node.owned.insert(cell, owner);
        self.read_beats(at);
    }

    /// A node stands still for a while. It does other things before it notices that.
    fn stand(&mut self, at: usize) {
        let until = self.now + self.rng.between(1, self.standstill);
        let notices = until + self.rng.below(BEAT);
        let node = &mut self.nodes[at];
        (node.stands_until, node.next_beat) = (until, node.next_beat.max(notices));
    }

    fn restart(&mut self, at: usize) {
        let life = self.nodes[at].life + 1;
        self.nodes[at] = Node::new(life, self.now);
    }
}

fn name(node: usize) -> String {
    format!("node{node}")
}
