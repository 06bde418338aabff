//! A broker and its clients, one step after the other, in the hand of the test.

use std::collections::VecDeque;
use std::sync::Arc;

use oncemq::broker::{
    Action, AuthenticationOutcome, ConnectionId, Event, Peer, Recovered, Settings, Shard, ShardMessage, Shared, Ticket,
};
use oncemq::codec::{ClientPacket, Connect, ServerPacket};
use oncemq::routing::{Access, RetainedLimits, ShardId};
use oncemq::store::Level;
use oncemq::store::sim::Loss;
use oncemq::timestamp::Timestamp;

use crate::client::Client;
use crate::ledger::Ledger;
use crate::log::{Committed, Log};
use crate::settings::settings;

/// Shards, the store, and clients that follow the standard. What is to happen next stands in a queue, so that a run is
/// always the same.
pub(crate) struct Lab {
    pub(crate) now: u64,
    settings: Arc<Settings>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) log: Log,
    queue: VecDeque<Step>,
    pub(crate) clients: Vec<Client>,
    pub(crate) ledger: Ledger,
    /// Whether the store commits by itself.
    commits: bool,
    committing: bool,
    /// Those done, and the one before which a crash is to come.
    pub(crate) steps: u64,
    pub(crate) crash_at: Option<(u64, Crash)>,
    /// How many crashes there were.
    epoch: u32,
    /// What happened, for a run that is looked at.
    pub(crate) trace: Option<Vec<String>>,
}

/// Something that happens.
enum Step {
    /// A packet arrives at the broker.
    Up(ConnectionId, ClientPacket),
    /// A packet arrives at the client.
    Down(ConnectionId, ServerPacket),
    /// The client sees that its connection has ended.
    Ended(ConnectionId),
    Granted(ConnectionId),
    Commit,
    Persisted(usize, Ticket),
    Forwarded(usize, ShardMessage),
}

/// How the broker ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    pub(crate) loss: Loss,
    pub(crate) committed: Committed,
    pub(crate) wire: Wire,
    /// What decides which unsynced writes are lost.
    pub(crate) seed: u64,
}

/// What becomes of the packets that the broker had sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Lost,
    Delivered,
}

impl Lab {
    pub(crate) fn new(shards: usize, level: Level) -> Self {
        let settings = Arc::new(settings());
        Self {
            now: 1_000_000,
            shards: new_shards(shards, &settings, &new_shared(shards)),
            settings,
            log: Log::new(level),
            queue: VecDeque::new(),
            clients: Vec::new(),
            ledger: Ledger::default(),
            commits: true,
            committing: false,
            steps: 0,
            crash_at: None,
            epoch: 0,
            trace: None,
        }
    }

    pub(crate) fn fail(&self, text: &str) -> ! {
        panic!("{text}\n{}", self.trace.iter().flatten().map(String::as_str).collect::<Vec<_>>().join("\n"));
    }

    fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = line(self);
            self.trace.get_or_insert_default().push(line);
        }
    }

    /// From now on the store answers nothing.
    pub(crate) fn freeze(&mut self) {
        self.commits = false;
        self.committing = false;
        self.queue.retain(|step| !matches!(step, Step::Commit));
    }

    /// The store goes on.
    pub(crate) fn thaw(&mut self) {
        self.commits = true;
        if self.log.gathered > 0 {
            self.commit_soon();
        }
    }

    /// Until nothing happens any more.
    pub(crate) fn run(&mut self) {
        while self.step() {}
    }

    /// Until the next thing that happens is that this client gets such a packet.
    pub(crate) fn run_to(&mut self, client: usize, wanted: fn(&ServerPacket) -> bool) {
        let is_next = |step: Option<&Step>| match step {
            Some(Step::Down(id, packet)) => usize::try_from(id.slot) == Ok(client) && wanted(packet),
            _ => false,
        };
        while !is_next(self.queue.front()) {
            if !self.step() {
                self.fail("it never came");
            }
        }
    }

    /// Everything that happens by itself until this much time has passed.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now += seconds * 1_000;
        self.look_at_deadlines();
        self.run();
    }

    /// Whether a crash came.
    fn tick(&mut self) -> bool {
        self.steps += 1;
        match self.crash_at.take_if(|(at, _)| *at == self.steps) {
            None => false,
            Some((_, crash)) => {
                self.crash(crash);
                true
            }
        }
    }

    fn step(&mut self) -> bool {
        if self.tick() {
            return true;
        }
        let Some(step) = self.queue.pop_front() else { return false };
        match step {
            Step::Up(id, packet) => self.on_up(id, packet),
            Step::Down(id, packet) => self.on_down(id, packet),
            Step::Ended(id) => self.client_mut(id).map(Client::disconnected),
            Step::Granted(connection) => {
                let access = Arc::new(Access::everything());
                let (user, verified_user, authentication_data) = (None, None, None);
                let outcome = AuthenticationOutcome::Granted { access, user, verified_user, authentication_data };
                self.handle(self.shard_of(connection), Event::Authenticated { connection, outcome })
            }
            Step::Commit => self.on_commit(),
            Step::Persisted(shard, ticket) => self.handle(shard, Event::Persisted(ticket)),
            Step::Forwarded(shard, message) => self.handle(shard, Event::Forwarded(message)),
        };
        true
    }

    fn on_up(&mut self, connection: ConnectionId, packet: ClientPacket) -> Option<()> {
        let client = self.client_mut(connection)?;
        if client.paused {
            client.unread.push_back(packet);
            return None;
        }
        self.note(|lab| format!("{} -> {packet:?}", lab.name(connection)));
        self.handle(self.shard_of(connection), Event::Packet { connection, packet })
    }

    fn on_down(&mut self, connection: ConnectionId, packet: ServerPacket) -> Option<()> {
        self.client_mut(connection)?;
        self.note(|lab| format!("{} <- {packet:?}", lab.name(connection)));
        self.receive(usize::try_from(connection.slot).unwrap(), packet);
        Some(())
    }

    fn on_commit(&mut self) -> Option<()> {
        self.committing = false;
        self.note(|_| "commit".to_owned());
        for (shard, ticket) in self.log.commit() {
            self.queue.push_back(Step::Persisted(shard, Ticket(ticket)));
        }
        Some(())
    }

    fn commit_soon(&mut self) {
        if self.commits && !std::mem::replace(&mut self.committing, true) {
            self.queue.push_back(Step::Commit);
        }
    }

    /// Gives an event to a shard, and performs its actions in order. `None` if a crash came between.
    fn handle(&mut self, shard: usize, event: Event) -> Option<()> {
        let mut actions = Vec::new();
        self.shards[shard].handle(Timestamp(self.now), event, &mut actions);
        self.perform_all(shard, actions)
    }

    fn perform_all(&mut self, shard: usize, actions: Vec<Action>) -> Option<()> {
        let epoch = self.epoch;
        for action in actions {
            self.perform(shard, action);
            if self.epoch != epoch {
                return None;
            }
        }
        Some(())
    }

    fn perform(&mut self, shard: usize, action: Action) {
        match action {
            Action::Send { connection, packet } => self.queue.push_back(Step::Down(connection, packet)),
            Action::Close { connection } => self.queue.push_back(Step::Ended(connection)),
            Action::Pause { connection } => self.client_mut(connection).unwrap().paused = true,
            Action::Resume { connection } => {
                let client = self.client_mut(connection).unwrap();
                client.paused = false;
                let unread = std::mem::take(&mut client.unread);
                self.queue.extend(unread.into_iter().map(|packet| Step::Up(connection, packet)));
            }
            Action::Authenticate { connection, .. } => self.queue.push_back(Step::Granted(connection)),
            Action::Persist { ticket, record } => {
                self.note(|_| format!("    record {} {record:?}", ticket.0));
                self.log.append(shard, ticket, &record);
                self.commit_soon();
                self.tick();
            }
            Action::Forward { shard, message } => {
                self.queue.push_back(Step::Forwarded(usize::from(shard.0), message));
            }
            Action::Report(_) => {}
        }
    }

    /// Opens a connection and sends CONNECT. Client and shard go together, the first with the first, until a client moves.
    pub(crate) fn open(&mut self, client: usize, connect: Connect) {
        let connection = self.clients[client].next_connection();
        self.note(|lab| format!("{} connects", lab.name(connection)));
        let peer = Box::new(Peer {
            address: None,
            listener: "tcp".into(),
            certificate_identity: None,
            maximum_packet_size: 100_000,
        });
        let opened = self.handle(self.shard_of(connection), Event::Opened { connection, peer });
        if opened.is_some() {
            self.send(client, ClientPacket::Connect(Box::new(connect)));
        }
    }

    /// A client's connection breaks.
    pub(crate) fn lose(&mut self, client: usize) {
        let Some(connection) = self.clients[client].connection() else { return };
        self.note(|lab| format!("{} is lost", lab.name(connection)));
        self.clients[client].disconnected();
        let cause = "connection reset".into();
        self.handle(self.shard_of(connection), Event::Closed { connection, cause });
    }

    pub(crate) fn send(&mut self, client: usize, packet: ClientPacket) {
        if let Some(connection) = self.clients[client].connection() {
            self.queue.push_back(Step::Up(connection, packet));
        }
    }

    /// The broker ends at once, and starts again. Clients that were connected come back by themselves.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.note(|_| format!("{crash:?}"));
        self.epoch += 1;
        self.crash_at = None;
        let queue = std::mem::take(&mut self.queue);
        if crash.wire == Wire::Delivered {
            for step in queue {
                if let Step::Down(id, packet) = step {
                    self.on_down(id, packet);
                }
            }
        }
        self.queue.clear();
        let back: Vec<_> =
            (0..self.clients.len()).filter(|client| self.clients[*client].connection().is_some()).collect();
        for client in &mut self.clients {
            client.disconnected();
        }
        let recovered = self.log.crash(crash.committed, crash.loss, crash.seed);
        self.note(|_| format!("restarts with {recovered:?}"));
        (self.commits, self.committing) = (true, false);
        self.restart(recovered);
        for client in back {
            self.connect(client);
        }
    }

    /// As the server starts.
    fn restart(&mut self, recovered: Recovered) {
        let shards = self.shards.len();
        let shared = new_shared(shards);
        let Recovered { sessions, retained, retained_gone, orphans, deduplicated, .. } = recovered;
        shared.restore_deduplication(&deduplicated);
        let too_many = shared.restore(retained, retained_gone, sessions.iter().map(|session| session.key));
        assert!(too_many.is_empty());
        self.shards = new_shards(shards, &self.settings, &shared);
        for (number, session) in sessions.into_iter().enumerate() {
            let (shard, mut actions) = (number % shards, Vec::new());
            let access = Arc::new(Access::everything());
            self.shards[shard].restore(Timestamp(self.now), session, access, &mut actions);
            self.perform_all(shard, actions);
        }
        let mut actions = Vec::new();
        self.shards[0].end_orphans(orphans, &mut actions);
        self.perform_all(0, actions);
        self.look_at_deadlines();
    }

    fn look_at_deadlines(&mut self) {
        for shard in 0..self.shards.len() {
            while self.shards[shard].deadline().is_some_and(|at| at.0 <= self.now) {
                self.handle(shard, Event::DeadlinePassed);
            }
        }
    }

    fn shard_of(&self, connection: ConnectionId) -> usize {
        let client = usize::try_from(connection.slot).unwrap();
        (client + self.clients[client].moves) % self.shards.len()
    }

    /// The client whose connection this is.
    fn client_mut(&mut self, connection: ConnectionId) -> Option<&mut Client> {
        let client = &mut self.clients[usize::try_from(connection.slot).unwrap()];
        (client.connection() == Some(connection)).then_some(client)
    }

    fn name(&self, connection: ConnectionId) -> String {
        self.clients[usize::try_from(connection.slot).unwrap()].name.to_owned()
    }
}

pub(crate) fn new_shared(shards: usize) -> Arc<Shared> {
    let limits = RetainedLimits { retained_messages_max: 100, retained_bytes_max: 100_000 };
    Arc::new(Shared::new(shards, limits))
}

fn new_shards(count: usize, settings: &Arc<Settings>, shared: &Arc<Shared>) -> Vec<Shard> {
    let shard = |number| {
        let id = ShardId(u16::try_from(number).unwrap());
        Shard::new(id, Arc::clone(settings), Arc::clone(shared), 7)
    };
    (0..count).map(shard).collect()
}
