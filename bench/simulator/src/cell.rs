//! A cell: its shard, as its owner drives it, and its log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use oncemq::broker::{
    Action, AuthenticationOutcome, CellTerms, ClientIds, ConnectionId, Event, Fetch, Fetched, LinkPeer, LinkRole, Peer,
    Record, Recovered, Report, Settings, Shard, Shared, Ticket,
};
use oncemq::codec::{ClientPacket, Connect, Decoder, ProtocolVersion, ReasonCode, ServerPacket, encode};
use oncemq::routing::{Access, CellId, RetainedLimits, ShardId};
use oncemq::timestamp::Timestamp;

use crate::log::Log;
use crate::pace::Gap;

/// A cell, which has an owner or waits for one.
pub(crate) struct Cell {
    pub(crate) number: u8,
    /// Its owner, or the last one.
    pub(crate) node: usize,
    /// Counts its owners. What is on its way to an earlier one is dropped.
    pub(crate) epoch: u32,
    pub(crate) owner: Option<Owner>,
    /// Counts what was decided about its next owner: the last decision is carried out.
    pub(crate) adoption: u32,
    pub(crate) log: Log,
    terms: CellTerms,
    settings: Arc<Settings>,
}

/// What the owner of a cell has in memory.
pub(crate) struct Owner {
    pub(crate) shared: Arc<Shared>,
    shard: Shard,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The connections to other cells.
    links: BTreeMap<LinkKey, LinkEnd>,
    /// What has arrived and is not handled.
    pub(crate) inbox: VecDeque<Input>,
    /// It is in a turn, or one will begin.
    pub(crate) is_awake: bool,
    /// Its thread has not slept since the last turn.
    pub(crate) is_warm: bool,
    /// When it has to be called again, in milliseconds.
    pub(crate) deadline: Option<u64>,
    /// When it will be, in nanoseconds of the virtual clock.
    pub(crate) called_at: Option<u64>,
    pub(crate) commits: Commits,
    /// Reads of messages, each behind the ticket that must be replicated before.
    fetches: VecDeque<(Ticket, Fetch)>,
    actions: Vec<Action>,
    /// Connections with output that the transport has not reported.
    unflushed: Vec<ConnectionId>,
}

/// The state of the thread that commits.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    pub(crate) gap: Gap,
    /// The last ticket that is in a commit.
    pub(crate) taken: Ticket,
    pub(crate) is_busy: bool,
    /// When there was something that no acknowledgement waits for, without anything that is awaited.
    pub(crate) unawaited_since: Option<u64>,
    /// Until when the next one waits for the gap after the last one.
    pub(crate) waits_until: u64,
    /// Those that are on their way, with whether they are replicated.
    pub(crate) in_flight: VecDeque<(Ticket, bool)>,
}

/// The other cell, and what goes over the connection, seen from here.
pub(crate) type LinkKey = (u8, u8);

struct LinkEnd {
    connection: ConnectionId,
    /// Counts the connections with this key.
    number: u32,
    decoder: Decoder,
    unread: Bytes,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    peer: Option<SlotPeer>,
    is_paused: bool,
    /// There is output that the transport has not reported.
    is_unflushed: bool,
    #[expect(clippy::box_collection, reason = "few of a million have it")]
    unread: Option<Box<VecDeque<ClientPacket>>>,
}

#[derive(Debug, Clone, Copy)]
enum SlotPeer {
    Client { client: u32, attempt: u32 },
    Link(LinkKey),
}

/// What arrives at the owner of a cell.
#[derive(Debug)]
pub(crate) enum Input {
    Connect {
        client: u32,
        attempt: u32,
        connect: Box<Connect>,
    },
    Packet {
        connection: ConnectionId,
        packet: ClientPacket,
    },
    /// A client's connection is lost.
    Lost {
        connection: ConnectionId,
    },
    LinkOpened {
        key: LinkKey,
        number: u32,
    },
    LinkBytes {
        key: LinkKey,
        number: u32,
        bytes: Bytes,
    },
    LinkClosed {
        key: LinkKey,
        number: u32,
    },
    Replicated(Ticket),
    Fetched(Box<Fetched>),
    Deadline,
}

/// What comes out of a turn.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// For clients, by the connections that they have opened.
    pub(crate) clients: Vec<(u32, u32, ToClient)>,
    /// For other cells.
    pub(crate) links: BTreeMap<LinkKey, (u32, BytesMut)>,
    pub(crate) links_closed: Vec<(LinkKey, u32)>,
    /// Connections with input.
    pub(crate) read: u64,
    pub(crate) packets: u64,
    pub(crate) link_packets: u64,
    pub(crate) records: u64,
    /// The thread was woken for the turn.
    pub(crate) is_woken: bool,
    pub(crate) connects: u64,
    /// What the shard reports of messages that it dropped, and of clients that it disconnected.
    pub(crate) reports: Vec<String>,
}

/// What the owner of a cell sends to a client.
#[derive(Debug)]
pub(crate) enum ToClient {
    Accepted(ConnectionId),
    Packet(ServerPacket),
    Closed,
}

impl Cell {
    /// A cell without a log, and its first owner.
    pub(crate) fn new((number, cells): (u8, u16), node: usize, now: Timestamp, settings: &Arc<Settings>) -> Self {
        let (interest_key, interest_bytes_max) = (*b"of the simulator", 1 << 30);
        let terms = CellTerms { cell: CellId(number), cells, epoch: 1, interest_key, interest_bytes_max };
        let mut cell = Self {
            number,
            node,
            epoch: 0,
            owner: None,
            adoption: 0,
            log: Log::default(),
            terms,
            settings: Arc::clone(settings),
        };
        cell.begin(node, now, |_| ());
        cell
    }

    /// A node becomes the owner, with what is replicated. `change`: a fault that is made. Returns what comes out at once.
    pub(crate) fn begin(&mut self, node: usize, now: Timestamp, change: impl FnOnce(&mut Recovered)) -> Output {
        self.epoch += 1;
        self.node = node;
        let limits = RetainedLimits { retained_messages_max: 1_000_000, retained_bytes_max: 1 << 30 };
        let shared = Shared::new(1, limits).of_run(self.epoch.into());
        let shared = match self.terms.cells {
            0 | 1 => shared,
            _ => shared.of_cell(CellTerms { epoch: self.epoch.into(), ..self.terms.clone() }),
        };
        let shared = Arc::new(shared);
        let seed = [self.number; 32];
        let mut owner = Owner {
            shard: Shard::new(ShardId(0), Arc::clone(&self.settings), Arc::clone(&shared), seed),
            shared,
            slots: Vec::new(),
            free: Vec::new(),
            links: BTreeMap::new(),
            inbox: VecDeque::new(),
            is_awake: false,
            is_warm: false,
            deadline: None,
            called_at: None,
            commits: Commits::default(),
            fetches: VecDeque::new(),
            actions: Vec::new(),
            unflushed: Vec::new(),
        };
        let mut recovered = self.log.recover();
        change(&mut recovered);
        let retained = (recovered.retained, recovered.retained_cleared);
        let keys = recovered.sessions.iter().map(|session| session.key);
        owner.shared.restore(now, retained, recovered.retained_gone, keys);
        let mut output = Output::default();
        let turn = &mut Turn { now, log: &mut self.log, output: &mut output, last_read: None };
        let access = Arc::new(Access::everything());
        for session in recovered.sessions {
            owner.shard.restore(now, *session, Arc::clone(&access), &mut owner.actions);
            owner.perform(turn);
        }
        owner.shard.end_orphans(recovered.orphans, &mut owner.actions);
        owner.perform(turn);
        owner.deadline = owner.shard.deadline().map(|at| at.0);
        self.owner = Some(owner);
        output
    }

    /// The owner handles what has arrived, up to a number of inputs.
    pub(crate) fn turn(&mut self, now: Timestamp, inputs_max: usize) -> Output {
        let mut output = Output::default();
        let Some(owner) = &mut self.owner else { return output };
        let count = owner.inbox.len().min(inputs_max);
        let inputs: Vec<Input> = owner.inbox.drain(..count).collect();
        output.is_woken = !std::mem::replace(&mut owner.is_warm, true);
        let records = self.log.records;
        let turn = &mut Turn { now, log: &mut self.log, output: &mut output, last_read: None };
        for input in inputs {
            owner.take(input, turn);
        }
        owner.flush(turn);
        self.log.end_turn();
        output.records = self.log.records - records;
        owner.deadline = owner.shard.deadline().map(|at| at.0);
        output
    }

    /// Reads that can be done now.
    pub(crate) fn fetched(&mut self, replicated: Ticket) -> Vec<Fetched> {
        let Some(owner) = &mut self.owner else { return Vec::new() };
        let mut fetched = Vec::new();
        let is_all = self.log.last().is_none();
        while owner.fetches.front().is_some_and(|(ticket, _)| is_all || *ticket <= replicated) {
            fetched.extend(owner.fetches.pop_front().map(|(_, fetch)| self.log.read(fetch)));
        }
        fetched
    }

    /// Whether clients can connect.
    pub(crate) fn accepts_clients(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.shared.knows_cells())
    }

    /// The messages that wait for other cells.
    pub(crate) fn waiting(&self) -> usize {
        let links = self.owner.iter().flat_map(|owner| owner.shared.cell_links());
        links.map(|link| link.waiting.0).sum()
    }
}

impl Owner {
    fn take(&mut self, input: Input, turn: &mut Turn<'_>) {
        match input {
            Input::Connect { client, attempt, connect } => {
                turn.output.connects += 1;
                let connection = self.open(SlotPeer::Client { client, attempt });
                turn.output.clients.push((client, attempt, ToClient::Accepted(connection)));
                self.handle(Event::Opened { connection, peer: Box::new(peer(None)) }, turn);
                self.receive(connection, ClientPacket::Connect(connect), turn);
            }
            Input::Packet { connection, packet } => {
                turn.output.packets += 1;
                if turn.last_read.replace(connection.slot) != Some(connection.slot) {
                    turn.output.read += 1;
                }
                self.receive(connection, packet, turn);
            }
            Input::Lost { connection } => self.lose(connection, turn),
            Input::LinkOpened { key, number } => {
                let connection = self.open(SlotPeer::Link(key));
                let end = LinkEnd { connection, number, decoder: Decoder::of_cell(), unread: Bytes::new() };
                if let Some(old) = self.links.insert(key, end) {
                    self.lose(old.connection, turn);
                }
                let role = LinkRole::of_number(key.1);
                let link = role.map(|role| LinkPeer { cell: CellId(key.0), role });
                self.handle(Event::Opened { connection, peer: Box::new(peer(link)) }, turn);
            }
            Input::LinkBytes { key, number, bytes } => self.receive_link(key, (number, bytes), turn),
            Input::LinkClosed { key, number } => {
                if let Some(end) = self.links.get(&key).filter(|end| end.number == number) {
                    let connection = end.connection;
                    self.links.remove(&key);
                    self.lose(connection, turn);
                }
            }
            Input::Replicated(ticket) => self.handle(Event::Persisted(ticket), turn),
            Input::Fetched(fetched) => self.handle(Event::Fetched(fetched), turn),
            Input::Deadline => {
                if self.shard.deadline().is_some_and(|at| at <= turn.now) {
                    self.handle(Event::DeadlinePassed, turn);
                }
            }
        }
    }

    fn open(&mut self, peer: SlotPeer) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        *place = Slot { generation: place.generation + 1, peer: Some(peer), ..Slot::default() };
        ConnectionId { slot, generation: place.generation }
    }

    fn slot(&mut self, connection: ConnectionId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(connection.slot as usize)?;
        (slot.generation == connection.generation && slot.peer.is_some()).then_some(slot)
    }

    /// Frees the slot of a connection that has ended. Returns whose it was.
    fn close(&mut self, connection: ConnectionId) -> Option<SlotPeer> {
        let slot = self.slot(connection)?;
        let peer = slot.peer.take();
        slot.unread = None;
        self.free.push(connection.slot);
        peer
    }

    fn lose(&mut self, connection: ConnectionId, turn: &mut Turn<'_>) {
        if self.close(connection).is_some() {
            let cause = "connection reset".into();
            self.handle(Event::Closed { connection, cause }, turn);
        }
    }

    /// Handles a packet, or keeps it while its connection is paused.
    fn receive(&mut self, connection: ConnectionId, packet: ClientPacket, turn: &mut Turn<'_>) {
        let Some(slot) = self.slot(connection) else { return };
        if slot.is_paused || slot.unread.is_some() {
            slot.unread.get_or_insert_default().push_back(packet);
        } else {
            self.handle(Event::Packet { connection, packet }, turn);
        }
    }

    fn receive_link(&mut self, key: LinkKey, (number, bytes): (u32, Bytes), turn: &mut Turn<'_>) {
        let Some(end) = self.links.get_mut(&key).filter(|end| end.number == number) else { return };
        let mut all = BytesMut::from(&end.unread[..]);
        all.extend_from_slice(&bytes);
        end.unread = all.freeze();
        self.read_link(key, turn);
    }

    /// Handles what came from another cell until its connection is paused.
    fn read_link(&mut self, key: LinkKey, turn: &mut Turn<'_>) {
        loop {
            let Some(end) = self.links.get(&key) else { return };
            let connection = end.connection;
            if self.slot(connection).is_none_or(|slot| slot.is_paused) {
                return;
            }
            let Some(end) = self.links.get_mut(&key) else { return };
            match end.decoder.decode(&mut end.unread) {
                Ok(Some(packet)) => {
                    turn.output.link_packets += 1;
                    self.handle(Event::Packet { connection, packet }, turn);
                }
                Ok(None) => return,
                Err(error) => {
                    turn.output.reports.push(format!("a link cannot be decoded: {error}"));
                    return;
                }
            }
        }
    }

    fn handle(&mut self, event: Event, turn: &mut Turn<'_>) {
        let mut actions = std::mem::take(&mut self.actions);
        self.shard.handle(turn.now, event, &mut actions);
        self.actions = actions;
        self.perform(turn);
    }

    /// Performs all actions in order.
    fn perform(&mut self, turn: &mut Turn<'_>) {
        let mut resumed = Vec::new();
        let mut asked = Vec::new();
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Send { connection, packet } => self.send(connection, packet, turn),
                Action::Close { connection } | Action::Reset { connection } => self.end(connection, turn),
                Action::Pause { connection } => {
                    if let Some(slot) = self.slot(connection) {
                        slot.is_paused = true;
                    }
                }
                Action::Resume { connection } => {
                    if let Some(slot) = self.slot(connection) {
                        slot.is_paused = false;
                    }
                    resumed.push(connection);
                }
                Action::Authenticate { connection, .. } => asked.push(connection),
                Action::Persist { ticket, record } => {
                    turn.log.append(ticket, record.to_bytes(), record.is_urgent());
                }
                Action::PersistTogether { ticket, records, .. } => {
                    turn.log.append_together(ticket, records.iter().map(Record::to_bytes), true);
                }
                Action::Fetch(fetch) => self.fetches.push_back((turn.log.last().unwrap_or_default(), *fetch)),
                Action::Report(report) => turn.output.reports.extend(told(&report)),
                Action::Forward { .. }
                | Action::ReadStream(_)
                | Action::Hurry
                | Action::PrepareDelayed(_)
                | Action::Answer(..)
                | Action::Sampled(_) => {}
            }
        }
        if self.actions.is_empty() {
            self.actions = actions;
        }
        for connection in asked {
            let outcome = AuthenticationOutcome::Granted {
                access: Arc::new(Access::everything()),
                user: None,
                verified_user: None,
                expires_at: None,
                authentication_data: None,
            };
            self.handle(Event::Authenticated { connection, outcome }, turn);
        }
        for connection in resumed {
            self.resume(connection, turn);
        }
    }

    /// Handles what was not read while a connection was paused.
    fn resume(&mut self, connection: ConnectionId, turn: &mut Turn<'_>) {
        loop {
            let Some(slot) = self.slot(connection) else { return };
            if let Some(SlotPeer::Link(key)) = slot.peer {
                return self.read_link(key, turn);
            }
            if slot.is_paused {
                return;
            }
            let Some(packet) = slot.unread.as_mut().and_then(|unread| unread.pop_front()) else {
                slot.unread = None;
                return;
            };
            self.handle(Event::Packet { connection, packet }, turn);
        }
    }

    fn send(&mut self, connection: ConnectionId, packet: ServerPacket, turn: &mut Turn<'_>) {
        let Some(slot) = self.slot(connection) else { return };
        let is_first = !std::mem::replace(&mut slot.is_unflushed, true);
        let peer = slot.peer;
        if is_first {
            self.unflushed.push(connection);
        }
        match peer {
            Some(SlotPeer::Client { client, attempt }) => {
                turn.output.packets += 1;
                turn.output.clients.push((client, attempt, ToClient::Packet(packet)));
            }
            Some(SlotPeer::Link(key)) => {
                turn.output.link_packets += 1;
                let number = self.links.get(&key).map_or(0, |end| end.number);
                let (_, bytes) = turn.output.links.entry(key).or_insert((number, BytesMut::new()));
                encode(&packet, ProtocolVersion::V5, bytes);
            }
            None => {}
        }
    }

    /// The shard ends a connection.
    fn end(&mut self, connection: ConnectionId, turn: &mut Turn<'_>) {
        match self.close(connection) {
            Some(SlotPeer::Client { client, attempt }) => turn.output.clients.push((client, attempt, ToClient::Closed)),
            Some(SlotPeer::Link(key)) => {
                if let Some(end) = self.links.remove(&key) {
                    turn.output.links_closed.push((key, end.number));
                }
            }
            None => {}
        }
    }

    /// The transports accept all turn.output.
    fn flush(&mut self, turn: &mut Turn<'_>) {
        while !self.unflushed.is_empty() {
            for connection in std::mem::take(&mut self.unflushed) {
                if self.slot(connection).is_some_and(|slot| std::mem::take(&mut slot.is_unflushed)) {
                    self.handle(Event::Flushed { connection, remaining: 0 }, turn);
                }
            }
        }
    }
}

/// What a shard does at one time.
struct Turn<'a> {
    now: Timestamp,
    log: &'a mut Log,
    output: &'a mut Output,
    /// The slot that was read last.
    last_read: Option<u32>,
}

fn peer(link: Option<LinkPeer>) -> Peer {
    Peer {
        address: None,
        is_local: true,
        listener: "main".into(),
        certificate_identity: None,
        client_ids: ClientIds::default(),
        maximum_packet_size: u32::MAX,
        link,
    }
}

/// What a report says that must not happen.
fn told(report: &Report) -> Option<String> {
    match report {
        Report::Disconnected { reason_code, cause, .. }
            if !matches!(*reason_code, ReasonCode::NormalDisconnection | ReasonCode::SessionTakenOver)
                && &**cause != "connection reset" =>
        {
            Some(format!("disconnected with {reason_code:?}: {cause}"))
        }
        Report::Refused { reason_code, cause, .. } if &**cause != "connection reset" => {
            Some(format!("refused with {reason_code:?}: {cause}"))
        }
        Report::Lost { .. } | Report::Dropping { .. } | Report::Unreadable { .. } => Some(format!("{report:?}")),
        _ => None,
    }
}
